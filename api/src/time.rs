//! Times and durations as the protocols write them.
use std::ops::Range;

use crate::error::ApiError;

/// Earliest time that Prometheus clients send as a sentinel, in its own range.
const PROM_MIN: &str = "-292273086-05-16T16:47:06Z";
/// Latest such sentinel.
const PROM_MAX: &str = "292277025-08-18T07:12:54.999999999Z";
/// Bounds used for them, in milliseconds: far from overflow when a lookback is added.
pub(crate) const TIME_MS_MIN: i64 = i64::MIN / 4;
pub(crate) const TIME_MS_MAX: i64 = i64::MAX / 4;

fn rfc3339_ns(text: &str) -> Option<i128> {
    if !is_rfc3339(text) {
        return None;
    }
    // The time and its offset apart: the library's timestamps end some hours before the year 9999 does.
    let (time, offset_s) = match text.strip_suffix('Z') {
        Some(time) => (time, 0),
        None => {
            let (time, offset) = text.split_at(text.len() - 6);
            let part = |range: Range<usize>| offset[range].parse::<i128>().ok();
            let ahead_s = part(1..3)? * 3600 + part(4..6)? * 60;
            (time, if offset.starts_with('-') { -ahead_s } else { ahead_s })
        }
    };
    let time: jiff::civil::DateTime = time.parse().ok()?;
    let days = time.date().since(jiff::civil::date(1970, 1, 1)).ok()?.get_days();
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    let of_day_s = i128::from(hour) * 3600 + i128::from(minute) * 60 + i128::from(second);
    let seconds = i128::from(days) * 86_400 + of_day_s - offset_s;
    Some(seconds * 1_000_000_000 + i128::from(time.subsec_nanosecond()))
}

/// Whether `text` is written as Go reads RFC 3339: the library that reads it takes much else, as RFC 9557 has it.
fn is_rfc3339(text: &str) -> bool {
    const SHAPE: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let has_shape = |bytes: &[u8], shape: &[u8]| {
        bytes.len() == shape.len()
            && bytes.iter().zip(shape).all(|(b, s)| if *s == b'd' { b.is_ascii_digit() } else { b == s })
    };
    let Some((time, rest)) = text.as_bytes().split_at_checked(SHAPE.len()) else { return false };
    let fraction = match rest {
        [b'.' | b',', digits @ ..] => 1 + digits.iter().take_while(|b| b.is_ascii_digit()).count(),
        _ => 0,
    };
    let is_zone = match &rest[fraction..] {
        b"Z" => true,
        [b'+' | b'-', offset @ ..] => {
            has_shape(offset, b"dd:dd") && offset[..2] <= b"24"[..] && offset[3..] <= b"60"[..]
        }
        _ => false,
    };
    has_shape(time, SHAPE) && time[17..] < b"60"[..] && fraction != 1 && is_zone
}

fn clamp_ns(ns: i128) -> i64 {
    ns.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// Float Unix seconds rounded to milliseconds, or RFC 3339; the result is in milliseconds.
pub(crate) fn prom_time_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        if !seconds.is_finite() {
            return None;
        }
        let ms = seconds.trunc() * 1000.0 + (seconds.fract() * 1000.0).round();
        return Some((ms as i64).clamp(TIME_MS_MIN, TIME_MS_MAX));
    }
    match text {
        PROM_MIN => Some(TIME_MS_MIN),
        PROM_MAX => Some(TIME_MS_MAX),
        _ => Some(clamp_ns(rfc3339_ns(text)?.div_euclid(1_000_000))),
    }
}

/// Loki's and TraceQL metrics' rule: with a point float seconds, up to ten characters seconds, longer integers ns, else
/// RFC 3339; the result is in nanoseconds.
pub(crate) fn loki_time_ns(text: &str) -> Option<i64> {
    if text.contains('.')
        && let Ok(seconds) = text.parse::<f64>()
    {
        let ms = seconds.trunc() * 1000.0 + (seconds.fract() * 1000.0).round();
        return (!ms.is_nan()).then(|| (ms as i64).saturating_mul(1_000_000));
    }
    if let Ok(n) = text.parse::<i64>() {
        return Some(if text.len() <= 10 { n.saturating_mul(1_000_000_000) } else { n });
    }
    Some(clamp_ns(rfc3339_ns(text)?))
}

/// RFC 3339 with any fraction, in nanoseconds.
pub(crate) fn rfc3339_time_ns(text: &str) -> Option<i64> {
    Some(clamp_ns(rfc3339_ns(text)?))
}

/// `1h30m`, `5m`, `100ms`, `1d`: descending units, each at most once; in milliseconds. `None` on overflow too.
pub(crate) fn prom_duration_ms(text: &str) -> Option<i64> {
    const UNITS: [(&str, i64); 7] = [
        ("ms", 1),
        ("y", 365 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
    ];
    if text == "0" {
        return Some(0);
    }
    let (mut rest, mut total, mut last) = (text, 0i64, i64::MAX);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let n: i64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let (unit, ms) = UNITS.into_iter().find(|(unit, _)| after.starts_with(unit))?;
        if ms >= last {
            return None;
        }
        last = ms;
        total = total.checked_add(n.checked_mul(ms)?)?;
        rest = &after[unit.len()..];
    }
    (!text.is_empty() && total <= i64::MAX / 1_000_000).then_some(total)
}

/// Float seconds or a Prometheus duration, in whole milliseconds of the nanoseconds that Go takes.
pub(crate) fn seconds_or_duration_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        let ns = seconds * 1e9;
        return (ns.is_finite() && ns.abs() < i64::MAX as f64).then_some(ns as i64 / 1_000_000);
    }
    match text.strip_prefix('-') {
        Some(positive) => prom_duration_ms(positive).map(|ms| -ms),
        None => prom_duration_ms(text),
    }
}

/// A Go duration (`1h30m`, `1.5s`, `100ms`, `2us`), in nanoseconds.
pub(crate) fn go_duration_ns(text: &str) -> Option<i64> {
    const UNITS: [(&str, f64); 8] =
        [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 6e10), ("h", 3.6e12)];
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let n: f64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let (unit, ns) = UNITS
            .into_iter()
            .find(|(unit, _)| after.starts_with(unit) && (*unit != "m" || !after.starts_with("ms")))?;
        total += n * ns;
        rest = &after[unit.len()..];
    }
    (total < i64::MAX as f64).then_some((sign * total) as i64)
}

/// Nanoseconds as RFC 3339 with as many digits as needed.
pub(crate) fn rfc3339_text(time_ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(time_ns)).map_or_else(|_| time_ns.to_string(), |t| t.to_string())
}

/// Prometheus' error for a bad time or duration parameter.
pub(crate) fn bad_parameter(name: &str, reason: impl std::fmt::Display) -> ApiError {
    ApiError::BadRequest(format!("invalid parameter \"{name}\": {reason}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prometheus_times() {
        for (text, ms) in [
            ("4", Some(4000)),
            ("1435781451.781", Some(1_435_781_451_781)),
            ("2015-07-01T20:10:51.781Z", Some(1_435_781_451_781)),
            ("2015-07-01T22:10:51.781+02:00", Some(1_435_781_451_781)),
            ("1600096945479", Some(1_600_096_945_479_000)),
            (PROM_MIN, Some(TIME_MS_MIN)),
            ("2015-07-01T20:10:51,5Z", Some(1_435_781_451_500)),
            ("2015-07-01T20:10:51-24:00", Some(1_435_867_851_000)),
            ("2015-07-01t20:10:51Z", None),
            ("2015-07-01T20:10:51z", None),
            ("2015-07-01 20:10:51Z", None),
            ("2015-07-01T20:10:60Z", None),
            ("2015-07-01T20:10:51+25:00", None),
            ("2015-07-01T20:10:51+02:60", Some(1_435_770_651_000)),
            ("2015-07-01T20:10:51+02:61", None),
            ("9999-12-31T23:59:59Z", Some(253_402_300_799_000)),
            ("0000-01-01T00:00:00Z", Some(-62_167_219_200_000)),
            ("1969-12-31T23:59:59.5Z", Some(-500)),
            ("2015-07-01T20:10:51+02", None),
            ("2015-07-01T20:10:51.Z", None),
            ("2015-07-01T20:10:51", None),
            ("2015-07-01T20:10:51Z[UTC]", None),
            ("2015-02-30T20:10:51Z", None),
            ("x", None),
            ("NaN", None),
            ("-Inf", None),
            ("1e999", None),
            (" 4", None),
            ("", None),
        ] {
            assert_eq!(prom_time_ms(text), ms, "{text}");
        }
    }

    #[test]
    fn loki_times() {
        for (text, ns) in [
            ("4000000000", Some(4_000_000_000_000_000_000)),
            ("40000000001", Some(40_000_000_001)),
            ("1.5", Some(1_500_000_000)),
            ("1970-01-01T00:00:01Z", Some(1_000_000_000)),
            ("x", None),
        ] {
            assert_eq!(loki_time_ns(text), ns, "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, ms) in [
            ("15", Some(15_000)),
            ("0.5", Some(500)),
            ("0.0018", Some(1)),
            ("2.9999", Some(2999)),
            // As Go: 1000999999 ns.
            ("1.001", Some(1000)),
            ("0.29", Some(290)),
            ("0.0001", Some(0)),
            ("1h30m", Some(5_400_000)),
            ("15000ms", Some(15_000)),
            ("1d", Some(86_400_000)),
            ("1m1h", None),
            ("", None),
            ("99999999999y", None),
        ] {
            assert_eq!(seconds_or_duration_ms(text), ms, "{text}");
        }
        for (text, ns) in [("1.5s", Some(1_500_000_000)), ("1m2ms", Some(60_002_000_000)), ("1d", None), ("", None)] {
            assert_eq!(go_duration_ns(text), ns, "{text}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text: String) {
            let _unchecked = (prom_time_ms(&text), loki_time_ns(&text), seconds_or_duration_ms(&text), go_duration_ns(&text));
        }
    }
}
