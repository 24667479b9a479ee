//! `/metrics`, `/healthz` and `/readyz`. Nothing here changes anything or shows a secret, so it may face the network.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::lifecycle::Permits;
use crate::net::accept::{AcceptError, Acceptor, EXHAUSTED_PAUSE};
use crate::telemetry::export::{CONTENT_TYPE as METRICS_TYPE, Exporter};

/// Scrapers at once.
const CONNECTIONS_MAX: usize = 64;
/// A scraper's connection lives this long at most.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(120);
/// A request's head must arrive within this time.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// Answers scrapers and probes.
pub struct Scrape {
    /// Writes the metrics.
    pub exporter: Exporter,
    /// Whether clients should be sent here.
    pub ready: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Scrape {
    /// Serves until the runtime ends.
    pub async fn run(self: Arc<Scrape>, acceptor: Acceptor) {
        let permits = Permits::new(CONNECTIONS_MAX);
        loop {
            let permit = permits.wait().await;
            match acceptor.accept().await {
                Ok((socket, _)) => {
                    let scrape = self.clone();
                    tokio::spawn(async move {
                        let _permit = permit;
                        if let Ok(tcp) = TcpStream::from_std(socket) {
                            let _ = timeout(CONNECTION_DEADLINE, scrape.serve(tcp)).await;
                        }
                    });
                }
                Err(AcceptError::Exhausted) => sleep(EXHAUSTED_PAUSE).await,
                Err(_) => {}
            }
        }
    }

    async fn serve(&self, tcp: TcpStream) -> Result<(), hyper::Error> {
        let service = service_fn(|request| async move { Ok::<_, Infallible>(self.answer(&request)) });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE);
        builder.serve_connection(TokioIo::new(tcp), service).await
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are served here\n");
        }
        match request.uri().path() {
            "/metrics" => match self.exporter.text() {
                Ok(body) => answer(StatusCode::OK, METRICS_TYPE, body),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
            },
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" if (self.ready)() => text(StatusCode::OK, "ready\n"),
            "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready: starting or stopping\n"),
            _ => text(StatusCode::NOT_FOUND, "here are /metrics, /healthz and /readyz\n"),
        }
    }
}

fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", body.as_bytes().to_vec())
}

fn answer(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
