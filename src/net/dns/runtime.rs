//! What hickory needs of a runtime: sockets, clocks, tasks. Its own for tokio would turn on tokio's runtime of many threads,
//! which makes every socket larger.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hickory_resolver::net::runtime::{DnsTcpStream, DnsUdpSocket, RuntimeProvider, Spawn, Time};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// For a TCP connection, where whoever asks has set no other time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A future of hickory's.
type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The runtime that it is used on. Its tasks end with its last clone.
#[derive(Clone, Default)]
pub struct Current(Arc<Mutex<JoinSet<()>>>);

/// The clock of the runtime.
pub struct Clock;

/// A UDP socket.
pub struct Udp(UdpSocket);

/// A TCP connection.
pub struct Tcp(TcpStream);

impl RuntimeProvider for Current {
    type Handle = Current;
    type Timer = Clock;
    type Udp = Udp;
    type Tcp = Tcp;

    fn create_handle(&self) -> Current {
        self.clone()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        own: Option<SocketAddr>,
        wait_for: Option<Duration>,
    ) -> Later<'static, io::Result<Tcp>> {
        Box::pin(async move {
            let socket = if server.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            if let Some(own) = own {
                socket.bind(own)?;
            }
            socket.set_nodelay(true)?;
            let connected = timeout(wait_for.unwrap_or(CONNECT_TIMEOUT), socket.connect(server)).await;
            connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map(Tcp)
        })
    }

    fn bind_udp(&self, own: SocketAddr, _server: SocketAddr) -> Later<'static, io::Result<Udp>> {
        Box::pin(async move { UdpSocket::bind(own).await.map(Udp) })
    }
}

impl Spawn for Current {
    fn spawn_bg(&mut self, future: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(future);
    }
}

impl Time for Clock {
    fn delay_for<'a>(duration: Duration) -> Later<'a, ()> {
        Box::pin(sleep(duration))
    }

    fn timeout<'a, F>(duration: Duration, future: F) -> Later<'a, io::Result<F::Output>>
    where
        F: 'static + Future + Send + 'a,
    {
        Box::pin(async move { timeout(duration, future).await.map_err(|_| io::ErrorKind::TimedOut.into()) })
    }
}

impl DnsUdpSocket for Udp {
    type Time = Clock;

    fn poll_recv_from(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut buffer = ReadBuf::new(buffer);
        let from = ready!(self.0.poll_recv_from(context, &mut buffer))?;
        Poll::Ready(Ok((buffer.filled().len(), from)))
    }

    fn poll_send_to(
        &self,
        context: &mut Context<'_>,
        bytes: &[u8],
        to: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.0.poll_send_to(context, bytes, to)
    }
}

impl DnsTcpStream for Tcp {
    type Time = Clock;
}

impl futures_io::AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(AsyncRead::poll_read(Pin::new(&mut self.0), context, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl futures_io::AsyncWrite for Tcp {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.0), context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.0), context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.0), context)
    }
}
