//! The scale of values: round numbers around them, and their short text.

/// What values are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    None,
    Bytes,
    Seconds,
}

/// Ticks that a scale has at most.
const TICKS: f64 = 5.0;

/// From a round number to a round number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    from: f64,
    to: f64,
    step: f64,
    unit: Unit,
}

impl Scale {
    /// The least scale of round numbers that holds all from `min` to `max`, which are finite.
    pub(super) fn around(min: f64, max: f64, unit: Unit) -> Self {
        let (min, max) =
            if min < max { (min, max) } else { ((min - half(min)).max(f64::MIN), (max + half(max)).min(f64::MAX)) };
        // Halves, so that the difference of the largest numbers is one.
        let wide = (max / TICKS - min / TICKS).max(f64::MIN_POSITIVE);
        let power = 10f64.powf(wide.log10().floor()).max(f64::MIN_POSITIVE);
        let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|s| *s >= wide).unwrap_or(wide);
        let (from, to) = ((min / step).floor() * step, (max / step).ceil() * step);
        if from.is_finite() && to.is_finite() && from < to {
            Self { from, to, step, unit }
        } else {
            Self { from: min, to: max, step: wide, unit }
        }
    }

    /// Where a value is, from 0 to 1.
    pub(super) fn part(&self, value: f64) -> f64 {
        let all = self.to / 2.0 - self.from / 2.0;
        if all > 0.0 { ((value / 2.0 - self.from / 2.0) / all).clamp(0.0, 1.0) } else { 0.5 }
    }

    /// The tick that is nearest to the middle of a row of so many, the first row being the top.
    pub(super) fn tick_at(&self, row: usize, rows: usize) -> Option<f64> {
        let count = ((self.to - self.from) / self.step).round();
        let mut ticks = (0..=(count.clamp(0.0, 2.0 * TICKS) as usize)).map(|i| self.from + i as f64 * self.step);
        let row_of = |tick: f64| ((1.0 - self.part(tick)) * (rows - 1) as f64).round() as usize;
        ticks.find(|tick| row_of(*tick) == row)
    }

    /// A value in four digits and a unit.
    pub(super) fn text(&self, value: f64) -> String {
        // What rounding leaves of zero.
        let value = if value.abs() < self.step * 1e-9 { 0.0 } else { value };
        let (base, prefixes): (f64, &[&str]) = match self.unit {
            Unit::Bytes => (1024.0, &["", "Ki", "Mi", "Gi", "Ti", "Pi"]),
            Unit::None | Unit::Seconds => (1000.0, &["", "k", "M", "G", "T", "P"]),
        };
        let unit = match self.unit {
            Unit::None => "",
            Unit::Bytes => "B",
            Unit::Seconds => "s",
        };
        let (mut number, mut prefix) = (value, 0);
        while number.abs() >= base && prefix + 1 < prefixes.len() {
            number /= base;
            prefix += 1;
        }
        let text = match number.abs() {
            0.0 => "0".to_owned(),
            a if !(1e-3..1e6).contains(&a) => format!("{number:.2e}"),
            a if a >= 1.0 => trimmed(format!("{number:.3}")),
            _ => trimmed(format!("{number:.5}")),
        };
        let space = if unit.is_empty() && prefixes[prefix].is_empty() { "" } else { " " };
        format!("{text}{space}{}{unit}", prefixes[prefix])
    }
}

/// How far a scale around one value goes.
fn half(value: f64) -> f64 {
    if value == 0.0 { 1.0 } else { value.abs() * 0.1 }
}

fn trimmed(text: String) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_of_round_numbers() {
        for (min, max, from, to, step) in [
            (0.0, 200.0, 0.0, 200.0, 50.0),
            (3.0, 17.0, 0.0, 20.0, 5.0),
            (-1.2, 0.9, -1.5, 1.0, 0.5),
            (0.0, 1e12, 0.0, 1e12, 2e11),
        ] {
            let scale = Scale::around(min, max, Unit::None);
            assert_eq!((scale.from, scale.to, scale.step), (from, to, step), "{min} to {max}");
        }
    }

    #[test]
    fn every_value_is_on_its_scale() {
        let odd = [0.0, -0.0, 1.0, -7.5, 1e-300, 1e300, f64::MAX, f64::MIN, f64::MIN_POSITIVE];
        for min in odd {
            for max in odd.into_iter().filter(|max| *max >= min) {
                let scale = Scale::around(min, max, Unit::None);
                for value in [min, max] {
                    let part = scale.part(value);
                    assert!((0.0..=1.0).contains(&part), "{value} on {scale:?}: {part}");
                }
                (0..16).for_each(|row| drop(scale.tick_at(row, 16).map(|t| scale.text(t))));
            }
        }
    }

    #[test]
    fn numbers_are_short() {
        let text = |value, unit| Scale::around(0.0, value, unit).text(value);
        for (value, unit, short) in [
            (0.25, Unit::Seconds, "0.25 s"),
            (1536.0, Unit::Bytes, "1.5 KiB"),
            (1_234_567.0, Unit::None, "1.235 M"),
            (42.0, Unit::None, "42"),
            (1e-7, Unit::None, "1.00e-7"),
        ] {
            assert_eq!(text(value, unit), short);
        }
    }
}
