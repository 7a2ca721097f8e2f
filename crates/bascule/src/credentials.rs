//! Access keys in files of the AWS shared-credentials format, and fresh ones.

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
    /// Of temporary credentials.
    pub session_token: Option<Zeroizing<String>>,
}

/// The first root key of a data directory: the one that stands in its `credentials`, else the environment's, else a fresh
/// one.
pub(crate) fn first(data_dir: &Path) -> Result<AccessKey> {
    let path = data_dir.join(CREDENTIALS_FILE);
    if path.exists() {
        return read(&path);
    }
    let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let key = match (given("BASCULE_ROOT_ACCESS_KEY_ID"), given("BASCULE_ROOT_SECRET_ACCESS_KEY")) {
        (Some(id), Some(secret)) => AccessKey { id, secret: Zeroizing::new(secret), session_token: None },
        (None, None) => fresh()?,
        _ => return Err(crate::Usage(
            "BASCULE_ROOT_ACCESS_KEY_ID and BASCULE_ROOT_SECRET_ACCESS_KEY go together: one of them is missing"
                .to_owned(),
        )
        .into()),
    };
    tracing::info!(file = %path.display(), access_key_id = key.id, "made the root access key");
    Ok(key)
}

/// Writes profile `default` of a shared-credentials file, and nothing else.
pub(crate) fn write(path: &Path, key: &AccessKey) -> Result<()> {
    let text = Zeroizing::new(format!(
        "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        key.id,
        key.secret.as_str()
    ));
    private_file::write_for_owner(path, &text)
}

/// Reads profile `default` of a shared-credentials file.
pub(crate) fn read(path: &Path) -> Result<AccessKey> {
    read_profile(path, "default")
}

/// Reads a profile of a shared-credentials file.
pub(crate) fn read_profile(path: &Path, profile: &str) -> Result<AccessKey> {
    let text = Zeroizing::new(
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
    );
    let (mut id, mut secret, mut token, mut ours) = (None, None, None, false);
    let head = format!("[{profile}]");
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            ours = line == head;
        } else if let Some((name, value)) = line.split_once('=').filter(|_| ours) {
            match name.trim() {
                "aws_access_key_id" => id = Some(value.trim().to_owned()),
                "aws_secret_access_key" => secret = Some(Zeroizing::new(value.trim().to_owned())),
                "aws_session_token" => token = Some(Zeroizing::new(value.trim().to_owned())),
                _ => {}
            }
        }
    }
    match (id, secret) {
        (Some(id), Some(secret)) => Ok(AccessKey { id, secret, session_token: token }),
        _ => bail!("{} has no access key under {head}", path.display()),
    }
}

/// An access key of AWS's form: `AKIA` and 16 letters or digits; a secret of 40 characters.
pub(crate) fn fresh() -> Result<AccessKey> {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut bytes = Zeroizing::new([0_u8; 46]);
    aws_lc_rs::rand::fill(bytes.as_mut()).ok().context("the system gave no randomness")?;
    let (name, secret) = bytes.split_at(16);
    let letters = name.iter().filter_map(|byte| LETTERS.get(usize::from(byte & 31))).map(|&b| char::from(b));
    Ok(AccessKey {
        id: "AKIA".chars().chain(letters).collect(),
        secret: Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(secret)),
        session_token: None,
    })
}
