//! A range as lines of braille dots, with axes and a legend. Two by four dots a character.
//!
//! Our own: what there is on crates.io either draws one series without times on its axis or wants the whole screen.
mod scale;

use std::fmt::Write;

use console::{Color, Term, style};

use self::scale::{Scale, Unit};
use super::answer::{Answer, METRIC_NAME, Series};
use crate::command::columns::printable;
use crate::command::moment::utc;

/// Characters of the area that is drawn on, and whether series are told apart by colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Canvas {
    columns: usize,
    rows: usize,
    colours: bool,
}

const COLOURS: [Color; 6] = [Color::Cyan, Color::Yellow, Color::Magenta, Color::Green, Color::Red, Color::Blue];
const COLUMNS: usize = 96;
const ROWS: usize = 16;
/// What the axis and its numbers need of a line.
const AXIS_COLUMNS: usize = 12;
/// Series that are named.
const NAMED_MAX: usize = 24;
const DAY_MS: i64 = 86_400_000;

impl Canvas {
    /// As wide as the terminal, in colours if it has them.
    pub(super) fn of_terminal() -> Self {
        let term = Term::stdout();
        let columns = term.size_checked().map_or(COLUMNS, |(_, columns)| usize::from(columns));
        Self {
            columns: columns.saturating_sub(AXIS_COLUMNS).clamp(20, 400),
            rows: ROWS,
            colours: console::colors_enabled(),
        }
    }
}

/// The plot, with its legend. A sentence where there is nothing to draw.
pub(super) fn plot(answer: &Answer, canvas: &Canvas) -> String {
    let lines: Vec<Line> = answer.series.iter().map(Line::of).collect();
    let points = || lines.iter().flat_map(|l| &l.points);
    let (Some(from_ms), Some(to_ms)) = (points().map(|p| p.0).min(), points().map(|p| p.0).max()) else {
        return "no points to draw\n".to_owned();
    };
    let values = points().map(|p| p.1);
    let (min, max) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), v| (min.min(v), max.max(v)));
    let scale = Scale::around(min, max, Unit::of(&answer.series));
    let mut dots = Dots::new(canvas);
    let step_ms = lines.iter().flat_map(Line::gaps).min().unwrap_or(1);
    let x_of = |time_ms: i64| part(time_ms - from_ms, to_ms - from_ms) * (dots_wide(canvas) - 1) as f64;
    let y_of = |value: f64| (1.0 - scale.part(value)) * (dots_high(canvas) - 1) as f64;
    for (number, line) in lines.iter().enumerate() {
        let mut last: Option<(i64, (f64, f64))> = None;
        for (time_ms, value) in &line.points {
            let at = (x_of(*time_ms), y_of(*value));
            // What is missing is not bridged.
            let from = last.filter(|(t, _)| time_ms - t <= step_ms * 3 / 2).map_or(at, |(_, from)| from);
            dots.line(from, at, number);
            last = Some((*time_ms, at));
        }
    }
    let mut out = dots.render(canvas, &scale);
    time_axis(&mut out, canvas, from_ms, to_ms);
    legend(&mut out, canvas, &lines, &scale);
    out
}

fn dots_wide(canvas: &Canvas) -> usize {
    canvas.columns * 2
}

fn dots_high(canvas: &Canvas) -> usize {
    canvas.rows * 4
}

/// `at` of `all`, the middle when all is nothing.
fn part(at: i64, all: i64) -> f64 {
    if all == 0 { 0.5 } else { at as f64 / all as f64 }
}

/// What is drawn of a series: finite values, by time.
struct Line {
    name: String,
    points: Vec<(i64, f64)>,
}

impl Line {
    fn of(series: &Series) -> Self {
        let finite = |p: &super::answer::Point| p.value.filter(|v| v.is_finite()).map(|v| (p.time_ms, v));
        Self { name: series.name(), points: series.points.iter().filter_map(finite).collect() }
    }

    /// Times between points, ms.
    fn gaps(&self) -> impl Iterator<Item = i64> {
        self.points.windows(2).map(|w| w[1].0 - w[0].0).filter(|gap| *gap > 0)
    }
}

/// Dots by character, and the series that drew there last.
struct Dots {
    columns: usize,
    cells: Vec<(u8, usize)>,
}

/// Bits of a braille character by dot column and row.
const BITS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

impl Dots {
    fn new(canvas: &Canvas) -> Self {
        Self { columns: canvas.columns, cells: vec![(0, 0); canvas.columns * canvas.rows] }
    }

    fn set(&mut self, x: usize, y: usize, number: usize) {
        if let Some(cell) = self.cells.get_mut(y / 4 * self.columns + x / 2) {
            *cell = (cell.0 | BITS[x % 2][y % 4], number);
        }
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), number: usize) {
        let steps = (to.0 - from.0).abs().max((to.1 - from.1).abs()).ceil().max(1.0);
        for i in 0..=steps as usize {
            let part = i as f64 / steps;
            let (x, y) = (from.0 + part * (to.0 - from.0), from.1 + part * (to.1 - from.1));
            self.set(x.round() as usize, y.round() as usize, number);
        }
    }

    fn render(&self, canvas: &Canvas, scale: &Scale) -> String {
        let mut out = String::new();
        for (row, cells) in self.cells.chunks(self.columns).enumerate() {
            let tick = scale.tick_at(row, canvas.rows).map(|v| scale.text(v)).unwrap_or_default();
            let axis = if tick.is_empty() { '│' } else { '┤' };
            write!(out, "{tick:>9} {axis}").expect("writing to a string does not fail");
            for (bits, number) in cells {
                let dot = char::from_u32(0x2800 + u32::from(*bits)).unwrap_or(' ');
                match bits {
                    0 => out.push(' '),
                    _ => out.push_str(&coloured(canvas, *number, &dot.to_string())),
                }
            }
            out.truncate(out.trim_end_matches(' ').len());
            out.push('\n');
        }
        out
    }
}

fn coloured(canvas: &Canvas, number: usize, text: &str) -> String {
    if canvas.colours {
        style(text).fg(COLOURS[number % COLOURS.len()]).force_styling(true).to_string()
    } else {
        text.to_owned()
    }
}

/// The line under the dots, and three times.
fn time_axis(out: &mut String, canvas: &Canvas, from_ms: i64, to_ms: i64) {
    let span_ms = to_ms - from_ms;
    let format = match () {
        () if span_ms >= 7 * DAY_MS => "%F",
        () if span_ms >= DAY_MS => "%m-%d %H:%M",
        () => "%H:%M:%S",
    };
    let width = canvas.columns;
    let (first, middle, last) = (utc(from_ms, format), utc(from_ms + span_ms / 2, format), utc(to_ms, format));
    let line = format!("{:>9} └{}", "", "─".repeat(width));
    let before = (width / 2).saturating_sub(first.len() + middle.len() / 2);
    let after = width.saturating_sub(first.len() + before + middle.len() + last.len());
    let times = format!("{:>11}{first}{}{middle}{}{last}", "", " ".repeat(before), " ".repeat(after));
    let day = if span_ms < DAY_MS { format!("{}, UTC", utc(to_ms, "%F")) } else { "UTC".to_owned() };
    writeln!(out, "{line}\n{times}\n{:>11}{day}", "").expect("writing to a string does not fail");
}

/// Each series with its last, least and greatest value.
fn legend(out: &mut String, canvas: &Canvas, lines: &[Line], scale: &Scale) {
    for (number, line) in lines.iter().enumerate().take(NAMED_MAX) {
        let values = || line.points.iter().map(|p| p.1);
        let numbers = match line.points.last() {
            None => "no numbers".to_owned(),
            Some((_, last)) => {
                let (min, max) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
                format!("last {}, {} to {}", scale.text(*last), scale.text(min), scale.text(max))
            }
        };
        let mark = coloured(canvas, number, "━━");
        writeln!(out, "{mark} {}  {numbers}", printable(&line.name)).expect("writing to a string does not fail");
    }
    if let Some(more) = lines.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        writeln!(out, "and {more} more series").expect("writing to a string does not fail");
    }
}

impl Unit {
    /// The unit that the metric's name ends with, when all series have the same.
    fn of(all: &[Series]) -> Self {
        let mut units = all.iter().map(|s| match s.labels.get(METRIC_NAME) {
            Some(name) if name.ends_with("_bytes") => Self::Bytes,
            Some(name) if name.ends_with("_seconds") => Self::Seconds,
            _ => Self::None,
        });
        let first = units.next().unwrap_or(Self::None);
        if units.all(|unit| unit == first) { first } else { Self::None }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn drawn(values: &[(i64, &str)], name: &str) -> String {
        let values: Vec<_> = values.iter().map(|(t, v)| json!([t, v])).collect();
        let data = json!({"resultType": "matrix", "result": [{"metric": {"__name__": name}, "values": values}]});
        let canvas = Canvas { columns: 20, rows: 4, colours: false };
        plot(&Answer::of(&data).unwrap(), &canvas)
    }

    #[test]
    fn a_rise_goes_from_the_lower_left_to_the_upper_right() {
        let values: Vec<(i64, String)> = (0..=40).map(|i| (60 * i, (5 * i).to_string())).collect();
        let values: Vec<(i64, &str)> = values.iter().map(|(t, v)| (*t, v.as_str())).collect();
        let text = drawn(&values, "m");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("      200 ┤") && lines[0].ends_with('⠉'), "{text}");
        assert!(lines[3].starts_with("        0 ┤⣀"), "{text}");
        assert_eq!(lines[4], "          └────────────────────");
        assert!(lines[5].contains("00:00:00") && lines[5].ends_with("00:40:00"), "{text}");
        assert_eq!(lines[7], "━━ m  last 200, 0 to 200");
    }

    #[test]
    fn what_is_missing_is_not_drawn() {
        let text = drawn(&[(0, "1"), (60, "1"), (1200, "1"), (1260, "NaN"), (1320, "+Inf")], "x_bytes");
        let drawn = text.chars().filter(|c| ('\u{2801}'..='\u{28ff}').contains(c)).count();
        assert!((2..6).contains(&drawn), "a gap was bridged:\n{text}");
        assert!(text.contains("last 1 B, 1 B to 1 B"), "{text}");
        assert_eq!(drawn_nothing(), "no points to draw\n");
    }

    fn drawn_nothing() -> String {
        drawn(&[(0, "NaN")], "m")
    }
}
