//! Certificates, lists and keys: made here, recorded, bent, and judged by others too.

mod chains;
mod encrypted_keys;
mod facts;
mod forge;
mod mutation;
mod openssl;
mod tls;
mod vectors;
