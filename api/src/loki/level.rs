//! Finding a log entry's level, in Loki's order: named fields, then the line as JSON, logfmt, or plain words.

/// The structured metadata that carries it.
pub(crate) const DETECTED_LEVEL: &str = "detected_level";
/// What is said of a line that tells nothing.
pub(crate) const UNKNOWN: &str = "unknown";

/// Names of labels, metadata and fields that hold a level.
pub(super) const FIELD_NAMES: [&str; 17] = [
    "level",
    "LEVEL",
    "Level",
    "log.level",
    "log_level",
    "severity",
    "SEVERITY",
    "Severity",
    "severity_text",
    "SeverityText",
    "lvl",
    "LVL",
    "Lvl",
    "loglevel",
    "LogLevel",
    "severityText",
    "@l",
];
/// Bytes of a line that are looked at.
const LINE_BYTES_MAX: usize = 4096;

/// Whether a label or field of this name holds a level.
pub(crate) fn is_level_field(name: &str) -> bool {
    FIELD_NAMES.contains(&name)
}

/// The canonical spelling of a known level.
fn known(text: &str) -> Option<&'static str> {
    const NAMES: [(&str, &[&str]); 7] = [
        ("trace", &["trace", "trc"]),
        ("debug", &["debug", "dbg"]),
        ("info", &["info", "inf", "information", "informational"]),
        ("warn", &["warn", "warning", "wrn"]),
        ("error", &["error", "err"]),
        ("critical", &["critical", "crit"]),
        ("fatal", &["fatal"]),
    ];
    NAMES.into_iter().find(|(_, words)| words.iter().any(|w| w.eq_ignore_ascii_case(text))).map(|(name, _)| name)
}

/// A level given explicitly: its canonical spelling, or as it is.
pub(crate) fn normalize(text: &str) -> &str {
    known(text.trim()).unwrap_or(text)
}

/// The level that OpenTelemetry's severity number stands for.
pub(crate) fn of_severity_number(number: i32) -> Option<&'static str> {
    Some(match number {
        1..=4 => "trace",
        5..=8 => "debug",
        9..=12 => "info",
        13..=16 => "warn",
        17..=20 => "error",
        21..=24 => "fatal",
        _ => return None,
    })
}

/// The level that a line tells, or `unknown`.
pub(crate) fn of_line(line: &str) -> String {
    let mut end = line.len().min(LINE_BYTES_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    let line = &line[..end];
    let trimmed = line.trim_start();
    let field = if trimmed.starts_with('{') { json_field(trimmed) } else { logfmt_field(line) };
    if let Some(value) = field.filter(|v| !v.is_empty()) {
        return normalize(value).to_owned();
    }
    first_word(line).unwrap_or(UNKNOWN).to_owned()
}

/// The string under a level name at depth one or two.
fn json_field(line: &str) -> Option<&str> {
    let bytes = line.as_bytes();
    let (mut at, mut depth) = (0, 0u32);
    let mut name: Option<&str> = None;
    while at < bytes.len() {
        match bytes[at] {
            b'{' | b'[' => {
                depth += 1;
                name = None;
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => name = None,
            b'"' => {
                let from = at + 1;
                at = from;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                let text = line.get(from..at.min(line.len()))?;
                if let Some(found) = name.take() {
                    if is_level_field(found) {
                        return Some(text);
                    }
                } else if depth <= 2 && line.get(at + 1..)?.trim_start().starts_with(':') {
                    name = Some(text);
                }
            }
            b':' | b' ' | b'\t' => {}
            _ => name = None,
        }
        at += 1;
    }
    None
}

/// The value of a level name in `key=value` pairs.
fn logfmt_field(line: &str) -> Option<&str> {
    let mut rest = line;
    while let Some(equals) = rest.find('=') {
        let key = rest[..equals].rsplit(|c: char| c.is_whitespace()).next().unwrap_or_default();
        let after = &rest[equals + 1..];
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => match quoted.find('"') {
                Some(end) => (&quoted[..end], &quoted[end + 1..]),
                None => return None,
            },
            None => {
                let end = after.find(char::is_whitespace).unwrap_or(after.len());
                (&after[..end], &after[end..])
            }
        };
        if is_level_field(key) {
            return Some(value);
        }
        rest = next;
    }
    None
}

/// The first word that is a level's name, bounded by anything but letters, digits and `_`.
fn first_word(line: &str) -> Option<&'static str> {
    line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|w| (3..=13).contains(&w.len())).find_map(known)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_tell_their_level() {
        for (line, level) in [
            (r#"{"msg":"x","level":"WARN"}"#, "warn"),
            (r#"{"log":{"severity":"Error"},"level":"info"}"#, "error"),
            (r#"{"a":{"b":{"level":"error"}},"x":"y"}"#, "error"),
            (r#"{"msg":"the level","n":1}"#, "unknown"),
            (r#"ts=1 level=debug msg="an error""#, "debug"),
            (r#"ts=1 lvl="inf" msg=x"#, "info"),
            ("level=custom x", "custom"),
            ("2024 [ERROR] broke", "error"),
            ("Warning: hot", "warn"),
            ("terror errors", "unknown"),
            ("", "unknown"),
        ] {
            assert_eq!(of_line(line), level, "{line}");
        }
        assert_eq!((normalize("WARNING"), normalize("notice")), ("warn", "notice"));
        assert_eq!(of_severity_number(9), Some("info"));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(line in r#"[{}\[\]"\\:,=level é\n]{0,40}"#) {
            let _unchecked = of_line(&line);
        }
    }
}
