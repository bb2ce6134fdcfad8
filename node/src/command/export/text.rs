//! The text: lines of samples, `# EOF`, and a count of what was left out.
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};

use trine_query::promql::chunk::{self, histogram};

use super::classic;
use super::exemplar::{Exemplar, Pending};
use super::family::{Form, Head};
use super::series::{Labels, Spelled, number, seconds};
use super::skipped::Skipped;
use super::wire::Chunk;
use crate::error::{Error, io as io_error};

/// What ends a series.
const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;
/// Chunk of floats.
const XOR: i32 = 1;
/// Chunk of native histograms with float counts.
const FLOAT_HISTOGRAM: i32 = 3;

/// A series on its way.
#[derive(Debug)]
pub(super) struct Series<'a> {
    pub(super) head: &'a Head,
    pub(super) labels: &'a Labels,
    /// Whether the export has the metric's classic form, too.
    pub(super) is_classic_too: bool,
    pub(super) exemplars: Option<&'a mut Pending>,
    /// First and last time, ms.
    pub(super) within: (i64, i64),
}

/// Writes samples.
#[derive(Debug)]
pub(super) struct Text<W: Write> {
    out: W,
    /// The metric whose head is written.
    begun: Option<(String, Form)>,
    lines: Lines,
    pub(super) samples: u64,
    histograms: u64,
    pub(super) skipped: Skipped,
}

/// Lines that are not written yet.
#[derive(Debug, Default)]
struct Lines {
    text: String,
    exemplars: u64,
}

impl<W: Write> Text<W> {
    pub(super) fn new(out: W) -> Self {
        let (lines, skipped) = (Lines::default(), Skipped::default());
        Self { out, begun: None, lines, samples: 0, histograms: 0, skipped }
    }

    /// The samples of a chunk; the metric's head first, if it is not written yet.
    pub(super) fn chunk(&mut self, series: &mut Series<'_>, chunk: &Chunk) -> Result<(), Error> {
        let form = match chunk.encoding {
            XOR => Form::Floats,
            _ if histogram::is_gauge(&chunk.data) => Form::GaugeHistograms,
            _ => Form::Histograms,
        };
        let spelled = Spelled::new(series.labels).filter(|s| form == Form::Floats || !s.has_bound());
        let Some(spelled) = spelled else {
            self.skipped.series += 1;
            return Ok(());
        };
        let begun = self.begun.as_ref().filter(|(name, _)| *name == series.head.name).map(|(_, form)| *form);
        if let Some(refused) = self.skipped.refused(form, series.is_classic_too, begun) {
            let count = chunk.data.first_chunk().map_or(0, |b| u16::from_be_bytes(*b));
            *refused += u64::from(count);
            return Ok(());
        }
        self.lines.text.clear();
        let written = match form {
            Form::Floats => self.floats(series, &spelled, chunk),
            Form::Histograms | Form::GaugeHistograms => self.native(series, &spelled, form, chunk),
        };
        let count = written.map_err(|e| Error::Export(format!("{}: {e}", spelled.text())))?;
        if count > 0 { self.write(series.head, form) } else { Ok(()) }
    }

    /// What is left of a metric's exemplars at its end.
    pub(super) fn end(&mut self, head: &Head, exemplars: u64) {
        match &self.begun {
            Some((name, Form::Floats)) if *name == head.name && !head.is_counter() => {
                self.skipped.misplaced += exemplars;
            }
            _ => self.skipped.lonely += exemplars,
        }
    }

    fn write(&mut self, head: &Head, form: Form) -> Result<(), Error> {
        if self.begun.as_ref().is_none_or(|(name, _)| *name != head.name) {
            self.begun = Some((head.name.clone(), form));
            self.out.write_all(head.text(form).as_bytes()).map_err(refused)?;
        }
        self.out.write_all(self.lines.text.as_bytes()).map_err(refused)
    }

    fn floats(&mut self, series: &mut Series<'_>, spelled: &Spelled, chunk: &Chunk) -> Result<u64, chunk::Damaged> {
        let (lines, skipped, mut count) = (&mut self.lines, &mut self.skipped, 0);
        let (spelled, is_counter) = (spelled.text(), series.head.is_counter());
        chunk::decode(&chunk.data, |time_ms, value| {
            if time_ms < series.within.0 || time_ms > series.within.1 {
                return;
            }
            if value.to_bits() == STALE_NAN_BITS {
                skipped.stale += 1;
                return;
            }
            count += 1;
            let exemplars = series.exemplars.as_mut().filter(|_| is_counter);
            let due = exemplars.map(|pending| pending.until(time_ms)).unwrap_or_default();
            lines.push(&spelled, value, time_ms, due, skipped);
        })?;
        self.samples += count;
        Ok(count)
    }

    fn native(
        &mut self,
        series: &mut Series<'_>,
        spelled: &Spelled,
        form: Form,
        chunk: &Chunk,
    ) -> Result<u64, chunk::Damaged> {
        let (lines, skipped, mut count) = (&mut self.lines, &mut self.skipped, 0);
        histogram::decode(&chunk.data, chunk.encoding == FLOAT_HISTOGRAM, |time_ms, h| {
            if time_ms < series.within.0 || time_ms > series.within.1 {
                return;
            }
            if h.sum.to_bits() == STALE_NAN_BITS {
                skipped.stale += 1;
                return;
            }
            count += 1;
            let due = series.exemplars.as_mut().map(|pending| pending.until(time_ms)).unwrap_or_default();
            lines.push_histogram(spelled, form, time_ms, h, due, skipped);
        })?;
        self.histograms += count;
        Ok(count)
    }

    /// Ends the text; what is to be said of it.
    pub(super) fn finish(mut self) -> Result<String, Error> {
        self.out.write_all(b"# EOF\n").and_then(|()| self.out.flush()).map_err(refused)?;
        let mut said = format!("{} samples\n", self.samples);
        for (count, what) in
            [(self.histograms, "native histograms, written as classic ones"), (self.lines.exemplars, "exemplars")]
        {
            if count > 0 {
                writeln!(said, "{count} {what}").expect("writing to a string does not fail");
            }
        }
        said.push_str(&self.skipped.text());
        Ok(said)
    }
}

impl Lines {
    /// A sample, with the newest of its exemplars.
    fn push(&mut self, series: &str, value: f64, time_ms: i64, due: Vec<Exemplar>, skipped: &mut Skipped) {
        let mut exemplar = String::new();
        for one in due.iter().rev() {
            match one.text() {
                Some(text) if exemplar.is_empty() => exemplar = text,
                Some(_) => skipped.surplus += 1,
                None => skipped.unspelled += 1,
            }
        }
        self.exemplars += u64::from(!exemplar.is_empty());
        writeln!(self.text, "{series} {} {}{exemplar}", number(value), seconds(time_ms))
            .expect("writing to a string does not fail");
    }

    /// A histogram in its classic form; each exemplar at the bucket that its value is in.
    fn push_histogram(
        &mut self,
        spelled: &Spelled,
        form: Form,
        time_ms: i64,
        h: &histogram::Native,
        mut due: Vec<Exemplar>,
        skipped: &mut Skipped,
    ) {
        let buckets = classic::buckets(h);
        let is_negative = buckets.first().is_some_and(|(bound, _)| *bound < 0.0);
        for (bound, count) in buckets {
            let (here, above) = due.into_iter().partition(|e| e.value <= bound);
            self.push(&spelled.bucket(bound), count, time_ms, here, skipped);
            due = above;
        }
        self.push(&spelled.bucket(f64::INFINITY), h.count, time_ms, due, skipped);
        let [count, sum] = match form {
            Form::GaugeHistograms => ["_gcount", "_gsum"],
            // OpenMetrics has no sum that falls, and no count without a sum.
            _ if is_negative => {
                skipped.sums += 1;
                return;
            }
            _ => ["_count", "_sum"],
        };
        self.push(&spelled.part(count), h.count, time_ms, Vec::new(), skipped);
        self.push(&spelled.part(sum), h.sum, time_ms, Vec::new(), skipped);
    }
}

fn refused(error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::BrokenPipe => Error::ReaderGone,
        _ => io_error("write the output")(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::family::Families;
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    fn head(name: &str) -> Head {
        Families::new([].into()).head(name, true)
    }

    fn exemplar(time_ms: i64, value: f64, name: &str) -> Exemplar {
        Exemplar { labels: labels(&[(name, "x")]), value, time_ms }
    }

    /// A chunk of one sample at the time 16 ms of a histogram without buckets, but for the bits behind the layout's begin.
    fn histogram_chunk(flags: u8) -> Chunk {
        // Threshold 0, schema 0, no spans: 0 0 0; time 16: 1110 and 9 bits; count, zero: 0 0; sum 0.0.
        let bits = format!("000{}{}00{}", "1110", "000010000", "0".repeat(64));
        let bits = format!("{bits:0<88}");
        let tail = bits.as_bytes().chunks(8).map(|b| u8::from_str_radix(str::from_utf8(b).unwrap(), 2).unwrap());
        Chunk { encoding: 2, data: [0, 1, flags, 0].into_iter().chain(tail).collect() }
    }

    /// A chunk of one float, 1, at the time 16 ms.
    fn float_chunk() -> Chunk {
        let value = 1f64.to_bits().to_be_bytes();
        Chunk { encoding: XOR, data: [0, 1, 32].into_iter().chain(value).collect() }
    }

    fn series<'a>(head: &'a Head, labels: &'a Labels, exemplars: Option<&'a mut Pending>) -> Series<'a> {
        Series { head, labels, is_classic_too: false, exemplars, within: (0, 100) }
    }

    #[test]
    fn a_counter_has_the_newest_exemplar() {
        let mut out = Vec::new();
        let mut text = Text::new(&mut out);
        let (head, of) = (head("a_total"), labels(&[("__name__", "a_total")]));
        let all =
            [exemplar(3, 0.25, "old"), exemplar(16, 0.5, "new"), exemplar(9, 0.5, "a.b"), exemplar(17, 0.5, "late")];
        let mut pending = Pending::new(all.to_vec());
        text.chunk(&mut series(&head, &of, Some(&mut pending)), &float_chunk()).unwrap();
        text.end(&head, 1);
        let said = text.finish().unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "# TYPE a counter\na_total 1 0.016 # {new=\"x\"} 0.5 0.016\n# EOF\n"
        );
        for line in ["1 samples", "1 exemplars", "1 exemplars beside", "1 exemplars whose", "1 exemplars without"] {
            assert!(said.contains(line), "{line}: {said}");
        }
    }

    #[test]
    fn a_gauge_has_no_exemplars() {
        let mut out = Vec::new();
        let mut text = Text::new(&mut out);
        let (head, of) = (head("a"), labels(&[("__name__", "a")]));
        let mut pending = Pending::new(vec![exemplar(3, 0.25, "a")]);
        text.chunk(&mut series(&head, &of, Some(&mut pending)), &float_chunk()).unwrap();
        text.end(&head, 1);
        let said = text.finish().unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "# TYPE a unknown\na 1 0.016\n# EOF\n");
        assert!(said.contains("left out: 1 exemplars of metrics other than counters"), "{said}");
    }

    #[test]
    fn a_native_histogram_is_a_classic_one() {
        let (head, of) = (head("h"), labels(&[("__name__", "h"), ("a", "b")]));
        let h = histogram::Native {
            count: 4.0,
            sum: 7.5,
            positive: vec![(1, 1.0), (2, 2.0)],
            ..histogram::Native::default()
        };
        let lines = |form, h: &histogram::Native| {
            let (mut lines, mut skipped) = (Lines::default(), Skipped::default());
            let due = vec![exemplar(1, 1.5, "old"), exemplar(2, 2.0, "new"), exemplar(3, 9.0, "above")];
            lines.push_histogram(&Spelled::new(&of).unwrap(), form, 16, h, due, &mut skipped);
            (lines.text, lines.exemplars, skipped.surplus, skipped.sums)
        };
        let (text, exemplars, surplus, sums) = lines(Form::Histograms, &h);
        assert_eq!(
            text,
            concat!(
                "h_bucket{a=\"b\",le=\"1.0\"} 0 0.016\n",
                "h_bucket{a=\"b\",le=\"2.0\"} 1 0.016 # {new=\"x\"} 2 0.002\n",
                "h_bucket{a=\"b\",le=\"4.0\"} 3 0.016\n",
                "h_bucket{a=\"b\",le=\"+Inf\"} 4 0.016 # {above=\"x\"} 9 0.003\n",
                "h_count{a=\"b\"} 4 0.016\n",
                "h_sum{a=\"b\"} 7.5 0.016\n",
            )
        );
        assert_eq!((exemplars, surplus, sums), (2, 1, 0));
        let negative = histogram::Native { negative: vec![(1, 1.0)], ..h };
        let (text, .., sums) = lines(Form::Histograms, &negative);
        assert!(!text.contains("h_sum") && !text.contains("h_count") && sums == 1, "{text}");
        let (text, .., sums) = lines(Form::GaugeHistograms, &negative);
        assert!(text.ends_with("h_gcount{a=\"b\"} 4 0.016\nh_gsum{a=\"b\"} 7.5 0.016\n") && sums == 0, "{text}");
        assert!(head.text(Form::Histograms).starts_with("# TYPE h histogram\n"));
    }

    #[test]
    fn a_family_has_samples_of_one_kind() {
        let mut out = Vec::new();
        let mut text = Text::new(&mut out);
        let of = labels(&[("__name__", "h")]);
        let h = head("h");
        text.chunk(&mut series(&h, &of, None), &histogram_chunk(0)).unwrap();
        text.chunk(&mut series(&h, &of, None), &float_chunk()).unwrap();
        text.chunk(&mut series(&h, &of, None), &histogram_chunk(0b1100_0000)).unwrap();
        let of_bound = labels(&[("__name__", "h"), ("le", "1")]);
        text.chunk(&mut series(&h, &of_bound, None), &histogram_chunk(0)).unwrap();
        let i = head("i");
        text.chunk(&mut Series { is_classic_too: true, ..series(&i, &of, None) }, &histogram_chunk(0)).unwrap();
        let said = text.finish().unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 0 0.016\nh_count 0 0.016\nh_sum 0 0.016\n# EOF\n"
        );
        for line in [
            "0 samples\n1 native histograms, written as classic ones\n",
            "left out: 1 native histograms of metrics that are there as classic ones, too\n",
            "left out: 1 native histograms of metrics with samples of another kind before them\n",
            "left out: 1 samples of metrics with native histograms before them\n",
            "left out: 1 chunks of series",
        ] {
            assert!(said.contains(line), "{line}: {said}");
        }
    }

    #[test]
    fn what_cannot_be_spelled_is_counted_and_damage_is_an_error() {
        let mut text = Text::new(Vec::new());
        let (head, of) = (head("h"), labels(&[("__name__", "h")]));
        let of_dots = labels(&[("__name__", "h"), ("a.b", "x")]);
        text.chunk(&mut series(&head, &of_dots, None), &float_chunk()).unwrap();
        for encoding in [XOR, 2, FLOAT_HISTOGRAM] {
            let damaged = Chunk { encoding, data: vec![0, 7, 1] };
            assert!(text.chunk(&mut series(&head, &of, None), &damaged).is_err());
        }
        text.skipped.names.push("a.b".to_owned());
        let said = text.finish().unwrap();
        assert!(said.contains("left out: 1 chunks of series") && said.contains("spell: a.b"), "{said}");
    }
}
