//! `[…]`.
use super::Fault;
use super::escape::{Escape, INVALID_RANGE, character, put_literal};

const NAMES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// Appends the class that `text` begins with; gives what is behind it.
pub(super) fn translate<'a>(text: &'a str, out: &mut String) -> Result<&'a str, Fault<'a>> {
    let unclosed = ("missing closing ]", text);
    let mut rest = &text[1..];
    out.push('[');
    if let Some(behind) = rest.strip_prefix('^') {
        out.push('^');
        rest = behind;
    }
    let mut is_first = true;
    loop {
        let c = rest.chars().next().ok_or(unclosed)?;
        if c == ']' && !is_first {
            out.push(']');
            return Ok(&rest[1..]);
        }
        is_first = false;
        if let Some(behind) = named(rest, out)? {
            rest = behind;
            continue;
        }
        if is_class_escape(rest) {
            let (escape, behind) = Escape::read(rest)?;
            if let Escape::Class(class) = escape {
                out.push_str(&class);
            }
            rest = behind;
            continue;
        }
        rest = range(rest, unclosed, out)?;
    }
}

/// Whether it stands for a class of its own.
fn is_class_escape(text: &str) -> bool {
    text.strip_prefix('\\').is_some_and(|c| c.starts_with(['d', 'D', 's', 'S', 'w', 'W', 'p', 'P']))
}

/// `[:alpha:]` or `[:^alpha:]`.
fn named<'a>(text: &'a str, out: &mut String) -> Result<Option<&'a str>, Fault<'a>> {
    let Some((name, rest)) = text.strip_prefix("[:").and_then(|inside| inside.split_once(":]")) else {
        return Ok(None);
    };
    let whole = &text[..text.len() - rest.len()];
    if !NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
        return Err((INVALID_RANGE, whole));
    }
    out.push_str(whole);
    Ok(Some(rest))
}

/// A character, or two with a dash between.
fn range<'a>(text: &'a str, unclosed: Fault<'a>, out: &mut String) -> Result<&'a str, Fault<'a>> {
    let (low, mut rest) = one(text, unclosed)?;
    put_literal(low, out);
    let Some(high) = rest.strip_prefix('-').filter(|high| !high.is_empty() && !high.starts_with(']')) else {
        return Ok(rest);
    };
    let (high, behind) = one(high, unclosed)?;
    rest = behind;
    if high < low {
        return Err((INVALID_RANGE, &text[..text.len() - rest.len()]));
    }
    out.push('-');
    put_literal(high, out);
    Ok(rest)
}

fn one<'a>(text: &'a str, unclosed: Fault<'a>) -> Result<(char, &'a str), Fault<'a>> {
    match text.chars().next() {
        Some('\\') => character(text),
        Some(c) => Ok((c, &text[c.len_utf8()..])),
        None => Err(unclosed),
    }
}
