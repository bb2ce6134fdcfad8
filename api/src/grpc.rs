//! gRPC services as routes of the same port as REST.
use std::convert::Infallible;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tonic::server::NamedService;
use tower::Service;

use crate::state::Api;

/// Reserved for a request before its body is read; gRPC does not say how long it is.
const RESERVE_BYTES: usize = 1 << 20;

/// All services.
pub(crate) fn routes(api: &Api) -> Router {
    let router = crate::otlp::services(Router::new(), api);
    let router = crate::tempo::services(router, api);
    router.layer(from_fn_with_state(api.clone(), reserve))
}

/// Mounts a service at its name.
pub(crate) fn route<S>(router: Router, service: S) -> Router
where
    S: Service<Request, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
    S::Response: IntoResponse,
    S::Future: Send + 'static,
{
    router.route_service(&format!("/{}/{{*rest}}", S::NAME), service)
}

async fn reserve(State(api): State<Api>, request: Request, next: Next) -> Response {
    match api.budget().take(RESERVE_BYTES) {
        Ok(_held) => next.run(request).await,
        Err(error) => error.to_grpc().into_http(),
    }
}
