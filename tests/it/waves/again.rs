//! What begins a wave ends, and begins again; or there are two at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use rustix::process::Signal;

use super::{left, open, order, part};
use crate::kit::{AT_ONCE, Backend, Call, Calls, Proxy, SOME_DAY, plain};

/// Whoever is active again may drain again, be it that there was nobody to ask the last time.
#[tokio::test]
async fn every_drain_of_a_backend_is_carried_out() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&(AT_ONCE.to_owned() + &plain(&[backend.address]))).await;
    for tunnels in [0, 1, 2, 0, 3] {
        let mut ends = Vec::new();
        for _ in 0..tunnels {
            ends.push(open(&proxy, &mut calls).await);
        }
        order(&proxy, backend.address, "draining").await;
        for ends in ends {
            part(ends, 1012, "").await;
        }
        // Nobody is looked for any more.
        proxy.wait_metric(&left("backend_draining"), 0.0).await;
        order(&proxy, backend.address, "active").await;
    }
}

/// The slots of a wave that was called off are gone, even if nobody has looked meanwhile.
#[tokio::test]
async fn who_drains_again_at_once_begins_anew() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&(SOME_DAY.to_owned() + &plain(&[backend.address]))).await;
    let ends = open(&proxy, &mut calls).await;
    order(&proxy, backend.address, "draining").await;
    proxy.wait_metric(&left("backend_draining"), 1.0).await;
    proxy.change_to(&(AT_ONCE.to_owned() + &plain(&[backend.address]))).await;
    order(&proxy, backend.address, "active").await;
    order(&proxy, backend.address, "draining").await;
    part(ends, 1012, "").await;
}

/// It cuts at its deadline, so it cannot wait for the slots of others.
#[tokio::test]
async fn a_stop_has_slots_of_its_own() {
    let (backend, mut calls) = Backend::by_hand().await;
    let mut proxy = Proxy::start(&(SOME_DAY.to_owned() + &plain(&[backend.address]))).await;
    let ends = open(&proxy, &mut calls).await;
    order(&proxy, backend.address, "draining").await;
    proxy.wait_metric(&left("backend_draining"), 1.0).await;
    proxy.change_to(&(AT_ONCE.to_owned() + &plain(&[backend.address]))).await;
    proxy.signal(Signal::TERM);
    part(ends, 1001, "").await;
    assert_eq!(proxy.ended().await.code(), Some(0));
}

/// A backend is down, is ordered to drain, and comes up: its tunnels still are to go.
#[tokio::test]
async fn of_two_causes_the_second_holds_when_the_first_has_ended() {
    let is_well = Arc::new(AtomicBool::new(true));
    let (state, (handle, mut calls)) = (is_well.clone(), Calls::handler());
    let backend = Backend::calls(move |call: Call| {
        let (is_well, handle) = (state.load(SeqCst), handle.clone());
        async move {
            match (call.head.target(), is_well) {
                ("/health", true) => call.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await,
                ("/health", false) => call.answer("HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n").await,
                _ => handle(call).await,
            }
        }
    })
    .await;
    let checked = plain(&[backend.address])
        + "health = { kind = \"http\", path = \"/health\", interval = \"1ms\", rise = 1, fall = 1, on_down = \"drain\" }\n";
    let up = format!("longhaul_backend_up{{pool=\"all\",backend=\"{}\"}}", backend.address);
    let proxy = Proxy::start(&(SOME_DAY.to_owned() + &checked)).await;
    proxy.wait_metric(&up, 1.0).await;
    let ends = open(&proxy, &mut calls).await;
    is_well.store(false, SeqCst);
    proxy.wait_metric(&left("backend_down"), 1.0).await;
    proxy.change_to(&(AT_ONCE.to_owned() + &checked)).await;
    order(&proxy, backend.address, "draining").await;
    is_well.store(true, SeqCst);
    part(ends, 1012, "").await;
    assert_eq!(proxy.record("close").await["reason"], "backend_draining");
}
