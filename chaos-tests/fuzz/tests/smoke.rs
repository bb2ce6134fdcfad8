//! Every target over its seeds, its corpus and changes of them, without libFuzzer: a short look on every run of the tests.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use trine_fuzz::mutate::mutate;
use trine_fuzz::{Target, pack, seeds, targets};

/// Changed inputs of a target, as far as [`TARGET_TIME_MAX`] allows.
const CHANGED_INPUTS: usize = 10_000;
/// For the changed inputs of one target.
const TARGET_TIME_MAX: Duration = Duration::from_millis(400);

/// What an input is, for whoever has to run it again.
struct Input<'a> {
    target: &'a str,
    what: String,
    bytes: &'a [u8],
}

impl Input<'_> {
    fn run(&self, run: fn(&[u8])) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(self.bytes))) {
            let Self { target, what, bytes } = self;
            let text: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            eprintln!("target {target}, {what}; the input is, in hex:\n{text}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn no_target_fails_on_its_seeds_its_corpus_or_changes_of_them() {
    let seed = std::env::var("TRINE_FUZZ_SEED").ok().map(|s| s.parse().expect("TRINE_FUZZ_SEED is a number"));
    let seed: u64 = seed.unwrap_or_else(|| rand::rng().random());
    println!("TRINE_FUZZ_SEED={seed}");
    for target in targets() {
        smoke(target, seed);
    }
}

fn smoke(target: Target, seed: u64) {
    let Target { name, run } = target;
    let mut inputs = seeds::of(name);
    inputs.extend(pack::read(name).expect("the corpus can be read"));
    inputs.push(Vec::new());
    for (n, bytes) in inputs.iter().enumerate() {
        Input { target: name, what: format!("seed or corpus input {n}"), bytes }.run(run);
    }
    let (mut rng, started) = (StdRng::seed_from_u64(seed), Instant::now());
    let mut done = 0;
    while done < CHANGED_INPUTS && started.elapsed() < TARGET_TIME_MAX {
        let bytes = mutate(&inputs, &mut rng);
        Input { target: name, what: format!("changed input {done} of TRINE_FUZZ_SEED={seed}"), bytes: &bytes }.run(run);
        done += 1;
    }
    println!("{name}: {} inputs, {done} changed ones", inputs.len());
}

#[test]
fn names_are_different_and_every_pack_has_a_target() {
    let names: Vec<&str> = targets().iter().map(|t| t.name).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    let packs = std::fs::read_dir(pack::path_of("any").parent().expect("packs have a directory"));
    for file in packs.into_iter().flatten() {
        let path = file.expect("the directory of packs can be read").path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        assert!(names.contains(&name.as_str()), "{} is for no target", path.display());
    }
}

#[test]
fn most_targets_have_seeds() {
    let without: Vec<&str> = targets().iter().map(|t| t.name).filter(|name| seeds::of(name).is_empty()).collect();
    assert_eq!(
        without,
        [
            "attributes",
            "dedup_window",
            "metrics_columns",
            "metrics_tables",
            "rows_columns",
            "rows_tables",
            "wal_records"
        ]
    );
}
