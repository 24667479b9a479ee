//! `longhaul demo`: the main job on embedded defaults. Two echo backends and a proxy in front of them, all in this
//! process, with a certificate made in memory.

mod backend;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair};

use crate::config::{At, Certificate, Config, Pem, Place, Tls, TlsVersion, UnknownName};

/// Ports that are tried after the one that was wanted.
const PORTS_TRIED: u16 = 100;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What to tell about a demo.
pub struct Introduction {
    tls_port: u16,
    plain_port: u16,
    metrics_port: u16,
}

/// Starts the backends and makes the configuration of the proxy in front of them.
///
/// # Errors
/// When no certificate can be made, no port is free, or no thread can be started.
pub fn prepare() -> io::Result<(Config, Introduction)> {
    let east = backend::start("east")?;
    let west = backend::start("west")?;
    let (tls_port, plain_port, metrics_port) = (free_port(8443)?, free_port(8080)?, free_port(9901)?);
    // `localhost` is 127.0.0.1 and ::1, and a browser may try either; a machine without IPv6 has the first alone.
    let mut listeners = String::new();
    for (ip, suffix) in [("127.0.0.1", ""), ("[::1]", "-v6")] {
        for (name, port) in [("tls", tls_port), ("plain", plain_port)] {
            let address = format!("{ip}:{port}");
            if suffix.is_empty() || TcpListener::bind(&address).is_ok() {
                listeners += &format!("[[listeners]]\nname = \"{name}{suffix}\"\naddress = \"{address}\"\n");
            }
        }
    }
    let text = format!(
        r#"
[server]
drain = {{ delay = "0s", window = "0s", deadline = "1s" }}
[log]
level = "warn"
access = false
[metrics]
address = "127.0.0.1:{metrics_port}"
{listeners}
[[routes]]
name = "demo"
pool = "echo"
[pools.echo]
balance = "round-robin"
backends = ["{east}", "{west}"]
health = {{ kind = "http", path = "/health", interval = "2s" }}
"#
    );
    let mut config = Config::parse("demo", &text, Path::new(".")).map_err(io::Error::other)?;
    let certificate = self_signed()?;
    for listener in &mut config.listeners {
        if listener.name.value.starts_with("tls") {
            let certificates = vec![certificate.clone()];
            listener.tls = Some(Tls {
                certificates,
                unknown_name: UnknownName::Default,
                client_certificates: None,
                min_version: TlsVersion::V1_2,
                ciphers: None,
                ticket_keys: None,
                http2: true,
                extended_connect: false,
            });
        }
    }
    Ok((config, Introduction { tls_port, plain_port, metrics_port }))
}

impl Introduction {
    /// Tells where everything is, and how to try it.
    ///
    /// # Errors
    /// When `out` takes nothing.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        let Introduction { tls_port, plain_port, metrics_port } = self;
        write!(
            out,
            "\
longhaul {version} demo: two echo backends, east and west, behind one proxy

  page        https://localhost:{tls_port}/   (the certificate is self-signed: your browser will ask)
              http://localhost:{plain_port}/
  WebSocket   wss://localhost:{tls_port}/ws
              ws://localhost:{plain_port}/ws
  metrics     http://127.0.0.1:{metrics_port}/metrics

Open the page, or try it from a shell:

  npx wscat --no-check --connect wss://localhost:{tls_port}/ws
  curl --silent http://127.0.0.1:{metrics_port}/metrics | grep ^longhaul_tunnel

Ctrl-C ends it.
",
            version = env!("CARGO_PKG_VERSION")
        )?;
        out.flush()
    }
}

/// `wanted`, or the next port that is free.
fn free_port(wanted: u16) -> io::Result<u16> {
    let mut taken = io::Error::from(io::ErrorKind::AddrInUse);
    for port in wanted..wanted + PORTS_TRIED {
        match TcpListener::bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)) {
            Ok(_) => return Ok(port),
            Err(error) => taken = error,
        }
    }
    Err(taken)
}

fn self_signed() -> io::Result<Certificate> {
    let names = ["localhost".to_string(), "127.0.0.1".to_string(), "::1".to_string()];
    let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
    // Some clients refuse certificates that are valid for years.
    let now = SystemTime::now();
    (params.not_before, params.not_after) = ((now - DAY).into(), (now + 90 * DAY).into());
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let certificate = params.self_signed(&key).map_err(io::Error::other)?;
    let inline = |text| At { value: Pem::Inline(text), place: Place::default() };
    Ok(Certificate { cert: inline(certificate.pem()), key: inline(key.serialize_pem()) })
}
