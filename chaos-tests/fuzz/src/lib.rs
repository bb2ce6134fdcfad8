//! Fuzz targets: every decoder of bytes from outside or from disk, as a function that must not panic.
//!
//! `fuzz` runs them under libFuzzer; a test runs each over its seeds and the committed corpus.
mod query;
pub mod seeds;
mod store;

/// Name and function of a decoder.
type Decoder = (&'static str, fn(&[u8]));

/// A decoder under its name.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
}

/// All targets, by name.
pub fn targets() -> Vec<Target> {
    let lists: [&[Decoder]; 5] = [
        &store::TARGETS,
        &query::TARGETS,
        &trine_api::fuzz::TARGETS,
        &trine_actors::fuzz::TARGETS,
        &trine_raft::fuzz::TARGETS,
    ];
    let mut targets: Vec<Target> = lists.into_iter().flatten().map(|(name, run)| Target { name, run: *run }).collect();
    targets.sort_by_key(|t| t.name);
    targets
}

/// The target of that name.
pub fn target(name: &str) -> Option<Target> {
    targets().into_iter().find(|t| t.name == name)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn names_are_different() {
        let mut names: Vec<&str> = targets().iter().map(|t| t.name).collect();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(seeds::NAMES.iter().all(|name| target(name).is_some()), "a seed for no target");
    }

    #[test]
    fn seeds_corpus_and_small_changes_of_them_do_not_panic() {
        for target in targets() {
            let mut inputs = seeds::of(target.name);
            let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
            if let Ok(files) = std::fs::read_dir(corpus) {
                inputs.extend(files.map(|f| std::fs::read(f.unwrap().path()).unwrap()));
            }
            (target.run)(&[]);
            for input in &inputs {
                (target.run)(input);
                for changed in changes(input) {
                    (target.run)(&changed);
                }
            }
        }
    }

    /// Truncations and single changed bytes, some dozens of a long input.
    fn changes(input: &[u8]) -> Vec<Vec<u8>> {
        let step = (input.len() / 64).max(1);
        let cut = (0..input.len()).step_by(step).map(|n| input[..n].to_vec());
        let flip = (0..input.len()).step_by(step).flat_map(|n| {
            [0x00, 0x7f, 0xff].map(|to| {
                let mut changed = input.to_vec();
                changed[n] = to;
                changed
            })
        });
        cut.chain(flip).collect()
    }
}
