//! Addresses: who the client is, by PROXY header, forwarding fields or socket; unix sockets; both families of IP.

mod families;
mod proxy_in;
mod proxy_out;
mod unix;

use std::net::SocketAddr;

use longhaul::proto::proxy_header::{Header, Version};
use tokio::io::AsyncReadExt;

use crate::kit::{Client, Head};

const GET: &str = "GET /page HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A listener `plain` with these further keys, a route `all`, and a pool `all` with this backend and these further keys.
fn config(listener: &str, backend: &str, pool: &str) -> String {
    format!(
        "[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n{listener}\n\
         [[routes]]\nname = \"all\"\npool = \"all\"\n[pools.all]\nbackends = [\"{backend}\"]\n{pool}\n"
    )
}

/// A header for a client at `source`.
fn proxied(source: &str, version: Version) -> Vec<u8> {
    let destination = "192.0.2.99:443".parse().expect("an address");
    Header::Proxied { source: source.parse().expect("an address"), destination }.write(version)
}

/// Sends `bytes`, and reads whatever comes until the end; a reset is one.
async fn send_all(mut client: Client, bytes: &[u8]) -> Vec<u8> {
    client.send(bytes).await;
    client.rest().await.0
}

/// Reads the PROXY header of a connection to a backend, byte by byte.
async fn read_header(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Header {
    let mut bytes = Vec::new();
    loop {
        bytes.push(stream.read_u8().await.expect("a header"));
        if let Some((header, _)) = longhaul::proto::proxy_header::read(&bytes).expect("a header") {
            return header;
        }
    }
}

/// Who the client is and who spoke, as a backend is told.
fn told(head: &Head) -> (Option<&str>, Option<&str>) {
    (head.get("x-forwarded-for"), head.get("forwarded"))
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}
