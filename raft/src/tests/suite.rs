//! openraft's own contract tests, for both log stores.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use crate::log_store::DeviceLog;
use crate::machine::Machine;
use crate::progress::Progress;
use crate::sled_store::{Identity, SledLog};
use crate::state_machine::StateMachine;
use crate::testing::{Disk, ListMachine, MemoryDevice, Warehouse};
use crate::type_config::TypeConfig;
use crate::{GroupId, NodeId, ReplicaId};

/// Each machine is a node of its own, so that their snapshots are too.
#[derive(Default)]
struct Machines {
    warehouse: Warehouse,
    built: AtomicU64,
}

impl Machines {
    async fn build(&self, progress: &Arc<Progress>) -> StateMachine {
        let node = NodeId(self.built.fetch_add(1, Ordering::Relaxed));
        let machine: Arc<dyn Machine> = Arc::new(ListMachine::lenient(node, Disk::new(Arc::clone(&self.warehouse))));
        StateMachine::open(machine, Arc::clone(progress), node).await.unwrap()
    }
}

#[derive(Default)]
struct OnDevice(Machines);

impl StoreBuilder<TypeConfig, DeviceLog, StateMachine> for OnDevice {
    async fn build(&self) -> Result<((), DeviceLog, StateMachine), StorageError<TypeConfig>> {
        let progress = Arc::new(Progress::default());
        let device = Arc::new(MemoryDevice::default());
        let log = DeviceLog::open(device, ReplicaId(1), Arc::clone(&progress)).unwrap();
        Ok(((), log, self.0.build(&progress).await))
    }
}

#[derive(Default)]
struct InSled(Machines);

impl StoreBuilder<TypeConfig, SledLog, StateMachine, TempDir> for InSled {
    async fn build(&self) -> Result<(TempDir, SledLog, StateMachine), StorageError<TypeConfig>> {
        let progress = Arc::new(Progress::default());
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity { cluster: "test".to_owned(), group: GroupId(0), replica: ReplicaId(1) };
        let log = SledLog::open(dir.path().join("meta"), identity, Arc::clone(&progress)).await.unwrap();
        Ok((dir, log, self.0.build(&progress).await))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn device_log_passes_the_suite() {
    Suite::test_all(OnDevice::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sled_log_passes_the_suite() {
    Suite::test_all(InSled::default()).await.unwrap();
}
