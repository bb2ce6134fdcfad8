//! Values at run time: comparison and arithmetic over mixed types, where a mismatch is "no" and never an error.
use std::borrow::Cow;
use std::cmp::Ordering;

use trine_store::model::Value;

use crate::error::{Error, Result};
use crate::traceql::ast::{BinaryOp, Kind, Static, Status};
use crate::traceql::duration::format_go;

/// A value of a span's field or of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Val<'a> {
    /// Absent.
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Cow<'a, str>),
    /// Nanoseconds.
    Duration(i64),
    Status(Status),
    Kind(Kind),
    /// Elements of an array, or one value an event or link.
    List(Vec<Val<'a>>),
    /// There, but of a type that nothing compares with: bytes, maps.
    Other,
}

impl<'a> Val<'a> {
    pub(crate) fn from_static(value: &'a Static) -> Self {
        match value {
            Static::Nil => Self::Nil,
            Static::Bool(b) => Self::Bool(*b),
            Static::Int(i) => Self::Int(*i),
            Static::Float(f) => Self::Float(*f),
            Static::Str(s) => Self::Str(Cow::Borrowed(s)),
            Static::Duration(ns) => Self::Duration(*ns),
            Static::Status(s) => Self::Status(*s),
            Static::Kind(k) => Self::Kind(*k),
        }
    }

    pub(crate) fn from_value(value: &'a Value) -> Self {
        match value {
            Value::Str(s) => Self::Str(Cow::Borrowed(s)),
            Value::Bool(b) => Self::Bool(*b),
            Value::Int(i) => Self::Int(*i),
            Value::Double(d) => Self::Float(*d),
            Value::Array(items) => Self::List(items.iter().map(Self::from_value).collect()),
            Value::Bytes(_) | Value::Map(_) => Self::Other,
            Value::Empty => Self::Nil,
        }
    }

    /// As results show it: durations as Go strings, status and kind as words, nothing as "nil".
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Self::Nil => Value::Str("nil".to_owned()),
            Self::Bool(b) => Value::Bool(*b),
            Self::Int(i) => Value::Int(*i),
            Self::Float(f) => Value::Double(*f),
            Self::Str(s) => Value::Str(s.to_string()),
            Self::Duration(ns) => Value::Str(format_go(*ns)),
            Self::Status(s) => Value::Str(s.as_str().to_owned()),
            Self::Kind(k) => Value::Str(k.as_str().to_owned()),
            Self::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Self::Other => Value::Empty,
        }
    }

    pub(crate) fn is_true(&self) -> bool {
        *self == Self::Bool(true)
    }

    /// As a number; durations in ns.
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Self::Int(i) | Self::Duration(i) => Some(*i as f64),
            Self::Float(f) => Some(*f),
            _ => None,
        }
    }

    /// Key under which equal values of one type group.
    pub(crate) fn group_key(&self) -> String {
        format!("{self:?}")
    }
}

/// `None`: the types do not compare.
fn ordering(left: &Val<'_>, right: &Val<'_>) -> Option<Option<Ordering>> {
    match (left, right) {
        (Val::Int(a) | Val::Duration(a), Val::Int(b) | Val::Duration(b)) => Some(Some(a.cmp(b))),
        (Val::Str(a), Val::Str(b)) => Some(Some(a.cmp(b))),
        (Val::Bool(a), Val::Bool(b)) => Some(Some(a.cmp(b))),
        (Val::Status(a), Val::Status(b)) => Some(Some((*a as u8).cmp(&(*b as u8)))),
        (Val::Kind(a), Val::Kind(b)) => Some(Some((*a as u8).cmp(&(*b as u8)))),
        _ => Some(left.number()?.partial_cmp(&right.number()?)),
    }
}

/// Compares two values. Absent on either side is `false`, also for `!=`. A list satisfies `!=` when none of its elements
/// equals, and any other operator when one of them does.
pub(crate) fn compare(op: BinaryOp, left: &Val<'_>, right: &Val<'_>) -> bool {
    if !matches!(left, Val::List(_)) && !matches!(right, Val::List(_)) {
        return compare_one(op, left, right).unwrap_or(false);
    }
    let rights = elements(right);
    let mut results = elements(left).iter().flat_map(|l| rights.iter().filter_map(move |r| compare_one(op, l, r)));
    if op == BinaryOp::NotEq {
        results.next().is_some_and(|first| first && results.all(|r| r))
    } else {
        results.any(|r| r)
    }
}

/// Elements of a list, or the value itself.
fn elements<'v, 'a>(value: &'v Val<'a>) -> &'v [Val<'a>] {
    match value {
        Val::List(items) => items,
        value => std::slice::from_ref(value),
    }
}

/// `None` when the types do not compare.
fn compare_one(op: BinaryOp, left: &Val<'_>, right: &Val<'_>) -> Option<bool> {
    let order = ordering(left, right)?;
    let numeric = !matches!(left, Val::Bool(_) | Val::Status(_) | Val::Kind(_));
    match op {
        BinaryOp::Eq => Some(order == Some(Ordering::Equal)),
        BinaryOp::NotEq => Some(order != Some(Ordering::Equal)),
        _ if !numeric => None,
        BinaryOp::Less => Some(order == Some(Ordering::Less)),
        BinaryOp::LessEq => Some(matches!(order, Some(Ordering::Less | Ordering::Equal))),
        BinaryOp::Greater => Some(order == Some(Ordering::Greater)),
        BinaryOp::GreaterEq => Some(matches!(order, Some(Ordering::Greater | Ordering::Equal))),
        _ => None,
    }
}

/// Matches strings, or any string of a list; negated: strings of which none matches.
pub(crate) fn matches(value: &Val<'_>, regex: &regex::Regex, negated: bool) -> bool {
    match value {
        Val::Str(s) => regex.is_match(s) != negated,
        Val::List(items) => {
            let mut strings = items.iter().filter_map(|v| match v {
                Val::Str(s) => Some(regex.is_match(s)),
                _ => None,
            });
            if negated { strings.next().is_some_and(|first| !first && !strings.any(|m| m)) } else { strings.any(|m| m) }
        }
        _ => false,
    }
}

/// Arithmetic; [`Val::Nil`] when a side is no number. Dividing integers by zero is an error.
pub(crate) fn arithmetic<'a>(op: BinaryOp, left: &Val<'_>, right: &Val<'_>) -> Result<Val<'a>> {
    let whole = match (left, right) {
        (Val::Int(a), Val::Int(b)) => Some((*a, *b, false)),
        (Val::Int(a) | Val::Duration(a), Val::Int(b) | Val::Duration(b)) => Some((*a, *b, true)),
        _ => None,
    };
    if let Some((a, b, is_duration)) = whole {
        let value = integers(op, a, b)?;
        return Ok(if is_duration { Val::Duration(value) } else { Val::Int(value) });
    }
    let (Some(a), Some(b)) = (left.number(), right.number()) else { return Ok(Val::Nil) };
    Ok(Val::Float(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => a % b,
        BinaryOp::Pow => a.powf(b),
        _ => return Ok(Val::Nil),
    }))
}

fn integers(op: BinaryOp, a: i64, b: i64) -> Result<i64> {
    if b == 0 && matches!(op, BinaryOp::Div | BinaryOp::Mod) {
        return Err(Error::Execution { message: "integer division by zero".to_owned() });
    }
    Ok(match op {
        BinaryOp::Add => a.wrapping_add(b),
        BinaryOp::Sub => a.wrapping_sub(b),
        BinaryOp::Mul => a.wrapping_mul(b),
        BinaryOp::Div => a.wrapping_div(b),
        BinaryOp::Mod => a.wrapping_rem(b),
        // A float cast saturates.
        BinaryOp::Pow => (a as f64).powf(b as f64) as i64,
        _ => 0,
    })
}
