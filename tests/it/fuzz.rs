//! The fuzz targets of every parser, for a moment: over their seeds, over bytes made from them, and over any bytes.

#[path = "../fuzz/src/duet.rs"]
pub mod duet;
#[path = "../fuzz/src/records.rs"]
mod records;
#[path = "../fuzz/src/targets.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use fastrand::Rng;
use longhaul::net::tls;
use longhaul::proto;

/// Inputs for each target: a second or two for all of them.
const INPUTS: usize = 20_000;
const INPUT_BYTES_MAX: usize = 2_000;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz"))
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect()
}

#[test]
fn targets_hold_on_their_seeds_and_on_what_is_made_of_them() {
    let seed = fastrand::u64(..);
    // Shown when the test fails.
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    for (name, target) in targets::TARGETS {
        let seeds: Vec<Vec<u8>> = fs::read_dir(folder().join("seeds").join(name))
            .expect("seeds")
            .map(|entry| fs::read(entry.expect("an entry").path()).expect("a file"))
            .collect();
        assert!(!seeds.is_empty(), "{name} has no seeds");
        seeds.iter().for_each(|bytes| target(bytes));
        for _ in 0..INPUTS {
            target(&changed(&seeds, &mut rng));
        }
    }
}

#[test]
fn every_target_can_be_run_by_cargo_fuzz() {
    let expected: BTreeSet<String> = targets::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&folder().join("seeds")), expected);
    assert_eq!(names(&folder().join("fuzz_targets")), expected);
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).expect("a manifest");
    for name in expected {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}

/// A seed with a few changes; sometimes nothing but random bytes.
fn changed(seeds: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    if rng.u8(..16) == 0 {
        return (0..rng.usize(..64)).map(|_| rng.u8(..)).collect();
    }
    let mut bytes = seeds[rng.usize(..seeds.len())].clone();
    for _ in 0..rng.usize(1..6) {
        let at = rng.usize(..=bytes.len());
        match rng.u8(..5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.u8(..)),
            2 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            // A piece of a seed in another place.
            _ => {
                let other = &seeds[rng.usize(..seeds.len())];
                let from = rng.usize(..=other.len());
                let piece = &other[from..rng.usize(from..=other.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
        }
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}
