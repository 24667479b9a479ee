//! The clients of the bench, and what they measure.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul::proto::frame::{Header, Opcode};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio_rustls::TlsConnector;

use crate::backend::read;
use crate::cases::{Case, Door, Group, Work};
use crate::http2::Shared;
use crate::kit::{Pki, handshake};
use crate::proxies::{Proxy, SERVER_NAME};

/// Tunnels before the first reading of memory, so that what is allocated once is not counted.
const WARM_UP_TUNNELS: usize = 200;
/// Handshakes at a time while tunnels are opened.
const OPENING: usize = 32;
/// From the last tunnel to the reading of memory: allocators give back a little later.
const SETTLE: Duration = Duration::from_secs(2);
/// In which each tunnel has its first Ping, by longhaul's defaults.
const PINGS: Duration = Duration::from_secs(31);
/// How long idle tunnels are watched for the CPU time that they cost.
const REST: Duration = Duration::from_secs(10);
/// Work before the measurement begins.
const WARM_UP: Duration = Duration::from_millis(300);
/// Any single step; only a proxy that does not work takes so long.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often a tunnel that is to be kept is tried again.
const TRIES_AGAIN_MAX: usize = 5;
/// One in so many round trips is timed.
const SAMPLE_EVERY: u64 = 16;

/// What a case came to with one proxy.
#[derive(Default)]
pub struct Figure {
    /// In the unit of the case.
    pub value: f64,
    /// Round trips, in microseconds, sorted.
    pub latencies: Vec<f64>,
    /// Kernel memory of one of a tunnel's four sockets (the client's, the proxy's two, the backend's), in bytes.
    pub socket_bytes: Option<f64>,
    /// The share of tunnels that ended without the backend's Close frame.
    pub untidy: f64,
}

/// How clients work.
pub struct Load {
    x25519: Arc<ClientConfig>,
    mlkem: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    window: Duration,
    idle_tunnels: usize,
}

trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}
type Tunnel = Box<dyn Duplex>;

/// A way in.
#[derive(Clone)]
enum Entrance {
    /// One connection a tunnel.
    Http1(SocketAddr, Option<TlsConnector>),
    /// Connections that tunnels share.
    Http2(Shared),
}

/// A bound socket on a port of the kernel's choice with a queue that a burst of clients does not fill.
pub fn listener() -> socket2::Socket {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    socket.listen(4096).expect("a socket");
    socket
}

impl Load {
    /// Clients that trust `pki`, measure CPU time for `seconds`, and open so many tunnels where memory is measured.
    pub fn new(pki: &Pki, seconds: f64, idle_tunnels: usize) -> Load {
        Load {
            x25519: crate::tls::client(pki, Group::X25519),
            mlkem: crate::tls::client(pki, Group::X25519MLKEM768),
            http2: crate::tls::client_of_http2(pki),
            window: Duration::from_secs_f64(seconds),
            idle_tunnels,
        }
    }

    /// Does the work of `case` through `proxy`.
    ///
    /// # Errors
    /// What the first client that failed met.
    pub async fn measure(&self, case: &Case, proxy: &Proxy) -> io::Result<Figure> {
        let connector = |config: &Arc<ClientConfig>| TlsConnector::from(config.clone());
        let entrance = match (case.door, case.work) {
            (Door::Plain, _) => Entrance::Http1(proxy.address, None),
            (Door::Http2 { per_connection }, _) => {
                Entrance::Http2(Shared::new(proxy.address, connector(&self.http2), per_connection))
            }
            (_, Work::Open { group: Group::X25519MLKEM768, .. }) => {
                Entrance::Http1(proxy.address, Some(connector(&self.mlkem)))
            }
            _ => Entrance::Http1(proxy.address, Some(connector(&self.x25519))),
        };
        LocalSet::new().run_until(self.work(case.work, entrance, proxy)).await
    }

    async fn work(&self, work: Work, entrance: Entrance, proxy: &Proxy) -> io::Result<Figure> {
        match work {
            Work::Idle => self.idle(entrance, proxy, false).await,
            Work::Pinged => self.idle(entrance, proxy, true).await,
            Work::Rest => self.rest(entrance, proxy).await,
            Work::Echo { tunnels, active, message_bytes, in_flight } => {
                let tunnels = open_many(&entrance, tunnels).await?;
                let messages = Rc::new(Messages::new(message_bytes, in_flight));
                self.repeat(proxy, share(tunnels, active), move |tally, mut tunnels| {
                    let messages = messages.clone();
                    async move {
                        loop {
                            for tunnel in &mut tunnels {
                                let begun = Instant::now();
                                messages.echo(tunnel).await?;
                                tally.count(messages.in_flight as u64, begun);
                            }
                        }
                    }
                })
                .await
            }
            Work::Open { active, .. } => {
                self.repeat(proxy, vec![entrance; active], |tally, entrance| async move {
                    loop {
                        let begun = Instant::now();
                        if entrance.open().await?.close().await.is_err() {
                            tally.untidy.set(tally.untidy.get() + 1);
                        }
                        tally.count(1, begun);
                    }
                })
                .await
            }
        }
    }

    async fn idle(&self, entrance: Entrance, proxy: &Proxy, are_pinged: bool) -> io::Result<Figure> {
        let _warm_up = open_many(&entrance, WARM_UP_TUNNELS).await?;
        tokio::time::sleep(SETTLE).await;
        let before = (proxy.process.resident_bytes(), slab_bytes());
        let tunnels = open_many(&entrance, self.idle_tunnels).await?;
        let mut answering = JoinSet::new();
        if are_pinged {
            for mut tunnel in tunnels {
                answering.spawn_local(async move { while answer(&mut tunnel).await.is_ok() {} });
            }
            tokio::time::sleep(PINGS).await;
        } else {
            answering.spawn_local(async move {
                let _tunnels = tunnels;
                std::future::pending().await
            });
        }
        tokio::time::sleep(SETTLE).await;
        let count = self.idle_tunnels as f64;
        let value = (proxy.process.resident_bytes() - before.0) / 1024.0 / count;
        let socket_bytes = Some((slab_bytes() - before.1) / 4.0 / count);
        Ok(Figure { value, socket_bytes, ..Figure::default() })
    }

    async fn rest(&self, entrance: Entrance, proxy: &Proxy) -> io::Result<Figure> {
        let _tunnels = open_many(&entrance, self.idle_tunnels).await?;
        tokio::time::sleep(SETTLE).await;
        let (before, begun) = (proxy.process.cpu(), Instant::now());
        tokio::time::sleep(REST).await;
        let spent = proxy.process.cpu() - before;
        let value = spent.as_secs_f64() * 1000.0 / begun.elapsed().as_secs_f64();
        Ok(Figure { value, ..Figure::default() })
    }

    /// Runs `work` for each of `parts` at the same time, without an end, and divides the CPU time that the proxy spends in
    /// the window by what is counted in it.
    async fn repeat<P, F>(
        &self,
        proxy: &Proxy,
        parts: Vec<P>,
        work: impl Fn(Rc<Tally>, P) -> F,
    ) -> io::Result<Figure>
    where
        F: Future<Output = io::Result<()>> + 'static,
    {
        let tally = Rc::new(Tally::default());
        let mut tasks = JoinSet::new();
        for part in parts {
            tasks.spawn_local(work(tally.clone(), part));
        }
        let window = async {
            tokio::time::sleep(WARM_UP).await;
            tally.latencies.take();
            let before = (proxy.process.cpu(), tally.done.get());
            tokio::time::sleep(self.window).await;
            ((proxy.process.cpu() - before.0), tally.done.get() - before.1)
        };
        let (cpu, done) = tokio::select! {
            measured = window => measured,
            Some(ended) = tasks.join_next() => {
                return Err(ended?.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()));
            }
        };
        if done == 0 {
            return Err(io::Error::other("nothing was done in the window"));
        }
        let mut latencies = tally.latencies.take();
        latencies.sort_by(f64::total_cmp);
        let untidy = tally.untidy.get() as f64 / tally.turns.get() as f64;
        let value = cpu.as_secs_f64() * 1e6 / done as f64;
        Ok(Figure { value, latencies, untidy, ..Figure::default() })
    }
}

/// What all clients of a measurement have done.
#[derive(Default)]
struct Tally {
    done: Cell<u64>,
    turns: Cell<u64>,
    /// Tunnels that ended without the backend's Close frame.
    untidy: Cell<u64>,
    latencies: RefCell<Vec<f64>>,
}

impl Tally {
    fn count(&self, units: u64, begun: Instant) {
        self.done.set(self.done.get() + units);
        self.turns.set(self.turns.get() + 1);
        if self.turns.get().is_multiple_of(SAMPLE_EVERY) {
            self.latencies.borrow_mut().push(begun.elapsed().as_secs_f64() * 1e6);
        }
    }
}

/// What a client sends in one turn, and how much comes back.
struct Messages {
    sent: Vec<u8>,
    answer_bytes: usize,
    in_flight: usize,
}

impl Messages {
    fn new(message_bytes: usize, in_flight: usize) -> Messages {
        // A masking key of zero leaves the payload as it is: nobody on the way needs to know.
        let mask = Some([0; 4]);
        let length = message_bytes as u64;
        let header = Header { fin: true, rsv: 0, opcode: Opcode::Binary, mask, length };
        let (mut frame, mut answer) = (Vec::new(), Vec::new());
        header.write(&mut frame);
        frame.resize(frame.len() + message_bytes, 7);
        Header { mask: None, ..header }.write(&mut answer);
        let answer_bytes = (answer.len() + message_bytes) * in_flight;
        Messages { sent: frame.repeat(in_flight), answer_bytes, in_flight }
    }

    /// Sends, and takes the answer at the same time: a large message does not fit into the sockets on its way.
    async fn echo(&self, tunnel: &mut Tunnel) -> io::Result<()> {
        let (mut reader, mut writer) = tokio::io::split(tunnel);
        let send = async {
            writer.write_all(&self.sent).await?;
            writer.flush().await
        };
        let receive = async {
            let mut missing = self.answer_bytes;
            while missing > 0 {
                match read(&mut reader, <[u8]>::len).await? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    count => missing = missing.checked_sub(count).ok_or(io::ErrorKind::InvalidData)?,
                }
            }
            Ok(())
        };
        tokio::try_join!(send, receive).map(|_| ())
    }
}

impl Entrance {
    /// A tunnel that has echoed a message. Where a proxy loses one now and then it is tried again: what is measured is
    /// another thing.
    async fn open_stubbornly(&self, message: &Messages) -> io::Result<Tunnel> {
        let mut tries = 0;
        loop {
            let try_once = async {
                let mut tunnel = self.open().await?.0;
                message.echo(&mut tunnel).await.map(|()| tunnel)
            };
            match tokio::time::timeout(DEADLINE, try_once).await? {
                Err(_) if tries < TRIES_AGAIN_MAX => tries += 1,
                result => return result,
            }
        }
    }

    async fn open(&self) -> io::Result<Opened> {
        let (address, tls) = match self {
            Entrance::Http1(address, tls) => (address, tls),
            Entrance::Http2(shared) => return Ok(Opened(Box::new(shared.open().await?))),
        };
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let mut tunnel: Tunnel = match tls {
            Some(connector) => {
                let name = ServerName::try_from(SERVER_NAME).expect("a name");
                Box::new(connector.connect(name, tcp).await?)
            }
            None => Box::new(tcp),
        };
        tunnel.write_all(handshake("/ws", SERVER_NAME, "").as_bytes()).await?;
        tunnel.flush().await?;
        let mut head = Vec::with_capacity(512);
        while !head.ends_with(b"\r\n\r\n") {
            if tunnel.read_buf(&mut head).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        match head.starts_with(b"HTTP/1.1 101 ") {
            true => Ok(Opened(tunnel)),
            false => Err(io::Error::other(String::from_utf8_lossy(&head).into_owned())),
        }
    }
}

struct Opened(Tunnel);

impl Opened {
    /// Sends a Close frame, takes the backend's, and waits for the end of the connection.
    async fn close(mut self) -> io::Result<()> {
        self.0.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).await?;
        self.0.flush().await?;
        let mut answer = Vec::with_capacity(16);
        while self.0.read_buf(&mut answer).await? > 0 {}
        match answer == [0x88, 0x02, 0x03, 0xe8] {
            true => Ok(()),
            false => Err(io::Error::other(format!("the Close frame was answered with {answer:x?}"))),
        }
    }
}

/// Opens tunnels, each of which echoes one message.
async fn open_many(entrance: &Entrance, count: usize) -> io::Result<Vec<Tunnel>> {
    let (left, opened) = (Rc::new(Cell::new(count)), Rc::new(RefCell::new(Vec::with_capacity(count))));
    let message = Rc::new(Messages::new(125, 1));
    let mut tasks = JoinSet::new();
    for _ in 0..OPENING.min(count) {
        let (left, opened) = (left.clone(), opened.clone());
        let (message, entrance) = (message.clone(), entrance.clone());
        tasks.spawn_local(async move {
            while left.get() > 0 {
                left.set(left.get() - 1);
                let tunnel = entrance.open_stubbornly(&message).await?;
                opened.borrow_mut().push(tunnel);
            }
            Ok::<(), io::Error>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(opened.take())
}

/// Answers a Ping of longhaul's, which has eight bytes.
async fn answer(tunnel: &mut Tunnel) -> io::Result<()> {
    let mut ping = [0; 2 + 8];
    tunnel.read_exact(&mut ping).await?;
    if ping[..2] != [0x89, 8] {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // Masked by zero.
    let pong = [&[0x8a, 0x88, 0, 0, 0, 0], &ping[2..]].concat();
    tunnel.write_all(&pong).await?;
    tunnel.flush().await
}

/// What the kernel has allocated in small objects, of which sockets are made.
fn slab_bytes() -> f64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Slab:")?.trim().strip_suffix(" kB"));
    line.and_then(|kib| kib.trim().parse::<f64>().ok()).unwrap_or_default() * 1024.0
}

/// Deals `tunnels` out to `hands` clients.
fn share(tunnels: Vec<Tunnel>, hands: usize) -> Vec<Vec<Tunnel>> {
    let mut shares: Vec<Vec<Tunnel>> = (0..hands).map(|_| Vec::new()).collect();
    for (index, tunnel) in tunnels.into_iter().enumerate() {
        shares[index % hands].push(tunnel);
    }
    shares
}
