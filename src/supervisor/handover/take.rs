//! The side of the new process: asks for everything, prepares a whole start with it, and serves when it is told to.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use super::{GO, HELLO, Inherited, MANIFEST, STEP_BYTES_MAX, unexpected, versions};
use crate::config::{Place, Problems};
use crate::net::handover::{Channel, MESSAGE_BYTES_MAX};
use crate::net::socket;
use crate::proto::manifest::{Answer, Hello, Manifest, Step};
use crate::supervisor::start::{Beginning, Doors};
use crate::supervisor::{NotTakenOver, StartError, Supervisor};

/// How often it asks when the process that it has asked was itself being replaced.
const TRIES_MAX: usize = 3;
/// For the texts of problems; longer ones are cut.
const REASON_BYTES_MAX: usize = 1_024;

/// The process that runs.
struct Giver {
    channel: Channel,
    pid: Option<i32>,
}

/// What it gives.
struct Gift {
    manifest: Manifest,
    descriptors: Vec<OwnedFd>,
}

impl Supervisor {
    /// Starts a proxy in place of the one that runs, whose sockets it takes. If none runs there is nothing to take, and it
    /// starts as [`Supervisor::start`] does.
    ///
    /// # Errors
    /// As [`Supervisor::start`], and [`StartError::NotTakenOver`]. The process that runs goes on after each of them, and when
    /// the future is dropped.
    pub async fn take_over(beginning: Beginning<'_>) -> Result<Supervisor, StartError> {
        let Some(path) = beginning.config.server.handover.clone() else {
            let mut problems = Problems::new(beginning.config.sources.clone());
            let remedy = "add handover = \"/run/longhaul/handover.sock\" to [server]; the running process needs it, too";
            problems.push(
                Place { source: Some(0), span: 0..0 },
                "`--takeover` needs `server.handover`",
                remedy,
            );
            return Err(StartError::Config(problems));
        };
        let Some((mut giver, gift)) = ask(&path.value).await? else {
            tracing::warn!(path = %path.value.display(), "nobody to take over from: this is a start");
            return Supervisor::start(beginning);
        };
        match giver.replace(gift, beginning).await {
            Err(Failure::Own(error)) => {
                let reason = reason(&error);
                // It may have gone; it need not know.
                let _ = giver.channel.send(&Step::Failed(reason).write(), HELLO).await;
                Err(error)
            }
            Err(Failure::Giver(error)) => {
                let message = format!("the running longhaul has broken the handover off: {error}");
                Err(not_taken_over(message, "its log says why; it goes on, unless it was told to stop"))
            }
            Ok(supervisor) => {
                if let Err(error) = giver.channel.send(&Step::Serving.write(), GO).await {
                    tracing::warn!(%error, "the process before this one has ended before it heard that this one serves");
                }
                let pid = giver.pid.and_then(|pid| u64::try_from(pid).ok()).unwrap_or(0);
                listen(&supervisor, pid, giver.channel.into_stream().into_std().map(OwnedFd::from));
                Ok(supervisor)
            }
        }
    }

    /// Waits for the first look of discovery and the first probes, as readiness does: who is sent here at once must find
    /// what the other process had.
    async fn settle_in(&mut self, doors: &Doors, inherited: &mut Inherited) {
        let mut ready = std::pin::pin!(doors.readiness.wait());
        loop {
            tokio::select! {
                biased;
                () = &mut ready => return,
                event = self.discovery.next() => {
                    self.attend(event).await;
                    let snapshot = self.plane.snapshot.load_full();
                    if inherited.judge(&snapshot) {
                        self.probes.update(&snapshot, None);
                    }
                }
            }
        }
    }
}

/// Whose fault it is that there was no handover.
enum Failure {
    Own(StartError),
    Giver(io::Error),
}

impl<E: Into<StartError>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Own(error.into())
    }
}

impl Giver {
    /// A whole start with what was given; serves when it may.
    async fn replace(&mut self, gift: Gift, beginning: Beginning<'_>) -> Result<Supervisor, Failure> {
        let Gift { manifest, mut descriptors } = gift;
        let predecessors = descriptors.split_off(manifest.sockets.len());
        let named = manifest.sockets.into_iter().zip(descriptors).enumerate();
        let sockets = named.map(|(place, (name, socket))| (name, (place, socket))).collect();
        let mut inherited = Inherited { sockets, known: manifest.known, ..Inherited::default() };
        let (mut supervisor, doors) = Supervisor::prepare(beginning, &mut inherited)?;
        // What this configuration does not have is the other process's to close.
        inherited.sockets.clear();
        supervisor.settle_in(&doors, &mut inherited).await;
        let kept = inherited.kept;
        let sockets = kept.len();
        self.channel.send(&Step::Prepared(kept).write(), GO).await.map_err(Failure::Giver)?;
        let told = self.channel.receive(STEP_BYTES_MAX, GO).await.map_err(Failure::Giver)?;
        match Step::read(&told, 0).map_err(|error| Failure::Giver(io::Error::other(error)))? {
            Step::Go => {}
            step => return Err(Failure::Giver(unexpected(step))),
        }
        supervisor.open(doors)?;
        tracing::info!(pid = self.pid, program = manifest.program, sockets, "taken over");
        for (pid, stream) in manifest.predecessors.into_iter().zip(predecessors) {
            listen(&supervisor, pid, Ok(stream));
        }
        Ok(supervisor)
    }
}

fn listen(supervisor: &Supervisor, pid: u64, stream: io::Result<OwnedFd>) {
    if let Err(error) = stream.and_then(|stream| supervisor.predecessors.listen(pid, stream)) {
        tracing::warn!(pid, %error, "the tunnels of a process before this one are not counted");
    }
}

/// Asks who listens at `path` for everything; `None` if nobody does.
async fn ask(path: &Path) -> Result<Option<(Giver, Gift)>, StartError> {
    // A manifest may bring more descriptors than the soft limit allows.
    socket::raise_descriptor_limit();
    let mut tries = 0;
    loop {
        tries += 1;
        let channel = match Channel::connect(path).await {
            Ok(channel) => channel,
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => return Ok(None),
                _ => return Err(no_answer(path, &error)),
            },
        };
        match receive(channel).await {
            Ok(given) => return Ok(Some(given)),
            Err(Refused::Versions(other)) => {
                let message = format!("{}, and {}", versions(&other), versions(&Hello::own()));
                return Err(not_taken_over(
                    message,
                    "stop the running one, and start this one without --takeover",
                ));
            }
            // It was replaced a moment ago, and another one listens there now.
            Err(Refused::Failed(error)) if has_ended(&error) && tries < TRIES_MAX => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(Refused::Failed(error)) => return Err(no_answer(path, &error)),
        }
    }
}

/// Whether the other end is gone.
fn has_ended(error: &io::Error) -> bool {
    let kinds = [io::ErrorKind::UnexpectedEof, io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
    kinds.contains(&error.kind())
}

enum Refused {
    Versions(Hello),
    Failed(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Refused {
        Refused::Failed(error)
    }
}

async fn receive(mut channel: Channel) -> Result<(Giver, Gift), Refused> {
    let (is_trusted, pid) = channel.peer()?;
    if !is_trusted {
        let message = "another user's process listens there";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message).into());
    }
    let own = Hello::own();
    channel.send(&own.write(), HELLO).await?;
    let answer = channel.receive(MESSAGE_BYTES_MAX, MANIFEST).await?;
    match Answer::read(&answer).map_err(io::Error::other)? {
        Answer::Refused(other) => Err(Refused::Versions(other)),
        Answer::Manifest(manifest) => {
            let count = manifest.sockets.len() + manifest.predecessors.len();
            let descriptors = channel.receive_descriptors(count, MANIFEST).await?;
            Ok((Giver { channel, pid }, Gift { manifest, descriptors }))
        }
    }
}

fn no_answer(path: &Path, error: &io::Error) -> StartError {
    let message = format!("no longhaul hands over at {}: {error}", path.display());
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => "run as the user of the running process, or as root",
        io::ErrorKind::TimedOut => "it may be busy with another takeover: try again, or see its log",
        _ => "see the log of the running process; to go without it, stop it and start without --takeover",
    };
    not_taken_over(message, remedy)
}

fn not_taken_over(message: String, remedy: &'static str) -> StartError {
    StartError::NotTakenOver(NotTakenOver { message, remedy })
}

/// An error in a few words, for the log of the other process.
fn reason(error: &StartError) -> String {
    let mut text = match error {
        StartError::Config(problems) | StartError::Bind(problems) => {
            problems.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("; ")
        }
        StartError::Machine(error) => error.to_string(),
        StartError::NotTakenOver(error) => error.message.clone(),
    };
    while text.len() > REASON_BYTES_MAX {
        text.pop();
    }
    text
}
