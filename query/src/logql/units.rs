//! Text forms of durations, byte sizes and quoted strings.

/// Go's `time.ParseDuration`, extended by the units `d`, `w` and `y` of Prometheus; a sign is allowed. Nanoseconds.
pub(super) fn parse_duration_ns(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0f64;
    let mut exact = 0i64;
    let mut fraction_used = false;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number = &rest[..end];
        let unit_end = rest[end..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |i| end + i);
        let unit_ns: i64 = match &rest[end..unit_end] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            "w" => 7 * 86_400_000_000_000,
            "y" => 365 * 86_400_000_000_000,
            _ => return None,
        };
        if number.contains('.') {
            if number == "." {
                return None;
            }
            fraction_used = true;
            total += number.parse::<f64>().ok()? * unit_ns as f64;
        } else {
            exact = exact.checked_add(number.parse::<i64>().ok()?.checked_mul(unit_ns)?)?;
        }
        rest = &rest[unit_end..];
    }
    let fraction = if fraction_used { total.round() } else { 0.0 };
    if !(0.0..9e18).contains(&fraction) {
        return None;
    }
    let ns = exact.checked_add(fraction as i64)?;
    Some(if negative { -ns } else { ns })
}

/// The text between the brackets of a range: a duration with a unit.
pub(super) fn parse_range_ns(text: &str) -> Option<i64> {
    parse_duration_ns(text).filter(|_| text.ends_with(|c: char| c.is_ascii_alphabetic()))
}

/// Byte sizes such as `5KB`, `2.5KiB`, `42`; decimal units are powers of 1000, binary ones of 1024.
pub(super) fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',').unwrap_or(text.len());
    let number: f64 = text[..end].replace(',', "").parse().ok()?;
    let factor: f64 = match text[end..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "p" | "pb" => 1e15,
        "e" | "eb" => 1e18,
        "ki" | "kib" => 1024.0,
        "mi" | "mib" => 1024f64.powi(2),
        "gi" | "gib" => 1024f64.powi(3),
        "ti" | "tib" => 1024f64.powi(4),
        "pi" | "pib" => 1024f64.powi(5),
        "ei" | "eib" => 1024f64.powi(6),
        _ => return None,
    };
    let bytes = number * factor;
    (bytes < 1.8e19).then_some(bytes as u64)
}

/// `10m0s`, `250ms`: a duration as Prometheus prints it. Negative durations have a leading minus.
pub(super) fn format_duration(ns: i64) -> String {
    if ns == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    if ns < 0 {
        out.push('-');
    }
    let mut rest = ns.unsigned_abs();
    for (unit, size) in [
        ("w", 604_800_000_000_000),
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ] {
        // Weeks and days only when nothing else is left, so that `1d` comes back as it was written.
        if (unit == "w" || unit == "d") && !rest.is_multiple_of(size) {
            continue;
        }
        let n = rest / size;
        if n > 0 {
            out.push_str(&format!("{n}{unit}"));
            rest -= n * size;
        }
    }
    out
}

/// Resolves the escapes of a double-quoted Go string; `None` for an escape that Go does not know.
pub(super) fn unquote(inner: &str) -> Option<String> {
    if !inner.contains('\\') {
        return Some(inner.to_owned());
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let simple = match chars.next()? {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' => b'\\',
            '"' => b'"',
            'x' => u8::try_from(digits(&mut chars, 2, 16)?).ok()?,
            'u' => {
                push_char(&mut bytes, digits(&mut chars, 4, 16)?)?;
                continue;
            }
            'U' => {
                push_char(&mut bytes, digits(&mut chars, 8, 16)?)?;
                continue;
            }
            o @ '0'..='7' => u8::try_from(o.to_digit(8)? * 64 + digits(&mut chars, 2, 8)?).ok()?,
            _ => return None,
        };
        bytes.push(simple);
    }
    Some(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

fn digits(chars: &mut std::str::Chars<'_>, count: usize, radix: u32) -> Option<u32> {
    let mut value = 0u32;
    for _ in 0..count {
        value = value.checked_mul(radix)?.checked_add(chars.next()?.to_digit(radix)?)?;
    }
    Some(value)
}

fn push_char(bytes: &mut Vec<u8>, code: u32) -> Option<()> {
    bytes.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
    Some(())
}

/// A double-quoted string as Go quotes it.
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
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
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
        let s = 1_000_000_000;
        for (text, ns) in [
            ("5m", Some(300 * s)),
            ("1h0.0m0s", Some(3600 * s)),
            ("1h15m30s", Some(4530 * s)),
            ("250ms", Some(s / 4)),
            ("-1s", Some(-s)),
            ("1w", Some(604_800 * s)),
            ("0.5s", Some(s / 2)),
            ("5", None),
            ("s", None),
            ("", None),
            ("1x", None),
            ("99999999999w", None),
        ] {
            assert_eq!(parse_duration_ns(text), ns, "{text}");
        }
        for text in ["5m", "1d", "1w", "25h", "1h30m", "250ms", "20m10s", "-5m"] {
            let ns = parse_duration_ns(text).unwrap();
            assert_eq!(parse_duration_ns(&format_duration(ns)), Some(ns), "{text}");
        }
    }

    #[test]
    fn bytes() {
        for (text, bytes) in [
            ("42B", Some(42)),
            ("250kB", Some(250_000)),
            ("2.5KiB", Some(2560)),
            ("10GB", Some(10_000_000_000)),
            ("5x", None),
            ("", None),
        ] {
            assert_eq!(parse_bytes(text), bytes, "{text}");
        }
    }

    #[test]
    fn quoting_comes_back() {
        for text in ["", "a\"b\\c\n\t", "\u{1}\u{7f}é\u{85}"] {
            let quoted = quote(text);
            assert_eq!(unquote(&quoted[1..quoted.len() - 1]).as_deref(), Some(text));
        }
        assert_eq!(unquote(r"\q"), None);
        assert_eq!(unquote(r"\x41\101\u00e9").as_deref(), Some("AAé"));
    }
}
