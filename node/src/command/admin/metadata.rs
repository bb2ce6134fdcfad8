//! `trine admin export-metadata` and `recover-metadata`.
use std::path::Path;
use std::time::Duration;

use trine_actors::recover::{Plan, read_plan, recover_metadata};

use super::Client;
use crate::cli::RecoverMetadataFlags;
use crate::error::{Error, io};

pub(super) async fn export(client: &Client, out: &Path) -> Result<(), Error> {
    let trouble = |e: reqwest::Error| Error::Admin(format!("no export from {} ({e})", client.url));
    let url = format!("{}/admin/v1/metadata/export", client.url);
    let reply = client.http.get(url).timeout(Duration::from_secs(30)).send().await.map_err(trouble)?;
    let (status, bytes) = (reply.status(), reply.bytes().await.map_err(trouble)?);
    if !status.is_success() {
        return Err(Error::Admin(format!("{} answered {status}: {}", client.url, String::from_utf8_lossy(&bytes))));
    }
    // What does not decode must not replace a backup that does.
    let plan = Plan::of_export(&bytes).map_err(|e| Error::Admin(format!("{} gave no export: {e}", client.url)))?;
    let mut temporary = out.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = Path::new(&temporary);
    std::fs::write(temporary, &bytes).map_err(io(format!("write {}", temporary.display())))?;
    std::fs::File::open(temporary).and_then(|f| f.sync_all()).map_err(io(format!("sync {}", temporary.display())))?;
    std::fs::rename(temporary, out).map_err(io(format!("replace {}", out.display())))?;
    println!("{}: {} bytes; {plan}", out.display(), bytes.len());
    Ok(())
}

pub(super) async fn recover(flags: &RecoverMetadataFlags) -> Result<(), Error> {
    let admin = |e: trine_actors::Error| Error::Admin(crate::error::chain(&e));
    let plan = read_plan(&flags.data_dir, flags.from.as_deref()).await.map_err(admin)?;
    println!("{plan}");
    let Some(confirmed) = &flags.confirm_cluster else {
        return Err(Error::Admin(format!(
            "nothing was done. If a majority of the metadata's replicas is lost for good, and no node of the cluster runs, \
             repeat this with --confirm-cluster {}",
            plan.cluster()
        )));
    };
    recover_metadata(&flags.data_dir, plan, confirmed).await.map_err(admin)?;
    println!(
        "done: {} has the only copy of the metadata now. Start it, then the other nodes; what was before is in its quarantine",
        flags.data_dir.display()
    );
    Ok(())
}
