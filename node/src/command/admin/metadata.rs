//! `trine admin export-metadata` and `recover-metadata`.
use std::path::Path;
use std::time::Duration;

use trine_actors::recover::{Plan, read_plan, recover_metadata};

use super::super::out;
use super::Client;
use crate::cli::RecoverMetadataFlags;
use crate::error::{Error, io};

pub(super) async fn export(client: &Client, to: &Path) -> Result<(), Error> {
    let trouble = |e: reqwest::Error| Error::Admin(format!("no export from {} ({e})", client.url));
    let url = format!("{}/admin/v1/metadata/export", client.url);
    let reply = client.http.get(url).timeout(Duration::from_secs(30)).send().await.map_err(trouble)?;
    let (status, bytes) = (reply.status(), reply.bytes().await.map_err(trouble)?);
    if !status.is_success() {
        return Err(Error::Admin(format!("{} answered {status}: {}", client.url, String::from_utf8_lossy(&bytes))));
    }
    // What does not decode must not replace a backup that does.
    let plan = Plan::of_export(&bytes).map_err(|e| Error::Admin(format!("{} gave no export: {e}", client.url)))?;
    let mut temporary = to.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = Path::new(&temporary);
    std::fs::write(temporary, &bytes).map_err(io(format!("write {}", temporary.display())))?;
    std::fs::File::open(temporary).and_then(|f| f.sync_all()).map_err(io(format!("sync {}", temporary.display())))?;
    std::fs::rename(temporary, to).map_err(io(format!("replace {}", to.display())))?;
    out::line(format_args!("{}: {} bytes; {plan}", to.display(), bytes.len()))
}

pub(super) async fn recover(flags: &RecoverMetadataFlags) -> Result<(), Error> {
    let admin = |e: trine_actors::Error| Error::Admin(crate::error::chain(&e));
    let plan = read_plan(&flags.data_dir, flags.from.as_deref()).await.map_err(admin)?;
    out::line(&plan)?;
    let own = match &flags.from {
        Some(_) => read_plan(&flags.data_dir, None).await.ok(),
        None => None,
    };
    if let Some(warning) = own.as_ref().and_then(|own| plan.is_older_than(own)) {
        if !flags.take_older {
            return Err(Error::Admin(format!(
                "{warning}; nothing was done. Leave --from away to take the node's own copy, or add --take-older"
            )));
        }
        out::line(format_args!("warning: {warning}"))?;
    }
    let Some(confirmed) = &flags.confirm_cluster else {
        return Err(Error::Admin(format!(
            "nothing was done. If a majority of the metadata's replicas is lost for good, and no node of the cluster runs, \
             repeat this with --confirm-cluster {}",
            plan.cluster()
        )));
    };
    recover_metadata(&flags.data_dir, plan, confirmed).await.map_err(admin)?;
    out::line(format_args!(
        "done: {} has the only copy of the metadata now. Start it alone, and the other nodes once it is the metadata leader \
         (`trine admin status`); what was before is in its quarantine",
        flags.data_dir.display()
    ))
}
