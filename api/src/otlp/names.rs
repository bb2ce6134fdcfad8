//! Prometheus names of OpenTelemetry metrics and attributes, by the translation strategies of Prometheus.
use crate::config::TranslationStrategy;

/// Unit of measure -> word.
fn unit_word(unit: &str) -> &str {
    match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "%" => "percent",
        "1" => "",
        other => other,
    }
}

fn per_word(unit: &str) -> &str {
    match unit {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        other => other,
    }
}

/// What a metric is, as far as its name goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameKind {
    Gauge,
    /// A monotonic sum.
    Counter,
    Other,
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

fn tokens(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !is_name_char(c)).filter(|t| !t.is_empty()).map(str::to_owned)
}

/// The unit as tokens: the unit itself, then `per` and its divisor. What has braces is dropped.
fn unit_tokens(unit: &str) -> (Vec<String>, Vec<String>) {
    let (main, per) = unit.split_once('/').map_or((unit, ""), |(m, p)| (m, p));
    let of = |text: &str, word: fn(&str) -> &str| -> Vec<String> {
        let text = text.trim();
        if text.contains(['{', '}']) { Vec::new() } else { tokens(word(text)).collect() }
    };
    (of(main, unit_word), of(per, per_word))
}

/// The metric's name; `None` when nothing is left of it.
pub(super) fn metric_name(strategy: TranslationStrategy, name: &str, unit: &str, kind: NameKind) -> Option<String> {
    use TranslationStrategy::*;
    let made = match strategy {
        UnderscoreEscapingWithSuffixes => escaped_with_suffixes(name, unit, kind),
        UnderscoreEscapingWithoutSuffixes => {
            let words: Vec<&str> =
                name.split(|c: char| !is_name_char(c) && c != '_').filter(|word| !word.is_empty()).collect();
            no_leading_digit(words.join("_"))
        }
        NoUtf8EscapingWithSuffixes => with_suffixes(name, unit, kind),
        NoTranslation => name.to_owned(),
    };
    // Underscores alone say nothing, unless the metric was called so.
    (!made.is_empty() && (made == name || made.chars().any(|c| c != '_'))).then_some(made)
}

/// The type's suffix.
fn suffix_of(unit: &str, kind: NameKind) -> Option<&'static str> {
    match kind {
        NameKind::Counter => Some("total"),
        NameKind::Gauge if unit == "1" => Some("ratio"),
        NameKind::Gauge | NameKind::Other => None,
    }
}

fn escaped_with_suffixes(name: &str, unit: &str, kind: NameKind) -> String {
    let mut words: Vec<String> = tokens(name).collect();
    let (main, per) = unit_tokens(unit);
    let main = main.join("_");
    if !main.is_empty() && !words.contains(&main) {
        words.push(main);
    }
    if !per.is_empty() {
        words.push(format!("per_{}", per.join("_")));
    }
    if let Some(suffix) = suffix_of(unit, kind) {
        words.retain(|w| w != suffix);
        words.push(suffix.to_owned());
    }
    no_leading_digit(words.join("_"))
}

fn no_leading_digit(name: String) -> String {
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// Nothing is escaped; a suffix that is there already moves to its place.
fn with_suffixes(name: &str, unit: &str, kind: NameKind) -> String {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let word = |text: &str, of: fn(&str) -> &str| {
        let text = text.trim();
        if text.contains(['{', '}']) { String::new() } else { of(text).to_owned() }
    };
    let (main, per) = (word(main, unit_word), word(per, per_word));
    let per = if per.is_empty() { per } else { format!("per_{per}") };
    let mut out = name.to_owned();
    let last = suffix_of(unit, kind).unwrap_or_default();
    for suffix in [last, &per] {
        if !suffix.is_empty() && out.ends_with(suffix) && out.len() > suffix.len() + 1 {
            // The suffix and what stands before it.
            let cut = out.len() - suffix.len();
            let before = out[..cut].char_indices().next_back().map_or(0, |(at, _)| at);
            out.truncate(before);
        }
    }
    let has_main = out.ends_with(&main);
    for suffix in [if has_main { "" } else { &main }, &per, last] {
        if !suffix.is_empty() {
            out.push('_');
            out.push_str(suffix);
        }
    }
    out
}

/// The label name of an attribute; `None` when nothing is left of it.
pub(super) fn label_name(strategy: TranslationStrategy, key: &str) -> Option<String> {
    use TranslationStrategy::*;
    let made = match strategy {
        NoUtf8EscapingWithSuffixes | NoTranslation => key.to_owned(),
        UnderscoreEscapingWithSuffixes | UnderscoreEscapingWithoutSuffixes => escaped_label(key),
    };
    made.chars().any(|c| c != '_').then_some(made)
}

fn escaped_label(key: &str) -> String {
    if key.starts_with("__") {
        return key.to_owned();
    }
    let out: String = key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    match out.as_bytes() {
        [first, ..] if first.is_ascii_digit() => format!("key_{out}"),
        [b'_', rest @ ..] if !rest.starts_with(b"_") => format!("key{out}"),
        _ => out,
    }
}

/// The unit as metadata names it.
pub(super) fn unit_text(unit: &str) -> String {
    let (main, per) = unit_tokens(unit);
    let main = main.join("_");
    if per.is_empty() { main } else { format!("{main}_per_{}", per.join("_")).trim_start_matches('_').to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    use TranslationStrategy::{
        NoTranslation, NoUtf8EscapingWithSuffixes, UnderscoreEscapingWithSuffixes, UnderscoreEscapingWithoutSuffixes,
    };

    #[test]
    fn metric_names() {
        for (name, unit, kind, expected) in [
            ("http.server.duration", "ms", NameKind::Other, "http_server_duration_milliseconds"),
            ("http.requests", "{request}", NameKind::Counter, "http_requests_total"),
            ("total.things", "1", NameKind::Counter, "things_total"),
            ("cpu.utilization", "1", NameKind::Gauge, "cpu_utilization_ratio"),
            ("system.network.io", "By/s", NameKind::Gauge, "system_network_io_bytes_per_second"),
            ("disk_bytes", "By", NameKind::Gauge, "disk_bytes"),
            ("requests.second", "1/s", NameKind::Other, "requests_second_per_second"),
            ("1st", "", NameKind::Gauge, "_1st"),
            ("a:b__c", "fortnight", NameKind::Gauge, "a:b_c_fortnight"),
        ] {
            assert_eq!(metric_name(UnderscoreEscapingWithSuffixes, name, unit, kind).unwrap(), expected, "{name}");
        }
        assert_eq!(metric_name(UnderscoreEscapingWithSuffixes, "...", "", NameKind::Gauge), None);
        assert_eq!(metric_name(UnderscoreEscapingWithoutSuffixes, "._.", "", NameKind::Gauge), None);
    }

    #[test]
    fn the_other_strategies() {
        for (strategy, name, unit, kind, expected) in [
            (UnderscoreEscapingWithoutSuffixes, "http.requests__seen", "s", NameKind::Counter, "http_requests__seen"),
            (UnderscoreEscapingWithoutSuffixes, "1.a", "", NameKind::Gauge, "_1_a"),
            (
                NoUtf8EscapingWithSuffixes,
                "http.requests",
                "By/s",
                NameKind::Counter,
                "http.requests_bytes_per_second_total",
            ),
            (NoUtf8EscapingWithSuffixes, "http.requests.total", "", NameKind::Counter, "http.requests_total"),
            (NoUtf8EscapingWithSuffixes, "ratio.seen.ratio", "1", NameKind::Gauge, "ratio.seen_ratio"),
            (NoUtf8EscapingWithSuffixes, "disk.bytes", "By", NameKind::Gauge, "disk.bytes"),
            (NoTranslation, "http.requests", "s", NameKind::Counter, "http.requests"),
        ] {
            assert_eq!(metric_name(strategy, name, unit, kind).unwrap(), expected, "{strategy:?} {name}");
        }
        assert_eq!(label_name(NoTranslation, "http.method").unwrap(), "http.method");
        assert_eq!(label_name(NoTranslation, "__"), None);
    }

    #[test]
    fn label_names() {
        for (key, expected) in [
            ("a.b", Some("a_b")),
            ("1a", Some("key_1a")),
            ("_a", Some("key_a")),
            ("__a", Some("__a")),
            ("a__b", Some("a__b")),
            ("..", None),
            ("", None),
        ] {
            assert_eq!(label_name(UnderscoreEscapingWithSuffixes, key).as_deref(), expected, "{key}");
        }
    }
}
