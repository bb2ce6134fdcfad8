//! What a regex accepts, as far as that can be told without running it: selectors of dashboards are mostly alternatives of
//! literals, prefixes, "anything" and "something".
use regex::Regex;
use regex_syntax::hir::literal::Extractor;
use regex_syntax::hir::{Dot, Hir, HirKind, Look};

use crate::re2;

/// Most literals that a pattern is taken apart into; beyond, the regex engine does better.
const LITERALS_MAX: usize = 64;

/// An anchored regex.
#[derive(Clone, Debug)]
pub(crate) enum Pattern {
    /// These texts, and no others; sorted.
    Literals(Vec<String>),
    /// Texts that begin so; with `more`, by at least one character more.
    Prefix { prefix: String, more: bool },
    /// Whatever the regex accepts; all of it begins with `prefix`.
    Regex { prefix: String, regex: Regex },
}

impl Pattern {
    /// `pattern` is to match whole texts, its dot line breaks too. An error says what is wrong with it.
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        let anchored = re2::translate(&format!("^(?s:{pattern})$"))?;
        let hir = regex_syntax::parse(&anchored).map_err(|e| re2::refusal(&e))?;
        if let Some(simple) = between_anchors(&hir)
            .and_then(|inner| alternatives(&inner).or_else(|| literals(&inner)).or_else(|| prefix_of_any(&inner)))
        {
            return Ok(simple);
        }
        let regex =
            regex::RegexBuilder::new(&anchored).size_limit(re2::SIZE_MAX).build().map_err(|e| re2::refusal(&e))?;
        let prefix = between_anchors(&hir).map(|inner| common_prefix(&inner)).unwrap_or_default();
        Ok(Self::Regex { prefix, regex })
    }

    pub(crate) fn is_match(&self, text: &str) -> bool {
        match self {
            Self::Literals(literals) => literals.binary_search_by(|literal| literal.as_str().cmp(text)).is_ok(),
            Self::Prefix { prefix, more } => {
                text.strip_prefix(&**prefix).is_some_and(|rest| !(*more && rest.is_empty()))
            }
            Self::Regex { prefix, regex } => text.starts_with(&**prefix) && regex.is_match(text),
        }
    }

    /// What every text that matches begins with.
    pub(crate) fn prefix(&self) -> &str {
        match self {
            Self::Literals(_) => "",
            Self::Prefix { prefix, .. } | Self::Regex { prefix, .. } => prefix,
        }
    }

    /// The only texts that match, where they are few.
    pub(crate) fn literals(&self) -> Option<&[String]> {
        if let Self::Literals(literals) = self { Some(literals) } else { None }
    }
}

/// What is between the anchors; `None` where they do not enclose all of it, as in `^a|b$`.
fn between_anchors(hir: &Hir) -> Option<Hir> {
    let HirKind::Concat(parts) = hir.kind() else { return None };
    let is = |part: &Hir, look| matches!(part.kind(), HirKind::Look(found) if *found == look);
    match parts.as_slice() {
        [first, inner @ .., last] if is(first, Look::Start) && is(last, Look::End) => {
            let inner = Hir::concat(inner.to_vec());
            inner.properties().look_set().is_empty().then_some(inner)
        }
        _ => None,
    }
}

/// Literals and nothing else, however many.
fn alternatives(inner: &Hir) -> Option<Pattern> {
    let HirKind::Alternation(parts) = inner.kind() else { return None };
    let text = |part: &Hir| match part.kind() {
        HirKind::Literal(literal) => String::from_utf8(literal.0.to_vec()).ok(),
        HirKind::Empty => Some(String::new()),
        _ => None,
    };
    let mut texts = parts.iter().map(text).collect::<Option<Vec<String>>>()?;
    texts.sort_unstable();
    texts.dedup();
    Some(Pattern::Literals(texts))
}

fn literals(inner: &Hir) -> Option<Pattern> {
    let mut extractor = Extractor::new();
    extractor.limit_class(16).limit_repeat(4).limit_literal_len(1 << 10).limit_total(LITERALS_MAX);
    let sequence = extractor.extract(inner);
    let found = sequence.literals()?;
    let text = |literal: &regex_syntax::hir::literal::Literal| {
        literal.is_exact().then(|| String::from_utf8(literal.as_bytes().to_vec()).ok()).flatten()
    };
    let mut texts = found.iter().map(text).collect::<Option<Vec<String>>>()?;
    texts.sort_unstable();
    texts.dedup();
    Some(Pattern::Literals(texts))
}

/// A literal and `.*` or `.+` behind it, or one of those alone.
fn prefix_of_any(inner: &Hir) -> Option<Pattern> {
    let (prefix, any) = match inner.kind() {
        HirKind::Concat(parts) => match parts.as_slice() {
            [first, any] => match first.kind() {
                HirKind::Literal(literal) => (std::str::from_utf8(&literal.0).ok()?, any),
                _ => return None,
            },
            _ => return None,
        },
        _ => ("", inner),
    };
    let HirKind::Repetition(repeated) = any.kind() else { return None };
    let unbounded = repeated.max.is_none() && repeated.min <= 1 && *repeated.sub == Hir::dot(Dot::AnyChar);
    unbounded.then(|| Pattern::Prefix { prefix: prefix.to_owned(), more: repeated.min == 1 })
}

fn common_prefix(inner: &Hir) -> String {
    let sequence = Extractor::new().extract(inner);
    let bytes = sequence.longest_common_prefix().unwrap_or_default();
    let whole = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    };
    whole.to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shape(pattern: &str) -> String {
        match Pattern::new(pattern).unwrap() {
            Pattern::Literals(literals) => literals.join(","),
            Pattern::Prefix { prefix, more } => format!("{prefix}{}", if more { "+" } else { "*" }),
            Pattern::Regex { prefix, .. } => format!("{prefix}?"),
        }
    }

    #[test]
    fn usual_patterns_are_told_apart() {
        for (pattern, expected) in [
            ("", ""),
            ("a", "a"),
            ("a|b|", ",a,b"),
            ("node-[0-2]|x", "node-0,node-1,node-2,x"),
            (r"10[.]20[.]0[.]1.*", "10.20.0.1*"),
            (r"10\.20.+", "10.20+"),
            (".*", "*"),
            (".+", "+"),
            ("(.*)", "?"),
            ("(?i)a", "A,a"),
            ("ab(c|d).*", "ab?"),
            ("ab.*c", "ab?"),
            (".*ab", "?"),
            ("a*", "?"),
            // What the anchors do not enclose.
            ("a)|(b", "?"),
            (r"a\b", "?"),
            ("^a$", "?"),
            ("é.*", "é*"),
        ] {
            assert_eq!(shape(pattern), expected, "{pattern}");
        }
        assert!(Pattern::new("(").unwrap_err().contains("missing closing )"));
        assert!(Pattern::new(&format!("({}){{50000}}", "a".repeat(500))).is_err());
    }

    proptest! {
        /// A pattern accepts what the regex accepts, and nothing without its prefix.
        #[test]
        fn it_accepts_what_the_regex_accepts(
            pattern in r"([ab.é]|[.][*+?]|\[ab\]|\(a\|bé\)|\||[(](a[.]\*|b)[)]|\^|\$|a\{1,2\}|\\b){0,6}",
            texts in prop::collection::vec("[abé\n]{0,5}", 1..20),
        ) {
            let regex = re2::compile(&format!("^(?s:{pattern})$"));
            let ours = Pattern::new(&pattern);
            prop_assert_eq!(regex.is_ok(), ours.is_ok());
            let (Ok(regex), Ok(ours)) = (regex, ours) else { return Ok(()) };
            let own = ours.literals().unwrap_or_default().to_vec();
            for text in texts.into_iter().chain(own).chain([String::new()]) {
                prop_assert_eq!(ours.is_match(&text), regex.is_match(&text), "{} {:?}", pattern, text);
                prop_assert!(!regex.is_match(&text) || text.starts_with(ours.prefix()));
            }
        }
    }
}
