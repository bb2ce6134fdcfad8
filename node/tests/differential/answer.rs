//! An answer of `/api/v1/query` or `/api/v1/query_range`, and whether two are the same.
use std::collections::BTreeMap;

use serde_json::Value as Json;

/// Largest relative difference between two values that are the same.
const RELATIVE: f64 = 1e-9;
/// Rule `rests`: the data is of sixty-fourths, so what is smaller is left over of a difference; but some of it is tiny.
const REST: f64 = 1e-11;
const NOTHING: f64 = 1e-200;

/// What a server said to a query.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// A 4xx.
    Refused { status: u16, text: String },
    /// A scalar is a series without labels. Labels are in the JSON's order, which both servers sort; times are ms.
    Series(Vec<(String, Vec<(i64, f64)>)>),
}

impl Answer {
    /// Reads a reply; the error says why it is no answer.
    pub(crate) fn read(status: u16, body: &[u8]) -> Result<Self, String> {
        let text = || String::from_utf8_lossy(body).into_owned();
        let json: Json = serde_json::from_slice(body).map_err(|e| format!("{status}: {e}: {}", text()))?;
        let unexpected = || format!("{status}: {}", text());
        if (400..500).contains(&status) && json["status"] == "error" {
            let text = json["error"].as_str().ok_or_else(unexpected)?.to_owned();
            return Ok(Self::Refused { status, text });
        }
        if status != 200 || json["status"] != "success" {
            return Err(unexpected());
        }
        let result = &json["data"]["result"];
        if json["data"]["resultType"] == "scalar" {
            return Ok(Self::Series(vec![(String::new(), vec![point(result).ok_or_else(unexpected)?])]));
        }
        let series = |s: &Json| {
            let points = match &s["values"] {
                Json::Array(all) => all.iter().map(point).collect::<Option<_>>()?,
                _ => vec![point(&s["value"])?],
            };
            Some((s["metric"].to_string(), points))
        };
        let all = result.as_array().and_then(|all| all.iter().map(series).collect::<Option<_>>());
        all.map(Self::Series).ok_or_else(unexpected)
    }

    /// Whether there is anything in it.
    pub(crate) fn has_points(&self) -> bool {
        matches!(self, Self::Series(all) if !all.is_empty())
    }

    /// The same series with the same values; the error says what differs first.
    pub(crate) fn same_as(&self, theirs: &Self) -> Result<(), String> {
        let (ours, theirs) = match (self, theirs) {
            (Self::Refused { .. }, Self::Refused { .. }) => return Ok(()),
            (Self::Series(ours), Self::Series(theirs)) => (by_labels(ours)?, by_labels(theirs)?),
            (ours, theirs) => return Err(format!("{}, expected {}", ours.brief(), theirs.brief())),
        };
        if let Some(more) = ours.keys().find(|labels| !theirs.contains_key(*labels)) {
            return Err(format!("{more} is too much"));
        }
        for (labels, expected) in theirs {
            let Some(got) = ours.get(labels) else { return Err(format!("{labels} is missing")) };
            same_points(got, expected).map_err(|how| format!("{labels}: {how}"))?;
        }
        Ok(())
    }

    /// Without the series' names.
    pub(crate) fn nameless(self) -> Self {
        let Self::Series(all) = self else { return self };
        let without = |labels: String| match serde_json::from_str::<Json>(&labels) {
            Ok(Json::Object(mut pairs)) => {
                pairs.shift_remove("__name__");
                Json::Object(pairs).to_string()
            }
            _ => labels,
        };
        Self::Series(all.into_iter().map(|(labels, points)| (without(labels), points)).collect())
    }

    fn brief(&self) -> String {
        match self {
            Self::Refused { status, text } => format!("{status} {text}"),
            Self::Series(all) => format!("{} series", all.len()),
        }
    }

    /// Values by time whatever their series, in order: bits, since equal values are equal exactly where ties matter.
    pub(crate) fn values(&self) -> BTreeMap<i64, Vec<u64>> {
        let mut out: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
        let Self::Series(all) = self else { return out };
        for (time, value) in all.iter().flat_map(|(_, points)| points) {
            let bits = if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
            out.entry(*time).or_default().push(bits);
        }
        out.values_mut().for_each(|values| values.sort_unstable());
        out
    }

    /// Values in the answer's order, as text.
    pub(crate) fn sequence(&self) -> Vec<String> {
        let Self::Series(all) = self else { return Vec::new() };
        all.iter().flat_map(|(_, points)| points).map(|(_, value)| value.to_string()).collect()
    }
}

type Series<'a> = BTreeMap<&'a str, &'a [(i64, f64)]>;

fn by_labels(all: &[(String, Vec<(i64, f64)>)]) -> Result<Series<'_>, String> {
    let by: Series<'_> = all.iter().map(|(labels, points)| (labels.as_str(), points.as_slice())).collect();
    if by.len() == all.len() { Ok(by) } else { Err("a series is there twice".to_owned()) }
}

fn same_points(got: &[(i64, f64)], expected: &[(i64, f64)]) -> Result<(), String> {
    let times = |points: &[(i64, f64)]| points.iter().map(|p| p.0).collect::<Vec<_>>();
    if times(got) != times(expected) {
        let (got, expected) = (times(got), times(expected));
        let differs = |a: &[i64], b: &[i64]| a.iter().filter(|t| !b.contains(t)).copied().collect::<Vec<_>>();
        return Err(format!("too many {:?}, missing {:?} (ms)", differs(&got, &expected), differs(&expected, &got)));
    }
    match got.iter().zip(expected).find(|(a, b)| !same(a.1, b.1)) {
        Some((a, b)) => Err(format!("{} at {} ms, expected {}", a.1, a.0, b.1)),
        None => Ok(()),
    }
}

fn same(a: f64, b: f64) -> bool {
    let (size, apart) = (a.abs().max(b.abs()), (a - b).abs());
    let is_rest = size > NOTHING && size < REST;
    a == b || (a.is_nan() && b.is_nan()) || is_rest || apart <= RELATIVE * size.min(f64::MAX)
}

fn point(pair: &Json) -> Option<(i64, f64)> {
    let time_ms = (pair[0].as_f64()? * 1000.0).round() as i64;
    Some((time_ms, pair[1].as_str()?.parse().ok()?))
}
