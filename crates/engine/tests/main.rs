//! The data plane whole, with a fabric that is made up.

mod apply;
mod common;
mod packets;
mod streams;
