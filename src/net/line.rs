//! A connection to a backend for plain requests, one after the other (RFC 9112 9.3): hyper's client on a stream that is
//! watched.
//!
//! hyper notices that an idle connection has ended, or that something came on it unasked, when its task has been woken. A
//! request that comes before that would still be sent, and be answered with what was there before it. So the socket
//! itself is asked ahead of every request but the first; whatever is on it then ends the connection, and the request
//! comes back as it was.

use std::error::Error;
use std::sync::Arc;

use http::request::Parts;
use http::{Request, Response, StatusCode};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;

use super::http::{begin, classify};
use super::stream::Stream;
use super::watched::{Signs, Watched};
use crate::config::Limits;
use crate::outcome::Refusal;
use crate::proto::handshake::AnswerError;

/// A connection that requests follow each other on. Dropped, it ends behind the answer that is on its way.
pub struct Line<B> {
    sender: SendRequest<B>,
    signs: Arc<Signs>,
    is_used: bool,
}

/// Why a request got no answer.
#[derive(Debug)]
pub struct Failure {
    /// Its name.
    pub refusal: Refusal,
    /// The head, when nothing of the request was sent.
    pub unsent: Option<Box<Parts>>,
    /// Not a byte came from the backend.
    pub is_silent: bool,
}

impl<B> Line<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Speaks HTTP/1.1 on `stream`. The future moves its bytes, and is over when the connection is.
    ///
    /// # Errors
    /// None that is known: hyper sends nothing yet.
    pub async fn begin(
        stream: Stream,
        limits: &Limits,
    ) -> Result<(Line<B>, impl Future<Output = ()> + Send + use<B>), Refusal> {
        let signs = Arc::new(Signs::default());
        let watched = Watched::new(stream, Some(signs.clone()));
        let (sender, connection) = begin(TokioIo::new(watched), limits).await?;
        let driven = async {
            // Who asked has been told.
            let _ = connection.await;
        };
        Ok((Line { sender, signs, is_used: false }, driven))
    }

    /// Whether a request was sent on it before.
    pub fn is_used(&self) -> bool {
        self.is_used
    }

    /// Whether the last answer has ended, nothing came behind it, and the connection is open, as far as its task has seen.
    pub fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Sends a request and waits for the head of its answer. Dropping the future, or the answer's body before its end,
    /// closes the connection.
    ///
    /// # Errors
    /// [`Refusal::BackendClosed`], [`Refusal::BackendAlert`], [`Refusal::BackendSpeech`], [`Refusal::RequestBody`], or
    /// [`Refusal::Answer`] for a 101 that nobody asked for.
    pub async fn send(&mut self, request: Request<B>) -> Result<Response<Incoming>, Failure> {
        self.signs.begin(self.is_used);
        self.is_used = true;
        match self.sender.try_send_request(request).await {
            Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let refusal = Refusal::Answer(AnswerError::NotWebSocket);
                Err(Failure { refusal, unsent: None, is_silent: false })
            }
            Ok(answer) => Ok(answer),
            Err(mut error) => Err(Failure {
                unsent: error.take_message().map(|request| Box::new(request.into_parts().0)),
                is_silent: !self.signs.heard(),
                refusal: classify(error.error()),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::path::Path;
    use std::thread;

    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};

    use super::*;
    use crate::config::Config;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    fn request() -> Request<Full<Bytes>> {
        Request::post("/").header("host", "a").body(Full::new(Bytes::from_static(b"body"))).unwrap()
    }

    /// A line that has had an answer, the backend's end of it, and the socket for a look.
    async fn used() -> (Line<Full<Bytes>>, TcpStream, TcpStream) {
        let text = "[[listeners]]\nname = \"l\"\naddress = \"127.0.0.1:1\"\n[[routes]]\nname = \"r\"\npool = \"p\"\n\
                    [pools.p]\nbackends = [\"a:1\"]\n";
        let config = Config::parse("a.toml", text, Path::new("/")).unwrap_or_else(|all| panic!("{all}"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, look) = (listener.accept().unwrap().0, near.try_clone().unwrap());
        near.set_nonblocking(true).unwrap();
        let near = Stream::Tcp(tokio::net::TcpStream::from_std(near).unwrap());
        let (mut line, driven) = Line::begin(near, &config.limits).await.unwrap();
        tokio::spawn(driven);
        let backend = thread::spawn(move || {
            let mut seen = Vec::new();
            while !seen.ends_with(b"body") {
                let mut bytes = [0; 1024];
                let count = far.read(&mut bytes).unwrap();
                seen.extend_from_slice(&bytes[..count]);
            }
            far.write_all(ANSWER).unwrap();
            far
        });
        let answer = line.send(request()).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
        (line, backend.join().unwrap(), look)
    }

    /// The runtime has not looked at the socket since: only the socket itself knows.
    #[tokio::test]
    async fn what_came_before_a_request_sends_it_back_whole() {
        for is_end in [true, false] {
            let (mut line, mut far, look) = used().await;
            match is_end {
                true => far.shutdown(Shutdown::Write).unwrap(),
                false => far.write_all(ANSWER).unwrap(),
            }
            while look.peek(&mut [0]).is_err() {}
            assert!(line.is_ready());
            let failure = line.send(request()).await.unwrap_err();
            assert_eq!((failure.refusal, failure.is_silent), (Refusal::BackendClosed, true));
            assert_eq!(failure.unsent.unwrap().method, "POST");
            drop(look);
            let mut sent = Vec::new();
            let _ = far.read_to_end(&mut sent);
            assert_eq!(sent, b"");
            assert!(!line.is_ready());
        }
    }
}
