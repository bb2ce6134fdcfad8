//! Paths of the originals that Trine does not serve yet: 501 in the protocol's words, so that a client's log says what is
//! missing instead of a page that was not found.
use axum::routing::{MethodRouter, any};

use crate::error::{ApiError, Family};
use crate::state::Api;

/// Any method: `what` is not implemented yet.
pub(crate) fn later(family: Family, what: &'static str) -> MethodRouter<Api> {
    any(move || async move { ApiError::Unimplemented(format!("{what}: not implemented yet")).respond(family) })
}
