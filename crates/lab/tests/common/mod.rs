//! What several tests of the lab share: a client made of our own protocol crate, whose packets can be seen.
#![allow(dead_code, unreachable_pub)] // each test file uses its own part

pub mod bent;
pub mod fabrics;
pub mod groups;
pub mod logs;
pub mod peer;
pub mod people;
pub mod v6;
pub mod wire;
