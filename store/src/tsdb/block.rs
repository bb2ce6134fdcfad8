//! Sealed blocks of metrics, read by range.
mod cache;
mod compact;
mod format;
mod inspect;
mod output;
mod retain;
mod seal;
mod sizes;
mod tables;
mod tenant;

use std::sync::Arc;

pub use cache::BlockCache;
pub use compact::compact;
pub use inspect::contents;
pub use retain::retain_tenants;
pub use seal::{recount, seal, seal_counted, seal_view, verify};
pub use sizes::BlockSizes;
pub(super) use tables::{ChunkRef, Place};
pub(super) use tenant::TenantIndex;

use super::chunk::blobs::unpack;
use super::{Error, FamilyMetadata, Result};
use crate::codec;
use crate::limits::{DeleteSeries, Limits};
use crate::read_at::{DamageKind, ReadAt};
use format::{Extent, HEADER_LEN, MAGIC, TAIL_LEN, TenantEntry, VERSION, decode_footer};

/// Decoded pieces that a block keeps when it has no cache to share.
const OWN_CACHE_BYTES: usize = 4 << 20;

/// What a seal wrote. Times are ms, both inclusive; `min_time > max_time` when there is no sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSummary {
    pub bytes: u64,
    /// Samples of all kinds, without duplicates.
    pub facts: u64,
    pub series: u64,
    pub min_time: i64,
    pub max_time: i64,
    /// xxh3-128 over the canonical decoded content: equal content has an equal digest, however it was encoded.
    pub digest: u128,
}

/// One sealed block. Keeps its footer; the rest is read when asked for.
#[derive(Debug)]
pub struct Block {
    name: String,
    file: Arc<dyn ReadAt>,
    cache: Arc<BlockCache>,
    cache_id: u64,
    /// By name.
    tenants: Vec<(Arc<str>, TenantEntry)>,
    summary: BlockSummary,
    /// Log index of the entry that made it: a deletion at this index or behind it concerns its samples.
    made_at: u64,
    /// Whether the file is gone: then everything but the summary is an [`Error::Lost`].
    lost: bool,
}

impl Drop for Block {
    fn drop(&mut self) {
        self.cache.forget(self.cache_id);
    }
}

impl Block {
    /// Opens a block with a small cache of its own.
    pub fn open(file: Arc<dyn ReadAt>) -> Result<Self> {
        Self::open_with(file, "(unnamed)", Arc::new(BlockCache::new(OWN_CACHE_BYTES)))
    }

    /// Opens a block: reads and checks its header and footer. `name` appears in errors.
    pub fn open_with(file: Arc<dyn ReadAt>, name: &str, cache: Arc<BlockCache>) -> Result<Self> {
        let opening = Opening { file: &*file, name };
        let entries = opening.footer()?;
        let summary = summary_of(&entries, file.len());
        let tenants = entries.into_iter().map(|entry| (Arc::from(entry.tenant.as_str()), entry)).collect();
        let cache_id = BlockCache::register();
        Ok(Self { name: name.to_owned(), file, cache, cache_id, tenants, summary, made_at: 0, lost: false })
    }

    /// A place holder for a block whose file is damaged: reads that it concerns fail with [`Error::Lost`].
    pub fn lost(name: &str, summary: BlockSummary) -> Self {
        let cache = Arc::new(BlockCache::new(0));
        let cache_id = BlockCache::register();
        let file = Arc::new(bytes::Bytes::new());
        Self { name: name.to_owned(), file, cache, cache_id, tenants: Vec::new(), summary, made_at: 0, lost: true }
    }

    /// The same, made by the entry at this log index.
    pub fn made_at(mut self, index: u64) -> Self {
        self.made_at = index;
        self
    }

    /// Whether this is a place holder.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// The name it was opened by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the footer says of it; the digest is over all tenants.
    pub fn summary(&self) -> BlockSummary {
        self.summary
    }

    /// Tenants, by name.
    pub fn tenants(&self) -> impl Iterator<Item = &Arc<str>> {
        self.tenants.iter().map(|(tenant, _)| tenant)
    }

    /// Tenants with their samples of all kinds, as the footer says. None for a place holder.
    pub fn tenant_facts(&self) -> impl Iterator<Item = (&str, u64)> {
        self.tenants.iter().map(|(tenant, entry)| (&**tenant, entry.facts))
    }

    /// Calls `see` with the slot of every series of the tenant.
    pub fn slots(self: &Arc<Self>, tenant: &str, mut see: impl FnMut(u16)) -> Result<()> {
        self.tenant(tenant)?.map_or(Ok(()), |index| index.slots(&mut see))
    }

    /// Tenants with the least and greatest time of their samples, as the footer says; none for those without samples.
    pub fn tenant_times(&self) -> impl Iterator<Item = (&str, i64, i64)> {
        let with_facts = self.tenants.iter().filter(|(_, entry)| entry.facts > 0);
        with_facts.map(|(tenant, entry)| (&**tenant, entry.min_ms, entry.max_ms))
    }

    /// Samples, series, least and greatest time in ms of a tenant, as the footer says; none without samples of it.
    pub fn tenant_summary(&self, tenant: &str) -> Option<(u64, u64, i64, i64)> {
        let at = self.tenants.binary_search_by(|(name, _)| (**name).cmp(tenant)).ok()?;
        let entry = &self.tenants[at].1;
        (entry.facts > 0).then_some((entry.facts, entry.series, entry.min_ms, entry.max_ms))
    }

    /// What a view's limits delete of the tenant's section.
    pub(super) fn deleted<'a>(&self, tenant: &'a str, limits: &'a Limits) -> impl Iterator<Item = &'a DeleteSeries> {
        limits.of(tenant, self.made_at, (self.summary.min_time, self.summary.max_time))
    }

    /// A number that no other block has or had in this process.
    pub(super) fn number(&self) -> u64 {
        self.cache_id
    }

    pub(super) fn overlaps(&self, min_ms: i64, max_ms: i64) -> bool {
        self.summary.min_time <= max_ms && self.summary.max_time >= min_ms
    }

    /// The tenant's section, if it has one.
    pub(super) fn tenant(self: &Arc<Self>, tenant: &str) -> Result<Option<TenantIndex>> {
        if self.lost {
            return Err(Error::Lost { block: self.name.clone() });
        }
        match self.tenants.binary_search_by(|(name, _)| (**name).cmp(tenant)) {
            Ok(at) => TenantIndex::load(self, &self.tenants[at].1).map(Some),
            Err(_) => Ok(None),
        }
    }

    pub(super) fn label_names(self: &Arc<Self>, tenant: &str, see: &mut dyn FnMut(&str)) -> Result<()> {
        if let Some(index) = self.tenant(tenant)? {
            index.label_names(see);
        }
        Ok(())
    }

    pub(super) fn label_values(self: &Arc<Self>, tenant: &str, name: &str, see: &mut dyn FnMut(&str)) -> Result<()> {
        self.tenant(tenant)?.map_or(Ok(()), |index| index.label_values(name, see))
    }

    pub(super) fn metadata(self: &Arc<Self>, tenant: &str) -> Result<Vec<(String, FamilyMetadata)>> {
        self.tenant(tenant)?.map_or(Ok(Vec::new()), |index| index.metadata())
    }

    fn piece<T: Send + Sync + 'static>(
        &self,
        entry: &TenantEntry,
        extent: Extent,
        section: &'static str,
        decode: impl FnOnce(&[u8]) -> Result<(T, usize), codec::Error>,
    ) -> Result<Arc<T>> {
        self.piece_at(entry.start, entry.len, extent, section, decode)
    }

    /// A decoded piece of the section at `start`, from the cache or the file. `decode` also tells its bytes in memory.
    fn piece_at<T: Send + Sync + 'static>(
        &self,
        start: u64,
        len: u64,
        extent: Extent,
        section: &'static str,
        decode: impl FnOnce(&[u8]) -> Result<(T, usize), codec::Error>,
    ) -> Result<Arc<T>> {
        self.cache.get((self.cache_id, start.saturating_add(extent.offset)), || {
            let stored = self.stored(start, len, extent, section)?;
            let raw = unpack(&stored).and_then(|raw| decode(&raw));
            raw.map_err(|source| Error::Decode { block: self.name.clone(), section, source })
        })
    }

    /// Stored bytes, checked.
    fn stored(&self, start: u64, len: u64, extent: Extent, section: &'static str) -> Result<Vec<u8>> {
        if extent.offset.checked_add(u64::from(extent.len)).is_none_or(|end| end > len) {
            return Err(Error::Damaged { block: self.name.clone(), section, reason: "it lies outside its tenant" });
        }
        Opening { file: &*self.file, name: &self.name }.checked(start, extent, section)
    }
}

/// Totals over tenants, and the digest over theirs: a block without one of them has the digest that it would have had.
fn summary_of(tenants: &[TenantEntry], bytes: u64) -> BlockSummary {
    let mut canonical = Vec::new();
    for entry in tenants {
        codec::put_bytes(&mut canonical, entry.tenant.as_bytes());
        canonical.extend_from_slice(&entry.digest.to_le_bytes());
    }
    BlockSummary {
        bytes,
        facts: tenants.iter().map(|t| t.facts).fold(0, u64::saturating_add),
        series: tenants.iter().map(|t| t.series).fold(0, u64::saturating_add),
        min_time: tenants.iter().map(|t| t.min_ms).min().unwrap_or(i64::MAX),
        max_time: tenants.iter().map(|t| t.max_ms).max().unwrap_or(i64::MIN),
        digest: xxhash_rust::xxh3::xxh3_128(&canonical),
    }
}

/// A file before it is known to be a block.
struct Opening<'a> {
    file: &'a dyn ReadAt,
    name: &'a str,
}

impl Opening<'_> {
    fn damaged(&self, section: &'static str, reason: &'static str) -> Error {
        Error::Damaged { block: self.name.to_owned(), section, reason }
    }

    fn read(&self, offset: u64, len: usize, section: &'static str) -> Result<Vec<u8>> {
        let read = self.file.read_range(offset, len);
        read.map_err(|source| {
            self.file.report(offset, section, DamageKind::of_read(&source), &source);
            Error::Read { block: self.name.to_owned(), section, source }
        })
    }

    fn checked(&self, start: u64, extent: Extent, section: &'static str) -> Result<Vec<u8>> {
        let offset =
            start.checked_add(extent.offset).ok_or_else(|| self.damaged(section, "its offset is out of range"))?;
        let bytes = self.read(offset, extent.len as usize, section)?;
        let found = crc32fast::hash(&bytes);
        if codec::crc_differs(found, extent.crc) {
            let reason = format_args!("checksum {found:08x}, expected {:08x}", extent.crc);
            self.file.report(offset, section, DamageKind::Checksum, &reason);
            return Err(Error::Checksum { block: self.name.to_owned(), section, expected: extent.crc, found });
        }
        Ok(bytes)
    }

    fn footer(&self) -> Result<Vec<TenantEntry>> {
        let header = self.read(0, HEADER_LEN as usize, "header")?;
        if header[..4] != MAGIC {
            return Err(self.damaged("header", "the magic is missing"));
        }
        if header[4] != VERSION {
            return Err(Error::Version { block: self.name.to_owned(), found: header[4], expected: VERSION });
        }
        if header[5..] != [0; 3] {
            return Err(self.damaged("header", "reserved bytes are set"));
        }
        let tail_at = self.file.len().checked_sub(TAIL_LEN).filter(|at| *at >= HEADER_LEN);
        let tail_at = tail_at.ok_or_else(|| self.damaged("tail", "the file is too short"))?;
        let footer = self.tail(tail_at)?;
        let packed = self.checked(0, footer, "footer")?;
        let entries = unpack(&packed).and_then(|raw| decode_footer(&raw));
        let entries =
            entries.map_err(|source| Error::Decode { block: self.name.to_owned(), section: "footer", source })?;
        if !entries.is_sorted_by(|a, b| a.tenant < b.tenant) {
            return Err(self.damaged("footer", "tenants are not in order"));
        }
        Ok(entries)
    }

    fn tail(&self, at: u64) -> Result<Extent> {
        let tail = self.read(at, TAIL_LEN as usize, "tail")?;
        let mut r = codec::Reader::new(&tail);
        let decoded = (|| {
            let extent = Extent { offset: r.u64("footer offset")?, len: r.u32("footer length")?, crc: r.u32("crc")? };
            Ok((extent, r.u32("tail crc")?, r.array::<4>("magic")?))
        })();
        let (extent, crc, magic) =
            decoded.map_err(|source| Error::Decode { block: self.name.to_owned(), section: "tail", source })?;
        let found = crc32fast::hash(&tail[..16]);
        if magic != MAGIC {
            return Err(self.damaged("tail", "the magic is missing"));
        }
        if codec::crc_differs(found, crc) {
            return Err(Error::Checksum { block: self.name.to_owned(), section: "tail", expected: crc, found });
        }
        if extent.offset.checked_add(u64::from(extent.len)) != Some(at) {
            return Err(self.damaged("tail", "the footer is not before it"));
        }
        Ok(extent)
    }
}

/// Runs every decoder of a piece over bytes that no checksum vouches for.
pub(crate) fn decode_tables(raw: &[u8]) {
    let _unchecked = decode_footer(raw);
    let _unchecked = format::Directory::decode(raw);
    let _unchecked = tables::Symbols::decode(raw);
    let _unchecked = tables::SeriesPiece::decode(raw);
    let _unchecked = tables::decode_times(raw);
    let _unchecked = tables::decode_postings(raw, 10);
    let _unchecked = tables::decode_metadata(raw);
}
