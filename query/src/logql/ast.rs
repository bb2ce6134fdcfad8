//! The syntax tree of LogQL. `Display` prints one line that parses back to the same tree.
use trine_store::index::Matcher;

/// A whole query.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    Log(LogExpr),
    Metric(MetricExpr),
}

/// A stream selector and what happens to its lines.
#[derive(Clone, Debug, PartialEq)]
pub struct LogExpr {
    pub matchers: Vec<Matcher>,
    pub stages: Vec<Stage>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    LineFilter(LineFilter),
    /// All fields, or only those of the list.
    Json(Vec<Extraction>),
    Logfmt {
        strict: bool,
        keep_empty: bool,
        fields: Vec<Extraction>,
    },
    Regexp(String),
    Pattern(String),
    Unpack,
    LabelFilter(LabelFilter),
    LineFormat(String),
    LabelFormat(Vec<LabelFormat>),
    Decolorize,
    Drop(Vec<LabelPick>),
    Keep(Vec<LabelPick>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineOp {
    Contains,
    NotContains,
    Regex,
    NotRegex,
    Pattern,
    NotPattern,
}

impl LineOp {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Contains => "|=",
            Self::NotContains => "!=",
            Self::Regex => "|~",
            Self::NotRegex => "!~",
            Self::Pattern => "|>",
            Self::NotPattern => "!>",
        }
    }

    /// Whether lines that match any term are dropped instead of kept.
    pub fn is_negated(self) -> bool {
        matches!(self, Self::NotContains | Self::NotRegex | Self::NotPattern)
    }
}

/// Keeps lines that match any term, or drops them when the operator is negated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineFilter {
    pub op: LineOp,
    pub terms: Vec<LineTerm>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineTerm {
    Text(String),
    /// `ip("…")`: an address, a range or a network.
    Ip(String),
}

/// `label="expression"` of `json` and `logfmt`; a bare label has itself as the expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extraction {
    pub label: String,
    pub expression: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    Eq,
    NotEq,
    Gt,
    Ge,
    Lt,
    Le,
}

impl Compare {
    /// As label filters and binary operations print it; both `=` and `==` parse to [`Compare::Eq`] in filters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "==",
            Self::NotEq => "!=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Lt => "<",
            Self::Le => "<=",
        }
    }

    pub fn holds<T: PartialOrd>(self, a: &T, b: &T) -> bool {
        match self {
            Self::Eq => a == b,
            Self::NotEq => a != b,
            Self::Gt => a > b,
            Self::Ge => a >= b,
            Self::Lt => a < b,
            Self::Le => a <= b,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum LabelFilter {
    And(Box<LabelFilter>, Box<LabelFilter>),
    Or(Box<LabelFilter>, Box<LabelFilter>),
    Match(Matcher),
    Number { label: String, op: Compare, value: f64 },
    Duration { label: String, op: Compare, ns: i64 },
    Bytes { label: String, op: Compare, bytes: u64 },
    Ip { label: String, negated: bool, pattern: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelFormat {
    Rename { to: String, from: String },
    Template { to: String, template: String },
}

impl LabelFormat {
    pub fn target(&self) -> &str {
        match self {
            Self::Rename { to, .. } | Self::Template { to, .. } => to,
        }
    }
}

/// An item of `drop` or `keep`.
#[derive(Clone, Debug, PartialEq)]
pub enum LabelPick {
    Name(String),
    Match(Matcher),
}

#[derive(Clone, Debug, PartialEq)]
pub enum MetricExpr {
    Range(RangeExpr),
    Aggregate {
        op: AggregateOp,
        /// `k` of `topk`, `bottomk` and `approx_topk`.
        k: Option<u64>,
        grouping: Option<Grouping>,
        expr: Box<MetricExpr>,
    },
    Binary(Box<BinaryExpr>),
    LabelReplace {
        expr: Box<MetricExpr>,
        dst: String,
        replacement: String,
        src: String,
        regex: String,
    },
    Literal(f64),
    Vector(f64),
}

/// A range aggregation.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeExpr {
    pub op: RangeOp,
    /// φ of `quantile_over_time`.
    pub param: Option<f64>,
    pub log: LogExpr,
    pub unwrap: Option<Unwrap>,
    pub range_ns: i64,
    pub offset_ns: i64,
    pub grouping: Option<Grouping>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Unwrap {
    pub label: String,
    pub conversion: Option<Conversion>,
    /// Label filters after the unwrap.
    pub filters: Vec<LabelFilter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    Bytes,
    Duration,
    DurationSeconds,
}

impl Conversion {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Duration => "duration",
            Self::DurationSeconds => "duration_seconds",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Grouping {
    /// Group by all labels but `labels`.
    pub without: bool,
    pub labels: Vec<String>,
}

/// Defines an enum of named operators with `as_str` and `from_name`.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($variant),+ }
        impl $name {
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

named!(
    /// Range aggregations.
    RangeOp {
        Rate = "rate",
        RateCounter = "rate_counter",
        Count = "count_over_time",
        BytesRate = "bytes_rate",
        Bytes = "bytes_over_time",
        Sum = "sum_over_time",
        Avg = "avg_over_time",
        Min = "min_over_time",
        Max = "max_over_time",
        Stdvar = "stdvar_over_time",
        Stddev = "stddev_over_time",
        Quantile = "quantile_over_time",
        First = "first_over_time",
        Last = "last_over_time",
        Absent = "absent_over_time",
    }
);

named!(
    /// Vector aggregations.
    AggregateOp {
        Sum = "sum",
        Avg = "avg",
        Min = "min",
        Max = "max",
        Count = "count",
        Stddev = "stddev",
        Stdvar = "stdvar",
        TopK = "topk",
        BottomK = "bottomk",
        ApproxTopK = "approx_topk",
        Sort = "sort",
        SortDesc = "sort_desc",
    }
);

#[derive(Clone, Debug, PartialEq)]
pub struct BinaryExpr {
    pub op: BinaryOp,
    /// `bool`: comparisons give 0 or 1 instead of filtering.
    pub return_bool: bool,
    pub matching: Option<Matching>,
    pub lhs: MetricExpr,
    pub rhs: MetricExpr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    Or,
    And,
    Unless,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Compare(Compare),
}

impl BinaryOp {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
            Self::Unless => "unless",
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Compare(c) => c.as_str(),
        }
    }

    pub fn is_set(self) -> bool {
        matches!(self, Self::Or | Self::And | Self::Unless)
    }

    /// Larger binds tighter.
    pub fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::Compare(_) => 3,
            Self::Add | Self::Sub => 4,
            Self::Mul | Self::Div | Self::Mod => 5,
            Self::Pow => 6,
        }
    }

    /// The operation on numbers; comparisons give 1 or 0. Set operations give NaN.
    pub fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
            // Division and modulo by zero are not a number, also for non-zero dividends.
            Self::Div if b == 0.0 => f64::NAN,
            Self::Div => a / b,
            Self::Mod if b == 0.0 => f64::NAN,
            Self::Mod => a % b,
            Self::Pow => a.powf(b),
            Self::Compare(c) => f64::from(u8::from(c.holds(&a, &b))),
            Self::Or | Self::And | Self::Unless => f64::NAN,
        }
    }
}

/// Which labels of two vectors must agree, and which side may have several samples for one of the other.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Matching {
    /// `on`; otherwise `ignoring`.
    pub on: bool,
    pub labels: Vec<String>,
    pub group: Option<Group>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// `group_left`: the left side has many samples; otherwise `group_right`.
    pub left: bool,
    /// Labels taken over from the side with one sample.
    pub include: Vec<String>,
}
