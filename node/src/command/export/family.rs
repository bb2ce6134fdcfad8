//! What OpenMetrics is told of a metric before its samples.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Type, help and unit of a metric, as the node has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub(super) struct Metadata {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) help: String,
    #[serde(default)]
    pub(super) unit: String,
}

/// Names of families that are written.
#[derive(Debug)]
pub(super) struct Families {
    known: BTreeMap<String, Metadata>,
    used: BTreeSet<String>,
}

impl Families {
    pub(super) fn new(known: BTreeMap<String, Metadata>) -> Self {
        Self { known, used: BTreeSet::new() }
    }

    /// What is said before the samples of a metric, whose name is spelled. Of one whose type nobody told, `has_exemplars` says
    /// that it is a counter.
    ///
    /// Every metric is a family of its own. The parts of classic histograms and of summaries are of type `unknown`: a family of
    /// theirs would have to be interleaved time by time, which no stream of series is.
    pub(super) fn head(&mut self, name: &str, has_exemplars: bool) -> Head {
        let counter = name.strip_suffix("_total").filter(|family| !self.used.contains(*family));
        let about = self.known.get(name).or_else(|| self.known.get(base(name))).cloned().unwrap_or_default();
        let (family, kind) = match (about.kind.as_str(), counter) {
            ("counter", Some(family)) => (family, "counter"),
            ("" | "unknown", Some(family)) if has_exemplars => (family, "counter"),
            ("gauge", _) => (name, "gauge"),
            _ => (name, "unknown"),
        };
        self.used.insert(family.to_owned());
        Head { name: name.to_owned(), family: family.to_owned(), kind, about }
    }
}

/// What a family's samples are; it has one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Floats,
    Histograms,
    /// Of counts that go up and down.
    GaugeHistograms,
}

/// What is said before a metric's samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) name: String,
    family: String,
    kind: &'static str,
    about: Metadata,
}

impl Head {
    /// Whether its floats may have exemplars.
    pub(super) fn is_counter(&self) -> bool {
        self.kind == "counter"
    }

    /// `# TYPE`, `# UNIT` and `# HELP`.
    pub(super) fn text(&self, form: Form) -> String {
        let (family, kind) = match form {
            Form::Floats => (&self.family, self.kind),
            Form::Histograms => (&self.name, "histogram"),
            Form::GaugeHistograms => (&self.name, "gaugehistogram"),
        };
        let mut out = format!("# TYPE {family} {kind}\n");
        let about = &self.about;
        let has_unit = !about.unit.is_empty() && family.ends_with(&format!("_{}", about.unit));
        if has_unit {
            writeln!(out, "# UNIT {family} {}", about.unit).expect("writing to a string does not fail");
        }
        if !about.help.is_empty() {
            let help = escaped(&about.help);
            writeln!(out, "# HELP {family} {help}").expect("writing to a string does not fail");
        }
        out
    }
}

/// Names that a native histogram's classic form takes.
pub(super) fn parts(name: &str) -> [String; 5] {
    ["_bucket", "_count", "_sum", "_gcount", "_gsum"].map(|suffix| format!("{name}{suffix}"))
}

/// The name that the metadata of a part is kept by.
fn base(name: &str) -> &str {
    ["_total", "_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

/// Whether OpenMetrics 1.0 can spell it: a metric name of letters, digits, `_` and `:`.
pub(super) fn is_spelled(name: &str) -> bool {
    !name.is_empty()
        && !name.as_bytes()[0].is_ascii_digit()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
}

/// A text between quotes or at the end of a line.
pub(super) fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_what_openmetrics_allows() {
        let about =
            |kind: &str, help: &str, unit: &str| Metadata { kind: kind.into(), help: help.into(), unit: unit.into() };
        let mut families = Families::new(
            [
                ("a_total", about("counter", "A \"few\"\nlines", "")),
                ("b", about("counter", "", "")),
                ("c_seconds", about("gauge", "", "seconds")),
                ("d_total", about("counter", "", "")),
                ("f_total", about("unknown", "", "")),
                ("h", about("histogram", "How long", "seconds")),
            ]
            .into_iter()
            .map(|(name, about)| (name.to_owned(), about))
            .collect(),
        );
        for (name, head) in [
            ("a_total", "# TYPE a counter\n# HELP a A \\\"few\\\"\\nlines\n"),
            ("b", "# TYPE b unknown\n"),
            ("b_total", "# TYPE b_total unknown\n"),
            ("c_seconds", "# TYPE c_seconds gauge\n# UNIT c_seconds seconds\n"),
            ("d", "# TYPE d unknown\n"),
            ("d_total", "# TYPE d_total unknown\n"),
            ("e", "# TYPE e unknown\n"),
            ("e_total", "# TYPE e_total unknown\n"),
            ("e2_total", "# TYPE e2 counter\n"),
            ("f_total", "# TYPE f counter\n"),
            ("h_bucket", "# TYPE h_bucket unknown\n# HELP h_bucket How long\n"),
            ("nobody_knows", "# TYPE nobody_knows unknown\n"),
        ] {
            let has_exemplars = name.starts_with(['e', 'f']);
            assert_eq!(families.head(name, has_exemplars).text(Form::Floats), head, "{name}");
        }
        for name in ["", "a.b", "1a", "größe"] {
            assert!(!is_spelled(name), "{name}");
        }
        let head = families.head("h", true);
        assert!(!head.is_counter());
        for (form, kind) in
            [(Form::Floats, "unknown"), (Form::Histograms, "histogram"), (Form::GaugeHistograms, "gaugehistogram")]
        {
            assert_eq!(head.text(form), format!("# TYPE h {kind}\n# HELP h How long\n"));
        }
    }
}
