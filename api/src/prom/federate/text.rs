//! The text format, version 0.0.4.
use super::names::{Escaping, is_classic};
use super::{Sample, Value, classic_buckets, count_of, families};
use crate::number::push_float;
use crate::prom::histogram::ResetHint;

/// All samples as text; native histograms are left out, as the format has no words for them.
pub(super) fn page(samples: &[Sample], escaping: Escaping) -> String {
    let mut out = String::new();
    for family in families(samples) {
        let Some(first) = family.iter().find(|s| !matches!(s.value, Value::Native(_))) else { continue };
        let kind = match &first.value {
            Value::Float(_) => "untyped",
            Value::Classic(h) | Value::Native(h) if h.reset_hint == ResetHint::Gauge => "gaugehistogram",
            Value::Classic(_) | Value::Native(_) => "histogram",
        };
        let name = escaping.name(&first.name);
        out.push_str("# TYPE ");
        push_name(&mut out, &name);
        out.push_str(&format!(" {kind}\n"));
        for sample in family {
            push_sample(&mut out, &name, sample, escaping);
        }
    }
    out
}

fn push_sample(out: &mut String, name: &str, sample: &Sample, escaping: Escaping) {
    let mut line = |suffix: &str, le: Option<f64>, value: f64| {
        push_series(out, &format!("{name}{suffix}"), &sample.labels, le, escaping);
        out.push(' ');
        push_float(out, value);
        out.push_str(&format!(" {}\n", sample.time_ms));
    };
    match &sample.value {
        Value::Float(value) => line("", None, *value),
        Value::Classic(h) => {
            for (bound, count) in classic_buckets(h) {
                line("_bucket", Some(bound), count);
            }
            line("_bucket", Some(f64::INFINITY), count_of(h));
            line("_sum", None, h.sum);
            line("_count", None, count_of(h));
        }
        Value::Native(_) => {}
    }
}

fn push_name(out: &mut String, name: &str) {
    if is_classic(name) {
        out.push_str(name);
    } else {
        push_quoted(out, name);
    }
}

fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A name that needs quotes stands within the braces.
fn push_series(out: &mut String, name: &str, labels: &[(String, String)], le: Option<f64>, escaping: Escaping) {
    let mut separator = '{';
    if is_classic(name) {
        out.push_str(name);
    } else {
        out.push('{');
        push_quoted(out, name);
        separator = ',';
    }
    let mut le_text = String::new();
    if let Some(le) = le {
        push_float(&mut le_text, le);
    }
    let le = le.map(|_| ("le", le_text.as_str()));
    let pairs = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).chain(le);
    for (label, value) in pairs {
        out.push(separator);
        push_name(out, &escaping.name(label));
        out.push('=');
        push_quoted(out, value);
        separator = ',';
    }
    if separator == ',' {
        out.push('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str, labels: &[(&str, &str)], value: f64) -> Sample {
        let labels = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Sample { name: name.to_owned(), labels, time_ms: 1_700_000_000_123, value: Value::Float(value) }
    }

    #[test]
    fn a_page_is_what_a_target_would_show() {
        let samples = [
            sample("http.requests", &[("instance", "")], 1e21),
            sample("up", &[("job", "a\"b\\\n"), ("instance", "")], 1.0),
            sample("up", &[("job", "b"), ("instance", "x")], 0.001),
        ];
        assert_eq!(
            page(&samples, Escaping::AllowUtf8),
            concat!(
                "# TYPE \"http.requests\" untyped\n",
                "{\"http.requests\",instance=\"\"} 1e+21 1700000000123\n",
                "# TYPE up untyped\n",
                "up{job=\"a\\\"b\\\\\\n\",instance=\"\"} 1 1700000000123\n",
                "up{job=\"b\",instance=\"x\"} 0.001 1700000000123\n",
            )
        );
        assert!(page(&samples, Escaping::Underscores).starts_with("# TYPE http_requests untyped\nhttp_requests{"));
    }
}
