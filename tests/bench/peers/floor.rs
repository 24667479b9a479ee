//! The floor: the least that a relay in this language and on this runtime does. tokio, tokio-rustls, mimalloc, a scratch
//! buffer per thread; no HTTP, no routes, no counters, no deadlines. What longhaul takes beyond it is the price of its
//! features.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::kit::Issued;
use crate::proxies::SERVER_NAME;

/// The first argument of a process in this role.
pub const ROLE: &str = "floor";

/// As longhaul.
const SCRATCH_BYTES: usize = longhaul::tunnel::scratch::SCRATCH_BYTES;

/// The arguments: the address to bind, that of the backend, which legs have TLS, the files of a chain, a key and an
/// authority, and the number of threads.
pub fn main(arguments: &[String]) {
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let [address, backend, tls, cert, key, authority, threads] = arguments else {
        panic!("the floor is started by the bench");
    };
    let issued = Issued { cert: PathBuf::from(cert), key: PathBuf::from(key), der: Vec::new() };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let acceptor = || TlsAcceptor::from(Arc::new(crate::tls::server(&issued, provider)));
    let door = Arc::new(Door {
        address: address.parse().expect("an address"),
        backend: backend.parse().expect("an address"),
        acceptor: (tls != "plain").then(acceptor),
        connector: (tls == "tls-both").then(|| connector(authority)),
    });
    let threads: usize = threads.parse().expect("a number");
    for _ in 1..threads {
        let door = door.clone();
        std::thread::spawn(move || run(door));
    }
    run(door);
}

struct Door {
    address: SocketAddr,
    backend: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    connector: Option<TlsConnector>,
}

fn connector(authority: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).expect("an authority")).expect("an authority");
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// Each thread has a socket of its own (SO_REUSEPORT).
fn run(door: Arc<Door>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = listen(door.address);
        loop {
            let Ok((tcp, _)) = listener.accept().await else { continue };
            let door = door.clone();
            tokio::spawn(async move { connection(tcp, &door).await });
        }
    });
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_reuseport(true).expect("an option");
    socket.bind(address).expect("a free address");
    socket.listen(4096).expect("a socket")
}

async fn connection(tcp: TcpStream, door: &Door) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let Some(acceptor) = &door.acceptor else {
        let backend = connect(door).await?;
        tokio::spawn(Relay::new(tcp, backend));
        return Ok(());
    };
    let client = Box::new(acceptor.accept(tcp).await?);
    let backend = connect(door).await?;
    let Some(connector) = &door.connector else {
        tokio::spawn(Relay::new(client, backend));
        return Ok(());
    };
    let name = ServerName::try_from(SERVER_NAME).expect("a name");
    let backend = Box::new(connector.connect(name, backend).await?);
    tokio::spawn(Relay::new(client, backend));
    Ok(())
}

async fn connect(door: &Door) -> io::Result<TcpStream> {
    let backend = TcpStream::connect(door.backend).await?;
    backend.set_nodelay(true)?;
    Ok(backend)
}

struct Relay<C, B> {
    client: C,
    backend: B,
    up: Flow,
    down: Flow,
}

#[derive(Default)]
struct Flow {
    kept: Vec<u8>,
    passed: usize,
    unflushed: bool,
    ended: bool,
}

impl<C, B> Relay<C, B> {
    fn new(client: C, backend: B) -> Relay<C, B> {
        Relay { client, backend, up: Flow::default(), down: Flow::default() }
    }
}

impl<C, B> Future for Relay<C, B>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        thread_local! {
            static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
        }
        let Relay { client, backend, up, down } = self.get_mut();
        SCRATCH.with_borrow_mut(|scratch| {
            let up = up.poll(context, client, backend, scratch);
            let down = down.poll(context, backend, client, scratch);
            match (up, down) {
                (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => Poll::Ready(()),
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
    }
}

impl Flow {
    fn poll<S: AsyncRead + Unpin, R: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        source: &mut S,
        reader: &mut R,
        scratch: &mut [u8],
    ) -> Poll<io::Result<()>> {
        loop {
            while self.passed < self.kept.len() {
                self.passed += ready!(Pin::new(&mut *reader).poll_write(context, &self.kept[self.passed..]))?;
            }
            (self.kept, self.passed) = (Vec::new(), 0);
            if self.ended {
                return Pin::new(reader).poll_shutdown(context);
            }
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut *source).poll_read(context, &mut buffer) {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    if self.unflushed && Pin::new(reader).poll_flush(context)?.is_ready() {
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
            let mut bytes = buffer.filled();
            self.ended = bytes.is_empty();
            self.unflushed = true;
            while !bytes.is_empty() {
                match Pin::new(&mut *reader).poll_write(context, bytes)? {
                    Poll::Ready(count) => bytes = &bytes[count..],
                    Poll::Pending => {
                        self.kept = bytes.to_vec();
                        break;
                    }
                }
            }
        }
    }
}
