//! What is written in another form or not at all, counted for the standard error.

use super::family::Form;

/// Names that are listed.
const LISTED: usize = 5;

/// What OpenMetrics 1.0 has no form for, or no place.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    /// Metrics by name.
    pub(super) names: Vec<String>,
    /// Metrics whose exemplars the node would not read, and why.
    pub(super) unread: Vec<String>,
    /// Chunks of series with labels that it cannot spell.
    pub(super) series: u64,
    pub(super) stale: u64,
    /// Native histograms of metrics that have samples of another kind.
    pub(super) mixed: u64,
    /// Floats of metrics that have native histograms.
    pub(super) floats: u64,
    /// Native histograms of metrics that are there as classic ones.
    pub(super) twice: u64,
    /// Sums and counts of native histograms with negative buckets.
    pub(super) sums: u64,
    /// Exemplars of metrics that may have none.
    pub(super) misplaced: u64,
    /// Exemplars beside another one of the same sample.
    pub(super) surplus: u64,
    /// Exemplars with labels that it cannot spell.
    pub(super) unspelled: u64,
    /// Exemplars without a sample after them.
    pub(super) lonely: u64,
}

impl Skipped {
    /// Where samples of this form are counted, if they are left out: a family that has begun has another, or the metric is
    /// there as a classic histogram.
    pub(super) fn refused(&mut self, form: Form, is_classic_too: bool, begun: Option<Form>) -> Option<&mut u64> {
        match (form, begun) {
            (Form::Histograms | Form::GaugeHistograms, _) if is_classic_too => Some(&mut self.twice),
            (Form::Floats, Some(begun)) if begun != form => Some(&mut self.floats),
            (_, Some(begun)) if begun != form => Some(&mut self.mixed),
            _ => None,
        }
    }

    /// A line for each kind of which there are some.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        if !self.names.is_empty() {
            let (count, listed) = (self.names.len(), listed(&self.names));
            out.push_str(&format!("left out: {count} metrics whose names OpenMetrics cannot spell: {listed}\n"));
        }
        if !self.unread.is_empty() {
            let (count, listed) = (self.unread.len(), listed(&self.unread));
            out.push_str(&format!("left out: exemplars of {count} metrics that the node would not read: {listed}\n"));
        }
        for (count, what) in [
            (self.series, "chunks of series whose labels OpenMetrics cannot spell"),
            (self.twice, "native histograms of metrics that are there as classic ones, too"),
            (self.mixed, "native histograms of metrics with samples of another kind before them"),
            (self.floats, "samples of metrics with native histograms before them"),
            (self.sums, "sums and counts of native histograms with negative buckets"),
            (self.stale, "stale markers"),
            (self.misplaced, "exemplars of metrics other than counters and native histograms"),
            (self.surplus, "exemplars beside a newer one of the same sample"),
            (self.unspelled, "exemplars whose labels OpenMetrics cannot spell"),
            (self.lonely, "exemplars without a sample that is written at or after their time"),
        ] {
            if count > 0 {
                out.push_str(&format!("left out: {count} {what}\n"));
            }
        }
        out
    }
}

fn listed(names: &[String]) -> String {
    names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_said() {
        assert_eq!(Skipped::default().text(), "");
        let names = |count: usize| (0..count).map(|n| format!("n{n}")).collect();
        let skipped = Skipped { names: names(6), unread: names(1), stale: 2, ..Skipped::default() };
        assert_eq!(
            skipped.text(),
            concat!(
                "left out: 6 metrics whose names OpenMetrics cannot spell: n0, n1, n2, n3, n4\n",
                "left out: exemplars of 1 metrics that the node would not read: n0\n",
                "left out: 2 stale markers\n",
            )
        );
    }
}
