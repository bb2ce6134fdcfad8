//! Boot and stop of one node. Stop is the mirror of boot: refuse new work, let open requests finish, hand over leaders,
//! close the shards, raft, and the log.
use std::sync::Arc;

use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;
use tracing::{info, warn};
use trine_actors::Cluster;
use trine_api::{Api, Backend, server};

use crate::backend::ClusterBackend;
use crate::config::{Config, address};
use crate::error::Error;
use crate::stop::Stop;
use crate::telemetry;

/// Runs a node until it is asked to stop.
pub(crate) async fn run(config: Config, own: telemetry::Captured, mut stop: Stop) -> Result<(), Error> {
    let mut listeners = Vec::new();
    for (key, value) in config.listeners() {
        if value.is_empty() {
            continue;
        }
        let at = address(key, value)?;
        let taken = |cause| Error::listen(at, key, cause);
        match key {
            // The cluster opens these two itself; here they only fail in words that name the key.
            "listen.gossip" => drop(UdpSocket::bind(at).await.map_err(taken)?),
            "listen.rpc" => drop(TcpListener::bind(at).await.map_err(taken)?),
            _ => listeners.push((key, TcpListener::bind(at).await.map_err(taken)?)),
        }
    }
    let cluster = Cluster::start(config.cluster_config()?).await?;
    let backend = Arc::new(ClusterBackend::new(cluster.clone()));
    let metrics = Arc::new(telemetry::metrics::NodeMetrics::new(cluster.clone()));
    let api = Api::new(backend.clone(), config.api_config(), vec![metrics.clone()]);
    let mut serving = JoinSet::new();
    for (key, listener) in listeners {
        let router = match key {
            "listen.otlp_grpc" => server::otlp_grpc_router(&api),
            "listen.otlp_http" => server::otlp_http_router(&api),
            _ => server::main_router(&api),
        };
        if let Ok(at) = listener.local_addr() {
            info!(%at, key, "listening");
        }
        let mut stopping = cluster.stopping();
        serving.spawn(async move {
            let stopped = async move {
                // An error means that the cluster is gone, which is a stop too.
                drop(stopping.wait_for(|s| *s).await);
            };
            if let Err(error) = server::serve(listener, router, stopped).await {
                warn!(%error, key, "a listener ended");
            }
        });
    }
    let ingest = config.telemetry.ingest_own.then(|| {
        let backend: Arc<dyn Backend> = backend;
        tokio::spawn(telemetry::ingest(backend, api.clone(), config.clone(), own))
    });
    let failed = tokio::select! {
        () = stop.asked() => None,
        error = cluster.failed() => Some(error),
    };
    info!("stopping");
    if let Some(task) = ingest {
        task.abort();
    }
    cluster.stop().await;
    while let Some(ended) = serving.join_next().await {
        if let Err(error) = ended {
            warn!(%error, "a listener ended badly");
        }
    }
    info!("stopped");
    failed.map_or(Ok(()), |error| Err(Error::Start(error)))
}
