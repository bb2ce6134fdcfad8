//! One label matcher: `name op "value"`.
use std::fmt;

use super::pattern::Pattern;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MatchOp {
    Eq = 0,
    NotEq = 1,
    Regex = 2,
    NotRegex = 3,
}

impl MatchOp {
    pub fn from_u8(v: u8) -> Option<Self> {
        [Self::Eq, Self::NotEq, Self::Regex, Self::NotRegex].into_iter().find(|op| *op as u8 == v)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "=",
            Self::NotEq => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// The pattern of a regex matcher does not compile.
#[derive(Clone, Debug, thiserror::Error)]
#[error("error parsing regexp: {reason}")]
pub struct MatcherError {
    pub reason: String,
}

/// A matcher over one label. A label that is absent has the value "". Regexes are anchored on both ends and their dot
/// matches a newline, as in Prometheus 3 and Loki.
#[derive(Clone, Debug)]
pub struct Matcher {
    pub name: String,
    pub op: MatchOp,
    pub value: String,
    pattern: Option<Pattern>,
}

impl Matcher {
    /// `name = "value"`.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Eq, value: value.into(), pattern: None }
    }

    pub fn new(name: impl Into<String>, op: MatchOp, value: impl Into<String>) -> Result<Self, MatcherError> {
        let (name, value) = (name.into(), value.into());
        let pattern = match op {
            MatchOp::Eq | MatchOp::NotEq => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Pattern::new(&value).map_err(|reason| MatcherError { reason })?),
        };
        Ok(Self { name, op, value, pattern })
    }

    /// `name =~ "value|value|…"`, of values that are meant literally.
    pub fn any_of<'v>(name: impl Into<String>, values: impl IntoIterator<Item = &'v str>) -> Self {
        let mut literals: Vec<String> = values.into_iter().map(str::to_owned).collect();
        literals.sort_unstable();
        literals.dedup();
        let value = literals.iter().map(|literal| regex::escape(literal)).collect::<Vec<_>>().join("|");
        Self { name: name.into(), op: MatchOp::Regex, value, pattern: Some(Pattern::Literals(literals)) }
    }

    /// Whether a label with this value (or "" for absent) matches.
    pub fn matches(&self, value: &str) -> bool {
        let is_match = |v: &str| self.pattern.as_ref().is_some_and(|p| p.is_match(v));
        match self.op {
            MatchOp::Eq => self.value == value,
            MatchOp::NotEq => self.value != value,
            MatchOp::Regex => is_match(value),
            MatchOp::NotRegex => !is_match(value),
        }
    }

    /// Whether series without this label match.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// The only values that can match, where they are few: one, or those of a pattern like `a|b|c[0-3]`.
    pub fn literal_set(&self) -> Option<Vec<&str>> {
        match self.op {
            MatchOp::Eq => Some(vec![&self.value]),
            MatchOp::Regex => Some(self.pattern.as_ref()?.literals()?.iter().map(String::as_str).collect()),
            MatchOp::NotEq | MatchOp::NotRegex => None,
        }
    }

    /// The pattern of either kind of regex matcher.
    pub(super) fn pattern(&self) -> Option<&Pattern> {
        self.pattern.as_ref()
    }

    /// What every value that matches begins with.
    pub(crate) fn prefix(&self) -> &str {
        match (self.op, &self.pattern) {
            (MatchOp::Regex, Some(pattern)) => pattern.prefix(),
            _ => "",
        }
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.op == other.op && self.value == other.value
    }
}
impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.name, self.op.as_str(), self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_meant_literally_are_read_back_as_such() {
        let values = ["<é>\\n", "job:rate5m", "10.0.0.1:9100", "a|b", "", "[x]{2}#&~-^$\\", "new\nline"];
        let built = Matcher::any_of("a", values);
        let read = Matcher::new("a", MatchOp::Regex, &built.value).unwrap();
        for (text, is_one) in
            values.iter().map(|v| (*v, true)).chain([("10x0.0.1:9100", false), ("a", false), ("x", false)])
        {
            assert_eq!((built.matches(text), read.matches(text)), (is_one, is_one), "{text:?}");
        }
        let many: Vec<String> = (0..10_000).map(|i| format!("node-{i}.example:9100")).collect();
        let built = Matcher::any_of("a", many.iter().map(String::as_str));
        let read = Matcher::new("a", MatchOp::Regex, built.value).unwrap();
        assert_eq!(read.literal_set().unwrap().len(), 10_000, "no regex is run for them");
        assert!(read.matches("node-4711.example:9100") && !read.matches("node-x"));
    }

    #[test]
    fn regexes_are_anchored_and_absent_is_empty() {
        let m = |op, v: &str| Matcher::new("a", op, v).unwrap();
        assert!(m(MatchOp::Regex, "a|b").matches("b"));
        assert!(!m(MatchOp::Regex, "a|b").matches("ab"));
        assert!(m(MatchOp::Regex, "a.*").matches("a\nb"));
        assert!(m(MatchOp::NotEq, "x").matches_empty());
        assert!(!m(MatchOp::Regex, ".+").matches_empty());
        assert_eq!(m(MatchOp::Regex, "a|b").literal_set().unwrap(), ["a", "b"]);
        assert!(m(MatchOp::Regex, "a.b").literal_set().is_none());
        assert!(m(MatchOp::NotRegex, "a|b").literal_set().is_none());
        assert_eq!((m(MatchOp::Regex, "ab.*c").prefix(), m(MatchOp::NotRegex, "ab.*c").prefix()), ("ab", ""));
        assert!(Matcher::new("a", MatchOp::Regex, "(").is_err());
    }
}
