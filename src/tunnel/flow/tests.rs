use std::collections::VecDeque;
use std::task::Waker;

use proptest::prelude::*;

use super::*;
use crate::proto::frame::{Header, Opcode, Violation, unmask};
use crate::proto::limit::{Limit, Limits};
use crate::proto::rate::Rate;
use crate::proto::scan::{Frame, Kind, Scanner, Side};
use crate::telemetry::labels::Direction;
use crate::tunnel::inject;

/// Gives its pieces one by one, and between them nothing.
struct Source(VecDeque<Vec<u8>>);

impl AsyncRead for Source {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.0.pop_front() {
            Some(piece) if piece.is_empty() => Poll::Pending,
            Some(mut piece) => {
                let rest = piece.split_off(piece.len().min(buffer.remaining()));
                if !rest.is_empty() {
                    self.0.push_front(rest);
                }
                buffer.put_slice(&piece);
                Poll::Ready(Ok(()))
            }
            None => Poll::Ready(Ok(())),
        }
    }
}

/// Takes so many bytes at a time, 0 of them not now.
struct Reader {
    taken: Vec<u8>,
    appetite: VecDeque<usize>,
    ended: bool,
}

impl AsyncWrite for Reader {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        assert!(!self.ended, "bytes behind the end");
        let count = self.appetite.pop_front().unwrap_or(usize::MAX).min(bytes.len());
        if count == 0 {
            return Poll::Pending;
        }
        self.taken.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ended = true;
        Poll::Ready(Ok(()))
    }
}

/// Remembers the frames, and has a last word.
struct Seen {
    frames: Vec<Frame>,
    bytes: usize,
    direction: Direction,
    last_word: bool,
    now: u64,
    headers: usize,
}

impl Watch for Seen {
    fn taken(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    fn frame(&mut self, frame: Frame, _: &Scanner) {
        self.frames.push(frame);
    }

    fn header(&mut self, _: &Header) {
        self.headers += 1;
    }

    fn now(&mut self, _: bool) -> u64 {
        self.now
    }

    fn violation(&mut self, violation: Violation) {
        panic!("{violation}");
    }

    fn farewell(&mut self) -> Option<(u16, Vec<u8>)> {
        self.last_word.then(|| (1011, inject::close(self.direction, 1011, "gone")))
    }
}

/// A frame that was read whole.
#[derive(Clone, Debug, PartialEq)]
struct Whole(bool, Opcode, Vec<u8>);

/// The frames in `bytes`, and how many bytes of another stand behind them.
fn frames(mut bytes: &[u8]) -> (Vec<Whole>, usize) {
    let mut frames = Vec::new();
    while let Some((header, start)) = Header::read(bytes).unwrap() {
        let end = start + usize::try_from(header.length).unwrap();
        let Some(payload) = bytes.get(start..end) else { break };
        let mut payload = payload.to_vec();
        unmask(&mut payload, header.mask.unwrap_or_default(), 0);
        frames.push(Whole(header.fin, header.opcode, payload));
        bytes = &bytes[end..];
    }
    (frames, bytes.len())
}

/// An answer to a Ping of the proxy's, to one before the latest.
const ANSWER: &[u8; 8] = b"secret99";

fn put(bytes: &mut Vec<u8>, side: Side, fin: bool, opcode: Opcode, payload: &[u8]) {
    let mask = (side == Side::Client).then_some([9, 8, 7, 6]);
    Header { fin, rsv: 0, opcode, mask, length: payload.len() as u64 }.write(bytes);
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    unmask(&mut bytes[start..], mask.unwrap_or_default(), 0);
}

fn encode(side: Side, messages: &[(usize, Vec<usize>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (control, parts) in messages {
        for (index, length) in parts.iter().enumerate() {
            let opcode = if index == 0 { Opcode::Binary } else { Opcode::Continuation };
            put(&mut bytes, side, index + 1 == parts.len(), opcode, &vec![0x88; *length]);
            if index == 0 {
                put(&mut bytes, side, true, Opcode::Ping, &vec![0x88; *control]);
            }
            if control % 3 == 0 {
                put(&mut bytes, side, true, Opcode::Pong, ANSWER);
            }
        }
    }
    bytes
}

/// Limits over which nothing goes, since what is too fast waits.
fn slowly() -> Limits {
    Limits {
        frame_max: Some(70_000),
        message_max: Some(300_000),
        frames: Some(Rate::new(2_000, 3)),
        messages: Some(Rate::new(1_000, 2)),
        bytes: Some(Rate::new(3_000_000, 20_000)),
        control: None,
        waits: true,
    }
}

/// What a run of the flow is made of.
#[derive(Clone, Debug)]
struct Case {
    side: Side,
    strict: bool,
    messages: Vec<(usize, Vec<usize>)>,
    cut_bytes: usize,
    pieces: Vec<usize>,
    appetite: Vec<usize>,
    pings: Vec<usize>,
    close: Option<usize>,
    last_word: bool,
    /// Whether answers are awaited, limits hold, headers are told.
    answers: bool,
    limits: bool,
    headers: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    let length = || prop_oneof![6 => 0usize..6, 2 => 120usize..132, 1 => 65_533usize..65_540];
    let message = (0usize..=125, prop::collection::vec(length(), 1..4));
    let shape = (any::<bool>(), any::<bool>(), prop::collection::vec(message, 0..6), 0usize..40);
    let pieces = prop::collection::vec(0usize..90, 1..40);
    let appetite = prop::collection::vec(prop_oneof![0usize..3, 0usize..200], 0..60);
    let own = (prop::collection::vec(0usize..30, 0..4), prop::option::of(0usize..30), any::<[bool; 4]>());
    (shape, pieces, appetite, own).prop_map(
        |(shape, pieces, appetite, (pings, close, [last_word, answers, limits, headers]))| {
            let (is_client, strict, messages, cut_bytes) = shape;
            let side = if is_client { Side::Client } else { Side::Backend };
            Case {
                side,
                strict,
                messages,
                cut_bytes,
                pieces,
                appetite,
                pings,
                close,
                last_word,
                answers,
                limits,
                headers,
            }
        },
    )
}

/// Runs the flow to its end; what the reader got, what was seen, and what did not pass.
fn run(case: &Case, bytes: &[u8]) -> (Vec<u8>, Seen, u64) {
    let direction = if case.side == Side::Client { Direction::ToBackend } else { Direction::ToClient };
    let mut pieces = VecDeque::new();
    let (mut rest, mut sizes) = (bytes, case.pieces.iter().cycle());
    while !rest.is_empty() {
        let size = (*sizes.next().unwrap()).min(rest.len());
        // Now and then much at once, and all that would take too many rounds.
        let size = if size > 80 || pieces.len() > 5_000 { rest.len().min(30_000) } else { size };
        pieces.push_back(rest[..size].to_vec());
        if size == 0 && case.pieces.iter().all(|size| *size == 0) {
            pieces.push_back(std::mem::take(&mut rest).to_vec());
        }
        rest = rest.get(size..).unwrap_or_default();
    }
    let mut source = Source(pieces);
    let mut reader = Reader { taken: Vec::new(), appetite: case.appetite.clone().into(), ended: false };
    let mut seen =
        Seen { frames: Vec::new(), bytes: 0, direction, last_word: case.last_word, now: 0, headers: 0 };
    let mut weave = Weave::new(Scanner::new(case.side, false), case.strict);
    if case.limits {
        weave.limit(slowly());
    }
    if case.headers {
        weave.tell_headers();
    }
    if case.answers {
        weave.await_answer(*b"secret00");
    }
    let (mut flow, _) = Flow::new(weave, &[], &mut seen);
    let mut context = Context::from_waker(Waker::noop());
    let mut scratch = vec![0; HEADER_BYTES_MAX + 40_000];
    for round in 0..20_000 {
        for _ in case.pings.iter().filter(|at| **at == round) {
            flow.weave_mut().say(&inject::ping(direction, b"own"));
        }
        if case.close == Some(round) {
            flow.weave_mut().say_close(4000, &inject::close(direction, 4000, "go"));
        }
        seen.now += 1_000_000;
        match flow.poll(&mut context, &mut source, &mut reader, &mut scratch, &mut seen) {
            Poll::Ready(ended) => {
                ended.unwrap();
                assert!(reader.ended);
                return (reader.taken, seen, flow.weave().discarded());
            }
            Poll::Pending if flow.is_silent() && flow.is_passed_on() => flow.release(),
            Poll::Pending => {}
        }
    }
    panic!("it does not end");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_added_stands_between_frames_and_nothing_behind_a_close(case in cases()) {
        let mut bytes = encode(case.side, &case.messages);
        bytes.truncate(bytes.len() - case.cut_bytes.min(bytes.len()));
        let (taken, seen, discarded) = run(&case, &bytes);
        // Nothing is ever within another: all that the reader got are frames.
        let (got, got_rest) = frames(&taken);
        let (whole, sent_rest) = frames(&bytes);
        let is_answer = |frame: &Whole| case.answers && frame.1 == Opcode::Pong && frame.2 == ANSWER;
        let sent: Vec<Whole> = whole.iter().filter(|frame| !is_answer(frame)).cloned().collect();
        let answer_bytes = (whole.len() - sent.len()) * if case.side == Side::Client { 14 } else { 10 };
        let is_own = |frame: &Whole| match frame.1 {
            Opcode::Ping => frame.2 == b"own",
            opcode => opcode == Opcode::Close,
        };
        let closed = got.iter().position(|frame| frame.1 == Opcode::Close);
        let foreign: Vec<Whole> = got.iter().filter(|frame| !is_own(frame)).cloned().collect();
        match closed {
            Some(at) => {
                prop_assert_eq!((at + 1, got_rest), (got.len(), 0));
                prop_assert!(sent.starts_with(&foreign));
            }
            None => {
                prop_assert_eq!(&foreign, &sent);
                prop_assert!(got_rest == sent_rest || got_rest == 0);
                prop_assert!(case.close.is_none() || sent_rest > 0 || !case.last_word);
            }
        }
        prop_assert!(got.iter().filter(|frame| is_own(frame)).count() <= case.pings.len() + 1);
        // Every byte of the source was taken, and passed or was thrown away.
        let own_bytes: usize = got
            .iter()
            .filter(|frame| is_own(frame))
            .map(|frame| frame.2.len() + if case.side == Side::Client { 6 } else { 2 })
            .sum();
        prop_assert_eq!(seen.bytes, bytes.len());
        prop_assert_eq!((taken.len() - own_bytes + answer_bytes) as u64 + discarded, bytes.len() as u64);
        // What was seen is what a reader of the whole sees.
        let mut scanner = Scanner::new(case.side, false);
        let (mut rest, mut expected) = (&*bytes, Vec::new());
        while let crate::proto::scan::Step::Frame(frame) = scanner.step(&mut rest) {
            expected.push(frame);
            if rest.is_empty() {
                break;
            }
        }
        let is_pong = |frame: &Frame| frame.kind == Kind::Pong;
        expected.retain(|frame| !case.answers || !is_pong(frame));
        // Behind a Close nobody looks.
        prop_assert!(!case.headers || closed.is_some() || seen.headers >= whole.len());
        prop_assert_eq!(seen.frames, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// However it is cut, nothing of a frame that is too large passes, and everything before it does.
    #[test]
    fn what_is_too_large_never_passes(
        lengths in prop::collection::vec(0usize..200, 0..8),
        pieces in prop::collection::vec(1usize..40, 1..20),
        too_large in prop_oneof![201_u64..300, 65_535_u64..70_000, Just((1 << 63) - 1)],
        is_client: bool,
        early_bytes in 0usize..60,
    ) {
        let side = if is_client { Side::Client } else { Side::Backend };
        let mut fits = Vec::new();
        for length in lengths {
            put(&mut fits, side, true, Opcode::Binary, &vec![7; length]);
        }
        let mut bytes = fits.clone();
        let mask = is_client.then_some([9, 8, 7, 6]);
        Header { fin: true, rsv: 0, opcode: Opcode::Text, mask, length: too_large }.write(&mut bytes);
        bytes.extend_from_slice(b"payload");
        let (early, mut rest) = bytes.split_at(early_bytes.min(bytes.len()));
        let mut source = VecDeque::new();
        for piece in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (first, later) = rest.split_at((*piece).min(rest.len()));
            source.push_back(first.to_vec());
            rest = later;
        }
        let mut weave = Weave::new(Scanner::new(side, false), false);
        weave.limit(Limits { frame_max: Some(200), ..Limits::default() });
        let direction = if is_client { Direction::ToBackend } else { Direction::ToClient };
        let mut seen = Seen { frames: Vec::new(), bytes: 0, direction, last_word: false, now: 0, headers: 0 };
        let (mut flow, begun) = Flow::new(weave, early, &mut seen);
        let mut reader = Reader { taken: Vec::new(), appetite: VecDeque::new(), ended: false };
        let mut scratch = vec![0; HEADER_BYTES_MAX + 500];
        let mut outcome = begun.map_err(Fault::Offence);
        let mut source = Source(source);
        let mut context = Context::from_waker(Waker::noop());
        if outcome.is_ok() {
            outcome = match flow.poll(&mut context, &mut source, &mut reader, &mut scratch, &mut seen) {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => Ok(()),
            };
        }
        let over = matches!(outcome, Err(Fault::Offence(Offence::Over(Limit::FrameSize))));
        prop_assert!(over, "{outcome:?}");
        // Here and now the reader may be told.
        let close = inject::close(direction, 1009, "");
        flow.weave_mut().say_close(1009, &close);
        let _ = flow.poll(&mut context, &mut Source(VecDeque::from([Vec::new()])), &mut reader, &mut scratch, &mut seen);
        prop_assert_eq!(reader.taken, [fits, close].concat());
    }
}

/// In two pieces each, cut anywhere: what has been used up is not forgotten with a piece that is kept back.
#[test]
fn control_frames_are_counted_however_they_are_cut() {
    let mut ping = Vec::new();
    put(&mut ping, Side::Client, true, Opcode::Ping, b"12345678");
    for cut in 1..ping.len() {
        let (first, second) = ping.split_at(cut);
        let pieces = (0..5).flat_map(|_| [first.to_vec(), second.to_vec()]);
        let mut weave = Weave::new(Scanner::new(Side::Client, false), false);
        weave.limit(Limits { control: Some(Rate::new(1, 3)), ..Limits::default() });
        let mut seen = Seen {
            frames: Vec::new(),
            bytes: 0,
            direction: Direction::ToBackend,
            last_word: false,
            now: 1_000_000_000,
            headers: 0,
        };
        let (mut flow, _) = Flow::new(weave, &[], &mut seen);
        let mut reader = Reader { taken: Vec::new(), appetite: VecDeque::new(), ended: false };
        let mut scratch = vec![0; HEADER_BYTES_MAX + 500];
        let mut context = Context::from_waker(Waker::noop());
        let mut source = Source(pieces.collect());
        let polled = flow.poll(&mut context, &mut source, &mut reader, &mut scratch, &mut seen);
        let is_over = matches!(polled, Poll::Ready(Err(Fault::Offence(Offence::Over(Limit::Control)))));
        assert!(is_over && reader.taken == ping.repeat(3), "{cut}: {polled:?}");
    }
}
