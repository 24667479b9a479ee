//! Both sides over unix sockets. A stream socket is its descriptor: the kit's types hold one of either family.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::{Call, Calls, Client, Head, within};

impl Client {
    /// Connects in plain text to the socket at `path`.
    pub async fn connect_unix(path: &Path) -> Client {
        let unix = within("a connection", UnixStream::connect(path)).await.expect("the proxy listens");
        Client::Plain(as_tcp(unix))
    }
}

/// A backend that listens at a path; it ends with its value.
pub struct UnixBackend {
    /// Where it listens.
    pub path: PathBuf,
    task: JoinHandle<()>,
}

impl UnixBackend {
    /// A backend whose every connection the test handles itself, one after the other; but it answers `/health`.
    pub async fn by_hand(path: PathBuf) -> (UnixBackend, Calls) {
        let (handle, calls) = Calls::handler();
        let backend = UnixBackend::raw(path, move |mut stream| {
            let handle = handle.clone();
            async move {
                let Some(head) = Head::read(&mut stream).await else { return };
                let call = Call { stream, head };
                match call.head.target() {
                    "/health" if call.head.get("host") == Some("localhost") => {
                        call.answer("HTTP/1.1 204 No Content\r\n\r\n").await;
                    }
                    _ => handle(call).await,
                }
            }
        });
        (backend, calls)
    }

    /// A backend that gives every connection to `handle`, nothing read yet.
    pub fn raw<F>(path: PathBuf, handle: impl Fn(TcpStream) -> F + Send + 'static) -> UnixBackend
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = UnixListener::bind(&path).expect("a free path");
        let task = tokio::spawn(async move {
            while let Ok((unix, _)) = listener.accept().await {
                tokio::spawn(handle(as_tcp(unix)));
            }
        });
        UnixBackend { path, task }
    }

    /// The address as the configuration and labels have it.
    pub fn address(&self) -> String {
        format!("unix:{}", self.path.display())
    }
}

impl Drop for UnixBackend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn as_tcp(unix: UnixStream) -> TcpStream {
    let descriptor = OwnedFd::from(unix.into_std().expect("a live socket"));
    TcpStream::from_std(descriptor.into()).expect("a live socket")
}
