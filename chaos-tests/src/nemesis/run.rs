//! One run: a cluster, its clients, a schedule of faults, and a verdict.
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::future::try_join_all;

use super::checker::{Broken, Violation, check};
use super::fault::Fault;
use super::history::{Event, What};
use super::inject::perform;
use super::schedule::Schedule;
use super::stage::Stage;
use super::story::Story;
use super::workload::{Workload, progressed};
use crate::client::Outcome;
use crate::cluster::{Cluster, Options, Surroundings};
use crate::error::{Error, Result, io};
use crate::fact::{Batch, Signal};
use crate::net::Realm;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub nodes: usize,
    pub length: Duration,
    pub faults: Vec<Fault>,
    /// Namespaces where root allows them, without.
    pub realm: Option<Realm>,
    /// The program; the usual one without.
    pub binary: Option<PathBuf>,
    /// Variables of every node.
    pub environment: Vec<(String, String)>,
    /// Ends at the first violation, as soon as it can be seen.
    pub first_only: bool,
}

impl Plan {
    /// A plan for the usual program, in namespaces where root allows them.
    pub fn new(seed: u64, nodes: usize, length: Duration, faults: Vec<Fault>) -> Self {
        Self { seed, nodes, length, faults, realm: None, binary: None, environment: Vec::new(), first_only: false }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    pub violations: Vec<Violation>,
    /// Facts of all signals that were acknowledged.
    pub acknowledged: u64,
    /// Writes that failed or whose fate was unclear when they ended.
    pub unclear: u64,
    /// Queries with an answer that called itself complete.
    pub answers: u64,
    /// Queries without one.
    pub refusals: u64,
    /// Longest time without an acknowledgement by anyone.
    pub longest_pause: Duration,
    /// After the last fault, until every node acknowledged and answered again.
    pub recovered: Duration,
    /// After the last fault, until every shard had all its voters and nothing was left to heal.
    pub whole: Duration,
    /// Where data, logs, schedule and history are, if something was violated.
    pub kept: Option<PathBuf>,
}

/// Seals and compacts every few seconds, so that a minute sees blocks, purges, snapshots, and blocks that become one.
const ARGUMENTS: &[&str] =
    &["--set", "storage.head_age_s=6", "--set", "compaction.windows_s=[10, 30]", "--set", "compaction.settle_s=1"];
/// How long it may take to repeat all that was open, and then to read everything through every node.
const COMPLETE_PATIENCE: Duration = Duration::from_secs(60);
const STALLED_PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries of what must succeed at the end.
const AGAIN: Duration = Duration::from_millis(300);

/// Runs a plan. `Err` is trouble of the harness or of a cluster that did not start; what is wrong with the promises is
/// in the verdict.
pub async fn run(plan: &Plan) -> Result<Verdict> {
    let schedule = Schedule::draw(plan.seed, plan.nodes, plan.length, &plan.faults);
    let mut surroundings = Surroundings { realm: plan.realm, binary: plan.binary.clone(), ..Surroundings::default() };
    surroundings.environment = plan.environment.clone();
    plan.faults.iter().for_each(|fault| fault.needs(&mut surroundings));
    let options = Options { surroundings, ..Options::nodes(plan.nodes).with(ARGUMENTS) };
    let cluster = Cluster::start(options).await?;
    let https = cluster.https(&(0..plan.nodes).collect::<Vec<_>>());
    let stage = Stage::new(cluster);
    let workload = Workload::start(&format!("chaos-{}", plan.seed), https, plan.seed);
    let shared = workload.shared.clone();
    let supervised = tokio::select! {
        done = under_faults(&stage, &schedule, workload) => done,
        found = violated(&stage, plan, &shared), if plan.first_only => found.map(|events| (events, Verdict::default())),
        failed = stage.supervise() => Err(failed.err().unwrap_or(Error::Promise {
            promise: "the harness", evidence: "nobody supervises the nodes".into(),
        })),
    };
    let (events, mut verdict) = supervised?;
    let damage = if plan.faults.iter().any(|f| f.harms_disk()) { Vec::new() } else { stage.damage().await };
    let (mut cluster, story) = stage.into_cluster();
    verdict.violations.extend(check(&events));
    let now = shared.history.now();
    let mut found = |at: Duration, node: Option<usize>, broken: Broken| {
        verdict.violations.push(Violation { begun: at, ended: at, node, broken });
    };
    cluster.panics()?.into_iter().for_each(|(n, message)| found(now, Some(n), Broken::Panicked { message }));
    damage.into_iter().for_each(|(n, what)| found(now, n, Broken::Damaged { what }));
    if !plan.faults.iter().any(|f| f.may_end_nodes()) {
        story.ends().into_iter().for_each(|(at, n, status)| found(at, Some(n), Broken::Ended { status }));
    }
    verdict.violations.sort_by_key(|v| v.ended);
    sum_up(&events, &mut verdict);
    if verdict.violations.is_empty() {
        verdict.violations = crate::audit::after(&cluster, &events).await;
    }
    if !verdict.violations.is_empty() {
        let dir = cluster.keep();
        keep(&cluster, &dir, &schedule, &story, &events, &verdict)?;
        verdict.kept = Some(dir);
    }
    cluster.end()?;
    Ok(verdict)
}

/// Faults beside the workload; then everything that was open is completed and read through every node.
async fn under_faults(stage: &Stage, schedule: &Schedule, workload: Workload) -> Result<(Vec<Event>, Verdict)> {
    let shared = workload.shared.clone();
    let mut verdict = Verdict::default();
    let began = tokio::time::Instant::now();
    try_join_all(schedule.steps.iter().map(|step| async {
        tokio::time::sleep_until(began + step.at).await;
        perform(stage, *step).await
    }))
    .await?;
    let (healed, before) = (Instant::now(), shared.done());
    let bound = schedule.steps.iter().map(|s| s.fault.bound()).max().unwrap_or(COMPLETE_PATIENCE);
    stage.story.tell("all healed");
    let mut stalled = |what: String, begun: Duration| {
        let (ended, broken) = (shared.history.now(), Broken::Stalled { what });
        verdict.violations.push(Violation { begun, ended, node: None, broken });
    };
    let healed_at = shared.history.now();
    let progress = wait_for(bound, || progressed(&before, &shared.done())).await;
    if let Err(missing) = &progress {
        stalled(format!("{bound:?} after the last fault, {missing}"), healed_at);
    }
    verdict.recovered = healed.elapsed();
    stage.story.tell(format!("every node serves {} ms after the last fault", verdict.recovered.as_millis()));
    // Under load still: whoever is rebuilt has to make it beside that.
    if let Err(missing) = stage.whole(healed + bound).await {
        stalled(format!("{bound:?} after the last fault, not whole: {missing}"), healed_at);
    }
    verdict.whole = healed.elapsed();
    stage.story.tell(format!("the cluster is whole {} ms after the last fault", verdict.whole.as_millis()));
    let open = workload.stop().await?;
    // Whoever waited in vain once need not wait as long again.
    let patience = if progress.is_ok() { COMPLETE_PATIENCE } else { STALLED_PATIENCE };
    if let Err(batch) = complete(&shared, open, patience).await {
        stalled(format!("repeating {batch:?} did not complete it within {patience:?}"), healed_at);
    }
    let deadline = Instant::now() + patience;
    for n in 0..stage.nodes() {
        for signal in Signal::ALL {
            while !shared.read(n, signal, 0..shared.run.taken(signal)).await {
                if Instant::now() > deadline {
                    // Once for all of them is enough; the others are still asked once.
                    stalled(format!("node-{} has no complete answer about all {signal:?}", n + 1), healed_at);
                    break;
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
    Ok((events(&shared)?, verdict))
}

/// Between two looks at whether something is violated already.
const LOOK: Duration = Duration::from_secs(1);

/// Returns with the history once it breaks a promise, or once a node panicked or lost what was on its disk. What is still on its way when the history ends
/// has not been noted: facts of requests without a reply are taken out of it.
async fn violated(stage: &Stage, plan: &Plan, shared: &super::workload::Shared) -> Result<Vec<Event>> {
    let may_lose = plan.faults.iter().any(|f| f.harms_disk());
    loop {
        tokio::time::sleep(LOOK).await;
        let mut events = events(shared)?;
        let sent: BTreeSet<(Signal, u64)> = events.iter().flat_map(Event::sent).collect();
        for event in &mut events {
            if let What::Read { signal, answer: Ok(answer), .. } = &mut event.what {
                answer.numbers.retain(|number| sent.contains(&(*signal, *number)));
            }
        }
        let panicked = !stage.cluster().await.panics()?.is_empty();
        if panicked || !check(&events).is_empty() || (!may_lose && !stage.damage().await.is_empty()) {
            stage.story.tell("a promise is broken");
            return Ok(events);
        }
    }
}

fn events(shared: &super::workload::Shared) -> Result<Vec<Event>> {
    shared.history.events().map_err(|beyond| Error::Promise {
        promise: "the harness",
        evidence: format!("{beyond} events more than a history keeps: run for a shorter time"),
    })
}

async fn wait_for(
    bound: Duration,
    mut look: impl FnMut() -> std::result::Result<(), String>,
) -> std::result::Result<(), String> {
    let deadline = Instant::now() + bound;
    loop {
        match look() {
            Ok(()) => return Ok(()),
            Err(missing) if Instant::now() > deadline => return Err(missing),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Repeats what was never acknowledged, through the nodes in turn; `Err` is the first that stays open.
async fn complete(
    shared: &super::workload::Shared,
    open: Vec<Batch>,
    patience: Duration,
) -> std::result::Result<(), Batch> {
    let deadline = Instant::now() + patience;
    let mut nodes = (0..shared.nodes.len()).cycle();
    for batch in open {
        while !shared.write(nodes.next().unwrap_or(0), batch).await {
            if Instant::now() > deadline {
                return Err(batch);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
    Ok(())
}

fn sum_up(events: &[Event], verdict: &mut Verdict) {
    let mut last = Duration::ZERO;
    let mut known = BTreeSet::new();
    for event in events {
        match &event.what {
            What::Write { batch, outcome: Outcome::Acknowledged } => {
                verdict.longest_pause = verdict.longest_pause.max(event.ended.saturating_sub(last));
                last = event.ended;
                known.extend(batch.numbers().map(|number| (batch.signal, number)));
            }
            What::Write { .. } => verdict.unclear += 1,
            What::Read { answer: Ok(_), .. } => verdict.answers += 1,
            What::Read { .. } => verdict.refusals += 1,
        }
    }
    verdict.acknowledged = known.len() as u64;
}

/// Lines of each log that are shown around a violation.
const LOG_LINES_MAX: usize = 60;
/// Before and after a violation.
const AROUND: Duration = Duration::from_secs(2);

/// Writes down all that is needed to find out what happened; prints the beginning.
fn keep(
    cluster: &Cluster,
    dir: &Path,
    schedule: &Schedule,
    story: &Story,
    events: &[Event],
    verdict: &Verdict,
) -> Result<()> {
    let violations: String = verdict.violations.iter().map(|v| format!("{v}\n")).collect();
    let history: String = events.iter().map(|e| format!("{}\n", e.describe())).collect();
    let mut first = String::new();
    if let Some(violation) = verdict.violations.first() {
        writeln!(first, "first violation: {violation}").expect("writing to a string cannot fail");
        for n in 0..cluster.len() {
            let path = cluster.log_path(n);
            let log = std::fs::read(path).map_err(io(format!("read {}", path.display())))?;
            let log = String::from_utf8_lossy(&log);
            let text =
                story.excerpt(&log, violation.begun.saturating_sub(AROUND), violation.ended + AROUND, LOG_LINES_MAX);
            writeln!(first, "--- {}\n{text}", cluster.name(n)).expect("writing to a string cannot fail");
        }
    }
    let files = [
        ("schedule.txt", schedule.to_string() + &story.text()),
        ("violations.txt", violations),
        ("history.txt", history),
    ];
    for (name, text) in files.iter().chain([&("first.txt", first.clone())]) {
        std::fs::write(dir.join(name), text).map_err(io(format!("write {name}")))?;
    }
    eprintln!("{schedule}{first}{} violations; everything is kept in {}", verdict.violations.len(), dir.display());
    Ok(())
}
