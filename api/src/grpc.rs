//! gRPC services as routes of the same port as REST.
use axum::Router;

use crate::state::Api;

pub(crate) fn routes(_api: &Api) -> Router {
    Router::new()
}
