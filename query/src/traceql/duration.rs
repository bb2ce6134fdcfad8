//! Durations as Go writes and reads them: `1h30m`, `1.5s`, `250µs`.

/// Formats nanoseconds as Go's `time.Duration.String` does: `1h0m0s`, `1.5s`, `2ms`, `0s`.
pub fn format_go(ns: i64) -> String {
    if ns == 0 {
        return "0s".to_owned();
    }
    let sign = if ns < 0 { "-" } else { "" };
    let abs = ns.unsigned_abs();
    match abs {
        0..1_000 => format!("{sign}{abs}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", fraction(abs, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", fraction(abs, 1_000_000)),
        _ => {
            let (minutes, rest) = (abs / 60_000_000_000, abs % 60_000_000_000);
            let seconds = fraction(rest, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, m) => format!("{sign}{m}m{seconds}s"),
                (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
            }
        }
    }
}

/// `value / unit` in decimals without trailing zeros. `unit` is a power of ten.
fn fraction(value: u64, unit: u64) -> String {
    let (whole, part) = (value / unit, value % unit);
    if part == 0 {
        return whole.to_string();
    }
    let digits = unit.ilog10() as usize;
    let text = format!("{part:0digits$}");
    format!("{whole}.{}", text.trim_end_matches('0'))
}

/// Nanoseconds of a unit; `d`, `w` and `y` (365 days) go beyond Go.
pub(crate) fn unit_ns(unit: &str) -> Option<u64> {
    const HOUR: u64 = 3_600_000_000_000;
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => HOUR,
        "d" => 24 * HOUR,
        "w" => 7 * 24 * HOUR,
        "y" => 365 * 24 * HOUR,
        _ => return None,
    })
}

/// Reads a duration: an optional sign, then numbers with units, `0` alone without one. `None` when it is none or does not
/// fit 64-bit nanoseconds.
pub fn parse_go(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: u128 = 0;
    while !rest.is_empty() || total == 0 {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        total = total.checked_add(amount(number, unit_ns(unit)?)?)?;
        rest = tail;
        if rest.is_empty() {
            break;
        }
    }
    let total = i64::try_from(total).ok()?;
    Some(if negative { -total } else { total })
}

/// `number` of `unit` in ns, exact in the digits that fit.
fn amount(number: &str, unit: u64) -> Option<u128> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && part.is_empty()) || part.contains('.') || whole.len() > 20 {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole.checked_mul(u128::from(unit))?;
    let part = &part[..part.len().min(18)];
    if !part.is_empty() {
        let scale = 10u128.pow(part.len() as u32);
        total += part.parse::<u128>().ok()? * u128::from(unit) / scale;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn go_texts() {
        for (text, ns) in [
            ("0s", 0),
            ("1ns", 1),
            ("1.5µs", 1_500),
            ("2ms", 2_000_000),
            ("1.5s", 1_500_000_000),
            ("1m0s", 60_000_000_000),
            ("1h0m0.000000001s", 3_600_000_000_001),
            ("-1m30s", -90_000_000_000),
        ] {
            assert_eq!(format_go(ns), text);
            assert_eq!(parse_go(text), Some(ns), "{text}");
        }
        for (text, ns) in
            [("1h30m", Some(5_400_000_000_000)), ("100us", Some(100_000)), ("1d", Some(86_400_000_000_000))]
        {
            assert_eq!(parse_go(text), ns, "{text}");
        }
        for text in ["", "s", "1", "1x", ".s", "1..2s", "-", "999999999h", "1s2"] {
            assert_eq!(parse_go(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn durations_come_back(ns in -i64::MAX..i64::MAX) {
            prop_assert_eq!(parse_go(&format_go(ns)), Some(ns));
        }

        #[test]
        fn garbage_never_panics(text: String) {
            let _unchecked = parse_go(&text);
        }
    }
}
