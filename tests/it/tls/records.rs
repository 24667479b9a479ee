//! The stream over TLS that keeps no buffer, in memory, against rustls' own connection: whatever the wire does to records.

use std::io::ErrorKind;
use std::task::Poll;

use fastrand::Rng;
use longhaul::net::tls::connect::rustls_error;
use longhaul::net::tls::session::Session;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::{
    AlertDescription, CipherSuiteCommon, ClientConnection, Error, InvalidMessage, SupportedCipherSuite,
    Tls13CipherSuite,
};

use crate::fuzz::duet::{self, Duet, Terms};

/// The largest record, and the most that is encrypted at once.
const RECORD_BYTES_MAX: usize = 18_437;
const SEALED_BYTES_MAX: usize = 64 * 1024;

fn bytes(count: usize, rng: &mut Rng) -> Vec<u8> {
    (0..count).map(|_| rng.u8(..)).collect()
}

/// Reads until nothing is left, and says how it ended.
fn drain(duet: &mut Duet, room: usize) -> (Vec<u8>, Option<ErrorKind>) {
    let mut read = Vec::new();
    loop {
        match duet.read(room) {
            Poll::Ready(Ok(part)) if part.is_empty() => return (read, None),
            Poll::Ready(Ok(part)) => read.extend(part),
            Poll::Ready(Err(error)) => return (read, Some(error.kind())),
            Poll::Pending => return (read, Some(ErrorKind::WouldBlock)),
        }
    }
}

/// How many records these are.
fn records(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let [_, _, _, high, low, rest @ ..] = bytes {
        bytes = &rest[usize::from(u16::from_be_bytes([*high, *low]))..];
        count += 1;
    }
    count
}

#[test]
fn a_handshake_succeeds_whatever_the_wire_cuts_it_into() {
    let mut rng = Rng::new();
    for fragment in [None, Some(64), Some(997)] {
        for terms in Terms::all(fragment) {
            for piece in [1, 5, 1_000, usize::MAX] {
                let mut duet = Duet::new(terms);
                duet.wire.0.borrow_mut().write_max = piece.min(rng.usize(1..5_000));
                while duet.poll_handshake().is_pending() || duet.peer.is_handshaking() {
                    duet.hear().expect("a handshake");
                    duet.deliver(piece);
                }
                duet.say(b"hello");
                duet.deliver(usize::MAX);
                assert_eq!(drain(&mut duet, 100), (b"hello".to_vec(), Some(ErrorKind::WouldBlock)));
                assert!(matches!(duet.write(b"world"), Poll::Ready(Ok(5))));
                assert!(duet.flush().is_ready());
                duet.hear().expect("records");
                assert_eq!(duet.heard, b"world", "{terms:?}");
                assert_eq!(duet.stream().kept_bytes(), 0, "{terms:?}");
            }
        }
    }
}

#[test]
fn any_split_any_short_write_and_any_reader_give_the_same_bytes() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    for round in 0..60 {
        let fragment = [None, Some(32 + rng.usize(..3_000))][rng.usize(..2)];
        let terms = Terms::all(fragment)[round % 4];
        let mut duet = Duet::joined(terms);
        let (down, up) = (bytes(rng.usize(..200_000), &mut rng), bytes(rng.usize(..200_000), &mut rng));
        let (mut said, mut read, mut written) = (0, Vec::new(), 0);
        let (room, piece) = (1 + rng.usize(..30_000), 1 + rng.usize(..40_000));
        while read.len() < down.len() || duet.heard.len() < up.len() {
            if said < down.len() {
                let count = (1 + rng.usize(..30_000)).min(down.len() - said);
                duet.say(&down[said..said + count]);
                said += count;
            }
            // Of more than 32 without data between them rustls thinks ill.
            if !terms.is_old && said < down.len() && rng.bool() {
                duet.peer.refresh_traffic_keys().expect("TLS 1.3");
            }
            duet.deliver(rng.usize(..piece));
            if let Poll::Ready(part) = duet.read(rng.usize(1..=room)) {
                read.extend(part.expect("records"));
            }
            duet.wire.0.borrow_mut().room = rng.usize(..piece);
            duet.wire.0.borrow_mut().write_max = rng.usize(..piece);
            let rest = &up[written..];
            let (first, second) = rest.split_at(rest.len().min(rng.usize(..20_000)));
            let taken = match rng.bool() {
                true => duet.write(first),
                false => duet.write_slices(&[first, b"", &second[..second.len().min(7)]]),
            };
            if let Poll::Ready(count) = taken {
                written += count.expect("an open wire");
            }
            let _ = duet.flush();
            duet.hear().expect("records");
            let kept = duet.stream().kept_bytes();
            assert!(kept <= 2 * RECORD_BYTES_MAX + SEALED_BYTES_MAX, "{kept} bytes are kept");
        }
        assert!(read == down && duet.heard == up, "{terms:?}");
        duet.deliver(usize::MAX);
        assert_eq!(drain(&mut duet, 1), (vec![], Some(ErrorKind::WouldBlock)));
        assert_eq!(duet.stream().kept_bytes(), 0);
        // Both ends are announced.
        duet.peer.send_close_notify();
        duet.deliver(usize::MAX);
        duet.cut();
        assert_eq!(drain(&mut duet, 10), (vec![], None));
        (duet.wire.0.borrow_mut().room, duet.wire.0.borrow_mut().write_max) = (usize::MAX, usize::MAX);
        assert!(duet.shut().is_ready() && duet.wire.0.borrow().is_shut);
        duet.hear().expect("close_notify");
        assert!(duet.peer.process_new_packets().expect("no more").peer_has_closed());
    }
}

#[test]
fn an_end_that_is_not_announced_is_a_cut_and_all_before_it_is_read() {
    for terms in Terms::all(None) {
        for lost in [0, 1, 20] {
            let mut duet = Duet::joined(terms);
            duet.say(&[7; 1_000]);
            duet.say(&[8; 500]);
            let count = duet.on_the_way.len() - lost;
            duet.deliver(count);
            duet.cut();
            let (read, end) = drain(&mut duet, 300);
            assert_eq!(end, Some(ErrorKind::UnexpectedEof), "{terms:?}");
            assert_eq!(read.len(), if lost == 0 { 1_500 } else { 1_000 });
            assert_eq!(duet.stream().kept_bytes(), 0);
            // The other direction is still there.
            assert!(matches!(duet.write(b"so long"), Poll::Ready(Ok(7))));
            assert!(duet.shut().is_ready());
            duet.hear().expect("records");
            assert_eq!(duet.heard, b"so long");
        }
    }
}

#[test]
fn what_follows_the_peers_close_notify_counts_for_nothing() {
    for terms in Terms::all(None) {
        let mut duet = Duet::joined(terms);
        duet.say(b"last words");
        duet.peer.send_close_notify();
        duet.deliver(usize::MAX);
        duet.wire.0.borrow_mut().arrived.extend([0xff; 1_000]);
        assert_eq!(drain(&mut duet, 4), (b"last words".to_vec(), None), "{terms:?}");
        assert_eq!(duet.stream().kept_bytes(), 0);
        assert!(matches!(duet.write(b"an answer"), Poll::Ready(Ok(9))));
        duet.hear().expect("records");
        assert_eq!(duet.heard, b"an answer");
    }
}

#[test]
fn a_record_that_is_wrong_ends_it_with_an_alert_and_all_before_it_is_read() {
    for terms in Terms::all(None) {
        let mut duet = Duet::joined(terms);
        duet.say(&[7; 2_000]);
        duet.say(&[8; 2_000]);
        *duet.on_the_way.back_mut().expect("records") ^= 1;
        duet.deliver(usize::MAX);
        assert_eq!(drain(&mut duet, 300), (vec![7; 2_000], Some(ErrorKind::InvalidData)), "{terms:?}");
        let Poll::Ready(Err(error)) = duet.read(10) else { panic!("it fails again") };
        assert_eq!(rustls_error(&error), Some(&Error::DecryptError));
        let told = duet.hear().expect_err("an alert");
        assert_eq!(told, Error::AlertReceived(AlertDescription::BadRecordMac));
        assert!(matches!(duet.write(b"more"), Poll::Ready(Err(_))), "nothing goes behind an alert");
        // And what the peer says of us comes to light.
        let mut duet = Duet::joined(terms);
        assert!(matches!(duet.write(b"a record"), Poll::Ready(Ok(8))));
        *duet.wire.0.borrow_mut().written.last_mut().expect("a record") ^= 1;
        duet.hear().expect_err("a wrong record");
        duet.deliver(usize::MAX);
        let Poll::Ready(Err(error)) = duet.read(10) else { panic!("an alert") };
        assert_eq!(rustls_error(&error), Some(&Error::AlertReceived(AlertDescription::BadRecordMac)));
        assert!(duet.shut().is_ready(), "the socket still ends");
    }
}

#[test]
fn a_handshake_that_is_no_tls_or_does_not_end_is_refused_with_an_alert() {
    // A message of 60,000 bytes, a byte in each record.
    let mut endless = vec![22, 3, 1, 0, 4, 1, 0, 0xea, 0x60];
    endless.extend([22, 3, 1, 0, 1, 0].repeat(11_000));
    for (came, alert) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), Error::InvalidMessage(InvalidMessage::InvalidContentType)),
        ([22, 3, 1, 0xff, 0xff].repeat(10), Error::InvalidMessage(InvalidMessage::MessageTooLarge)),
        (endless, Error::PeerSentOversizedRecord),
    ] {
        let mut duet = Duet::new(Terms::all(None)[1]);
        duet.wire.0.borrow_mut().arrived.extend(came);
        duet.wire.0.borrow_mut().read_max = 2_000;
        let Poll::Ready(Err(error)) = duet.try_handshake() else { panic!("{alert}") };
        assert_eq!(rustls_error(&error), Some(&alert));
    }
    let mut duet = Duet::new(Terms::all(None)[1]);
    duet.deliver(50);
    duet.cut();
    let Poll::Ready(Err(error)) = duet.try_handshake() else { panic!("an end") };
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn a_request_for_new_keys_is_answered_with_what_is_written_next() {
    for terms in Terms::all(None).into_iter().filter(|terms| !terms.is_old) {
        let mut duet = Duet::joined(terms);
        duet.peer.refresh_traffic_keys().expect("TLS 1.3");
        duet.say(b"with new keys");
        duet.deliver(usize::MAX);
        assert_eq!(drain(&mut duet, 100).0, b"with new keys");
        assert_eq!(records(&duet.wire.0.borrow().written), 0);
        assert!(matches!(duet.write(b"an answer"), Poll::Ready(Ok(9))));
        assert_eq!(records(&duet.wire.0.borrow().written), 2, "new keys, and the answer under them");
        duet.hear().expect("records");
        assert_eq!(duet.heard, b"an answer");
    }
}

/// rustls changes keys by itself before they have encrypted more than is good for them.
#[test]
fn keys_are_changed_before_they_wear_out() {
    let terms = Terms::all(None)[1];
    let SupportedCipherSuite::Tls13(known) = cipher_suite::TLS13_AES_128_GCM_SHA256 else {
        panic!("TLS 1.3")
    };
    let CipherSuiteCommon { suite, hash_provider, .. } = known.common;
    let common = CipherSuiteCommon { suite, hash_provider, confidentiality_limit: 8 };
    let weak = Box::leak(Box::new(Tls13CipherSuite { common, ..*known }));
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![SupportedCipherSuite::Tls13(weak)];
    let client = ClientConnection::new(duet::client(terms, None), "chat.example.com".try_into().unwrap());
    let session = Session::server(duet::server_with(provider, terms, None)).expect("a session");
    let mut duet = Duet::between(client.expect("a client").into(), session);
    duet.join();
    for count in 0..100 {
        assert!(matches!(duet.write(&[7; 10]), Poll::Ready(Ok(10))), "{count}");
        duet.hear().expect("records");
        // The peer was asked for new ones, too, and answers with what it says.
        duet.say(b"and you");
        duet.deliver(usize::MAX);
        assert_eq!(drain(&mut duet, 100).0, b"and you");
    }
    assert_eq!(duet.heard, [7; 1_000]);
}

#[test]
fn small_slices_share_a_record_and_large_ones_are_not_copied_first() {
    for terms in Terms::all(None) {
        let mut duet = Duet::joined(terms);
        let big = vec![9; 100_000];
        for (slices, taken, count) in [
            (&[&b"HTTP/1.1 200 OK\r\n\r\n"[..], b"", b"ok"][..], 21, 1),
            (&[b"head", &big], 16_384, 1),
            (&[&big, b"tail"], 63 * 1024, 4),
            (&[b"", b""], 0, 0),
        ] {
            duet.wire.0.borrow_mut().written.clear();
            assert!(matches!(duet.write_slices(slices), Poll::Ready(Ok(bytes)) if bytes == taken), "{taken}");
            assert_eq!(records(&duet.wire.0.borrow().written), count);
        }
    }
}

#[test]
fn what_the_socket_does_not_take_is_kept_once_and_sent_first() {
    for terms in Terms::all(None) {
        let mut duet = Duet::joined(terms);
        duet.wire.0.borrow_mut().room = 10;
        assert!(matches!(duet.write(&[1; 60_000]), Poll::Ready(Ok(60_000))));
        assert!(duet.stream().kept_bytes() < SEALED_BYTES_MAX);
        assert!(duet.write(&[2; 60_000]).is_pending(), "nothing more is taken");
        assert!(duet.flush().is_pending() && duet.shut().is_pending());
        duet.wire.0.borrow_mut().room = usize::MAX;
        assert!(duet.shut().is_ready());
        assert_eq!(duet.stream().kept_bytes(), 0);
        duet.hear().expect("records");
        assert_eq!(duet.heard, [1; 60_000]);
        assert!(duet.peer.process_new_packets().expect("no more").peer_has_closed());
    }
}
