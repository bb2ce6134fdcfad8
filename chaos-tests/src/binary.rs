//! Which `trine` is tested.
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::error::{Error, Result};

static FAULTY: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
static BUILT: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();

/// `TRINE_BIN`, or the workspace's debug build, which is brought up to date once a process.
pub fn path() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("TRINE_BIN") {
        return Ok(PathBuf::from(given));
    }
    BUILT.get_or_init(|| build("", &[])).clone().map_err(|reason| Error::Build { reason })
}

/// `TRINE_FAULTS_BIN`, or a debug build with the feature `fault-injection`, in a target directory of its own so that no
/// ordinary build ever has it.
pub fn with_faults() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("TRINE_FAULTS_BIN") {
        return Ok(PathBuf::from(given));
    }
    let built = FAULTY.get_or_init(|| build("faults", &["--features", "fault-injection"]));
    built.clone().map_err(|reason| Error::Build { reason })
}

/// Builds into a directory within the workspace, or within `CARGO_TARGET_DIR` where that is set.
fn build(target_within: &str, arguments: &[&str]) -> std::result::Result<PathBuf, String> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the crate has no workspace")?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let target = target.join(target_within);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "-p", "trine"]).args(arguments).arg("--target-dir").arg(&target).current_dir(workspace);
    let status = command.status().map_err(|e| format!("cargo cannot be run: {e}"))?;
    if !status.success() {
        return Err(format!("cargo build -p trine: {status}"));
    }
    let built = workspace.join(target).join("debug").join("trine");
    if built.is_file() { Ok(built) } else { Err(format!("{} is not there", built.display())) }
}
