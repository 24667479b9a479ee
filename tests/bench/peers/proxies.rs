//! The proxies, each set up to do the same: take connections at one address, pass WebSocket to one backend, write no log.

mod caddy;
mod envoy;
mod haproxy;
mod longhaul;
mod nginx;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use tempfile::TempDir;

use crate::Options;
use crate::cases::{Case, Door, Group, Variant, Work};
use crate::kit::{Issued, Pki};
use crate::process::{PROXY_CORE, Process};

/// The name in all certificates, and the host that clients ask for.
pub const SERVER_NAME: &str = "localhost";

/// How long a proxy may take to listen.
const START_MAX: Duration = Duration::from_secs(20);

/// A program that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Longhaul,
    Floor,
    Nginx,
    Haproxy,
    Envoy,
    Caddy,
    /// An experiment, by the name that it was given.
    #[value(skip)]
    Relay(&'static str),
}

/// An experiment, and where it is.
#[derive(Clone, Debug)]
pub struct Relay {
    /// Lives as long as the bench.
    pub name: &'static str,
    program: PathBuf,
}

/// What a proxy is told.
pub struct Setup<'s> {
    /// Where clients come in.
    pub door: Door,
    /// The address to bind.
    pub address: SocketAddr,
    /// Where they are sent; it speaks TLS if `door` says so.
    pub backend: SocketAddr,
    /// The listener's certificate; clients trust it, and so does the proxy for the backend's.
    pub issued: &'s Issued,
    /// The file of the authority.
    pub authority: &'s Path,
    /// For the files of the proxy.
    pub folder: &'s Path,
    /// Settings of longhaul.
    pub variant: Variant,
}

/// What all proxies share: programs, backends, certificates.
pub struct Site {
    programs: Vec<(Kind, PathBuf)>,
    plain_backend: SocketAddr,
    tls_backend: SocketAddr,
    issued: Issued,
    authority: PathBuf,
}

/// A running proxy. Killed with its value.
pub struct Proxy {
    /// Its processes.
    pub process: Process,
    /// Where it takes connections.
    pub address: SocketAddr,
    _folder: TempDir,
}

impl Kind {
    /// In the order of the table.
    pub const ALL: [Kind; 6] =
        [Kind::Longhaul, Kind::Floor, Kind::Nginx, Kind::Haproxy, Kind::Envoy, Kind::Caddy];

    /// For the command line and the table.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Longhaul => "longhaul",
            Kind::Floor => "floor",
            Kind::Nginx => "nginx",
            Kind::Haproxy => "haproxy",
            Kind::Envoy => "envoy",
            Kind::Caddy => "caddy",
            Kind::Relay(name) => name,
        }
    }

    /// Whether it is a proxy of others.
    pub fn is_peer(self) -> bool {
        !matches!(self, Kind::Longhaul | Kind::Floor | Kind::Relay(_))
    }

    /// What makes the program say its version.
    fn version_argument(self) -> &'static str {
        match self {
            Kind::Nginx | Kind::Haproxy => "-v",
            Kind::Longhaul | Kind::Envoy => "--version",
            Kind::Floor | Kind::Caddy | Kind::Relay(_) => "version",
        }
    }
}

impl FromStr for Relay {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Relay, &'static str> {
        let (name, program) = text.split_once('=').ok_or("NAME=PROGRAM is missing")?;
        Ok(Relay { name: String::from(name).leak(), program: program.into() })
    }
}

impl Setup<'_> {
    /// Puts the backend, with its scheme, at `SCHEME://ADDRESS`.
    fn backend_url(&self) -> String {
        let scheme = if self.door == Door::TlsBoth { "https" } else { "http" };
        format!("{scheme}://{}", self.backend)
    }

    /// Writes a file of the proxy's.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, text).expect("a writable folder");
        path
    }

    fn has_tls(&self) -> bool {
        self.door != Door::Plain
    }

    fn has_http2(&self) -> bool {
        matches!(self.door, Door::Http2 { .. })
    }
}

impl Site {
    /// Starts the backends.
    pub async fn new(options: &Options, pki: &Pki) -> Site {
        let issued = pki.issue(&[SERVER_NAME]);
        let mut server = crate::tls::server(&issued, crate::tls::provider(Group::X25519));
        // No proxy can resume a session with the backend.
        server.send_tls13_tickets = 0;
        let own = std::env::current_exe().expect("the path of this program");
        let mut programs = vec![
            (Kind::Longhaul, options.longhaul.clone()),
            (Kind::Floor, own),
            (Kind::Nginx, options.nginx.clone()),
            (Kind::Haproxy, options.haproxy.clone()),
            (Kind::Envoy, options.envoy.clone()),
            (Kind::Caddy, options.caddy.clone()),
        ];
        programs.extend(options.relays.iter().map(|relay| (Kind::Relay(relay.name), relay.program.clone())));
        Site {
            programs,
            plain_backend: crate::backend::start(None).await,
            tls_backend: crate::backend::start(Some(server.into())).await,
            issued,
            authority: pki.authority_file(),
        }
    }

    /// The version that a program states.
    pub fn version(&self, kind: Kind) -> Option<String> {
        if matches!(kind, Kind::Floor | Kind::Relay(_)) {
            return Some("of this tree".into());
        }
        let output = Command::new(self.program(kind)).arg(kind.version_argument()).output().ok()?;
        let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().find(|line| !line.trim().is_empty()).map(|line| line.trim().to_string())
    }

    /// Whether the program can be run at all.
    pub fn is_installed(&self, kind: Kind) -> bool {
        let found = self.version(kind).is_some();
        if !found {
            eprintln!("{} is left out: {} does not run", kind.name(), self.program(kind).display());
        }
        found
    }

    /// Starts a proxy for `case` and waits until it listens; `None` where the case is not for it.
    pub async fn start(&self, kind: Kind, case: &Case) -> Option<Proxy> {
        let left_out = match case.door {
            // The floor knows no HTTP, and nginx none of RFC 8441.
            Door::Http2 { .. } => matches!(kind, Kind::Floor | Kind::Nginx),
            _ => kind.is_peer() && case.variant == Variant::TwoWorkers,
        };
        let left_out = left_out
            || matches!(case.work, Work::Pinged) && kind != Kind::Longhaul
            || matches!(kind, Kind::Relay(_))
                && (case.door != Door::Plain || case.variant == Variant::TwoWorkers);
        if left_out {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let setup = Setup {
            door: case.door,
            address: free_address(),
            backend: if case.door == Door::TlsBoth { self.tls_backend } else { self.plain_backend },
            issued: &self.issued,
            authority: &self.authority,
            folder: folder.path(),
            variant: case.variant,
        };
        let mut command = Command::new(self.program(kind));
        match kind {
            Kind::Longhaul => longhaul::configure(&mut command, &setup),
            Kind::Floor => self.configure_floor(&mut command, &setup),
            Kind::Nginx => nginx::configure(&mut command, &setup),
            Kind::Haproxy => haproxy::configure(&mut command, &setup),
            Kind::Envoy => envoy::configure(&mut command, &setup),
            Kind::Caddy => caddy::configure(&mut command, &setup),
            Kind::Relay(name) => {
                command.arg(name).args([setup.address, setup.backend].map(|address| address.to_string()));
            }
        }
        let cores = match case.variant {
            Variant::TwoWorkers => "0,1".to_string(),
            _ => PROXY_CORE.to_string(),
        };
        let mut process = Process::start(&mut command, &cores, folder.path(), kind.name());
        if !listens(&mut process, setup.address).await {
            let errors = std::fs::read_to_string(folder.path().join(format!("{}.err", kind.name())));
            eprintln!("  {} does not start: {}", kind.name(), errors.unwrap_or_default());
            return None;
        }
        Some(Proxy { process, address: setup.address, _folder: folder })
    }

    fn configure_floor(&self, command: &mut Command, setup: &Setup) {
        let threads = if setup.variant == Variant::TwoWorkers { "2" } else { "1" };
        command.arg(crate::floor::ROLE);
        command.args([setup.address, setup.backend].map(|address| address.to_string()));
        command.arg(match setup.door {
            Door::Plain => "plain",
            Door::Tls => "tls",
            Door::TlsBoth => "tls-both",
            Door::Http2 { .. } => unreachable!("the floor has no such door"),
        });
        command.args([&setup.issued.cert, &setup.issued.key]).arg(setup.authority).arg(threads);
    }

    fn program(&self, kind: Kind) -> &Path {
        self.programs.iter().find(|(of, _)| *of == kind).map_or(Path::new(""), |(_, path)| path)
    }
}

/// An address that was free a moment ago: not all proxies can say which one the kernel chose.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

async fn listens(process: &mut Process, address: SocketAddr) -> bool {
    let begun = std::time::Instant::now();
    while begun.elapsed() < START_MAX && process.is_alive() {
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}
