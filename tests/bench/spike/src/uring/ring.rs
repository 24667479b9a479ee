//! The two queues and the buffers that the kernel chooses from. All that is `unsafe` is here: the kernel reads and writes
//! memory behind the compiler's back, so what it is told of lives as long as the process.

#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};

use crate::sockets;

/// As longhaul's scratch buffer.
const BUFFER_BYTES: usize = 60 * 1024;
/// How many there are in the beginning, and how many are added when none is left.
const BUFFERS_STEP: u16 = 16;
/// The most, 60 MiB. Who needs more waits.
const BUFFERS_MAX: u16 = 1024;
const GROUP: u16 = 0;
/// The kernel goes on in a buffer behind what it has put there (6.12): IOU_PBUF_RING_INC.
const PACKED: u16 = 2;
const SUBMISSIONS: u32 = 4096;

/// What the kernel is asked, and what it answers.
pub struct Ring {
    ring: IoUring,
    entries: *mut BufRingEntry,
    tail: u16,
    buffers: Vec<Buffer>,
    /// Buffers that the kernel may put something into.
    open: u16,
}

struct Buffer {
    bytes: *mut u8,
    used: u32,
    /// Pieces that are still to be sent.
    pieces: u32,
    /// The kernel has done with it.
    full: bool,
}

/// A part of a buffer that holds what was received.
pub struct Piece {
    buffer: u16,
    start: u32,
    pub length: u32,
}

/// An answer.
pub struct Answer {
    pub tag: u64,
    /// As a system call would return.
    pub result: i32,
    /// Whether more answers to the same question will come.
    pub more: bool,
    /// What was received.
    pub piece: Option<Piece>,
}

impl Answer {
    /// The connection, where connections were asked for.
    pub fn accepted(&self) -> Option<OwnedFd> {
        // SAFETY: it is new, and nobody else has it.
        let client = (self.result >= 0).then(|| unsafe { OwnedFd::from_raw_fd(self.result) })?;
        sockets::at_once(&client).ok().map(|()| client)
    }
}

impl Ring {
    pub fn new() -> io::Result<Ring> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_defer_taskrun()
            .setup_cqsize(SUBMISSIONS * 4)
            .build(SUBMISSIONS)?;
        let entries = pages(usize::from(BUFFERS_MAX) * size_of::<BufRingEntry>()).cast::<BufRingEntry>();
        // SAFETY: the pages are the process's for ever.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(entries as u64, BUFFERS_MAX, GROUP, PACKED)?;
        }
        let mut ring = Ring { ring, entries, tail: 0, buffers: Vec::new(), open: 0 };
        ring.add_buffers();
        Ok(ring)
    }

    /// Hands over what was asked since the last time and waits for an answer.
    pub fn wait(&mut self, answers: &mut Vec<Answer>) -> io::Result<()> {
        match self.ring.submit_and_wait(1) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let Ring { ring, buffers, open, .. } = self;
        answers.extend(ring.completion().map(|entry| {
            let (result, flags) = (entry.result(), entry.flags());
            let piece = cqueue::buffer_select(flags).map(|buffer| {
                let length = u32::try_from(result).unwrap_or(0);
                let all = &mut buffers[usize::from(buffer)];
                let piece = Piece { buffer, start: all.used, length };
                all.used += length;
                all.pieces += 1;
                all.full = !cqueue::buffer_more(flags);
                *open -= u16::from(all.full);
                piece
            });
            Answer { tag: entry.user_data(), result, more: cqueue::more(flags), piece }
        }));
        Ok(())
    }

    /// Connections, for ever.
    pub fn accept(&mut self, listener: &OwnedFd, tag: u64) {
        self.push(opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).build().user_data(tag));
    }

    /// A connection to the backend.
    pub fn connect(&mut self, socket: &OwnedFd, address: &'static Address, tag: u64) {
        let Address(raw) = address;
        let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        let entry = opcode::Connect::new(Fd(socket.as_raw_fd()), (&raw const *raw).cast(), length);
        self.push(entry.build().user_data(tag));
    }

    /// All that comes, until the end, an error, or until no buffer is left.
    pub fn receive(&mut self, socket: &OwnedFd, tag: u64) {
        self.push(opcode::RecvMulti::new(Fd(socket.as_raw_fd()), GROUP).build().user_data(tag));
    }

    /// A piece, the whole of it.
    pub fn send(&mut self, socket: &OwnedFd, piece: &Piece, tag: u64) {
        let buffer = &self.buffers[usize::from(piece.buffer)];
        let begin = buffer.bytes.wrapping_add(piece.start as usize);
        let entry = opcode::Send::new(Fd(socket.as_raw_fd()), begin, piece.length);
        self.push(entry.flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL).build().user_data(tag));
    }

    /// Ends what was asked with `asked`.
    pub fn cancel(&mut self, asked: u64, tag: u64) {
        self.push(opcode::AsyncCancel::new(asked).build().user_data(tag));
    }

    /// It has been sent, or will never be.
    pub fn release(&mut self, piece: Piece) {
        let buffer = &mut self.buffers[usize::from(piece.buffer)];
        buffer.pieces -= 1;
        if buffer.full && buffer.pieces == 0 {
            self.offer(piece.buffer);
        }
    }

    /// Whether something can be received; makes room if it may.
    pub fn has_room(&mut self) -> bool {
        if self.open == 0 {
            self.add_buffers();
        }
        self.open > 0
    }

    fn add_buffers(&mut self) {
        let count = BUFFERS_STEP.min(BUFFERS_MAX - self.buffers.len() as u16);
        if count == 0 {
            return;
        }
        let bytes = pages(usize::from(count) * BUFFER_BYTES);
        for index in 0..usize::from(count) {
            let bytes = bytes.wrapping_add(index * BUFFER_BYTES);
            self.buffers.push(Buffer { bytes, used: 0, pieces: 0, full: true });
            self.offer(self.buffers.len() as u16 - 1);
        }
    }

    /// Gives a buffer to the kernel.
    fn offer(&mut self, index: u16) {
        let buffer = &mut self.buffers[usize::from(index)];
        (buffer.used, buffer.full) = (0, false);
        // SAFETY: the ring has BUFFERS_MAX entries, a power of two, and no more are offered than there are; the kernel
        // reads what lies before the tail alone.
        unsafe {
            let entry = &mut *self.entries.add(usize::from(self.tail % BUFFERS_MAX));
            entry.set_addr(buffer.bytes as u64);
            entry.set_len(BUFFER_BYTES as u32);
            entry.set_bid(index);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(self.entries).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
        self.open += 1;
    }

    fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: the memory that entries speak of is never given back.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.ring.submit().expect("the kernel takes what it is asked");
        }
    }
}

/// An address as the kernel reads it.
pub struct Address(libc::sockaddr_in);

impl Address {
    /// For as long as the process lives.
    pub fn leak(address: SocketAddr) -> io::Result<&'static Address> {
        let SocketAddr::V4(address) = address else { return Err(io::ErrorKind::Unsupported.into()) };
        Ok(Box::leak(Box::new(Address(libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: address.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
            sin_zero: [0; 8],
        }))))
    }
}

/// Memory of whole pages, full of zeros, that is never given back.
fn pages(bytes: usize) -> *mut u8 {
    let layout = std::alloc::Layout::from_size_align(bytes, 4096).expect("a size");
    // SAFETY: it is not empty.
    let begin = unsafe { std::alloc::alloc_zeroed(layout) };
    assert!(!begin.is_null(), "no memory");
    begin
}
