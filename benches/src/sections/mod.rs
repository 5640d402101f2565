//! One module for each section of the benchmark.

pub(crate) mod cost;
pub(crate) mod drain;
pub(crate) mod embedded;
pub(crate) mod growth;
pub(crate) mod latency;
pub(crate) mod memory;
pub(crate) mod receipts;
pub(crate) mod retention;
pub(crate) mod start;
pub(crate) mod workers;
