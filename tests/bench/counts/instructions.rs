//! Instructions of the [`loops`], counted by valgrind's callgrind: this program again, in another role.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::ROLE;
use crate::loops::{LOOPS, ROUNDS};
use crate::report::{Report, require};

/// Loops over few and over many.
const GROWTH: &[(&str, &str, &str)] = &[
    ("router, exact host", "10 routes", "10,000 routes"),
    ("router, wildcard", "10 routes", "10,000 routes"),
    ("router, prefix", "10 routes", "10,000 routes"),
    ("router, field", "10 routes", "10,000 routes"),
    ("router, parameter", "10 routes", "10,000 routes"),
    ("router, source", "10 routes", "10,000 routes"),
    ("pool, round robin", "3 backends", "5,000 backends"),
    ("pool, round robin by weights", "3 backends", "5,000 backends"),
    ("pool, least connections", "3 backends", "5,000 backends"),
    ("pool, random", "3 backends", "5,000 backends"),
    ("pool, power of two", "3 backends", "5,000 backends"),
    ("pool, hash", "3 backends", "5,000 backends"),
    ("pool, bounded hash", "3 backends", "5,000 backends"),
    ("seats, least connections", "3 backends", "5,000 backends"),
    ("seats, power of two", "3 backends", "5,000 backends"),
];

/// Counts all loops.
pub fn measure(report: &mut Report) {
    require("valgrind");
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--dump-before=*::loops::boundary"])
        .arg(format!("--callgrind-out-file={}", folder.path().join("part").display()))
        .arg(std::env::current_exe().expect("this program"))
        .env(ROLE, LOOPS)
        .output()
        .expect("valgrind runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).expect("text");
    let mut counts = HashMap::new();
    report.section("instructions");
    for (index, name) in names.lines().enumerate() {
        // Of the three parts that a loop ends, the first is its preparation.
        let part = |number| instructions(&folder.path().join(format!("part.{}", 3 * index + number)));
        let (once, twice) = (part(2), part(3));
        let count = (twice - once) as f64 / ROUNDS as f64;
        report.row(name, &[count]);
        counts.insert(name.to_string(), count);
    }
    report.section("growth");
    for (name, few, many) in GROWTH {
        let count = |number| counts.get(&format!("{name}, {number}")).expect("a loop with this number");
        report.row(name, &[count(many) / count(few)]);
    }
}

fn instructions(part: &Path) -> u64 {
    let text = fs::read_to_string(part).expect("valgrind writes a file for each part");
    let total =
        text.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")));
    total.and_then(|total| total.trim().parse().ok()).expect("a number")
}
