//! Syntax tree to text. What is printed parses to the same tree; `by(…)` and aggregates are labelled with it.
use std::fmt::{self, Display, Formatter, Write};

use crate::traceql::ast::{
    Aggregate, AggregateOp, AttributeScope, BinaryOp, Body, Field, FieldExpr, MetricsExpr, MetricsFunction, Pipeline,
    Query, ScalarExpr, ScalarPipeline, SpansetExpr, SpansetOp, Stage, Static, UnaryOp,
};
use crate::traceql::duration::format_go;
use crate::traceql::lexer::ends_name;

/// `items` separated by `, `.
fn list<T: Display>(f: &mut Formatter<'_>, items: &[T]) -> fmt::Result {
    for (n, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if n > 0 { ", " } else { "" })?;
    }
    Ok(())
}

impl Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.body {
            Body::Spans(pipeline) => pipeline.fmt(f)?,
            Body::ScalarPipelines { op, left, right } => write!(f, "{left} {op} {right}")?,
            Body::Metrics(metrics) => metrics.fmt(f)?,
        }
        if self.hints.is_empty() {
            return Ok(());
        }
        f.write_str(" with(")?;
        for (n, (key, value)) in self.hints.iter().enumerate() {
            write!(f, "{}{key}={value}", if n > 0 { ", " } else { "" })?;
        }
        f.write_char(')')
    }
}

impl Display for Pipeline {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (n, stage) in self.stages.iter().enumerate() {
            write!(f, "{}{stage}", if n > 0 { " | " } else { "" })?;
        }
        Ok(())
    }
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spanset(expr) => expr.fmt(f),
            Self::Scalar { op, left, right } => write!(f, "{left} {op} {right}"),
            Self::By(expr) => write!(f, "by({expr})"),
            Self::Coalesce => f.write_str("coalesce()"),
            Self::Select(fields) => {
                f.write_str("select(")?;
                list(f, fields)?;
                f.write_char(')')
            }
        }
    }
}

impl Display for SpansetExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter(None) => f.write_str("{}"),
            Self::Filter(Some(expr)) => write!(f, "{{ {expr} }}"),
            Self::Pipeline(pipeline) => write!(f, "({pipeline})"),
            Self::Op { op, left, right } => {
                for (n, side) in [left, right].into_iter().enumerate() {
                    if n == 1 {
                        write!(f, " {op} ")?;
                    }
                    match **side {
                        Self::Op { .. } => write!(f, "({side})")?,
                        Self::Filter(_) | Self::Pipeline(_) => write!(f, "{side}")?,
                    }
                }
                Ok(())
            }
        }
    }
}

impl Display for SpansetOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (prefix, sign) = match self {
            Self::And => ("", "&&"),
            Self::Or => ("", "||"),
            Self::Relation(relation, form) => (form.as_str(), relation.as_str()),
        };
        write!(f, "{prefix}{sign}")
    }
}

impl Display for ScalarPipeline {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aggregate(pipeline, aggregate) => write!(f, "({pipeline} | {aggregate})"),
            Self::Binary { op, left, right } => write!(f, "({left} {op} {right})"),
            Self::Static(value) => value.fmt(f),
        }
    }
}

impl Display for ScalarExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Static(value) => value.fmt(f),
            Self::Aggregate(aggregate) => aggregate.fmt(f),
            Self::Binary { op, left, right } => write!(f, "({left} {op} {right})"),
        }
    }
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = match self.op {
            AggregateOp::Count => "count",
            AggregateOp::Avg => "avg",
            AggregateOp::Min => "min",
            AggregateOp::Max => "max",
            AggregateOp::Sum => "sum",
        };
        match &self.expr {
            Some(expr) => write!(f, "{name}({expr})"),
            None => write!(f, "{name}()"),
        }
    }
}

impl Display for FieldExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let operand = |f: &mut Formatter<'_>, expr: &Self| match expr {
            Self::Static(_) | Self::Field(_) => write!(f, "{expr}"),
            Self::Unary { .. } | Self::Binary { .. } => write!(f, "({expr})"),
        };
        match self {
            Self::Static(value) => value.fmt(f),
            Self::Field(field) => field.fmt(f),
            Self::Unary { op, expr } => {
                f.write_str(match op {
                    UnaryOp::Not => "!",
                    UnaryOp::Neg => "-",
                })?;
                operand(f, expr)
            }
            Self::Binary { op, left, right } => {
                operand(f, left)?;
                write!(f, " {op} ")?;
                operand(f, right)
            }
        }
    }
}

impl Display for BinaryOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::And => "&&",
            Self::Or => "||",
            Self::Eq => "=",
            Self::NotEq => "!=",
            Self::Less => "<",
            Self::LessEq => "<=",
            Self::Greater => ">",
            Self::GreaterEq => ">=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
        })
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attribute { scope, parent, name } => {
                if *parent {
                    f.write_str("parent.")?;
                }
                match scope {
                    AttributeScope::Any if *parent => {}
                    AttributeScope::Any => f.write_char('.')?,
                    scope => write!(f, "{}.", scope.as_str())?,
                }
                attribute_name(f, name)
            }
            Self::Intrinsic { intrinsic, scoped } => {
                let (plain, full) = (intrinsic.plain(), intrinsic.scoped());
                f.write_str(if *scoped { full.or(plain) } else { plain.or(full) }.unwrap_or(""))
            }
        }
    }
}

/// The name, quoted when it would not be read back as it stands.
fn attribute_name(f: &mut Formatter<'_>, name: &str) -> fmt::Result {
    let is_plain = !name.contains(|c| ends_name(c) || c == '"' || c == '\\')
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !["span.", "resource."].iter().any(|scope| name.starts_with(scope));
    if is_plain {
        return f.write_str(name);
    }
    f.write_char('"')?;
    for c in name.chars() {
        if matches!(c, '"' | '\\') {
            f.write_char('\\')?;
        }
        f.write_char(c)?;
    }
    f.write_char('"')
}

impl Display for Static {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Bool(b) => b.fmt(f),
            Self::Int(i64::MIN) => f.write_str("minInt"),
            Self::Int(i) => i.fmt(f),
            // With a point or an exponent always.
            Self::Float(v) => write!(f, "{v:?}"),
            Self::Str(s) => quoted(f, s),
            Self::Duration(ns) => f.write_str(&format_go(*ns)),
            Self::Status(s) => f.write_str(s.as_str()),
            Self::Kind(k) => f.write_str(k.as_str()),
        }
    }
}

fn quoted(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

impl Display for MetricsExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aggregate { pipeline, function, by } => {
                write!(f, "{pipeline} | {function}")?;
                if by.is_empty() {
                    return Ok(());
                }
                f.write_str(" by (")?;
                list(f, by)?;
                f.write_char(')')
            }
            Self::Rank { input, bottom, n } => {
                write!(f, "{input} | {}({n})", if *bottom { "bottomk" } else { "topk" })
            }
            Self::Filter { input, op, value } => write!(f, "{input} {op} {value}"),
            Self::Math { op, left, right } => {
                operand(f, left)?;
                write!(f, " {op} ")?;
                operand(f, right)
            }
            Self::Number(value) => value.fmt(f),
        }
    }
}

fn operand(f: &mut Formatter<'_>, expr: &MetricsExpr) -> fmt::Result {
    match expr {
        MetricsExpr::Number(value) => value.fmt(f),
        expr => write!(f, "({expr})"),
    }
}

impl Display for MetricsFunction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate => f.write_str("rate()"),
            Self::CountOverTime => f.write_str("count_over_time()"),
            Self::MinOverTime(field) => write!(f, "min_over_time({field})"),
            Self::MaxOverTime(field) => write!(f, "max_over_time({field})"),
            Self::AvgOverTime(field) => write!(f, "avg_over_time({field})"),
            Self::SumOverTime(field) => write!(f, "sum_over_time({field})"),
            Self::HistogramOverTime(field) => write!(f, "histogram_over_time({field})"),
            Self::QuantileOverTime(field, quantiles) => {
                write!(f, "quantile_over_time({field}, ")?;
                let quantiles: Vec<_> = quantiles.iter().map(|q| Static::Float(*q)).collect();
                list(f, &quantiles)?;
                f.write_char(')')
            }
            Self::Compare(selection, numbers) => {
                write!(f, "compare({}", SpansetExpr::Filter(selection.clone()))?;
                for n in numbers {
                    write!(f, ", {n}")?;
                }
                f.write_char(')')
            }
        }
    }
}
