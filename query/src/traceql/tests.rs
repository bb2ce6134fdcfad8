//! Tests that need more than one module.
mod corpus;
mod evaluate;
mod roundtrip;
mod rows;
mod shop;
pub(crate) mod support;
