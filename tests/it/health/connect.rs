//! Deadlines on the way to a backend.

use std::net::SocketAddr;
use std::sync::Mutex;

use socket2::{Domain, Socket, Type};

use super::{refused, who_answers};
use crate::kit::{Backend, Proxy, plain};

/// A port whose queue is full: the kernel drops what else wants to connect.
pub struct Deaf(Socket, Mutex<Vec<Socket>>);

impl Deaf {
    pub fn new() -> Deaf {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        socket.listen(0).expect("a listener");
        let deaf = Deaf(socket, Mutex::default());
        for _ in 0..4 {
            let caller = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            caller.set_nonblocking(true).expect("a socket");
            let _ = caller.connect(&deaf.address().into());
            deaf.1.lock().unwrap().push(caller);
        }
        deaf
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound socket").as_socket().expect("an IP address")
    }
}

#[tokio::test]
async fn connecting_has_a_deadline_and_another_backend_is_tried() {
    let (deaf, backend) = (Deaf::new(), Backend::echo("one").await);
    let config = plain(&[deaf.address(), backend.address])
        + "balance = \"round-robin\"\nconnect_timeout = \"100ms\"\n";
    let proxy = Proxy::start(&config).await;
    assert_eq!(who_answers(&proxy).await, "one");
    let errors = format!(
        "longhaul_backend_connect_errors_total{{pool=\"all\",backend=\"{}\",reason=\"timeout\"}}",
        deaf.address()
    );
    assert_eq!(proxy.metric(&errors).await, 1.0);
    let proxy = Proxy::start(&(plain(&[deaf.address()]) + "connect_timeout = \"100ms\"\n")).await;
    assert_eq!(refused(&proxy).await.0, 504);
    assert_eq!(proxy.record("refused").await["reason"], "backend_connect_timeout");
}

#[tokio::test]
async fn a_handshake_has_a_deadline() {
    let backend = Backend::calls(|call| async move {
        std::future::pending::<()>().await;
        drop(call);
    })
    .await;
    let proxy = Proxy::start(&(plain(&[backend.address]) + "handshake_timeout = \"50ms\"\n")).await;
    assert_eq!(refused(&proxy).await.0, 504);
    assert_eq!(proxy.record("refused").await["reason"], "backend_timeout");
    // Nobody is asked twice: the backend may have acted on it.
    assert_eq!(backend.called(), 1);
}
