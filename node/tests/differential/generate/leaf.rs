//! Expressions over selectors.
use rand::Rng;

use super::{Generator, Order, Vector};
use crate::data::{FAMILIES, Family, Kind, SPAN_MS};
use crate::expression::Expr;

const SIMPLE: [Kind; 3] = [Kind::Counter, Kind::Gauge, Kind::Steps];
const RANGES_MS: [i64; 7] = [60_000, 95_000, 120_000, 300_000, 300_000, 600_000, 1_020_000];
/// For [`crate::rules`]' left edge: half a second more than a whole one, where aligned series have no sample.
const HALF_MS: i64 = 500;

impl Generator<'_> {
    pub(super) fn family(&mut self, kinds: &[Kind]) -> &'static Family {
        let fitting: Vec<&'static Family> = FAMILIES.iter().filter(|f| kinds.contains(&f.kind)).collect();
        self.one(&fitting)
    }

    fn matcher(&mut self, (name, values): (&'static str, &'static [&'static str])) -> String {
        let (a, b) = (self.one(values), self.one(values));
        let first = &a[..1];
        match self.rng.random_range(0..9) {
            0..3 => format!("{name}={a:?}"),
            3 => format!("{name}!={a:?}"),
            4 => format!("{name}=~\"{a}|{b}\""),
            5 => format!("{name}=~\"{first}.*\""),
            6 => format!("{name}!~\"{a}|none\""),
            7 => format!("{name}!~\".*{}\"", &a[a.len() - 1..]),
            _ => self.text(&["missing=\"\"", "missing!=\"x\"", "instance=~\".+\"", "instance!~\"\"", "job!=\"none\""]),
        }
    }

    /// A name and some matchers.
    pub(super) fn matchers(&mut self, family: &'static Family) -> String {
        let mut matchers = Vec::new();
        for label in family.labels {
            if label.0 != "le" && self.chance(0.3) {
                matchers.push(self.matcher(*label));
            }
        }
        if self.chance(0.1) {
            matchers.insert(0, format!("__name__={:?}", family.name));
            return format!("{{{}}}", matchers.join(","));
        }
        if matchers.is_empty() { family.name.to_owned() } else { format!("{}{{{}}}", family.name, matchers.join(",")) }
    }

    /// `offset` and `@`, seldom.
    pub(super) fn shift(&mut self) -> String {
        let offset = if self.chance(0.2) {
            format!(" offset {}", self.text(&["15s", "1m", "7m", "11m30s", "-45s", "-5m"]))
        } else {
            String::new()
        };
        let at = match self.rng.random_range(0..20) {
            0 => format!(" @ {}", self.second()),
            1 => format!(" @ {}.000", self.start_s + self.rng.random_range(0..SPAN_MS / 1000)),
            2 => " @ start()".to_owned(),
            3 => " @ end()".to_owned(),
            _ => String::new(),
        };
        if self.chance(0.5) { at + &offset } else { offset + &at }
    }

    pub(super) fn selector(&mut self, kinds: &[Kind]) -> Vector {
        let family = self.family(kinds);
        let expr = Expr::Select { selector: self.matchers(family), shift: self.shift() };
        Vector { expr, labels: names(family), is_exact: true, order: Order::Any }
    }

    /// Series of several names, as they are or counted.
    pub(super) fn names(&mut self) -> Vector {
        let selector =
            self.text(&["{__name__=~\"up|load\"}", "{__name__!~\"latency.*|odd\",job=\"api\"}", "{job=~\"a.*\"}"]);
        let expr = Expr::Select { selector, shift: self.shift() };
        let all = Vector { expr, labels: vec!["job", "instance"], is_exact: true, order: Order::Any };
        if self.chance(0.5) {
            let name = self.one(&["sum", "count", "max"]);
            return self.aggregate(name, all);
        }
        all
    }

    fn window(&mut self, family: &'static Family, whole: bool) -> Expr {
        let range_ms = self.one(&RANGES_MS) + if whole && !family.is_jittered { HALF_MS } else { 0 };
        Expr::Window { selector: self.matchers(family), range_ms, whole, shift: self.shift() }
    }

    pub(super) fn over_time(&mut self, name: &'static str) -> Vector {
        // Rule `infinities`.
        let kinds: &[Kind] = if name.starts_with("std") {
            &SIMPLE
        } else {
            &[Kind::Counter, Kind::Gauge, Kind::Steps, Kind::Odd, Kind::Info, Kind::Bucket]
        };
        let family = self.family(kinds);
        let window = self.window(family, false);
        self.over_window(name, window, names(family))
    }

    /// The function over a range, with its parameter.
    pub(super) fn over_window(&mut self, name: &'static str, window: Expr, labels: Vec<&'static str>) -> Vector {
        let args = match name {
            "quantile_over_time" => {
                vec![Expr::literal(self.text(&["0.5", "0.9", "0.25", "0", "1", "-1", "2"])), window]
            }
            _ => vec![window],
        };
        let is_exact =
            !["avg_over_time", "sum_over_time", "quantile_over_time", "stddev_over_time", "stdvar_over_time"]
                .contains(&name);
        Vector { expr: Expr::call(name, args), labels, is_exact, order: Order::Any }
    }

    pub(super) fn rate(&mut self, name: &'static str) -> Vector {
        let family = self.family(&[Kind::Counter, Kind::Counter, Kind::Bucket]);
        let window = self.window(family, name != "irate");
        Vector { expr: Expr::call(name, [window]), labels: names(family), is_exact: false, order: Order::Any }
    }

    pub(super) fn slope(&mut self, name: &'static str) -> Vector {
        let family = self.family(&[Kind::Gauge, Kind::Steps]);
        let mut window = self.window(family, name == "delta");
        let args = match name {
            "predict_linear" => {
                // Rule `fixed ranges`.
                if let Expr::Window { shift, .. } = &mut window {
                    shift.clear();
                }
                vec![window, Expr::literal(self.text(&["60", "3600", "-300", "0"]))]
            }
            "double_exponential_smoothing" => {
                vec![window, Expr::literal(self.text(&["0.1", "0.5"])), Expr::literal(self.text(&["0.3", "0.9"]))]
            }
            _ => vec![window],
        };
        let is_exact = name == "idelta";
        Vector { expr: Expr::call(name, args), labels: names(family), is_exact, order: Order::Any }
    }

    /// A vector without rounding.
    pub(super) fn exact(&mut self) -> Vector {
        if self.chance(0.7) {
            return self.selector(&SIMPLE);
        }
        let family = self.family(&SIMPLE);
        let window = self.window(family, false);
        let name = self.one(&["min_over_time", "max_over_time", "last_over_time", "count_over_time"]);
        self.over_window(name, window, names(family))
    }

    pub(super) fn subquery(&mut self, name: &'static str) -> Vector {
        let step = self.one(&["30s", "1m", "2m", "45s", ""]);
        let range_ms = self.one(&[300_000, 600_000, 900_000, 1_830_000]);
        let shift = self.shift();
        let is_rate = ["rate", "increase", "irate"].contains(&name);
        let is_sharp = name.starts_with("std") || ["changes", "resets"].contains(&name);
        // Rule `near zero`: rates of counters alone.
        let inner = match () {
            () if is_rate => self.selector(&[Kind::Counter]),
            () if is_sharp => self.exact(),
            () => self.vector(),
        };
        let whole = ["rate", "increase"].contains(&name);
        let range_ms = range_ms + if whole { HALF_MS } else { 0 };
        let expr = Box::new(if is_rate { plain(inner.expr) } else { inner.expr });
        let window = Expr::Subquery { expr, range_ms, step, whole, shift };
        let mut vector = self.over_window(name, window, inner.labels);
        vector.is_exact &= inner.is_exact && !is_rate;
        vector
    }

    pub(super) fn histogram(&mut self) -> Vector {
        let family = self.family(&[Kind::Bucket]);
        let quantile = Expr::literal(self.text(&["0.5", "0.9", "0.95", "0.99", "0.123", "-1", "1.5"]));
        let (of, labels) = if self.chance(0.2) {
            (Expr::Select { selector: self.matchers(family), shift: self.shift() }, vec!["job", "instance"])
        } else {
            let window = self.window(family, true);
            let rate = Expr::call(self.one(&["rate", "increase"]), [window]);
            match self.rng.random_range(0..4) {
                0 => (rate, vec!["job", "instance"]),
                1 => (Expr::aggregate("sum by (le)", [rate]), vec![]),
                2 => (Expr::aggregate("sum without (instance)", [rate]), vec!["job"]),
                _ => (Expr::aggregate("sum by (job, le)", [rate]), vec!["job"]),
            }
        };
        let expr = Expr::call("histogram_quantile", [quantile, of]);
        Vector { expr, labels, is_exact: false, order: Order::Any }
    }
}

fn names(family: &'static Family) -> Vec<&'static str> {
    family.labels.iter().map(|l| l.0).collect()
}

/// Without `@`: a counter that stands still is one for `rate`, too, but its extrapolation ends at zero.
fn plain(expr: Expr) -> Expr {
    match expr {
        Expr::Select { selector, .. } => Expr::Select { selector, shift: String::new() },
        other => other,
    }
}
