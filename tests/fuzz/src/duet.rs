//! A TLS stream of longhaul, and rustls' own buffered connection as its peer, joined by a wire in memory that whoever
//! drives it cuts as he likes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::tls::session::Session;
use super::tls::stream::TlsStream;

const NAME: &str = "chat.example.com";

/// How two sides speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Whether the stream is the server.
    pub is_server: bool,
    /// Whether it is TLS 1.2, else 1.3.
    pub is_old: bool,
    /// The largest record that the peer sends, if not as large as records may be.
    pub fragment_bytes: Option<usize>,
}

impl Terms {
    /// Every pair of side and version.
    pub fn all(fragment_bytes: Option<usize>) -> [Terms; 4] {
        [(true, true), (true, false), (false, true), (false, false)].map(|(is_server, is_old)| Terms {
            is_server,
            is_old,
            fragment_bytes,
        })
    }
}

/// The two, and the wire between them.
pub struct Duet {
    /// rustls' side.
    pub peer: Connection,
    /// What the peer has sent and the wire has not delivered yet.
    pub on_the_way: VecDeque<u8>,
    /// The stream's end of the wire.
    pub wire: Wire,
    /// What the peer has read.
    pub heard: Vec<u8>,
    handshake: Option<Handshake>,
    stream: Option<Box<TlsStream<Wire>>>,
}

type Handshake = Pin<Box<dyn Future<Output = io::Result<Box<TlsStream<Wire>>>>>>;

/// One end of the wire.
#[derive(Clone)]
pub struct Wire(pub Rc<RefCell<Ends>>);

/// What a wire carries.
pub struct Ends {
    /// To be read by the stream.
    pub arrived: VecDeque<u8>,
    /// Whether nothing follows.
    pub has_ended: bool,
    /// The most that one read takes.
    pub read_max: usize,
    /// How many bytes may still be written, and how many at once.
    pub room: usize,
    /// The most that one write takes.
    pub write_max: usize,
    /// What the stream has written.
    pub written: Vec<u8>,
    /// Whether it has said that it writes no more.
    pub is_shut: bool,
}

impl Duet {
    /// Nothing is said yet.
    pub fn new(terms: Terms) -> Duet {
        let name = ServerName::try_from(NAME).expect("a name");
        let (peer, session) = if terms.is_server {
            let client = ClientConnection::new(client(terms, terms.fragment_bytes), name).expect("a client");
            (client.into(), Session::server(server(terms, None)))
        } else {
            let server = ServerConnection::new(server(terms, terms.fragment_bytes)).expect("a server");
            (server.into(), Session::client(client(terms, None), name))
        };
        Duet::between(peer, session.expect("a session"))
    }

    /// With a peer and a session of one's own.
    pub fn between(mut peer: Connection, session: Session) -> Duet {
        peer.set_buffer_limit(None);
        let wire = Wire::open();
        let handshake: Handshake = Box::pin(TlsStream::handshake(wire.clone(), session, Vec::new()));
        let (on_the_way, heard) = (VecDeque::new(), Vec::new());
        Duet { peer, on_the_way, wire, heard, handshake: Some(handshake), stream: None }
    }

    /// The handshake is over.
    pub fn joined(terms: Terms) -> Duet {
        let mut duet = Duet::new(terms);
        duet.join();
        duet
    }

    /// Performs the handshake, as the wire is.
    pub fn join(&mut self) {
        while self.poll_handshake().is_pending() || self.peer.is_handshaking() {
            self.hear().expect("a handshake");
            self.deliver(usize::MAX);
        }
        // Tickets.
        self.hear().expect("tickets");
    }

    /// Goes on with the handshake.
    pub fn poll_handshake(&mut self) -> Poll<()> {
        self.try_handshake().map(|result| result.expect("a handshake"))
    }

    /// The same, where it may fail.
    pub fn try_handshake(&mut self) -> Poll<io::Result<()>> {
        let Some(handshake) = &mut self.handshake else { return Poll::Ready(Ok(())) };
        let Poll::Ready(result) = handshake.as_mut().poll(&mut context()) else { return Poll::Pending };
        self.handshake = None;
        Poll::Ready(result.map(|stream| self.stream = Some(stream)))
    }

    /// The stream, once the handshake is over.
    pub fn stream(&mut self) -> &mut TlsStream<Wire> {
        self.stream.as_mut().expect("the handshake is over")
    }

    /// The peer has something to say.
    pub fn say(&mut self, bytes: &[u8]) {
        self.peer.writer().write_all(bytes).expect("there is no limit");
        self.collect();
    }

    /// Moves so many bytes from the peer to the stream's end of the wire.
    pub fn deliver(&mut self, count: usize) {
        self.collect();
        let count = count.min(self.on_the_way.len());
        self.wire.0.borrow_mut().arrived.extend(self.on_the_way.drain(..count));
    }

    /// Nothing more will come from the peer.
    pub fn cut(&mut self) {
        self.wire.0.borrow_mut().has_ended = true;
    }

    /// The peer takes all that was written.
    pub fn hear(&mut self) -> Result<(), rustls::Error> {
        let written = std::mem::take(&mut self.wire.0.borrow_mut().written);
        let mut written = written.as_slice();
        while !written.is_empty() {
            // Nothing is taken behind a close_notify.
            if self.peer.read_tls(&mut written).expect("a slice") == 0 {
                break;
            }
            self.peer.process_new_packets()?;
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = self.peer.reader().read(&mut part) {
                self.heard.extend_from_slice(&part[..count]);
            }
        }
        Ok(())
    }

    /// Reads from the stream, with so much room.
    pub fn read(&mut self, room: usize) -> Poll<io::Result<Vec<u8>>> {
        let mut space = vec![0; room];
        let mut buffer = ReadBuf::new(&mut space);
        match Pin::new(self.stream()).poll_read(&mut context(), &mut buffer) {
            Poll::Ready(result) => Poll::Ready(result.map(|()| buffer.filled().to_vec())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Writes to the stream; how many bytes it has taken.
    pub fn write(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.stream()).poll_write(&mut context(), bytes)
    }

    /// Writes several slices.
    pub fn write_slices(&mut self, slices: &[&[u8]]) -> Poll<io::Result<usize>> {
        let slices: Vec<IoSlice<'_>> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
        Pin::new(self.stream()).poll_write_vectored(&mut context(), &slices)
    }

    /// Brings out what the stream keeps.
    pub fn flush(&mut self) -> Poll<io::Result<()>> {
        Pin::new(self.stream()).poll_flush(&mut context())
    }

    /// Ends what the stream sends.
    pub fn shut(&mut self) -> Poll<io::Result<()>> {
        Pin::new(self.stream()).poll_shutdown(&mut context())
    }

    fn collect(&mut self) {
        while self.peer.wants_write() {
            self.peer.write_tls(&mut self.on_the_way).expect("memory");
        }
    }
}

impl Wire {
    fn open() -> Wire {
        Wire(Rc::new(RefCell::new(Ends {
            arrived: VecDeque::new(),
            has_ended: false,
            read_max: usize::MAX,
            room: usize::MAX,
            write_max: usize::MAX,
            written: Vec::new(),
            is_shut: false,
        })))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut ends = self.0.borrow_mut();
        if ends.arrived.is_empty() {
            return if ends.has_ended { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
        let count = ends.arrived.len().min(ends.read_max).min(buffer.remaining());
        buffer.put_slice(&ends.arrived.make_contiguous()[..count]);
        ends.arrived.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut ends = self.0.borrow_mut();
        if ends.is_shut {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(ends.write_max).min(ends.room);
        if count == 0 {
            return Poll::Pending;
        }
        ends.room -= count;
        ends.written.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().is_shut = true;
        Poll::Ready(Ok(()))
    }
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

static PAIR: LazyLock<(CertificateDer<'static>, PrivateKeyDer<'static>)> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
    (made.cert.der().clone(), made.signing_key.into())
});

/// A server's configuration.
pub fn server(terms: Terms, fragment_bytes: Option<usize>) -> Arc<ServerConfig> {
    server_with(aws_lc_rs::default_provider(), terms, fragment_bytes)
}

/// The same with what `provider` can do.
pub fn server_with(
    provider: CryptoProvider,
    terms: Terms,
    fragment_bytes: Option<usize>,
) -> Arc<ServerConfig> {
    let versions = if terms.is_old { [&TLS12] } else { [&TLS13] };
    let builder = ServerConfig::builder_with_provider(provider.into()).with_protocol_versions(&versions);
    let (certificate, key) = &*PAIR;
    let builder = builder.expect("a version").with_no_client_auth();
    let mut config =
        builder.with_single_cert(vec![certificate.clone()], key.clone_key()).expect("a certificate");
    config.max_fragment_size = fragment_bytes;
    Arc::new(config)
}

/// A client's configuration.
pub fn client(terms: Terms, fragment_bytes: Option<usize>) -> Arc<ClientConfig> {
    let versions = if terms.is_old { [&TLS12] } else { [&TLS13] };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&versions);
    let mut roots = RootCertStore::empty();
    roots.add(PAIR.0.clone()).expect("a certificate");
    let mut config = builder.expect("a version").with_root_certificates(roots).with_no_client_auth();
    config.max_fragment_size = fragment_bytes;
    Arc::new(config)
}
