//! A query as a tree, and its text in the words of either server.

/// Whose words a query is rendered in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Prometheus 3, which Trine speaks.
    Ours,
    /// Prometheus 2.42; see [`crate::rules`] for what is put otherwise.
    Theirs,
}

/// A part of a query. Texts in it are the same in both dialects.
#[derive(Clone, Debug)]
pub(crate) enum Expr {
    /// A number or a quoted string.
    Literal(String),
    Select {
        selector: String,
        shift: String,
    },
    /// A range selector; `whole` says that the function around it uses the length of the range.
    Window {
        selector: String,
        range_ms: i64,
        whole: bool,
        shift: String,
    },
    Subquery {
        expr: Box<Expr>,
        range_ms: i64,
        step: &'static str,
        whole: bool,
        shift: String,
    },
    Call {
        name: &'static str,
        args: Vec<Expr>,
    },
    /// `head` is as `sum by (job)`.
    Aggregate {
        head: String,
        args: Vec<Expr>,
    },
    /// `operator` is as `* on (job) group_left ()`.
    Binary {
        operator: String,
        lhs: Box<Expr>,
        rhs: Box<Expr>,
        parens: bool,
    },
    Negated(Box<Expr>),
}

impl Expr {
    pub(crate) fn call(name: &'static str, args: impl Into<Vec<Self>>) -> Self {
        Self::Call { name, args: args.into() }
    }

    pub(crate) fn literal(text: impl Into<String>) -> Self {
        Self::Literal(text.into())
    }

    pub(crate) fn text(text: &str) -> Self {
        Self::Literal(format!("{text:?}"))
    }

    pub(crate) fn aggregate(head: impl Into<String>, args: impl Into<Vec<Self>>) -> Self {
        Self::Aggregate { head: head.into(), args: args.into() }
    }

    /// In parentheses, so that nothing around it binds tighter.
    pub(crate) fn binary(lhs: Self, operator: impl Into<String>, rhs: Self) -> Self {
        Self::Binary { operator: operator.into(), lhs: Box::new(lhs), rhs: Box::new(rhs), parens: true }
    }

    /// The query's text.
    pub(crate) fn render(&self, dialect: Dialect) -> String {
        match self {
            Self::Literal(text) => text.clone(),
            Self::Select { selector, shift } => format!("{selector}{shift}"),
            Self::Window { selector, range_ms, whole, shift } => {
                format!("{selector}[{}]{shift}", length(*range_ms, *whole, dialect))
            }
            Self::Subquery { expr, range_ms, step, whole, shift } => {
                format!("{}[{}:{step}]{shift}", expr.render(dialect), length(*range_ms, *whole, dialect))
            }
            Self::Call { name, args } => format!("{}({})", name_of(name, dialect), list(args, dialect)),
            Self::Aggregate { head, args } => format!("{head} ({})", list(args, dialect)),
            Self::Binary { operator, lhs, rhs, parens } => {
                let whole = format!("{} {operator} {}", lhs.render(dialect), rhs.render(dialect));
                if *parens { format!("({whole})") } else { whole }
            }
            Self::Negated(inner) => format!("-{}", inner.render(dialect)),
        }
    }

    /// Parts that are queries themselves, the outermost first.
    pub(crate) fn parts(&self) -> Vec<&Self> {
        let inner: Vec<&Self> = match self {
            Self::Literal(_) | Self::Select { .. } | Self::Window { .. } => Vec::new(),
            Self::Subquery { expr, .. } | Self::Negated(expr) => vec![expr.as_ref()],
            Self::Call { args, .. } | Self::Aggregate { args, .. } => args.iter().collect(),
            Self::Binary { lhs, rhs, .. } => vec![lhs, rhs],
        };
        let is_query = |e: &&Self| !matches!(e, Self::Literal(_) | Self::Window { .. } | Self::Subquery { .. });
        let below = |e: &&Self| matches!(e, Self::Subquery { .. });
        let mut out: Vec<&Self> = inner.iter().copied().filter(is_query).collect();
        out.extend(inner.iter().copied().filter(below).flat_map(Self::parts));
        out
    }

    /// Whether this or a part of it satisfies `is`.
    pub(crate) fn any(&self, is: &impl Fn(&Self) -> bool) -> bool {
        is(self)
            || match self {
                Self::Literal(_) | Self::Select { .. } | Self::Window { .. } => false,
                Self::Subquery { expr, .. } | Self::Negated(expr) => expr.any(is),
                Self::Call { args, .. } | Self::Aggregate { args, .. } => args.iter().any(|a| a.any(is)),
                Self::Binary { lhs, rhs, .. } => lhs.any(is) || rhs.any(is),
            }
    }
}

fn list(args: &[Expr], dialect: Dialect) -> String {
    args.iter().map(|a| a.render(dialect)).collect::<Vec<_>>().join(", ")
}

/// Rule `left edge`: a millisecond less is the same samples without the one at the edge.
fn length(range_ms: i64, whole: bool, dialect: Dialect) -> String {
    match dialect {
        Dialect::Theirs if !whole => format!("{}ms", range_ms - 1),
        Dialect::Theirs | Dialect::Ours => format!("{range_ms}ms"),
    }
}

/// Rule `smoothing`.
fn name_of(name: &'static str, dialect: Dialect) -> &'static str {
    match (name, dialect) {
        ("double_exponential_smoothing", Dialect::Theirs) => "holt_winters",
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dialects_differ_by_rule_alone() {
        let window = |whole| Expr::Window { selector: "m".into(), range_ms: 60_000, whole, shift: " offset 1m".into() };
        let smooth = Expr::call("double_exponential_smoothing", [window(false), Expr::literal("0.5")]);
        assert_eq!(smooth.render(Dialect::Ours), "double_exponential_smoothing(m[60000ms] offset 1m, 0.5)");
        assert_eq!(smooth.render(Dialect::Theirs), "holt_winters(m[59999ms] offset 1m, 0.5)");
        let rate = Expr::call("rate", [window(true)]);
        assert_eq!(rate.render(Dialect::Ours), rate.render(Dialect::Theirs));
    }
}
