//! Taking what is there elsewhere: `bascule export terraform` and `bascule import aws`. Both read a landscape by Describe
//! calls; one writes it down, the other makes it here. Neither knows the store.

mod certificates;
mod cloud;
mod export_command;
mod groups;
mod hcl;
mod import_command;
mod landscape;
mod make;
mod names;
mod near;
mod read;
mod terraform;

pub(crate) use export_command::run as export;
pub(crate) use import_command::run as import;
