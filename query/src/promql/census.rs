//! Who makes how many series: counts by label and value over all shards.
use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use trine_store::index::Matcher;

use super::SAMPLES_MAX;
use super::fetch;
use super::fragment::{self, Census, Request};
use crate::error::{Error, Result};
use crate::memory::{self, Charge, text_bytes};
use crate::scatter::{Completeness, QueryContext, Scatter};

/// Series of one label, by value.
pub type LabelCensus = HashMap<String, u64>;

/// Counts of a tenant's series.
#[derive(Clone, Debug)]
pub struct TenantCensus {
    pub series: u64,
    /// Compressed pieces that their samples are in.
    pub chunks: u64,
    /// Series that have native histograms only.
    pub histogram_series: u64,
    pub labels: BTreeMap<String, LabelCensus>,
    pub completeness: Completeness,
    /// What `labels` weighs.
    pub held: Arc<Charge>,
}

/// Counts the series that match and have samples in the range. `names`: the labels to count values of, all if empty.
pub async fn census(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    matchers: &[Matcher],
    (min_ms, max_ms): (i64, i64),
    names: &[String],
) -> Result<TenantCensus> {
    let question = Census { matchers: fragment::put_matchers(matchers), min_ms, max_ms, names: names.to_vec() };
    let request =
        Request { version: fragment::VERSION, samples_max: SAMPLES_MAX, census: Some(question), ..Request::default() };
    let (mut series, mut chunks, mut histogram_series) = (0, 0, 0);
    let (mut labels, mut held): (BTreeMap<String, LabelCensus>, _) = (BTreeMap::new(), ctx.memory.open());
    let completeness = fetch::stream(scatter, ctx, &request, |bytes| {
        let _decoding = memory::decoding(&ctx.memory, bytes.len())?;
        let frame = fetch::decode(bytes)?;
        if let Some(totals) = frame.totals {
            series += totals.series;
            chunks += totals.chunks;
            histogram_series += totals.histogram_series;
        }
        for counts in frame.counts {
            if counts.values.len() != counts.series.len() {
                return Err(Error::Corrupt { what: "PromQL frame", reason: "values and counts differ".to_owned() });
            }
            let values = labels.entry(counts.name).or_default();
            for (value, count) in counts.values.into_iter().zip(counts.series) {
                match values.get_mut(&value) {
                    Some(known) => *known += count,
                    None => {
                        held.add(text_bytes(&value) + 16)?;
                        values.insert(value, count);
                    }
                }
            }
        }
        Ok(())
    })
    .await?;
    Ok(TenantCensus { series, chunks, histogram_series, labels, completeness, held: Arc::new(held) })
}
