//! The process stops.

use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::time::{Duration, sleep};

use super::{ended, left, open, order, part};
use crate::kit::{
    AT_ONCE, Backend, Message, Proxy, SOME_DAY, Stage, Way, WebSocket, handshake, plain, within,
};

/// A file that begins with these keys of the drain.
fn drain(keys: &str, backend: &Backend) -> String {
    format!("[server]\ndrain = {{ delay = \"0s\", {keys} }}\n{}", plain(&[backend.address]))
}

#[tokio::test]
async fn clients_get_a_close_first_and_the_process_ends_when_all_have_closed() {
    for (keys, code, reason) in [
        ("window = \"0s\"", 1001, ""),
        (
            "window = \"10ms\", rate = 1000, code = 1012, reason = \"back in a minute\"",
            1012,
            "back in a minute",
        ),
    ] {
        let (backend, mut calls) = Backend::by_hand().await;
        let mut proxy = Proxy::start(&drain(keys, &backend)).await;
        let ends = open(&proxy, &mut calls).await;
        proxy.signal(Signal::TERM);
        part(ends, code, reason).await;
        assert_eq!(ended(&proxy).await, [json!("drain"), json!("proxy"), json!(true)]);
        assert_eq!(proxy.ended().await.code(), Some(0));
    }
}

#[tokio::test]
async fn every_way_is_told_and_what_is_left_is_shown() {
    let mut stage = Stage::with("", AT_ONCE).await;
    let mut ends = Vec::new();
    for way in Way::ALL {
        ends.push(stage.tunnel(way, None).await);
    }
    stage.proxy.wait_metric("longhaul_tunnels_active{route=\"all\"}", 3.0).await;
    assert_eq!(stage.proxy.metric(&left("drain")).await, 0.0);
    stage.proxy.signal(Signal::TERM);
    for (client, _) in &mut ends {
        assert_eq!(client.receive().await, Message::close(1001, ""));
    }
    // They have not answered yet.
    stage.proxy.wait_metric(&left("drain"), 3.0).await;
    for (client, backend) in &mut ends {
        client.send(&Message::close(1001, "")).await;
        assert_eq!(backend.receive().await, Message::close(1001, ""));
        backend.send(&Message::close(1001, "")).await;
        assert_eq!(within("the end", client.try_receive()).await, None);
    }
}

/// At one at a time: the order in which they are told is that in which they were last active.
#[tokio::test]
async fn idle_ones_go_first() {
    let backend = Backend::echo("one").await;
    let mut proxy = Proxy::start(&drain("window = \"0s\", rate = 10", &backend)).await;
    let mut sockets = Vec::new();
    for _ in 0..4 {
        let (mut socket, _) = proxy.connect("plain").await.open("/", "example.com", "").await;
        assert_eq!(socket.receive_text().await, "one");
        sockets.push(socket);
    }
    // Clocks of activity are coarse: each is active until it is seen to have been so clearly later than the one before.
    let order = [2, 0, 3, 1];
    let mut before = None;
    for index in order {
        loop {
            sockets[index].round_trip("now").await;
            let (_, table) = proxy.admin("GET", "/api/v1/tunnels").await;
            let idle = |index: usize| table["tunnels"][index]["idle_ms"].as_u64().expect("a number");
            if before.is_none_or(|before| idle(before) >= idle(index) + 100) {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        before = Some(index);
    }
    let told = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = sockets
        .into_iter()
        .enumerate()
        .map(|(index, mut socket)| {
            let told = told.clone();
            tokio::spawn(async move {
                assert_eq!(socket.receive().await, Message::close(1001, ""));
                told.lock().unwrap().push(index);
                socket.send(&Message::close(1001, "")).await;
            })
        })
        .collect();
    proxy.signal(Signal::TERM);
    for task in tasks {
        task.await.expect("it was told");
    }
    assert_eq!(*told.lock().unwrap(), order);
    assert_eq!(proxy.ended().await.code(), Some(0));
}

/// A stop that has not the time for all of them says so when it begins, not when it cuts them.
#[tokio::test]
async fn a_rate_that_does_not_reach_the_deadline_is_told() {
    let backend = Backend::echo("one").await;
    let mut proxy = Proxy::start(&drain("window = \"0s\", rate = 2, deadline = \"1s\"", &backend)).await;
    let mut sockets = Vec::new();
    for _ in 0..5 {
        sockets.push(proxy.connect("plain").await.open("/", "example.com", "").await.0);
    }
    proxy.wait_metric("longhaul_tunnels_active{route=\"all\"}", 5.0).await;
    proxy.signal(Signal::TERM);
    let warning = proxy.wait_for("a warning", |line| line["asked_max"] == 2).await;
    assert_eq!((&warning["level"], &warning["tunnels"]), (&json!("WARN"), &json!(5)));
    assert_eq!(proxy.ended().await.code(), Some(3));
}

/// Where no window is written, some few go at once: the third of three would go after 20 seconds or more.
#[tokio::test]
async fn few_do_not_need_half_a_minute() {
    let (backend, mut calls) = Backend::by_hand().await;
    let mut proxy = Proxy::start(&drain("deadline = \"5m\"", &backend)).await;
    let mut parting = Vec::new();
    for _ in 0..3 {
        let ends = open(&proxy, &mut calls).await;
        parting.push(part(ends, 1001, ""));
    }
    proxy.signal(Signal::TERM);
    join_all(parting).await;
    assert_eq!(proxy.ended().await.code(), Some(0));
}

/// A handshake that was under way when the listeners closed becomes a tunnel that is asked to go.
#[tokio::test]
async fn who_comes_late_is_told_too() {
    let (backend, mut calls) = Backend::by_hand().await;
    let mut proxy = Proxy::start(&drain("window = \"0s\"", &backend)).await;
    let early = open(&proxy, &mut calls).await;
    let mut client = proxy.connect("plain").await;
    client.send(handshake("/", "example.com", "")).await;
    let call = calls.next().await;
    proxy.signal(Signal::TERM);
    part(early, 1001, "").await;
    let late = call.accept("").await;
    let head = client.head().await;
    assert_eq!(head.status(), 101);
    part((WebSocket::client(client, head.rest), late), 1001, "").await;
    assert_eq!(proxy.ended().await.code(), Some(0));
}

/// A stop comes before whatever else there is: the clients of a backend that drains are told of the stop.
#[tokio::test]
async fn a_stop_is_told_even_where_the_backend_drains() {
    let ((one, mut calls), (two, mut others)) = (Backend::by_hand().await, Backend::by_hand().await);
    let pool = plain(&[one.address, two.address]) + "balance = \"round-robin\"\n";
    let mut proxy = Proxy::start(&(AT_ONCE.to_owned() + &pool)).await;
    let mut client = proxy.connect("plain").await;
    client.send(handshake("/", "example.com", "")).await;
    let call = calls.next().await;
    let early = open(&proxy, &mut others).await;
    order(&proxy, one.address, "draining").await;
    proxy.signal(Signal::TERM);
    part(early, 1001, "").await;
    let late = call.accept("").await;
    let head = client.head().await;
    assert_eq!(head.status(), 101);
    part((WebSocket::client(client, head.rest), late), 1001, "").await;
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_frame_that_never_ends_holds_no_stop_up() {
    let (backend, mut calls) = Backend::by_hand().await;
    let config = drain("window = \"0s\", deadline = \"1h\"", &backend)
        .replace("name = \"all\"\npool", "name = \"all\"\nclose_timeout = \"200ms\"\npool");
    let mut proxy = Proxy::start(&config).await;
    let (mut client, mut behind) = open(&proxy, &mut calls).await;
    behind.send_raw(&[0x82, 100, 1, 2, 3]).await;
    within("half a frame", client.stream.read_exact(&mut [0; 5])).await.expect("a live stream");
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended().await.code(), Some(0));
    assert_eq!(ended(&proxy).await, [json!("drain"), json!("proxy"), json!(false)]);
}

#[tokio::test]
async fn what_is_not_read_is_cut_in_its_slot() {
    let (backend, mut calls) = Backend::by_hand().await;
    let config = drain("window = \"0s\", deadline = \"1h\"", &backend)
        .replace("name = \"all\"\npool", "name = \"all\"\ninspect = \"off\"\npool");
    let mut proxy = Proxy::start(&config).await;
    let (mut client, mut behind) = open(&proxy, &mut calls).await;
    proxy.signal(Signal::TERM);
    assert_eq!(within("the end", client.try_receive()).await, None);
    assert_eq!(within("the end", behind.try_receive()).await, None);
    assert_eq!(ended(&proxy).await, [json!("drain"), json!("proxy"), json!(false)]);
    assert_eq!(proxy.ended().await.code(), Some(0));
}

/// Words and window of the next stop are those of the file as it is then.
#[tokio::test]
async fn a_reload_changes_what_the_next_stop_does() {
    let (backend, mut calls) = Backend::by_hand().await;
    let mut proxy = Proxy::start(&(SOME_DAY.to_owned() + &plain(&[backend.address]))).await;
    let ends = open(&proxy, &mut calls).await;
    assert_eq!(proxy.change_to(&drain("window = \"0s\", code = 1012", &backend)).await, "drain");
    proxy.signal(Signal::TERM);
    part(ends, 1012, "").await;
    assert_eq!(proxy.ended().await.code(), Some(0));
}
