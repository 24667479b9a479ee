//! What has been counted, as a table to read or as tests against [`bounds`](crate::bounds).

use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use crate::bounds::{BOUNDS, Section};

/// Counts that are fractions (an average over many) may differ from the bound in the last bits.
const ROUNDING: f64 = 1e-9;

/// Takes counts, section by section.
pub struct Report {
    /// What the tests' names must contain, if this is a test and somebody has asked for some of them.
    filter: Option<String>,
    checks: bool,
    begun: Instant,
    section: &'static Section,
    remarks: Vec<String>,
    passed: usize,
    filtered: usize,
    failures: Vec<String>,
}

impl Report {
    /// A report that checks, if not told to print.
    pub fn new(checks: bool, filter: Option<String>) -> Report {
        Report {
            filter,
            checks,
            begun: Instant::now(),
            section: &BOUNDS[0],
            remarks: Vec::new(),
            passed: 0,
            filtered: 0,
            failures: Vec::new(),
        }
    }

    /// Whether any test of these sections has been asked for.
    pub fn wants(&mut self, sections: &[&str]) -> bool {
        if !self.checks {
            return self
                .filter
                .as_ref()
                .is_none_or(|filter| sections.iter().any(|name| name.contains(filter)));
        }
        let sections = || BOUNDS.iter().filter(|section| sections.contains(&section.name));
        let wanted = sections().any(|section| section.tests().any(|test| self.is_wanted(&test)));
        if !wanted {
            self.filtered += sections().map(|section| section.tests().count()).sum::<usize>();
        }
        wanted
    }

    fn is_wanted(&self, test: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| test.contains(filter))
    }

    /// Begins a section; its rows must follow, in the order of the bounds.
    pub fn section(&mut self, name: &str) {
        self.finish_section();
        self.section = BOUNDS.iter().find(|section| section.name == name).expect("a section of the bounds");
        if !self.checks {
            println!("\n{}\n", self.section.title);
            println!("| case | {} |", self.section.columns.join(" | "));
            println!("|---|{}", "---:|".repeat(self.section.columns.len()));
        }
    }

    /// A case of the section, with a value for each column.
    pub fn row(&mut self, case: &str, values: &[f64]) {
        assert_eq!(values.len(), self.section.columns.len(), "{}: {case}", self.section.name);
        if !self.checks {
            let cells: Vec<String> = values.iter().map(|value| cell(*value)).collect();
            println!("| {case} | {} |", cells.join(" | "));
            return;
        }
        let bounds = self.section.rows.iter().find(|(name, _)| *name == case);
        let bounds = bounds.unwrap_or_else(|| panic!("{}: {case} has no bounds", self.section.name)).1;
        let test = format!("{}: {case}", self.section.name);
        if !self.is_wanted(&test) {
            self.filtered += 1;
            return;
        }
        let cells = self.section.columns.iter().zip(values).zip(bounds);
        let grown = cells.filter(|((_, value), bound)| **value > **bound + ROUNDING);
        let grown: Vec<String> = grown
            .map(|((column, value), bound)| format!("{column} {}, at most {}", cell(*value), cell(*bound)))
            .collect();
        if grown.is_empty() {
            self.passed += 1;
            println!("test {test} ... ok");
        } else {
            println!("test {test} ... FAILED");
            self.failures.push(format!("{test}: {}", grown.join("; ")));
        }
    }

    /// Tells something that has no bound, behind the section's table.
    pub fn remark(&mut self, text: String) {
        self.remarks.push(text);
    }

    fn finish_section(&mut self) {
        for remark in self.remarks.drain(..).filter(|_| !self.checks) {
            println!("\n{remark}");
        }
    }

    /// Says what came of the tests, in the form in which `cargo test` says it.
    pub fn finish(mut self) -> ExitCode {
        self.finish_section();
        if !self.checks {
            return ExitCode::SUCCESS;
        }
        let failed = self.failures.len();
        let bounded: usize = BOUNDS.iter().map(|section| section.tests().count()).sum();
        assert_eq!(self.passed + failed + self.filtered, bounded, "cases that have bounds are all counted");
        if failed > 0 {
            println!("\nfailures:\n    {}", self.failures.join("\n    "));
        }
        let result = if failed == 0 { "ok" } else { "FAILED" };
        let (passed, filtered, seconds) = (self.passed, self.filtered, self.begun.elapsed().as_secs_f64());
        println!(
            "\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {filtered} filtered \
             out; finished in {seconds:.2}s\n"
        );
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Three decimals of small numbers, if they have so many.
fn cell(value: f64) -> String {
    if value >= 100.0 {
        return format!("{value:.0}");
    }
    let digits = format!("{value:.3}");
    digits.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// Fails where `program` is not installed; Debian's package has the same name.
pub fn require(program: &str) {
    let run = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(run.is_ok_and(|status| status.success()), "{program} does not run: apt install {program}");
}
