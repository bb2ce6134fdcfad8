//! Which format a reader of a page gets, by its `Accept`.
use super::names::Escaping;

/// Bytes of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Text 0.0.4.
    Text,
    /// MetricFamily messages, each behind its length.
    Delimited,
}

/// Encoding and how names beyond the classic alphabet are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) encoding: Encoding,
    pub(super) escaping: Escaping,
}

impl Format {
    pub(super) fn content_type(self) -> String {
        let base = match self.encoding {
            Encoding::Text => "text/plain; version=0.0.4; charset=utf-8",
            Encoding::Delimited => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        };
        format!("{base}; escaping={}", self.escaping.as_str())
    }
}

/// The reader's favourite among what is spoken here; text if there is none. Never OpenMetrics.
pub(super) fn negotiate(accept: &str) -> Format {
    let mut wanted: Vec<(f64, usize, Format)> =
        accept.split(',').enumerate().filter_map(|(at, item)| of_item(item).map(|(q, f)| (q, at, f))).collect();
    // Equal ones in the reader's order.
    wanted.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    wanted.first().map_or(Format { encoding: Encoding::Text, escaping: Escaping::Underscores }, |(_, _, f)| *f)
}

fn of_item(item: &str) -> Option<(f64, Format)> {
    let mut pieces = item.split(';').map(str::trim);
    let media_type = pieces.next()?.to_ascii_lowercase();
    let parameters: Vec<(&str, &str)> = pieces.filter_map(|p| p.split_once('=')).collect();
    let get = |name: &str| parameters.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, v)| *v);
    let q = if get("q").is_empty() { 1.0 } else { get("q").parse().ok().filter(|q: &f64| q.is_finite())? };
    let encoding = match media_type.as_str() {
        "application/vnd.google.protobuf"
            if get("proto") == "io.prometheus.client.MetricFamily" && get("encoding") == "delimited" =>
        {
            Encoding::Delimited
        }
        "text/plain" if matches!(get("version"), "" | "0.0.4") => Encoding::Text,
        _ => return None,
    };
    (q > 0.0).then(|| (q, Format { encoding, escaping: Escaping::parse(get("escaping")) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_get_what_they_like_best() {
        use Encoding::{Delimited, Text};
        use Escaping::{AllowUtf8, Underscores};
        for (accept, encoding, escaping) in [
            ("", Text, Underscores),
            ("*/*", Text, Underscores),
            ("application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5", Text, Underscores),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,text/plain;q=0.3",
                Delimited,
                Underscores,
            ),
            (
                "text/plain;version=0.0.4;escaping=allow-utf-8;q=0.9, application/vnd.google.protobuf;q=1",
                Text,
                AllowUtf8,
            ),
            ("text/plain;version=1.0.0", Text, Underscores),
        ] {
            assert_eq!(negotiate(accept), Format { encoding, escaping }, "{accept}");
        }
    }
}
