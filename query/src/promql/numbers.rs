//! Texts of literals to values and back: numbers, durations, quoted strings.
use std::fmt::Write;

/// A number literal as Prometheus reads it: Go's integer syntax first, then its float syntax.
pub(super) fn parse_number(text: &str) -> Option<f64> {
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    let lower = plain.to_ascii_lowercase();
    match lower.as_str() {
        "inf" | "+inf" => return Some(f64::INFINITY),
        "-inf" => return Some(f64::NEG_INFINITY),
        "nan" => return Some(f64::NAN),
        _ => {}
    }
    if let Some(hex) = lower.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok().map(|v| v as f64);
    }
    let is_octal = lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| (b'0'..=b'7').contains(&b));
    if is_octal {
        return u64::from_str_radix(&lower, 8).ok().map(|v| v as f64);
    }
    lower.parse().ok().filter(|v: &f64| v.is_finite())
}

const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Milliseconds of a duration such as `1h30m`: each unit at most once, from large to small.
pub(super) fn parse_duration_ms(text: &str) -> Result<u64, String> {
    let invalid = || format!("not a valid duration string: {text:?}");
    let mut rest = text;
    let mut next_unit = 0;
    let mut total = 0u64;
    if text.is_empty() {
        return Err("empty duration string".to_owned());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = &rest[digits..digits + letters];
        let unknown = || if letters == 0 { invalid() } else { format!("unknown unit {unit:?} in duration {text:?}") };
        let position = UNITS.iter().position(|(name, _)| *name == unit).ok_or_else(unknown)?;
        if position < next_unit || digits == 0 {
            return Err(invalid());
        }
        next_unit = position + 1;
        let count: u64 = rest[..digits].parse().map_err(|_| invalid())?;
        total = count
            .checked_mul(UNITS[position].1)
            .and_then(|ms| total.checked_add(ms))
            .filter(|ms| *ms <= i64::MAX as u64 / 1_000_000)
            .ok_or_else(|| "duration out of range".to_owned())?;
        rest = &rest[digits + letters..];
    }
    Ok(total)
}

/// A duration as Prometheus prints it: `90000` is `1m30s`; years and weeks only when nothing is left.
pub(super) fn format_duration_ms(ms: u64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut left = ms;
    let mut out = String::new();
    for (unit, unit_ms) in UNITS {
        let exact_only = matches!(unit, "y" | "w");
        if exact_only && !left.is_multiple_of(unit_ms) {
            continue;
        }
        let count = left / unit_ms;
        if count > 0 {
            write!(out, "{count}{unit}").expect("writing to a String cannot fail");
            left -= count * unit_ms;
        }
    }
    out
}

/// Shortest decimal without exponent, as Go's `FormatFloat(v, 'f', -1, 64)`.
pub(super) fn format_number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

/// Go's `%g`: shortest digits, with an exponent below 1e-4 and from 1e21 on.
pub(super) fn format_general(value: f64) -> String {
    let magnitude = value.abs();
    if !value.is_finite() || magnitude == 0.0 || (1e-4..1e21).contains(&magnitude) {
        return format_number(value);
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// The text of a quoted string; `None` if an escape is not one or the bytes are not UTF-8.
pub(super) fn unquote(quoted: &str) -> Option<String> {
    let quote = quoted.chars().next()?;
    let inner = quoted.strip_prefix(quote)?.strip_suffix(quote)?;
    if quote == '`' || !inner.contains('\\') {
        return Some(inner.to_owned());
    }
    let mut out = Vec::with_capacity(inner.len());
    let bytes = inner.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        let code = *bytes.get(at + 1)?;
        at += 2;
        let simple = match code {
            b'a' => Some(7),
            b'b' => Some(8),
            b'f' => Some(12),
            b'n' => Some(b'\n'),
            b'r' => Some(b'\r'),
            b't' => Some(b'\t'),
            b'v' => Some(11),
            b'\\' | b'"' | b'\'' => Some(code),
            _ => None,
        };
        if let Some(byte) = simple {
            out.push(byte);
            continue;
        }
        let (from, len, radix) = match code {
            b'0'..=b'7' => (at - 1, 3, 8),
            b'x' => (at, 2, 16),
            b'u' => (at, 4, 16),
            b'U' => (at, 8, 16),
            _ => return None,
        };
        let digits = std::str::from_utf8(bytes.get(from..from + len)?).ok()?;
        let value = u32::from_str_radix(digits, radix).ok()?;
        at = from + len;
        if len <= 3 {
            out.push(u8::try_from(value).ok()?);
        } else {
            out.extend_from_slice(char::from_u32(value)?.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    String::from_utf8(out).ok()
}

/// Go's `strconv.Quote`, as far as label values need it.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                write!(out, "\\x{:02x}", c as u32).expect("writing to a String cannot fail");
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in
            [("5m", 300_000), ("1h30m", 5_400_000), ("100ms", 100), ("1y", 31_536_000_000), ("2w", 1_209_600_000)]
        {
            assert_eq!(parse_duration_ms(text), Ok(ms));
            assert_eq!(format_duration_ms(ms), text);
        }
        assert!(parse_duration_ms("5m1h").is_err());
        assert!(parse_duration_ms("9999999999y").is_err());
    }

    #[test]
    fn strings() {
        for (quoted, text) in [(r#""a\n\x41\u00e4\101""#, "a\nAäA"), (r"`a\n`", r"a\n"), (r"'it\'s'", "it's")] {
            assert_eq!(unquote(quoted).as_deref(), Some(text));
        }
        assert_eq!(quote("a\"\\\n"), r#""a\"\\\n""#);
    }

    #[test]
    fn numbers() {
        assert_eq!(parse_number("0x1F"), Some(31.0));
        assert_eq!(parse_number("1_000"), Some(1000.0));
        assert_eq!(parse_number("017"), Some(15.0));
        assert_eq!(parse_number("1e3"), Some(1000.0));
        assert_eq!(format_general(1e-7), "1e-07");
        assert_eq!(format_general(1.5), "1.5");
    }
}
