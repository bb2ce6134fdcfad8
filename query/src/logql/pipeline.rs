//! What happens to a line: stages compiled once a fragment, run once a line, with buffers that are reused.
mod ip;
mod json;
mod label_filter;
mod labels;
mod line;
mod logfmt;
mod pattern;
mod template;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashSet;

use regex::Regex;
use trine_store::re2;

use self::json::JsonPath;
pub(super) use self::label_filter::Filter;
pub(super) use self::labels::EntryLabels;
use self::line::LineMatcher;
use self::pattern::Pattern;
use self::template::Template;
use super::ast::{LabelFilter, LabelFormat, LabelPick, LineOp, LineTerm, Stage};
use crate::error::{Error, Result};
use crate::memory::Exceeded;

/// Label that names the first error of an entry.
pub(super) const ERROR_LABEL: &str = "__error__";
/// Label with the error's text.
pub(super) const ERROR_DETAILS_LABEL: &str = "__error_details__";

/// Which labels matter after the pipeline; parsers need not make others.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    All,
    /// Only these, besides those that stages refer to.
    Names(HashSet<String>),
}

impl Wanted {
    /// Whether a parsed label of this name matters, be it under its own name or with the suffix of a clash.
    fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Names(names) => {
                names.contains(name) || names.iter().any(|n| n.strip_suffix(labels::EXTRACTED) == Some(name))
            }
        }
    }
}

/// Compiled stages.
#[derive(Debug)]
pub(super) struct Pipeline {
    steps: Vec<Step>,
    wanted: Wanted,
}

#[derive(Debug)]
enum Step {
    Line(LineMatcher),
    Json,
    JsonFields(Vec<(String, JsonPath)>),
    Logfmt { strict: bool, keep_empty: bool },
    LogfmtFields { strict: bool, fields: Vec<(String, String)> },
    Regexp(Regex),
    Pattern(Pattern),
    Unpack,
    Filter(Filter),
    LineFormat(Template),
    LabelFormat(Vec<(String, FormatSource)>),
    Decolorize(Regex),
    Drop(Vec<LabelPick>),
    Keep(Vec<LabelPick>),
}

#[derive(Debug)]
enum FormatSource {
    Label(String),
    Template(Template),
}

impl Pipeline {
    /// Compiles `stages`. Fails with [`Error::Parse`] for a broken pattern and [`Error::Unsupported`] for what is not
    /// evaluated.
    pub(super) fn compile(stages: &[Stage], wanted: Wanted) -> Result<Self> {
        let steps = stages.iter().map(compile_stage).collect::<Result<Vec<_>>>()?;
        let wanted = match wanted {
            Wanted::All => Wanted::All,
            Wanted::Names(mut names) => {
                referenced_names(stages, &steps, &mut names);
                Wanted::Names(names)
            }
        };
        Ok(Self { steps, wanted })
    }

    /// The labels that matter, those that stages refer to included.
    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Runs the stages over one line. `false` drops the line; otherwise `line` and `labels` are the result. Errors when the
    /// labels' account has no room for what a stage makes.
    pub(super) fn process(
        &self,
        line: &mut Cow<'_, str>,
        labels: &mut EntryLabels,
        time_ns: i64,
    ) -> std::result::Result<bool, Exceeded> {
        for step in &self.steps {
            let keeps = step.run(&self.wanted, line, labels, time_ns)?;
            labels.check()?;
            if !keeps {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Literals that every line which passes must contain before any stage has changed it: for skipping blocks of rows.
pub(super) fn needles(stages: &[Stage]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for stage in stages {
        match stage {
            Stage::LineFilter(filter) => match (filter.op, filter.terms.as_slice()) {
                (LineOp::Contains, [LineTerm::Text(text)]) if !text.is_empty() => out.push(text.as_bytes().to_vec()),
                _ => {}
            },
            Stage::LineFormat(_) | Stage::Unpack | Stage::Decolorize => return out,
            _ => {}
        }
    }
    out
}

/// Labels that every entry which passes comes with, with their possible values: for skipping blocks of rows. Only filters
/// before the first stage that makes labels count.
pub(super) fn required_labels(stages: &[Stage]) -> Vec<(String, Vec<String>)> {
    let mut out = Vec::new();
    for stage in stages {
        match stage {
            Stage::LabelFilter(filter) => required_by(filter, &mut out),
            Stage::LineFilter(_) | Stage::LineFormat(_) | Stage::Decolorize | Stage::Drop(_) | Stage::Keep(_) => {}
            Stage::Json(_)
            | Stage::Logfmt { .. }
            | Stage::Regexp(_)
            | Stage::Pattern(_)
            | Stage::Unpack
            | Stage::LabelFormat(_) => break,
        }
    }
    out
}

fn required_by(filter: &LabelFilter, out: &mut Vec<(String, Vec<String>)>) {
    match filter {
        LabelFilter::And(a, b) => {
            required_by(a, out);
            required_by(b, out);
        }
        LabelFilter::Match(m) if m.name != ERROR_LABEL && m.name != ERROR_DETAILS_LABEL => {
            if let Some(values) = m.literal_set().filter(|values| values.iter().all(|v| !v.is_empty())) {
                out.push((m.name.clone(), values.into_iter().map(str::to_owned).collect()));
            }
        }
        _ => {}
    }
}

/// Whether any stage looks at the line; stages about labels alone do not.
pub(super) fn reads_lines(stages: &[Stage]) -> bool {
    stages.iter().any(|stage| match stage {
        Stage::LabelFilter(_) | Stage::Drop(_) | Stage::Keep(_) => false,
        // A template may name the line.
        Stage::LabelFormat(formats) => formats.iter().any(|f| matches!(f, LabelFormat::Template { .. })),
        _ => true,
    })
}

fn compile_stage(stage: &Stage) -> Result<Step> {
    Ok(match stage {
        Stage::LineFilter(filter) => Step::Line(LineMatcher::compile(filter)?),
        Stage::Json(fields) if fields.is_empty() => Step::Json,
        Stage::Json(fields) => Step::JsonFields(
            fields
                .iter()
                .map(|e| Ok((e.label.clone(), JsonPath::parse(&e.expression)?)))
                .collect::<Result<Vec<_>>>()?,
        ),
        Stage::Logfmt { strict, keep_empty, fields } if fields.is_empty() => {
            Step::Logfmt { strict: *strict, keep_empty: *keep_empty }
        }
        Stage::Logfmt { strict, fields, .. } => Step::LogfmtFields {
            strict: *strict,
            fields: fields.iter().map(|e| (e.label.clone(), e.expression.clone())).collect(),
        },
        Stage::Regexp(pattern) => Step::Regexp(regex(pattern)?),
        Stage::Pattern(pattern) => Step::Pattern(Pattern::captures(pattern)?),
        Stage::Unpack => Step::Unpack,
        Stage::LabelFilter(filter) => Step::Filter(Filter::compile(filter)?),
        Stage::LineFormat(template) => Step::LineFormat(Template::parse(template)?),
        Stage::LabelFormat(formats) => {
            Step::LabelFormat(formats.iter().map(compile_format).collect::<Result<Vec<_>>>()?)
        }
        Stage::Decolorize => Step::Decolorize(regex("\u{1b}\\[[0-9;]*[A-Za-z]")?),
        Stage::Drop(picks) => Step::Drop(picks.clone()),
        Stage::Keep(picks) => Step::Keep(picks.clone()),
    })
}

fn compile_format(format: &LabelFormat) -> Result<(String, FormatSource)> {
    Ok(match format {
        LabelFormat::Rename { to, from } => (to.clone(), FormatSource::Label(from.clone())),
        LabelFormat::Template { to, template } => (to.clone(), FormatSource::Template(Template::parse(template)?)),
    })
}

/// A pattern with a bound on its compiled size.
fn regex(pattern: &str) -> Result<Regex> {
    re2::compile(pattern).map_err(|e| Error::Parse { message: format!("parse error : error parsing regexp: {e}") })
}

/// Adds the labels that stages read.
fn referenced_names(stages: &[Stage], steps: &[Step], names: &mut HashSet<String>) {
    for stage in stages {
        match stage {
            Stage::LabelFilter(filter) => filter_names(filter, names),
            Stage::LabelFormat(formats) => {
                for format in formats {
                    if let LabelFormat::Rename { from, .. } = format {
                        names.insert(from.clone());
                    }
                }
            }
            Stage::Drop(picks) | Stage::Keep(picks) => {
                names.extend(picks.iter().map(|p| match p {
                    LabelPick::Name(name) => name.clone(),
                    LabelPick::Match(matcher) => matcher.name.clone(),
                }));
            }
            _ => {}
        }
    }
    for step in steps {
        match step {
            Step::LineFormat(template) => names.extend(template.fields().map(str::to_owned)),
            Step::LabelFormat(formats) => {
                for (_, source) in formats {
                    if let FormatSource::Template(template) = source {
                        names.extend(template.fields().map(str::to_owned));
                    }
                }
            }
            _ => {}
        }
    }
}

/// Adds the labels that a filter reads.
pub(super) fn filter_names(filter: &LabelFilter, names: &mut HashSet<String>) {
    match filter {
        LabelFilter::And(a, b) | LabelFilter::Or(a, b) => {
            filter_names(a, names);
            filter_names(b, names);
        }
        LabelFilter::Match(matcher) => {
            names.insert(matcher.name.clone());
        }
        LabelFilter::Number { label, .. }
        | LabelFilter::Duration { label, .. }
        | LabelFilter::Bytes { label, .. }
        | LabelFilter::Ip { label, .. } => {
            names.insert(label.clone());
        }
    }
}

impl Step {
    fn run(
        &self,
        wanted: &Wanted,
        line: &mut Cow<'_, str>,
        labels: &mut EntryLabels,
        time_ns: i64,
    ) -> std::result::Result<bool, Exceeded> {
        match self {
            Self::Line(matcher) => return Ok(matcher.keeps(line)),
            Self::Filter(filter) => return Ok(filter.keeps(labels)),
            Self::Json => json::extract_all(line, wanted, labels),
            Self::JsonFields(fields) => json::extract_fields(line, fields, labels),
            Self::Logfmt { strict, keep_empty } => logfmt::extract_all(line, *strict, *keep_empty, wanted, labels),
            Self::LogfmtFields { strict, fields } => logfmt::extract_fields(line, *strict, fields, labels),
            Self::Regexp(regex) => extract_groups(regex, line, wanted, labels),
            Self::Pattern(pattern) => pattern.extract(line, wanted, labels),
            Self::Unpack => {
                if let Some(entry) = json::unpack(line, labels) {
                    *line = Cow::Owned(entry);
                }
            }
            Self::LineFormat(template) => {
                let formatted = template.render(line, labels, time_ns)?;
                labels.line_charge().set(formatted.capacity() as u64)?;
                *line = Cow::Owned(formatted);
            }
            Self::LabelFormat(formats) => format_labels(formats, line, labels, time_ns)?,
            Self::Decolorize(regex) => {
                if let Cow::Owned(plain) = regex.replace_all(line, "") {
                    *line = Cow::Owned(plain);
                }
            }
            Self::Drop(picks) => drop_labels(picks, labels),
            Self::Keep(picks) => labels.retain(|name, value| picks.iter().any(|pick| picked(pick, name, value))),
        }
        Ok(true)
    }
}

fn extract_groups(regex: &Regex, line: &str, wanted: &Wanted, labels: &mut EntryLabels) {
    let Some(captures) = regex.captures(line) else { return };
    for (i, name) in regex.capture_names().enumerate() {
        let Some(name) = name.filter(|n| wanted.has(n)) else { continue };
        labels.set_extracted(name, captures.get(i).map_or("", |m| m.as_str()));
    }
}

fn format_labels(
    formats: &[(String, FormatSource)],
    line: &str,
    labels: &mut EntryLabels,
    time_ns: i64,
) -> std::result::Result<(), Exceeded> {
    for (to, source) in formats {
        match source {
            FormatSource::Label(from) => {
                if let Some(value) = labels.get(from).map(str::to_owned) {
                    labels.delete(from);
                    labels.set(to, &value);
                }
            }
            FormatSource::Template(template) => {
                let value = template.render(line, labels, time_ns)?;
                labels.set(to, &value);
            }
        }
        labels.check()?;
    }
    Ok(())
}

fn picked(pick: &LabelPick, name: &str, value: &str) -> bool {
    match pick {
        LabelPick::Name(n) => n == name,
        LabelPick::Match(matcher) => matcher.name == name && matcher.matches(value),
    }
}

fn drop_labels(picks: &[LabelPick], labels: &mut EntryLabels) {
    for pick in picks {
        match pick {
            LabelPick::Name(name) => labels.delete(name),
            LabelPick::Match(matcher) => {
                if labels.get(&matcher.name).is_some_and(|value| matcher.matches(value)) {
                    labels.delete(&matcher.name);
                }
            }
        }
    }
}
