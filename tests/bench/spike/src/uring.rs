//! The relay on io_uring: connections and bytes come by requests that stay (multishot accept and receive) into buffers that
//! the kernel chooses (a ring of them), each piece is sent from where it lies, and its buffer goes back when that is done.
//! One system call hands over all requests of a turn and takes all answers.
//!
//! A way whose reader is slow stops receiving: the request that stays is cancelled, and asked anew when the reader has
//! taken enough. What it holds by then is bounded by `PIECES_MAX` and what one turn of the kernel adds.

mod ring;
mod tunnel;

use std::io;
use std::net::SocketAddr;

use self::ring::{Address, Ring};
use self::tunnel::Tunnel;
use crate::sockets;

/// What an answer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Accept,
    Connect,
    Receive,
    Send,
    Cancel,
}

/// A question: its kind, the tunnel, and which of its ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    pub kind: Kind,
    pub side: usize,
    pub tunnel: usize,
}

const KINDS: [Kind; 5] = [Kind::Accept, Kind::Connect, Kind::Receive, Kind::Send, Kind::Cancel];

impl Tag {
    pub fn pack(self) -> u64 {
        (self.tunnel as u64) << 8 | (self.kind as u64) << 1 | self.side as u64
    }

    fn unpack(packed: u64) -> Tag {
        let kind = KINDS[(packed >> 1 & 7) as usize];
        Tag { kind, side: (packed & 1) as usize, tunnel: (packed >> 8) as usize }
    }
}

/// Relays for ever.
pub fn run(listen: SocketAddr, backend: SocketAddr) -> io::Result<()> {
    let (backend, mut ring) = (Address::leak(backend)?, Ring::new()?);
    let listener = sockets::listen(listen)?;
    let accept = Tag { kind: Kind::Accept, side: 0, tunnel: 0 }.pack();
    ring.accept(&listener, accept);
    let (mut tunnels, mut free): (Vec<Option<Tunnel>>, Vec<usize>) = (Vec::new(), Vec::new());
    let (mut answers, mut starved) = (Vec::new(), Vec::new());
    loop {
        ring.wait(&mut answers)?;
        for answer in answers.drain(..) {
            let tag = Tag::unpack(answer.tag);
            if tag.kind == Kind::Accept {
                if !answer.more {
                    ring.accept(&listener, accept);
                }
                let Some(client) = answer.accepted() else { continue };
                let index = free.pop().unwrap_or(tunnels.len());
                if index == tunnels.len() {
                    tunnels.push(None);
                }
                tunnels[index] = Tunnel::open(client, backend, index, &mut ring).ok();
                continue;
            }
            let Some(tunnel) = &mut tunnels[tag.tunnel] else { continue };
            if answer.result == -libc::ENOBUFS {
                starved.push(tag);
            }
            if tunnel.hear(tag, answer, &mut ring) {
                tunnels[tag.tunnel] = None;
                free.push(tag.tunnel);
            }
        }
        if !starved.is_empty() && ring.has_room() {
            for tag in starved.drain(..) {
                if let Some(tunnel) = &mut tunnels[tag.tunnel] {
                    tunnel.receive(tag.side, &mut ring);
                }
            }
        }
    }
}
