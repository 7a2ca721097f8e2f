//! What touches the machine: batched UDP, TCP connections, TUN packets, and the **fabric**, what lies behind the tunnel (links, routes,
//! rules, nftables, connection tracking), reached by typed messages through a small privileged process.
//!
//! The only crate with `unsafe`; each use says why it is sound. The packet design of the fabric stands in [`kernel`].

mod client;
mod fabric;
pub mod failpoint;
mod helper;
mod host;
pub mod kernel;
pub mod tcp;
pub mod tun;
pub mod udp;
mod wire;

pub use client::{HelperFabric, HelperOptions};
pub use fabric::{
    Departed, EgressRule, Fabric, FabricAssociation, FabricError, MAX_EGRESS_RULES, MAX_KEY_BYTES,
    MAX_QUEUES, MAX_SOCKETS, MAX_TOWARD, MAX_TUN_MTU, MIN_TUN_MTU, Outlet, Uplink, interface_name_fault,
    link_name,
};
pub use helper::{HELPER_ARGUMENT, run_fabric_helper};
pub use host::{
    InterfaceState, answers, fabric_available, fabric_lacks, host_addresses, host_program, interface_state,
    interfaces_toward, is_host_address, nft_program,
};
pub use kernel::bind::{bind_tcp, bind_udp};
