//! The root access key: made at the first start of a data directory, in the AWS shared-credentials format.

use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use zeroize::Zeroizing;

use crate::private_file;

/// The root key's file in the data directory.
pub const CREDENTIALS_FILE: &str = "credentials";
/// Where the API of a data directory was last ready: `http://ADDR:PORT`.
pub const URL_FILE: &str = "api-url";

/// An access key.
pub(crate) struct AccessKey {
    pub id: String,
    pub secret: Zeroizing<String>,
}

/// The root key of a data directory, made at its first start; then it is the environment's if that names one.
pub(crate) fn root_key(data_dir: &Path) -> Result<AccessKey> {
    let path = data_dir.join(CREDENTIALS_FILE);
    if path.exists() {
        return read(&path);
    }
    let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let key = match (given("BASCULE_ROOT_ACCESS_KEY_ID"), given("BASCULE_ROOT_SECRET_ACCESS_KEY")) {
        (Some(id), Some(secret)) => AccessKey { id, secret: Zeroizing::new(secret) },
        (None, None) => fresh()?,
        _ => return Err(crate::Usage(
            "BASCULE_ROOT_ACCESS_KEY_ID and BASCULE_ROOT_SECRET_ACCESS_KEY go together: one of them is missing"
                .to_owned(),
        )
        .into()),
    };
    let text = Zeroizing::new(format!(
        "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        key.id,
        key.secret.as_str()
    ));
    private_file::write(&path, &text)?;
    tracing::info!(file = %path.display(), access_key_id = key.id, "made the root access key");
    Ok(key)
}

/// Reads profile `default` of a shared-credentials file.
pub(crate) fn read(path: &Path) -> Result<AccessKey> {
    let text = Zeroizing::new(
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
    );
    let (mut id, mut secret, mut ours) = (None, None, false);
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            ours = line == "[default]";
        } else if let Some((name, value)) = line.split_once('=').filter(|_| ours) {
            match name.trim() {
                "aws_access_key_id" => id = Some(value.trim().to_owned()),
                "aws_secret_access_key" => secret = Some(Zeroizing::new(value.trim().to_owned())),
                _ => {}
            }
        }
    }
    match (id, secret) {
        (Some(id), Some(secret)) => Ok(AccessKey { id, secret }),
        _ => bail!("{} has no access key under [default]", path.display()),
    }
}

/// An access key of AWS's form: `AKIA` and 16 letters or digits; a secret of 40 characters.
fn fresh() -> Result<AccessKey> {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut bytes = Zeroizing::new([0_u8; 46]);
    aws_lc_rs::rand::fill(bytes.as_mut()).ok().context("the system gave no randomness")?;
    let (name, secret) = bytes.split_at(16);
    let letters = name.iter().filter_map(|byte| LETTERS.get(usize::from(byte & 31))).map(|&b| char::from(b));
    Ok(AccessKey {
        id: "AKIA".chars().chain(letters).collect(),
        secret: Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(secret)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_first_start_makes_a_key_that_stays() {
        let dir = tempfile::tempdir().unwrap();
        let first = root_key(dir.path()).unwrap();
        assert!(first.id.starts_with("AKIA") && first.id.len() == 20, "{}", first.id);
        assert_eq!(first.secret.len(), 40);
        let again = root_key(dir.path()).unwrap();
        assert_eq!((&first.id, first.secret.as_str()), (&again.id, again.secret.as_str()));
        let mode = std::fs::metadata(dir.path().join(CREDENTIALS_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
