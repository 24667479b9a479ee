//! Why a request goes on to another backend.

/// What happened at the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryCause {
    /// The connection did not come about: it has not got the request.
    Connect,
    /// It took too long.
    Timeout,
    /// It ended the connection before a byte of an answer.
    Reset,
    /// It answered with a status that is configured.
    Status,
}

impl RetryCause {
    /// All of them, in order.
    pub const ALL: [RetryCause; 4] =
        [RetryCause::Connect, RetryCause::Timeout, RetryCause::Reset, RetryCause::Status];

    /// The word in metrics.
    pub fn label(self) -> &'static str {
        match self {
            RetryCause::Connect => "connect",
            RetryCause::Timeout => "timeout",
            RetryCause::Reset => "reset",
            RetryCause::Status => "status",
        }
    }
}
