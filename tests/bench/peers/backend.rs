//! The backend of the bench: answers WebSocket handshakes and echoes frames, unmasked, as they come. It belongs to the
//! load: what it costs is nobody's figure.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use longhaul::proto::frame::{HEADER_BYTES_MAX, Header, Opcode};
use rustls::ServerConfig;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// One read, at most.
const SCRATCH_BYTES: usize = 64 * 1024;
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Serves for as long as the runtime lives; with `tls`, over TLS.
pub async fn start(tls: Option<Arc<ServerConfig>>) -> SocketAddr {
    let listener = super::load::listener();
    let listener = TcpListener::from_std(listener.into()).expect("a socket");
    let address = listener.local_addr().expect("an address");
    let acceptor = tls.map(TlsAcceptor::from);
    tokio::spawn(async move {
        loop {
            let Ok((tcp, _)) = listener.accept().await else { continue };
            tokio::spawn(connection(tcp, acceptor.clone()));
        }
    });
    address
}

async fn connection(tcp: TcpStream, acceptor: Option<TlsAcceptor>) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    match acceptor {
        Some(acceptor) => serve(Box::new(acceptor.accept(tcp).await?)).await,
        None => serve(tcp).await,
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> io::Result<()> {
    let head = read_head(&mut stream).await?;
    stream.write_all(switching(&head)?.as_bytes()).await?;
    drop(head);
    let mut echo = Echo::default();
    loop {
        // A part of a header has no answer yet.
        let (ended, answer) = read(&mut stream, |bytes| (bytes.is_empty(), echo.answer(bytes))).await?;
        stream.write_all(&answer).await?;
        stream.flush().await?;
        if ended || echo.closed {
            // RFC 6455 7.1.1: the server ends the connection first.
            return stream.shutdown().await;
        }
    }
}

async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(1024);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > HEAD_BYTES_MAX || stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

fn switching(head: &[u8]) -> io::Result<String> {
    let text = std::str::from_utf8(head).map_err(io::Error::other)?;
    let value = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_string())
    };
    let key = text.lines().find_map(value).ok_or(io::ErrorKind::InvalidData)?;
    // RFC 6455 4.2.2.
    let accept = STANDARD.encode(Sha1::digest(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ))
}

/// Reads once, into a buffer that all connections share.
pub async fn read<S: AsyncRead + Unpin, T>(
    stream: &mut S,
    use_bytes: impl FnOnce(&[u8]) -> T,
) -> io::Result<T> {
    thread_local! {
        static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
    }
    let mut use_bytes = Some(use_bytes);
    std::future::poll_fn(|context| {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            std::pin::Pin::new(&mut *stream).poll_read(context, &mut buffer).map_ok(|()| {
                let use_bytes = use_bytes.take().expect("polled once after it was ready");
                use_bytes(buffer.filled())
            })
        })
    })
    .await
}

/// Turns frames of a client, whose masking keys are zero, into frames of a server.
#[derive(Default)]
struct Echo {
    /// The start of a header whose end has not come yet.
    held: Vec<u8>,
    /// Payload of the present frame that is still to come.
    remaining: usize,
    closed: bool,
}

impl Echo {
    fn answer(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut answer = Vec::with_capacity(bytes.len() + HEADER_BYTES_MAX);
        while !bytes.is_empty() {
            if self.remaining == 0 {
                let held_bytes = self.held.len();
                self.held.extend_from_slice(&bytes[..bytes.len().min(HEADER_BYTES_MAX)]);
                let Some((header, length)) = Header::read(&self.held).expect("valid frames") else {
                    break;
                };
                self.held.clear();
                bytes = &bytes[length - held_bytes..];
                self.remaining = header.length as usize;
                self.closed |= header.opcode == Opcode::Close;
                Header { mask: None, ..header }.write(&mut answer);
            }
            let (payload, rest) = bytes.split_at(self.remaining.min(bytes.len()));
            answer.extend_from_slice(payload);
            self.remaining -= payload.len();
            bytes = rest;
        }
        answer
    }
}
