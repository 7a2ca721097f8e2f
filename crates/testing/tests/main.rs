//! Tests as a team writes them for the VPN it ships.

mod around;
mod team;
mod terraform;
