//! The table: medians of the rounds, and the ratios that matter, each taken within one round.

use std::fmt::Write;
use std::fs;

use crate::cases::{Case, Work};
use crate::load::Figure;
use crate::proxies::{Kind, Site};

/// One round of one case, a figure per proxy.
pub type Round = Vec<Option<Figure>>;

/// Prints as the measurements come.
pub struct Report<'r> {
    site: &'r Site,
    kinds: &'r [Kind],
    latencies: String,
    untidy: String,
    sockets: String,
}

impl<'r> Report<'r> {
    /// A report on `kinds`.
    pub fn new(site: &'r Site, kinds: &'r [Kind]) -> Report<'r> {
        Report { site, kinds, latencies: String::new(), untidy: String::new(), sockets: String::new() }
    }

    /// Machine, versions, and the head of the table.
    pub fn head(&self) {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
        println!("* Machine: {}, {cores} cores", model.map_or("unknown", |(_, model)| model));
        println!("* Kernel: {}", read("/proc/sys/kernel/osrelease").trim());
        for kind in self.kinds {
            println!("* {}: {}", kind.name(), self.site.version(*kind).unwrap_or_default());
        }
        let names: Vec<&str> = self.kinds.iter().map(|kind| kind.name()).collect();
        let relays: String = self.relays().map(|kind| format!(" {} / floor |", kind.name())).collect();
        println!(
            "\n| case | unit | {} | longhaul / floor | longhaul / best peer |{relays}",
            names.join(" | ")
        );
        println!("|---|---|{}---|---|{}", "---|".repeat(names.len()), "---|".repeat(self.relays().count()));
    }

    /// One case.
    pub fn row(&mut self, case: &Case, rounds: &[Round]) {
        let mut cells = String::new();
        for index in 0..self.kinds.len() {
            let values = column(rounds, index);
            let _ = write!(cells, " {} |", spread(&values, digits(case)));
        }
        let to_floor = self.ratios(rounds, Kind::Longhaul, |kind| kind == Kind::Floor);
        let to_best = self.ratios(rounds, Kind::Longhaul, Kind::is_peer);
        let relays = self.relays().map(|relay| self.ratios(rounds, relay, |kind| kind == Kind::Floor));
        let relays: String = relays.map(|ratios| format!(" {} |", spread(&ratios, 2))).collect();
        println!(
            "| {} | {} |{cells} {} | {} |{relays}",
            case.title,
            case.unit(),
            spread(&to_floor, 2),
            spread(&to_best, 2)
        );
        for (index, kind) in self.kinds.iter().enumerate() {
            self.note_latencies(case, *kind, rounds, index);
            self.note_untidy(case, *kind, rounds, index);
            self.note_sockets(case, *kind, rounds, index);
        }
    }

    /// What else was seen. Latencies are for information: they depend on what else the machine does.
    pub fn notes(&self) {
        if !self.sockets.is_empty() {
            println!(
                "\nKernel memory (slab) of one idle socket, of which a tunnel has two in the proxy:\n\n{}",
                self.sockets
            );
        }
        if !self.untidy.is_empty() {
            println!("\nTunnels that ended without the backend's Close frame:\n\n{}", self.untidy);
        }
        if !self.latencies.is_empty() {
            println!(
                "\n| case | proxy | p50 us | p99 us | p99.9 us |\n|---|---|---|---|---|\n{}",
                self.latencies
            );
        }
    }

    fn relays(&self) -> impl Iterator<Item = Kind> {
        self.kinds.iter().copied().filter(|kind| matches!(kind, Kind::Relay(_)))
    }

    /// The figure of `of` by the least figure of those that are `wanted`, round by round.
    fn ratios(&self, rounds: &[Round], of: Kind, wanted: impl Fn(Kind) -> bool) -> Vec<f64> {
        let ratio = |round: &Round| {
            let own = self.kinds.iter().position(|kind| *kind == of)?;
            let own = round.get(own)?.as_ref()?.value;
            let others = self.kinds.iter().zip(round).filter(|(kind, _)| wanted(**kind));
            let least = others.filter_map(|(_, figure)| Some(figure.as_ref()?.value)).reduce(f64::min)?;
            // What costs nothing that can be measured is no measure.
            (least > 0.0).then(|| own / least)
        };
        rounds.iter().filter_map(ratio).collect()
    }

    fn note_untidy(&mut self, case: &Case, kind: Kind, rounds: &[Round], index: usize) {
        let figures = rounds.iter().filter_map(|round| round.get(index)?.as_ref());
        let worst = figures.map(|figure| figure.untidy).fold(0.0, f64::max);
        if worst > 0.0 {
            let (name, share) = (kind.name(), worst * 100.0);
            let _ = writeln!(self.untidy, "* {}, {name}: up to {share:.2}% a round", case.title);
        }
    }

    fn note_sockets(&mut self, case: &Case, kind: Kind, rounds: &[Round], index: usize) {
        let figures = rounds.iter().filter_map(|round| round.get(index)?.as_ref());
        for bytes in figures.filter_map(|figure| figure.socket_bytes) {
            let (name, kib) = (kind.name(), bytes / 1024.0);
            let _ = writeln!(self.sockets, "* {}, {name}: {kib:.2} KiB", case.title);
        }
    }

    fn note_latencies(&mut self, case: &Case, kind: Kind, rounds: &[Round], index: usize) {
        let all = rounds.iter().filter_map(|round| round.get(index)?.as_ref());
        let mut latencies: Vec<f64> = all.flat_map(|figure| figure.latencies.iter().copied()).collect();
        latencies.sort_by(f64::total_cmp);
        let quantile = |part: f64| latencies.get((latencies.len() as f64 * part) as usize);
        if let (Some(middle), Some(high), Some(higher)) = (quantile(0.5), quantile(0.99), quantile(0.999)) {
            let name = kind.name();
            let _ = writeln!(
                self.latencies,
                "| {} | {name} | {middle:.0} | {high:.0} | {higher:.0} |",
                case.title
            );
        }
    }
}

fn column(rounds: &[Round], index: usize) -> Vec<f64> {
    rounds.iter().filter_map(|round| Some(round.get(index)?.as_ref()?.value)).collect()
}

fn digits(case: &Case) -> usize {
    match case.work {
        Work::Idle => 2,
        Work::Echo { message_bytes, .. } if message_bytes >= 1024 * 1024 => 0,
        Work::Open { .. } => 0,
        _ => 1,
    }
}

/// Median, and the range where there are several.
fn spread(values: &[f64], digits: usize) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.as_slice() {
        [] => "-".into(),
        [value] => format!("{value:.digits$}"),
        [least, .., most] => {
            let median = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0;
            format!("{median:.digits$} ({least:.digits$}-{most:.digits$})")
        }
    }
}
