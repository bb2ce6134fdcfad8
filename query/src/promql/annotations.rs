//! Warnings and infos of a query in Prometheus' texts, each once.
use super::ast::{Span, line_col};
use super::functions::buckets::Forced;
use super::functions::calendar::rfc3339;
use super::functions::native::{Note, Notes};
use super::histogram::NanObservations;
use super::numbers::format_general;

/// Annotations of each kind that an answer shows.
const SHOWN_MAX: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Warning,
    Info,
}

#[derive(Clone, Debug)]
struct Annotation {
    kind: Kind,
    text: String,
    span: Span,
    more: More,
}

/// What an annotation says besides its text, gathered over all that it stands for.
#[derive(Clone, Copy, Debug)]
enum More {
    Nothing,
    /// Of forced monotonicity: what was forced, when, and how often.
    Forced(Forced, i64, i64, u64),
    Occurrences(u64),
}

/// Annotations in the order in which they first arose.
#[derive(Clone, Debug, Default)]
pub(super) struct Annotations(Vec<Annotation>);

fn for_metric(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" for metric name {name:?}") }
}

impl Annotations {
    fn add(&mut self, kind: Kind, text: String, span: Span) {
        if !self.0.iter().any(|a| a.text == text) {
            self.0.push(Annotation { kind, text, span, more: More::Nothing });
        }
    }

    pub(super) fn invalid_quantile(&mut self, q: f64, span: Span) {
        let text = format!("quantile value should be between 0 and 1, got {}", format_general(q));
        self.add(Kind::Warning, text, span);
    }

    pub(super) fn invalid_ratio(&mut self, ratio: f64, cap: f64, span: Span) {
        let (ratio, cap) = (format_general(ratio), format_general(cap));
        self.add(Kind::Warning, format!("ratio value should be between -1 and 1, got {ratio}, capping to {cap}"), span);
    }

    pub(super) fn bad_bucket_label(&mut self, metric: &str, le: &str, span: Span) {
        let text = format!("bucket label \"le\" is missing or has a malformed value of {le:?}{}", for_metric(metric));
        self.add(Kind::Warning, text, span);
    }

    pub(super) fn sort_in_range_query(&mut self, span: Span) {
        let text = "sort is ineffective for range queries since results are always ordered by labels";
        self.add(Kind::Warning, text.to_owned(), span);
    }

    pub(super) fn possible_non_counter(&mut self, metric: &str, span: Span) {
        let text =
            format!("metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {metric:?}");
        self.add(Kind::Info, text, span);
    }

    /// `lhs` and `rhs` are `float` or `histogram`.
    pub(super) fn incompatible_types(&mut self, op: &str, lhs: &str, rhs: &str, span: Span) {
        let text = format!("incompatible sample types encountered for binary operator {op:?}: {lhs} {op} {rhs}");
        self.add(Kind::Info, text, span);
    }

    pub(super) fn incompatible_buckets(&mut self, op: &str, span: Span) {
        self.add(Kind::Warning, format!("incompatible bucket layout encountered for binary operator {op}"), span);
    }

    /// `during` is `addition`, `subtraction` or `aggregation`.
    pub(super) fn resets_collide(&mut self, during: &str, span: Span) {
        self.add(Kind::Warning, format!("conflicting counter resets during histogram {during}"), span);
    }

    /// As [`Self::resets_collide`].
    pub(super) fn bounds_reconciled(&mut self, during: &str, span: Span) {
        self.add(Kind::Info, format!("mismatched custom buckets were reconciled during {during}"), span);
    }

    pub(super) fn mixed_in_aggregation(&mut self, span: Span) {
        self.add(Kind::Warning, "encountered a mix of histograms and floats for aggregation".to_owned(), span);
    }

    pub(super) fn mixed_buckets(&mut self, metric: &str, span: Span) {
        let text = format!(
            "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {metric:?}"
        );
        self.add(Kind::Warning, text, span);
    }

    pub(super) fn mixed_classic_native(&mut self, metric: &str, span: Span) {
        let text = format!("vector contains a mix of classic and native histograms{}", for_metric(metric));
        self.add(Kind::Warning, text, span);
    }

    pub(super) fn ignored_in_aggregation(&mut self, aggregation: &str, span: Span) {
        self.add(Kind::Info, format!("ignored histogram in {aggregation} aggregation"), span);
    }

    pub(super) fn nan_observations(&mut self, nan: NanObservations, metric: &str, span: Span) {
        let text = match nan {
            NanObservations::Result => "input to histogram_quantile has NaN observations, result is NaN",
            NanObservations::Skew => "input to histogram_quantile has NaN observations, result is skewed higher",
            NanObservations::LeftOut => {
                "input to histogram_fraction has NaN observations, which are excluded from all fractions"
            }
        };
        self.add(Kind::Info, format!("{text}{}", for_metric(metric)), span);
    }

    fn start_overlap(&mut self, metric: &str, count: u64, span: Span) {
        let text = format!("sample has start time that overlaps with previous sample timestamp for metric {metric:?}");
        match self.0.iter_mut().find(|a| a.text == text) {
            Some(Annotation { more: More::Occurrences(known), .. }) => *known = known.saturating_add(count),
            Some(_) => {}
            None => self.0.push(Annotation { kind: Kind::Warning, text, span, more: More::Occurrences(count) }),
        }
    }

    /// What a function of a range, at `span`, says of a metric; `expr_span` is what is aggregated.
    pub(super) fn note(&mut self, note: Note, metric: &str, count: u64, span: Span, expr_span: Span) {
        match note {
            Note::MixedFloatsHistograms => {
                let text = format!("encountered a mix of histograms and floats for metric name {metric:?}");
                self.add(Kind::Warning, text, span);
            }
            Note::NotCounter => {
                let text = format!("this native histogram metric is not a counter: {metric:?}");
                self.add(Kind::Warning, text, span);
            }
            Note::NotGauge => {
                let text = format!("this native histogram metric is not a gauge: {metric:?}");
                self.add(Kind::Warning, text, span);
            }
            Note::MixedExponentialCustom => self.mixed_buckets(metric, span),
            Note::IgnoredInMixedRange => {
                let text = format!(
                    "ignored histograms in a range containing both floats and histograms for metric name {metric:?}"
                );
                self.add(Kind::Info, text, span);
            }
            Note::ReconciledAddition => self.bounds_reconciled("addition", span),
            Note::ReconciledSubtraction => self.bounds_reconciled("subtraction", span),
            Note::ReconciledAggregation => self.bounds_reconciled("aggregation", span),
            Note::ResetsCollideInAggregation => self.resets_collide("aggregation", span),
            Note::StartOverlap => self.start_overlap(metric, count, span),
            Note::IgnoredInMin => self.ignored_in_aggregation("min", expr_span),
            Note::IgnoredInMax => self.ignored_in_aggregation("max", expr_span),
            // An error, raised where the fragments' replies are taken apart.
            Note::HistogramInfoMetric => {}
        }
    }

    /// All notes of one series.
    pub(super) fn notes(&mut self, notes: &mut Notes, metric: &str, span: Span) {
        notes.drain().for_each(|(note, count)| self.note(note, metric, count, span, span));
    }

    pub(super) fn forced_monotonicity(&mut self, metric: &str, forced: Forced, time_ms: i64, span: Span) {
        let text = format!(
            "input to histogram_quantile needed to be fixed for monotonicity (see \
             https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){}",
            for_metric(metric)
        );
        let Some(known) = self.0.iter_mut().find(|a| a.text == text) else {
            let more = More::Forced(forced, time_ms, time_ms, 1);
            self.0.push(Annotation { kind: Kind::Info, text, span, more });
            return;
        };
        if let More::Forced(all, from_ms, to_ms, count) = &mut known.more {
            all.min_bucket = all.min_bucket.min(forced.min_bucket);
            all.max_bucket = all.max_bucket.max(forced.max_bucket);
            all.max_diff = all.max_diff.max(forced.max_diff);
            (*from_ms, *to_ms) = ((*from_ms).min(time_ms), (*to_ms).max(time_ms));
            *count += 1;
        }
    }

    /// Warnings and infos with their positions in `query`, each list cut as Prometheus cuts it.
    pub(super) fn texts(&self, query: &str) -> (Vec<String>, Vec<String>) {
        let list = |kind: Kind, what: &str| {
            let all = self.0.iter().filter(|a| a.kind == kind);
            let mut texts: Vec<String> = all.clone().take(SHOWN_MAX).map(|a| a.text_in(query)).collect();
            let omitted = all.count() - texts.len();
            if omitted > 0 {
                texts.push(format!("{omitted} more {what} annotations omitted"));
            }
            texts
        };
        (list(Kind::Warning, "warning"), list(Kind::Info, "info"))
    }
}

impl Annotation {
    fn text_in(&self, query: &str) -> String {
        let word = if self.kind == Kind::Warning { "warning" } else { "info" };
        let (line, column) = line_col(query, self.span.start);
        let details = match self.more {
            More::Nothing | More::Occurrences(..=1) => String::new(),
            More::Occurrences(count) => format!(" ({count} occurrences)"),
            More::Forced(f, from_ms, to_ms, count) => format!(
                ", from buckets {} to {}, with a max diff of {}, over {count} samples from {} to {}",
                format_general(f.min_bucket),
                format_general(f.max_bucket),
                two_digits(f.max_diff),
                rfc3339(from_ms),
                rfc3339(to_ms)
            ),
        };
        format!("PromQL {word}: {}{details} ({line}:{column})", self.text)
    }
}

/// Go's `%.2g`.
fn two_digits(value: f64) -> String {
    let text = format!("{value:.1e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..2).contains(&exponent) {
        return text.parse::<f64>().unwrap_or(value).to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", digits.trim_end_matches(".0"), exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_each_with_position() {
        let mut a = Annotations::default();
        a.invalid_quantile(2.0, Span::new(9, 10));
        a.invalid_quantile(2.0, Span::new(9, 10));
        a.possible_non_counter("up", Span::new(5, 8));
        let (warnings, infos) = a.texts("quantile(2, up)");
        assert_eq!(warnings, ["PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)"]);
        assert_eq!(infos.len(), 1);
        assert_eq!(two_digits(123.0), "1.2e+02");
        assert_eq!(two_digits(5.0), "5");
    }
}
