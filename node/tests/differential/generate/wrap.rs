//! Expressions over expressions.
use rand::Rng;

use super::{COMPARISONS, Generator, Order, Vector};
use crate::data::Kind;
use crate::expression::Expr;

/// Where a small difference becomes a large one.
const SHARP: [&str; 10] = ["ceil", "floor", "round", "sgn", "sin", "cos", "tan", "acos", "asin", "atanh"];

impl Generator<'_> {
    fn number(&mut self) -> Expr {
        Expr::literal(self.text(&["2", "0.5", "1000", "-3", "0", "1e3", "Inf", "NaN", "17.25", "0x1f"]))
    }

    /// `by` or `without` some of the labels.
    fn grouping(&mut self, labels: &[&'static str]) -> String {
        let mut kept: Vec<&str> = labels.iter().copied().filter(|_| self.rng.random_bool(0.5)).collect();
        if self.chance(0.05) {
            kept.push("missing");
        }
        match self.rng.random_range(0..5) {
            0 => String::new(),
            1 | 2 => format!(" without ({})", kept.join(", ")),
            _ => format!(" by ({})", kept.join(", ")),
        }
    }

    pub(super) fn aggregate(&mut self, name: &'static str, of: Vector) -> Vector {
        let grouping = self.grouping(&of.labels);
        let labels = match grouping.split_once('(') {
            None => Vec::new(),
            Some((how, list)) => {
                let listed = |l: &&&str| list.trim_end_matches(')').split(", ").any(|other| other == **l);
                let by = how.contains("by");
                of.labels.iter().filter(|l| listed(l) == by).copied().collect()
            }
        };
        let param = match name {
            "quantile" => Some(self.text(&["0.5", "0.9", "0.1", "1", "-0.5", "1.5", "NaN"])),
            "topk" | "bottomk" => Some(self.text(&["1", "2", "3", "5", "0", "-1"])),
            "count_values" => Some("\"value\"".to_owned()),
            _ => None,
        };
        let mut args: Vec<Expr> = param.into_iter().map(Expr::literal).collect();
        args.push(of.expr);
        let picks = ["topk", "bottomk"].contains(&name);
        Vector {
            expr: Expr::aggregate(format!("{name}{grouping}"), args),
            labels: if picks { of.labels } else { labels },
            is_exact: of.is_exact && ["min", "max", "count", "group", "sum", "count_values"].contains(&name),
            order: if picks { Order::Ties } else { Order::Any },
        }
    }

    /// The whole in something else.
    pub(super) fn wrap(&mut self, inner: Vector) -> Vector {
        let Vector { expr, labels, is_exact, order } = inner;
        let with = |expr, is_exact| Vector { expr, labels: labels.clone(), is_exact, order };
        match self.rng.random_range(0..10) {
            0..3 => {
                let name = self.one(&["sum", "avg", "min", "max", "count"]);
                self.aggregate(name, Vector { expr, labels, is_exact, order })
            }
            3 | 4 => {
                let operator = self.one(&["+", "*", "/"]);
                let number = self.number();
                let (lhs, rhs) = if self.chance(0.5) { (expr, number) } else { (number, expr) };
                // Sometimes without parentheses, for what is put around it to bind tighter.
                let parens = self.chance(0.8);
                let (lhs, rhs) = (Box::new(lhs), Box::new(rhs));
                with(Expr::Binary { operator: operator.to_owned(), lhs, rhs, parens }, false)
            }
            5 => {
                let operator = self.one(&[">", "<", "> bool", "<= bool", "!="]);
                with(Expr::binary(expr, operator, Expr::literal("17.2871")), is_exact)
            }
            6 => with(Expr::Negated(Box::new(expr)), is_exact),
            7 => with(Expr::binary(expr, "or", Expr::call("vector", [Expr::literal("0")])), is_exact),
            8 => {
                let args = [expr, Expr::literal("-10"), Expr::literal("50.5")];
                with(Expr::call("clamp", args), is_exact)
            }
            _ => with(Expr::call("abs", [expr]), is_exact),
        }
    }

    pub(super) fn math(&mut self, name: &'static str) -> Vector {
        let of = if ["sinh", "cosh"].contains(&name) {
            // Rule `overflow`.
            self.selector(&[Kind::Gauge, Kind::Steps])
        } else if SHARP.contains(&name) {
            self.exact()
        } else if self.chance(0.2) {
            self.selector(&[Kind::Odd])
        } else {
            self.vector()
        };
        let mut args = vec![of.expr];
        if name == "round" && self.chance(0.5) {
            args.push(Expr::literal(self.text(&["0.25", "5", "100"])));
        }
        let is_exact = of.is_exact && ["abs", "ceil", "floor", "sgn"].contains(&name);
        Vector { expr: Expr::call(name, args), labels: of.labels, is_exact, order: Order::Any }
    }

    pub(super) fn calendar(&mut self, name: &'static str) -> Vector {
        let args = match self.rng.random_range(0..3) {
            0 => Vec::new(),
            1 => vec![self.other("timestamp").expr],
            _ => vec![Expr::binary(self.selector(&[Kind::Counter]).expr, "*", Expr::literal("86400"))],
        };
        Vector { expr: Expr::call(name, args), labels: vec!["job"], is_exact: true, order: Order::Any }
    }

    /// Two ways to look at the same series, or a series and a number.
    pub(super) fn arithmetic(&mut self, operator: &'static str) -> Vector {
        let is_sharp = ["-", "%"].contains(&operator);
        let lhs = if is_sharp { self.exact() } else { self.vector() };
        if self.chance(0.3) {
            let number = self.number();
            let (a, b) = if self.chance(0.5) { (lhs.expr, number) } else { (number, lhs.expr) };
            return Vector { expr: Expr::binary(a, operator, b), is_exact: false, ..lhs };
        }
        let family = self.family(&[Kind::Counter, Kind::Gauge, Kind::Steps]);
        let side = |of: &mut Self| Expr::Select { selector: of.matchers(family), shift: of.shift() };
        let (a, b) = (side(self), side(self));
        let matching = self.text(&["", "", " ignoring (missing)", " on (job, instance)", " on (instance)"]);
        let labels = family.labels.iter().map(|l| l.0).collect();
        Vector { expr: Expr::binary(a, format!("{operator}{matching}"), b), labels, is_exact: false, order: Order::Any }
    }

    pub(super) fn comparison(&mut self, operator: &'static str) -> Vector {
        let lhs = self.exact();
        let is_bool = if self.chance(0.5) { " bool" } else { "" };
        match self.rng.random_range(0..3) {
            0 => {
                let number = self.number();
                let (a, b) = if self.chance(0.7) { (lhs.expr, number) } else { (number, lhs.expr) };
                Vector { expr: Expr::binary(a, format!("{operator}{is_bool}"), b), ..lhs }
            }
            1 => {
                let rhs = self.exact();
                let matching = self.text(&["", " on (job, instance)", " ignoring (code)"]);
                Vector { expr: Expr::binary(lhs.expr, format!("{operator}{is_bool}{matching}"), rhs.expr), ..lhs }
            }
            _ => {
                let family = self.family(&[Kind::Counter, Kind::Gauge, Kind::Steps]);
                let side = |of: &mut Self| Expr::Select { selector: of.matchers(family), shift: of.shift() };
                let (a, b) = (side(self), side(self));
                let expr = Expr::binary(a, format!("{operator}{is_bool}"), b);
                Vector { expr, labels: family.labels.iter().map(|l| l.0).collect(), ..lhs }
            }
        }
    }

    /// Many series with one.
    pub(super) fn join(&mut self, operator: &'static str) -> Vector {
        let is_sharp = ["-", "%"].contains(&operator);
        let many = if is_sharp { self.selector(&[Kind::Steps]) } else { self.selector(&[Kind::Counter, Kind::Steps]) };
        let (one, matching, mut labels) = match self.rng.random_range(0..3) {
            0 => {
                let one = self.selector(&[Kind::Info]).expr;
                (one, "on (job, instance) group_left (version)", many.labels.clone())
            }
            1 => {
                let sums = Expr::Select { selector: "queue_depth".to_owned(), shift: self.shift() };
                (Expr::aggregate("max by (job)", [sums]), "on (job) group_left ()", many.labels.clone())
            }
            _ => {
                let sums = Expr::Select { selector: "up".to_owned(), shift: String::new() };
                (Expr::aggregate("sum by (instance)", [sums]), "on (instance) group_left ()", many.labels.clone())
            }
        };
        if matching.contains("version") {
            labels.push("version");
        }
        let expr = if self.chance(0.3) {
            Expr::binary(one, format!("{operator} {}", matching.replace("left", "right")), many.expr)
        } else {
            Expr::binary(many.expr, format!("{operator} {matching}"), one)
        };
        Vector { expr, labels, is_exact: false, order: Order::Any }
    }

    pub(super) fn set(&mut self, operator: &'static str) -> Vector {
        let (a, b) = (self.vector(), self.vector());
        let matching = self.text(&["", "", " on (job)", " on (job, instance)", " ignoring (code, le)", " on ()"]);
        let rhs = if self.chance(0.5) { self.comparison(">").expr } else { b.expr };
        Vector { expr: Expr::binary(a.expr, format!("{operator}{matching}"), rhs), is_exact: false, ..a }
    }

    pub(super) fn other(&mut self, name: &'static str) -> Vector {
        let of = self.vector();
        let exact = self.exact();
        let (labels, is_exact) = (of.labels.clone(), of.is_exact);
        let with = |expr: Expr| Vector { expr, labels: labels.clone(), is_exact, order: Order::Any };
        let family = self.family(&[Kind::Gauge, Kind::Steps]);
        match name {
            "absent" => with(Expr::call(name, [self.selector(&[Kind::Steps, Kind::Info]).expr])),
            "absent_over_time" => {
                let selector = format!("{}{{instance=\"c:2\"}}", family.name);
                let window = Expr::Window { selector, range_ms: 120_000, whole: false, shift: self.shift() };
                with(Expr::call(name, [window]))
            }
            "clamp" => {
                let (low, high) = (self.one(&["-5", "10", "60"]), self.one(&["20", "40.5", "Inf"]));
                with(Expr::call(name, [of.expr, Expr::literal(low), Expr::literal(high)]))
            }
            "clamp_max" | "clamp_min" => {
                let bound = self.number();
                with(Expr::call(name, [of.expr, bound]))
            }
            "label_replace" => {
                let (regex, source) =
                    (self.one(&["(.*):.*", "a.*", "(?P<job>.+)", "x.*", ".*"]), self.one(&["instance", "job", "none"]));
                let target = self.one(&["target", "job", "instance"]);
                let with_text = self.one(&["$1-x", "$job", "", "fixed", "${1}y"]);
                let texts = [target, with_text, source, regex].map(Expr::text);
                with(Expr::call(name, [vec![of.expr], texts.to_vec()].concat()))
            }
            "label_join" => {
                let texts = [self.one(&["target", "job"]), "-", "job", "instance"].map(Expr::text);
                with(Expr::call(name, [vec![of.expr], texts.to_vec()].concat()))
            }
            "sort" | "sort_desc" => Vector { order: Order::ByValue, ..with(Expr::call(name, [exact.expr])) },
            "scalar" => {
                let one = Expr::aggregate("max", [exact.expr]);
                let operator = self.one(&["+", "*", "> bool", "^"]);
                with(Expr::binary(Expr::call("scalar", [one]), operator, Expr::literal("1.5")))
            }
            "vector" => {
                let scalar = Expr::binary(Expr::call("time", []), "%", Expr::literal("3600"));
                with(Expr::call(name, [scalar]))
            }
            "timestamp" => {
                let mut of = self.selector(&[Kind::Gauge, Kind::Steps]).expr;
                if let Expr::Select { shift, .. } = &mut of
                    && shift.contains('@')
                    && shift.contains("offset")
                {
                    // Rule `moments`.
                    shift.clear();
                }
                with(Expr::call(name, [of]))
            }
            "time" => with(Expr::binary(Expr::call("time", []), "-", Expr::literal("1e9"))),
            "unary" => with(Expr::Negated(Box::new(Expr::binary(exact.expr, "^", Expr::literal("2"))))),
            _ => {
                let operator = self.one(&COMPARISONS);
                let refused = [
                    Expr::binary(exact.expr, "and", Expr::literal("1")),
                    Expr::call("rate", [of.expr.clone()]),
                    Expr::binary(Expr::literal("1"), operator, Expr::literal("2")),
                    Expr::aggregate("topk", [of.expr]),
                    Expr::call("nonsense", []),
                ];
                with(refused[self.rng.random_range(0..refused.len())].clone())
            }
        }
    }
}
