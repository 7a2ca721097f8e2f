//! Tests of the master key.
