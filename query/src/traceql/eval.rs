//! Evaluates a query over one whole trace.
pub(crate) mod expr;
pub(crate) mod lookup;
pub(crate) mod pipeline;
pub(crate) mod relation;
pub(crate) mod value;

pub(crate) use pipeline::Plan;
