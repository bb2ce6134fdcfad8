//! The parameters that all searches have.
use trine_store::index::Matcher;

use super::choose::Order;
use super::terms::{Algorithm, Terms};
use crate::error::ApiError;
use crate::params::Params;
use crate::prom::query::time_param;
use crate::prom::rules::go_bool;
use crate::prom::series::match_sets;
use crate::time::bad_parameter;

/// Words of a search, repeated and empty ones included.
const TERMS_MAX: usize = 32;
/// Longest of them: as long as a label's value may be, unless that is set otherwise.
const TERM_BYTES_MAX: usize = 2048;
/// Results of a search, as Prometheus bounds them by default.
pub(crate) const LIMIT_MAX: usize = 10_000;
const LIMIT: usize = 100;
const BATCH: usize = 100;
/// Without `start` this long before now.
const RANGE_MS: i64 = 3_600_000;

/// What is looked for, where, and how it is shown.
#[derive(Clone, Debug)]
pub(crate) struct SearchRequest {
    /// Series that the names are of; all if there is no set.
    pub(super) sets: Vec<Vec<Matcher>>,
    /// First and last millisecond.
    pub(super) range_ms: (i64, i64),
    pub(crate) terms: Terms,
    pub(super) order: Order,
    pub(super) limit: usize,
    /// Results of a line.
    pub(super) batch: usize,
    pub(super) include_score: bool,
}

impl SearchRequest {
    /// Errors: [`ApiError::BadRequest`] that names the parameter.
    pub(crate) fn parse(params: &Params, now_ms: i64) -> Result<Self, ApiError> {
        let start_ms = time_param(params, "start", Some(now_ms.saturating_sub(RANGE_MS)))?;
        let end_ms = time_param(params, "end", Some(now_ms))?;
        if end_ms < start_ms {
            return Err(bad_parameter("end", "end timestamp must not be before start timestamp"));
        }
        Ok(Self {
            sets: match_sets(params).map_err(|e| bad_parameter("match[]", e))?,
            range_ms: (start_ms, end_ms),
            terms: terms(params)?,
            include_score: bool_param(params, "include_score", false)?,
            order: order(params)?,
            limit: count_param(params, "limit", LIMIT, LIMIT_MAX)?,
            batch: count_param(params, "batch_size", BATCH, usize::MAX)?,
        })
    }
}

/// A boolean as Go writes it.
pub(super) fn bool_param(params: &Params, name: &str, default: bool) -> Result<bool, ApiError> {
    let Some(text) = params.get(name) else { return Ok(default) };
    go_bool(text).ok_or_else(|| bad_parameter(name, format!("must be a boolean, not {text:?}")))
}

fn count_param(params: &Params, name: &str, default: usize, max: usize) -> Result<usize, ApiError> {
    let Some(text) = params.get(name) else { return Ok(default) };
    let count = text.parse().ok().filter(|count| *count > 0);
    let count: usize = count.ok_or_else(|| bad_parameter(name, format!("must be a positive integer, not {text:?}")))?;
    if count > max {
        return Err(bad_parameter(name, format!("must be at most {max}, not {count}")));
    }
    Ok(count)
}

fn terms(params: &Params) -> Result<Terms, ApiError> {
    let words: Vec<&str> = params.all("search[]").take(TERMS_MAX + 1).collect();
    if words.len() > TERMS_MAX {
        return Err(bad_parameter("search[]", format!("there are more than {TERMS_MAX} of them")));
    }
    if words.iter().any(|word| word.len() > TERM_BYTES_MAX) {
        return Err(bad_parameter("search[]", format!("one is longer than {TERM_BYTES_MAX} bytes")));
    }
    let percent: u8 = match params.get("fuzz_threshold") {
        None => 0,
        Some(text) => text
            .parse()
            .ok()
            .filter(|percent| *percent <= 100)
            .ok_or_else(|| bad_parameter("fuzz_threshold", format!("must be from 0 to 100, not {text:?}")))?,
    };
    let algorithm = match params.get("fuzz_alg") {
        None | Some("subsequence") => Algorithm::Subsequence,
        Some("jarowinkler") => Algorithm::JaroWinkler,
        Some(text) => {
            let text = format!("must be \"subsequence\" or \"jarowinkler\", not {text:?}");
            return Err(bad_parameter("fuzz_alg", text));
        }
    };
    let case_sensitive = bool_param(params, "case_sensitive", true)?;
    Ok(Terms::new(words, algorithm, f64::from(percent) / 100.0, case_sensitive))
}

fn order(params: &Params) -> Result<Order, ApiError> {
    let (by, direction) = (params.get("sort_by"), params.get("sort_dir"));
    match (by, direction) {
        (Some(text), _) if !matches!(text, "alpha" | "score") => {
            Err(bad_parameter("sort_by", format!("must be \"alpha\" or \"score\", not {text:?}")))
        }
        (_, Some(text)) if !matches!(text, "asc" | "dsc") => {
            Err(bad_parameter("sort_dir", format!("must be \"asc\" or \"dsc\", not {text:?}")))
        }
        (None, Some(_)) => Err(bad_parameter("sort_dir", "is only for sort_by=alpha")),
        (Some("score"), Some(_)) => Err(bad_parameter("sort_dir", "is not for sort_by=score")),
        (Some("score"), None) if params.all("search[]").next().is_none() => {
            Err(bad_parameter("sort_by", "score needs search[]"))
        }
        (Some("score"), None) => Ok(Order::Score),
        (_, Some("dsc")) => Ok(Order::Descending),
        _ => Ok(Order::Ascending),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000;

    fn parse(form: &str) -> Result<SearchRequest, String> {
        let params = Params::parse(form.as_bytes(), &http::Uri::from_static("/")).unwrap();
        SearchRequest::parse(&params, NOW_MS).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_left_out_has_prometheus_defaults() {
        let r = parse("").unwrap();
        assert_eq!((r.range_ms, r.sets.len(), r.terms.count()), ((NOW_MS - 3_600_000, NOW_MS), 0, 0));
        assert_eq!((r.order, r.limit, r.batch, r.include_score), (Order::Ascending, 100, 100, false));
        let r =
            parse("start=5&end=5&match[]=up&match[]=a&search[]=x&search[]=&limit=10000&batch_size=7&include_score=t");
        let r = r.unwrap();
        assert_eq!((r.range_ms, r.sets.len(), r.terms.count()), ((5000, 5000), 2, 1));
        assert_eq!((r.limit, r.batch, r.include_score), (10_000, 7, true));
        for (form, order) in [
            ("sort_by=alpha", Order::Ascending),
            ("sort_by=alpha&sort_dir=asc", Order::Ascending),
            ("sort_by=alpha&sort_dir=dsc", Order::Descending),
            ("sort_by=score&search[]=x", Order::Score),
        ] {
            assert_eq!(parse(form).unwrap().order, order, "{form}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (form, name) in [
            ("start=x", "start"),
            ("end=x", "end"),
            ("start=2&end=1", "end"),
            ("match[]=%7B%7D", "match[]"),
            ("match[]=%7B", "match[]"),
            (&"search[]=x&".repeat(33), "search[]"),
            (&format!("search[]={}", "x".repeat(2049)), "search[]"),
            ("fuzz_threshold=101", "fuzz_threshold"),
            ("fuzz_threshold=-1", "fuzz_threshold"),
            ("fuzz_threshold=0.5", "fuzz_threshold"),
            ("fuzz_alg=soundex", "fuzz_alg"),
            ("case_sensitive=yes", "case_sensitive"),
            ("include_score=2", "include_score"),
            ("sort_by=cardinality", "sort_by"),
            ("sort_by=score", "sort_by"),
            ("sort_by=score&sort_dir=asc&search[]=x", "sort_dir"),
            ("sort_dir=asc", "sort_dir"),
            ("sort_by=alpha&sort_dir=desc", "sort_dir"),
            ("limit=0", "limit"),
            ("limit=-1", "limit"),
            ("limit=x", "limit"),
            ("limit=10001", "limit"),
            ("limit=99999999999999999999", "limit"),
            ("batch_size=0", "batch_size"),
        ] {
            let error = parse(form).unwrap_err();
            assert!(error.starts_with(&format!("invalid parameter \"{name}\": ")), "{form}: {error}");
        }
        assert!(parse(&"search[]=x&".repeat(32)).is_ok());
        assert!(parse(&format!("search[]={}", "x".repeat(2048))).is_ok());
    }
}
