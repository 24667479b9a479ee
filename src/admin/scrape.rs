//! `/metrics`, `/healthz` and `/readyz`. Nothing here changes anything or shows a secret, so it may face the network.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use super::serve::{Answer, response, text};
use crate::telemetry::export::{CONTENT_TYPE, Exporter};

/// Answers scrapers and probes.
pub struct Scrape {
    /// Writes the metrics.
    pub exporter: Exporter,
    /// Whether clients should be sent here.
    pub ready: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Answer for Scrape {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are served here\n");
        }
        match request.uri().path() {
            "/metrics" => match self.exporter.text() {
                Ok(body) => response(StatusCode::OK, CONTENT_TYPE, body),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
            },
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" if (self.ready)() => text(StatusCode::OK, "ready\n"),
            "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready: starting or stopping\n"),
            _ => text(StatusCode::NOT_FOUND, "here are /metrics, /healthz and /readyz\n"),
        }
    }
}
