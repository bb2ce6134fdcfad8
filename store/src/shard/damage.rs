//! Damage found in a block's file, and who is told.
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::read_at::{DamageKind, LocalFile, ReadAt};

/// What is wrong with which place of which block file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("block {file} is damaged at byte {offset} ({section}): {reason}")]
pub struct BlockDamage {
    /// Name in the replica's `blocks` directory.
    pub file: String,
    /// Byte in the file where the section begins.
    pub offset: u64,
    /// The piece of the block that could not be read.
    pub section: String,
    pub kind: DamageKind,
    pub reason: String,
}

/// Told of damage by readers, on their threads: it must be quick and must not block. Does nothing by default.
#[derive(Clone, Default)]
pub struct OnDamage(Option<Arc<Callback>>);

type Callback = dyn Fn(BlockDamage) + Send + Sync;

impl OnDamage {
    pub fn new(call: impl Fn(BlockDamage) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(call)))
    }

    fn call(&self, damage: BlockDamage) {
        if let Some(call) = &self.0 {
            call(damage);
        }
    }
}

impl fmt::Debug for OnDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "OnDamage(set)" } else { "OnDamage(unset)" })
    }
}

/// A block's file. Tells of damage once: whoever is told looks at the whole file.
#[derive(Debug)]
pub(super) struct BlockFile {
    name: String,
    file: LocalFile,
    on_damage: OnDamage,
    told: AtomicBool,
}

impl BlockFile {
    pub(super) fn open(path: &Path, name: &str, on_damage: OnDamage) -> io::Result<Self> {
        Ok(Self { name: name.to_owned(), file: LocalFile::open(path)?, on_damage, told: AtomicBool::new(false) })
    }
}

impl ReadAt for BlockFile {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn report(&self, offset: u64, section: &'static str, kind: DamageKind, reason: &dyn fmt::Display) {
        if !self.told.swap(true, Ordering::Relaxed) {
            let (file, section) = (self.name.clone(), section.to_owned());
            self.on_damage.call(BlockDamage { file, offset, section, kind, reason: reason.to_string() });
        }
    }
}
