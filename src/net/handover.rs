//! The unix socket between two processes of which one takes over from the other: messages behind their lengths, and
//! descriptors (`SCM_RIGHTS` of unix(7)), at most [`AT_ONCE_MAX`] with a byte of their own.
//!
//! Nothing is ever read beyond a message: a byte that brings descriptors, read as plain data, would lose them.

use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::geteuid;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Descriptors that travel together; the kernel takes 253 (`SCM_MAX_FD`).
pub const AT_ONCE_MAX: usize = 200;
/// Bytes of a message.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Bytes that are made room for before they are there.
const ROOM_BYTES: usize = 64 << 10;

/// One end of it.
pub struct Channel {
    stream: UnixStream,
}

impl Channel {
    /// Over a connection that was accepted from a unix socket.
    ///
    /// # Errors
    /// When the runtime's poller takes no more.
    pub fn accepted(socket: TcpStream) -> io::Result<Channel> {
        let stream = StdUnixStream::from(OwnedFd::from(socket));
        stream.set_nonblocking(true)?;
        Ok(Channel { stream: UnixStream::from_std(stream)? })
    }

    /// To whoever listens at `path`.
    ///
    /// # Errors
    /// The kernel's: `NotFound` and `ConnectionRefused` when nobody does.
    pub async fn connect(path: &Path) -> io::Result<Channel> {
        Ok(Channel { stream: UnixStream::connect(path).await? })
    }

    /// Whether the other end is of the same user, or root; and its process id, where that means anything here.
    ///
    /// # Errors
    /// The kernel's.
    pub fn peer(&self) -> io::Result<(bool, Option<i32>)> {
        let peer = self.stream.peer_cred()?;
        Ok((is_trusted(peer.uid(), geteuid().as_raw()), peer.pid().filter(|pid| *pid > 0)))
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The kernel's, and `TimedOut` after `deadline`.
    pub async fn send(&mut self, message: &[u8], deadline: Duration) -> io::Result<()> {
        let length = u32::try_from(message.len()).map_err(io::Error::other)?;
        let whole = [&length.to_be_bytes()[..], message].concat();
        within(deadline, self.stream.write_all(&whole)).await
    }

    /// The next message, of at most `bytes_max`.
    ///
    /// # Errors
    /// The kernel's, `UnexpectedEof`, `InvalidData` when it is longer, and `TimedOut` after `deadline`.
    pub async fn receive(&mut self, bytes_max: usize, deadline: Duration) -> io::Result<Vec<u8>> {
        within(deadline, async {
            let length = usize::try_from(self.stream.read_u32().await?).map_err(io::Error::other)?;
            if length > bytes_max {
                let message = "what arrived is no message of a handover, or too long for one";
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            let mut message = Vec::with_capacity(length.min(ROOM_BYTES));
            let mut rest = (&mut self.stream).take(length as u64);
            rest.read_to_end(&mut message).await?;
            if message.len() < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(message) }
        })
        .await
    }

    /// Sends descriptors.
    ///
    /// # Errors
    /// The kernel's, and `TimedOut` after `deadline`.
    pub async fn send_descriptors(&mut self, descriptors: &[OwnedFd], deadline: Duration) -> io::Result<()> {
        within(deadline, async {
            for some in descriptors.chunks(AT_ONCE_MAX) {
                let some: Vec<BorrowedFd<'_>> = some.iter().map(AsFd::as_fd).collect();
                let send = || self.stream.try_io(Interest::WRITABLE, || send_some(&self.stream, &some));
                loop {
                    self.stream.writable().await?;
                    match send() {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        done => break done?,
                    }
                }
            }
            Ok(())
        })
        .await
    }

    /// The next descriptors, `count` of them.
    ///
    /// # Errors
    /// The kernel's, `UnexpectedEof`, `InvalidData` when others arrive, and `TimedOut` after `deadline`.
    pub async fn receive_descriptors(
        &mut self,
        count: usize,
        deadline: Duration,
    ) -> io::Result<Vec<OwnedFd>> {
        within(deadline, async {
            let mut descriptors = Vec::new();
            while descriptors.len() < count {
                self.stream.readable().await?;
                let receive = || receive_some(&self.stream, &mut descriptors);
                match self.stream.try_io(Interest::READABLE, receive) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    done => done?,
                }
            }
            match descriptors.len() == count {
                true => Ok(descriptors),
                false => Err(io::Error::new(io::ErrorKind::InvalidData, "more descriptors than announced")),
            }
        })
        .await
    }

    /// The connection alone, when all messages have been said.
    pub fn into_stream(self) -> UnixStream {
        self.stream
    }
}

/// Root may replace the processes of others; others may only replace their own.
fn is_trusted(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

fn send_some(stream: &UnixStream, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors at once"));
    }
    sendmsg(stream, &[IoSlice::new(b"D")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive_some(stream: &UnixStream, descriptors: &mut Vec<OwnedFd>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let before = descriptors.len();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    // What this process may not hold is not delivered.
    if received.flags.contains(ReturnFlags::CTRUNC) || descriptors.len() == before {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "descriptors are missing: see LimitNOFILE, ulimit -n",
        ));
    }
    Ok(())
}

async fn within<T>(deadline: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(deadline, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn pair() -> [Channel; 2] {
        let (one, other) = UnixStream::pair().unwrap();
        [Channel { stream: one }, Channel { stream: other }]
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn messages_and_descriptors_do_not_run_into_each_other() {
        runtime().block_on(async {
            let [mut one, mut other] = pair();
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("file");
            std::fs::write(&path, "here").unwrap();
            let files: Vec<OwnedFd> = (0..450).map(|_| File::open(&path).unwrap().into()).collect();
            let sending = async {
                one.send(b"first", DEADLINE).await.unwrap();
                one.send_descriptors(&files, DEADLINE).await.unwrap();
                one.send(b"", DEADLINE).await.unwrap();
                one.send(&[7; 1_000_000], DEADLINE).await.unwrap();
            };
            let receiving = async {
                assert_eq!(other.receive(9, DEADLINE).await.unwrap(), b"first");
                let mut received = other.receive_descriptors(450, DEADLINE).await.unwrap();
                let mut text = String::new();
                File::from(received.pop().unwrap()).read_to_string(&mut text).unwrap();
                assert_eq!((received.len(), text.as_str()), (449, "here"));
                assert_eq!(other.receive(0, DEADLINE).await.unwrap(), b"");
                assert_eq!(other.receive(1_000_000, DEADLINE).await.unwrap().len(), 1_000_000);
            };
            tokio::join!(sending, receiving);
        });
    }

    #[test]
    fn what_is_wrong_is_an_error() {
        runtime().block_on(async {
            let kind = |result: io::Result<Vec<u8>>| result.unwrap_err().kind();
            let [mut one, mut other] = pair();
            one.send(&[0; 100], DEADLINE).await.unwrap();
            assert_eq!(kind(other.receive(99, DEADLINE).await), io::ErrorKind::InvalidData);
            let [mut one, mut other] = pair();
            one.stream.write_all(&[0, 0, 0, 9, 1]).await.unwrap();
            drop(one);
            assert_eq!(kind(other.receive(99, DEADLINE).await), io::ErrorKind::UnexpectedEof);
            let [_one, mut other] = pair();
            let soon = Duration::from_millis(1);
            assert_eq!(kind(other.receive(99, soon).await), io::ErrorKind::TimedOut);
            let [mut one, mut other] = pair();
            one.stream.write_all(b"no descriptor").await.unwrap();
            let missing = other.receive_descriptors(1, DEADLINE).await.unwrap_err();
            assert_eq!(missing.kind(), io::ErrorKind::InvalidData);
        });
    }

    #[test]
    fn only_the_same_user_and_root_are_trusted() {
        assert!(is_trusted(1000, 1000) && is_trusted(0, 1000) && is_trusted(0, 0));
        assert!(!is_trusted(1000, 0) && !is_trusted(1001, 1000));
    }
}
