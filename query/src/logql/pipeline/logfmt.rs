//! Reads `key=value key="quoted value"` lines.
use super::super::units::unquote;
use super::labels::push_sanitized;
use super::{EntryLabels, Wanted};

const LOGFMT_ERROR: &str = "LogfmtParserErr";

/// What the scanner met.
enum Item<'a> {
    Pair {
        key: &'a str,
        value: Value<'a>,
    },
    /// A token that is no pair, with the reason.
    Broken(&'static str),
}

#[derive(Clone, Copy)]
enum Value<'a> {
    Plain(&'a str),
    /// Between the quotes, escapes unresolved.
    Quoted(&'a str),
}

impl Value<'_> {
    /// The value with its escapes resolved, or `None` when one is not known.
    fn text(self) -> Option<String> {
        match self {
            Self::Plain(text) => Some(text.to_owned()),
            Self::Quoted(text) => unquote(text),
        }
    }

    fn is_empty(self) -> bool {
        match self {
            Self::Plain(text) | Self::Quoted(text) => text.is_empty(),
        }
    }
}

struct Scanner<'a> {
    rest: &'a str,
}

fn is_blank(c: char) -> bool {
    c <= ' '
}

impl<'a> Scanner<'a> {
    fn skip_token(&mut self) {
        let end = self.rest.find(is_blank).unwrap_or(self.rest.len());
        self.rest = &self.rest[end..];
    }

    fn broken(&mut self, why: &'static str) -> Option<Item<'a>> {
        self.skip_token();
        Some(Item::Broken(why))
    }

    fn next(&mut self) -> Option<Item<'a>> {
        self.rest = self.rest.trim_start_matches(is_blank);
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.find(|c| is_blank(c) || c == '=' || c == '"').unwrap_or(self.rest.len());
        let key = &self.rest[..end];
        match self.rest[end..].chars().next() {
            Some('=') if key.is_empty() => self.broken("unexpected '='"),
            Some('"') => self.broken("unexpected '\"'"),
            Some('=') => {
                self.rest = &self.rest[end + 1..];
                self.value(key)
            }
            _ => {
                self.rest = &self.rest[end..];
                Some(Item::Pair { key, value: Value::Plain("") })
            }
        }
    }

    fn value(&mut self, key: &'a str) -> Option<Item<'a>> {
        if let Some(inner) = self.rest.strip_prefix('"') {
            let mut escaped = false;
            for (i, c) in inner.char_indices() {
                match c {
                    _ if escaped => escaped = false,
                    '\\' => escaped = true,
                    '"' => {
                        self.rest = &inner[i + 1..];
                        return Some(Item::Pair { key, value: Value::Quoted(&inner[..i]) });
                    }
                    _ => {}
                }
            }
            self.rest = "";
            return Some(Item::Broken("unterminated quoted value"));
        }
        let end = self.rest.find(is_blank).unwrap_or(self.rest.len());
        let value = &self.rest[..end];
        self.rest = &self.rest[end..];
        if value.contains(['"', '=']) {
            return Some(Item::Broken("unexpected '=' or '\"' in a value"));
        }
        Some(Item::Pair { key, value: Value::Plain(value) })
    }
}

/// `| logfmt`: a label for every pair that is wanted.
pub(super) fn extract_all(line: &str, strict: bool, keep_empty: bool, wanted: &Wanted, labels: &mut EntryLabels) {
    let mut scanner = Scanner { rest: line };
    let mut name = String::new();
    while let Some(item) = scanner.next() {
        let (key, value) = match item {
            Item::Pair { key, value } => (key, value),
            Item::Broken(why) if strict => {
                labels.set_error(LOGFMT_ERROR, why);
                return;
            }
            Item::Broken(_) => continue,
        };
        name.clear();
        push_sanitized(&mut name, key);
        if (value.is_empty() && !keep_empty) || !wanted.has(&name) {
            continue;
        }
        match value {
            Value::Plain(text) => labels.set_extracted(&name, text),
            Value::Quoted(_) => match value.text() {
                Some(text) => labels.set_extracted(&name, &text),
                None if strict => {
                    labels.set_error(LOGFMT_ERROR, "invalid quoted value");
                    return;
                }
                None => {}
            },
        }
    }
}

/// `| logfmt a="key"`: a label for every expression; empty when the key is absent.
pub(super) fn extract_fields(line: &str, strict: bool, fields: &[(String, String)], labels: &mut EntryLabels) {
    let mut found: Vec<Option<String>> = vec![None; fields.len()];
    let mut scanner = Scanner { rest: line };
    while let Some(item) = scanner.next() {
        match item {
            Item::Pair { key, value } => {
                for ((_, wanted), slot) in fields.iter().zip(&mut found) {
                    if wanted == key && slot.is_none() {
                        *slot = value.text();
                    }
                }
            }
            Item::Broken(why) if strict => {
                labels.set_error(LOGFMT_ERROR, why);
                return;
            }
            Item::Broken(_) => {}
        }
    }
    for ((label, _), value) in fields.iter().zip(found) {
        labels.set_extracted(label, value.as_deref().unwrap_or(""));
    }
}
