//! The body of a metrics part: tagged records of samples.
use super::Envelope;
use crate::codec::{Error, Reader, put_bytes, put_ivarint, put_uvarint};
use crate::model::Signal;

/// Kind of a record. On disk: never reuse a number. An unknown kind is refused by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum SampleKind {
    /// Floats as u64 bit patterns; a stale marker is its NaN pattern.
    Float = 1,
    /// Native histogram with integer counts, in the encoding of the part's producer.
    IntHistogram = 2,
    FloatHistogram = 3,
    StartTimestamp = 4,
    Exemplar = 5,
    /// Type, help and unit of a metric family of the tenant; belongs to no series.
    Metadata = 6,
}

/// Builds a metrics part. Call [`Self::series`], then add that series' samples.
#[derive(Debug)]
pub struct MetricsPartBuilder {
    envelope: Envelope,
    body: Vec<u8>,
    last_ms: i64,
}

impl MetricsPartBuilder {
    pub fn new(tenant: &str) -> Self {
        Self { envelope: Envelope::new(Signal::Metrics, tenant), body: Vec::new(), last_ms: 0 }
    }

    /// Parts will be about so long, so that they need not grow.
    pub fn expect(&mut self, bytes: usize) {
        self.envelope.expected = bytes;
    }

    /// Adds a series by its canonical labels and returns its position. `hash` is `key_hash(tenant, key)`.
    pub fn series(&mut self, hash: u64, key: &[u8]) -> u32 {
        self.envelope.define(hash, key)
    }

    /// Float samples of one series, (ms, bits), in the order they came.
    pub fn floats(&mut self, series: u32, samples: impl ExactSizeIterator<Item = (i64, u64)>) {
        if samples.len() == 0 {
            return;
        }
        self.record(series, SampleKind::Float, samples.len());
        for (time_ms, bits) in samples {
            put_ivarint(&mut self.body, time_ms.wrapping_sub(self.last_ms));
            self.last_ms = time_ms;
            self.body.extend_from_slice(&bits.to_le_bytes());
            self.envelope.facts_count += 1;
        }
    }

    /// One sample whose value is bytes: a histogram, a start timestamp, an exemplar.
    pub fn blob(&mut self, series: u32, kind: SampleKind, time_ms: i64, payload: &[u8]) {
        debug_assert!(!matches!(kind, SampleKind::Float | SampleKind::Metadata));
        self.record(series, kind, 1);
        put_ivarint(&mut self.body, time_ms.wrapping_sub(self.last_ms));
        self.last_ms = time_ms;
        put_bytes(&mut self.body, payload);
        self.envelope.facts_count += 1;
    }

    /// Metadata of a metric family; `metric_type` as in remote write (0 unknown, 1 counter, 2 gauge, …).
    pub fn metadata(&mut self, family: &str, metric_type: u8, help: &str, unit: &str) {
        self.record(0, SampleKind::Metadata, 1);
        put_bytes(&mut self.body, family.as_bytes());
        self.body.push(metric_type);
        put_bytes(&mut self.body, help.as_bytes());
        put_bytes(&mut self.body, unit.as_bytes());
    }

    fn record(&mut self, series: u32, kind: SampleKind, n: usize) {
        put_uvarint(&mut self.body, u64::from(series));
        self.body.push(kind as u8);
        put_uvarint(&mut self.body, n as u64);
    }

    /// Bytes of definitions and body so far.
    pub fn bytes_len(&self) -> usize {
        self.envelope.defs_len() + self.body.len()
    }

    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// The encoded part ([`super::PartRef`]).
    pub fn finish(mut self) -> Vec<u8> {
        self.take()
    }

    /// The encoded part; what is added from here on belongs to the next one.
    pub fn take(&mut self) -> Vec<u8> {
        let part = self.envelope.finish(&self.body);
        self.body.clear();
        self.last_ms = 0;
        part
    }
}

/// One record of a metrics body.
#[derive(Clone, Debug)]
pub enum MetricRecord<'a> {
    Floats { series: u32, samples: FloatRun<'a> },
    Blob { series: u32, kind: SampleKind, time_ms: i64, payload: &'a [u8] },
    Metadata { family: &'a str, metric_type: u8, help: &'a str, unit: &'a str },
}

/// The float samples of one record, (ms, bits); already bounds-checked.
#[derive(Clone, Debug)]
pub struct FloatRun<'a> {
    reader: Reader<'a>,
    last_ms: i64,
    left: usize,
}

impl Iterator for FloatRun<'_> {
    type Item = (i64, u64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        self.last_ms = self.last_ms.wrapping_add(self.reader.ivarint("sample time").ok()?);
        Some((self.last_ms, self.reader.u64("sample value").ok()?))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// Iterates the records of a metrics body; `defs_count` bounds the series positions.
#[derive(Clone, Debug)]
pub struct MetricsBody<'a> {
    reader: Reader<'a>,
    defs_count: u32,
    last_ms: i64,
}

impl<'a> MetricsBody<'a> {
    pub fn new(body: &'a [u8], defs_count: u32) -> Self {
        Self { reader: Reader::new(body), defs_count, last_ms: 0 }
    }

    /// Walks the whole body once, so that a later walk cannot fail half-way.
    pub fn check(body: &'a [u8], defs_count: u32) -> Result<(), Error> {
        let mut walk = Self::new(body, defs_count);
        while walk.next_record()?.is_some() {}
        Ok(())
    }

    /// The next record, or `None` at the end.
    pub fn next_record(&mut self) -> Result<Option<MetricRecord<'a>>, Error> {
        let r = &mut self.reader;
        if r.is_empty() {
            return Ok(None);
        }
        let at = r.position();
        let series = r.uvarint("series position")?;
        let kind_at = r.position();
        let kind = r.u8("sample kind")?;
        let n = r.count(if kind == SampleKind::Float as u8 { 9 } else { 1 }, "samples count")?;
        if kind != SampleKind::Metadata as u8 && series >= u64::from(self.defs_count) {
            return Err(Error::Invalid { what: "series position", at });
        }
        let series = series as u32;
        let kind = match kind {
            1 => {
                let samples = FloatRun { reader: r.clone(), last_ms: self.last_ms, left: n };
                for _ in 0..n {
                    self.last_ms = self.last_ms.wrapping_add(r.ivarint("sample time")?);
                    r.take(8, "sample value")?;
                }
                return Ok(Some(MetricRecord::Floats { series, samples }));
            }
            2 => SampleKind::IntHistogram,
            3 => SampleKind::FloatHistogram,
            4 => SampleKind::StartTimestamp,
            5 => SampleKind::Exemplar,
            6 => SampleKind::Metadata,
            other => return Err(Error::Unknown { what: "sample kind", value: u64::from(other), at: kind_at }),
        };
        if n != 1 {
            return Err(Error::Invalid { what: "samples count", at });
        }
        if kind == SampleKind::Metadata {
            return Ok(Some(MetricRecord::Metadata {
                family: r.str("metric family")?,
                metric_type: r.u8("metric type")?,
                help: r.str("metric help")?,
                unit: r.str("metric unit")?,
            }));
        }
        self.last_ms = self.last_ms.wrapping_add(r.ivarint("sample time")?);
        Ok(Some(MetricRecord::Blob { series, kind, time_ms: self.last_ms, payload: r.bytes("sample payload")? }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::part::PartRef;

    #[test]
    fn a_part_comes_back() {
        let mut b = MetricsPartBuilder::new("t");
        let a = b.series(1, b"\x01a\x011");
        b.floats(a, [(10, 1), (20, 2)].into_iter());
        b.blob(a, SampleKind::Exemplar, 20, b"x");
        b.metadata("m", 1, "help", "s");
        let bytes = b.finish();
        let part = PartRef::decode(&bytes).unwrap();
        assert_eq!((part.tenant, part.facts_count, part.defs.len()), ("t", 3, 1));
        let mut body = MetricsBody::new(part.body, 1);
        let Some(MetricRecord::Floats { series: 0, samples }) = body.next_record().unwrap() else { panic!() };
        assert_eq!(samples.collect::<Vec<_>>(), [(10, 1), (20, 2)]);
        assert!(matches!(
            body.next_record().unwrap(),
            Some(MetricRecord::Blob { kind: SampleKind::Exemplar, time_ms: 20, payload: b"x", .. })
        ));
        assert!(matches!(
            body.next_record().unwrap(),
            Some(MetricRecord::Metadata { family: "m", metric_type: 1, .. })
        ));
        assert!(body.next_record().unwrap().is_none());
    }

    #[test]
    fn an_unknown_kind_is_refused_by_name() {
        let e = MetricsBody::check(&[0, 9, 1, 0, 0], 1).unwrap_err();
        assert_eq!(e.to_string(), "unknown sample kind 9 at byte 1");
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _unchecked = PartRef::decode(&bytes);
            let _unchecked = MetricsBody::check(&bytes, 3);
        }
    }
}
