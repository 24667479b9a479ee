//! The command line: what each command does, and with which status it ends.

mod explain;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand, ValueEnum};
use tokio::runtime;

use self::explain::Asked;
use crate::config::schema::schema;
use crate::config::{Config, Problems};
use crate::demo;
use crate::state::build;
use crate::state::registry::Registry;
use crate::supervisor::signals::Signals;
use crate::supervisor::start::Beginning;
use crate::supervisor::{StartError, Stopped, Supervisor};
use crate::telemetry::Metrics;
use crate::telemetry::log::{self, Sink};

const EXAMPLES: &str = "\
Examples:
  longhaul demo                           try it: two echo backends, wss://localhost:8443 in front
  longhaul run --config longhaul.toml     serve what the file says
  longhaul check longhaul.toml            say what is wrong with the file, its certificates and its keys
  longhaul check a.toml --format json     the same, for editors and build servers
  longhaul check a.toml --explain 'GET wss://chat.example.com/ws' -H 'X-Canary: 1'
                                          say which route a request takes, and why
  longhaul schema > schema.json           what may stand in the file, for editors that complete it
  longhaul run --config a.toml --takeover
                                          serve in place of the one that runs (server.handover), which drains
  kill -HUP PID                           read the file again (longhaul also notices when it changes)
  kill -TERM PID                          stop politely: tunnels may end until server.drain.deadline
                                          (a second signal cuts at once)

Exit status:
  0   everything ended by itself
  1   it could not start: an address is taken, the machine lacks something, or a takeover failed (the other one goes on)
  2   the command line is wrong
  3   it stopped, and connections were cut at the drain deadline or by a second signal
  4   no route takes the request of --explain
  78  the configuration is wrong (nothing was started)";

const EXIT_CUT: u8 = 3;
const EXIT_NO_ROUTE: u8 = 4;
const EXIT_CONFIG: u8 = 78;

/// A reverse proxy and load balancer for connections that stay open: WebSocket first, and the HTTP around it.
#[derive(Parser)]
#[command(name = "longhaul", version, after_help = EXAMPLES, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve what a configuration file says
    #[command(after_help = EXAMPLES)]
    Run {
        /// The configuration file (TOML); every key is explained in config/full.toml
        #[arg(short, long, value_name = "FILE", env = "LONGHAUL_CONFIG")]
        config: PathBuf,
        /// Take the sockets over from the process that runs with the same server.handover; it drains then
        #[arg(long)]
        takeover: bool,
    },
    /// Say what is wrong with a configuration file and the files that it names; start nothing
    Check {
        /// The configuration file (TOML)
        #[arg(value_name = "FILE", env = "LONGHAUL_CONFIG")]
        file: PathBuf,
        /// Problems as text on standard error, or as a JSON array on standard output
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        #[command(flatten)]
        asked: Box<Asked>,
    },
    /// Print what may stand in a configuration file, as a JSON Schema (draft-07)
    Schema,
    /// Show the main job: a proxy with two embedded echo backends and a page to try them
    Demo,
}

/// How `check` tells problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { config, takeover } => match Config::load(&config) {
            Ok(loaded) => run(loaded, &config, takeover),
            Err(problems) => report(&problems),
        },
        Command::Check { file, format, asked } => check(&file, format, &asked),
        Command::Schema => print(&schema()),
        Command::Demo => run_demo(),
    }
}

fn run(config: Config, path: &Path, takeover: bool) -> ExitCode {
    serve(config, Some(path), takeover, || {
        tracing::info!(config = %path.display(), version = env!("CARGO_PKG_VERSION"), "serving");
        Ok(())
    })
}

/// Does all that a start does before it binds addresses.
fn check(path: &Path, format: Format, asked: &Asked) -> ExitCode {
    let built = Config::load(path)
        .map(|config| if asked.is_explained() { config.without_secrets() } else { config })
        .and_then(|config| build::build(Arc::new(config), None, &Registry::default(), &Metrics::new(1)));
    match (built, format) {
        (Ok(snapshot), Format::Text) => {
            let config = &snapshot.config;
            if !config.warnings.is_empty() {
                show(&config.warnings);
            }
            if let Some((text, taken)) = asked.explain(&snapshot) {
                let printed = print(&text);
                return if taken { printed } else { ExitCode::from(EXIT_NO_ROUTE) };
            }
            let counts = [
                count(config.listeners.len(), "listener"),
                count(config.routes.len(), "route"),
                count(config.pools.len(), "pool"),
            ];
            print(&format!("{} is good: {}\n", path.display(), counts.join(", ")))
        }
        (Ok(snapshot), Format::Json) => print(&(snapshot.config.warnings.to_json() + "\n")),
        (Err(problems), Format::Text) => report(&problems),
        (Err(problems), Format::Json) => {
            print(&(problems.to_json() + "\n"));
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

fn run_demo() -> ExitCode {
    match demo::prepare() {
        Ok((config, introduction)) => match serve(config, None, false, || introduction.write(io::stdout())) {
            // Whoever ends a demo ends its tunnels, too.
            code if code == ExitCode::from(EXIT_CUT) => ExitCode::SUCCESS,
            code => code,
        },
        Err(error) => fail(&format!("cannot start the demo: {error}")),
    }
}

/// Starts a proxy, in place of another one if it is a `takeover`, calls `tell` when it serves, and runs it to its end.
fn serve(
    config: Config,
    path: Option<&Path>,
    takeover: bool,
    tell: impl FnOnce() -> io::Result<()>,
) -> ExitCode {
    let sink = match Sink::start(io::stdout()) {
        Ok(sink) => sink,
        Err(error) => return fail(&format!("cannot start a thread for the log: {error}")),
    };
    let log = log::install(&sink, &config.log);
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}")),
    };
    let code = runtime.block_on(async {
        // Before anything is served: a signal that comes early must drain, not kill.
        let mut signals = match Signals::catch() {
            Ok(signals) => signals,
            Err(error) => return fail(&format!("cannot catch signals: {error}")),
        };
        let beginning = Beginning { config, path: path.map(Path::to_path_buf), sink: &sink, log };
        let started = match takeover {
            false => Supervisor::start(beginning),
            true => tokio::select! {
                biased;
                started = Supervisor::take_over(beginning) => started,
                () = signals.stop.wait() => return fail("told to stop before it had taken over"),
            },
        };
        let supervisor = match started {
            Ok(supervisor) => supervisor,
            Err(error) => return refuse(error),
        };
        if let Err(error) = tell() {
            return fail(&format!("cannot write to standard output: {error}"));
        }
        match supervisor.run(&mut signals).await {
            Stopped::Drained => ExitCode::SUCCESS,
            Stopped::Cut(_) => ExitCode::from(EXIT_CUT),
        }
    });
    // A name that is being resolved must not hold the process up.
    runtime.shutdown_background();
    sink.flush();
    code
}

/// Says why nothing is served.
fn refuse(error: StartError) -> ExitCode {
    match error {
        StartError::Config(problems) => report(&problems),
        StartError::Bind(problems) => {
            report(&problems);
            ExitCode::FAILURE
        }
        StartError::Machine(error) => fail(&format!("cannot start: {error}")),
        StartError::NotTakenOver(error) => fail(&format!("{}\n  help: {}", error.message, error.remedy)),
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("cannot write to standard output: {error}")),
    }
}

fn report(problems: &Problems) -> ExitCode {
    show(problems);
    ExitCode::from(EXIT_CONFIG)
}

fn show(problems: &Problems) {
    let color = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let _ = writeln!(io::stderr(), "{}", problems.render(color));
}

fn fail(message: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "longhaul: {message}");
    ExitCode::FAILURE
}
