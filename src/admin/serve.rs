//! A small HTTP/1.1 server for few and short requests, over TCP or a unix socket, until another process has that socket.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::lifecycle::Permits;
use crate::net::accept::{Acceptor, EXHAUSTED_PAUSE};

/// Connections at once.
const CONNECTIONS_MAX: usize = 64;
/// A connection lives this long at most.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(120);
/// A request's head must arrive within this time.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// What such a server is for.
pub trait Answer: Send + Sync + 'static {
    /// Answers one request.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Response<Full<Bytes>>> + Send;
}

/// Serves until the runtime ends, or `left` says that another process has the socket: then what is being asked is
/// answered, and nothing more.
pub async fn serve(acceptor: Acceptor, answer: Arc<impl Answer>, left: Left) {
    let permits = Permits::new(CONNECTIONS_MAX);
    let mut leaving = pin!(left.clone().wait());
    loop {
        let next = async { (permits.wait().await, acceptor.accept().await) };
        let (permit, accepted) = tokio::select! {
            biased;
            () = &mut leaving => break,
            next = next => next,
        };
        if let Ok((socket, _)) = accepted
            && let Ok(stream) = TcpStream::from_std(socket)
        {
            let (answer, left) = (answer.clone(), left.clone());
            tokio::spawn(async move {
                let _permit = permit;
                connection(stream, &*answer, left).await;
            });
        } else {
            sleep(EXHAUSTED_PAUSE).await;
        }
    }
    acceptor.leave();
    permits.all_back().await;
}

/// Tells that another process has the socket.
#[derive(Clone)]
pub struct Left(watch::Receiver<bool>);

impl Left {
    /// What tells it, and what is told.
    pub fn new() -> (watch::Sender<bool>, Left) {
        let (sender, receiver) = watch::channel(false);
        (sender, Left(receiver))
    }

    /// Waits for it; for ever when nobody can tell it any more.
    async fn wait(mut self) {
        if self.0.wait_for(|left| *left).await.is_err() {
            std::future::pending().await
        }
    }
}

async fn connection(stream: TcpStream, answer: &impl Answer, left: Left) {
    let service = service_fn(|request| async { Ok::<_, Infallible>(answer.answer(request).await) });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let _ = timeout(CONNECTION_DEADLINE, async {
        tokio::select! {
            biased;
            _ = &mut served => return,
            () = left.wait() => {}
        }
        // Whoever keeps it for the next request asks the other process then.
        served.as_mut().graceful_shutdown();
        let _ = served.await;
    })
    .await;
}

/// A line of text.
pub fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", body.as_bytes().to_vec())
}

/// A whole answer, which nobody may keep.
pub fn response(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
