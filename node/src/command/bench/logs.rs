//! Loki pushes as an agent sends them: batches of a megabyte of lines, grouped by stream, in time order.
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::lines::{Kind, Writer};
use super::load::{Load, Request, Signal, snappy};
use super::wire;
use crate::error::Error;

/// What is written and how fast its time passes.
#[derive(Clone, Debug)]
pub(super) struct LogsShape {
    pub(super) seed: u64,
    pub(super) connections: usize,
    pub(super) lines: u64,
    pub(super) streams: u32,
    /// Bytes of lines in a request.
    pub(super) request_bytes: u64,
    /// Time over which the lines are spread.
    pub(super) span_ns: i64,
    pub(super) end_ns: i64,
}

const STREAM_STRIDE: u64 = 0xd6e8_feb8_6659_fd93;
const APPS: [&str; 12] = [
    "gateway", "checkout", "cart", "catalog", "payment", "shipping", "search", "accounts", "mailer", "billing", "sshd",
    "kubelet",
];

/// Encodes the run's requests. The same shape gives the same bytes.
pub(super) fn generate(shape: &LogsShape) -> Result<Load, Error> {
    let connections = shape.connections.min(shape.streams as usize);
    Load::build(Signal::Logs, connections, |lane| generate_lane(shape, lane, connections))
}

/// One stream and its lines in the request that is being filled.
struct Stream {
    labels: String,
    writer: Writer,
    rng: StdRng,
    entries: Vec<u8>,
    /// How often it writes, beside the others of its lane.
    weight: f64,
}

fn stream(shape: &LogsShape, number: u32) -> Stream {
    let mut rng = StdRng::seed_from_u64(shape.seed ^ STREAM_STRIDE.wrapping_mul(u64::from(number) + 1));
    let app = APPS[number as usize % APPS.len()];
    let kind = Kind::ALL[number as usize % Kind::ALL.len()];
    let (hash, suffix) = (rng.random_range(0..0x1000_0000u32), rng.random_range(0..0x10_0000u32));
    let node = rng.random_range(1..40);
    let labels = format!(
        "{{app=\"{app}\", cluster=\"prod-eu-central-1\", container=\"{app}\", job=\"shop/{app}\", namespace=\"shop\", \
         node_name=\"worker-{node}\", pod=\"{app}-{hash:07x}-{suffix:05x}\", stream=\"{}\"}}",
        if number.is_multiple_of(7) { "stderr" } else { "stdout" },
    );
    // Few streams write most of the lines.
    let weight = 1.0 / f64::from(number + 1).sqrt();
    Stream { labels, writer: Writer::new(kind, &mut rng), rng, entries: Vec::new(), weight }
}

fn generate_lane(shape: &LogsShape, lane: usize, lanes: usize) -> Result<Vec<Request>, Error> {
    let mut streams: Vec<Stream> = (0..shape.streams).skip(lane).step_by(lanes).map(|n| stream(shape, n)).collect();
    let lines = shape.lines / lanes as u64 + u64::from((lane as u64) < shape.lines % lanes as u64);
    let step_ns = shape.span_ns / i64::try_from(lines.max(1)).unwrap_or(i64::MAX);
    let total: f64 = streams.iter().map(|s| s.weight).sum();
    let mut rng = StdRng::seed_from_u64(shape.seed ^ STREAM_STRIDE.rotate_left(32).wrapping_mul(lane as u64 + 1));
    let mut encoder = snap::raw::Encoder::new();
    let (mut out, mut facts, mut raw_bytes) = (Vec::new(), 0, 0);
    let mut text = String::new();
    for line in 0..lines {
        let left = i64::try_from(lines - line).unwrap_or(i64::MAX);
        let time_ns = shape.end_ns - left * step_ns + rng.random_range(0..step_ns.max(1));
        let mut at = rng.random::<f64>() * total;
        let chosen = streams.iter().position(|s| {
            at -= s.weight;
            at <= 0.0
        });
        let Some(stream) = streams.get_mut(chosen.unwrap_or(0)) else { break };
        text.clear();
        stream.writer.line(&mut stream.rng, time_ns, &mut text);
        entry(&mut stream.entries, time_ns, &text);
        facts += 1;
        raw_bytes += text.len() as u64;
        if raw_bytes >= shape.request_bytes {
            out.push(request(&mut streams, &mut encoder, facts, raw_bytes)?);
            (facts, raw_bytes) = (0, 0);
        }
    }
    if facts > 0 {
        out.push(request(&mut streams, &mut encoder, facts, raw_bytes)?);
    }
    Ok(out)
}

fn entry(out: &mut Vec<u8>, time_ns: i64, line: &str) {
    let mut timestamp = Vec::with_capacity(12);
    wire::int(&mut timestamp, 1, time_ns.div_euclid(1_000_000_000));
    wire::int(&mut timestamp, 2, time_ns.rem_euclid(1_000_000_000));
    let mut entry = Vec::with_capacity(line.len() + 20);
    wire::bytes(&mut entry, 1, &timestamp);
    wire::bytes(&mut entry, 2, line.as_bytes());
    wire::bytes(out, 2, &entry);
}

fn request(
    streams: &mut [Stream],
    encoder: &mut snap::raw::Encoder,
    facts: u64,
    raw_bytes: u64,
) -> Result<Request, Error> {
    let mut message = Vec::new();
    for stream in streams.iter_mut().filter(|s| !s.entries.is_empty()) {
        let mut body = Vec::with_capacity(stream.entries.len() + stream.labels.len() + 8);
        wire::bytes(&mut body, 1, stream.labels.as_bytes());
        body.append(&mut stream.entries);
        wire::bytes(&mut message, 1, &body);
    }
    Ok(Request { body: snappy(encoder, &message)?, facts, raw_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, prost::Message)]
    struct PushRequest {
        #[prost(message, repeated, tag = "1")]
        streams: Vec<StreamAdapter>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct StreamAdapter {
        #[prost(string, tag = "1")]
        labels: String,
        #[prost(message, repeated, tag = "2")]
        entries: Vec<EntryAdapter>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct EntryAdapter {
        #[prost(message, optional, tag = "1")]
        timestamp: Option<Timestamp>,
        #[prost(string, tag = "2")]
        line: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Timestamp {
        #[prost(int64, tag = "1")]
        seconds: i64,
        #[prost(int32, tag = "2")]
        nanos: i32,
    }

    #[test]
    fn lines_are_counted_and_in_order() {
        let shape = LogsShape {
            seed: 1,
            connections: 3,
            lines: 5_000,
            streams: 20,
            request_bytes: 100_000,
            span_ns: 3_600_000_000_000,
            end_ns: 1_800_000_000_000_000_000,
        };
        let load = generate(&shape).unwrap();
        assert_eq!((load.lanes.len(), load.facts()), (3, 5_000));
        for request in load.lanes.iter().flatten() {
            let message = snap::raw::Decoder::new().decompress_vec(&request.body).unwrap();
            let push: PushRequest = prost::Message::decode(message.as_slice()).unwrap();
            let entries = || push.streams.iter().flat_map(|s| &s.entries);
            assert_eq!(entries().count() as u64, request.facts);
            assert_eq!(entries().map(|e| e.line.len() as u64).sum::<u64>(), request.raw_bytes);
            for stream in &push.streams {
                let times: Vec<_> =
                    stream.entries.iter().flat_map(|e| &e.timestamp).map(|t| (t.seconds, t.nanos)).collect();
                assert!(times.is_sorted(), "{}", stream.labels);
                assert!(stream.labels.starts_with("{app=\""));
            }
        }
    }
}
