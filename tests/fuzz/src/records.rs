//! What must hold of a stream over TLS, whatever comes and in whatever pieces.

use std::array;
use std::cell::RefCell;
use std::task::Poll;

use super::duet::{Duet, Terms};

/// What a stream may keep: two records that came, and what it has encrypted at once.
const KEPT_BYTES_MAX: usize = 2 * 18_437 + 64 * 1024;
/// Steps of one input.
const STEPS_MAX: usize = 32;

thread_local! {
    /// Handshakes are dear, so sessions are used again as long as they are well.
    static JOINED: RefCell<[Option<Duet>; 4]> = RefCell::new(array::from_fn(|_| None));
}

/// Bytes of no peer at all end a handshake or wait for more; bytes of a peer, cut and mixed with what the stream writes, arrive
/// as they were sent, and wrong ones never arrive.
pub fn records(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let which = usize::from(choice & 3);
    if choice & 4 == 0 {
        return strange(which, usize::from(choice >> 3) + 1, bytes);
    }
    JOINED.with_borrow_mut(|joined| {
        let duet = joined[which].take().unwrap_or_else(|| Duet::joined(Terms::all(None)[which]));
        joined[which] = talk(duet, bytes);
    });
}

fn strange(which: usize, piece: usize, bytes: &[u8]) {
    let mut duet = Duet::new(Terms::all(None)[which]);
    for piece in bytes.chunks(piece) {
        duet.wire.0.borrow_mut().arrived.extend(piece);
        match duet.try_handshake() {
            Poll::Pending => assert!(duet.wire.0.borrow().arrived.is_empty()),
            Poll::Ready(Err(_)) => return,
            Poll::Ready(Ok(())) => panic!("a handshake with nobody"),
        }
    }
    duet.cut();
    assert!(matches!(duet.try_handshake(), Poll::Ready(Err(_))));
}

/// The duet comes back if both are still well.
fn talk(mut duet: Duet, steps: &[u8]) -> Option<Duet> {
    let pattern: Vec<u8> = (0..20_000u32).map(|index| (index % 251) as u8).collect();
    let (mut said, mut read, mut written) = (0, Vec::new(), 0);
    let (mut is_well, mut news) = (true, 0);
    duet.heard.clear();
    duet.wire.0.borrow_mut().room = 0;
    for step in steps.chunks_exact(2).take(STEPS_MAX) {
        let count = usize::from(step[1]) * usize::from(step[1]) / 4;
        match step[0] % 9 {
            0 => {
                duet.say(&pattern[said % 251..][..count]);
                (said, news) = (said + count, 0);
            }
            1 | 2 => duet.deliver(count),
            3 => match duet.read(count + 1) {
                Poll::Ready(Ok(part)) => read.extend(part),
                Poll::Ready(Err(_)) => {
                    assert!(!is_well, "all was well");
                    return None;
                }
                Poll::Pending => {}
            },
            4 | 5 => {
                let bytes = &pattern[written % 251..][..count];
                let (first, second) = bytes.split_at(count / 3);
                let taken =
                    if step[0] % 9 == 4 { duet.write(bytes) } else { duet.write_slices(&[first, second]) };
                match taken {
                    Poll::Ready(Ok(taken)) => written += taken,
                    Poll::Ready(Err(_)) => {
                        assert!(!is_well, "all was well");
                        return None;
                    }
                    Poll::Pending => {}
                }
            }
            6 => duet.wire.0.borrow_mut().room += count,
            7 if news < 16 => {
                let _ = duet.peer.refresh_traffic_keys();
                news += 1;
            }
            8 if step[1] % 16 == 0 && !duet.on_the_way.is_empty() => {
                let at = usize::from(step[1]) % duet.on_the_way.len();
                duet.on_the_way[at] ^= 1 << (step[1] >> 5);
                is_well = false;
            }
            _ => {}
        }
        assert!(duet.stream().kept_bytes() <= KEPT_BYTES_MAX);
        duet.hear().ok().filter(|()| is_well || read.len() <= said)?;
    }
    // All that is under way arrives.
    duet.wire.0.borrow_mut().room = usize::MAX;
    duet.deliver(usize::MAX);
    while let Poll::Ready(Ok(part)) = duet.read(30_000) {
        read.extend(part);
    }
    assert!(read.iter().zip(pattern.iter().take(251).cycle()).all(|(byte, sent)| byte == sent));
    if !is_well {
        return None;
    }
    assert!(duet.flush().is_ready());
    duet.hear().expect("all was well");
    assert!(duet.heard.iter().zip(pattern.iter().take(251).cycle()).all(|(byte, sent)| byte == sent));
    assert_eq!((read.len(), duet.heard.len()), (said, written));
    assert_eq!(duet.stream().kept_bytes(), 0);
    Some(duet)
}
