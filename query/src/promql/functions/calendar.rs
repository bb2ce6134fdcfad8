//! Calendar functions of Unix times in seconds, in UTC.

/// A date of the proleptic Gregorian calendar and the second of its day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Civil {
    year: i64,
    month: i64,
    day: i64,
    days: i64,
    second_of_day: i64,
}

/// Days to a date after Howard Hinnant's `civil_from_days`.
fn civil(seconds: i64) -> Civil {
    let (days, second_of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Civil { year, month, day, days, second_of_day }
}

fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

const MONTH_STARTS: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

fn days_in_month(c: &Civil) -> i64 {
    match c.month {
        2 => 28 + i64::from(is_leap(c.year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn day_of_year(c: &Civil) -> i64 {
    MONTH_STARTS[(c.month - 1) as usize] + c.day + i64::from(c.month > 2 && is_leap(c.year))
}

/// The calendar function of that name over a Unix time in seconds.
pub fn find(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "minute" => |v| (at(v).second_of_day % 3600 / 60) as f64,
        "hour" => |v| (at(v).second_of_day / 3600) as f64,
        "day_of_week" => |v| (at(v).days + 4).rem_euclid(7) as f64,
        "day_of_month" => |v| at(v).day as f64,
        "day_of_year" => |v| day_of_year(&at(v)) as f64,
        "days_in_month" => |v| days_in_month(&at(v)) as f64,
        "month" => |v| at(v).month as f64,
        "year" => |v| at(v).year as f64,
        _ => return None,
    })
}

fn at(seconds: f64) -> Civil {
    // Times that no clock shows are held within the calendar's arithmetic.
    civil((seconds as i64).clamp(-(1 << 55), 1 << 55))
}

/// `2006-01-02T15:04:05Z`.
pub fn rfc3339(time_ms: i64) -> String {
    let c = civil(time_ms.div_euclid(1000));
    let s = c.second_of_day;
    format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", c.year, c.month, c.day, s / 3600, s % 3600 / 60, s % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let f = |name: &str, v: f64| find(name).unwrap()(v);
        // 2016-02-29T23:59:59Z, a Monday.
        let leap = 1_456_790_399.0;
        for (name, want) in [
            ("year", 2016.0),
            ("month", 2.0),
            ("day_of_month", 29.0),
            ("day_of_week", 1.0),
            ("day_of_year", 60.0),
            ("days_in_month", 29.0),
            ("hour", 23.0),
            ("minute", 59.0),
        ] {
            assert_eq!(f(name, leap), want, "{name}");
        }
        assert_eq!(f("year", -1.0), 1969.0);
        assert_eq!(f("day_of_year", 1_483_228_799.0), 366.0);
        assert_eq!(rfc3339(1_456_790_399_000), "2016-02-29T23:59:59Z");
    }
}
