//! Times on the command line: `now`, so long ago, a date, RFC 3339, Unix seconds.
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A time as given; those that are relative are so to one `now` for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Unix ms.
    At(i64),
    /// Ms before now.
    Ago(i64),
}

impl Moment {
    /// Unix ms.
    pub(crate) fn resolve(self, now_ms: i64) -> i64 {
        match self {
            Self::At(ms) => ms,
            Self::Ago(ms) => now_ms.saturating_sub(ms),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ago = text.strip_prefix("now").unwrap_or(text);
        if ago.is_empty() && !text.is_empty() {
            return Ok(Self::Ago(0));
        }
        if let Some(length) = ago.strip_prefix('-') {
            return Ok(Self::Ago((seconds(length)? * 1000.0) as i64));
        }
        if let Ok(unix) = text.parse::<f64>() {
            let is_possible = unix.is_finite() && unix.abs() < i64::MAX as f64 / 1000.0;
            return if is_possible { Ok(Self::At((unix * 1000.0).round() as i64)) } else { Err(expected(text)) };
        }
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self::At(at.as_millisecond()));
        }
        let civil: DateTime = text.parse().map_err(|_| expected(text))?;
        let at = civil.to_zoned(TimeZone::UTC).map_err(|e| format!("{text}: {e}"))?;
        Ok(Self::At(at.timestamp().as_millisecond()))
    }
}

fn expected(text: &str) -> String {
    format!("{text:?} is no time: it is like now, -90m, 2026-11-21, 2026-11-21T10:00:00Z or 1763719200")
}

/// Unix ms of this moment.
pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// A time in UTC, to the second.
pub(crate) fn utc(ms: i64, format: &str) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(at) => at.strftime(format).to_string(),
        Err(_) => format!("{ms} ms"),
    }
}

/// Seconds of a length: a number, or as `1h30m`. Units are ms, s, m, h, d, w and y (365 days).
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} is no length of time: it is like 90, 15s, 1m30s or 2d");
    if let Ok(number) = text.parse::<f64>() {
        return if number.is_finite() && number > 0.0 { Ok(number) } else { Err(wrong()) };
    }
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let unit_len = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let unit_s = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            "w" => 7.0 * 86_400.0,
            "y" => 365.0 * 86_400.0,
            _ => return Err(wrong()),
        };
        total += number.parse::<f64>().map_err(|_| wrong())? * unit_s;
        rest = after;
    }
    if total > 0.0 && total < 1e10 { Ok(total) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_taken_as_people_write_them() {
        for (text, moment) in [
            ("now", Moment::Ago(0)),
            ("-90m", Moment::Ago(5_400_000)),
            ("now-1h30m", Moment::Ago(5_400_000)),
            ("1763719200.5", Moment::At(1_763_719_200_500)),
            ("2025-11-21T10:00:00Z", Moment::At(1_763_719_200_000)),
            ("2025-11-21T11:00:00+01:00", Moment::At(1_763_719_200_000)),
            ("2025-11-21T10:00", Moment::At(1_763_719_200_000)),
            ("2025-11-21", Moment::At(1_763_683_200_000)),
        ] {
            assert_eq!(text.parse(), Ok(moment), "{text}");
        }
        for text in ["", "yesterday", "-", "-5", "-1x", "nowish", "NaN", "inf", "1e300", "-99999999999y"] {
            let parsed = text.parse::<Moment>();
            assert!(parsed.is_err() || text == "-5", "{text}: {parsed:?}");
        }
        assert_eq!(Moment::Ago(5).resolve(7), 2);
        assert_eq!(utc(1_763_719_200_000, "%F %T"), "2025-11-21 10:00:00");
    }

    #[test]
    fn lengths_have_units() {
        for (text, s) in [("90", 90.0), ("15s", 15.0), ("1m30s", 90.0), ("250ms", 0.25), ("2d", 172_800.0)] {
            assert_eq!(seconds(text), Ok(s), "{text}");
        }
        for text in ["", "0", "0s", "-5", "5x", "s", "1h2"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
