//! An embedded echo backend: a page, and WebSockets that send back what they get.
//!
//! `/ws` first says which backend answers; `/echo` only echoes; `/refuse` declines the handshake; `/health` is for the
//! proxy's probes.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::thread;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::proto::handshake::{read_offer, write_switching};

/// The subprotocol that the backend speaks when it is offered.
const SUBPROTOCOL: &str = "echo.longhaul";

/// The largest message that comes back.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Starts the backend `name` on a thread of its own.
///
/// # Errors
/// When no port or thread is to be had.
pub fn start(name: &'static str) -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name(format!("demo-{name}")).spawn(move || {
        runtime.block_on(async {
            if let Ok(listener) = TcpListener::from_std(listener) {
                serve(name, &listener).await;
            }
        });
    })?;
    Ok(address)
}

async fn serve(name: &'static str, listener: &TcpListener) {
    loop {
        // The proxy is the only client: when this machine has no descriptors left, the proxy pauses, too.
        let Ok((tcp, _)) = listener.accept().await else {
            tokio::time::sleep(crate::net::accept::EXHAUSTED_PAUSE).await;
            continue;
        };
        let _ = tcp.set_nodelay(true);
        let service = service_fn(move |request| async move { Ok::<_, Infallible>(answer(name, request)) });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new());
        let connection = builder.serve_connection(TokioIo::new(tcp), service).with_upgrades();
        tokio::spawn(async move {
            let _ = connection.await;
        });
    }
}

fn answer(name: &'static str, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_string();
    let upgrade = hyper::upgrade::on(&mut request);
    let (head, _) = request.into_parts();
    match (path.as_str(), read_offer(&head)) {
        ("/ws" | "/echo", Ok(Some(offer))) => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            write_switching(&offer, response.headers_mut());
            if offer.protocols.iter().any(|protocol| protocol == SUBPROTOCOL) {
                let agreed = HeaderValue::from_static(SUBPROTOCOL);
                response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, agreed);
            }
            let greeting = (path == "/ws").then(|| format!("{{\"backend\":\"{name}\"}}"));
            tokio::spawn(async move {
                if let Ok(upgraded) = upgrade.await {
                    let _ = echo(TokioIo::new(upgraded), greeting).await;
                }
            });
            response
        }
        ("/ws" | "/echo", _) => {
            text(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket: connect with ws:// or wss://\n")
        }
        ("/refuse", _) => text(StatusCode::FORBIDDEN, "this backend refuses every handshake here\n"),
        ("/health", _) => text(StatusCode::OK, "ok\n"),
        ("/", _) => file("text/html; charset=utf-8", include_str!("page.html")),
        ("/page.css", _) => file("text/css; charset=utf-8", include_str!("page.css")),
        ("/page.js", _) => file("text/javascript; charset=utf-8", include_str!("page.js")),
        _ => text(StatusCode::NOT_FOUND, "nothing here\n"),
    }
}

/// Sends back every message, whole, until the client closes.
async fn echo(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    greeting: Option<String>,
) -> Result<(), tungstenite::Error> {
    let mut config = WebSocketConfig::default();
    config.read_buffer_size = 16 * 1024;
    config.max_message_size = Some(MESSAGE_BYTES_MAX);
    config.max_frame_size = Some(MESSAGE_BYTES_MAX);
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    if let Some(greeting) = greeting {
        socket.send(Message::text(greeting)).await?;
    }
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn file(content_type: &'static str, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::OK, body);
    let policy = HeaderValue::from_static("default-src 'self'; connect-src 'self' ws: wss:");
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
