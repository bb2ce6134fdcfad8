//! Line filters.
use memchr::memmem;
use regex::Regex;

use super::super::ast::{LineFilter, LineOp, LineTerm};
use super::ip::IpSet;
use super::pattern::Pattern;
use crate::error::Result;

/// A compiled line filter.
#[derive(Debug)]
pub(super) struct LineMatcher {
    negated: bool,
    terms: Vec<Term>,
}

#[derive(Debug)]
enum Term {
    Literal(Box<memmem::Finder<'static>>),
    Regex(Regex),
    Pattern(Pattern),
    Ip(IpSet),
}

impl LineMatcher {
    pub(super) fn compile(filter: &LineFilter) -> Result<Self> {
        let terms = filter.terms.iter().map(|term| compile_term(filter.op, term)).collect::<Result<Vec<_>>>()?;
        Ok(Self { negated: filter.op.is_negated(), terms })
    }

    pub(super) fn keeps(&self, line: &str) -> bool {
        self.terms.iter().any(|term| term.matches(line)) != self.negated
    }
}

fn compile_term(op: LineOp, term: &LineTerm) -> Result<Term> {
    Ok(match (op, term) {
        (_, LineTerm::Ip(pattern)) => Term::Ip(IpSet::parse(pattern)?),
        (LineOp::Contains | LineOp::NotContains, LineTerm::Text(text)) => {
            Term::Literal(Box::new(memmem::Finder::new(text.as_bytes()).into_owned()))
        }
        (LineOp::Regex | LineOp::NotRegex, LineTerm::Text(text)) => Term::Regex(super::regex(text)?),
        (LineOp::Pattern | LineOp::NotPattern, LineTerm::Text(text)) => Term::Pattern(Pattern::filter(text)?),
    })
}

impl Term {
    fn matches(&self, line: &str) -> bool {
        match self {
            Self::Literal(finder) => finder.find(line.as_bytes()).is_some(),
            Self::Regex(regex) => regex.is_match(line),
            Self::Pattern(pattern) => pattern.matches_whole(line),
            Self::Ip(set) => set.occurs_in(line),
        }
    }
}
