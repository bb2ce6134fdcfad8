//! The part of Go templates that `line_format` and `label_format` evaluate: fields, literals, pipes, functions on text and
//! `if`. Loops, variables, nested calls and other functions are refused by name.
use std::iter::Peekable;
use std::vec::IntoIter;

use super::EntryLabels;
use crate::error::{Error, Result};
use crate::memory::{Charge, Exceeded};

/// A parsed template.
#[derive(Debug)]
pub(super) struct Template(Vec<Node>);

#[derive(Debug)]
enum Node {
    Text(String),
    /// Calls joined by pipes: each gets the one before as its last argument.
    Pipe(Vec<Call>),
    If {
        condition: Vec<Call>,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
}

/// What a pipe gives.
enum Given {
    Text(String),
    Truth(bool),
}

impl Given {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Truth(truth) => truth.to_string(),
        }
    }

    /// As Go's `if` takes it: text is true unless it is empty.
    fn is_true(&self) -> bool {
        match self {
            Self::Text(text) => !text.is_empty(),
            Self::Truth(truth) => *truth,
        }
    }
}

/// A piece of a template's text.
enum Piece {
    Text(String),
    Action(String),
}

#[derive(Debug)]
enum Call {
    Value(Operand),
    Function(Function, Vec<Operand>),
}

#[derive(Debug)]
enum Operand {
    Field(String),
    Text(String),
    Line,
    TimestampNs,
}

#[derive(Clone, Copy, Debug)]
enum Function {
    Lower,
    Upper,
    Title,
    TrimSpace,
    Trim,
    TrimAll,
    TrimPrefix,
    TrimSuffix,
    Replace,
    Trunc,
    Substr,
    Default,
    Repeat,
    UnixEpochNanos,
    UnixEpochMillis,
    UnixEpoch,
    Contains,
    HasPrefix,
    HasSuffix,
    Eq,
    Ne,
}

impl Function {
    /// The function and how many arguments it takes, a piped one included.
    fn from_name(name: &str) -> Option<(Self, usize)> {
        Some(match name {
            "lower" | "ToLower" => (Self::Lower, 1),
            "upper" | "ToUpper" => (Self::Upper, 1),
            "title" => (Self::Title, 1),
            "trim" | "TrimSpace" => (Self::TrimSpace, 1),
            "Trim" => (Self::Trim, 2),
            "trimAll" => (Self::TrimAll, 2),
            "trimPrefix" => (Self::TrimPrefix, 2),
            "trimSuffix" => (Self::TrimSuffix, 2),
            "replace" => (Self::Replace, 3),
            "trunc" => (Self::Trunc, 2),
            "substr" => (Self::Substr, 3),
            "default" => (Self::Default, 2),
            "repeat" => (Self::Repeat, 2),
            "unixEpochNanos" => (Self::UnixEpochNanos, 1),
            "unixEpochMillis" => (Self::UnixEpochMillis, 1),
            "unixEpoch" => (Self::UnixEpoch, 1),
            "contains" => (Self::Contains, 2),
            "hasPrefix" => (Self::HasPrefix, 2),
            "hasSuffix" => (Self::HasSuffix, 2),
            "eq" => (Self::Eq, 2),
            "ne" => (Self::Ne, 2),
            _ => return None,
        })
    }

    /// Applies the function; arguments are in the order of the call, the piped one last.
    fn apply(self, args: &[String]) -> Given {
        let last = args.last().map_or("", String::as_str);
        let first = args.first().map_or("", String::as_str);
        match self {
            Self::Contains => Given::Truth(last.contains(first)),
            Self::HasPrefix => Given::Truth(last.starts_with(first)),
            Self::HasSuffix => Given::Truth(last.ends_with(first)),
            Self::Eq => Given::Truth(first == last),
            Self::Ne => Given::Truth(first != last),
            _ => Given::Text(self.apply_to_text(args)),
        }
    }

    fn apply_to_text(self, args: &[String]) -> String {
        let last = args.last().map_or("", String::as_str);
        let first = args.first().map_or("", String::as_str);
        let second = args.get(1).map_or("", String::as_str);
        match self {
            Self::Lower => last.to_lowercase(),
            Self::Upper => last.to_uppercase(),
            Self::Title => title(last),
            Self::TrimSpace => last.trim().to_owned(),
            // The deprecated form takes the text first.
            Self::Trim => first.trim_matches(|c| second.contains(c)).to_owned(),
            Self::TrimAll => last.trim_matches(|c| first.contains(c)).to_owned(),
            Self::TrimPrefix => last.strip_prefix(first).unwrap_or(last).to_owned(),
            Self::TrimSuffix => last.strip_suffix(first).unwrap_or(last).to_owned(),
            Self::Replace => replace(last, first, second),
            Self::Trunc => trunc(first.parse().unwrap_or(0), last),
            Self::Substr => substr(first.parse().unwrap_or(0), second.parse().unwrap_or(0), last),
            Self::Default => (if last.is_empty() { first } else { last }).to_owned(),
            Self::Repeat => last.repeat(first.parse::<usize>().unwrap_or(0).min(REPEAT_MAX / last.len().max(1))),
            Self::UnixEpochNanos => last.to_owned(),
            Self::UnixEpochMillis => (last.parse::<i64>().unwrap_or(0) / 1_000_000).to_string(),
            Self::UnixEpoch => (last.parse::<i64>().unwrap_or(0) / 1_000_000_000).to_string(),
            // These give a truth and never come here.
            Self::Contains | Self::HasPrefix | Self::HasSuffix | Self::Eq | Self::Ne => String::new(),
        }
    }
}

/// Deepest nesting of `if`.
const DEPTH_MAX: usize = 64;
/// `text` with every `from` replaced; left as it is where the result would be longer than [`REPEAT_MAX`], since replacements
/// in a chain multiply.
fn replace(text: &str, from: &str, to: &str) -> String {
    let grows = to.len().saturating_sub(from.len());
    let longest = text.matches(from).count().saturating_mul(grows).saturating_add(text.len());
    if longest > REPEAT_MAX.max(text.len()) { text.to_owned() } else { text.replace(from, to) }
}

/// Longest text that `repeat` and `replace` make, in bytes.
const REPEAT_MAX: usize = 1 << 20;

fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .flat_map(|c| {
            let upper = start;
            start = !(c.is_alphanumeric() || c == '_');
            if upper { c.to_uppercase().collect::<Vec<_>>() } else { vec![c] }
        })
        .collect()
}

/// The first `count` bytes, or the last for a negative count, cut at characters.
fn trunc(count: i64, text: &str) -> String {
    let n = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if n >= text.len() {
        return text.to_owned();
    }
    if count < 0 {
        let from = text.ceil_char_boundary(text.len() - n);
        return text[from..].to_owned();
    }
    text[..text.floor_char_boundary(n)].to_owned()
}

/// Bytes `start..end`, cut at characters; a negative start means 0, a negative or small end means the text's end.
fn substr(start: i64, end: i64, text: &str) -> String {
    let from = usize::try_from(start).unwrap_or(0).min(text.len());
    let to = usize::try_from(end).ok().filter(|e| *e <= text.len()).unwrap_or(text.len());
    let (from, to) = (text.ceil_char_boundary(from), text.floor_char_boundary(to));
    text.get(from..to).unwrap_or("").to_owned()
}

impl Template {
    /// Fails with [`Error::Unsupported`] for what is not evaluated.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut pieces = pieces(text)?.into_iter().peekable();
        let nodes = parse_nodes(text, &mut pieces, 0)?;
        match pieces.next() {
            None => Ok(Self(nodes)),
            Some(_) => Err(broken(text, "unexpected {{end}} or {{else}}")),
        }
    }

    /// Names of the labels that the template reads.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        let mut out = Vec::new();
        fields_of(&self.0, &mut out);
        out.into_iter()
    }

    /// The text, charged to the labels' account while it grows.
    pub(super) fn render(
        &self,
        line: &str,
        labels: &EntryLabels,
        time_ns: i64,
    ) -> std::result::Result<String, Exceeded> {
        let mut held = labels.memory().charge(line.len() as u64)?;
        let mut out = String::with_capacity(line.len());
        Renderer { line, labels, time_ns }.nodes(&self.0, &mut out, &mut held)?;
        Ok(out)
    }
}

fn fields_of<'n>(nodes: &'n [Node], out: &mut Vec<&'n str>) {
    let of_calls = |calls: &'n [Call], out: &mut Vec<&'n str>| {
        for call in calls {
            let operands = match call {
                Call::Value(operand) => std::slice::from_ref(operand),
                Call::Function(_, operands) => operands.as_slice(),
            };
            out.extend(operands.iter().filter_map(|o| if let Operand::Field(n) = o { Some(n.as_str()) } else { None }));
        }
    };
    for node in nodes {
        match node {
            Node::Text(_) => {}
            Node::Pipe(calls) => of_calls(calls, out),
            Node::If { condition, then, otherwise } => {
                of_calls(condition, out);
                fields_of(then, out);
                fields_of(otherwise, out);
            }
        }
    }
}

struct Renderer<'r> {
    line: &'r str,
    labels: &'r EntryLabels,
    time_ns: i64,
}

impl Renderer<'_> {
    fn nodes(&self, nodes: &[Node], out: &mut String, held: &mut Charge) -> std::result::Result<(), Exceeded> {
        let push = |text: &str, out: &mut String, held: &mut Charge| -> std::result::Result<(), Exceeded> {
            // Growing doubles what the text has room for.
            if out.len() + text.len() > out.capacity() {
                held.set(2 * (out.len() + text.len()) as u64)?;
            }
            out.push_str(text);
            Ok(())
        };
        for node in nodes {
            match node {
                Node::Text(text) => push(text, out, held)?,
                Node::Pipe(calls) => push(&self.pipe(calls).text(), out, held)?,
                Node::If { condition, then, otherwise } => {
                    let branch = if self.pipe(condition).is_true() { then } else { otherwise };
                    self.nodes(branch, out, held)?;
                }
            }
        }
        Ok(())
    }

    fn pipe(&self, calls: &[Call]) -> Given {
        let mut piped: Option<Given> = None;
        for call in calls {
            piped = Some(match call {
                Call::Value(operand) => Given::Text(self.value(operand)),
                Call::Function(function, operands) => {
                    let args = operands.iter().map(|o| self.value(o)).chain(piped.map(Given::text));
                    function.apply(&args.collect::<Vec<_>>())
                }
            });
        }
        piped.unwrap_or(Given::Text(String::new()))
    }

    fn value(&self, operand: &Operand) -> String {
        match operand {
            Operand::Field(name) => self.labels.get(name).unwrap_or("").to_owned(),
            Operand::Text(text) => text.clone(),
            Operand::Line => self.line.to_owned(),
            Operand::TimestampNs => self.time_ns.to_string(),
        }
    }
}

/// Splits a template into text and actions; trim markers have done their work, comments are gone.
fn pieces(text: &str) -> Result<Vec<Piece>> {
    let mut out = Vec::new();
    let mut rest = text;
    let mut trim_next = false;
    while let Some(open) = rest.find("{{") {
        let inner = &rest[open + 2..];
        let close = closing(inner).ok_or_else(|| broken(text, "unclosed action"))?;
        let mut before = &rest[..open];
        if trim_next {
            before = before.trim_start();
        }
        let mut action = &inner[..close];
        if let Some(stripped) = action.strip_prefix("- ") {
            action = stripped;
            before = before.trim_end();
        }
        trim_next = action.ends_with(" -");
        action = action.strip_suffix(" -").unwrap_or(action).trim();
        if !before.is_empty() {
            out.push(Piece::Text(before.to_owned()));
        }
        if !action.starts_with("/*") {
            out.push(Piece::Action(action.to_owned()));
        }
        rest = &inner[close + 2..];
    }
    let rest = if trim_next { rest.trim_start() } else { rest };
    if !rest.is_empty() {
        out.push(Piece::Text(rest.to_owned()));
    }
    Ok(out)
}

/// Nodes up to an `else`, an `end` or the end of the template.
fn parse_nodes(text: &str, pieces: &mut Peekable<IntoIter<Piece>>, depth: usize) -> Result<Vec<Node>> {
    if depth > DEPTH_MAX {
        return Err(broken(text, "nesting is too deep"));
    }
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next_if(|p| !matches!(p, Piece::Action(a) if is_closing(a))) {
        nodes.push(match piece {
            Piece::Text(text) => Node::Text(text),
            Piece::Action(action) => match keyword_rest(&action, "if") {
                Some(condition) => parse_if(text, condition, pieces, depth)?,
                None => Node::Pipe(parse_pipe(text, &action)?),
            },
        });
    }
    Ok(nodes)
}

/// Whether the action ends the nodes before it.
fn is_closing(action: &str) -> bool {
    action == "end" || action == "else" || keyword_rest(action, "else").is_some()
}

/// What follows `keyword` in an action that begins with it.
fn keyword_rest<'a>(action: &'a str, keyword: &str) -> Option<&'a str> {
    action.strip_prefix(keyword).filter(|rest| rest.starts_with(char::is_whitespace)).map(str::trim)
}

/// The rest of an `if` after its condition; `else if` is an `if` in the other branch that shares its `end`.
fn parse_if(text: &str, condition: &str, pieces: &mut Peekable<IntoIter<Piece>>, depth: usize) -> Result<Node> {
    let condition = parse_pipe(text, condition)?;
    let then = parse_nodes(text, pieces, depth + 1)?;
    let Some(Piece::Action(closing)) = pieces.next() else {
        return Err(broken(text, "if without end"));
    };
    if closing == "end" {
        return Ok(Node::If { condition, then, otherwise: Vec::new() });
    }
    let otherwise = match closing.strip_prefix("else").map(str::trim).filter(|rest| !rest.is_empty()) {
        Some(nested) => {
            let condition = keyword_rest(nested, "if").ok_or_else(|| broken(text, "unexpected word after else"))?;
            if depth > DEPTH_MAX {
                return Err(broken(text, "nesting is too deep"));
            }
            vec![parse_if(text, condition, pieces, depth + 1)?]
        }
        None => {
            let nodes = parse_nodes(text, pieces, depth + 1)?;
            match pieces.next() {
                Some(Piece::Action(end)) if end == "end" => nodes,
                _ => return Err(broken(text, "if without end")),
            }
        }
    };
    Ok(Node::If { condition, then, otherwise })
}

/// Where the action ends: the first `}}` outside a string.
fn closing(inner: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (i, c) in inner.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None if inner[i..].starts_with("}}") => return Some(i),
            None => {}
        }
    }
    None
}

fn broken(text: &str, why: &str) -> Error {
    Error::Parse { message: format!("parse error : invalid template {text:?}: {why}") }
}

fn unsupported(what: &str) -> Error {
    Error::Unsupported { what: format!("template {what}") }
}

fn parse_pipe(template: &str, action: &str) -> Result<Vec<Call>> {
    let mut calls = Vec::new();
    let mut words = words(template, action)?.into_iter().peekable();
    while words.peek().is_some() {
        let mut call: Vec<String> = Vec::new();
        for word in words.by_ref() {
            if word == "|" {
                break;
            }
            call.push(word);
        }
        calls.push(parse_call(template, &call, !calls.is_empty())?);
    }
    if calls.is_empty() { Err(broken(template, "missing value for command")) } else { Ok(calls) }
}

fn parse_call(template: &str, words: &[String], piped: bool) -> Result<Call> {
    let Some((head, args)) = words.split_first() else {
        return Err(broken(template, "missing value for command"));
    };
    if let Some((function, arity)) = Function::from_name(head) {
        let operands = args.iter().map(|w| operand(template, w)).collect::<Result<Vec<_>>>()?;
        if operands.len() + usize::from(piped) != arity {
            return Err(unsupported(&format!(
                "function {head} with {} arguments",
                operands.len() + usize::from(piped)
            )));
        }
        return Ok(Call::Function(function, operands));
    }
    if piped || !args.is_empty() {
        return Err(unsupported(&format!("expression {:?}", words.join(" "))));
    }
    operand(template, head).map(Call::Value)
}

fn operand(template: &str, word: &str) -> Result<Operand> {
    if word == "__line__" {
        return Ok(Operand::Line);
    }
    if word == "__timestamp__" {
        return Ok(Operand::TimestampNs);
    }
    if let Some(quoted) = word.strip_prefix('"').and_then(|w| w.strip_suffix('"')) {
        let text = super::super::units::unquote(quoted).ok_or_else(|| broken(template, "invalid string"))?;
        return Ok(Operand::Text(text));
    }
    if let Some(raw) = word.strip_prefix('`').and_then(|w| w.strip_suffix('`')) {
        return Ok(Operand::Text(raw.to_owned()));
    }
    if word.parse::<i64>().is_ok() {
        return Ok(Operand::Text(word.to_owned()));
    }
    match word.strip_prefix('.') {
        Some(name) if !name.is_empty() && name.chars().all(|c| c == '_' || c.is_alphanumeric()) => {
            Ok(Operand::Field(name.to_owned()))
        }
        _ => Err(unsupported(&format!("word {word:?}"))),
    }
}

/// Splits an action at blanks and pipes, keeping strings whole.
fn words(template: &str, action: &str) -> Result<Vec<String>> {
    let mut out = Vec::new();
    let mut rest = action.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '|' => 1,
            '"' | '`' => string_end(rest, first).ok_or_else(|| broken(template, "unterminated string"))?,
            _ => rest.find(|c: char| c.is_whitespace() || c == '|').unwrap_or(rest.len()),
        };
        out.push(rest[..end].to_owned());
        rest = rest[end..].trim_start();
    }
    Ok(out)
}

fn string_end(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return Some(i + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod bounds {
    use super::*;

    #[test]
    fn chained_replacements_do_not_multiply_without_bound() {
        let mut text = "a".repeat(20_000);
        for _ in 0..8 {
            text = replace(&text, "a", &"a".repeat(30));
        }
        assert!(text.len() <= REPEAT_MAX, "{}", text.len());
        assert_eq!(replace("a-b-c", "-", "+"), "a+b+c");
        assert_eq!(replace("ab", "", "x"), "xaxbx");
    }
}
