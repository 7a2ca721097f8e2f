//! The whole way from the store to the data plane, under virtual time.

mod agent;
mod connection_logs;
mod scale;
mod world;
