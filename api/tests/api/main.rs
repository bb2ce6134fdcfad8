//! The surfaces over the real engines: requests go in through the routers, answers are compared with the contracts.
#![allow(clippy::unwrap_used, reason = "tests")]
mod admin;
mod client;
mod cluster;
mod completeness;
mod demotion;
mod later;
mod limits;
mod loki;
mod notifications;
mod otlp;
mod prom;
mod prom_corpus;
mod prom_pages;
mod prom_read;
mod prom_search;
mod prom_write;
mod served;
mod spread;
mod stream;
mod tempo;
mod wire;
