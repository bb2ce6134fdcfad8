//! Routers of the listeners, and serving one: REST and gRPC share a port over HTTP/1.1 and h2c.
mod connection;
mod cors;
mod drain;
mod listen;
mod stopping;

use axum::Router;
use http::StatusCode;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate, SizeAbove};

pub(crate) use connection::Connection;
pub use listen::serve;
pub(crate) use stopping::Stopping;

use crate::state::Api;
use crate::{admin, grpc, loki, otlp, prom, reply, tempo};

/// Every API path of every protocol: the main port, and again where Loki, Tempo and Mimir clients expect it.
pub fn main_router(api: &Api) -> Router {
    let rest = Router::new()
        .merge(prom::routes())
        .merge(loki::routes())
        .merge(tempo::routes())
        .merge(otlp::routes())
        .merge(admin::routes())
        .merge(admin::health_routes());
    finish(rest, api).merge(grpc::routes(api))
}

/// OTLP over HTTP on its own port: `/v1/*`.
pub fn otlp_http_router(api: &Api) -> Router {
    finish(otlp::http_routes(), api)
}

/// OTLP over gRPC on its own port.
pub fn otlp_grpc_router(api: &Api) -> Router {
    grpc::routes(api)
}

fn finish(routes: Router<Api>, api: &Api) -> Router {
    let compress = CompressionLayer::new().compress_when(DefaultPredicate::new().and(SizeAbove::new(256)));
    routes
        .method_not_allowed_fallback(|| async { reply::text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n") })
        .fallback(|| async { reply::text(StatusCode::NOT_FOUND, "404 page not found\n") })
        .layer(axum::middleware::from_fn(cors::layer))
        .layer(axum::middleware::from_fn(drain::layer))
        .layer(compress)
        .with_state(api.clone())
}
