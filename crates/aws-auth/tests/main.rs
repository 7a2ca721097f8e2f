//! Signatures and policies, by rows, properties and other people's implementations.

mod cedar;
mod oracle;
mod policy;
mod published;
mod sigv4;
