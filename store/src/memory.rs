//! Bytes that running queries hold: one account a node, below it one a query.
//!
//! Whatever a query or the data makes large is charged before it is made, in batches, and released when its [`Charge`] is
//! dropped. The numbers are estimates of what the allocator gives out, never less than the payload.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A charge that grows takes this many bytes at a time from the accounts, so that small steps cost no atomics.
const STEP_BYTES: u64 = 4 << 10;

/// The account of all queries that run on a node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct QueryMemory(Arc<Node>);

#[derive(Debug)]
struct Node {
    bytes_max: u64,
    query_bytes_max: u64,
    held: AtomicU64,
    refused: AtomicU64,
}

/// The account of one query on one node, shared by all its parts there. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Account(Arc<Query>);

#[derive(Debug)]
struct Query {
    node: QueryMemory,
    held: AtomicU64,
}

/// An account is full. Nothing was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// This query alone holds what one query may.
    #[error(
        "query needs more than {} MiB of memory: narrow its time range, its selector or its step",
        mebibytes(*bytes_max)
    )]
    Query { bytes_max: u64 },
    /// The queries of this node together hold what they may; the same query may pass later.
    #[error("running queries hold the {} MiB that this node has for them: try again later", mebibytes(*bytes_max))]
    Node { bytes_max: u64 },
}

fn mebibytes(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) {
        (bytes >> 20).to_string()
    } else {
        format!("{:.2}", bytes as f64 / f64::from(1u32 << 20))
    }
}

impl QueryMemory {
    /// `bytes_max` for all queries together, `query_bytes_max` for each.
    pub fn new(bytes_max: u64, query_bytes_max: u64) -> Self {
        let node = Node { bytes_max, query_bytes_max, held: AtomicU64::new(0), refused: AtomicU64::new(0) };
        Self(Arc::new(node))
    }

    /// Without bounds, for tools and tests.
    pub fn unbounded() -> Self {
        Self::new(u64::MAX, u64::MAX)
    }

    /// The account of a query that starts.
    pub fn account(&self) -> Account {
        Account(Arc::new(Query { node: self.clone(), held: AtomicU64::new(0) }))
    }

    /// Bytes that all queries hold now.
    pub fn held_bytes(&self) -> u64 {
        self.0.held.load(Ordering::Relaxed)
    }

    /// Bytes that all queries together may hold.
    pub fn bytes_max(&self) -> u64 {
        self.0.bytes_max
    }

    /// Charges refused so far, by either account.
    pub fn refused_count(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }
}

/// Adds `bytes` unless the sum would exceed `bytes_max`.
fn take(held: &AtomicU64, bytes: u64, bytes_max: u64) -> bool {
    let add = |now: u64| now.checked_add(bytes).filter(|sum| *sum <= bytes_max);
    held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
}

impl Account {
    /// An account without bounds, for tools and tests.
    pub fn unbounded() -> Self {
        QueryMemory::unbounded().account()
    }

    /// Charges `bytes` until the charge is dropped.
    pub fn charge(&self, bytes: u64) -> Result<Charge, Exceeded> {
        self.reserve(bytes)?;
        Ok(Charge { account: self.clone(), bytes, reserved: bytes })
    }

    /// A charge of nothing, to grow.
    pub fn open(&self) -> Charge {
        Charge { account: self.clone(), bytes: 0, reserved: 0 }
    }

    /// Bytes that the query holds on this node now.
    pub fn held_bytes(&self) -> u64 {
        self.0.held.load(Ordering::Relaxed)
    }

    /// The account of all queries of the node.
    pub fn node(&self) -> &QueryMemory {
        &self.0.node
    }

    fn reserve(&self, bytes: u64) -> Result<(), Exceeded> {
        let node = &*self.0.node.0;
        let exceeded = if !take(&self.0.held, bytes, node.query_bytes_max) {
            Exceeded::Query { bytes_max: node.query_bytes_max }
        } else if !take(&node.held, bytes, node.bytes_max) {
            self.0.held.fetch_sub(bytes, Ordering::Relaxed);
            Exceeded::Node { bytes_max: node.bytes_max }
        } else {
            return Ok(());
        };
        node.refused.fetch_add(1, Ordering::Relaxed);
        Err(exceeded)
    }

    fn release(&self, bytes: u64) {
        self.0.held.fetch_sub(bytes, Ordering::Relaxed);
        self.0.node.0.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Default for Account {
    fn default() -> Self {
        Self::unbounded()
    }
}

/// Bytes of one account, given back on drop.
#[derive(Debug)]
pub struct Charge {
    account: Account,
    bytes: u64,
    /// Taken from the account; at least `bytes`.
    reserved: u64,
}

impl Charge {
    /// Charges `bytes` more. On an error the charge stays as it was.
    pub fn add(&mut self, bytes: u64) -> Result<(), Exceeded> {
        let wanted = self.bytes.saturating_add(bytes);
        if wanted > self.reserved {
            let exact = wanted - self.reserved;
            // Close to the bound the exact amount may still fit.
            let stepped = exact.max(STEP_BYTES);
            let got = match self.account.reserve(stepped) {
                Ok(()) => stepped,
                Err(_) if stepped > exact => self.account.reserve(exact).map(|()| exact)?,
                Err(exceeded) => return Err(exceeded),
            };
            self.reserved += got;
        }
        self.bytes = wanted;
        Ok(())
    }

    /// Gives `bytes` back, at most what is charged.
    pub fn sub(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        let spare = self.reserved - self.bytes;
        if spare > STEP_BYTES {
            self.account.release(spare);
            self.reserved = self.bytes;
        }
    }

    /// Makes the charge `bytes` large. On an error it stays as it was.
    pub fn set(&mut self, bytes: u64) -> Result<(), Exceeded> {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.add(more),
            None => {
                self.sub(self.bytes - bytes);
                Ok(())
            }
        }
    }

    /// Takes over what another charge of the same account holds.
    pub fn absorb(&mut self, mut other: Charge) {
        debug_assert!(Arc::ptr_eq(&self.account.0, &other.account.0), "charges of one account");
        self.bytes += other.bytes;
        self.reserved += other.reserved;
        (other.bytes, other.reserved) = (0, 0);
    }

    /// Bytes charged.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The account that was charged.
    pub fn account(&self) -> &Account {
        &self.account
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.release(self.reserved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_and_the_node_have_bounds() {
        let memory = QueryMemory::new(100, 60);
        let (a, b) = (memory.account(), memory.account());
        let held = a.charge(60).unwrap();
        assert_eq!(a.charge(1).unwrap_err(), Exceeded::Query { bytes_max: 60 });
        assert_eq!(b.charge(50).unwrap_err(), Exceeded::Node { bytes_max: 100 });
        assert_eq!((a.held_bytes(), b.held_bytes(), memory.held_bytes()), (60, 0, 60));
        drop(held);
        let _all = b.charge(60).unwrap();
        assert_eq!((memory.held_bytes(), memory.refused_count()), (60, 2));
    }

    #[test]
    fn charges_grow_shrink_and_end() {
        let memory = QueryMemory::new(1 << 20, 1 << 20);
        let account = memory.account();
        let mut charge = account.open();
        for _ in 0..1000 {
            charge.add(10).unwrap();
        }
        assert!(
            charge.bytes() == 10_000 && account.held_bytes() >= 10_000 && account.held_bytes() < 10_000 + STEP_BYTES
        );
        // The last bytes fit although a whole step would not.
        charge.set(1 << 20).unwrap();
        assert!(charge.add(1).is_err());
        charge.set(5).unwrap();
        assert!(account.held_bytes() <= 5 + STEP_BYTES);
        charge.absorb(account.charge(100).unwrap());
        assert_eq!(charge.bytes(), 105);
        assert!(account.charge(u64::MAX).is_err());
        drop(charge);
        assert_eq!((account.held_bytes(), memory.held_bytes()), (0, 0));
    }

    #[test]
    fn threads_never_exceed_the_bound() {
        let memory = QueryMemory::new(1000, 1000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let account = memory.account();
                scope.spawn(move || {
                    for i in 0..1000 {
                        let _held = account.charge(i % 700);
                        assert!(account.node().held_bytes() <= 1000);
                    }
                });
            }
        });
        assert_eq!(memory.held_bytes(), 0);
    }

    #[test]
    fn errors_say_how_much_and_what_to_do() {
        let text = Exceeded::Query { bytes_max: 25 << 20 }.to_string();
        assert_eq!(text, "query needs more than 25 MiB of memory: narrow its time range, its selector or its step");
        assert!(Exceeded::Node { bytes_max: 1 << 19 }.to_string().contains("0.50 MiB"));
    }
}
