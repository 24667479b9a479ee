//! Options of sockets, and the one place where listening sockets are made.

use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::{fs, io};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, TcpKeepalive, Type};

use crate::config::Tcp;

/// Connections that the kernel holds until they are accepted. The kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// The mode of a unix socket's file: its owner and the group may connect.
pub const GROUP_MODE: u32 = 0o660;
/// Its owner alone may.
pub const OWNER_MODE: u32 = 0o600;

/// Binds and listens; what is accepted has the options of `tcp`.
///
/// `SO_REUSEADDR` lets a restart bind while old connections linger; not `SO_REUSEPORT`, with which a second process
/// could take half of the connections unnoticed. An IPv6 address serves IPv6 alone, so that `[::]` and `0.0.0.0` can
/// both be listeners.
///
/// # Errors
/// The kernel's: the address is taken, not this machine's, or needs privileges.
pub fn listen(address: SocketAddr, tcp: &Tcp) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    tune(&socket, tcp)?;
    bound_unsent(&socket, tcp)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Binds a unix socket whose file has this mode, in place of one that a process has left behind.
///
/// # Errors
/// The kernel's; `AddrInUse` when somebody still listens there.
pub fn listen_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    if path.exists() {
        if UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let is_socket = fs::symlink_metadata(path)?.file_type().is_socket();
        if !is_socket {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is there"));
        }
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Sets what every connection gets: no Nagle (small frames would wait 40 ms for an acknowledgement), and the clocks
/// that find a dead peer. What a listening socket accepts inherits them, which saves five system calls a connection.
///
/// # Errors
/// The kernel's, when the connection is already gone.
pub fn tune<'a>(socket: impl Into<SockRef<'a>>, tcp: &Tcp) -> io::Result<()> {
    let socket = socket.into();
    socket.set_tcp_nodelay(true)?;
    if let Some(every) = tcp.keepalive {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(every).with_interval(every))?;
    }
    if tcp.user_timeout.is_some() {
        socket.set_tcp_user_timeout(tcp.user_timeout)?;
    }
    Ok(())
}

/// Bounds what waits behind a slow client, where a Ping or a Close would wait, too. Only of listening sockets, from which clients'
/// inherit it: for each connection to a backend it would be a system call more. Nothing is the system's own (0).
fn bound_unsent(socket: &Socket, tcp: &Tcp) -> io::Result<()> {
    let unsent_max = tcp.unsent_max.map_or(0, |bytes| u32::try_from(bytes).unwrap_or(u32::MAX));
    socket.set_tcp_notsent_lowat(unsent_max)
}

/// As [`tune`], for a socket that has had other options.
///
/// # Errors
/// The kernel's, when the connection is already gone.
pub fn retune<'a>(socket: impl Into<SockRef<'a>>, tcp: &Tcp) -> io::Result<()> {
    let socket = socket.into();
    socket.set_keepalive(false)?;
    socket.set_tcp_user_timeout(None)?;
    tune(&*socket, tcp)?;
    bound_unsent(&socket, tcp)
}

/// Lets no new connection begin on a listening socket: a SYN is dropped, as if the network had lost it, and repeated by
/// its sender a second later. Handshakes that have begun still come to their end. So a queue that is empty a moment later
/// stays empty, and the socket can be closed without a reset for anybody.
///
/// # Errors
/// The kernel's; then connections may still begin.
pub fn drop_new_handshakes(listener: &TcpListener) -> io::Result<()> {
    const TCP_FLAGS_OFFSET: u32 = 13;
    const SYN: u32 = 0x02;
    const SYN_AND_ACK: u32 = 0x12;
    // Classic BPF, which sees a packet from its TCP header on (linux/filter.h): drop what is SYN and not ACK.
    let (load_byte, and, jump_if_equal, give) = (0x30, 0x54, 0x15, 0x06);
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(load_byte, 0, 0, TCP_FLAGS_OFFSET),
        SockFilter::new(and, 0, 0, SYN_AND_ACK),
        SockFilter::new(jump_if_equal, 0, 1, SYN),
        SockFilter::new(give, 0, 0, 0),
        SockFilter::new(give, 0, 0, u32::MAX),
    ])
}

/// Whether a byte could be read, without reading it: how many came, of which one is looked at.
///
/// # Errors
/// `WouldBlock` when none did; the socket's own.
pub fn peek<'a>(socket: impl Into<SockRef<'a>>) -> io::Result<usize> {
    socket.into().peek(&mut [MaybeUninit::uninit()])
}

/// Makes the socket's closing a reset, so that the peer learns that the other end was cut.
pub fn reset_on_close<'a>(socket: impl Into<SockRef<'a>>) {
    // It fails only on a socket that is already gone.
    let _ = socket.into().set_linger(Some(std::time::Duration::ZERO));
}

/// Raises the soft limit of descriptors to the hard one. Returns the limit that holds then.
pub fn raise_descriptor_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let raised = setrlimit(Resource::Nofile, wanted).is_ok();
    let now = if raised { limit.maximum } else { limit.current };
    // No limit at all reads as `None`; the kernel's own `fs.nr_open` is 1,048,576 unless changed.
    now.map_or(1 << 20, |now| usize::try_from(now).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    const OFF: Tcp = Tcp { keepalive: None, user_timeout: None, unsent_max: None };

    /// A connection of which one end was tuned and the other inherited.
    fn connected(tcp: &Tcp) -> [TcpStream; 2] {
        let listener = listen("127.0.0.1:0".parse().unwrap(), tcp).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        tune(&stream, tcp).unwrap();
        listener.set_nonblocking(false).unwrap();
        [stream, listener.accept().unwrap().0]
    }

    fn assert_on(stream: &TcpStream, keepalive: Duration, user_timeout: Duration) {
        let socket = SockRef::from(stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), keepalive);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), keepalive);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(user_timeout));
    }

    fn assert_off(stream: &TcpStream) {
        let socket = SockRef::from(stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(!socket.keepalive().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
        // The system's.
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), 0);
    }

    #[test]
    fn connections_get_what_is_configured() {
        let (keepalive, user_timeout) = (Duration::from_secs(77), Duration::from_secs(42));
        let unsent_max = 99_000;
        let on = Tcp {
            keepalive: Some(keepalive),
            user_timeout: Some(user_timeout),
            unsent_max: Some(unsent_max),
        };
        for stream in connected(&on) {
            assert_on(&stream, keepalive, user_timeout);
            retune(&stream, &OFF).unwrap();
            assert_off(&stream);
        }
        for stream in connected(&OFF) {
            assert_off(&stream);
            retune(&stream, &on).unwrap();
            assert_on(&stream, keepalive, user_timeout);
        }
    }

    #[test]
    fn what_is_unsent_is_bounded_towards_clients() {
        let unsent_max = |stream: &TcpStream| SockRef::from(stream).tcp_notsent_lowat().unwrap();
        let on = Tcp { unsent_max: Some(99_000), ..OFF };
        let [to_backend, to_client] = connected(&on);
        assert_eq!((unsent_max(&to_backend), unsent_max(&to_client)), (0, 99_000));
        retune(&to_client, &OFF).unwrap();
        assert_eq!(unsent_max(&to_client), 0);
        retune(&to_client, &on).unwrap();
        assert_eq!(unsent_max(&to_client), 99_000);
    }
}
