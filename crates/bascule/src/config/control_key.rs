//! Keys that the control channel is wrapped with (docs/wrapped.md).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use openvpn::wrap::{ControlWrap, ServerKey, StaticKey};
use zeroize::Zeroizing;

use crate::Usage;

/// The file of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ControlKeyFile {
    /// tls-crypt: one key for all.
    Shared(PathBuf),
    /// tls-crypt-v2: the server key.
    OfEachClient(PathBuf),
}

impl ControlKeyFile {
    /// At most one of the two.
    pub(super) fn chosen(shared: Option<PathBuf>, own: Option<PathBuf>) -> Result<Option<Self>> {
        match (shared, own) {
            (Some(_), Some(path)) => {
                let path = path.display();
                let why = format!(
                    "tls-crypt-v2-key-file = {path}: there is a tls-crypt-key-file too; give one of them"
                );
                Err(Usage(why).into())
            }
            (Some(path), None) => Ok(Some(Self::Shared(path))),
            (None, Some(path)) => Ok(Some(Self::OfEachClient(path))),
            (None, None) => Ok(None),
        }
    }

    /// Reads it: the wrapping, and what exported profiles have for it, which is a secret.
    ///
    /// # Errors
    /// It cannot be read, or is no such key.
    pub(crate) fn read(&self) -> Result<(ControlWrap, Option<Zeroizing<String>>)> {
        match self {
            Self::Shared(path) => {
                let text = text(path, "tls-crypt-key-file")?;
                let key =
                    StaticKey::from_file(&text).map_err(|why| wrong(path, "tls-crypt-key-file", &why))?;
                let block = Zeroizing::new(format!("<tls-crypt>\n{}</tls-crypt>\n", key.to_file().as_str()));
                Ok((ControlWrap::TlsCrypt(Arc::new(key)), Some(block)))
            }
            Self::OfEachClient(path) => {
                let text = text(path, "tls-crypt-v2-key-file")?;
                let key =
                    ServerKey::from_file(&text).map_err(|why| wrong(path, "tls-crypt-v2-key-file", &why))?;
                Ok((ControlWrap::TlsCryptV2(Arc::new(key)), None))
            }
        }
    }
}

fn text(path: &Path, name: &str) -> Result<Zeroizing<String>> {
    Ok(Zeroizing::new(std::fs::read_to_string(path).map_err(|why| wrong(path, name, &why))?))
}

fn wrong(path: &Path, name: &str, why: &dyn std::fmt::Display) -> Usage {
    Usage(format!("{name} = {}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::refused;
    use super::*;
    use crate::cli::Serve;

    #[test]
    fn one_key_that_can_be_read() {
        let both = Serve {
            tls_crypt_key_file: Some("a".into()),
            tls_crypt_v2_key_file: Some("b".into()),
            ..Default::default()
        };
        assert!(refused(both).contains("tls-crypt-v2-key-file = b"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        for (file, name) in [
            (ControlKeyFile::Shared(path.clone()), "tls-crypt-key-file"),
            (ControlKeyFile::OfEachClient(path.clone()), "tls-crypt-v2-key-file"),
        ] {
            let _ = std::fs::remove_file(&path);
            assert!(file.read().unwrap_err().to_string().starts_with(name));
            std::fs::write(&path, "no key").unwrap();
            let error = file.read().unwrap_err();
            assert!(error.is::<Usage>() && error.to_string().contains("not a key of this kind"), "{error}");
        }
        std::fs::write(&path, StaticKey::from_seed([1; 32]).to_file().as_str()).unwrap();
        let (wrap, block) = ControlKeyFile::Shared(path.clone()).read().unwrap();
        assert!(matches!(wrap, ControlWrap::TlsCrypt(_)));
        assert!(block.unwrap().starts_with("<tls-crypt>\n#"));
        std::fs::write(&path, ServerKey::from_seed([1; 32]).to_file().as_str()).unwrap();
        let (wrap, block) = ControlKeyFile::OfEachClient(path).read().unwrap();
        assert!(matches!(wrap, ControlWrap::TlsCryptV2(_)) && block.is_none());
    }
}
