//! Each store against the same demands.

mod conformance;
mod kill;
mod watches;
