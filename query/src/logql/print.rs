//! Prints the syntax tree: `Display` on one line that parses back to the same tree, [`pretty`] indented.
use std::fmt::{self, Display, Formatter};

use trine_store::index::Matcher;

use super::ast::{
    BinaryExpr, Expr, Extraction, Grouping, LabelFilter, LabelFormat, LabelPick, LineFilter, LineTerm, LogExpr,
    Matching, MetricExpr, RangeExpr, Stage, Unwrap,
};
use super::units::{format_duration, quote};

/// Longest expression that stays on one line, in characters.
const LINE_CHARS_MAX: usize = 100;

/// The expression on one line, or indented by its nesting when it is long.
pub(super) fn pretty(expr: &Expr) -> String {
    match expr {
        Expr::Log(log) => pretty_log(log, 0),
        Expr::Metric(metric) => pretty_metric(metric, 0),
    }
}

fn indent(level: usize) -> String {
    "  ".repeat(level)
}

fn fits(text: &str) -> bool {
    text.chars().count() <= LINE_CHARS_MAX
}

fn pretty_log(log: &LogExpr, level: usize) -> String {
    let line = log.to_string();
    if fits(&line) {
        return format!("{}{line}", indent(level));
    }
    let mut out = format!("{}{}", indent(level), Selector(&log.matchers));
    for stage in &log.stages {
        out.push_str(&format!("\n{}{stage}", indent(level + 1)));
    }
    out
}

fn pretty_metric(expr: &MetricExpr, level: usize) -> String {
    let line = expr.to_string();
    if fits(&line) {
        return format!("{}{line}", indent(level));
    }
    let pad = indent(level);
    match expr {
        MetricExpr::Range(range) => pretty_range(range, level),
        MetricExpr::Aggregate { op, k, grouping, expr } => {
            let head =
                format!("{pad}{}{}(\n", op.as_str(), grouping.as_ref().map_or_else(String::new, |g| format!(" {g} ")));
            let k = k.map_or_else(String::new, |k| format!("{}{k},\n", indent(level + 1)));
            format!("{head}{k}{}\n{pad})", pretty_metric(expr, level + 1))
        }
        MetricExpr::Binary(b) => {
            format!("{}\n{pad}{}\n{}", pretty_operand(&b.lhs, level), operator(b), pretty_operand(&b.rhs, level))
        }
        MetricExpr::LabelReplace { expr, dst, replacement, src, regex } => {
            let inner = indent(level + 1);
            let texts: Vec<_> = [dst, replacement, src, regex].map(|t| format!("{inner}{}", quote(t))).into();
            format!("{pad}label_replace(\n{},\n{}\n{pad})", pretty_metric(expr, level + 1), texts.join(",\n"))
        }
        MetricExpr::Literal(_) | MetricExpr::Vector(_) => format!("{pad}{line}"),
    }
}

/// An operand of a binary operation: parenthesised when it is one itself.
fn pretty_operand(expr: &MetricExpr, level: usize) -> String {
    match expr {
        MetricExpr::Binary(_) => {
            format!("{0}(\n{1}\n{0})", indent(level + 1), pretty_metric(expr, level + 2))
        }
        _ => pretty_metric(expr, level + 1),
    }
}

fn pretty_range(range: &RangeExpr, level: usize) -> String {
    let inner = indent(level + 1);
    let mut out = format!("{}{}(\n", indent(level), range.op.as_str());
    if let Some(param) = range.param {
        out.push_str(&format!("{inner}{param},\n"));
    }
    out.push_str(&pretty_log(&range.log, level + 1));
    if let Some(unwrap) = &range.unwrap {
        out.push_str(&format!("\n{}{unwrap}", indent(level + 2)));
    }
    out.push_str(&format!(" {}\n{})", Window(range), indent(level)));
    if let Some(grouping) = &range.grouping {
        out.push_str(&format!(" {grouping}"));
    }
    out
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(log) => log.fmt(f),
            Self::Metric(metric) => metric.fmt(f),
        }
    }
}

struct Selector<'a>(&'a [Matcher]);

impl Display for Selector<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        list(f, self.0.iter().map(Match))?;
        f.write_str("}")
    }
}

struct Match<'a>(&'a Matcher);

impl Display for Match<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.0.name, self.0.op.as_str(), quote(&self.0.value))
    }
}

fn list<T: Display>(f: &mut Formatter<'_>, items: impl IntoIterator<Item = T>) -> fmt::Result {
    for (i, item) in items.into_iter().enumerate() {
        write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
    }
    Ok(())
}

impl Display for LogExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Selector(&self.matchers).fmt(f)?;
        self.stages.iter().try_for_each(|stage| write!(f, " {stage}"))
    }
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineFilter(filter) => filter.fmt(f),
            Self::Json(fields) => {
                f.write_str("| json")?;
                extractions(f, fields)
            }
            Self::Logfmt { strict, keep_empty, fields } => {
                f.write_str("| logfmt")?;
                f.write_str(if *strict { " --strict" } else { "" })?;
                f.write_str(if *keep_empty { " --keep-empty" } else { "" })?;
                extractions(f, fields)
            }
            Self::Regexp(pattern) => write!(f, "| regexp {}", quote(pattern)),
            Self::Pattern(pattern) => write!(f, "| pattern {}", quote(pattern)),
            Self::Unpack => f.write_str("| unpack"),
            Self::LabelFilter(filter) => write!(f, "| {filter}"),
            Self::LineFormat(template) => write!(f, "| line_format {}", quote(template)),
            Self::LabelFormat(formats) => {
                f.write_str("| label_format ")?;
                list(f, formats)
            }
            Self::Decolorize => f.write_str("| decolorize"),
            Self::Drop(picks) => {
                f.write_str("| drop ")?;
                list(f, picks)
            }
            Self::Keep(picks) => {
                f.write_str("| keep ")?;
                list(f, picks)
            }
        }
    }
}

fn extractions(f: &mut Formatter<'_>, fields: &[Extraction]) -> fmt::Result {
    if fields.is_empty() {
        return Ok(());
    }
    f.write_str(" ")?;
    list(f, fields.iter().map(|e| format!("{}={}", e.label, quote(&e.expression))))
}

impl Display for LineFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.as_str())?;
        for (i, term) in self.terms.iter().enumerate() {
            f.write_str(if i == 0 { " " } else { " or " })?;
            match term {
                LineTerm::Text(text) => f.write_str(&quote(text))?,
                LineTerm::Ip(pattern) => write!(f, "ip({})", quote(pattern))?,
            }
        }
        Ok(())
    }
}

impl Display for LabelFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            // Parentheses everywhere keep the tree's shape.
            Self::And(a, b) => write!(f, "({a} and {b})"),
            Self::Or(a, b) => write!(f, "({a} or {b})"),
            Self::Match(matcher) => Match(matcher).fmt(f),
            Self::Number { label, op, value } => write!(f, "{label}{}{value}", op.as_str()),
            Self::Duration { label, op, ns } => write!(f, "{label}{}{}", op.as_str(), format_duration(*ns)),
            // `0B` would begin a binary number.
            Self::Bytes { label, op, bytes: 0 } => write!(f, "{label}{}0kB", op.as_str()),
            Self::Bytes { label, op, bytes } => write!(f, "{label}{}{bytes}B", op.as_str()),
            Self::Ip { label, negated, pattern } => {
                write!(f, "{label}{}ip({})", if *negated { "!=" } else { "=" }, quote(pattern))
            }
        }
    }
}

impl Display for LabelFormat {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rename { to, from } => write!(f, "{to}={from}"),
            Self::Template { to, template } => write!(f, "{to}={}", quote(template)),
        }
    }
}

impl Display for LabelPick {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Match(matcher) => Match(matcher).fmt(f),
        }
    }
}

impl Display for Grouping {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", if self.without { "without" } else { "by" }, self.labels.join(", "))
    }
}

impl Display for Unwrap {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.conversion {
            Some(conversion) => write!(f, "| unwrap {}({})", conversion.as_str(), self.label)?,
            None => write!(f, "| unwrap {}", self.label)?,
        }
        self.filters.iter().try_for_each(|filter| write!(f, " | {filter}"))
    }
}

/// `[5m] offset 1h`.
struct Window<'a>(&'a RangeExpr);

impl Display for Window<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", format_duration(self.0.range_ns))?;
        match self.0.offset_ns {
            0 => Ok(()),
            ns => write!(f, " offset {}", format_duration(ns)),
        }
    }
}

impl Display for RangeExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.op.as_str())?;
        if let Some(param) = self.param {
            write!(f, "{param}, ")?;
        }
        self.log.fmt(f)?;
        if let Some(unwrap) = &self.unwrap {
            write!(f, " {unwrap}")?;
        }
        write!(f, " {})", Window(self))?;
        match &self.grouping {
            Some(grouping) => write!(f, " {grouping}"),
            None => Ok(()),
        }
    }
}

impl Display for MetricExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(range) => range.fmt(f),
            Self::Aggregate { op, k, grouping, expr } => {
                f.write_str(op.as_str())?;
                if let Some(grouping) = grouping {
                    write!(f, " {grouping} ")?;
                }
                match k {
                    Some(k) => write!(f, "({k}, {expr})"),
                    None => write!(f, "({expr})"),
                }
            }
            // Parentheses keep the tree's shape; unlike Loki's printer also where precedence would do.
            Self::Binary(b) => write!(f, "({} {} {})", b.lhs, operator(b), b.rhs),
            Self::LabelReplace { expr, dst, replacement, src, regex } => {
                write!(f, "label_replace({expr}, ")?;
                list(f, [dst, replacement, src, regex].map(|t| quote(t)))?;
                f.write_str(")")
            }
            Self::Literal(value) => f.write_str(&literal(*value)),
            Self::Vector(value) => write!(f, "vector({})", literal(*value)),
        }
    }
}

/// A number that the parser takes; folding can give values that have no literal, which are then what folds to them.
fn literal(value: f64) -> String {
    match value {
        f64::INFINITY => "(10 ^ 400)".to_owned(),
        f64::NEG_INFINITY => "(0 - 10 ^ 400)".to_owned(),
        value if value.is_nan() => "(0 / 0)".to_owned(),
        value => value.to_string(),
    }
}

/// The operator with its modifiers.
fn operator(b: &BinaryExpr) -> String {
    let mut out = b.op.as_str().to_owned();
    if b.return_bool {
        out.push_str(" bool");
    }
    if let Some(matching) = &b.matching {
        out.push_str(&format!(" {matching}"));
    }
    out
}

impl Display for Matching {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", if self.on { "on" } else { "ignoring" }, self.labels.join(", "))?;
        match &self.group {
            Some(group) => {
                write!(f, " {} ({})", if group.left { "group_left" } else { "group_right" }, group.include.join(", "))
            }
            None => Ok(()),
        }
    }
}
