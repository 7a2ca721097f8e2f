//! Many clients, many packets, and what is measured under them.

mod common;
mod disassociations;
mod flood;
mod hostile;
mod swarm;
mod upgrade;
mod userspace;
