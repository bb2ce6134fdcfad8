use axum::Router;

use crate::state::Api;

pub(crate) fn routes() -> Router<Api> {
    Router::new()
}
