//! One way of a tunnel.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendFlags};

use super::pipes::Pipe;
use super::{Large, Shared};
use crate::sockets;

/// A socket, and what it was last known to be ready for.
pub struct Leg {
    socket: OwnedFd,
    readable: bool,
    writable: bool,
    /// Its peer sends nothing more, and no event will come that says so again.
    half: bool,
}

/// What is on its way from one leg to the other.
#[derive(Default)]
pub struct Flow {
    kept: Vec<u8>,
    passed: usize,
    /// A read has filled the buffer: from now on nothing is copied. Whoever knows frames would end this with the frame.
    large: bool,
    /// Borrowed as long as data comes, and as long as something is in it.
    pipe: Option<Pipe>,
    ended: bool,
    told: bool,
}

impl Leg {
    /// Its events come once for each change.
    pub fn new(socket: OwnedFd) -> Leg {
        Leg { socket, readable: false, writable: false, half: false }
    }

    /// What an event says.
    pub fn note(&mut self, flags: EventFlags) {
        let over = EventFlags::HUP | EventFlags::ERR;
        self.half |= flags.intersects(EventFlags::RDHUP | over);
        self.readable |= self.half || flags.intersects(EventFlags::IN);
        self.writable |= flags.intersects(EventFlags::OUT | over);
    }
}

impl Flow {
    /// Moves what can be moved; whether the end has been passed on.
    pub fn run(&mut self, source: &mut Leg, reader: &mut Leg, shared: &mut Shared) -> io::Result<bool> {
        loop {
            if !self.drain(reader)? {
                return Ok(false);
            }
            if self.ended {
                shared.pipes.give_back(self.pipe.take());
                if !self.told {
                    sockets::end(&reader.socket);
                    self.told = true;
                }
                return Ok(true);
            }
            if !source.readable {
                shared.pipes.give_back(self.pipe.take());
                return Ok(false);
            }
            if self.large && self.pipe.is_none() {
                self.pipe = shared.pipes.borrow();
            }
            match &mut self.pipe {
                Some(pipe) => self.ended = splice(source, pipe)?,
                None => self.copy(source, reader, shared)?,
            }
        }
    }

    /// Passes on what was kept; whether nothing is left of it.
    fn drain(&mut self, reader: &mut Leg) -> io::Result<bool> {
        while self.passed < self.kept.len() {
            match send(reader, &self.kept[self.passed..])? {
                0 => return Ok(false),
                count => self.passed += count,
            }
        }
        (self.kept, self.passed) = (Vec::new(), 0);
        while let Some(pipe) = self.pipe.as_mut().filter(|pipe| pipe.held > 0) {
            if !reader.writable {
                return Ok(false);
            }
            match pipe.empty(&reader.socket) {
                Ok(()) => {}
                Err(Errno::AGAIN) => reader.writable = false,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    fn copy(&mut self, source: &mut Leg, reader: &mut Leg, shared: &mut Shared) -> io::Result<()> {
        let count = match net::recv(&source.socket, shared.scratch.as_mut_slice(), RecvFlags::empty()) {
            Ok((_, count)) => count,
            Err(Errno::AGAIN) => {
                source.readable = false;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.ended = count == 0;
        // Else there is no more for now, or an event will tell.
        let full = count == shared.scratch.len();
        source.readable = full || source.half;
        self.large |= full && shared.large == Large::Spliced;
        let mut bytes = &shared.scratch[..count];
        while !bytes.is_empty() {
            match send(reader, bytes)? {
                0 => {
                    self.kept = bytes.to_vec();
                    break;
                }
                sent => bytes = &bytes[sent..],
            }
        }
        Ok(())
    }
}

/// Fills the pipe, which is empty; whether the end was there instead.
fn splice(source: &mut Leg, pipe: &mut Pipe) -> io::Result<bool> {
    match pipe.fill(&source.socket) {
        Ok(count) => Ok(count == 0),
        Err(Errno::AGAIN) => {
            source.readable = false;
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// How much of `bytes` was taken; 0 if there is no room.
fn send(reader: &mut Leg, bytes: &[u8]) -> io::Result<usize> {
    if !reader.writable {
        return Ok(0);
    }
    match net::send(&reader.socket, bytes, SendFlags::NOSIGNAL) {
        Ok(count) => Ok(count),
        Err(Errno::AGAIN) => {
            reader.writable = false;
            Ok(0)
        }
        Err(error) => Err(error.into()),
    }
}
