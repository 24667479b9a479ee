//! Two thousand tunnels at once: twice as many descriptors here, and in longhaul.

use futures_util::future::join_all;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::task::JoinSet;

use super::left;
use crate::kit::{Backend, Message, Proxy, plain, within};

const TUNNELS: usize = 2_000;

/// The soft limit of descriptors is what a shell has that opens few files.
fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the hard limit");
}

#[tokio::test]
async fn every_client_gets_a_close_and_none_is_cut() {
    raise_descriptor_limit();
    let backend = Backend::echo("one").await;
    let config = "[server]\ndrain = { delay = \"0s\", window = \"2s\", deadline = \"1h\" }\n".to_owned();
    let mut proxy = Proxy::start(&(config + &plain(&[backend.address]))).await;
    let address = proxy.address("plain");
    let mut clients = JoinSet::new();
    for _ in 0..TUNNELS / 50 {
        let opened = join_all((0..50).map(|_| async {
            let client = crate::kit::Client::connect(address).await;
            let (mut socket, _) = client.open("/", "example.com", "").await;
            assert_eq!(socket.receive_text().await, "one");
            socket
        }));
        for mut socket in opened.await {
            clients.spawn(async move {
                // In the course of the wave, whenever its turn is.
                assert_eq!(socket.receive().await, Message::close(1001, ""));
                socket.send(&Message::close(1001, "")).await;
                assert_eq!(within("the end", socket.try_receive()).await, None);
            });
        }
    }
    proxy.wait_metric("longhaul_tunnels_active{route=\"all\"}", TUNNELS as f64).await;
    proxy.signal(Signal::TERM);
    proxy.wait_metric_in(&left("drain"), 1.0..).await;
    while let Some(client) = within("the end of a client", clients.join_next()).await {
        client.expect("it was told, and nobody cut it");
    }
    assert_eq!(proxy.ended().await.code(), Some(0));
    let log = proxy.log();
    let ends: Vec<_> = log.iter().filter(|line| line["message"] == "close").collect();
    assert_eq!(ends.len(), TUNNELS);
    for end in ends {
        let told = (&end["reason"], &end["clean"], &end["farewell"], &end["close_code"]);
        assert_eq!(told, (&"drain".into(), &true.into(), &"sent".into(), &1001.into()), "{end}");
    }
}
