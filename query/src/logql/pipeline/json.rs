//! Reads JSON lines without building them: one pass, nested objects flattened, arrays skipped, only wanted values copied.
use super::labels::push_sanitized;
use super::{EntryLabels, Wanted};
use crate::error::{Error, Result};

const JSON_ERROR: &str = "JSONParserErr";
/// Deepest nesting that is followed.
const DEPTH_MAX: usize = 128;

/// Why a line is not JSON.
type Broken = &'static str;

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

/// A value where it stands.
#[derive(Clone, Copy)]
enum Raw<'a> {
    /// Between the quotes, escapes unresolved.
    Str(&'a str),
    /// A number, `true` or `false`.
    Plain(&'a str),
    Null,
    Object(&'a str),
    Array(&'a str),
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.blanks();
        let found = self.byte() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// The text between the quotes; the opening quote is next.
    fn string(&mut self) -> std::result::Result<&'a str, Broken> {
        let start = self.at + 1;
        let mut i = start;
        loop {
            let rest = self.text.as_bytes().get(i..).ok_or("string is not terminated")?;
            let step = memchr::memchr2(b'"', b'\\', rest).ok_or("string is not terminated")?;
            i += step;
            if self.text.as_bytes()[i] == b'"' {
                break;
            }
            i += 2;
        }
        self.at = i + 1;
        self.text.get(start..i).ok_or("string is not terminated")
    }

    /// The next value, skipped over as a whole.
    fn value(&mut self) -> std::result::Result<Raw<'a>, Broken> {
        self.blanks();
        let start = self.at;
        match self.byte().ok_or("value is missing")? {
            b'"' => self.string().map(Raw::Str),
            open @ (b'{' | b'[') => {
                self.skip_nested()?;
                let text = &self.text[start..self.at];
                Ok(if open == b'{' { Raw::Object(text) } else { Raw::Array(text) })
            }
            _ => {
                while self.byte().is_some_and(|b| !matches!(b, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r')) {
                    self.at += 1;
                }
                plain(&self.text[start..self.at])
            }
        }
    }

    /// Moves past an object or array, minding strings; brackets must pair up.
    fn skip_nested(&mut self) -> std::result::Result<(), Broken> {
        let mut open: Vec<u8> = Vec::new();
        loop {
            match self.byte().ok_or("object or array is not closed")? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' => open.push(b'}'),
                b'[' => open.push(b']'),
                close @ (b'}' | b']') => {
                    if open.pop() != Some(close) {
                        return Err("brackets do not pair up");
                    }
                    if open.is_empty() {
                        self.at += 1;
                        return Ok(());
                    }
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    /// Calls `each` with key and value of every member of the object that is next.
    fn members(
        &mut self,
        each: &mut dyn FnMut(&'a str, Raw<'a>) -> std::result::Result<(), Broken>,
    ) -> std::result::Result<(), Broken> {
        if !self.eat(b'{') {
            return Err("expecting json object, but it is not");
        }
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            self.blanks();
            if self.byte() != Some(b'"') {
                return Err("object key is not a string");
            }
            let key = self.string()?;
            if !self.eat(b':') {
                return Err("object key without a value");
            }
            let value = self.value()?;
            each(key, value)?;
            if self.eat(b'}') {
                return Ok(());
            }
            if !self.eat(b',') {
                return Err("object is not closed");
            }
        }
    }
}

fn plain(text: &str) -> std::result::Result<Raw<'_>, Broken> {
    let numeric = |b: u8| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E');
    match text {
        "null" => Ok(Raw::Null),
        "true" | "false" => Ok(Raw::Plain(text)),
        "" => Err("value is missing"),
        number if number.bytes().all(numeric) && number.bytes().any(|b| b.is_ascii_digit()) => Ok(Raw::Plain(text)),
        _ => Err("unknown value type"),
    }
}

/// Resolves escapes into `out`; broken ones become the replacement character.
fn unescape(text: &str, out: &mut String) {
    out.clear();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let mut chars = rest[at + 1..].chars();
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let (c, used) = unicode_escape(chars.as_str());
                out.push(c);
                rest = &chars.as_str()[used..];
                continue;
            }
            Some(c) => out.push(c),
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
}

/// The character after `\u`, and how many bytes of `rest` it took; surrogate pairs take two escapes.
fn unicode_escape(rest: &str) -> (char, usize) {
    let unit = |from: usize| rest.get(from..from + 4).and_then(|h| u32::from_str_radix(h, 16).ok());
    let Some(first) = unit(0) else { return (char::REPLACEMENT_CHARACTER, 0) };
    if (0xd800..0xdc00).contains(&first)
        && rest.get(4..6) == Some("\\u")
        && let Some(second) = unit(6).filter(|s| (0xdc00..0xe000).contains(s))
    {
        let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 10);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 4)
}

/// `| json`: a label for every leaf that is wanted.
pub(super) fn extract_all(line: &str, wanted: &Wanted, labels: &mut EntryLabels) {
    let mut flatten = Flatten { wanted, labels, name: String::new(), text: String::new() };
    if let Err(broken) = flatten.object(line, 0) {
        labels.set_error(JSON_ERROR, broken);
    }
}

struct Flatten<'l> {
    wanted: &'l Wanted,
    labels: &'l mut EntryLabels,
    name: String,
    text: String,
}

impl Flatten<'_> {
    fn object(&mut self, text: &str, depth: usize) -> std::result::Result<(), Broken> {
        if depth > DEPTH_MAX {
            return Err("nesting is too deep");
        }
        let mut scanner = Scanner::new(text);
        scanner.members(&mut |key, value| {
            let prefix = self.name.len();
            if prefix > 0 {
                self.name.push('_');
            }
            if key.contains('\\') {
                let mut plain = String::new();
                unescape(key, &mut plain);
                push_sanitized(&mut self.name, &plain);
            } else {
                push_sanitized(&mut self.name, key);
            }
            let done = self.leaf(value, depth);
            self.name.truncate(prefix);
            done
        })
    }

    fn leaf(&mut self, value: Raw<'_>, depth: usize) -> std::result::Result<(), Broken> {
        if let Raw::Object(inner) = value {
            return self.object(inner, depth + 1);
        }
        if matches!(value, Raw::Array(_)) || !self.wanted.has(&self.name) {
            return Ok(());
        }
        match value {
            Raw::Str(text) => {
                unescape(text, &mut self.text);
                self.labels.set_extracted(&self.name, &self.text);
            }
            Raw::Plain(text) => self.labels.set_extracted(&self.name, text),
            Raw::Null | Raw::Object(_) | Raw::Array(_) => self.labels.set_extracted(&self.name, ""),
        }
        Ok(())
    }
}

/// A path into a JSON value: `a.b[0]["c d"]`.
#[derive(Debug)]
pub(super) struct JsonPath(Vec<Segment>);

#[derive(Debug)]
enum Segment {
    Key(String),
    Index(usize),
}

impl JsonPath {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let broken = || Error::Parse { message: format!("parse error : cannot parse expression [{text}]") };
        let mut segments = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix("[\"") {
                let (key, after) = inner.split_once("\"]").ok_or_else(broken)?;
                segments.push(Segment::Key(key.to_owned()));
                rest = after;
            } else if let Some(inner) = rest.strip_prefix('[') {
                let (index, after) = inner.split_once(']').ok_or_else(broken)?;
                segments.push(Segment::Index(index.parse().map_err(|_| broken())?));
                rest = after;
            } else {
                let key = if segments.is_empty() { rest } else { rest.strip_prefix('.').ok_or_else(broken)? };
                let end = key.find(['.', '[']).unwrap_or(key.len());
                if end == 0 {
                    return Err(broken());
                }
                segments.push(Segment::Key(key[..end].to_owned()));
                rest = &key[end..];
            }
        }
        if segments.is_empty() { Err(broken()) } else { Ok(Self(segments)) }
    }
}

/// `| json a="path"`: a label for every expression; empty when the path leads nowhere.
pub(super) fn extract_fields(line: &str, fields: &[(String, JsonPath)], labels: &mut EntryLabels) {
    let mut text = String::new();
    for (label, path) in fields {
        match lookup(line, &path.0) {
            Ok(Some(Raw::Str(raw))) => {
                unescape(raw, &mut text);
                labels.set_extracted(label, &text);
            }
            Ok(Some(Raw::Plain(raw) | Raw::Object(raw) | Raw::Array(raw))) => labels.set_extracted(label, raw),
            Ok(Some(Raw::Null) | None) => labels.set_extracted(label, ""),
            Err(broken) => {
                labels.set_error(JSON_ERROR, broken);
                return;
            }
        }
    }
}

fn lookup<'a>(line: &'a str, path: &[Segment]) -> std::result::Result<Option<Raw<'a>>, Broken> {
    let mut scanner = Scanner::new(line);
    let mut current = scanner.value()?;
    if !matches!(current, Raw::Object(_) | Raw::Array(_)) {
        return Err("expecting json object or array, but it is not");
    }
    for segment in path {
        let next = match (segment, current) {
            (Segment::Key(key), Raw::Object(text)) => member(text, key)?,
            (Segment::Index(index), Raw::Array(text)) => element(text, *index)?,
            _ => None,
        };
        match next {
            Some(value) => current = value,
            None => return Ok(None),
        }
    }
    Ok(Some(current))
}

fn member<'a>(object: &'a str, wanted: &str) -> std::result::Result<Option<Raw<'a>>, Broken> {
    let mut found = None;
    let mut plain = String::new();
    Scanner::new(object).members(&mut |key, value| {
        unescape(key, &mut plain);
        if found.is_none() && plain == wanted {
            found = Some(value);
        }
        Ok(())
    })?;
    Ok(found)
}

fn element(array: &str, index: usize) -> std::result::Result<Option<Raw<'_>>, Broken> {
    let mut scanner = Scanner::new(array);
    scanner.eat(b'[');
    if scanner.eat(b']') {
        return Ok(None);
    }
    for i in 0.. {
        let value = scanner.value()?;
        if i == index {
            return Ok(Some(value));
        }
        if !scanner.eat(b',') {
            break;
        }
    }
    Ok(None)
}

/// `| unpack`: labels from the strings of a flat object; returns what replaces the line.
pub(super) fn unpack(line: &str, labels: &mut EntryLabels) -> Option<String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let parsed = Scanner::new(line).members(&mut |key, value| {
        if let Raw::Str(raw) = value {
            let (mut name, mut text) = (String::new(), String::new());
            unescape(key, &mut name);
            unescape(raw, &mut text);
            pairs.push((name, text));
        }
        Ok(())
    });
    if let Err(broken) = parsed {
        labels.set_error(JSON_ERROR, broken);
        return None;
    }
    let mut entry = None;
    let mut name = String::new();
    for (key, value) in pairs {
        if key == "_entry" {
            entry = Some(value);
            continue;
        }
        name.clear();
        push_sanitized(&mut name, &key);
        labels.set_extracted(&name, &value);
    }
    entry
}
