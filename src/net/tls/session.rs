//! A TLS session that owns no buffer: rustls' unbuffered connection of either side, driven through its states.
//!
//! It is given all that has come and was not dealt with before, decrypts it in place, and says how much of it is done
//! with; what it has to say by itself (flights of the handshake, answers to key updates, alerts) it appends to what is owed
//! to the peer. Nothing here touches a socket.

use std::ops::Deref;
use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedConnectionCommon,
    UnbufferedStatus, WriteTraffic,
};
use rustls::{ClientConfig, CommonState, Error, ServerConfig};

/// One side of a session. After an error it must not be used any more, but for what was agreed on.
pub struct Session(Side);

enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What has become of what came.
#[derive(Debug)]
pub struct Opened {
    /// So many bytes at its beginning are done with; the others are to be given again, with those that follow.
    pub done: usize,
    /// Whether the peer has said that it sends no more (close_notify), or what is wrong.
    pub is_closed: Result<bool, Error>,
}

/// What is to be done once all that came is dealt with.
enum Task<'a> {
    Open,
    /// Encrypts, into room for it.
    Seal(&'a [u8], &'a mut [u8]),
    /// Says that no more will follow.
    Close,
}

impl Session {
    /// The side of the server.
    ///
    /// # Errors
    /// When the configuration makes no sense to rustls.
    pub fn server(config: Arc<ServerConfig>) -> Result<Session, Error> {
        UnbufferedServerConnection::new(config).map(|server| Session(Side::Server(server)))
    }

    /// The side of the client, who asks for `name`.
    ///
    /// # Errors
    /// When the configuration makes no sense to rustls.
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Session, Error> {
        UnbufferedClientConnection::new(config, name).map(|client| Session(Side::Client(client)))
    }

    /// Deals with what `came`: what was decrypted goes to `plain`, record by record.
    pub fn open(&mut self, came: &mut [u8], plain: impl FnMut(&[u8]), owed: &mut Vec<u8>) -> Opened {
        let (done, outcome) = self.run(came, plain, owed, Task::Open);
        let is_closed = outcome.map(|outcome| outcome.is_closed);
        if is_closed.is_err() {
            match &mut self.0 {
                Side::Server(server) => last_words(&mut **server, owed),
                Side::Client(client) => last_words(&mut **client, owed),
            }
        }
        Opened { done, is_closed }
    }

    /// Encrypts `plain` into `room`, which has 1 KiB more for what is owed and for the frames of records; how many bytes
    /// it came to. `came` is what [`Session::open`] has left: nothing in it is complete.
    ///
    /// # Errors
    /// When the keys are worn out, or the handshake is not over.
    pub fn seal(
        &mut self,
        came: &mut [u8],
        plain: &[u8],
        room: &mut [u8],
        owed: &mut Vec<u8>,
    ) -> Result<usize, Error> {
        Ok(self.run(came, |_| {}, owed, Task::Seal(plain, room)).1?.sealed)
    }

    /// Says that nothing more will follow (close_notify).
    ///
    /// # Errors
    /// When the handshake is not over.
    pub fn close(&mut self, came: &mut [u8], owed: &mut Vec<u8>) -> Result<(), Error> {
        self.run(came, |_| {}, owed, Task::Close).1.map(|_| ())
    }

    fn run(
        &mut self,
        came: &mut [u8],
        plain: impl FnMut(&[u8]),
        owed: &mut Vec<u8>,
        task: Task<'_>,
    ) -> (usize, Result<Outcome, Error>) {
        match &mut self.0 {
            Side::Server(server) => run(&mut **server, came, plain, owed, task),
            Side::Client(client) => run(&mut **client, came, plain, owed, task),
        }
    }
}

/// What was agreed on.
impl Deref for Session {
    type Target = CommonState;

    fn deref(&self) -> &CommonState {
        match &self.0 {
            Side::Server(server) => server,
            Side::Client(client) => client,
        }
    }
}

#[derive(Default)]
struct Outcome {
    is_closed: bool,
    sealed: usize,
}

/// rustls has the same method for either side, but twice.
trait Records: Deref<Target = CommonState> {
    type Data;

    fn process<'c, 'i>(&'c mut self, came: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Records for UnbufferedConnectionCommon<ServerConnectionData> {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, came: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(came)
    }
}

impl Records for UnbufferedConnectionCommon<ClientConnectionData> {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, came: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(came)
    }
}

/// Goes from state to state until there is nothing left to do with what came; then comes the task. Each state takes
/// something away, bytes that came or something that rustls has to say, so this ends.
fn run<R: Records>(
    records: &mut R,
    came: &mut [u8],
    mut plain: impl FnMut(&[u8]),
    owed: &mut Vec<u8>,
    task: Task<'_>,
) -> (usize, Result<Outcome, Error>) {
    let mut done = 0;
    let mut outcome = Outcome::default();
    loop {
        let UnbufferedStatus { discard, state } = records.process(came.get_mut(done..).unwrap_or_default());
        done += discard;
        match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    match record {
                        Ok(record) => {
                            done += record.discard;
                            plain(record.payload);
                        }
                        Err(error) => return (done, Err(error)),
                    }
                }
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => append(owed, |room| data.encode(room)),
            // It is with what is owed, which is sent before anything else.
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            // What follows a close_notify counts for nothing (RFC 8446 6.1).
            Ok(ConnectionState::PeerClosed) => (outcome.is_closed, done) = (true, came.len()),
            Ok(ConnectionState::Closed) => return (done, Ok(outcome)),
            Ok(ConnectionState::BlockedHandshake) => {
                return match task {
                    Task::Open => (done, Ok(outcome)),
                    Task::Seal(..) | Task::Close => (done, Err(Error::HandshakeNotComplete)),
                };
            }
            Ok(ConnectionState::WriteTraffic(traffic)) => {
                let sealed = write(traffic, owed, task);
                return (done, sealed.map(|sealed| Outcome { sealed, ..outcome }));
            }
            Ok(_) => return (done, Err(Error::General("early data was not asked for".to_owned()))),
            Err(error) => return (done, Err(error)),
        }
    }
}

fn write<Data>(
    mut traffic: WriteTraffic<'_, Data>,
    owed: &mut Vec<u8>,
    task: Task<'_>,
) -> Result<usize, Error> {
    match task {
        Task::Open => Ok(0),
        Task::Seal(plain, room) => traffic.encrypt(plain, room).map_err(|_| Error::EncryptError),
        Task::Close => {
            append(owed, |room| traffic.queue_close_notify(room));
            Ok(0)
        }
    }
}

/// The alert that says what is wrong, behind what is owed already. rustls takes nothing that came while it has this.
fn last_words<R: Records>(records: &mut R, owed: &mut Vec<u8>) {
    while records.wants_write() {
        let Ok(ConnectionState::EncodeTlsData(mut data)) = records.process(&mut []).state else { return };
        append(owed, |room| data.encode(room));
    }
}

/// Makes as much room at the end as rustls says it needs.
fn append<E: Into<Encoding>>(owed: &mut Vec<u8>, mut encode: impl FnMut(&mut [u8]) -> Result<usize, E>) {
    let start = owed.len();
    let Err(Encoding::Needs(bytes)) = encode(&mut []).map_err(Into::into) else { return };
    owed.resize(start + bytes, 0);
    let written = encode(owed.get_mut(start..).unwrap_or_default()).unwrap_or_default();
    owed.truncate(start + written);
}

/// rustls' two ways to say it.
enum Encoding {
    Needs(usize),
    Failed,
}

impl From<EncodeError> for Encoding {
    fn from(error: EncodeError) -> Encoding {
        match error {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Encoding::Needs(required_size)
            }
            EncodeError::AlreadyEncoded => Encoding::Failed,
        }
    }
}

impl From<EncryptError> for Encoding {
    fn from(error: EncryptError) -> Encoding {
        match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Encoding::Needs(required_size)
            }
            EncryptError::EncryptExhausted => Encoding::Failed,
        }
    }
}
