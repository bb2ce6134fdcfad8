//! `label_replace` and `label_join`.
use regex::Captures;
use trine_store::re2;

use super::{Evaluator, Series, Val, execution, merge_same_labels};
use crate::error::Result;
use crate::promql::labels;
use crate::promql::parser::METRIC_NAME;
use crate::promql::plan::{Grid, Node};

/// What a label set weighs besides its bytes.
const LABELS_BYTES: u64 = 48;

impl Evaluator {
    /// The texts of string arguments.
    pub(super) fn texts(&mut self, args: &[Node], grid: &Grid) -> Result<Vec<String>> {
        let mut out = Vec::with_capacity(args.len());
        for arg in args {
            match self.eval(arg, grid)? {
                Val::Text(text) => out.push(text),
                _ => return execution("expected a string"),
            }
        }
        Ok(out)
    }

    pub(super) fn label_replace(&mut self, args: &[Node], grid: &Grid) -> Result<Vec<Series>> {
        let texts = self.texts(&args[1..], grid)?;
        let [target, replacement, source, pattern] = texts.as_slice() else {
            return execution("label_replace needs four strings");
        };
        let Ok(regex) = re2::compile(&format!("^(?s:{pattern})$")) else {
            return execution(format!("invalid regular expression in label_replace(): {pattern}"));
        };
        if target.is_empty() {
            return execution(format!("invalid destination label name in label_replace(): {target}"));
        }
        let mut series = self.vector(&args[0], grid)?;
        for s in &mut series {
            self.stop.check()?;
            let source_text = s.labels.get(source).unwrap_or_default();
            // Each character of the replacement may stand for the whole text.
            let expanded = self.held.account().charge((replacement.len() as u64) * (source_text.len() as u64 + 1))?;
            let Some(captures) = regex.captures(source_text) else { continue };
            let value = expand(&captures, replacement);
            drop(expanded);
            self.hold(s.labels.as_bytes().len() as u64 + value.len() as u64 + LABELS_BYTES)?;
            relabel(s, target, &value);
        }
        self.hold_groups(&series)?;
        merge_same_labels(series)
    }

    pub(super) fn label_join(&mut self, args: &[Node], grid: &Grid) -> Result<Vec<Series>> {
        let texts = self.texts(&args[1..], grid)?;
        let [target, separator, sources @ ..] = texts.as_slice() else {
            return execution("label_join needs a label and a separator");
        };
        if sources.iter().any(String::is_empty) {
            return execution("invalid source label name in label_join(): ");
        }
        if target.is_empty() {
            return execution("invalid destination label name in label_join(): ");
        }
        let mut series = self.vector(&args[0], grid)?;
        for s in &mut series {
            let values: Vec<&str> = sources.iter().map(|name| s.labels.get(name).unwrap_or_default()).collect();
            let bytes = values.iter().map(|v| v.len() + separator.len()).sum::<usize>() + s.labels.as_bytes().len();
            self.stop.check()?;
            self.hold(bytes as u64 + LABELS_BYTES)?;
            let joined = values.join(separator);
            relabel(s, target, &joined);
        }
        self.hold_groups(&series)?;
        merge_same_labels(series)
    }
}

/// A name that was set on purpose stays.
fn relabel(series: &mut Series, target: &str, value: &str) {
    series.labels = labels::set(&series.labels, target, value);
    if target == METRIC_NAME {
        series.drop_name = false;
    }
}

fn expand(captures: &Captures<'_>, replacement: &str) -> String {
    let mut out = String::new();
    captures.expand(replacement, &mut out);
    out
}
