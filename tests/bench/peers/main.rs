//! longhaul beside other proxies and beside a bare relay, on the same work in the same run: CPU time per unit of work and
//! resident memory per idle tunnel. `tests/bench/run` installs the peers and starts this.
//!
//! Every proxy is one process tree on one core with one worker; clients and the backend share the other core. CPU is what
//! the kernel charged to the proxy (user and system time of all its threads and children). On a shared machine such times
//! drift, so a case measures all peers in turn, several rounds of that, and only the ratios within a round are compared.
//!
//! The table goes to standard output as Markdown, progress to standard error.

mod backend;
mod cases;
mod floor;
mod http2;
mod load;
mod process;
mod proxies;
mod report;
mod tls;

#[path = "../../it/kit/mod.rs"]
#[allow(dead_code, unused_imports)]
mod kit;

use std::path::PathBuf;

use clap::Parser;

use crate::cases::{CASES, Case};
use crate::load::Load;
use crate::proxies::{Kind, Relay, Site};
use crate::report::Report;

/// The floor has longhaul's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Compares longhaul with other proxies.
#[derive(Parser)]
struct Options {
    /// A case, by name; may be repeated; absent: all.
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// A proxy; may be repeated; absent: all that are installed.
    #[arg(long = "peer", value_name = "NAME")]
    peers: Vec<Kind>,
    /// How often each case is measured with each proxy.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long a measurement of CPU time lasts, in seconds.
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// How many tunnels the cases of memory open.
    #[arg(long, default_value_t = 8_000)]
    tunnels: usize,
    /// Another build of nginx.
    #[arg(long, value_name = "PATH", default_value = "nginx")]
    nginx: PathBuf,
    /// Another build of HAProxy.
    #[arg(long, value_name = "PATH", default_value = "haproxy")]
    haproxy: PathBuf,
    /// Another build of Envoy.
    #[arg(long, value_name = "PATH", default_value = "envoy")]
    envoy: PathBuf,
    /// Another build of Caddy.
    #[arg(long, value_name = "PATH", default_value = "caddy")]
    caddy: PathBuf,
    /// Another build of longhaul; absent: the one of this tree.
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_longhaul"))]
    longhaul: PathBuf,
    /// A relay that is measured, too, in plain text; it is started as PROGRAM NAME LISTEN BACKEND; may be repeated.
    #[arg(long = "relay", value_name = "NAME=PROGRAM")]
    relays: Vec<Relay>,
    /// Names the cases and ends.
    #[arg(long)]
    list: bool,
    /// What cargo passes to a benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    // The floor is this program in another role.
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(floor::ROLE) {
        return floor::main(&arguments.collect::<Vec<_>>());
    }
    let options = Options::parse();
    if options.list {
        CASES.iter().for_each(|case| println!("{:20} {}, {}", case.name, case.title, case.unit()));
        return;
    }
    let cases = chosen(&options.cases);
    process::stay_on_core(process::LOAD_CORE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(compare(&options, &cases));
}

fn chosen(names: &[String]) -> Vec<&'static Case> {
    let unknown = names.iter().find(|name| CASES.iter().all(|case| case.name != **name));
    if let Some(unknown) = unknown {
        eprintln!("there is no case {unknown}: --list names them");
        std::process::exit(2);
    }
    CASES.iter().filter(|case| names.is_empty() || names.iter().any(|name| name == case.name)).collect()
}

async fn compare(options: &Options, cases: &[&'static Case]) {
    let pki = kit::Pki::new();
    let site = Site::new(options, &pki).await;
    let mut kinds: Vec<Kind> = Kind::ALL
        .into_iter()
        .filter(|kind| options.peers.is_empty() || options.peers.contains(kind))
        .filter(|kind| site.is_installed(*kind))
        .collect();
    kinds.extend(options.relays.iter().map(|relay| Kind::Relay(relay.name)));
    let load = Load::new(&pki, options.seconds, options.tunnels);
    let mut report = Report::new(&site, &kinds);
    report.head();
    for case in cases {
        let mut rounds = Vec::new();
        let count = if case.is_exact() { 1 } else { options.rounds };
        for round in 1..=count {
            eprintln!("{}, round {round} of {count}", case.name);
            rounds.push(measure_all(case, &site, &kinds, &load).await);
        }
        report.row(case, &rounds);
    }
    report.notes();
}

/// One round: each proxy freshly started, measured, and stopped.
async fn measure_all(case: &Case, site: &Site, kinds: &[Kind], load: &Load) -> Vec<Option<load::Figure>> {
    let mut figures = Vec::new();
    for kind in kinds {
        let Some(proxy) = site.start(*kind, case).await else {
            figures.push(None);
            continue;
        };
        let figure = load.measure(case, &proxy).await;
        match &figure {
            Ok(figure) => eprintln!("  {:10} {:.2} {}", kind.name(), figure.value, case.unit()),
            Err(error) => eprintln!("  {:10} {error}", kind.name()),
        }
        figures.push(figure.ok());
    }
    figures
}
