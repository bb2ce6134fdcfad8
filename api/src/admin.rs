//! Trine's own admin REST and the operational endpoints every protocol shares.
mod blocks;
mod cardinality;
mod cluster;
mod demotion;
mod health;
mod ledger;
pub mod model;
mod openapi;
mod scrub;
mod spread;

pub(crate) use cluster::routes;
pub(crate) use health::routes as health_routes;
