//! Patterns of literals and captures: `<method> <_> (<status>)`.
use super::{EntryLabels, Wanted};
use crate::error::{Error, Result};

#[derive(Debug)]
enum Node {
    Literal(String),
    /// A capture; `None` for `<_>`.
    Capture(Option<String>),
}

#[derive(Debug)]
pub(super) struct Pattern(Vec<Node>);

impl Pattern {
    /// The pattern of `| pattern`: at least one named capture.
    pub(super) fn captures(text: &str) -> Result<Self> {
        let pattern = Self::parse(text)?;
        let mut names: Vec<&str> = pattern
            .0
            .iter()
            .filter_map(|n| match n {
                Node::Capture(Some(name)) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        if names.is_empty() {
            return Err(invalid(text, "at least one capture is required"));
        }
        names.sort_unstable();
        if names.windows(2).any(|w| w[0] == w[1]) {
            return Err(invalid(text, "duplicate capture name"));
        }
        Ok(pattern)
    }

    /// The pattern of `|>` and `!>`: only unnamed captures.
    pub(super) fn filter(text: &str) -> Result<Self> {
        let pattern = Self::parse(text)?;
        if pattern.0.iter().any(|n| matches!(n, Node::Capture(Some(_)))) {
            return Err(invalid(text, "named captures are not allowed"));
        }
        Ok(pattern)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut nodes: Vec<Node> = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some((name, after)) = capture(rest) {
                if matches!(nodes.last(), Some(Node::Capture(_))) {
                    return Err(invalid(text, "consecutive captures are not allowed"));
                }
                nodes.push(Node::Capture((name != "_").then(|| name.to_owned())));
                rest = after;
                continue;
            }
            // Everything up to the next capture is literal, other angle brackets included.
            let mut end = rest.chars().next().map_or(0, char::len_utf8);
            while end < rest.len() && capture(&rest[end..]).is_none() {
                end += rest[end..].chars().next().map_or(1, char::len_utf8);
            }
            nodes.push(Node::Literal(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        Ok(Self(nodes))
    }

    /// Sets a label for every named capture that was reached; the last one reached takes the rest of the line.
    pub(super) fn extract(&self, line: &str, wanted: &Wanted, labels: &mut EntryLabels) {
        let mut rest = line;
        let mut nodes = self.0.iter();
        if let Some(Node::Literal(first)) = self.0.first() {
            match rest.strip_prefix(first.as_str()) {
                Some(after) => rest = after,
                None => return,
            }
            nodes.next();
        }
        while let Some(Node::Capture(name)) = nodes.next() {
            let mut take = |value: &str| {
                if let Some(name) = name.as_deref().filter(|n| wanted.has(n)) {
                    labels.set_extracted(name, value);
                }
            };
            let Some(Node::Literal(literal)) = nodes.next() else {
                return take(rest);
            };
            match rest.find(literal.as_str()) {
                Some(at) => {
                    take(&rest[..at]);
                    rest = &rest[at + literal.len()..];
                }
                None => return take(rest),
            }
        }
    }

    /// Whether the pattern covers the whole line; captures take at least one byte.
    pub(super) fn matches_whole(&self, line: &str) -> bool {
        if line.is_empty() || self.0.is_empty() {
            return line.is_empty() && self.0.is_empty();
        }
        let mut at = 0;
        for (i, node) in self.0.iter().enumerate() {
            let Node::Literal(literal) = node else { continue };
            let Some(found) = line[at..].find(literal.as_str()) else { return false };
            if (i == 0) != (found == 0) {
                return false;
            }
            at += found + literal.len();
        }
        matches!(self.0.last(), Some(Node::Capture(_))) == (at < line.len())
    }
}

/// A capture at the start of `text`, and what follows it.
fn capture(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.strip_prefix('<')?.split_once('>')?;
    let mut chars = name.chars();
    let valid = chars.next().is_some_and(|c| c == '_' || c.is_ascii_alphabetic())
        && chars.all(|c| c == '_' || c.is_ascii_alphanumeric());
    valid.then_some((name, after))
}

fn invalid(text: &str, why: &str) -> Error {
    Error::Parse { message: format!("parse error : invalid pattern {text:?}: {why}") }
}
