//! One tunnel: what is asked of the kernel for it, and what follows from the answers.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use super::ring::{Address, Answer, Piece, Ring};
use super::{Kind, Tag};
use crate::sockets;

/// What may wait for a reader before no more is received for it, in pieces; one is at most as large as a buffer.
const PIECES_MAX: usize = 4;

pub struct Tunnel {
    index: usize,
    /// The client's, the backend's.
    sockets: [OwnedFd; 2],
    /// From the client, and to it.
    ways: [Way; 2],
    /// Questions without an answer: the tunnel, and its number, are kept until then.
    asked: usize,
    failed: bool,
}

#[derive(Default)]
struct Way {
    /// The first of them is being sent.
    pieces: VecDeque<Piece>,
    receiving: bool,
    cancelled: bool,
    ended: bool,
    told: bool,
}

impl Tunnel {
    pub fn open(
        client: OwnedFd,
        backend: &'static Address,
        index: usize,
        ring: &mut Ring,
    ) -> io::Result<Tunnel> {
        let sockets = [client, sockets::create()?];
        let tunnel = Tunnel { index, sockets, ways: Default::default(), asked: 1, failed: false };
        ring.connect(&tunnel.sockets[1], backend, tunnel.tag(Kind::Connect, 0));
        Ok(tunnel)
    }

    /// Goes on after an answer; whether it is over.
    pub fn hear(&mut self, tag: Tag, answer: Answer, ring: &mut Ring) -> bool {
        self.asked -= usize::from(!answer.more);
        match tag.kind {
            Kind::Connect if answer.result == 0 => (0..2).for_each(|side| self.receive(side, ring)),
            Kind::Connect => self.fail(),
            Kind::Receive => self.received(tag.side, answer, ring),
            Kind::Send => self.sent(tag.side, answer.result, ring),
            Kind::Accept | Kind::Cancel => {}
        }
        if !self.failed {
            (0..2).for_each(|side| self.tell(side));
        }
        (self.failed || self.ways.iter().all(|way| way.told)) && self.asked == 0 && self.let_go(ring)
    }

    /// Asks for what comes by one way, if it is not asked for.
    pub fn receive(&mut self, side: usize, ring: &mut Ring) {
        let way = &mut self.ways[side];
        if !way.receiving && !way.ended && !self.failed && way.pieces.len() < PIECES_MAX {
            (way.receiving, way.cancelled) = (true, false);
            self.asked += 1;
            ring.receive(&self.sockets[side], self.tag(Kind::Receive, side));
        }
    }

    fn received(&mut self, side: usize, answer: Answer, ring: &mut Ring) {
        let way = &mut self.ways[side];
        way.receiving = answer.more;
        match answer.result {
            // No buffer: asked again when there is one. Or cancelled.
            error if error == -libc::ENOBUFS || error == -libc::ECANCELED => {}
            ..0 => self.fail(),
            0 => way.ended = true,
            _ => {}
        }
        if let Some(piece) = answer.piece {
            self.pass_on(side, piece, ring);
        }
        if answer.result != -libc::ENOBUFS {
            self.receive(side, ring);
        }
    }

    fn pass_on(&mut self, side: usize, piece: Piece, ring: &mut Ring) {
        if self.failed || piece.length == 0 {
            return ring.release(piece);
        }
        let tag = self.tag(Kind::Receive, side);
        let way = &mut self.ways[side];
        way.pieces.push_back(piece);
        if way.pieces.len() == 1 {
            self.send(side, ring);
        } else if way.pieces.len() >= PIECES_MAX && way.receiving && !way.cancelled {
            way.cancelled = true;
            self.asked += 1;
            ring.cancel(tag, self.tag(Kind::Cancel, side));
        }
    }

    fn send(&mut self, side: usize, ring: &mut Ring) {
        if let Some(piece) = self.ways[side].pieces.front() {
            self.asked += 1;
            ring.send(&self.sockets[1 - side], piece, self.tag(Kind::Send, side));
        }
    }

    fn sent(&mut self, side: usize, result: i32, ring: &mut Ring) {
        let whole = self.ways[side].pieces.front().is_some_and(|piece| result == piece.length as i32);
        if let Some(piece) = self.ways[side].pieces.pop_front() {
            ring.release(piece);
        }
        if !whole {
            self.fail();
        }
        if !self.failed {
            self.send(side, ring);
            self.receive(side, ring);
        }
    }

    /// Passes the end on, behind the last piece.
    fn tell(&mut self, side: usize) {
        let way = &mut self.ways[side];
        if way.ended && !way.told && way.pieces.is_empty() {
            way.told = true;
            sockets::end(&self.sockets[1 - side]);
        }
    }

    /// Ends both legs, so that all that was asked is answered.
    fn fail(&mut self) {
        self.failed = true;
        self.sockets.iter().for_each(sockets::cut);
    }

    fn let_go(&mut self, ring: &mut Ring) -> bool {
        let left = self.ways.iter_mut().flat_map(|way| way.pieces.drain(..));
        left.for_each(|piece| ring.release(piece));
        true
    }

    fn tag(&self, kind: Kind, side: usize) -> u64 {
        Tag { kind, side, tunnel: self.index }.pack()
    }
}
