//! Disks that can be filled, lose power, and rot.
pub mod corrupt;
mod loop_disk;

pub use loop_disk::LoopDisk;

/// Whether this process may make disks.
pub fn allowed() -> bool {
    rustix::process::geteuid().is_root() && std::path::Path::new("/dev/loop-control").exists()
}
