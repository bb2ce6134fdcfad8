//! The messages of remote write 1.0, by hand: the harness must not share a decoder with what it tests.
use prost::Message;

/// `prometheus.WriteRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

/// `prometheus.TimeSeries`.
#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
}

/// `prometheus.Label`.
#[derive(Clone, PartialEq, Message)]
pub struct Label {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `prometheus.Sample`.
#[derive(Clone, PartialEq, Message)]
pub struct Sample {
    #[prost(double, tag = "1")]
    pub value: f64,
    /// Milliseconds.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

impl TimeSeries {
    /// A series with one sample.
    pub fn of(labels: &[(&str, &str)], value: f64, timestamp: i64) -> Self {
        let label = |(name, value): &(&str, &str)| Label { name: (*name).into(), value: (*value).into() };
        Self { labels: labels.iter().map(label).collect(), samples: vec![Sample { value, timestamp }] }
    }
}

impl WriteRequest {
    /// The body of a request: snappy's block format.
    pub fn to_body(&self) -> Vec<u8> {
        snappy(&self.encode_to_vec())
    }
}

/// Compresses by snappy's block format.
pub fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).expect("a request is shorter than snappy's 4 GiB")
}
