//! What readers of a shard do not see any more: facts older than a tenant's retention, and series that were deleted.
//!
//! Both come out of the shard's log, so they are the same on every replica at one position. They hide at once; compaction
//! leaves out what they hide when it rewrites a block.
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codec::{Error, Reader, put_bytes, put_uvarint};
use crate::index::{MatchOp, Matcher};
use crate::model::TENANT_BYTES_MAX;

/// From which time on facts of one signal are kept, by tenant. Times are ms for metrics, ns for rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cutoffs {
    all: i64,
    /// Tenants with a cut-off of their own.
    tenants: BTreeMap<Box<str>, i64>,
}

impl Default for Cutoffs {
    /// Everything is kept.
    fn default() -> Self {
        Self { all: i64::MIN, tenants: BTreeMap::new() }
    }
}

impl Cutoffs {
    /// Facts before `all` are expired, of the named tenants those before their own time.
    pub fn new<'t>(all: i64, tenants: impl IntoIterator<Item = (&'t str, i64)>) -> Self {
        let tenants = tenants.into_iter().filter(|(_, at)| *at != all).map(|(name, at)| (name.into(), at)).collect();
        Self { all, tenants }
    }

    /// Facts of the tenant before this time are expired.
    pub fn of(&self, tenant: &str) -> i64 {
        self.tenants.get(tenant).copied().unwrap_or(self.all)
    }

    /// The greatest cut-off of any tenant.
    pub fn greatest(&self) -> i64 {
        self.tenants.values().copied().fold(self.all, i64::max)
    }

    /// Whether nothing ever expires.
    pub fn is_empty(&self) -> bool {
        self.tenants.is_empty() && self.all == i64::MIN
    }

    /// Moves every tenant's cut-off to that of `to`, but never back: what has expired may be gone already.
    pub fn advance(&mut self, to: &Self) {
        let all = self.all.max(to.all);
        let names = self.tenants.keys().chain(to.tenants.keys());
        let tenants = names.map(|name| (name.clone(), self.of(name).max(to.of(name)))).filter(|(_, at)| *at != all);
        *self = Self { tenants: tenants.collect(), all };
    }

    /// Whether any tenant's cut-off is later than that of `other` by `step` at least.
    pub fn is_beyond(&self, other: &Self, step: i64) -> bool {
        let is_later = |here: i64, there: i64| here.saturating_sub(there) >= step && here > there;
        let mut names = self.tenants.keys().chain(other.tenants.keys());
        is_later(self.all, other.all) || names.any(|name| is_later(self.of(name), other.of(name)))
    }

    /// `all(i64) count (tenant at(i64))*`, by name.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.all.to_le_bytes());
        put_uvarint(out, self.tenants.len() as u64);
        for (tenant, at) in &self.tenants {
            put_bytes(out, tenant.as_bytes());
            out.extend_from_slice(&at.to_le_bytes());
        }
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, Error> {
        let all = r.u64("cut-off")? as i64;
        let n = r.count(9, "cut-offs count")?;
        let mut cutoffs = Self { all, tenants: BTreeMap::new() };
        for _ in 0..n {
            let tenant = tenant(r)?;
            cutoffs.tenants.insert(tenant.into(), r.u64("cut-off")? as i64);
        }
        Ok(cutoffs)
    }
}

fn tenant<'a>(r: &mut Reader<'a>) -> Result<&'a str, Error> {
    let at = r.position();
    let tenant = r.str("tenant")?;
    let is_valid = !tenant.is_empty() && tenant.len() <= TENANT_BYTES_MAX;
    is_valid.then_some(tenant).ok_or(Error::Invalid { what: "tenant", at })
}

/// A request to delete series: of one tenant's series that satisfy all matchers, the samples within a time range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteSeries {
    /// Names the request: a shard carries it out once.
    pub id: u64,
    pub tenant: Box<str>,
    pub matchers: Vec<Matcher>,
    /// Both inclusive.
    pub min_ms: i64,
    pub max_ms: i64,
}

impl DeleteSeries {
    /// Matchers of one request at most.
    pub const MATCHERS_MAX: usize = 64;

    /// `id tenant min(i64) max(i64) count (op(u8) name value)*`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_uvarint(out, self.id);
        put_bytes(out, self.tenant.as_bytes());
        out.extend_from_slice(&self.min_ms.to_le_bytes());
        out.extend_from_slice(&self.max_ms.to_le_bytes());
        put_uvarint(out, self.matchers.len() as u64);
        for matcher in &self.matchers {
            out.push(matcher.op as u8);
            put_bytes(out, matcher.name.as_bytes());
            put_bytes(out, matcher.value.as_bytes());
        }
    }

    /// Checks everything, so that a request that decodes can be carried out.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, Error> {
        let id = r.uvarint("delete request")?;
        let tenant = tenant(r)?.into();
        let (min_ms, max_ms) = (r.u64("least time")? as i64, r.u64("greatest time")? as i64);
        let at = r.position();
        let n = r.count(3, "matchers count")?;
        if n > Self::MATCHERS_MAX {
            return Err(Error::Invalid { what: "matchers count", at });
        }
        let matchers = (0..n).map(|_| matcher(r)).collect::<Result<_, _>>()?;
        Ok(Self { id, tenant, matchers, min_ms, max_ms })
    }
}

fn matcher(r: &mut Reader<'_>) -> Result<Matcher, Error> {
    let at = r.position();
    let op = r.u8("matcher")?;
    let op = MatchOp::from_u8(op).ok_or(Error::Unknown { what: "matcher", value: u64::from(op), at })?;
    let (name, value) = (r.str("matcher name")?, r.str("matcher value")?);
    Matcher::new(name, op, value).map_err(|_| Error::Invalid { what: "matcher pattern", at })
}

/// A deletion at a position of the shard's log: it concerns what was written before, and nothing that comes after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// Log index of the deletion.
    pub index: u64,
    pub delete: DeleteSeries,
}

impl Tombstone {
    /// Whether samples of a block or head that was closed at log index `made_at` are concerned.
    pub fn concerns(&self, tenant: &str, made_at: u64) -> bool {
        self.index >= made_at && *self.delete.tenant == *tenant
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_uvarint(out, self.index);
        self.delete.encode(out);
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { index: r.uvarint("tombstone index")?, delete: DeleteSeries::decode(r)? })
    }
}

/// What readers of a shard's metrics do not see.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    pub cutoffs: Arc<Cutoffs>,
    pub tombstones: Vec<Arc<Tombstone>>,
    /// Log indexes at which the view's frozen heads were, oldest first; the heads behind them are open.
    pub frozen: Vec<u64>,
}

impl Limits {
    /// Tombstones that concern the tenant's samples of what was closed at `made_at`, within a time range.
    pub(crate) fn of<'a>(
        &'a self,
        tenant: &'a str,
        made_at: u64,
        (min_ms, max_ms): (i64, i64),
    ) -> impl Iterator<Item = &'a DeleteSeries> {
        let concerned = self.tombstones.iter().filter(move |t| t.concerns(tenant, made_at)).map(|t| &t.delete);
        concerned.filter(move |d| d.min_ms <= max_ms && d.max_ms >= min_ms)
    }

    /// Whether anything of the tenant was deleted.
    pub(crate) fn has_deleted(&self, tenant: &str) -> bool {
        self.tombstones.iter().any(|t| *t.delete.tenant == *tenant)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cut_off_never_goes_back() {
        let mut cutoffs = Cutoffs::new(100, [("long", 10), ("short", 200)]);
        assert_eq!((cutoffs.of("a"), cutoffs.of("long"), cutoffs.of("short")), (100, 10, 200));
        // `new` gets a longer retention than it had, `short` loses its own.
        cutoffs.advance(&Cutoffs::new(150, [("long", 60), ("new", 20)]));
        assert_eq!((cutoffs.of("a"), cutoffs.of("long"), cutoffs.of("new"), cutoffs.of("short")), (150, 60, 100, 200));
        cutoffs.advance(&Cutoffs::new(300, []));
        assert_eq!(cutoffs, Cutoffs::new(300, []));
        assert_eq!(cutoffs.greatest(), 300);
    }

    #[test]
    fn a_deletion_concerns_what_was_before_it() {
        let delete = DeleteSeries { id: 1, tenant: "t".into(), matchers: Vec::new(), min_ms: 10, max_ms: 20 };
        let limits = Limits { tombstones: vec![Arc::new(Tombstone { index: 7, delete })], ..Limits::default() };
        let count = |tenant, made_at, range| limits.of(tenant, made_at, range).count();
        assert_eq!((count("t", 7, (0, 10)), count("t", 8, (0, 10)), count("u", 7, (0, 10))), (1, 0, 0));
        assert_eq!((count("t", 0, (0, 9)), count("t", 0, (20, 30)), count("t", 0, (21, 30))), (0, 1, 0));
    }

    proptest! {
        #[test]
        fn cutoffs_come_back_and_only_rise(all: i64, tenants: Vec<(u8, i64)>, to: i64, others: Vec<(u8, i64)>) {
            let of = |all, tenants: &[(u8, i64)]| {
                let named: Vec<(String, i64)> = tenants.iter().map(|(n, at)| (format!("t{}", n % 4), *at)).collect();
                Cutoffs::new(all, named.iter().map(|(n, at)| (n.as_str(), *at)))
            };
            let (before, to) = (of(all, &tenants), of(to, &others));
            let mut out = Vec::new();
            before.encode(&mut out);
            prop_assert_eq!(&Cutoffs::decode(&mut Reader::new(&out)).unwrap(), &before);
            let mut after = before.clone();
            after.advance(&to);
            for name in ["t0", "t1", "t2", "t3", "other"] {
                prop_assert_eq!(after.of(name), before.of(name).max(to.of(name)));
            }
        }

        #[test]
        fn deletions_come_back(index: u64, id: u64, min_ms: i64, max_ms: i64, names: Vec<(u8, String)>) {
            let op = |n: u8| MatchOp::from_u8(n % 2).unwrap();
            let matchers = names.iter().take(9).map(|(n, v)| Matcher::new("a", op(*n), v.clone()).unwrap()).collect();
            let delete = DeleteSeries { id, tenant: "t".into(), matchers, min_ms, max_ms };
            let tombstone = Tombstone { index, delete };
            let mut out = Vec::new();
            tombstone.encode(&mut out);
            prop_assert_eq!(Tombstone::decode(&mut Reader::new(&out)).unwrap(), tombstone);
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _unchecked = Tombstone::decode(&mut Reader::new(&bytes));
            let _unchecked = Cutoffs::decode(&mut Reader::new(&bytes));
        }
    }
}
