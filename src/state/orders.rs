//! What others ask of the supervisor, the one writer. Orders travel to it through a channel that it made.

use tokio::sync::oneshot;

use crate::config::{Problems, State};

/// What may be asked.
pub enum Order {
    /// Read the configuration again.
    Reload(Reload),
    /// Put a backend into a state.
    State(StateOrder),
}

/// Put a backend into a state.
pub struct StateOrder {
    /// The name of its pool.
    pub pool: String,
    /// Its address, as metrics and logs show it.
    pub backend: String,
    /// `None` is the one that the configuration gives it.
    pub state: Option<State>,
    /// Learns the state that it has now; `None` when there is no such backend.
    pub reply: oneshot::Sender<Option<State>>,
}

/// Read the configuration again.
pub struct Reload {
    /// Who asks.
    pub asker: Asker,
    /// Who wants to know what came of it.
    pub reply: Option<oneshot::Sender<Reloaded>>,
}

/// Who asks for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// SIGHUP.
    Signal,
    /// The watch over the files.
    Watch,
    /// An operator, through the admin address.
    Operator,
}

impl Asker {
    /// As the log names it.
    pub fn label(self) -> &'static str {
        match self {
            Asker::Signal => "signal",
            Asker::Watch => "watch",
            Asker::Operator => "operator",
        }
    }
}

/// What came of a reload.
#[derive(Debug)]
pub enum Reloaded {
    /// Nothing that matters has changed: the generation is the same.
    Unchanged {
        /// The one in force.
        generation: u64,
    },
    /// A new generation is in force.
    Accepted {
        /// Its number.
        generation: u64,
        /// What is different, in one line.
        change: String,
    },
    /// The file is wrong: the old generation is in force.
    Rejected(Problems),
}
