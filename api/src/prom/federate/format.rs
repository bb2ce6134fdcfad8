//! Which format a reader of a page gets, by its `Accept`.
use super::names::Escaping;
use super::prototext::Layout;

/// Bytes of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Text 0.0.4.
    Text,
    /// MetricFamily messages, each behind its length.
    Delimited,
    /// The same messages in protobuf's text format.
    ProtoText(Layout),
}

impl Encoding {
    /// Of protobuf's `encoding` parameter.
    fn of_protobuf(text: &str) -> Option<Self> {
        match text {
            "delimited" => Some(Self::Delimited),
            "text" => Some(Self::ProtoText(Layout::Lines)),
            "compact-text" => Some(Self::ProtoText(Layout::OneLine)),
            _ => None,
        }
    }

    /// Media type and parameters.
    fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::Delimited => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
            Self::ProtoText(Layout::Lines) => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=text"
            }
            Self::ProtoText(Layout::OneLine) => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=compact-text"
            }
        }
    }
}

/// Encoding and how names beyond the classic alphabet are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) encoding: Encoding,
    pub(super) escaping: Escaping,
}

impl Format {
    pub(super) fn content_type(self) -> String {
        format!("{}; escaping={}", self.encoding.as_str(), self.escaping.as_str())
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
        "application/vnd.google.protobuf" if get("proto") == "io.prometheus.client.MetricFamily" => {
            Encoding::of_protobuf(get("encoding"))?
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

    #[test]
    fn protobuf_is_delimited_or_text() {
        use Encoding::{Delimited, ProtoText, Text};
        let lines = ProtoText(Layout::Lines);
        let one_line = ProtoText(Layout::OneLine);
        // Each item: protobuf's encoding and its q; text 0.0.4 has 0.5.
        for (items, encoding) in [
            (&[("text", "1")][..], lines),
            (&[("compact-text", "0.6")], one_line),
            (&[("compact-text", "0.4")], Text),
            (&[("text", "0.6"), ("compact-text", "0.7")], one_line),
            (&[("text", "0.7"), ("compact-text", "0.7"), ("delimited", "0.7")], lines),
            (&[("compact-text", "0.8"), ("delimited", "0.9")], Delimited),
            (&[("text", "0"), ("compact-text", "x"), ("json", "1"), ("", "1")], Text),
        ] {
            let of = |(encoding, q): &(&str, &str)| {
                format!(
                    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding={encoding};q={q}"
                )
            };
            let accept = items.iter().map(of).chain(["text/plain;version=0.0.4;q=0.5".to_owned()]);
            let accept = accept.collect::<Vec<_>>().join(", ");
            let format = negotiate(&accept);
            assert_eq!(format.encoding, encoding, "{accept}");
            // What is answered asks for the same again.
            assert_eq!(negotiate(&format.content_type()), format);
        }
    }
}
