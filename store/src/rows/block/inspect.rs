//! What a block of rows holds.
use std::collections::BTreeMap;
use std::sync::Arc;

use super::Block;
use super::footer::SectionEntry;
use crate::inspect::{TenantContents, Weight};
use crate::model::Signal;
use crate::rows::error::Result;
use crate::rows::granule::{ColumnMeta, GranuleMeta};
use crate::rows::piece::ClosedPiece;
use crate::rows::region::Region;
use crate::rows::stream::{StreamInfo, StreamRef};

/// Contents by tenant. Reads the tables of all sections, which are checked; regions of rows are not read.
pub fn contents(block: &Arc<Block>) -> Result<Vec<TenantContents>> {
    block.footer.sections.iter().map(|entry| of_section(block, entry)).collect()
}

fn of_section(block: &Arc<Block>, entry: &SectionEntry) -> Result<TenantContents> {
    let mut out = TenantContents {
        tenant: entry.tenant.clone(),
        bytes: entry.len,
        series: u64::from(entry.series),
        facts: entry.rows,
        times: (entry.rows > 0).then_some((entry.min_ns, entry.max_ns)),
        kinds: vec![(if block.signal == Signal::Logs { "lines" } else { "spans" }, entry.rows)],
        ..TenantContents::default()
    };
    let Some(source) = block.source(&entry.tenant)? else { return Ok(out) };
    let (mut streams, mut columns, mut sizes) = (BTreeMap::new(), BTreeMap::new(), Sizes::default());
    for piece in &source.pieces {
        let ClosedPiece::Granule(granule) = piece else { continue };
        sizes.add(&granule.meta);
        for span in &granule.meta.spans {
            let name = source.streams.get(StreamRef(span.stream)).map_or_else(String::new, |s| name_of(s));
            Weight::add(&mut streams, name, 0, u64::from(span.rows), span.body_bytes);
        }
        for column in &granule.meta.columns {
            let name = format!("{:?} {} ({:?})", column.scope, column.key, column.value_type).to_lowercase();
            Weight::add(&mut columns, name, 1, u64::from(column.count), column_bytes(column));
        }
    }
    streams.values_mut().for_each(|s: &mut Weight| s.members = 1);
    out.sections = vec![
        ("streams", u64::from(entry.streams.len)),
        ("label index", u64::from(entry.labels.len)),
        ("granule directory", u64::from(entry.granules.len)),
        ("times", sizes.times),
        ("shapes", sizes.shapes),
        ("stream ids", sizes.stream_ids),
        ("bodies", sizes.bodies),
        ("token filters", sizes.tokens),
        ("columns", sizes.columns),
        ("value filters", sizes.filters),
    ];
    (out.groups, out.columns) = (Weight::list(streams), Weight::list(columns));
    Ok(out)
}

/// Stored bytes of the regions of granules.
#[derive(Default)]
struct Sizes {
    times: u64,
    shapes: u64,
    stream_ids: u64,
    bodies: u64,
    tokens: u64,
    columns: u64,
    filters: u64,
}

impl Sizes {
    fn add(&mut self, granule: &GranuleMeta) {
        self.times += u64::from(granule.times.len);
        self.shapes += u64::from(granule.shapes.len);
        self.stream_ids += optional(granule.stream_ids.as_ref());
        self.bodies += u64::from(granule.body.len);
        self.tokens += optional(granule.tokens.as_ref());
        for column in &granule.columns {
            self.columns += u64::from(column.data.len);
            self.filters += optional(column.filter.as_ref());
        }
    }
}

fn optional(region: Option<&Region>) -> u64 {
    region.map_or(0, |r| u64::from(r.len))
}

fn column_bytes(column: &ColumnMeta) -> u64 {
    u64::from(column.data.len) + optional(column.filter.as_ref())
}

/// Labels of a log stream; the attributes of a span stream.
fn name_of(stream: &StreamInfo) -> String {
    match stream.labels() {
        Some(labels) => labels.to_string(),
        None => {
            let pairs: Vec<String> = stream.attrs().iter().map(|a| format!("{}={:?}", a.key, a.value)).collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}
