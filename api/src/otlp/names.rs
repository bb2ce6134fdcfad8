//! Prometheus names of OpenTelemetry metrics and attributes: `UnderscoreEscapingWithSuffixes`.

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
pub(super) fn metric_name(name: &str, unit: &str, kind: NameKind) -> Option<String> {
    let mut words: Vec<String> = tokens(name).collect();
    if words.is_empty() {
        return None;
    }
    let (main, per) = unit_tokens(unit);
    let main = main.join("_");
    if !main.is_empty() && !words.contains(&main) {
        words.push(main);
    }
    let per = per.join("_");
    if !per.is_empty() && !words.contains(&per) {
        words.push("per".to_owned());
        words.push(per);
    }
    let suffix = match kind {
        NameKind::Counter => Some("total"),
        NameKind::Gauge if unit.trim() == "1" => Some("ratio"),
        NameKind::Gauge | NameKind::Other => None,
    };
    if let Some(suffix) = suffix {
        words.retain(|w| w != suffix);
        words.push(suffix.to_owned());
    }
    let joined = words.join("_");
    Some(if joined.starts_with(|c: char| c.is_ascii_digit()) { format!("_{joined}") } else { joined })
}

/// The label name of an attribute; empty for an empty key.
pub(super) fn label_name(key: &str) -> String {
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

    #[test]
    fn metric_names() {
        for (name, unit, kind, expected) in [
            ("http.server.duration", "ms", NameKind::Other, "http_server_duration_milliseconds"),
            ("http.requests", "{request}", NameKind::Counter, "http_requests_total"),
            ("total.things", "1", NameKind::Counter, "things_total"),
            ("cpu.utilization", "1", NameKind::Gauge, "cpu_utilization_ratio"),
            ("system.network.io", "By/s", NameKind::Gauge, "system_network_io_bytes_per_second"),
            ("disk_bytes", "By", NameKind::Gauge, "disk_bytes"),
            ("1st", "", NameKind::Gauge, "_1st"),
            ("a:b__c", "fortnight", NameKind::Gauge, "a:b_c_fortnight"),
        ] {
            assert_eq!(metric_name(name, unit, kind).unwrap(), expected, "{name}");
        }
        assert_eq!(metric_name("...", "s", NameKind::Gauge), None);
    }

    #[test]
    fn label_names() {
        for (key, expected) in
            [("a.b", "a_b"), ("1a", "key_1a"), ("_a", "key_a"), ("__a", "__a"), ("a__b", "a__b"), ("", "")]
        {
            assert_eq!(label_name(key), expected, "{key}");
        }
    }
}
