//! From matchers to the set of series, over anything that has postings.
use roaring::RoaringBitmap;

use super::pattern::Pattern;
use super::{MatchOp, Matcher};
use crate::model::labels::LabelsIter;

/// An inverted index: which ids carry which label value.
pub trait Postings {
    type Error;

    /// Every id.
    fn all(&self) -> Result<RoaringBitmap, Self::Error>;

    /// Ids whose label `name` has `value` (not empty).
    fn with_value(&self, name: &str, value: &str) -> Result<RoaringBitmap, Self::Error>;

    /// Ids whose label `name` has any value that begins with `prefix` and that `keep` accepts; each such value is asked once.
    fn with_values(
        &self,
        name: &str,
        prefix: &str,
        keep: &mut dyn FnMut(&str) -> bool,
    ) -> Result<RoaringBitmap, Self::Error>;
}

/// Ids that satisfy all matchers; no matcher selects all. A matcher that accepts "" accepts ids without the label too, so
/// it is applied by subtracting the ids whose value it refuses.
pub fn select<P: Postings + ?Sized>(index: &P, matchers: &[Matcher]) -> Result<RoaringBitmap, P::Error> {
    let mut selected: Option<RoaringBitmap> = None;
    let (subtract, intersect): (Vec<&Matcher>, Vec<&Matcher>) = matchers.iter().partition(|m| m.matches_empty());
    for matcher in intersect {
        let ids = accepted(index, matcher)?;
        let rest = match selected {
            None => ids,
            Some(so_far) => so_far & ids,
        };
        if rest.is_empty() {
            return Ok(rest);
        }
        selected = Some(rest);
    }
    let mut selected = match selected {
        Some(selected) => selected,
        None => index.all()?,
    };
    for matcher in subtract {
        if selected.is_empty() {
            break;
        }
        selected -= refused(index, matcher)?;
    }
    Ok(selected)
}

fn accepted<P: Postings + ?Sized>(index: &P, matcher: &Matcher) -> Result<RoaringBitmap, P::Error> {
    match (matcher.op, matcher.pattern()) {
        (MatchOp::Eq, _) => index.with_value(&matcher.name, &matcher.value),
        (MatchOp::Regex, Some(pattern)) => with_pattern(index, &matcher.name, pattern),
        _ => index.with_values(&matcher.name, "", &mut |value| matcher.matches(value)),
    }
}

fn refused<P: Postings + ?Sized>(index: &P, matcher: &Matcher) -> Result<RoaringBitmap, P::Error> {
    match (matcher.op, matcher.pattern()) {
        (MatchOp::NotEq, _) => index.with_value(&matcher.name, &matcher.value),
        (MatchOp::NotRegex, Some(pattern)) => with_pattern(index, &matcher.name, pattern),
        _ => index.with_values(&matcher.name, "", &mut |value| !matcher.matches(value)),
    }
}

/// Ids with a value that the pattern accepts.
fn with_pattern<P: Postings + ?Sized>(index: &P, name: &str, pattern: &Pattern) -> Result<RoaringBitmap, P::Error> {
    let Some(literals) = pattern.literals() else {
        return index.with_values(name, pattern.prefix(), &mut |value| pattern.is_match(value));
    };
    let mut ids = RoaringBitmap::new();
    for value in literals.iter().filter(|v| !v.is_empty()) {
        ids |= index.with_value(name, value)?;
    }
    Ok(ids)
}

/// Whether a label set in its canonical encoding satisfies all matchers: the scan where there is no index.
pub fn matches_labels(labels: &[u8], matchers: &[Matcher]) -> bool {
    matchers.iter().all(|m| {
        let value = LabelsIter::over(labels).find(|(name, _)| *name == m.name).map_or("", |(_, value)| value);
        m.matches(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::LabelIndex;
    use crate::model::Labels;

    fn matcher(op: MatchOp, value: &str) -> Matcher {
        Matcher::new("a", op, value).unwrap()
    }

    /// ids: 0 a="", 1 a="x", 2 a="y", 3 a="xy"
    #[test]
    fn matchers_select_as_in_prometheus() {
        let series: Vec<Labels> = ["", "x", "y", "xy"]
            .iter()
            .enumerate()
            .map(|(i, v)| Labels::from_pairs([("a", *v), ("n", &i.to_string())]).unwrap())
            .collect();
        let mut index = LabelIndex::default();
        for (id, labels) in series.iter().enumerate() {
            index.insert(id as u32, labels.as_bytes());
        }
        use MatchOp::{Eq, NotEq, NotRegex, Regex};
        type Case = (&'static [(MatchOp, &'static str)], &'static [u32]);
        let cases: &[Case] = &[
            (&[], &[0, 1, 2, 3]),
            (&[(Eq, "x")], &[1]),
            (&[(Eq, "none")], &[]),
            (&[(Eq, "")], &[0]),
            (&[(NotEq, "")], &[1, 2, 3]),
            (&[(NotEq, "x")], &[0, 2, 3]),
            (&[(Regex, "x|y")], &[1, 2]),
            (&[(Regex, "x|")], &[0, 1]),
            (&[(Regex, "x.*")], &[1, 3]),
            (&[(Regex, ".*")], &[0, 1, 2, 3]),
            (&[(Regex, ".+")], &[1, 2, 3]),
            (&[(NotRegex, "x.*")], &[0, 2]),
            (&[(NotRegex, ".*")], &[]),
            (&[(NotRegex, ".+")], &[0]),
            (&[(NotRegex, "x|y|")], &[3]),
            (&[(Regex, "x.*"), (NotEq, "xy")], &[1]),
            (&[(NotEq, "x"), (NotEq, "y")], &[0, 3]),
        ];
        for (given, expected) in cases {
            let matchers: Vec<Matcher> = given.iter().map(|(op, v)| matcher(*op, v)).collect();
            let got: Vec<u32> = select(&index, &matchers).unwrap().iter().collect();
            assert_eq!(&got, expected, "{given:?}");
            let scanned: Vec<u32> =
                (0..4).filter(|id| matches_labels(series[*id as usize].as_bytes(), &matchers)).collect();
            assert_eq!(&scanned, expected, "scan of {given:?}");
        }
    }
}
