//! How many connections are kept, and for how long.

use rustix::process::Signal;
use tokio::time::{Duration, sleep};

use crate::kit::{Backend, Client, Proxy};

use super::{GET, OK, config, idle, kept, request};

#[tokio::test]
async fn as_many_as_the_pool_says() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&config(&backend, "keepalive = { idle_max = 2, timeout = \"1h\" }")).await;
    let mut asked: Vec<(Client, _)> = Vec::new();
    for _ in 0..4 {
        let mut client = proxy.connect("plain").await;
        client.send(GET).await;
        asked.push((client, calls.next().await));
    }
    for (client, call) in &mut asked {
        call.send(OK).await;
        assert_eq!(client.answer().await.1, "ok");
    }
    proxy.wait_metric(&idle(&backend), 2.0).await;
    // The last two have found no room.
    for (_, call) in asked.drain(2..) {
        assert_eq!(call.rest().await, b"");
    }
    // The one that was used last is used first.
    let (mut client, mut call) = asked.pop().expect("two are left");
    client.send(request("GET", "/last")).await;
    assert_eq!(call.next().await.target(), "/last");
    assert_eq!(proxy.metric(&idle(&backend)).await, 1.0);
}

/// One bound for all workers.
#[tokio::test]
async fn as_many_as_the_pool_says_over_all_workers() {
    let (backend, mut calls) = Backend::by_hand().await;
    let config = config(&backend, "keepalive = { idle_max = 3, timeout = \"1h\" }")
        .replace("workers = 1", "workers = 4");
    let proxy = Proxy::start(&config).await;
    let mut asked: Vec<(Client, _)> = Vec::new();
    for _ in 0..8 {
        let mut client = proxy.connect("plain").await;
        client.send(GET).await;
        asked.push((client, calls.next().await));
    }
    for (client, call) in &mut asked {
        call.send(OK).await;
        assert_eq!(client.answer().await.1, "ok");
    }
    proxy.wait_metric(&idle(&backend), 3.0).await;
}

#[tokio::test]
async fn for_as_long_as_the_pool_says() {
    let (proxy, backend, _calls, _client, call) = kept("keepalive = { timeout = \"50ms\" }").await;
    assert_eq!(call.rest().await, b"");
    proxy.wait_metric(&idle(&backend), 0.0).await;
}

#[tokio::test]
async fn a_use_begins_the_time_anew() {
    let (proxy, backend, _calls, mut client, mut call) = kept("keepalive = { timeout = \"2s\" }").await;
    for _ in 0..6 {
        sleep(Duration::from_millis(500)).await;
        client.send(GET).await;
        call.next().await;
        call.send(OK).await;
        assert_eq!(client.answer().await.1, "ok");
    }
    assert_eq!(backend.called(), 1);
    assert_eq!(call.rest().await, b"");
    proxy.wait_metric(&idle(&backend), 0.0).await;
}

#[tokio::test]
async fn until_it_is_too_old() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&config(&backend, "keepalive = { timeout = \"1h\", age_max = \"5ms\" }")).await;
    let mut client = proxy.connect("plain").await;
    client.send(GET).await;
    let mut call = calls.next().await;
    sleep(Duration::from_millis(10)).await;
    call.send(OK).await;
    assert_eq!(client.answer().await.1, "ok");
    assert_eq!(call.rest().await, b"");
}

#[tokio::test]
async fn a_silent_one_is_a_504_and_not_kept() {
    let (proxy, backend, _calls, mut client, mut call) = kept("response_timeout = \"200ms\"").await;
    client.send(request("GET", "/silent")).await;
    call.next().await;
    assert_eq!(client.head().await.status(), 504);
    assert_eq!(call.rest().await, b"");
    assert_eq!(backend.called(), 1);
    proxy.wait_metric(&idle(&backend), 0.0).await;
}

#[tokio::test]
async fn until_the_process_stops() {
    let (mut proxy, backend, mut calls, client, call) = kept("").await;
    let (near, far) = calls.tunnel(proxy.connect("plain").await, "", "").await;
    let mut busy = proxy.connect("plain").await;
    busy.send(request("GET", "/busy")).await;
    let mut call_of_busy = call;
    call_of_busy.next().await;
    let mut second = proxy.connect("plain").await;
    second.send(GET).await;
    let mut idle_one = calls.next().await;
    idle_one.send(OK).await;
    second.answer().await;
    proxy.signal(Signal::TERM);
    // What is idle goes at once, what is in use when it is done; the tunnel stays.
    assert_eq!(idle_one.rest().await, b"");
    call_of_busy.send(OK).await;
    assert_eq!(busy.answer().await.1, "ok");
    assert_eq!(call_of_busy.rest().await, b"");
    drop((client, busy, second));
    assert_eq!(proxy.metric(&idle(&backend)).await, 0.0);
    drop((near, far));
    proxy.ended().await;
}

#[tokio::test]
async fn the_process_does_not_wait_for_what_is_idle() {
    let (mut proxy, _backend, _calls, client, call) = kept("").await;
    drop(client);
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended().await.code(), Some(0));
    assert_eq!(call.rest().await, b"");
}
