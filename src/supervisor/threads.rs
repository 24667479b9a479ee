//! The threads of the process: one per worker, one for metrics. Each has a current-thread runtime of its own, so a
//! tunnel lives and dies on one core.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;

use crate::admin::api::Api;
use crate::admin::scrape::Scrape;
use crate::admin::serve::{Answer, Left, serve};
use crate::lifecycle::Count;
use crate::listen::admit::{INBOX_MAX, WorkerInbox};
use crate::listen::connection;
use crate::net::accept::Acceptor;
use crate::net::listening::Listening;
use crate::proxy::Plane;
use crate::telemetry::cells;
use crate::tunnel::clock;

/// A worker, as the supervisor knows it.
pub struct Worker {
    /// Where its connections go.
    pub inbox: WorkerInbox,
    /// Its runtime.
    pub runtime: Handle,
}

/// What `workers = "auto"` means: one per core that the process may use.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Starts `count` workers.
pub fn start_workers(count: usize, plane: &Arc<Plane>) -> io::Result<Vec<Worker>> {
    (0..count).map(|index| start_worker(index, plane.clone())).collect()
}

fn start_worker(index: usize, plane: Arc<Plane>) -> io::Result<Worker> {
    let (arrivals, mut inbox) = mpsc::channel(INBOX_MAX);
    let (started, runtime) = sync_channel(1);
    thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        cells::enter_worker(index);
        run_thread(&started, async move {
            tokio::spawn(clock::run());
            // A task: the runtime asks the kernel for events each time that its root future was woken.
            let serving = tokio::spawn(async move {
                while let Some(arrival) = inbox.recv().await {
                    tokio::spawn(connection::serve(plane.clone(), arrival));
                }
            });
            let _ = serving.await;
        });
    })?;
    let runtime = runtime.recv().map_err(io::Error::other)??;
    Ok(Worker { inbox: WorkerInbox { arrivals, load: Count::default() }, runtime })
}

/// Starts the thread that answers scrapers, if `scrape` is there, and operators; each until its socket is another process's.
pub fn start_admin(
    scrape: Option<(Listening, Scrape, Left)>,
    api: Option<(Listening, Api, Left)>,
) -> io::Result<()> {
    let (started, runtime) = sync_channel(1);
    thread::Builder::new().name("admin".into()).spawn(move || {
        run_thread(&started, async move {
            tokio::join!(
                async {
                    if let Some((socket, scrape, left)) = scrape {
                        answer(socket, scrape, left).await;
                    }
                },
                async {
                    if let Some((socket, api, left)) = api {
                        answer(socket, api, left).await;
                    }
                }
            );
        });
    })?;
    runtime.recv().map_err(io::Error::other)?.map(drop)
}

async fn answer(socket: Listening, answer: impl Answer, left: Left) {
    match Acceptor::new(socket) {
        Ok(acceptor) => serve(acceptor, Arc::new(answer), left).await,
        Err(error) => tracing::error!(%error, "cannot serve metrics or operators"),
    }
}

/// Makes a runtime, tells `started` about it, and runs `work` on it.
fn run_thread(started: &std::sync::mpsc::SyncSender<io::Result<Handle>>, work: impl Future<Output = ()>) {
    let made: io::Result<Runtime> = Builder::new_current_thread().enable_all().build();
    match made {
        Ok(runtime) => {
            let _ = started.send(Ok(runtime.handle().clone()));
            runtime.block_on(work);
        }
        Err(error) => {
            let _ = started.send(Err(error));
        }
    }
}
