//! A loop over epoll without a runtime.

mod flow;
mod pipes;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};

use self::flow::{Flow, Leg};
use self::pipes::Pipes;
use crate::sockets;

/// As longhaul.
const SCRATCH_BYTES: usize = 60 * 1024;
const EVENTS_MAX: usize = 1024;
const LISTENER: u64 = u64::MAX;

/// How large messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Large {
    /// Through the buffer, as small ones.
    Copied,
    /// Through a pipe, as long as data comes.
    Spliced,
}

/// What all tunnels share.
pub struct Shared {
    scratch: Vec<u8>,
    pipes: Pipes,
    large: Large,
}

struct Tunnel {
    legs: [Leg; 2],
    /// From the client, and to it.
    flows: [Flow; 2],
}

/// Relays for ever.
pub fn run(listen: SocketAddr, backend: SocketAddr, large: Large) -> io::Result<()> {
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let listener = sockets::listen(listen)?;
    epoll::add(&poller, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut shared = Shared { scratch: vec![0; SCRATCH_BYTES], pipes: Pipes::default(), large };
    let (mut tunnels, mut free) = (Vec::new(), Vec::new());
    let mut events = Vec::with_capacity(EVENTS_MAX);
    loop {
        events.clear();
        epoll::wait(&poller, spare_capacity(&mut events), None)?;
        let mut ended = Vec::new();
        for event in &events {
            let (data, flags) = (event.data.u64(), event.flags);
            if data == LISTENER {
                while let Ok(client) = sockets::accept(&listener) {
                    let index = free.pop().unwrap_or(tunnels.len());
                    if index == tunnels.len() {
                        tunnels.push(None);
                    }
                    tunnels[index] = open(&poller, client, backend, index).ok();
                }
                continue;
            }
            let (index, side) = ((data / 2) as usize, (data % 2) as usize);
            let Some(tunnel) = &mut tunnels[index] else { continue };
            tunnel.legs[side].note(flags);
            if tunnel.run(&mut shared) {
                tunnels[index] = None;
                ended.push(index);
            }
        }
        // Not before: the events at hand may speak of them.
        free.append(&mut ended);
    }
}

fn open(poller: &OwnedFd, client: OwnedFd, backend: SocketAddr, index: usize) -> io::Result<Tunnel> {
    let backend = sockets::connect(backend)?;
    let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
    let data = index as u64 * 2;
    epoll::add(poller, &client, EventData::new_u64(data), flags)?;
    epoll::add(poller, &backend, EventData::new_u64(data + 1), flags)?;
    Ok(Tunnel { legs: [Leg::new(client), Leg::new(backend)], flows: Default::default() })
}

impl Tunnel {
    /// Moves what can be moved; whether that was the last of it.
    fn run(&mut self, shared: &mut Shared) -> bool {
        let [client, backend] = &mut self.legs;
        let up = self.flows[0].run(client, backend, shared);
        let down = self.flows[1].run(backend, client, shared);
        matches!((up, down), (Err(_), _) | (_, Err(_)) | (Ok(true), Ok(true)))
    }
}
