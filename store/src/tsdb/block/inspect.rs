//! What a block of metrics holds.
use std::collections::BTreeMap;
use std::sync::Arc;

use super::Block;
use super::format::{Extent, TenantEntry};
use super::tenant::{SeriesCursor, TenantIndex};
use crate::inspect::{TenantContents, Weight};
use crate::part::SampleKind;
use crate::tsdb::Result;

const METRIC_NAME: &str = "__name__";

/// Contents by tenant. Reads the tables of all sections, which are checked; pages of samples are not read.
pub fn contents(block: &Arc<Block>) -> Result<Vec<TenantContents>> {
    block.tenants.iter().map(|(tenant, entry)| of_tenant(block, tenant, entry)).collect()
}

fn of_tenant(block: &Arc<Block>, tenant: &str, entry: &TenantEntry) -> Result<TenantContents> {
    let mut out = TenantContents {
        tenant: tenant.to_owned(),
        bytes: entry.len,
        series: entry.series,
        facts: entry.facts,
        times: (entry.facts > 0).then_some((entry.min_ms, entry.max_ms)),
        ..TenantContents::default()
    };
    let Some(index) = block.tenant(tenant)? else { return Ok(out) };
    let directory = index.directory();
    let sum = |extents: &[Extent]| extents.iter().map(|e| u64::from(e.len)).sum::<u64>();
    out.sections = vec![
        ("directory", u64::from(entry.directory.len)),
        ("symbols", u64::from(directory.symbols.len)),
        ("metadata", u64::from(directory.metadata.len)),
        ("series table", sum(&directory.series)),
        ("time column table", sum(&directory.times)),
        ("postings", directory.names.iter().map(|(_, e)| u64::from(e.len)).sum()),
        ("value pages", sum(&directory.value_pages)),
        ("time pages", sum(&directory.times_pages)),
    ];
    for (name, extent) in &directory.names {
        let mut values = 0;
        index.label_values(name, &mut |_| values += 1)?;
        let bytes = u64::from(extent.len);
        out.columns.push(Weight { name: name.clone(), members: values, facts: 0, bytes });
    }
    (out.groups, out.kinds) = metrics(&index)?;
    Ok(out)
}

/// Samples by kind.
type Kinds = Vec<(&'static str, u64)>;

/// What metrics weigh, and samples by kind.
fn metrics(index: &TenantIndex) -> Result<(Vec<Weight>, Kinds)> {
    let (mut metrics, mut kinds) = (BTreeMap::new(), BTreeMap::<&'static str, u64>::new());
    let mut cursor = SeriesCursor::default();
    while let Some(series) = cursor.next(index)? {
        let (mut samples, mut bytes) = (0u64, 0u64);
        for chunk in &series.chunks {
            let count = u64::from(index.times(chunk.times)?.count);
            samples += count;
            bytes += u64::from(chunk.place.len);
            *kinds.entry(kind_name(chunk.kind)).or_default() += count;
        }
        let name = series.labels.get(METRIC_NAME).unwrap_or_default().to_owned();
        Weight::add(&mut metrics, name, 1, samples, bytes);
    }
    Ok((Weight::list(metrics), kinds.into_iter().collect()))
}

fn kind_name(kind: SampleKind) -> &'static str {
    match kind {
        SampleKind::Float => "floats",
        SampleKind::IntHistogram => "histograms",
        SampleKind::FloatHistogram => "float histograms",
        SampleKind::StartTimestamp => "start timestamps",
        SampleKind::Exemplar => "exemplars",
        SampleKind::Metadata => "metadata",
    }
}
