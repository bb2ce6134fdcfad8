//! Remote write 1.0 as a fleet of hosts sends it: each sample with its labels, each series at a fixed interval.
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::load::{Load, Request, Signal, snappy};
use super::series::{Host, plan};
use super::wire;
use crate::error::Error;

/// How large the fleet is and how long it runs.
#[derive(Clone, Debug)]
pub(super) struct MetricsShape {
    pub(super) seed: u64,
    pub(super) connections: usize,
    pub(super) hosts: u32,
    pub(super) series: u32,
    pub(super) interval_ms: i64,
    /// Samples in all, rounded up to whole scrapes.
    pub(super) samples: u64,
    pub(super) samples_per_request: u64,
    /// Time of the last scrape.
    pub(super) end_ms: i64,
}

/// Mixes a number into a seed, so that a host's values do not depend on the number of connections.
const HOST_STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

/// Encodes the run's requests. The same shape gives the same bytes.
pub(super) fn generate(shape: &MetricsShape) -> Result<Load, Error> {
    let connections = shape.connections.min(shape.hosts as usize);
    let scrapes = shape.scrapes()?;
    let load = Load::build(Signal::Metrics, connections, |lane| generate_lane(shape, scrapes, lane, connections))?;
    let first_ms = shape.end_ms - (scrapes - 1) * shape.interval_ms;
    Ok(Load { times_ms: Some((first_ms, shape.end_ms)), series: Some(shape.series_in_all()), ..load })
}

impl MetricsShape {
    fn series_in_all(&self) -> u64 {
        u64::from(self.hosts) * u64::from(self.series)
    }

    fn scrapes(&self) -> Result<i64, Error> {
        i64::try_from(self.samples.div_ceil(self.series_in_all()))
            .map_err(|_| Error::Bench(format!("{} samples are too many", self.samples)))
    }
}

fn generate_lane(shape: &MetricsShape, scrapes: i64, lane: usize, lanes: usize) -> Result<Vec<Request>, Error> {
    let mut hosts: Vec<(Host, StdRng)> = (0..shape.hosts)
        .skip(lane)
        .step_by(lanes)
        .map(|host| {
            let mut rng = StdRng::seed_from_u64(shape.seed ^ HOST_STRIDE.wrapping_mul(u64::from(host) + 1));
            (plan(&mut rng, host, shape.series), rng)
        })
        .collect();
    let mut batch = Batch { out: Vec::new(), message: Vec::new(), samples: 0, encoder: snap::raw::Encoder::new() };
    let mut series = Vec::new();
    for scrape in 0..scrapes {
        let time_ms = shape.end_ms - (scrapes - 1 - scrape) * shape.interval_ms;
        for (host, rng) in &mut hosts {
            // One scrape in fifty is a few milliseconds late, as where the agent is busy.
            let late_ms = if rng.random_ratio(1, 50) { rng.random_range(3..40) } else { 0 };
            let at_ms = time_ms + host.offset_ms % shape.interval_ms + late_ms;
            host.scrape(rng, |labels, value| {
                series.clear();
                series.extend_from_slice(labels);
                let mut sample = Vec::with_capacity(20);
                wire::double(&mut sample, 1, value);
                wire::int(&mut sample, 2, at_ms);
                wire::bytes(&mut series, 2, &sample);
                batch.add(&series, shape.samples_per_request)
            })?;
        }
    }
    batch.finish()?;
    Ok(batch.out)
}

/// The request that is being filled, and those that are full.
struct Batch {
    out: Vec<Request>,
    message: Vec<u8>,
    samples: u64,
    encoder: snap::raw::Encoder,
}

impl Batch {
    fn add(&mut self, series: &[u8], samples_max: u64) -> Result<(), Error> {
        wire::bytes(&mut self.message, 1, series);
        self.samples += 1;
        if self.samples >= samples_max { self.finish() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<(), Error> {
        if self.samples > 0 {
            let body = snappy(&mut self.encoder, &self.message)?;
            self.out.push(Request { body, facts: self.samples, raw_bytes: self.message.len() as u64 });
            self.message.clear();
            self.samples = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[derive(Clone, PartialEq, prost::Message)]
    struct WriteRequest {
        #[prost(message, repeated, tag = "1")]
        timeseries: Vec<TimeSeries>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct TimeSeries {
        #[prost(message, repeated, tag = "1")]
        labels: Vec<Label>,
        #[prost(message, repeated, tag = "2")]
        samples: Vec<Sample>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Label {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(string, tag = "2")]
        value: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Sample {
        #[prost(double, tag = "1")]
        value: f64,
        #[prost(int64, tag = "2")]
        timestamp: i64,
    }

    fn shape() -> MetricsShape {
        MetricsShape {
            seed: 7,
            connections: 4,
            hosts: 10,
            series: 100,
            interval_ms: 15_000,
            samples: 40_000,
            samples_per_request: 5_000,
            end_ms: 1_800_000_000_000,
        }
    }

    fn decode(request: &Request) -> WriteRequest {
        let message = snap::raw::Decoder::new().decompress_vec(&request.body).unwrap();
        assert_eq!(message.len() as u64, request.raw_bytes);
        prost::Message::decode(message.as_slice()).unwrap()
    }

    #[test]
    fn requests_are_whole_and_in_order() {
        use prost::Message;
        let load = generate(&shape()).unwrap();
        assert_eq!((load.lanes.len(), load.facts()), (4, 40_000));
        let mut newest: HashMap<Vec<u8>, i64> = HashMap::new();
        for request in load.lanes.iter().flatten() {
            let message = decode(request);
            assert_eq!(message.timeseries.len() as u64, request.facts);
            for series in message.timeseries {
                let names: Vec<&str> = series.labels.iter().map(|l| l.name.as_str()).collect();
                assert!(names.is_sorted() && names.contains(&"__name__"), "{names:?}");
                let [sample] = series.samples.as_slice() else { panic!("one sample a series") };
                let key: Vec<u8> = series.labels.iter().flat_map(Message::encode_to_vec).collect();
                let before = newest.insert(key, sample.timestamp);
                assert!(before.is_none_or(|b| b < sample.timestamp));
            }
        }
        assert_eq!(newest.len(), 1_000);
    }

    #[test]
    fn a_sample_is_about_215_bytes() {
        let load = generate(&shape()).unwrap();
        let bytes = load.raw_bytes() / load.facts();
        assert!((205..=225).contains(&bytes), "{bytes} bytes a sample");
    }

    #[test]
    fn the_seed_decides_the_bytes() {
        let bodies = |seed: u64| -> Vec<_> {
            let load = generate(&MetricsShape { seed, ..shape() }).unwrap();
            load.lanes.into_iter().flatten().map(|r| r.body).collect()
        };
        assert_eq!(bodies(7), bodies(7));
        assert_ne!(bodies(7), bodies(8));
    }
}
