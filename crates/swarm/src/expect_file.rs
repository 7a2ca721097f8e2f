//! Expectations in a file, for pipelines.
//!
//! ```toml
//! profile = "alice.ovpn"              # for all that name none; else that of the command line
//!
//! [[expectation]]
//! name = "alice reaches the web server"
//! expect = "reach 10.0.1.5:80"
//!
//! [[expectation]]
//! name = "bob does not"
//! expect = "deny 10.0.1.5:80"
//! profile = "bob.ovpn"
//! ```

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::expect::{Expectation, ExpectationError};

/// Most expectations of a file.
const MAX_ENTRIES: usize = 1000;

/// One expectation of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// What it is called; the expectation itself if it has no name.
    pub name: String,
    /// The expectation.
    pub expectation: Expectation,
    /// The client's profile; `None`: that of the command line.
    pub profile: Option<PathBuf>,
}

/// Why a file of expectations cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is not TOML of this form.
    #[error("{0}")]
    Form(String),
    /// One of its expectations is none.
    #[error(transparent)]
    Expectation(#[from] ExpectationError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    profile: Option<PathBuf>,
    #[serde(default)]
    expectation: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Option<String>,
    expect: String,
    profile: Option<PathBuf>,
}

/// Reads the text of a file; relative paths in it begin at `folder`.
///
/// # Errors
/// [`FileError`].
pub fn parse_file(text: &str, folder: &Path) -> Result<Vec<FileEntry>, FileError> {
    let file: File = toml::from_str(text).map_err(|error| FileError::Form(error.to_string()))?;
    if file.expectation.is_empty() || file.expectation.len() > MAX_ENTRIES {
        return Err(FileError::Form(format!("it has 1 to {MAX_ENTRIES} [[expectation]] entries")));
    }
    let common = file.profile;
    file.expectation
        .into_iter()
        .map(|entry| {
            let expectation: Expectation = entry.expect.parse()?;
            Ok(FileEntry {
                name: entry.name.filter(|name| !name.is_empty()).unwrap_or_else(|| expectation.text.clone()),
                expectation,
                profile: entry.profile.or_else(|| common.clone()).map(|path| folder.join(path)),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_profiles_and_defaults() {
        let text = "profile = 'alice.ovpn'\n[[expectation]]\nname = 'web'\nexpect = 'reach 10.0.1.5:80'\n\
                    [[expectation]]\nexpect = 'deny 10.0.2.0/24'\nprofile = '/etc/bob.ovpn'\n";
        let entries = parse_file(text, Path::new("ci")).unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(
            (entries[0].name.as_str(), entries[0].profile.as_deref()),
            ("web", Some(Path::new("ci/alice.ovpn")))
        );
        assert_eq!(
            (entries[1].name.as_str(), entries[1].profile.as_deref()),
            ("deny 10.0.2.0/24", Some(Path::new("/etc/bob.ovpn")))
        );
        let bare = parse_file("[[expectation]]\nexpect = 'ping 10.0.0.1'\n", Path::new(".")).unwrap();
        assert_eq!(bare[0].profile, None);
    }

    #[test]
    fn faults_are_named() {
        for (text, word) in [
            ("", "[[expectation]]"),
            ("[[expectation]]\nname = 'x'\n", "expect"),
            ("[[expectation]]\nexpect = 'reach nowhere'\n", "nowhere"),
            ("[[expectation]]\nexpect = 'ping 10.0.0.1'\nwish = 1\n", "wish"),
            ("expectation = 7", "expectation"),
        ] {
            let why = parse_file(text, Path::new(".")).unwrap_err().to_string();
            assert!(why.contains(word), "{text:?}: {why}");
        }
    }
}
