//! Warnings and infos of a query in Prometheus' texts, each once.
use super::ast::{Span, line_col};
use super::functions::buckets::Forced;
use super::functions::calendar::rfc3339;
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
    /// Of an info about forced monotonicity: what was forced, when, and how often.
    forced: Option<(Forced, i64, i64, u64)>,
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
            self.0.push(Annotation { kind, text, span, forced: None });
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

    pub(super) fn incompatible_types(&mut self, op: &str, span: Span) {
        let text = format!("incompatible sample types encountered for binary operator {op:?}: float {op} float");
        self.add(Kind::Info, text, span);
    }

    pub(super) fn forced_monotonicity(&mut self, metric: &str, forced: Forced, time_ms: i64, span: Span) {
        let text = format!(
            "input to histogram_quantile needed to be fixed for monotonicity (see \
             https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){}",
            for_metric(metric)
        );
        let Some(known) = self.0.iter_mut().find(|a| a.text == text) else {
            let forced = Some((forced, time_ms, time_ms, 1));
            self.0.push(Annotation { kind: Kind::Info, text, span, forced });
            return;
        };
        if let Some((all, from_ms, to_ms, count)) = &mut known.forced {
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
        let details = self.forced.map_or(String::new(), |(f, from_ms, to_ms, count)| {
            format!(
                ", from buckets {} to {}, with a max diff of {}, over {count} samples from {} to {}",
                format_general(f.min_bucket),
                format_general(f.max_bucket),
                two_digits(f.max_diff),
                rfc3339(from_ms),
                rfc3339(to_ms)
            )
        });
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
