//! How each fault is done and undone.
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep, sleep_until};

use super::fault::Fault;
use super::schedule::Step;
use super::stage::Stage;
use crate::disk::corrupt::corrupt;
use crate::error::{Error, Result};
use crate::net::{EffectId, Quality};

/// Does what a step says, and undoes it when its time is over. Begins at once.
pub(super) async fn perform(stage: &Stage, step: Step) -> Result<()> {
    let mut act = Act { stage, step, rng: StdRng::seed_from_u64(step.seed), until: Instant::now() + step.lasts };
    let n = step.node;
    match step.fault {
        Fault::Kill => act.keep_down(&[n]).await,
        Fault::KillAll => act.keep_down(&act.all()).await,
        Fault::RestartStorm => act.storm().await,
        Fault::Pause => act.pause().await,
        Fault::SlowFollower => act.slow_follower().await,
        Fault::Halves => act.halves().await,
        Fault::IsolateLeader => {
            let leader = stage.leader(n).await;
            act.links(&format!("cut off node-{}", leader + 1), act.both_ways(&[leader]), Quality::cut()).await
        }
        Fault::OneWay => act.one_way().await,
        Fault::Swing => act.swing().await,
        Fault::Flapping => act.flap().await,
        Fault::SlowLink => {
            let delay = act.between(50, 400);
            let bytes_per_s = act.rng.random_range(64..512) << 10;
            let slow = Quality { delay, bytes_per_s, ..Quality::default() };
            let what = format!("links of node-{}: {delay:?} later, {} KiB/s", n + 1, bytes_per_s >> 10);
            act.links(&what, act.both_ways(&[n]), slow).await
        }
        Fault::LossyLink => {
            let lossy = Quality { loss_percent: act.rng.random_range(10..40), ..Quality::default() };
            let what = format!("links of node-{} lose {} %", n + 1, lossy.loss_percent);
            act.links(&what, act.both_ways(&[n]), lossy).await
        }
        Fault::DiskFull => act.fill_disk().await,
        Fault::IoError => {
            let kind = ["write-error", "sync-error", "read-error"][act.rng.random_range(0..3)];
            act.fail_files(kind).await
        }
        Fault::ShortWrite => act.fail_files("short-write").await,
        Fault::PowerCut => act.cut_power(&[n]).await,
        Fault::PowerCutAll => act.cut_power(&act.all()).await,
        Fault::ClockForward => act.move_clock(true).await,
        Fault::ClockBackward => act.move_clock(false).await,
        Fault::CorruptWal
        | Fault::CorruptBlock
        | Fault::CorruptManifest
        | Fault::CorruptSled
        | Fault::CorruptSnapshot => act.rot().await,
    }
}

/// One step on its way.
struct Act<'s> {
    stage: &'s Stage,
    step: Step,
    rng: StdRng,
    until: Instant,
}

type Links = Vec<(usize, usize)>;

impl Act<'_> {
    fn all(&self) -> Vec<usize> {
        (0..self.stage.nodes()).collect()
    }

    fn tell(&self, what: impl AsRef<str>) {
        self.stage.story.tell(format!("{}: {}", self.step.fault, what.as_ref()));
    }

    fn between(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(from_ms..to_ms))
    }

    fn over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Waits, but not beyond the step's end.
    async fn wait(&self, time: Duration) {
        sleep_until(self.until.min(Instant::now() + time)).await;
    }

    async fn keep_down(&self, nodes: &[usize]) -> Result<()> {
        self.tell(format!("SIGKILL to {}", names(nodes)));
        self.stage.down(nodes).await?;
        sleep_until(self.until).await;
        self.tell(format!("start {}", names(nodes)));
        self.stage.up(nodes).await
    }

    async fn storm(&mut self) -> Result<()> {
        let nodes = [self.step.node];
        while !self.over() {
            self.tell(format!("SIGKILL to {}", names(&nodes)));
            self.stage.down(&nodes).await?;
            sleep(self.between(50, 500)).await;
            self.stage.up(&nodes).await?;
            let running = self.between(200, 2500);
            self.wait(running).await;
        }
        Ok(())
    }

    async fn pause(&self) -> Result<()> {
        self.tell(format!("SIGSTOP to node-{}", self.step.node + 1));
        self.stage.freeze(self.step.node, true).await?;
        sleep_until(self.until).await;
        self.tell(format!("SIGCONT to node-{}", self.step.node + 1));
        self.stage.freeze(self.step.node, false).await
    }

    async fn slow_follower(&mut self) -> Result<()> {
        self.tell(format!("node-{} hardly runs", self.step.node + 1));
        while !self.over() {
            self.stage.freeze(self.step.node, true).await?;
            sleep(self.between(200, 450)).await;
            self.stage.freeze(self.step.node, false).await?;
            sleep(self.between(20, 150)).await;
        }
        self.tell(format!("node-{} runs", self.step.node + 1));
        Ok(())
    }

    /// Links between these nodes and all others, in both directions.
    fn both_ways(&self, some: &[usize]) -> Links {
        let others: Vec<usize> = self.all().into_iter().filter(|n| !some.contains(n)).collect();
        some.iter().flat_map(|&a| others.iter().flat_map(move |&b| [(a, b), (b, a)])).collect()
    }

    async fn links(&self, what: &str, links: Links, quality: Quality) -> Result<()> {
        self.tell(what);
        self.degrade(links, quality, self.until).await?;
        self.tell("healed");
        Ok(())
    }

    async fn degrade(&self, links: Links, quality: Quality, until: Instant) -> Result<()> {
        let effect = self.begin(links, quality).await?;
        sleep_until(until).await;
        self.heal(effect).await
    }

    async fn cut(&self, links: Links) -> Result<EffectId> {
        self.begin(links, Quality::cut()).await
    }

    async fn begin(&self, links: Links, quality: Quality) -> Result<EffectId> {
        let links = links.into_iter().map(|(from, to)| (from, to, quality)).collect();
        self.stage.cluster().await.network().ok_or_else(no_network)?.apply(links)
    }

    async fn heal(&self, effect: EffectId) -> Result<()> {
        self.stage.cluster().await.network().ok_or_else(no_network)?.remove(effect)
    }

    async fn halves(&mut self) -> Result<()> {
        let count = self.stage.nodes();
        let minority: Vec<usize> = (0..(count - 1) / 2).map(|n| (self.step.node + n) % count).collect();
        self.links(&format!("{} apart from the rest", names(&minority)), self.both_ways(&minority), Quality::cut())
            .await
    }

    async fn one_way(&mut self) -> Result<()> {
        let (n, mute) = (self.step.node, self.rng.random());
        let links = self.both_ways(&[n]).into_iter().filter(|(from, _)| (*from == n) == mute).collect();
        let what = if mute { "is heard by nobody" } else { "hears nobody" };
        self.links(&format!("node-{} {what}", n + 1), links, Quality::cut()).await
    }

    /// Whoever forgets its vote at the restart helps the old leader to undo what the new one committed.
    async fn swing(&mut self) -> Result<()> {
        let (count, leader) = (self.stage.nodes(), self.stage.leader(self.step.node).await);
        let mut voters: Vec<usize> = self.all().into_iter().filter(|n| *n != leader).collect();
        let start = self.step.node % voters.len();
        voters.rotate_left(start);
        voters.truncate(count / 2);
        let part = self.step.lasts / 4;
        self.tell(format!("cut off node-{}", leader + 1));
        // Not for a moment may the old leader hear that there is a new one.
        let alone = self.cut(self.both_ways(&[leader])).await?;
        self.wait(part).await;
        // Nobody hears those who restart until they are up: the old leader has to be the first.
        self.tell(format!("restart {}, apart from everybody", names(&voters)));
        let apart = self.cut(voters.iter().flat_map(|n| self.both_ways(&[*n])).collect()).await?;
        self.stage.down(&voters).await?;
        self.stage.up(&voters).await?;
        self.wait(part + part / 2).await;
        let side: Vec<usize> = voters.iter().copied().chain([leader]).collect();
        self.tell(format!("node-{} reaches {}", leader + 1, names(&voters)));
        let swung = self.cut(self.both_ways(&side)).await?;
        self.heal(alone).await?;
        self.heal(apart).await?;
        sleep_until(self.until).await;
        self.heal(swung).await?;
        self.tell("healed");
        Ok(())
    }

    async fn flap(&mut self) -> Result<()> {
        self.tell(format!("node-{} is cut off, over and over", self.step.node + 1));
        while !self.over() {
            let until = Instant::now() + self.between(200, 1500);
            self.degrade(self.both_ways(&[self.step.node]), Quality::cut(), until).await?;
            let whole = self.between(200, 1500);
            self.wait(whole).await;
        }
        self.tell("healed");
        Ok(())
    }

    async fn fill_disk(&self) -> Result<()> {
        let lacking = || harness("the node has no disk of its own");
        let n = self.step.node;
        self.tell(format!("no room on the disk of node-{}", n + 1));
        while !self.over() {
            // Again and again: what a node gives back must not be enough.
            self.stage.cluster().await.disk(n).ok_or_else(lacking)?.fill()?;
            self.wait(Duration::from_millis(250)).await;
        }
        self.stage.cluster().await.disk(n).ok_or_else(lacking)?.free()?;
        self.tell(format!("room on the disk of node-{}", n + 1));
        Ok(())
    }

    async fn fail_files(&mut self, kind: &str) -> Result<()> {
        let n = self.step.node;
        // One of so many operations.
        let rule = format!("{kind} 1/{}\n", self.rng.random_range(1..30));
        self.tell(format!("files of node-{}: {}", n + 1, rule.trim()));
        self.stage.cluster().await.file_faults(n, Some(&rule))?;
        sleep_until(self.until).await;
        self.tell(format!("files of node-{} are sound", n + 1));
        self.stage.cluster().await.file_faults(n, None)
    }

    async fn cut_power(&self, nodes: &[usize]) -> Result<()> {
        let lacking = || harness("the node has no disk of its own");
        self.tell(format!("no power for {}", names(nodes)));
        self.stage.hold(nodes).await?;
        let mut copies = Vec::new();
        for &n in nodes {
            copies.push(self.stage.cluster().await.disk(n).ok_or_else(lacking)?.copy()?);
        }
        self.stage.lose(nodes).await?;
        for (&n, copy) in nodes.iter().zip(&copies) {
            self.stage.cluster().await.disk(n).ok_or_else(lacking)?.replace(copy)?;
        }
        sleep_until(self.until).await;
        self.tell(format!("power for {}", names(nodes)));
        self.stage.up(nodes).await
    }

    async fn rot(&mut self) -> Result<()> {
        let Some(part) = self.step.fault.rots() else { return Ok(()) };
        let nodes = [self.step.node];
        self.stage.down(&nodes).await?;
        let data = self.stage.cluster().await.data_dir(self.step.node).to_path_buf();
        match corrupt(&data, part, &mut self.rng)? {
            Some(what) => self.tell(what),
            None => self.tell(format!("node-{} has no such file yet", self.step.node + 1)),
        }
        sleep_until(self.until).await;
        self.tell(format!("start {}", names(&nodes)));
        self.stage.up(&nodes).await
    }

    async fn move_clock(&mut self, ahead: bool) -> Result<()> {
        let lacking = || harness("the nodes have no clocks of their own");
        let (n, offset) = (self.step.node, Duration::from_secs(self.rng.random_range(2..7200)));
        self.tell(format!("clock of node-{} {offset:?} {}", n + 1, if ahead { "ahead" } else { "behind" }));
        self.stage.cluster().await.clocks().ok_or_else(lacking)?.set(n, offset, ahead)?;
        sleep_until(self.until).await;
        self.tell(format!("clock of node-{} is right", n + 1));
        self.stage.cluster().await.clocks().ok_or_else(lacking)?.set(n, Duration::ZERO, true)
    }
}

fn no_network() -> Error {
    harness("the cluster has no network of its own")
}

fn harness(what: &str) -> Error {
    Error::Promise { promise: "the harness", evidence: what.to_owned() }
}

fn names(nodes: &[usize]) -> String {
    nodes.iter().map(|n| format!("node-{}", n + 1)).collect::<Vec<_>>().join(", ")
}
