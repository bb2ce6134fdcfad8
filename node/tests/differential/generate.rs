//! Questions at random, over the grammar that both servers know.
//!
//! Each question has a core that is taken in turn, so that every function, aggregation and operator is asked for in every run,
//! and chance around it. Where a tiny difference would become a large one (a comparison, `floor`, the sine of a large number),
//! only values that are exact are put; [`crate::rules`] says what else is never asked.
mod leaf;
mod wrap;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::data::{Kind, SPAN_MS};
use crate::expression::Expr;

/// When a question is asked about, Unix s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Instant { time_s: i64 },
    Range { start_s: i64, end_s: i64, step_s: i64 },
}

/// What of an answer PromQL defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Series and their values, in any order.
    Any,
    /// An instant answer is sorted by value, one way or the other.
    ByValue,
    /// Which of several equal values is kept is open: only the values count.
    Ties,
}

/// A query and when.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) query: Expr,
    pub(crate) when: When,
    pub(crate) order: Order,
}

/// A vector expression and what may be done with it.
#[derive(Clone, Debug)]
struct Vector {
    expr: Expr,
    labels: Vec<&'static str>,
    /// Its values are computed without rounding.
    is_exact: bool,
    order: Order,
}

/// What a question is about.
#[derive(Clone, Copy, Debug)]
enum Core {
    Selector,
    Names,
    OverTime(&'static str),
    Rate(&'static str),
    Slope(&'static str),
    Math(&'static str),
    Calendar(&'static str),
    Aggregate(&'static str),
    Arithmetic(&'static str),
    Comparison(&'static str),
    Join(&'static str),
    Set(&'static str),
    Subquery(&'static str),
    Histogram,
    Other(&'static str),
}

const OVER_TIME: [&str; 12] = [
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "count_over_time",
    "last_over_time",
    "present_over_time",
    "quantile_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "changes",
    "resets",
];
const RATES: [&str; 3] = ["rate", "increase", "irate"];
const SLOPES: [&str; 5] = ["delta", "idelta", "deriv", "predict_linear", "double_exponential_smoothing"];
const MATH: [&str; 24] = [
    "abs", "ceil", "floor", "round", "sqrt", "exp", "ln", "log2", "log10", "sgn", "sin", "cos", "tan", "asin", "acos",
    "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "deg", "rad",
];
const CALENDAR: [&str; 8] =
    ["minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year"];
const AGGREGATES: [&str; 12] =
    ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar", "quantile", "topk", "bottomk", "count_values"];
const ARITHMETIC: [&str; 7] = ["+", "-", "*", "/", "%", "^", "atan2"];
const COMPARISONS: [&str; 6] = ["==", "!=", "<", "<=", ">", ">="];
const SETS: [&str; 3] = ["and", "or", "unless"];
const OTHERS: [&str; 15] = [
    "absent",
    "absent_over_time",
    "clamp",
    "clamp_max",
    "clamp_min",
    "label_replace",
    "label_join",
    "sort",
    "sort_desc",
    "scalar",
    "vector",
    "timestamp",
    "time",
    "unary",
    "refused",
];

/// What is asked for in turn.
fn cores() -> Vec<Core> {
    let mut out = vec![Core::Selector, Core::Selector, Core::Names, Core::Histogram, Core::Histogram];
    out.extend(OVER_TIME.map(Core::OverTime));
    out.extend(RATES.map(Core::Rate));
    out.extend(SLOPES.map(Core::Slope));
    out.extend(MATH.map(Core::Math));
    out.extend(CALENDAR.map(Core::Calendar));
    out.extend(AGGREGATES.map(Core::Aggregate));
    out.extend(ARITHMETIC.map(Core::Arithmetic));
    out.extend(COMPARISONS.map(Core::Comparison));
    out.extend(ARITHMETIC.map(Core::Join));
    out.extend(SETS.map(Core::Set));
    out.extend(OVER_TIME.map(Core::Subquery));
    out.extend(RATES.map(Core::Subquery));
    out.extend(OTHERS.map(Core::Other));
    out
}

/// How many questions have every core once.
pub(crate) fn round() -> usize {
    cores().len()
}

/// Makes questions about the data after `start_s`.
pub(crate) struct Generator<'r> {
    rng: &'r mut StdRng,
    start_s: i64,
}

impl<'r> Generator<'r> {
    pub(crate) fn new(start_s: i64, rng: &'r mut StdRng) -> Self {
        Self { rng, start_s }
    }

    /// So many questions.
    pub(crate) fn questions(&mut self, count: usize) -> Vec<Question> {
        let cores = cores();
        (0..count).map(|n| self.question(cores[n % cores.len()])).collect()
    }

    fn question(&mut self, core: Core) -> Question {
        let mut vector = self.core(core);
        if vector.order == Order::Any && !matches!(core, Core::Other("scalar" | "time")) {
            for _ in 0..self.rng.random_range(0..3) {
                vector = self.wrap(vector);
            }
        }
        Question { query: vector.expr, when: self.when(), order: vector.order }
    }

    fn chance(&mut self, p: f64) -> bool {
        self.rng.random_bool(p)
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        *of.choose(self.rng).expect("a list that is not empty")
    }

    fn text(&mut self, of: &[&str]) -> String {
        self.one(of).to_owned()
    }

    /// A second of the data, often one at which aligned series have a sample.
    fn second(&mut self) -> i64 {
        let at = self.rng.random_range(300..SPAN_MS / 1000);
        self.start_s + if self.chance(0.6) { at / 60 * 60 } else { at }
    }

    fn when(&mut self) -> When {
        let time_s = self.second();
        if self.chance(0.4) {
            return When::Instant { time_s };
        }
        let step_s = self.one(&[15, 30, 37, 60, 300]);
        let steps = self.rng.random_range(1..30);
        When::Range { start_s: time_s - step_s * steps, end_s: time_s + self.one(&[0, 7]), step_s }
    }

    fn core(&mut self, core: Core) -> Vector {
        match core {
            Core::Selector => self.selector(&[Kind::Counter, Kind::Gauge, Kind::Steps, Kind::Odd, Kind::Info]),
            Core::Names => self.names(),
            Core::OverTime(name) => self.over_time(name),
            Core::Rate(name) => self.rate(name),
            Core::Slope(name) => self.slope(name),
            Core::Math(name) => self.math(name),
            Core::Calendar(name) => self.calendar(name),
            Core::Aggregate(name) => {
                let of = match () {
                    () if name == "count_values" || self.chance(0.4) => self.exact(),
                    () if name.starts_with("std") => self.finite(),
                    () => self.vector(),
                };
                self.aggregate(name, of)
            }
            Core::Arithmetic(operator) => self.arithmetic(operator),
            Core::Comparison(operator) => self.comparison(operator),
            Core::Join(operator) => self.join(operator),
            Core::Set(operator) => self.set(operator),
            Core::Subquery(name) => self.subquery(name),
            Core::Histogram => self.histogram(),
            Core::Other(name) => self.other(name),
        }
    }

    /// Any vector that is not too deep.
    fn vector(&mut self) -> Vector {
        match self.rng.random_range(0..6) {
            0 => self.rate("rate"),
            1 => {
                let name = self.one(&["rate", "increase"]);
                self.rate(name)
            }
            2 => {
                let name = self.one(&["avg_over_time", "max_over_time", "quantile_over_time"]);
                self.over_time(name)
            }
            3 => {
                let of = self.rate("rate");
                let name = self.one(&["sum", "avg", "max"]);
                self.aggregate(name, of)
            }
            _ => self.exact(),
        }
    }

    /// Any vector without infinities: rule `infinities`.
    fn finite(&mut self) -> Vector {
        loop {
            let vector = self.vector();
            if !may_be_infinite(&vector.expr) {
                return vector;
            }
        }
    }
}

/// Whether a part reads infinities, or is a quantile that is one.
fn may_be_infinite(expr: &Expr) -> bool {
    expr.any(&|part| match part {
        Expr::Select { selector, .. } | Expr::Window { selector, .. } => selector.contains("odd"),
        Expr::Call { name: "quantile_over_time", args } => {
            matches!(args.first(), Some(Expr::Literal(at)) if at.parse().is_ok_and(|q: f64| !(0.0..=1.0).contains(&q)))
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::expression::Dialect;

    #[test]
    fn deviations_are_asked_of_finite_numbers() {
        let mut rng = StdRng::seed_from_u64(1);
        let questions = Generator::new(1_750_000_000 / 3600 * 3600, &mut rng).questions(200 * round());
        let is_deviation = |e: &Expr| match e {
            Expr::Aggregate { head, .. } => head.starts_with("std"),
            Expr::Call { name, .. } => name.starts_with("std"),
            _ => false,
        };
        let asked: Vec<&Question> = questions.iter().filter(|q| q.query.any(&is_deviation)).collect();
        assert!(asked.len() > 1000, "{}", asked.len());
        for question in asked {
            let deviates = |e: &Expr| is_deviation(e) && may_be_infinite(e);
            assert!(!question.query.any(&deviates), "{}", question.query.render(Dialect::Ours));
        }
    }

    #[test]
    fn a_seed_is_a_list_of_questions_that_trine_parses() {
        let questions = |seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            Generator::new(1_750_000_000 / 3600 * 3600, &mut rng).questions(10 * round())
        };
        let texts = |seed| questions(seed).iter().map(|q| q.query.render(Dialect::Ours)).collect::<Vec<_>>();
        assert_eq!(texts(1), texts(1));
        assert_ne!(texts(1), texts(2));
        let refused = texts(3).iter().filter(|q| trine_query::promql::parser::parse(q).is_err()).count();
        assert!(refused < texts(3).len() / 20, "{refused}");
    }
}
