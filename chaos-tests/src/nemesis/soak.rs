//! Many runs, each fault alone and then in random pairs, and a table of what came of them.
use std::fmt::Write as _;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::fault::Fault;
use super::run::{Plan, Verdict, run};

/// What to run.
#[derive(Clone, Debug)]
pub struct Soak {
    /// Decides which pairs there are and the seed of every run.
    pub seed: u64,
    pub runs: usize,
    /// Clusters of so many nodes, in turn.
    pub nodes: Vec<usize>,
    pub faults: Vec<Fault>,
    /// All but what varies from run to run.
    pub plan: Plan,
}

/// The plans of a soak: every fault alone first, then random pairs.
pub fn plans(soak: &Soak) -> Vec<Plan> {
    let mut rng = StdRng::seed_from_u64(soak.seed);
    let plan = |n: usize| {
        let faults = match soak.faults.get(n) {
            Some(alone) => vec![*alone],
            None => soak.faults.choose_multiple(&mut rng, 2).copied().collect(),
        };
        let nodes = soak.nodes[n % soak.nodes.len()];
        Plan { seed: rng.random(), nodes, faults, ..soak.plan.clone() }
    };
    (0..soak.runs).map(plan).collect()
}

/// One run and what came of it; `Err` is what kept it from ending.
pub type Row = (Plan, Result<Verdict, String>);

/// Runs all plans, one after another, and shows `after_each` what there is so far. Goes on after violations.
pub async fn soak(soak: &Soak, mut after_each: impl FnMut(&[Row]) -> Result<(), String>) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    let plans = plans(soak);
    for (n, plan) in plans.iter().enumerate() {
        let title = names(&plan.faults);
        eprintln!("run {} of {}: {title}, {} nodes, seed {}", n + 1, plans.len(), plan.nodes, plan.seed);
        let verdict = run(plan).await.map_err(|error| error.to_string());
        match &verdict {
            Ok(v) => eprintln!("  {} facts, {} violations", v.acknowledged, v.violations.len()),
            Err(error) => eprintln!("  the run did not end: {error}"),
        }
        rows.push((plan.clone(), verdict));
        after_each(&rows)?;
    }
    Ok(rows)
}

/// Whether every run ended without a violation.
pub fn passed(rows: &[Row]) -> bool {
    rows.iter().all(|(_, verdict)| verdict.as_ref().is_ok_and(|v| v.violations.is_empty()))
}

/// Names of faults, for people.
pub fn names(faults: &[Fault]) -> String {
    faults.iter().map(|f| f.name()).collect::<Vec<_>>().join(" + ")
}

/// A table in Markdown: a line a run.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| faults | nodes | seed | facts acknowledged | unclear writes | complete answers | no answer | longest pause | \
         back after | whole after | violations |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let seconds = |d: Duration| format!("{:.1} s", d.as_secs_f64());
    for (plan, verdict) in rows {
        let start = format!("| {} | {} | {} |", names(&plan.faults), plan.nodes, plan.seed);
        let rest = match verdict {
            Err(error) => format!(" – | – | – | – | – | – | – | {} |", error.replace(['|', '\n'], " ")),
            Ok(v) => {
                let (pause, back, whole) = (seconds(v.longest_pause), seconds(v.recovered), seconds(v.whole));
                let first = v.violations.first().map_or("0".to_owned(), |first| {
                    format!("{}: {}", v.violations.len(), first.to_string().replace(['|', '\n'], " "))
                });
                let (facts, unclear, answers, refusals) = (v.acknowledged, v.unclear, v.answers, v.refusals);
                format!(" {facts} | {unclear} | {answers} | {refusals} | {pause} | {back} | {whole} | {first} |")
            }
        };
        writeln!(text, "{start}{rest}").expect("writing to a string cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seed: u64) -> Soak {
        let faults: Vec<Fault> = Fault::all().collect();
        let plan = Plan::new(0, 0, Duration::ZERO, Vec::new());
        Soak { seed, runs: faults.len() + 40, nodes: vec![3, 5], faults, plan }
    }

    #[test]
    fn each_fault_is_alone_once_and_pairs_follow() {
        let made = plans(&of(1));
        let count = Fault::all().count();
        let alone: Vec<Fault> = made[..count].iter().flat_map(|p| p.faults.clone()).collect();
        assert_eq!(alone, Fault::all().collect::<Vec<_>>());
        assert!(made[count..].iter().all(|p| p.faults.len() == 2 && p.faults[0] != p.faults[1]));
        assert!(made.iter().any(|p| p.nodes == 3) && made.iter().any(|p| p.nodes == 5));
        let again = plans(&of(1));
        assert!(made.iter().zip(&again).all(|(a, b)| (a.seed, &a.faults) == (b.seed, &b.faults)));
        assert_ne!(made[0].seed, plans(&of(2))[0].seed);
    }

    #[test]
    fn a_table_has_a_line_a_run_whatever_came_of_it() {
        let plan = Plan { faults: vec![Fault::Kill, Fault::Halves], nodes: 3, seed: 7, ..of(1).plan };
        let rows = [(plan.clone(), Ok(Verdict::default())), (plan, Err("no | cluster".into()))];
        let text = table(&rows);
        assert_eq!(text.lines().count(), 4);
        assert!(text.contains("| kill + halves | 3 | 7 | 0 |") && text.contains("no   cluster"), "{text}");
        assert!(!passed(&rows) && passed(&rows[..1]));
    }
}
