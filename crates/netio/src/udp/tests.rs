//! Batches and steering over the loopback interface.
