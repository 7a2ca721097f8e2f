//! Certificates for a test: an authority of `bascule pki` in a folder of its own.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::command::{program, run};

/// An authority, with what it has issued.
#[derive(Debug)]
pub struct Certificates {
    binary: PathBuf,
    folder: PathBuf,
}

/// A certificate and its private key, in files (PEM).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Certificates {
    pub(crate) fn make(binary: &Path, folder: PathBuf) -> Result<Self, Error> {
        let made = Self { binary: binary.to_owned(), folder };
        if !made.authority().exists() {
            made.pki(&["init-ca"])?;
        }
        Ok(made)
    }

    /// The authority's certificate: the chain of an imported certificate.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// A server's certificate; its name must have a dot.
    ///
    /// # Errors
    /// What the command said.
    pub fn server(&self, name: &str) -> Result<Pair, Error> {
        self.issue("issue-server", name)
    }

    /// A client's certificate.
    ///
    /// # Errors
    /// What the command said.
    pub fn client(&self, name: &str) -> Result<Pair, Error> {
        self.issue("issue-client", name)
    }

    /// Once: a name that has a certificate keeps it.
    fn issue(&self, command: &str, name: &str) -> Result<Pair, Error> {
        let file = |kind: &str| self.folder.join(format!("{name}.{kind}"));
        let pair = Pair { certificate: file("crt"), key: file("key") };
        if !pair.certificate.exists() {
            self.pki(&[command, name])?;
        }
        Ok(pair)
    }

    fn pki(&self, arguments: &[&str]) -> Result<(), Error> {
        let mut command = program(&self.binary);
        command.arg("pki").args(arguments).arg("--dir").arg(&self.folder);
        run(command).map(drop)
    }
}
