use axum::Router;

use crate::state::Api;

pub(crate) fn routes() -> Router<Api> {
    Router::new()
}

pub(crate) fn http_routes() -> Router<Api> {
    Router::new()
}
