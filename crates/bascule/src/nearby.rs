//! Where this machine's server is and what to call it with, for the commands that ask its API: as the AWS tools find
//! them, else from the data directory.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::aws_client::Credentials;
use crate::config::default_data_dir;
use crate::{CREDENTIALS_FILE, URL_FILE};

/// Where a server listens unless told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:8585";
const DEFAULT_REGION: &str = "us-east-1";

/// An environment variable that is set to something.
pub(crate) fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The data directory that was named, else the usual one.
pub(crate) fn data_dir(given: Option<&PathBuf>) -> Result<PathBuf> {
    given.cloned().map_or_else(default_data_dir, Ok)
}

/// The environment's access key.
pub(crate) fn key_of_environment() -> Option<Credentials> {
    let (id, secret) = (set("AWS_ACCESS_KEY_ID")?, set("AWS_SECRET_ACCESS_KEY")?);
    Some(Credentials::new(&id, &secret, set("AWS_SESSION_TOKEN").as_deref()))
}

/// The environment's access key or credentials file, else the data directory's key.
pub(crate) fn credentials(data_dir: &Path) -> Result<Credentials> {
    match key_of_environment() {
        Some(key) => Ok(key),
        None => {
            let file = set("AWS_SHARED_CREDENTIALS_FILE")
                .map_or_else(|| data_dir.join(CREDENTIALS_FILE), Into::into);
            Credentials::from_file(&file)
        }
    }
}

/// Where the data directory's server was last ready.
pub(crate) fn url_of_data_dir(data_dir: &Path) -> String {
    let url = std::fs::read_to_string(data_dir.join(URL_FILE)).ok();
    url.map_or_else(|| DEFAULT_URL.to_owned(), |url| url.trim().to_owned())
}

/// What was named, else the environment's URL, else the data directory's.
pub(crate) fn url(given: Option<&String>, data_dir: &Path) -> String {
    given
        .cloned()
        .or_else(|| set("AWS_ENDPOINT_URL_EC2"))
        .or_else(|| set("AWS_ENDPOINT_URL"))
        .unwrap_or_else(|| url_of_data_dir(data_dir))
}

/// What was named, else the environment's region.
pub(crate) fn region(given: Option<&String>) -> String {
    given
        .cloned()
        .or_else(|| set("AWS_REGION"))
        .or_else(|| set("AWS_DEFAULT_REGION"))
        .unwrap_or_else(|| DEFAULT_REGION.to_owned())
}
