//! The whole path of a tunnel, once.

use crate::kit::{Backend, Client, Pki, Proxy, plain};

#[tokio::test]
async fn a_message_goes_to_the_backend_and_back() {
    let backend = Backend::echo("one").await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    let (mut socket, _) = proxy.connect("plain").await.open("/ws", "example.com", "").await;
    assert_eq!(socket.receive_text().await, "one");
    socket.round_trip("hello").await;
    proxy.wait_metric("longhaul_tunnels_active{route=\"all\"}", 1.0).await;
    socket.close(1000).await;
    let close = proxy.record("close").await;
    assert_eq!((close["reason"].as_str(), close["initiator"].as_str()), (Some("closed"), Some("client")));
    assert_eq!(close["close_code"], 1000);
    proxy.wait_metric("longhaul_tunnels_active{route=\"all\"}", 0.0).await;
}

#[tokio::test]
async fn the_same_over_tls() {
    let (backend, pki) = (Backend::echo("one").await, Pki::new());
    let certificate = pki.issue(&["chat.example.com"]);
    let tls = format!("address = \"127.0.0.1:0\"\ntls = {{ certificates = [{}] }}", certificate.entry());
    let config = plain(&[backend.address]).replacen("address = \"127.0.0.1:0\"", &tls, 1);
    let proxy = Proxy::start(&config).await;
    let client = Client::connect_tls(proxy.address("plain"), &pki, "chat.example.com").await;
    let (mut socket, _) = client.open("/ws", "chat.example.com", "").await;
    assert_eq!(socket.receive_text().await, "one");
    socket.round_trip("hello").await;
    socket.close(1000).await;
}
