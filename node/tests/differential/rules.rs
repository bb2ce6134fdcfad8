//! Where Prometheus 3, which Trine answers as, rightly differs from Debian's 2.42: by rule, never by query.
//!
//! A rule is applied in one of four places: a flag of the server, the query's text ([`crate::expression`]), what is written or
//! asked at all ([`crate::data`], [`crate::generate`]), or the comparison (here).
use crate::answer::Answer;
use crate::expression::{Dialect, Expr};
use crate::generate::{Order, Question, When};

/// Where a rule is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Flag,
    Text,
    Asked,
    Compared,
}

/// A difference between 2.42 and 3.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    /// The release that changed it, as its change log has it.
    since: &'static str,
    place: Place,
    what: &'static str,
}

pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "lookback",
        since: "3.0.0",
        place: Place::Flag,
        what: "a sample as old as the lookback is not seen any more: 2.42 runs with a lookback that is 1 ms shorter",
    },
    Rule {
        name: "left edge",
        since: "3.0.0, subqueries 3.0.1",
        place: Place::Text,
        what: "a sample at the left edge of a range is outside: 2.42 is asked for a range that is 1 ms shorter. rate, \
               increase and delta use the length of the range, too: they get a range at whose edge no sample lies (samples \
               on whole seconds, the range ends half a second beside)",
    },
    Rule {
        name: "smoothing",
        since: "3.0.0",
        place: Place::Text,
        what: "holt_winters is called double_exponential_smoothing",
    },
    Rule {
        name: "near zero",
        since: "2.51.0",
        place: Place::Asked,
        what: "what rate and increase extrapolate at the start of a counter is at most half a step, before it is cut at zero: \
               counters are far from zero where their samples begin or are missing, gauges are not asked for rates",
    },
    Rule {
        name: "infinities",
        since: "3.0.0",
        place: Place::Asked,
        what: "stddev and stdvar of infinities are NaN wherever they come: both are asked of finite numbers",
    },
    Rule {
        name: "fixed ranges",
        since: "2.51.0",
        place: Place::Asked,
        what: "predict_linear over a range with @ loses the range's samples from the second step on: it is asked without @",
    },
    Rule {
        name: "moments",
        since: "3.14.0 has it still",
        place: Place::Asked,
        what: "timestamp of a selector with @ and offset forgets the offset: it is asked with one of them",
    },
    Rule {
        name: "overflow",
        since: "3.14.0 has it still",
        place: Place::Asked,
        what: "Go's sinh and cosh are infinite from 709.8 on, the functions themselves from 710.5 on: smaller numbers are asked",
    },
    Rule {
        name: "names",
        since: "3.0.0, promql-delayed-name-removal",
        place: Place::Compared,
        what: "a function drops the name when the whole query is done: series that only the name told apart and that are \
               gone by then, or never are at one step, are no error",
    },
    Rule {
        name: "atan2",
        since: "3.0.0",
        place: Place::Compared,
        what: "atan2 drops the name, as other arithmetic does",
    },
    Rule {
        name: "unique matches",
        since: "3.9.0",
        place: Place::Compared,
        what: "a filter (`a > b`) whose sides match many to many is an error also where the filter drops the many",
    },
    Rule {
        name: "rests",
        since: "2.47.0, 2.54.0, 2.55.0",
        place: Place::Compared,
        what: "sums and averages compensate for rounding: where numbers cancel out, 2.42 may leave a rest of the last bits. Of \
               huge numbers that rest is huge, and what is made of it is anything: the data has them with one sign only",
    },
    Rule {
        name: "ties",
        since: "2.44.0",
        place: Place::Compared,
        what: "which of equal values topk and bottomk keep is not defined",
    },
];

/// The flags of 2.42 that rules ask for.
pub(crate) const FLAGS: [&str; 1] = ["--query.lookback-delta=4m59s999ms"];

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Same,
    /// They differ, and this rule says so.
    ByRule(&'static str),
    /// They differ; how.
    Different(String),
}

/// Compares two answers to a question.
pub(crate) fn judge(question: &Question, ours: &Answer, theirs: &Answer) -> Verdict {
    match (ours, theirs) {
        (Answer::Refused { .. }, Answer::Refused { .. }) => Verdict::Same,
        (Answer::Refused { text, .. }, _)
            if text.contains("multiple matches for labels") && filters(&question.query) =>
        {
            Verdict::ByRule("unique matches")
        }
        (_, Answer::Refused { text, .. }) if text.contains("cannot contain metrics with the same labelset") => {
            Verdict::ByRule("names")
        }
        _ => match ours.same_as(theirs) {
            Ok(()) if question.order == Order::ByValue && matches!(question.when, When::Instant { .. }) => {
                order(ours, theirs)
            }
            Ok(()) => Verdict::Same,
            Err(_) if is_atan2(&question.query) && ours.same_as(&theirs.clone().nameless()).is_ok() => {
                Verdict::ByRule("atan2")
            }
            Err(_) if question.order == Order::Ties && ours.values() == theirs.values() => Verdict::ByRule("ties"),
            Err(how) => Verdict::Different(how),
        },
    }
}

fn order(ours: &Answer, theirs: &Answer) -> Verdict {
    let (ours, theirs) = (ours.sequence(), theirs.sequence());
    if ours == theirs { Verdict::Same } else { Verdict::Different(format!("order: {ours:?}, expected {theirs:?}")) }
}

/// Whether a part compares two vectors without `bool`.
fn filters(query: &Expr) -> bool {
    query.any(&|e| match e {
        Expr::Binary { operator, lhs, rhs, .. } => {
            let is_vector = |e: &Expr| !matches!(e, Expr::Literal(_));
            let is_filter = operator.starts_with(['=', '!', '<', '>']) && !operator.contains("bool");
            is_filter && is_vector(lhs) && is_vector(rhs)
        }
        _ => false,
    })
}

fn is_atan2(query: &Expr) -> bool {
    query.any(&|e| matches!(e, Expr::Binary { operator, .. } if operator.starts_with("atan2")))
}

/// The question as either server is asked it.
pub(crate) fn form(question: &Question, dialect: Dialect) -> Vec<(&'static str, String)> {
    let mut form = vec![("query", question.query.render(dialect))];
    match question.when {
        When::Instant { time_s } => form.push(("time", time_s.to_string())),
        When::Range { start_s, end_s, step_s } => {
            form.extend([("start", start_s.to_string()), ("end", end_s.to_string()), ("step", step_s.to_string())]);
        }
    }
    form
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_rules_excuse() {
        for rule in RULES {
            assert!(!rule.what.is_empty() && !rule.since.is_empty(), "{rule:?}");
        }
        let compared: Vec<&str> = RULES.iter().filter(|r| r.place == Place::Compared).map(|r| r.name).collect();
        assert_eq!(compared, ["names", "atan2", "unique matches", "rests", "ties"]);
    }

    #[test]
    fn a_difference_is_seen() {
        let when = When::Instant { time_s: 60 };
        let query = Expr::Select { selector: "m".to_owned(), shift: String::new() };
        let question = |order| Question { query: query.clone(), when, order };
        let vector = |values: &[(&str, f64)]| {
            Answer::Series(values.iter().map(|(labels, v)| ((*labels).to_owned(), vec![(60_000, *v)])).collect())
        };
        let refused = |text: &str| Answer::Refused { status: 422, text: text.to_owned() };
        let base = vector(&[("a", 1.0), ("b", f64::NAN)]);
        let judged = |order, other: &Answer| judge(&question(order), &base, other);
        assert_eq!(judged(Order::Any, &vector(&[("b", f64::NAN), ("a", 1.0 + 1e-12)])), Verdict::Same);
        assert_eq!(judged(Order::Ties, &vector(&[("c", 1.0), ("b", f64::NAN)])), Verdict::ByRule("ties"));
        assert_eq!(
            judged(Order::Any, &refused("vector cannot contain metrics with the same labelset")),
            Verdict::ByRule("names")
        );
        for (order, other) in [
            (Order::Any, vector(&[("a", 1.0 + 1e-8), ("b", f64::NAN)])),
            (Order::Any, vector(&[("a", 1.0), ("b", 2.0)])),
            (Order::Any, vector(&[("a", 1.0)])),
            (Order::Any, vector(&[("c", 1.0), ("b", f64::NAN)])),
            (Order::ByValue, vector(&[("b", f64::NAN), ("a", 1.0)])),
            (Order::Ties, vector(&[("c", 2.0), ("b", f64::NAN)])),
            (Order::Any, refused("many-to-many")),
        ] {
            assert!(matches!(judged(order, &other), Verdict::Different(_)), "{other:?}");
        }
    }
}
