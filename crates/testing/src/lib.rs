//! A Bascule server for a team's own tests: started on free ports, without privileges, and gone with the value.
//!
//! ```no_run
//! # fn main() -> Result<(), testing::Error> {
//! let server = testing::Server::start()?;
//! // … make an endpoint with any AWS SDK, at server.endpoint_url() with server.credentials() …
//! let certificates = server.certificates()?;
//! let profile = server.profile("cvpn-endpoint-…", &certificates.client("alice")?)?;
//! server.expect(&profile, &["reach 192.0.2.10:80", "deny 192.0.2.11"])?;
//! server.reset()?;
//! # Ok(())
//! # }
//! ```
//!
//! It uses none of Bascule's other crates: it starts the program, and everything it does is a command of the program. The
//! same for Python is `packaging/python`.

mod addresses;
mod certificates;
mod command;
mod error;
mod server;

pub use certificates::{Certificates, Pair};
pub use error::Error;
pub use server::{Builder, Credentials, Server, State};
