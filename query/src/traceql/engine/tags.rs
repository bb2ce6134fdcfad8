//! Names and values of tags over all shards, with the fixed lists of the protocol.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use trine_store::model::Scope;

use super::gather::gather;
use crate::error::{Error, Result};
use crate::memory::text_bytes;
use crate::scatter::{QueryContext, Scatter};
use crate::traceql::ast::{AttributeScope, Field, Intrinsic, Kind, Status};
use crate::traceql::fragment::{Ask, Bounds, TagValues, Tags};
use crate::traceql::lenient;
use crate::traceql::model::{ScopeTags, TagScope, TagType, TagValue, TagValuesAnswer, TagsAnswer};
use crate::traceql::parser::parse_field;
use crate::traceql::wire::decode_value;

/// Names of the intrinsics, exactly as the API lists them.
pub const INTRINSIC_TAGS: [&str; 25] = [
    "duration",
    "name",
    "status",
    "statusMessage",
    "kind",
    "rootServiceName",
    "rootName",
    "traceDuration",
    "event:name",
    "event:timeSinceStart",
    "link:spanID",
    "link:traceID",
    "instrumentation:name",
    "instrumentation:version",
    "trace:id",
    "span:id",
    "span:parentID",
    "span:status",
    "span:statusMessage",
    "span:duration",
    "span:name",
    "span:kind",
    "trace:rootName",
    "trace:rootService",
    "trace:duration",
];
/// Most bytes of names or values in one answer; the rest is cut off.
const ANSWER_BYTES_MAX: usize = 1_000_000;

/// Tag names by scope. `query` filters leniently, `limit` is per scope, 0 for none.
pub async fn tags(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    scope: TagScope,
    query: &str,
    start_ns: i64,
    end_ns: i64,
    limit: usize,
) -> Result<TagsAnswer> {
    lenient::filter(query)?;
    let wanted = match scope {
        TagScope::Any => None,
        TagScope::Resource => Some(Scope::Resource),
        TagScope::Span => Some(Scope::Record),
        TagScope::Event => Some(Scope::Event),
        TagScope::Link => Some(Scope::Link),
        TagScope::Instrumentation => Some(Scope::Instrumentation),
        TagScope::Intrinsic => return Ok(TagsAnswer { scopes: vec![intrinsics()], ..TagsAnswer::default() }),
        TagScope::Trace => return Ok(TagsAnswer::default()),
    };
    let bounds = Bounds { start_ns, end_ns, limit: limit as u64, spans_per_set: 0 };
    let ask = Ask::Tags(Tags { scope: wanted.map(|s| s as u32), filter: query.to_owned(), bounds });
    let mut names: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    let mut held = ctx.memory.open();
    let gathered = gather(scatter, ctx, ask, &mut |frame| {
        for message in frame.names {
            let of_scope = names.entry(message.scope).or_default();
            if !of_scope.contains(&message.name) {
                held.add(text_bytes(&message.name))?;
                of_scope.insert(message.name);
            }
        }
        Ok(())
    })
    .await?;
    let mut answer = TagsAnswer {
        scopes: Vec::new(),
        truncated: gathered.truncated,
        metrics: gathered.metrics,
        completeness: gathered.completeness,
    };
    let mut room = ANSWER_BYTES_MAX;
    for (scope, names) in names {
        let Some(scope) = u8::try_from(scope).ok().and_then(Scope::from_u8).and_then(shown) else { continue };
        let all = names.len();
        let tags = within(names, limit, &mut room, String::len);
        answer.truncated |= tags.len() < all;
        answer.scopes.push(ScopeTags { scope, tags });
    }
    if scope == TagScope::Any {
        answer.scopes.push(intrinsics());
    }
    Ok(answer)
}

/// Tag names of all scopes; intrinsics only when asked for. [`TagsAnswer::names`] gives the one list.
pub async fn tags_v1(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    scope: TagScope,
    start_ns: i64,
    end_ns: i64,
    limit: usize,
) -> Result<TagsAnswer> {
    let mut answer = tags(scatter, ctx, scope, "", start_ns, end_ns, limit).await?;
    if scope == TagScope::Any {
        answer.scopes.retain(|s| s.scope != "intrinsic");
    }
    Ok(answer)
}

/// Values of the tag that `tag`, a TraceQL identifier, names; [`Error::Parse`] when it is none. `query` filters leniently.
pub async fn tag_values(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    tag: &str,
    query: &str,
    start_ns: i64,
    end_ns: i64,
    limit: usize,
) -> Result<TagValuesAnswer> {
    let field =
        parse_field(tag).map_err(|_| Error::Parse { message: format!("please provide a valid tagName: {tag}") })?;
    lenient::filter(query)?;
    if let Some(values) = fixed(&field) {
        return Ok(TagValuesAnswer { values, ..TagValuesAnswer::default() });
    }
    let bounds = Bounds { start_ns, end_ns, limit: limit as u64, spans_per_set: 0 };
    values(scatter, ctx, scoped(&field), query, bounds).await
}

/// Values of the attribute called `tag` in any scope, as the first version of the API has it.
pub async fn tag_values_v1(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    tag: &str,
    start_ns: i64,
    end_ns: i64,
    limit: usize,
) -> Result<TagValuesAnswer> {
    let keywords = |words: &[&str]| {
        let value = |w: &&str| TagValue { tag_type: TagType::Keyword, value: (*w).to_owned() };
        Ok(TagValuesAnswer { values: words.iter().map(value).collect(), ..TagValuesAnswer::default() })
    };
    let intrinsic = |intrinsic| vec![Field::Intrinsic { intrinsic, scoped: false }];
    let fields = match tag {
        "status.code" => return keywords(&["unset", "ok", "error"]),
        "error" => return keywords(&["true"]),
        "name" => intrinsic(Intrinsic::Name),
        "root.name" => intrinsic(Intrinsic::RootName),
        "root.service.name" => intrinsic(Intrinsic::RootServiceName),
        "" => return Err(Error::Parse { message: "please provide a non-empty tagName".to_owned() }),
        name => scoped(&Field::Attribute { scope: AttributeScope::Any, parent: false, name: name.to_owned() }),
    };
    let bounds = Bounds { start_ns, end_ns, limit: limit as u64, spans_per_set: 0 };
    values(scatter, ctx, fields, "", bounds).await
}

async fn values(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    fields: Vec<Field>,
    filter: &str,
    bounds: Bounds,
) -> Result<TagValuesAnswer> {
    let fields = fields.iter().map(Field::to_string).collect();
    let ask = Ask::TagValues(TagValues { fields, filter: filter.to_owned(), bounds });
    let (mut found, mut held) = (BTreeSet::new(), ctx.memory.open());
    let gathered = gather(scatter, ctx, ask, &mut |frame| {
        for message in frame.values {
            let value = decode_value(message)?;
            if !found.contains(&value) {
                held.add(text_bytes(&value.value))?;
                found.insert(value);
            }
        }
        Ok(())
    })
    .await?;
    let (all, mut room) = (found.len(), ANSWER_BYTES_MAX);
    let limit = usize::try_from(bounds.limit).unwrap_or(usize::MAX);
    let values = within(found, limit, &mut room, |v| v.value.len());
    Ok(TagValuesAnswer {
        truncated: gathered.truncated || values.len() < all,
        values,
        metrics: gathered.metrics,
        completeness: gathered.completeness,
    })
}

/// The first items that fit a count (0: any) and the bytes that are left.
fn within<T>(items: BTreeSet<T>, limit: usize, room: &mut usize, bytes: impl Fn(&T) -> usize) -> Vec<T> {
    let limit = if limit == 0 { usize::MAX } else { limit };
    let mut fits = |item: &T| match room.checked_sub(bytes(item)) {
        Some(left) => {
            *room = left;
            true
        }
        None => false,
    };
    items.into_iter().take(limit).take_while(|item| fits(item)).collect()
}

fn intrinsics() -> ScopeTags {
    ScopeTags { scope: "intrinsic", tags: INTRINSIC_TAGS.map(str::to_owned).to_vec() }
}

fn shown(scope: Scope) -> Option<&'static str> {
    Some(match scope {
        Scope::Resource => "resource",
        Scope::Record => "span",
        Scope::Event => "event",
        Scope::Link => "link",
        Scope::Instrumentation => "instrumentation",
        Scope::Intrinsic => return None,
    })
}

/// An attribute without scope in each scope; anything else as it is.
fn scoped(field: &Field) -> Vec<Field> {
    match field {
        Field::Attribute { scope: AttributeScope::Any, parent, name } => AttributeScope::NAMED
            .into_iter()
            .map(|scope| Field::Attribute { scope, parent: *parent, name: name.clone() })
            .collect(),
        field => vec![field.clone()],
    }
}

/// Values that no shard has to be asked for.
fn fixed(field: &Field) -> Option<Vec<TagValue>> {
    let keywords = |words: &[&str]| {
        words.iter().map(|w| TagValue { tag_type: TagType::Keyword, value: (*w).to_owned() }).collect()
    };
    let Field::Intrinsic { intrinsic, .. } = field else { return None };
    match intrinsic {
        Intrinsic::Status => Some(keywords(&Status::ALL.map(Status::as_str))),
        Intrinsic::Kind => Some(keywords(&Kind::ALL.map(Kind::as_str))),
        // Too many to choose from, or nothing to choose.
        Intrinsic::Duration
        | Intrinsic::TraceDuration
        | Intrinsic::EventTimeSinceStart
        | Intrinsic::TraceId
        | Intrinsic::SpanId
        | Intrinsic::ParentId
        | Intrinsic::LinkSpanId
        | Intrinsic::LinkTraceId
        | Intrinsic::ChildCount
        | Intrinsic::NestedSetLeft
        | Intrinsic::NestedSetRight
        | Intrinsic::NestedSetParent
        | Intrinsic::Parent => Some(Vec::new()),
        Intrinsic::Name
        | Intrinsic::StatusMessage
        | Intrinsic::RootName
        | Intrinsic::RootServiceName
        | Intrinsic::EventName
        | Intrinsic::InstrumentationName
        | Intrinsic::InstrumentationVersion => None,
    }
}
