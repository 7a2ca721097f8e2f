//! A gateway among its workers and clients, under virtual time.

mod admission;
mod authorization;
mod brain;
mod floating;
mod handler;
mod keyed;
mod real_tls;
mod returning;
mod streams;
mod world;
