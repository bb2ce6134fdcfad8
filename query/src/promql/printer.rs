//! Expressions back to text: in one line, and in Prometheus' layout for long ones.
use super::ast::{At, Cardinality, DurationExpr, Expr, Matching, Selector, Shift};
use super::numbers::{format_duration_ms, format_general, format_number, quote};
use super::parser::METRIC_NAME;

/// Longest line in bytes before an expression is split.
const LINE_MAX: usize = 100;

/// The expression in one line.
pub(super) fn line(expr: &Expr) -> String {
    match expr {
        Expr::Number { value, unit: true, .. } => signed_duration(*value),
        Expr::Number { value, .. } => format_number(*value),
        Expr::String { value, .. } => quote(value),
        Expr::Vector(selector) => selector_text(selector, None),
        Expr::Matrix { selector, range, .. } => selector_text(selector, Some(range)),
        Expr::Subquery { expr, range, step, shift, .. } => {
            format!("{}{}", line(expr), subquery_suffix(range, step.as_ref(), shift))
        }
        Expr::Unary { negative, expr, .. } => format!("{}{}", sign(*negative), line(expr)),
        Expr::Paren { expr, .. } => format!("({})", line(expr)),
        Expr::Binary { lhs, rhs, .. } => format!("{} {} {}", line(lhs), operator(expr), line(rhs)),
        Expr::Aggregate { expr: inner, param, .. } => {
            let param = param.as_ref().map_or(String::new(), |p| format!("{}, ", line(p)));
            format!("{}({param}{})", aggregate_head(expr), line(inner))
        }
        Expr::Call { function, args, .. } => {
            format!("{}({})", function.name, args.iter().map(line).collect::<Vec<_>>().join(", "))
        }
    }
}

/// The expression in Prometheus' layout: whatever is longer than a line is split and indented.
pub(super) fn pretty(expr: &Expr) -> String {
    indented(expr, 0)
}

fn indented(expr: &Expr, level: usize) -> String {
    let pad = "  ".repeat(level);
    let whole = line(expr);
    if let Expr::Unary { negative, expr, .. } = expr {
        return format!("{pad}{}{}", sign(*negative), indented(expr, level).trim());
    }
    if whole.len() <= LINE_MAX {
        let own_pad = if matches!(expr, Expr::Subquery { .. }) { "" } else { &pad };
        return format!("{own_pad}{whole}");
    }
    match expr {
        Expr::Aggregate { expr: inner, param, .. } => {
            let param = param.as_ref().map_or(String::new(), |p| format!("{},\n", indented(p, level + 1)));
            format!("{pad}{}(\n{param}{}\n{pad})", aggregate_head(expr), indented(inner, level + 1))
        }
        Expr::Binary { lhs, rhs, .. } => {
            format!("{}\n{pad}{}\n{}", indented(lhs, level + 1), operator(expr), indented(rhs, level + 1))
        }
        Expr::Call { function, args, .. } => {
            let args: Vec<String> = args.iter().map(|a| indented(a, level + 1)).collect();
            format!("{pad}{}(\n{}\n{pad})", function.name, args.join(",\n"))
        }
        Expr::Paren { expr, .. } => format!("{pad}(\n{}\n{pad})", indented(expr, level + 1)),
        Expr::Subquery { expr, range, step, shift, .. } => {
            format!("{}{}", indented(expr, level), subquery_suffix(range, step.as_ref(), shift))
        }
        Expr::Number { .. } | Expr::String { .. } | Expr::Vector(_) | Expr::Matrix { .. } | Expr::Unary { .. } => {
            format!("{pad}{whole}")
        }
    }
}

fn sign(negative: bool) -> char {
    if negative { '-' } else { '+' }
}

fn signed_duration(seconds: f64) -> String {
    let text = format_duration_ms((seconds.abs() * 1000.0).round() as u64);
    if seconds < 0.0 { format!("-{text}") } else { text }
}

fn label_list(labels: &[String]) -> String {
    let is_plain = |l: &str| {
        !l.is_empty() && !l.as_bytes()[0].is_ascii_digit() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    labels.iter().map(|l| if is_plain(l) { l.clone() } else { quote(l) }).collect::<Vec<_>>().join(", ")
}

fn aggregate_head(expr: &Expr) -> String {
    let Expr::Aggregate { op, grouping, without, .. } = expr else { return String::new() };
    match (without, grouping.is_empty()) {
        (true, _) => format!("{} without ({}) ", op.as_str(), label_list(grouping)),
        (false, false) => format!("{} by ({}) ", op.as_str(), label_list(grouping)),
        (false, true) => op.as_str().to_owned(),
    }
}

fn operator(expr: &Expr) -> String {
    let Expr::Binary { op, is_bool, matching, .. } = expr else { return String::new() };
    let bool_text = if *is_bool { " bool" } else { "" };
    format!("{}{bool_text}{}", op.as_str(), matching.as_ref().map_or(String::new(), matching_text))
}

fn matching_text(m: &Matching) -> String {
    let mut out = String::new();
    let side = match m.cardinality {
        Cardinality::ManyToOne => Some("left"),
        Cardinality::OneToMany => Some("right"),
        Cardinality::OneToOne | Cardinality::ManyToMany => None,
    };
    if !m.labels.is_empty() || m.on || side.is_some() {
        out.push_str(if m.on { " on (" } else { " ignoring (" });
        out.push_str(&label_list(&m.labels));
        out.push(')');
    }
    if let Some(side) = side {
        out.push_str(&format!(" group_{side} ({})", label_list(&m.include)));
    }
    match (m.fill_left, m.fill_right) {
        (Some(l), Some(r)) if l.to_bits() == r.to_bits() => out.push_str(&format!(" fill ({})", format_general(l))),
        (l, r) => {
            for (name, value) in [("left", l), ("right", r)] {
                if let Some(value) = value {
                    out.push_str(&format!(" fill_{name} ({})", format_general(value)));
                }
            }
        }
    }
    out
}

fn selector_text(s: &Selector, range: Option<&DurationExpr>) -> String {
    let mut out = s.name.clone().unwrap_or_default();
    let mut matchers: Vec<String> = s
        .matchers
        .iter()
        .filter(|m| s.name.is_none() || m.name != METRIC_NAME || s.name.as_ref() != Some(&m.value))
        .map(|m| format!("{}{}{}", label_list(std::slice::from_ref(&m.name)), m.op.as_str(), quote(&m.value)))
        .collect();
    matchers.sort();
    if !matchers.is_empty() || out.is_empty() {
        out.push_str(&format!("{{{}}}", matchers.join(",")));
    }
    if let Some(range) = range {
        out.push_str(&format!("[{}]", top_duration(range)));
    }
    let extension = match (s.anchored, s.smoothed) {
        (true, _) => " anchored",
        (_, true) => " smoothed",
        _ => "",
    };
    let (at, offset) = shift_text(&s.shift);
    if range.is_some() { out + extension + &at + &offset } else { out + &at + extension + &offset }
}

fn subquery_suffix(range: &DurationExpr, step: Option<&DurationExpr>, shift: &Shift) -> String {
    let (at, offset) = shift_text(shift);
    format!("[{}:{}]{at}{offset}", top_duration(range), step.map_or(String::new(), top_duration))
}

fn shift_text(shift: &Shift) -> (String, String) {
    let at = match shift.at {
        Some(At::Time(ms)) => format!(" @ {:.3}", ms as f64 / 1000.0),
        Some(At::Start) => " @ start()".to_owned(),
        Some(At::End) => " @ end()".to_owned(),
        None => String::new(),
    };
    let offset = match &shift.offset {
        None => String::new(),
        Some(DurationExpr::Literal { seconds, .. }) if *seconds == 0.0 => String::new(),
        Some(offset) => format!(" offset {}", top_duration(offset)),
    };
    (at, offset)
}

/// A literal that stands alone is printed with units however it was written.
fn top_duration(duration: &DurationExpr) -> String {
    match duration {
        DurationExpr::Literal { seconds, .. } => signed_duration(*seconds),
        other => duration_text(other),
    }
}

fn duration_text(duration: &DurationExpr) -> String {
    match duration {
        DurationExpr::Literal { seconds, unit: true } => signed_duration(*seconds),
        DurationExpr::Literal { seconds, .. } => format_number(*seconds),
        DurationExpr::Step => "step()".to_owned(),
        DurationExpr::Range => "range()".to_owned(),
        DurationExpr::Neg(inner) => format!("-{}", duration_text(inner)),
        DurationExpr::Binary(op, a, b) => format!("{} {} {}", duration_text(a), op.as_str(), duration_text(b)),
        DurationExpr::MinOf(a, b) => format!("min_of({}, {})", duration_text(a), duration_text(b)),
        DurationExpr::MaxOf(a, b) => format!("max_of({}, {})", duration_text(a), duration_text(b)),
        DurationExpr::Paren(inner) => format!("({})", duration_text(inner)),
    }
}
