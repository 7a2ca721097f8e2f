//! Both sides of the protocol, the recorded packets of real clients, and foreign bytes.

mod cookie;
mod credentials;
mod foreign;
mod letting_go;
mod lines;
mod over_tcp;
mod replayed;
mod server;
mod tls;
mod vectors;
mod world;
mod wrapped;
