//! Parameters of Tempo's endpoints, from the URL or from a streaming request.
use trine_query::traceql::{SearchQuery, SearchRequest};

use crate::config::ApiConfig;
use crate::error::ApiError;
use crate::params::Params;
use crate::time::{go_duration_ns, prom_duration_ms};

const NS: i64 = 1_000_000_000;
/// Range of a search that names none.
const RANGE_NS: i64 = 15 * 60 * NS;
const LIMIT: usize = 20;
const SPANS_PER_SET: usize = 3;
const SPANS_PER_SET_MAX: usize = 100;
/// Longest TraceQL text.
const QUERY_BYTES_MAX: usize = 131_072;
/// Parameters that are not tags of the older search.
const KNOWN: [&str; 12] =
    ["q", "tags", "minDuration", "maxDuration", "limit", "spss", "start", "end", "since", "query", "scope", "tag"];

fn bad(text: impl Into<String>) -> ApiError {
    ApiError::BadRequest(text.into())
}

/// Unix seconds of a parameter.
fn seconds(params: &Params, name: &str) -> Result<Option<i64>, ApiError> {
    let Some(text) = params.get(name) else { return Ok(None) };
    let s: u32 =
        text.parse().map_err(|_| bad(format!("invalid {name}: strconv.ParseInt: parsing {text:?}: invalid syntax")))?;
    Ok(Some(i64::from(s)))
}

/// Checks a range in seconds (0 and 0: the last 15 minutes) and gives it in ns, the whole last second included, so that
/// what was acknowledged in this second is seen.
pub(super) fn range_ns(start_s: i64, end_s: i64, config: &ApiConfig, now_ns: i64) -> Result<(i64, i64), ApiError> {
    if start_s == 0 && end_s == 0 {
        return Ok((now_ns.saturating_sub(RANGE_NS), now_ns.saturating_add(NS)));
    }
    if start_s == 0 || end_s == 0 {
        return Err(bad("please provide both start and end"));
    }
    if end_s <= start_s {
        return Err(bad(format!("http parameter start must be before end. received start={start_s} end={end_s}")));
    }
    let max_s = config.trace_search_range_s_max;
    if max_s > 0 && end_s - start_s > max_s {
        return Err(bad(format!(
            "range specified by start and end exceeds {}h{}m{}s. received start={start_s} end={end_s}",
            max_s / 3600,
            max_s / 60 % 60,
            max_s % 60
        )));
    }
    Ok((start_s * NS, end_s * NS + (NS - 1)))
}

/// `start`, `end` and `since` of a request.
pub(super) fn range(params: &Params, config: &ApiConfig, now_ns: i64) -> Result<(i64, i64), ApiError> {
    if let Some(text) = params.get("since") {
        let ms = prom_duration_ms(text).ok_or_else(|| bad(format!("invalid since: {text:?}")))?;
        return Ok((now_ns.saturating_sub(ms.saturating_mul(1_000_000)), now_ns.saturating_add(NS)));
    }
    range_ns(seconds(params, "start")?.unwrap_or(0), seconds(params, "end")?.unwrap_or(0), config, now_ns)
}

/// A count of results; 0 is an error.
pub(super) fn check_limit(limit: i64, config: &ApiConfig) -> Result<usize, ApiError> {
    let max = config.trace_search_limit_max;
    let limit = usize::try_from(limit)
        .ok()
        .filter(|n| *n > 0)
        .ok_or_else(|| bad("invalid limit: must be a positive number"))?;
    if limit > max { Err(bad(format!("limit {limit} exceeds max limit {max}"))) } else { Ok(limit) }
}

/// Most spans listed of a span set.
pub(super) fn check_spans(spans: usize) -> Result<usize, ApiError> {
    if spans > SPANS_PER_SET_MAX {
        return Err(bad(format!("spans per span set exceeds {SPANS_PER_SET_MAX}. received {spans}")));
    }
    Ok(if spans == 0 { SPANS_PER_SET } else { spans })
}

/// Refuses texts that are too long to look at.
pub(super) fn check_query(query: &str) -> Result<(), ApiError> {
    if query.len() > QUERY_BYTES_MAX {
        return Err(bad(format!(
            "TraceQL expression exceeds the configured maximum size of {QUERY_BYTES_MAX} bytes, received {} bytes",
            query.len()
        )));
    }
    Ok(())
}

fn number(params: &Params, name: &str) -> Result<Option<i64>, ApiError> {
    params
        .get(name)
        .map(|text| {
            text.parse().map_err(|_| bad(format!("invalid {name}: strconv.Atoi: parsing {text:?}: invalid syntax")))
        })
        .transpose()
}

fn duration(params: &Params, name: &str) -> Result<Option<i64>, ApiError> {
    params
        .get(name)
        .map(|text| go_duration_ns(text).ok_or_else(|| bad(format!("invalid {name}: time: invalid duration {text:?}"))))
        .transpose()
}

/// A search as the URL has it.
pub(crate) fn search(params: &Params, config: &ApiConfig, now_ns: i64) -> Result<SearchRequest, ApiError> {
    let (start_ns, end_ns) = range(params, config, now_ns)?;
    let min_duration_ns = duration(params, "minDuration")?;
    let max_duration_ns = duration(params, "maxDuration")?;
    if let (Some(min), Some(max)) = (min_duration_ns, max_duration_ns)
        && max < min
    {
        return Err(bad("invalid maxDuration: must be greater than minDuration"));
    }
    let spans = number(params, "spss")?.unwrap_or(0);
    let spans = usize::try_from(spans).map_err(|_| bad("invalid spss: must be a positive number"))?;
    let query = match (params.get("q"), params.get("tags")) {
        (Some(_), Some(_)) => return Err(bad("invalid request: can't specify tags and q in the same query")),
        (Some(q), None) => {
            check_query(q)?;
            SearchQuery::TraceQl(q.to_owned())
        }
        (None, tags) => SearchQuery::Tags {
            tags: match tags {
                Some(text) => parse_tags(text)?,
                None => loose_tags(params),
            },
            min_duration_ns,
            max_duration_ns,
        },
    };
    Ok(SearchRequest {
        query,
        start_ns,
        end_ns,
        limit: check_limit(number(params, "limit")?.unwrap_or(LIMIT as i64), config)?,
        spans_per_set: check_spans(spans)?,
    })
}

/// Unknown parameters are tags when nothing else says what to look for.
fn loose_tags(params: &Params) -> Vec<(String, String)> {
    if params.get("start").is_some() || params.get("end").is_some() {
        return Vec::new();
    }
    let tags = params.iter().filter(|(n, v)| !KNOWN.contains(n) && !v.is_empty());
    tags.map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

/// logfmt: `k=v k2="v 2"`.
fn parse_tags(text: &str) -> Result<Vec<(String, String)>, ApiError> {
    let wrong = |what: &str, rest: &str| bad(format!("invalid tags: {what} at pos {}", text.len() - rest.len() + 1));
    let mut tags: Vec<(String, String)> = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let equals = rest.find(['=', ' ']).filter(|at| rest.as_bytes()[*at] == b'=' && *at > 0);
        let (key, after) = match equals {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => return Err(wrong("unexpected key without value", rest)),
        };
        let (value, next) = match after.strip_prefix('"') {
            None => {
                let end = after.find(' ').unwrap_or(after.len());
                (after[..end].to_owned(), &after[end..])
            }
            Some(quoted) => unquote(quoted).ok_or_else(|| wrong("unterminated quoted value", after))?,
        };
        if tags.iter().any(|(k, _)| k == key) {
            return Err(bad(format!("invalid tags: tag {key} has been set twice")));
        }
        tags.push((key.to_owned(), value));
        rest = next.trim_start();
    }
    Ok(tags)
}

/// The value up to the closing quote, and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

/// A trace id from a path: 1 to 32 hex digits, padded on the left.
pub(crate) fn trace_id(text: &str) -> Result<[u8; 16], ApiError> {
    if let Some((at, c)) = text.char_indices().find(|(_, c)| !c.is_ascii_hexdigit()) {
        return Err(bad(format!(
            "trace IDs can only contain hex characters: invalid character {c:?} at position {}",
            at + 1
        )));
    }
    if text.len() > 32 {
        return Err(bad("trace IDs can't be larger than 128 bits"));
    }
    let mut id = [0; 16];
    hex::decode_to_slice(format!("{text:0>32}"), &mut id).map_err(|e| bad(e.to_string()))?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use http::Uri;

    use super::*;

    fn of(query: &str) -> Result<SearchRequest, ApiError> {
        let uri: Uri = format!("/api/search?{query}").parse().unwrap();
        search(&Params::parse(&[], &uri).unwrap(), &ApiConfig::default(), 1_700_000_000_000_000_000)
    }

    #[test]
    fn refusals_in_tempos_words() {
        for (query, text) in [
            ("q=%7B%7D&tags=a%3Db", "invalid request: can't specify tags and q in the same query"),
            ("limit=0", "invalid limit: must be a positive number"),
            ("limit=262145", "limit 262145 exceeds max limit 262144"),
            ("spss=101", "spans per span set exceeds 100. received 101"),
            ("start=10&end=5", "http parameter start must be before end. received start=10 end=5"),
            ("start=1&end=1000000", "range specified by start and end exceeds 168h0m0s. received start=1 end=1000000"),
            ("tags=a%3D1%20a%3D2", "invalid tags: tag a has been set twice"),
        ] {
            assert_eq!(of(query).unwrap_err().to_string(), text, "{query}");
        }
        assert!(of("start=10").is_err());
        assert!(of("tags=a").is_err());
    }

    #[test]
    fn searches() {
        let s = of("q=%7B%7D&start=1&end=2&limit=5&spss=7").unwrap();
        assert_eq!((s.start_ns, s.end_ns, s.limit, s.spans_per_set), (NS, 3 * NS - 1, 5, 7));
        let SearchQuery::Tags { tags, min_duration_ns, .. } =
            of("tags=a%3D1%20b%3D%22x%20y%22&minDuration=1.5s").unwrap().query
        else {
            panic!("tags were given")
        };
        assert_eq!(tags, [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "x y".to_owned())]);
        assert_eq!(min_duration_ns, Some(1_500_000_000));
        let SearchQuery::Tags { tags, .. } = of("service.name=a&limit=3").unwrap().query else {
            panic!("loose tags were given")
        };
        assert_eq!(tags, [("service.name".to_owned(), "a".to_owned())]);
    }

    #[test]
    fn trace_ids() {
        assert_eq!(trace_id("1F").unwrap()[15], 0x1f);
        assert_eq!(
            trace_id("xy").unwrap_err().to_string(),
            "trace IDs can only contain hex characters: invalid character 'x' at position 1"
        );
        assert_eq!(trace_id(&"1".repeat(33)).unwrap_err().to_string(), "trace IDs can't be larger than 128 bits");
    }
}
