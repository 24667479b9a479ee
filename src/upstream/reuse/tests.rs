//! What cannot be told apart from outside: which of two rules has kept a connection from being used.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;

use tokio::task::yield_now;

use super::*;
use crate::config::{self, BackendAddress, Balance, Config, TlsVersion};
use crate::net::tls::connect::Settings;
use crate::telemetry::Metrics;
use crate::upstream::backend::Health;
use crate::upstream::members::Members;

const KEEPALIVE: Keepalive =
    Keepalive { idle_max: 100, timeout: Duration::from_secs(60), age_max: Duration::from_secs(60) };

struct Stage {
    listener: TcpListener,
    backend: Arc<Backend>,
    limits: Limits,
}

impl Stage {
    /// A backend, and room for two connections to it.
    fn set() -> Stage {
        let text = "[[listeners]]\nname = \"l\"\naddress = \"127.0.0.1:1\"\n[[routes]]\nname = \"r\"\npool = \"p\"\n\
                    [pools.p]\nbackends = [\"a:1\"]\n";
        let config = Config::parse("a.toml", text, Path::new("/")).unwrap_or_else(|all| panic!("{all}"));
        let address = BackendAddress::Tcp { host: "a".into(), port: 1 };
        renew(2, |_, _| true);
        Stage {
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            backend: Arc::new(Backend::new(Arc::from("p"), address, Health::Up)),
            limits: config.limits,
        }
    }

    /// A connection that waits for a request, and the backend's end of it.
    async fn open(&self, pool: &Pool) -> (Box<Connection>, TcpStream) {
        let near = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        near.set_nonblocking(true).unwrap();
        let near = Stream::Tcp(tokio::net::TcpStream::from_std(near).unwrap());
        let connection = Connection::begin(near, &self.backend, pool, &self.limits).await.unwrap();
        yield_now().await;
        assert!(connection.line.is_ready());
        (connection, self.listener.accept().unwrap().0)
    }
}

fn pool(keepalive: Keepalive, tls: Option<Connector>) -> Pool {
    Pool {
        backends: Arc::from([]),
        sources: crate::net::source::Sources::default(),
        name: Arc::from("p"),
        members: Members::new(&Balance::RoundRobin, Vec::new()),
        secrets: None,
        tls,
        proxy_protocol: None,
        keepalive: Some(keepalive),
        health: None,
        ejection: None,
        retry: None,
        connect_timeout: Duration::from_secs(1),
        handshake_timeout: Duration::from_secs(1),
        response_timeout: Duration::from_secs(1),
        queue: Arc::default(),
        queue_bounds: config::Queue { waiting_max: 1, timeout: Duration::from_secs(1) },
        handshake_rate: None,
        metrics: Metrics::new(1).pool("p"),
    }
}

fn tls() -> Connector {
    let (authorities, certificate, server_name) = (None, None, None);
    let (min_version, session_names_max) = (TlsVersion::V1_2, 1);
    Connector::new(Settings { authorities, certificate, server_name, min_version, session_names_max })
        .unwrap()
}

#[tokio::test]
async fn a_worker_keeps_no_more_than_it_has_room_for() {
    let (stage, pool) = (Stage::set(), pool(KEEPALIVE, None));
    let mut ends = Vec::new();
    for _ in 0..3 {
        let (connection, end) = stage.open(&pool).await;
        connection.give_back();
        ends.push(end);
    }
    assert_eq!(stage.backend.idle.get(), 2);
    assert!(take(&stage.backend, &pool).is_some() && take(&stage.backend, &pool).is_some());
    assert!(take(&stage.backend, &pool).is_none());
    assert_eq!(stage.backend.idle.get(), 0);
}

#[tokio::test]
async fn what_is_spoken_otherwise_is_not_used_even_before_it_is_closed() {
    let stage = Stage::set();
    let (one, other) = (tls(), tls());
    for (kept_by, wanted_by, fits) in [
        (None, None, true),
        (None, Some(&one), false),
        (Some(&one), None, false),
        (Some(&one), Some(&other), false),
        (Some(&one), Some(&one), true),
    ] {
        let (connection, _end) = stage.open(&pool(KEEPALIVE, kept_by.cloned())).await;
        connection.give_back();
        assert_eq!(take(&stage.backend, &pool(KEEPALIVE, wanted_by.cloned())).is_some(), fits);
        assert_eq!(stage.backend.idle.get(), 0);
    }
}

#[tokio::test]
async fn what_is_over_its_time_is_not_used_even_before_it_is_closed() {
    let (stage, short) = (Stage::set(), Keepalive { timeout: Duration::from_millis(1), ..KEEPALIVE });
    let (connection, _end) = stage.open(&pool(short, None)).await;
    connection.give_back();
    // The runtime has no turn.
    thread::sleep(Duration::from_millis(2));
    assert_eq!(stage.backend.idle.get(), 1);
    assert!(take(&stage.backend, &pool(KEEPALIVE, None)).is_none());
}

#[tokio::test]
async fn what_was_in_use_while_things_changed_is_not_kept() {
    let (stage, pool) = (Stage::set(), pool(KEEPALIVE, None));
    let (connection, _end) = stage.open(&pool).await;
    let (kept, _other_end) = stage.open(&pool).await;
    kept.give_back();
    renew(2, |_, _| true);
    connection.give_back();
    assert_eq!(stage.backend.idle.get(), 1);
    // What was idle was looked at.
    let kept = take(&stage.backend, &pool).unwrap();
    kept.give_back();
    assert_eq!(stage.backend.idle.get(), 1);
    renew(2, |_, _| false);
    assert_eq!(stage.backend.idle.get(), 0);
}
