//! The loops that a message or a handshake goes through and that need no socket, for valgrind to count their
//! instructions: each runs [`ROUNDS`] times and then twice as often, and a call of [`boundary`] tells where.

use std::hint::black_box;
use std::io;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::Version;
use longhaul::config::{BackendAddress, Balance, Hash, HashKey, Inspect, Pings, State};
use longhaul::proto::frame::{Header, Opcode, Violation};
use longhaul::proto::limit::Limits;
use longhaul::proto::peer::Peer;
use longhaul::proto::rate::Rate;
use longhaul::proto::scan::{Frame, Scanner, Side, Step};
use longhaul::proto::weave::{Watch, Weave};
use longhaul::telemetry::Metrics;
use longhaul::telemetry::access::Id;
use longhaul::telemetry::cells::enter_worker;
use longhaul::telemetry::labels::Direction;
use longhaul::tunnel::Terms;
use longhaul::tunnel::flow::Flow;
use longhaul::tunnel::scratch::SCRATCH_BYTES;
use longhaul::tunnel::sessions::Session;
use longhaul::tunnel::tap::Tap;
use longhaul::upstream::backend::{Backend, Health};
use longhaul::upstream::members::{Member, Members, Tried, Wish};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::kit::Message;
use crate::router;

/// What [`run`] is called by.
pub const LOOPS: &str = "loops";

/// How often a loop runs at first.
pub const ROUNDS: usize = 100;

/// Runs all of them, and tells their names in their order.
pub fn run() -> ExitCode {
    scanner();
    flow("flow, 125 bytes", Scanner::new(Side::Client, false));
    flow("flow, 125 bytes, blind", Scanner::blind());
    tunnel("tunnel, 125 bytes, observe", Scanner::new(Side::Client, false), None);
    tunnel("tunnel, 125 bytes, limits", Scanner::new(Side::Client, false), Some(limits()));
    tunnel("tunnel, 125 bytes, off", Scanner::blind(), None);
    for routes in [10, 10_000] {
        router::hosts_and_paths(routes);
        router::conditions(routes);
    }
    let slow_start = Some(Duration::from_secs(30));
    for members in [3, 100, 5_000] {
        pool("round robin", &Balance::RoundRobin, members);
        weighted("round robin by weights", &Balance::RoundRobin, members);
        pool("least connections", &Balance::LeastConnections { slow_start }, members);
        pool("random", &Balance::Random, members);
        pool("power of two", &Balance::PowerOfTwo { slow_start }, members);
        pool("hash", &Balance::Hash(Hash { key: HashKey::Path, load_max: None }), members);
        pool("bounded hash", &Balance::Hash(Hash { key: HashKey::Path, load_max: Some(125) }), members);
        seats("least connections", &Balance::LeastConnections { slow_start }, members);
        seats("power of two", &Balance::PowerOfTwo { slow_start }, members);
    }
    ExitCode::SUCCESS
}

/// Valgrind ends a part of its counts whenever this is called.
#[inline(never)]
fn boundary() {
    black_box(());
}

/// Runs a loop, for its instructions to be counted.
pub fn measure(name: &str, mut work: impl FnMut(usize)) {
    // What happens once only.
    work(0);
    boundary();
    repeat(ROUNDS, &mut work);
    boundary();
    repeat(2 * ROUNDS, &mut work);
    boundary();
    println!("{name}");
}

/// Not inlined, so that both runs are the same instructions.
#[inline(never)]
fn repeat(rounds: usize, work: &mut impl FnMut(usize)) {
    for round in 0..rounds {
        work(black_box(round));
    }
}

fn scanner() {
    let frame = Message::binary(vec![7; 125]).frame(true);
    let mut small = Scanner::new(Side::Client, false);
    measure("scanner, a frame of 125 bytes", |_| {
        assert!(matches!(small.step(&mut black_box(&*frame)), Step::Frame(_)));
    });
    let mut large = Scanner::new(Side::Client, false);
    let mut header = Vec::new();
    Header { fin: true, rsv: 0, opcode: Opcode::Binary, mask: Some([1; 4]), length: 1 << 40 }
        .write(&mut header);
    large.step(&mut &*header);
    let chunk = vec![7; 64 << 10];
    measure("scanner, 64 KiB within a frame", |_| {
        assert_eq!(large.step(&mut black_box(&*chunk)), Step::More);
    });
}

/// A message, and then nothing until it is rearmed.
struct Source {
    frame: Vec<u8>,
    armed: bool,
}

impl AsyncRead for Source {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !std::mem::take(&mut self.armed) {
            return Poll::Pending;
        }
        buffer.put_slice(&self.frame);
        Poll::Ready(Ok(()))
    }
}

/// Takes everything at once.
struct Sink;

impl AsyncWrite for Sink {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(black_box(bytes).len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// One direction of a tunnel, one message in flight, over streams in memory.
fn flow(name: &str, scanner: Scanner) {
    let mut context = Context::from_waker(Waker::noop());
    let mut source = Source { frame: Message::binary(vec![7; 125]).frame(true), armed: false };
    let mut moved = Moved(0);
    let (mut flow, _) = Flow::new(Weave::new(scanner, false), &[], &mut moved);
    let mut scratch = vec![0; SCRATCH_BYTES];
    measure(name, |_| {
        source.armed = true;
        moved = Moved(0);
        let polled = flow.poll(&mut context, &mut source, &mut Sink, &mut scratch, &mut moved);
        assert!(polled.is_pending() && moved.0 == 131);
    });
}

/// A watch that only adds up.
struct Moved(usize);

impl Watch for Moved {
    fn taken(&mut self, bytes: usize) {
        self.0 += bytes;
    }

    fn frame(&mut self, _: Frame, _: &Scanner) {}

    fn violation(&mut self, _: Violation) {}
}

/// The same with all that a tunnel counts of it: for its route, and for itself.
fn tunnel(name: &str, scanner: Scanner, limits: Option<Limits>) {
    let mut context = Context::from_waker(Waker::noop());
    let mut source = Source { frame: Message::binary(vec![7; 125]).frame(true), armed: false };
    let terms = Terms {
        route: Arc::from("chat"),
        idle_timeout: Duration::from_secs(60),
        max_age: None,
        half_close_timeout: Duration::from_secs(60),
        close_timeout: Duration::from_secs(5),
        to_backend: None,
        to_client: None,
        record_frames: None,
        write_timeout: None,
        inspect: Inspect::Observe,
        pings: Pings { client: None, backend: None, timeout: Duration::from_secs(20) },
        metrics: Metrics::new(1).route("chat"),
    };
    let client = Peer::Unix.address();
    let session =
        Session::new(Id::next(), client, Arc::new(terms), Arc::from("backend"), None, Version::HTTP_11);
    enter_worker(0);
    let mut weave = Weave::new(scanner, false);
    if let Some(limits) = limits {
        weave.limit(limits);
    }
    let (mut flow, _) = Flow::new(weave, &[], &mut Tap::new(&session, Direction::ToBackend));
    let mut scratch = vec![0; SCRATCH_BYTES];
    measure(name, |_| {
        source.armed = true;
        let mut tap = Tap::new(&session, Direction::ToBackend);
        let polled = flow.poll(&mut context, &mut source, &mut Sink, &mut scratch, &mut tap);
        assert!(polled.is_pending());
    });
}

/// All that there are, and none that is reached.
fn limits() -> Limits {
    let rate = || Some(Rate::new(1_000_000_000, 1_000_000_000));
    Limits {
        frame_max: Some(1 << 20),
        message_max: Some(1 << 20),
        frames: rate(),
        messages: rate(),
        bytes: rate(),
        control: rate(),
        waits: true,
    }
}

fn pool(name: &str, balance: &Balance, count: usize) {
    picks(name, &members(balance, count, None, 1));
}

/// The same, of weights up to 10.
fn weighted(name: &str, balance: &Balance, count: usize) {
    picks(name, &members(balance, count, None, 10));
}

/// Of all that is drawn.
const SEED: u64 = 1;

fn picks(name: &str, members: &Members) {
    let count = members.all().len();
    // What is drawn is the same each time, and so is what it costs.
    fastrand::seed(SEED);
    measure(&format!("pool, {name}, {} backends", thousands(count)), |round| {
        let wish = Wish { key: Some(round as u64), ..Wish::default() };
        assert!(members.pick(black_box(wish), black_box(&mut Tried::default())).is_some());
    });
}

/// The same for tunnels, where backends have a bound.
fn seats(name: &str, balance: &Balance, count: usize) {
    let members = members(balance, count, Some(10), 1);
    fastrand::seed(SEED);
    measure(&format!("seats, {name}, {} backends", thousands(count)), |_| {
        assert!(members.seat(black_box(Wish::default()), black_box(&mut Tried::default())).is_ok());
    });
}

/// So many, of weights up to `weight`.
fn members(balance: &Balance, count: usize, seats_max: Option<usize>, weight: u32) -> Members {
    let member = |index| {
        let host = format!("192.0.{}.{}", index / 256, index % 256);
        let address = BackendAddress::Tcp { host, port: 80 };
        let backend = Arc::new(Backend::new(Arc::from("pool"), address, Health::Up));
        backend.set_seats_max(seats_max);
        let weight = 1 + index % weight;
        Member { backend, weight, state: State::Active, is_kept: false, rank: 0, seats_max }
    };
    let count = u32::try_from(count).expect("a few");
    Members::new(balance, (0..count).map(member).collect())
}

/// `10,000`
pub fn thousands(number: usize) -> String {
    if number < 1000 { number.to_string() } else { format!("{},{:03}", number / 1000, number % 1000) }
}
