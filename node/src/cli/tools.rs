//! Flags of the commands that look at data: `query`, `inspect`, `export`.
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::command::moment::{Moment, seconds};

#[derive(Debug, Args)]
pub(crate) struct QueryFlags {
    #[command(subcommand)]
    pub(crate) language: QueryLanguage,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueryLanguage {
    /// Evaluate a PromQL expression, at one time or over a range.
    Promql(PromqlFlags),
}

const PROMQL_EXAMPLES: &str = "Examples:
  trine query promql 'sum by (job) (rate(http_requests_total[5m]))'
  trine query promql up --time 2026-11-21T10:00:00Z --format json
  trine query promql 'rate(http_requests_total[5m])' --start -1h            a plot
  trine query promql node_load1 --start -2d --end -1d --step 5m --format csv > load.csv

Times are `now`, `-90m` (so long ago), RFC 3339, a date, or Unix seconds. Warnings of the answer go to the standard error.
Exit status: 0 the query was answered, 1 it was not, 2 the command line is wrong.";

#[derive(Debug, Args)]
#[command(after_help = PROMQL_EXAMPLES)]
pub(crate) struct PromqlFlags {
    /// The expression.
    #[arg(allow_hyphen_values = true)]
    pub(crate) expression: String,
    /// Base URL of any node.
    #[arg(long, env = "TRINE_URL", default_value = "http://127.0.0.1:9090")]
    pub(crate) url: String,
    /// Whose data [default: that of requests without a tenant].
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// When to evaluate [default: now].
    #[arg(long, allow_hyphen_values = true, conflicts_with_all = ["start", "end", "step"])]
    pub(crate) time: Option<Moment>,
    /// First time of a range.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) start: Option<Moment>,
    /// Last time of a range [default: now].
    #[arg(long, allow_hyphen_values = true, requires = "start")]
    pub(crate) end: Option<Moment>,
    /// Between two times of a range: seconds, or as 1m30s [default: a 120th of the range, a second or more].
    #[arg(long, requires = "start", value_parser = seconds)]
    pub(crate) step: Option<f64>,
    /// How to print the answer [default: a plot of a range at a terminal, else a table].
    #[arg(long, value_enum)]
    pub(crate) format: Option<QueryFormat>,
    /// Fail unless every shard answers.
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QueryFormat {
    Table,
    Plot,
    Json,
    Csv,
}

#[derive(Debug, Args)]
pub(crate) struct InspectFlags {
    #[command(subcommand)]
    pub(crate) what: InspectWhat,
}

const BLOCK_EXAMPLES: &str = "Examples:
  trine inspect block data/shards/00010-12/blocks/0000000001-metrics.trnb
  trine inspect block --verify --top 20 FILE
  trine inspect block --format json FILE | jq '.tenants[].sections'

A damaged block is named with the section and the offset where it begins, and the exit status is 1.";

#[derive(Debug, Subcommand)]
pub(crate) enum InspectWhat {
    /// Show what a block file of metrics, logs or traces holds. Reads the file alone: no node need run.
    #[command(after_help = BLOCK_EXAMPLES)]
    Block {
        /// The file.
        file: PathBuf,
        /// Decode everything, and compare with the digest in the footer.
        #[arg(long)]
        verify: bool,
        /// How many metrics, streams, labels and columns to name.
        #[arg(long, default_value_t = 10)]
        top: usize,
        /// How to print it.
        #[arg(long, value_enum, default_value = "table")]
        format: InspectFormat,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InspectFormat {
    Table,
    Json,
}

const EXPORT_EXAMPLES: &str = "Examples:
  trine export --start -1d --output day.om
  trine export --match '{job=\"api\"}' --match up --start 2026-11-01 --end 2026-11-08 | gzip > week.om.gz
  promtool tsdb create-blocks-from openmetrics day.om ./prometheus-data

Native histograms are written as classic ones: NAME_bucket, NAME_count and NAME_sum. With bounds of their own nothing is lost;
exponential ones lose their schema, and have the bounds of the buckets that each sample has. Exemplars are written where
OpenMetrics 1.0 allows them, one a sample: on counters and on the buckets of native histograms.

Left out, and counted on the standard error: what OpenMetrics 1.0 has no form or place for, such as stale markers, names beyond
ASCII, and exemplars of classic histograms.";

#[derive(Debug, Args)]
#[command(after_help = EXPORT_EXAMPLES)]
pub(crate) struct ExportFlags {
    /// Base URL of any node.
    #[arg(long, env = "TRINE_URL", default_value = "http://127.0.0.1:9090")]
    pub(crate) url: String,
    /// Whose data [default: that of requests without a tenant].
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Series to write, as a PromQL selector; may be repeated [default: all].
    #[arg(long = "match", value_name = "SELECTOR")]
    pub(crate) selectors: Vec<String>,
    /// Time of the first sample: `-1d` (so long ago), RFC 3339, a date, or Unix seconds.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) start: Moment,
    /// Time of the last sample [default: now].
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) end: Option<Moment>,
    /// Where to; it is replaced. `-` is the standard output.
    #[arg(long, default_value = "-")]
    pub(crate) output: PathBuf,
}
