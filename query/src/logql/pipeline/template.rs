//! The part of Go templates that `line_format` and `label_format` evaluate: fields, literals, pipes and functions on text.
//! Control flow, variables and other functions are refused by name.
use super::EntryLabels;
use crate::error::{Error, Result};

/// A parsed template.
#[derive(Debug)]
pub(super) struct Template(Vec<Node>);

#[derive(Debug)]
enum Node {
    Text(String),
    /// Calls joined by pipes: each gets the one before as its last argument.
    Pipe(Vec<Call>),
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
            _ => return None,
        })
    }

    /// Applies the function; arguments are in the order of the call, the piped one last.
    fn apply(self, args: &[String]) -> String {
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
            Self::Replace => last.replace(first, second),
            Self::Trunc => trunc(first.parse().unwrap_or(0), last),
            Self::Substr => substr(first.parse().unwrap_or(0), second.parse().unwrap_or(0), last),
            Self::Default => (if last.is_empty() { first } else { last }).to_owned(),
            Self::Repeat => last.repeat(first.parse::<usize>().unwrap_or(0).min(REPEAT_MAX / last.len().max(1))),
            Self::UnixEpochNanos => last.to_owned(),
            Self::UnixEpochMillis => (last.parse::<i64>().unwrap_or(0) / 1_000_000).to_string(),
            Self::UnixEpoch => (last.parse::<i64>().unwrap_or(0) / 1_000_000_000).to_string(),
        }
    }
}

/// Longest text that `repeat` makes, in bytes.
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
        let mut nodes = Vec::new();
        let mut rest = text;
        let mut trim_next = false;
        while let Some(open) = rest.find("{{") {
            let inner = &rest[open + 2..];
            let close = closing(inner).ok_or_else(|| broken(text, "unclosed action"))?;
            let action = &inner[..close];
            let mut before = &rest[..open];
            if trim_next {
                before = before.trim_start();
            }
            let (action, trim_before) = match action.strip_prefix("- ") {
                Some(action) => (action, true),
                None => (action, false),
            };
            let (action, trim_after) = match action.strip_suffix(" -") {
                Some(action) => (action, true),
                None => (action, false),
            };
            if trim_before {
                before = before.trim_end();
            }
            if !before.is_empty() {
                nodes.push(Node::Text(before.to_owned()));
            }
            let action = action.trim();
            if !action.starts_with("/*") {
                nodes.push(Node::Pipe(parse_pipe(text, action)?));
            }
            trim_next = trim_after;
            rest = &inner[close + 2..];
        }
        let rest = if trim_next { rest.trim_start() } else { rest };
        if !rest.is_empty() {
            nodes.push(Node::Text(rest.to_owned()));
        }
        Ok(Self(nodes))
    }

    /// Names of the labels that the template reads.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|n| if let Node::Pipe(calls) = n { Some(calls) } else { None }).flatten().flat_map(
            |call| {
                let operands = match call {
                    Call::Value(operand) => std::slice::from_ref(operand),
                    Call::Function(_, operands) => operands.as_slice(),
                };
                operands.iter().filter_map(|o| if let Operand::Field(name) = o { Some(name.as_str()) } else { None })
            },
        )
    }

    pub(super) fn render(&self, line: &str, labels: &EntryLabels, time_ns: i64) -> String {
        let mut out = String::with_capacity(line.len());
        let value = |operand: &Operand| match operand {
            Operand::Field(name) => labels.get(name).unwrap_or("").to_owned(),
            Operand::Text(text) => text.clone(),
            Operand::Line => line.to_owned(),
            Operand::TimestampNs => time_ns.to_string(),
        };
        for node in &self.0 {
            match node {
                Node::Text(text) => out.push_str(text),
                Node::Pipe(calls) => {
                    let mut piped: Option<String> = None;
                    for call in calls {
                        piped = Some(match call {
                            Call::Value(operand) => value(operand),
                            Call::Function(function, operands) => {
                                let args: Vec<_> = operands.iter().map(&value).chain(piped).collect();
                                function.apply(&args)
                            }
                        });
                    }
                    out.push_str(&piped.unwrap_or_default());
                }
            }
        }
        out
    }
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
