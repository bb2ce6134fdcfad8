//! The script format: `load`, `clear`, `eval` and what is expected of it.
use std::sync::Arc;

use trine_query::promql::histogram::Histogram;
use trine_query::promql::parse_selector;
use trine_store::model::Labels;

use crate::histogram;

/// A value of a series in a script.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    Missing,
    Float(f64),
    Stale,
    /// A native histogram, and whether its reset hint is spelled out.
    Histogram(Arc<Histogram>, bool),
}

#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) labels: Labels,
    pub(crate) step_ms: i64,
    pub(crate) items: Vec<Item>,
    /// Start timestamps in ms from their samples; empty if there are none.
    pub(crate) starts: Vec<Option<i64>>,
    /// Its classic buckets are loaded as a native histogram with custom buckets, too.
    pub(crate) with_nhcb: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    Instant { time_ms: i64 },
    Range { start_ms: i64, end_ms: i64, step_ms: i64 },
}

#[derive(Clone, Debug)]
pub(crate) struct Expectation {
    /// ordered, fail, warn, no_warn, info, no_info
    pub(crate) kind: String,
    /// `msg` or `regex` and its text.
    pub(crate) text: Option<(String, String)>,
}

#[derive(Clone, Debug)]
pub(crate) enum Expected {
    Vectors(Vec<(Labels, Vec<Item>)>),
    Scalar(f64),
    Text(String),
    /// Of an instant query: (start, step) and the series.
    Matrix {
        start_ms: i64,
        step_ms: i64,
        series: Vec<(Labels, Vec<Item>)>,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Eval {
    pub(crate) line: usize,
    pub(crate) query: String,
    pub(crate) when: When,
    pub(crate) expects: Vec<Expectation>,
    pub(crate) expected: Expected,
}

impl Eval {
    pub(crate) fn expects(&self, kind: &str) -> impl Iterator<Item = &Expectation> {
        self.expects.iter().filter(move |e| e.kind == kind)
    }

    /// Whether the same value must come out inside a range query.
    pub(crate) fn also_as_range(&self) -> bool {
        let depends_on_range = ["start()", "end()", "range()", "step()"];
        matches!(self.expected, Expected::Vectors(_) | Expected::Scalar(_))
            && self.expects("fail").chain(self.expects("ordered")).next().is_none()
            && !depends_on_range.iter().any(|word| self.query.contains(word))
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Command {
    Clear,
    Load(Vec<Loaded>),
    Eval(Eval),
}

pub(crate) fn parse(text: &str) -> Vec<Command> {
    let lines: Vec<(usize, &str)> =
        text.lines().enumerate().map(|(i, l)| (i + 1, l.trim())).filter(|(_, l)| !l.starts_with('#')).collect();
    let mut out = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let (number, line) = lines[at];
        at += 1;
        if line.is_empty() {
            continue;
        }
        let body: Vec<&str> = lines[at..].iter().map(|(_, l)| *l).take_while(|l| !l.is_empty()).collect();
        if line == "clear" {
            out.push(Command::Clear);
        } else if line.starts_with("load") {
            at += body.len();
            out.push(Command::Load(parse_load(line, &body)));
        } else if line.starts_with("eval") {
            // A comment that stood between may leave the next command without a blank line before it.
            let own: Vec<&str> =
                body.iter().copied().take_while(|l| !l.starts_with("eval ") && *l != "clear").collect();
            at += own.len();
            out.push(Command::Eval(parse_eval(number, line, &own)));
        } else {
            panic!("line {number}: unknown command {line}");
        }
    }
    out
}

fn parse_load(line: &str, body: &[&str]) -> Vec<Loaded> {
    let with_nhcb = line.starts_with("load_with_nhcb");
    let step_ms = duration_ms(line.split_whitespace().nth(1).unwrap());
    let mut out: Vec<Loaded> = Vec::new();
    let mut pending = Vec::new();
    for line in body {
        let (metric, values) = split_metric(line);
        if metric.ends_with("@st") {
            pending = starts(values);
            continue;
        }
        let (labels, items, starts) = (metric_labels(metric), items(values), std::mem::take(&mut pending));
        assert!(starts.is_empty() || starts.len() == items.len(), "{line}: {} starts", starts.len());
        out.push(Loaded { labels, step_ms, items, starts, with_nhcb });
    }
    out
}

/// `_`, `_x2`, `-1m`, `-1mx3`, `-1m+30sx2`: offsets of start timestamps in ms.
fn starts(text: &str) -> Vec<Option<i64>> {
    let mut out = Vec::new();
    for word in text.split_whitespace() {
        let (value, times) = match word.rsplit_once('x') {
            Some((value, times)) => (value, Some(times.parse::<usize>().unwrap())),
            None => (word, None),
        };
        if value == "_" {
            out.extend(std::iter::repeat_n(None, times.unwrap_or(1)));
            continue;
        }
        let sign = value.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-')).map(|(i, _)| i);
        let (base, step) = value.split_at(sign.unwrap_or(value.len()));
        let signed = |text: &str| duration_ms(text.trim_start_matches('+'));
        let (mut at, by) = (signed(base), if step.is_empty() { 0 } else { signed(step) });
        for _ in 0..=times.unwrap_or(0) {
            out.push(Some(at));
            at += by;
        }
    }
    out
}

fn parse_eval(number: usize, line: &str, body: &[&str]) -> Eval {
    let (command, rest) = line.split_once(char::is_whitespace).unwrap();
    let rest = rest.trim();
    let (when, query) = if let Some(rest) = rest.strip_prefix("instant at ") {
        let (time, query) = rest.trim().split_once(char::is_whitespace).unwrap();
        (When::Instant { time_ms: duration_ms(time) }, query)
    } else {
        let rest = rest.strip_prefix("range from ").unwrap_or_else(|| panic!("line {number}: {line}"));
        let words: Vec<&str> = rest.splitn(6, char::is_whitespace).collect();
        let when = When::Range {
            start_ms: duration_ms(words[0]),
            end_ms: duration_ms(words[2]),
            step_ms: duration_ms(words[4]),
        };
        (when, words[5])
    };
    let mut eval = Eval {
        line: number,
        query: query.trim().to_owned(),
        when,
        expects: Vec::new(),
        expected: Expected::Vectors(Vec::new()),
    };
    if command == "eval_fail" {
        eval.expects.push(Expectation { kind: "fail".to_owned(), text: None });
    }
    body.iter().for_each(|line| expected_line(&mut eval, line));
    eval
}

fn expected_line(eval: &mut Eval, line: &str) {
    if let Some(rest) = line.strip_prefix("expect ") {
        let rest = rest.trim();
        if let Some(text) = rest.strip_prefix("string ") {
            let quoted = text.trim();
            eval.expected = Expected::Text(quoted[1..quoted.len() - 1].to_owned());
        } else if let Some(range) = rest.strip_prefix("range vector from ") {
            let words: Vec<&str> = range.split_whitespace().collect();
            eval.expected = Expected::Matrix {
                start_ms: duration_ms(words[0]),
                step_ms: duration_ms(words[4]),
                series: Vec::new(),
            };
        } else {
            let (kind, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let text = text.trim().split_once(':').map(|(how, text)| (how.to_owned(), text.trim().to_owned()));
            eval.expects.push(Expectation { kind: kind.to_owned(), text });
        }
        return;
    }
    if let Some(message) = line.strip_prefix("expected_fail_message ") {
        let text = Some(("msg".to_owned(), message.trim().to_owned()));
        eval.expects.iter_mut().filter(|e| e.kind == "fail").for_each(|e| e.text.clone_from(&text));
        return;
    }
    if let Some(value) = number(line) {
        eval.expected = Expected::Scalar(value);
        return;
    }
    let (metric, values) = split_metric(line);
    let one = (metric_labels(metric), items(values));
    match &mut eval.expected {
        Expected::Vectors(series) | Expected::Matrix { series, .. } => series.push(one),
        Expected::Scalar(_) | Expected::Text(_) => panic!("a series beside a scalar: {line}"),
    }
}

/// Splits a series line into its metric and its values; braces and quotes may hold spaces.
fn split_metric(line: &str) -> (&str, &str) {
    let (mut depth, mut quote, mut escaped) = (0, None, false);
    for (i, c) in line.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some('"' | '\''), '\\') => escaped = true,
            (Some(q), c) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') => depth -= 1,
            (None, c) if c.is_whitespace() && depth == 0 => {
                let rest = line[i..].trim_start();
                // `metric {a="b"} 1` has a space before its labels, `metric {{…}}` a histogram.
                if !rest.starts_with('{') || rest.starts_with("{{") || line[..i].contains('{') {
                    return (&line[..i], rest);
                }
            }
            (None, _) => {}
        }
    }
    (line, "")
}

fn metric_labels(metric: &str) -> Labels {
    let compact: String = metric.trim().to_owned();
    if compact.replace(char::is_whitespace, "") == "{}" {
        return Labels::empty();
    }
    let pairs = match parse_selector(&compact) {
        Ok(matchers) => matchers.into_iter().map(|m| (m.name, m.value)).collect::<Vec<_>>(),
        Err(e) => panic!("metric {compact}: {e}"),
    };
    Labels::from_pairs(pairs).unwrap()
}

/// Values with repetition and increments: `1 _ 1+2x3 _x4 stale {{…}}x2`.
fn items(text: &str) -> Vec<Item> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = if rest.starts_with("{{") {
            histogram_end(rest)
        } else {
            rest.find(char::is_whitespace).unwrap_or(rest.len())
        };
        push_items(&mut out, &rest[..end]);
        rest = rest[end..].trim_start();
    }
    out
}

/// End of `{{…}}`, `{{…}}xN` or `{{…}}+{{…}}xN`.
fn histogram_end(text: &str) -> usize {
    let mut end = text.find("}}").unwrap() + 2;
    while text[end..].starts_with("+{{") || text[end..].starts_with("-{{") {
        end += text[end..].find("}}").unwrap() + 2;
    }
    end + text[end..].find(char::is_whitespace).unwrap_or(text.len() - end)
}

fn push_items(out: &mut Vec<Item>, word: &str) {
    let (value, times) = match word.rsplit_once('x') {
        Some((value, times)) if times.parse::<usize>().is_ok() && !value.is_empty() => {
            (value, times.parse::<usize>().unwrap())
        }
        _ => (word, 0),
    };
    if value.starts_with("{{") {
        push_histograms(out, value, times);
    } else if value == "_" {
        out.extend(std::iter::repeat_n(Item::Missing, times.max(1)));
    } else if value == "stale" {
        out.push(Item::Stale);
    } else if let Some(v) = number(value) {
        out.extend(std::iter::repeat_n(Item::Float(v), times + 1));
    } else {
        let sign = value
            .char_indices()
            .skip(1)
            .filter(|(i, c)| matches!(c, '+' | '-') && !matches!(value.as_bytes()[i - 1], b'e' | b'E'));
        let at = sign.last().unwrap_or_else(|| panic!("value {word}")).0;
        let (mut v, by) = (number(&value[..at]).unwrap(), number(&value[at..]).unwrap());
        for _ in 0..=times {
            out.push(Item::Float(v));
            v += by;
        }
    }
}

/// `{{…}}`, or `{{…}}+{{…}}` and `{{…}}-{{…}}` for series that grow or shrink.
fn push_histograms(out: &mut Vec<Item>, text: &str, times: usize) {
    let end = text.find("}}").unwrap() + 2;
    let (first, rest) = text.split_at(end);
    let (first, hint_is_set) = histogram::parse(first);
    if rest.is_empty() {
        out.extend(std::iter::repeat_n(Item::Histogram(Arc::new(first), hint_is_set), times + 1));
        return;
    }
    let (step, hint_is_set) = histogram::parse(&rest[1..]);
    let all = histogram::series(first, &step, times, rest.starts_with('-'));
    out.extend(all.into_iter().map(|h| Item::Histogram(Arc::new(h), hint_is_set)));
}

pub(crate) fn number(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    match lower.trim_start_matches('+') {
        "inf" => Some(f64::INFINITY),
        "-inf" => Some(f64::NEG_INFINITY),
        "nan" => Some(f64::NAN),
        plain if plain.starts_with("infinity") => None,
        plain => match plain.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok().map(|v| v as f64),
            None => plain.parse().ok(),
        },
    }
}

/// `1h30m`, `-5m`, or seconds.
pub(crate) fn duration_ms(text: &str) -> i64 {
    if let Ok(seconds) = text.parse::<f64>() {
        return (seconds * 1000.0).round() as i64;
    }
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let mut total = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit_ms = match &rest[digits..digits + letters] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            "y" => 31_536_000_000,
            other => panic!("unit {other:?} in {text}"),
        };
        total += rest[..digits].parse::<i64>().unwrap() * unit_ms;
        rest = &rest[digits + letters..];
    }
    sign * total
}
