use proptest::prelude::*;

use super::super::frame::unmask;
use super::*;

const KEY: [u8; 4] = [0xa1, 0x00, 0x5c, 0xff];

/// A frame as `side` would send it.
fn frame(side: Side, fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mask = (side == Side::Client).then_some(KEY);
    let length = payload.len() as u64;
    let mut bytes = Vec::new();
    Header { fin, rsv: 0, opcode, mask, length }.write(&mut bytes);
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    if let Some(mask) = mask {
        unmask(&mut bytes[start..], mask, 0);
    }
    bytes
}

/// What ended within some bytes: frames, control frames included, and messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    frames: u32,
    messages: u32,
}

/// Lets `scanner` take note of all of `bytes`.
fn feed(scanner: &mut Scanner, mut bytes: &[u8]) -> Seen {
    let mut seen = Seen::default();
    while !bytes.is_empty() {
        match scanner.step(&mut bytes) {
            Step::Frame(frame) => {
                seen.frames += 1;
                seen.messages += u32::from(frame.kind.is_message());
            }
            Step::More | Step::Violation(_) => break,
        }
    }
    seen
}

/// All that a scanner can say.
#[derive(Debug, PartialEq)]
struct Facts {
    seen: Seen,
    at_boundary: bool,
    close: Option<Close>,
    violation: Option<Violation>,
}

/// Feeds `bytes` cut in front of each place in `cuts`.
fn facts(mut scanner: Scanner, bytes: &[u8], cuts: &[usize]) -> Facts {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| (*cut).min(bytes.len())).collect();
    cuts.sort();
    cuts.push(bytes.len());
    let mut seen = Seen::default();
    let mut start = 0;
    for cut in cuts {
        let more = feed(&mut scanner, &bytes[start..cut]);
        seen.frames += more.frames;
        seen.messages += more.messages;
        start = cut;
    }
    Facts { seen, at_boundary: scanner.at_boundary(), close: scanner.close(), violation: scanner.violation() }
}

fn violation_of(side: Side, bytes: &[u8]) -> Option<Violation> {
    facts(Scanner::new(side, false), bytes, &[]).violation
}

#[test]
fn a_scanner_is_small() {
    assert!(size_of::<Scanner>() <= 48, "{}", size_of::<Scanner>());
}

#[test]
fn a_boundary_is_between_frames_only() {
    let bytes = frame(Side::Client, true, Opcode::Text, b"hi");
    let mut scanner = Scanner::new(Side::Client, false);
    assert!(scanner.at_boundary());
    for byte in &bytes[..bytes.len() - 1] {
        assert_eq!(feed(&mut scanner, &[*byte]), Seen::default());
        assert!(!scanner.at_boundary());
    }
    let seen = feed(&mut scanner, &bytes[bytes.len() - 1..]);
    assert_eq!(seen, Seen { frames: 1, messages: 1 });
    assert!(scanner.at_boundary());
}

#[test]
fn a_frame_without_payload_ends_with_its_header() {
    let mut scanner = Scanner::new(Side::Backend, false);
    assert_eq!(feed(&mut scanner, &[0x81, 0x00]), Seen { frames: 1, messages: 1 });
    assert_eq!(feed(&mut scanner, &[0x8a]), Seen::default());
    assert_eq!(feed(&mut scanner, &[0x00]), Seen { frames: 1, messages: 0 });
    assert!(scanner.at_boundary());
}

#[test]
fn a_fragmented_message_counts_once_and_control_frames_do_not() {
    let side = Side::Backend;
    let bytes = [
        frame(side, false, Opcode::Text, b"one "),
        frame(side, true, Opcode::Ping, b"?"),
        frame(side, false, Opcode::Continuation, b""),
        frame(side, true, Opcode::Continuation, b"message"),
    ]
    .concat();
    let seen = feed(&mut Scanner::new(side, false), &bytes);
    assert_eq!(seen, Seen { frames: 4, messages: 1 });
}

#[test]
fn the_close_code_is_known_when_the_frame_has_ended() {
    let table: [(&[u8], Option<u16>); 4] =
        [(b"", None), (b"\x03", None), (b"\x03\xe8", Some(1000)), (b"\x03\xe9bye", Some(1001))];
    for side in [Side::Client, Side::Backend] {
        for (payload, code) in table {
            let bytes = frame(side, true, Opcode::Close, payload);
            let mut scanner = Scanner::new(side, false);
            for byte in &bytes {
                assert_eq!(scanner.close(), None);
                feed(&mut scanner, &[*byte]);
            }
            assert_eq!(scanner.close(), Some(Close { code }), "{payload:?}");
        }
    }
}

#[test]
fn the_first_close_counts() {
    let side = Side::Backend;
    let first = frame(side, true, Opcode::Close, b"\x03\xe8");
    let second = frame(side, true, Opcode::Close, b"\x03\xe9");
    let facts = facts(Scanner::new(side, false), &[first, second].concat(), &[]);
    assert_eq!(facts.close, Some(Close { code: Some(1000) }));
    assert_eq!(facts.seen.frames, 2);
}

#[test]
fn rules_that_depend_on_the_sender_and_on_the_frames_before() {
    use Side::{Backend, Client};
    let table: [(Side, &[u8], Violation); 9] = [
        (Client, &[0x81, 0x00], Violation::MaskMissing),
        (Backend, &[0x81, 0x80, 1, 2, 3, 4], Violation::MaskPresent),
        (Backend, &[0xc1, 0x00], Violation::ReservedBits),
        (Backend, &[0xa1, 0x00], Violation::ReservedBits),
        (Backend, &[0x99, 0x00], Violation::ReservedBits),
        (Backend, &[0x80, 0x00], Violation::ContinuationWithoutStart),
        (Backend, &[0x81, 0x00, 0x00, 0x00], Violation::ContinuationWithoutStart),
        (Backend, &[0x01, 0x00, 0x82, 0x00], Violation::StartInsideMessage),
        (Backend, &[0x83, 0x00], Violation::ReservedOpcode),
    ];
    for (side, bytes, violation) in table {
        assert_eq!(violation_of(side, bytes), Some(violation), "{bytes:x?}");
    }
}

#[test]
fn rsv1_marks_the_first_frame_of_a_message_if_agreed() {
    let violation = |bytes: &[u8]| facts(Scanner::new(Side::Backend, true), bytes, &[]).violation;
    assert_eq!(violation(&[0x41, 0x00, 0x80, 0x00]), None);
    assert_eq!(violation(&[0xc2, 0x00]), None);
    assert_eq!(violation(&[0x41, 0x00, 0xc0, 0x00]), Some(Violation::ReservedBits));
    assert_eq!(violation(&[0xc9, 0x00]), Some(Violation::ReservedBits));
    assert_eq!(violation(&[0xe1, 0x00]), Some(Violation::ReservedBits));
}

#[test]
fn after_a_violation_nothing_is_seen() {
    let mut scanner = Scanner::new(Side::Backend, false);
    assert_eq!(feed(&mut scanner, &[0x81, 0x00, 0x83, 0x00, 0x81, 0x00]).frames, 1);
    assert_eq!(feed(&mut scanner, &[0x81, 0x00]), Seen::default());
    assert_eq!(feed(&mut scanner, &[0x88, 0x00]), Seen::default());
    assert!(!scanner.at_boundary());
    assert_eq!(scanner.close(), None);
    assert_eq!(scanner.violation(), Some(Violation::ReservedOpcode));
}

#[test]
fn a_blind_scanner_sees_nothing() {
    let facts = facts(Scanner::blind(), &[0x81, 0x00, 0x83, 0x00], &[2]);
    let nothing = Facts { seen: Seen::default(), at_boundary: false, close: None, violation: None };
    assert_eq!(facts, nothing);
}

#[test]
fn the_longest_frame_overflows_nothing() {
    let mut bytes = vec![0x82, 0x7f];
    bytes.extend_from_slice(&(u64::MAX >> 1).to_be_bytes());
    bytes.extend_from_slice(&[0; 1000]);
    let mut scanner = Scanner::new(Side::Backend, false);
    assert_eq!(feed(&mut scanner, &bytes), Seen::default());
    assert!(!scanner.at_boundary());
    assert_eq!(scanner.violation(), None);
}

/// One part of a message, after any number of control frames.
#[derive(Clone, Debug)]
struct Part {
    controls: Vec<(Opcode, usize)>,
    payload_bytes: usize,
}

fn payload_bytes() -> impl Strategy<Value = usize> {
    prop_oneof![
        8 => 0usize..6,
        4 => 120usize..132,
        1 => 65_533usize..65_539,
    ]
}

fn messages() -> impl Strategy<Value = Vec<(Opcode, Vec<Part>)>> {
    let control = (prop::sample::select(vec![Opcode::Ping, Opcode::Pong]), 0usize..=125);
    let part = (prop::collection::vec(control, 0..3), payload_bytes())
        .prop_map(|(controls, payload_bytes)| Part { controls, payload_bytes });
    let kind = prop::sample::select(vec![Opcode::Text, Opcode::Binary]);
    prop::collection::vec((kind, prop::collection::vec(part, 1..4)), 0..5)
}

/// The bytes of `messages`, and how many frames they are.
fn encode(side: Side, messages: &[(Opcode, Vec<Part>)]) -> (Vec<u8>, u32) {
    let mut bytes = Vec::new();
    let mut frames = 0;
    for (kind, parts) in messages {
        for (index, part) in parts.iter().enumerate() {
            for (opcode, length) in &part.controls {
                bytes.extend(frame(side, true, *opcode, &vec![0x88; *length]));
            }
            let opcode = if index == 0 { *kind } else { Opcode::Continuation };
            let fin = index + 1 == parts.len();
            bytes.extend(frame(side, fin, opcode, &vec![0x88; part.payload_bytes]));
            frames += 1 + part.controls.len() as u32;
        }
    }
    (bytes, frames)
}

fn side() -> impl Strategy<Value = Side> {
    prop::sample::select(vec![Side::Client, Side::Backend])
}

/// Bytes that often are frames, and often are not quite.
fn almost_frames() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => prop::sample::select(vec![0x00u8, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x7e, 0x7f, 0xc1]),
        1 => any::<u8>(),
    ];
    prop::collection::vec(byte, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn valid_frames_are_counted_the_same_however_they_are_cut(
        side in side(),
        messages in messages(),
        code in prop::option::of(any::<u16>()),
        cuts in prop::collection::vec(0usize..400, 0..40),
        step in 1usize..200_000,
    ) {
        let (mut bytes, frames) = encode(side, &messages);
        let close = code.map(u16::to_be_bytes);
        bytes.extend(frame(side, true, Opcode::Close, close.as_ref().map_or(&[], |code| code)));
        let expected = Facts {
            seen: Seen { frames: frames + 1, messages: messages.len() as u32 },
            at_boundary: true,
            close: Some(Close { code }),
            violation: None,
        };
        let scanner = Scanner::new(side, false);
        prop_assert_eq!(&facts(scanner.clone(), &bytes, &[]), &expected);
        prop_assert_eq!(&facts(scanner.clone(), &bytes, &cuts), &expected);
        let from_the_end: Vec<_> = cuts.iter().map(|cut| bytes.len().saturating_sub(*cut)).collect();
        prop_assert_eq!(&facts(scanner.clone(), &bytes, &from_the_end), &expected);
        let even: Vec<_> = (0..bytes.len()).step_by(step).collect();
        prop_assert_eq!(&facts(scanner, &bytes, &even), &expected);
    }
}

proptest! {
    #[test]
    fn any_bytes_give_the_same_facts_however_they_are_cut(
        side in side(),
        rsv1_allowed: bool,
        bytes in almost_frames(),
        cuts in prop::collection::vec(0usize..60, 0..12),
    ) {
        let scanner = Scanner::new(side, rsv1_allowed);
        let whole = facts(scanner.clone(), &bytes, &[]);
        let single: Vec<_> = (0..bytes.len()).collect();
        prop_assert_eq!(&facts(scanner.clone(), &bytes, &cuts), &whole);
        prop_assert_eq!(&facts(scanner, &bytes, &single), &whole);
        prop_assert!(!(whole.at_boundary && whole.violation.is_some()));
    }
}
