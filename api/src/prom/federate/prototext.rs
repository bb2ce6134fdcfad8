//! Messages in protobuf's text format: a field a line and a blank line behind each family, or a family a line.
//!
//! Fields stand in the order in which `metrics.proto` declares them.
use std::fmt::Write;

use super::Sample;
use super::message::{BucketSpan, Histogram, LabelPair, Metric, MetricFamily, families, kind_name};
use super::names::Escaping;
use crate::number::push_float;

const INDENT: &str = "  ";

/// Where fields are set apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Lines,
    OneLine,
}

/// All samples.
pub(super) fn page(samples: &[Sample], escaping: Escaping, layout: Layout) -> String {
    let mut writer = Writer { out: String::new(), layout, depth: 0 };
    for family in families(samples, escaping) {
        writer.family(&family);
        writer.out.push('\n');
    }
    writer.out
}

struct Writer {
    out: String,
    layout: Layout,
    /// Messages that are open.
    depth: usize,
}

impl Writer {
    fn family(&mut self, family: &MetricFamily) {
        self.text("name", family.name.as_deref());
        self.literal("type", family.kind.map(kind_name));
        for metric in &family.metric {
            self.message("metric", |w| w.metric(metric));
        }
    }

    fn metric(&mut self, metric: &Metric) {
        for LabelPair { name, value } in &metric.label {
            self.message("label", |w| {
                w.text("name", name.as_deref());
                w.text("value", value.as_deref());
            });
        }
        if let Some(untyped) = &metric.untyped {
            self.message("untyped", |w| w.float("value", untyped.value));
        }
        if let Some(histogram) = &metric.histogram {
            self.message("histogram", |w| w.histogram(histogram));
        }
        self.literal("timestamp_ms", metric.timestamp_ms);
    }

    fn histogram(&mut self, h: &Histogram) {
        self.float("sample_count_float", h.sample_count_float);
        self.float("sample_sum", h.sample_sum);
        for bucket in &h.bucket {
            self.message("bucket", |w| {
                w.float("cumulative_count_float", bucket.cumulative_count_float);
                w.float("upper_bound", bucket.upper_bound);
            });
        }
        self.literal("schema", h.schema);
        self.float("zero_threshold", h.zero_threshold);
        self.float("zero_count_float", h.zero_count_float);
        self.side(["negative_span", "negative_count"], &h.negative_span, &h.negative_count);
        self.side(["positive_span", "positive_count"], &h.positive_span, &h.positive_count);
    }

    fn side(&mut self, [span_name, count_name]: [&str; 2], spans: &[BucketSpan], counts: &[f64]) {
        for span in spans {
            self.message(span_name, |w| {
                w.literal("offset", span.offset);
                w.literal("length", span.length);
            });
        }
        for count in counts {
            self.float(count_name, Some(*count));
        }
    }

    fn message(&mut self, name: &str, fill: impl FnOnce(&mut Self)) {
        self.name(name);
        self.out.push('{');
        self.depth += 1;
        let empty = self.out.len();
        if self.layout == Layout::Lines {
            self.out.push('\n');
        }
        let begun = self.out.len();
        fill(self);
        self.depth -= 1;
        if self.out.len() == begun {
            self.out.truncate(empty);
        } else if self.layout == Layout::Lines {
            self.indent();
        }
        self.out.push('}');
        self.end();
    }

    fn text(&mut self, name: &str, value: Option<&str>) {
        self.field(name, value, push_quoted);
    }

    fn float(&mut self, name: &str, value: Option<f64>) {
        self.field(name, value, push_number);
    }

    fn literal(&mut self, name: &str, value: Option<impl std::fmt::Display>) {
        self.field(name, value, |out, value| write!(out, "{value}").expect("writing to a string does not fail"));
    }

    /// Nothing for a field that is not set.
    fn field<T>(&mut self, name: &str, value: Option<T>, push: impl FnOnce(&mut String, T)) {
        let Some(value) = value else { return };
        self.name(name);
        push(&mut self.out, value);
        self.end();
    }

    fn name(&mut self, name: &str) {
        match self.layout {
            Layout::Lines => self.indent(),
            // A value never ends in these two: strings end in a quote.
            Layout::OneLine if self.out.is_empty() || self.out.ends_with(['{', '\n']) => {}
            Layout::OneLine => self.out.push(' '),
        }
        self.out.push_str(name);
        self.out.push(':');
        if self.layout == Layout::Lines {
            self.out.push(' ');
        }
    }

    fn indent(&mut self) {
        (0..self.depth).for_each(|_| self.out.push_str(INDENT));
    }

    fn end(&mut self) {
        if self.layout == Layout::Lines {
            self.out.push('\n');
        }
    }
}

fn push_number(out: &mut String, value: f64) {
    match value {
        v if v.is_nan() => out.push_str("nan"),
        f64::INFINITY => out.push_str("inf"),
        f64::NEG_INFINITY => out.push_str("-inf"),
        v => push_float(out, v),
    }
}

/// UTF-8 stays as it is but for what would end the string or hide in it.
fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => push_number_of(out, "\\x", 2, c),
            c if c.is_control() => push_number_of(out, "\\u", 4, c),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn push_number_of(out: &mut String, prefix: &str, digits: usize, c: char) {
    write!(out, "{prefix}{:0digits$x}", u32::from(c)).expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use super::super::Value;
    use super::*;
    use crate::prom::histogram::{self, ResetHint, Side};

    fn sample(name: &str, value: Value) -> Sample {
        let labels = vec![("job".to_owned(), "a\"b\n".to_owned())];
        Sample { name: name.to_owned(), labels, time_ms: 1_700_000_000_123, value }
    }

    #[test]
    fn a_family_is_a_message_of_lines_or_one_line() {
        let samples = [sample("up.x", Value::Float(1.0)), sample("up.x", Value::Float(f64::NAN))];
        assert_eq!(
            page(&samples[..1], Escaping::AllowUtf8, Layout::Lines),
            concat!(
                "name: \"up.x\"\n",
                "type: UNTYPED\n",
                "metric: {\n",
                "  label: {\n",
                "    name: \"job\"\n",
                "    value: \"a\\\"b\\n\"\n",
                "  }\n",
                "  untyped: {\n",
                "    value: 1\n",
                "  }\n",
                "  timestamp_ms: 1700000000123\n",
                "}\n",
                "\n",
            )
        );
        assert_eq!(
            page(&samples, Escaping::Underscores, Layout::OneLine),
            concat!(
                "name:\"up_x\" type:UNTYPED ",
                "metric:{label:{name:\"job\" value:\"a\\\"b\\n\"} untyped:{value:1} timestamp_ms:1700000000123} ",
                "metric:{label:{name:\"job\" value:\"a\\\"b\\n\"} untyped:{value:nan} timestamp_ms:1700000000123}\n",
            )
        );
    }

    #[test]
    fn native_histograms_are_written_with_their_spans() {
        let side = Side { spans: vec![(-2, 1), (3, 2)], deltas: vec![1, 1, -2], counts: vec![] };
        let native = histogram::Histogram {
            count_int: 9,
            sum: f64::NEG_INFINITY,
            schema: 3,
            zero_threshold: 1e-128,
            zero_int: 2,
            positive: side,
            reset_hint: ResetHint::Gauge,
            ..histogram::Histogram::default()
        };
        let classic = histogram::Histogram {
            count_int: 3,
            schema: histogram::CUSTOM,
            custom: vec![0.5],
            positive: Side { spans: vec![(0, 2)], deltas: vec![1, 1], counts: vec![] },
            ..histogram::Histogram::default()
        };
        let samples = [sample("a", Value::Native(native)), sample("b", Value::Classic(classic))];
        let text = page(&samples, Escaping::Underscores, Layout::OneLine);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(
            lines[0].starts_with("name:\"a\" type:GAUGE_HISTOGRAM metric:{label:")
                && lines[0].contains(concat!(
                    " histogram:{sample_count_float:9 sample_sum:-inf schema:3 zero_threshold:1e-128 zero_count_float:2 ",
                    "positive_span:{offset:-2 length:1} positive_span:{offset:3 length:2} ",
                    "positive_count:1 positive_count:2 positive_count:0} timestamp_ms:",
                )),
            "{text}"
        );
        assert!(
            lines[1].contains(
                "{sample_count_float:3 sample_sum:0 bucket:{cumulative_count_float:1 upper_bound:0.5}} timestamp_ms:"
            ),
            "{text}"
        );
    }

    #[test]
    fn strings_are_escaped_as_protobuf_does() {
        for (text, expected) in [
            ("", r#""""#),
            ("größe {x}", r#""größe {x}""#),
            ("a\\b\"c", r#""a\\b\"c""#),
            ("\n\r\t", r#""\n\r\t""#),
            ("\0\u{7}\u{7f}1", r#""\x00\x07\x7f1""#),
            ("\u{85}\u{a0}\u{1f600}", "\"\\u0085\u{a0}\u{1f600}\""),
        ] {
            let mut out = String::new();
            push_quoted(&mut out, text);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn a_message_of_nothing_is_two_braces() {
        for (layout, expected) in [(Layout::Lines, "a: {}\n"), (Layout::OneLine, "a:{}")] {
            let mut writer = Writer { out: String::new(), layout, depth: 0 };
            writer.message("a", |w| w.float("value", None));
            assert_eq!(writer.out, expected);
        }
    }
}
