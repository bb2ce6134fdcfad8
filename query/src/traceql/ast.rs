//! The syntax tree of TraceQL. Built by [`super::parser`], checked by [`super::validate`], printed by [`super::print`].

/// A whole query.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    pub body: Body,
    /// `with(k=v, …)`; hints that nobody knows are ignored.
    pub hints: Vec<(String, Static)>,
}

impl Query {
    /// Value of a hint; the last one wins.
    pub fn hint(&self, name: &str) -> Option<&Static> {
        self.hints.iter().rev().find(|(k, _)| k == name).map(|(_, v)| v)
    }
}

/// What a query yields.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Span sets.
    Spans(Pipeline),
    /// `({…} | count()) > ({…} | count())`: compares pipelines that end in an aggregate.
    ScalarPipelines { op: BinaryOp, left: ScalarPipeline, right: ScalarPipeline },
    /// Series.
    Metrics(MetricsExpr),
}

/// Stages joined by `|`; at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    pub stages: Vec<Stage>,
}

/// One stage of a pipeline of span sets.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    Spanset(SpansetExpr),
    /// `avg(duration) > 1s`
    Scalar {
        op: BinaryOp,
        left: ScalarExpr,
        right: ScalarExpr,
    },
    By(FieldExpr),
    Coalesce,
    Select(Vec<Field>),
}

/// `{…}`, relations of span sets, and pipelines in parentheses.
#[derive(Clone, Debug, PartialEq)]
pub enum SpansetExpr {
    /// `{}` is `None`.
    Filter(Option<FieldExpr>),
    Pipeline(Pipeline),
    Op {
        op: SpansetOp,
        left: Box<SpansetExpr>,
        right: Box<SpansetExpr>,
    },
}

/// Operators between span sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpansetOp {
    And,
    Or,
    /// A relation between spans of a trace, plain, negated (`!>>`) or as a union (`&>>`).
    Relation(Relation, Form),
}

/// How spans on the right of a structural operator relate to spans on its left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// `>`
    Child,
    /// `>>`
    Descendant,
    /// `<`
    Parent,
    /// `<<`
    Ancestor,
    /// `~`
    Sibling,
}

impl Relation {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Child => ">",
            Self::Descendant => ">>",
            Self::Parent => "<",
            Self::Ancestor => "<<",
            Self::Sibling => "~",
        }
    }
}

/// Variant of a structural operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Plain,
    Not,
    Union,
}

impl Form {
    /// What is written before the relation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Not => "!",
            Self::Union => "&",
        }
    }
}

/// `(pipeline | aggregate)`, arithmetic of such, or a number.
#[derive(Clone, Debug, PartialEq)]
pub enum ScalarPipeline {
    Aggregate(Pipeline, Aggregate),
    Binary { op: BinaryOp, left: Box<ScalarPipeline>, right: Box<ScalarPipeline> },
    Static(Static),
}

/// One side of a scalar filter.
#[derive(Clone, Debug, PartialEq)]
pub enum ScalarExpr {
    Static(Static),
    Aggregate(Aggregate),
    Binary { op: BinaryOp, left: Box<ScalarExpr>, right: Box<ScalarExpr> },
}

/// `count()`, `avg(expr)` …
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    pub op: AggregateOp,
    /// `None` for `count()`.
    pub expr: Option<FieldExpr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AggregateOp {
    Count,
    Avg,
    Min,
    Max,
    Sum,
}

/// An expression over one span.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldExpr {
    Static(Static),
    Field(Field),
    Unary { op: UnaryOp, expr: Box<FieldExpr> },
    Binary { op: BinaryOp, left: Box<FieldExpr>, right: Box<FieldExpr> },
}

impl FieldExpr {
    /// Calls `each` for every field, left to right.
    pub fn fields<'a>(&'a self, each: &mut impl FnMut(&'a Field)) {
        match self {
            Self::Static(_) => {}
            Self::Field(field) => each(field),
            Self::Unary { expr, .. } => expr.fields(each),
            Self::Binary { left, right, .. } => {
                left.fields(each);
                right.fields(each);
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    Not,
    Neg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    And,
    Or,
    Eq,
    NotEq,
    Less,
    LessEq,
    Greater,
    GreaterEq,
    Regex,
    NotRegex,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
}

impl BinaryOp {
    /// Yields a boolean from two operands of one type.
    pub fn is_comparison(self) -> bool {
        use BinaryOp::*;
        matches!(self, Eq | NotEq | Less | LessEq | Greater | GreaterEq | Regex | NotRegex)
    }

    /// A comparison that scalars have.
    pub fn is_scalar_comparison(self) -> bool {
        self.is_comparison() && !matches!(self, Self::Regex | Self::NotRegex)
    }

    pub fn is_arithmetic(self) -> bool {
        use BinaryOp::*;
        matches!(self, Add | Sub | Mul | Div | Mod | Pow)
    }

    /// Precedence: a higher one binds tighter. `!` stands between 3 and 5, unary `-` above all.
    pub fn precedence(self) -> u8 {
        use BinaryOp::*;
        match self {
            And | Or => 1,
            Eq | NotEq | Less | LessEq | Greater | GreaterEq | Regex | NotRegex => 2,
            Add | Sub => 3,
            Mul | Div | Mod => 5,
            Pow => 6,
        }
    }
}

/// An attribute or an intrinsic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    Attribute {
        scope: AttributeScope,
        /// `parent.…`: parses, not evaluated.
        parent: bool,
        name: String,
    },
    Intrinsic {
        intrinsic: Intrinsic,
        /// Written as `span:name` where the plain `name` exists too.
        scoped: bool,
    },
}

impl Field {
    /// The name under which a search result shows the field: without scope.
    pub fn bare_name(&self) -> &str {
        match self {
            Self::Attribute { name, .. } => name,
            Self::Intrinsic { intrinsic, .. } => intrinsic.plain().or(intrinsic.scoped()).unwrap_or(""),
        }
    }
}

/// Where an attribute is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttributeScope {
    /// Span, resource, event, link, instrumentation: the first that has it.
    Any,
    Span,
    Resource,
    Event,
    Link,
    Instrumentation,
}

impl AttributeScope {
    pub const NAMED: [Self; 5] = [Self::Span, Self::Resource, Self::Event, Self::Link, Self::Instrumentation];

    /// "" for [`AttributeScope::Any`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Span => "span",
            Self::Resource => "resource",
            Self::Event => "event",
            Self::Link => "link",
            Self::Instrumentation => "instrumentation",
        }
    }
}

/// Fields that the protocol or the trace's shape defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intrinsic {
    Duration,
    Name,
    Status,
    StatusMessage,
    Kind,
    ChildCount,
    RootName,
    RootServiceName,
    TraceDuration,
    TraceId,
    SpanId,
    ParentId,
    EventName,
    EventTimeSinceStart,
    LinkSpanId,
    LinkTraceId,
    InstrumentationName,
    InstrumentationVersion,
    NestedSetLeft,
    NestedSetRight,
    NestedSetParent,
    Parent,
}

/// Intrinsic, its plain spelling, its scoped spelling.
type Spelling = (Intrinsic, Option<&'static str>, Option<&'static str>);

const SPELLINGS: [Spelling; 22] = [
    (Intrinsic::Duration, Some("duration"), Some("span:duration")),
    (Intrinsic::Name, Some("name"), Some("span:name")),
    (Intrinsic::Status, Some("status"), Some("span:status")),
    (Intrinsic::StatusMessage, Some("statusMessage"), Some("span:statusMessage")),
    (Intrinsic::Kind, Some("kind"), Some("span:kind")),
    (Intrinsic::ChildCount, Some("childCount"), Some("span:childCount")),
    (Intrinsic::RootName, Some("rootName"), Some("trace:rootName")),
    (Intrinsic::RootServiceName, Some("rootServiceName"), Some("trace:rootService")),
    (Intrinsic::TraceDuration, Some("traceDuration"), Some("trace:duration")),
    (Intrinsic::TraceId, None, Some("trace:id")),
    (Intrinsic::SpanId, None, Some("span:id")),
    (Intrinsic::ParentId, None, Some("span:parentID")),
    (Intrinsic::EventName, None, Some("event:name")),
    (Intrinsic::EventTimeSinceStart, None, Some("event:timeSinceStart")),
    (Intrinsic::LinkSpanId, None, Some("link:spanID")),
    (Intrinsic::LinkTraceId, None, Some("link:traceID")),
    (Intrinsic::InstrumentationName, None, Some("instrumentation:name")),
    (Intrinsic::InstrumentationVersion, None, Some("instrumentation:version")),
    (Intrinsic::NestedSetLeft, Some("nestedSetLeft"), None),
    (Intrinsic::NestedSetRight, Some("nestedSetRight"), None),
    (Intrinsic::NestedSetParent, Some("nestedSetParent"), None),
    (Intrinsic::Parent, Some("parent"), None),
];

impl Intrinsic {
    pub fn all() -> impl Iterator<Item = Self> {
        SPELLINGS.iter().map(|s| s.0)
    }

    fn spelling(self) -> Option<&'static Spelling> {
        SPELLINGS.iter().find(|s| s.0 == self)
    }

    /// `name`, `status` …
    pub fn plain(self) -> Option<&'static str> {
        self.spelling().and_then(|s| s.1)
    }

    /// `span:name`, `trace:id` …
    pub fn scoped(self) -> Option<&'static str> {
        self.spelling().and_then(|s| s.2)
    }

    /// The field that `text` spells, plain or scoped.
    pub fn parse(text: &str) -> Option<Field> {
        SPELLINGS.iter().find_map(|&(intrinsic, plain, scoped)| {
            let is_scoped = scoped == Some(text);
            (is_scoped || plain == Some(text)).then_some(Field::Intrinsic { intrinsic, scoped: is_scoped })
        })
    }
}

/// A literal.
#[derive(Clone, Debug, PartialEq)]
pub enum Static {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    /// Nanoseconds.
    Duration(i64),
    Status(Status),
    Kind(Kind),
}

impl Static {
    pub fn is_number(&self) -> bool {
        matches!(self, Self::Int(_) | Self::Float(_) | Self::Duration(_))
    }
}

/// Status of a span. The numbers are OTLP's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Unset = 0,
    Ok = 1,
    Error = 2,
}

impl Status {
    /// In the order in which the API lists them.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Error, Self::Unset];

    /// Of an OTLP code; an unknown one is unset.
    pub fn from_code(code: i64) -> Self {
        Self::ALL.into_iter().find(|s| *s as i64 == code).unwrap_or(Self::Unset)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

/// Kind of a span. The numbers are OTLP's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Unspecified = 0,
    Internal = 1,
    Server = 2,
    Client = 3,
    Producer = 4,
    Consumer = 5,
}

impl Kind {
    /// In the order in which the API lists them.
    pub const ALL: [Self; 6] =
        [Self::Client, Self::Server, Self::Producer, Self::Consumer, Self::Internal, Self::Unspecified];

    /// Of an OTLP kind; an unknown one is unspecified.
    pub fn from_code(code: i64) -> Self {
        Self::ALL.into_iter().find(|k| *k as i64 == code).unwrap_or(Self::Unspecified)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

/// A query that yields series. Not evaluated by this version.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricsExpr {
    /// `pipeline | rate() by (…)`
    Aggregate { pipeline: Pipeline, function: MetricsFunction, by: Vec<Field> },
    /// `… | topk(n)`
    Rank { input: Box<MetricsExpr>, bottom: bool, n: i64 },
    /// `… > value`
    Filter { input: Box<MetricsExpr>, op: BinaryOp, value: Static },
    /// `(…) + (…)`; at least one side is not a number.
    Math { op: BinaryOp, left: Box<MetricsExpr>, right: Box<MetricsExpr> },
    /// Operand of [`MetricsExpr::Math`] only: int or float.
    Number(Static),
}

/// First stage of a metrics query.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricsFunction {
    Rate,
    CountOverTime,
    MinOverTime(Field),
    MaxOverTime(Field),
    AvgOverTime(Field),
    SumOverTime(Field),
    QuantileOverTime(Field, Vec<f64>),
    HistogramOverTime(Field),
    /// Selection, then `topN[, startNs, endNs]` as given.
    Compare(Option<FieldExpr>, Vec<i64>),
}
