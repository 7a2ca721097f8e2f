//! `bascule pki`: a small certificate authority in a folder of files a person can read.
//!
//! `ca.crt`, `ca.key`, `NAME.crt`, `NAME.key`, `revoked.txt` (a serial number and a name a line), `crl-number`,
//! `crl.pem`; and the keys of wrapped control channels (docs/wrapped.md): `tls-crypt.key`, `tls-crypt-v2-server.key`,
//! `NAME.tls-crypt-v2.key`.

use std::path::Path;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use openvpn::wrap::{ServerKey, StaticKey};
use pki::issue::{self, KeyKind};
use zeroize::Zeroizing;

use crate::cli::{Crl, InitCa, Issue, Pki, Revoke, WrapClientKey};
use crate::private_file;

/// Files of wrapped control channels' keys.
const SHARED_KEY: &str = "tls-crypt.key";
const SERVER_KEY: &str = "tls-crypt-v2-server.key";
/// Type of a client key's metadata: the time of issue. spec: openvpn-protocol §4
const MADE_AT: u8 = 1;

const DAY_S: i64 = 24 * 60 * 60;
/// A certificate is valid from this long ago, for clocks that are behind.
const BACKDATE_S: i64 = 60 * 60;

pub(crate) fn run(command: Pki) -> Result<()> {
    match command {
        Pki::InitCa(arguments) => init_ca(&arguments),
        Pki::IssueServer(arguments) => issue_one(&arguments, true),
        Pki::IssueClient(arguments) => issue_one(&arguments, false),
        Pki::Revoke(arguments) => revoke(&arguments),
        Pki::Crl(arguments) => crl(&arguments),
        Pki::TlsCryptKey(arguments) => {
            let key = StaticKey::from_seed(*seed()?);
            keep(&arguments.dir, SHARED_KEY, &key.to_file())
        }
        Pki::TlsCryptV2ServerKey(arguments) => {
            let key = ServerKey::from_seed(*seed()?);
            keep(&arguments.dir, SERVER_KEY, &key.to_file())
        }
        Pki::TlsCryptV2ClientKey(arguments) => client_key(&arguments),
    }
}

fn init_ca(arguments: &InitCa) -> Result<()> {
    private_file::folder(&arguments.dir)?;
    let (certificate, key) = (arguments.dir.join("ca.crt"), arguments.dir.join("ca.key"));
    if certificate.exists() || key.exists() {
        bail!("{} already holds an authority; it was left as it is", arguments.dir.display());
    }
    let (from, until) = validity(arguments.days);
    let ca = issue::ca(&arguments.name, from, until).context("cannot make the authority")?;
    private_file::write(&key, &ca.key_pem)?;
    private_file::write_public(&certificate, &ca.certificate_pem)?;
    out!("{}", certificate.display());
    Ok(())
}

fn issue_one(arguments: &Issue, server: bool) -> Result<()> {
    let name = &arguments.name;
    check_name(name)?;
    if server && !name.contains('.') {
        return Err(crate::Usage(format!(
            "{name}: a server certificate's name must have a dot, such as vpn.example.com"
        ))
        .into());
    }
    let (ca, ca_key) = authority(&arguments.dir)?;
    let (certificate, key) =
        (arguments.dir.join(format!("{name}.crt")), arguments.dir.join(format!("{name}.key")));
    if certificate.exists() || key.exists() {
        bail!("{} is there already; it was left as it is", certificate.display());
    }
    let (from, until) = validity(arguments.days);
    let kind = if arguments.rsa { KeyKind::Rsa2048 } else { KeyKind::P256 };
    let issued = if server {
        issue::server(&ca, &ca_key, name, from, until, kind)
    } else {
        issue::client(&ca, &ca_key, name, from, until, kind)
    }
    .context("cannot issue the certificate")?;
    private_file::write(&key, &issued.key_pem)?;
    private_file::write_public(&certificate, &issued.certificate_pem)?;
    out!("{}", certificate.display());
    Ok(())
}

fn revoke(arguments: &Revoke) -> Result<()> {
    check_name(&arguments.name)?;
    let path = arguments.dir.join(format!("{}.crt", arguments.name));
    let serial = serial_of(&path)?;
    let list = arguments.dir.join("revoked.txt");
    let mut text = std::fs::read_to_string(&list).unwrap_or_default();
    if !text.lines().any(|line| line.split_whitespace().next() == Some(&serial)) {
        text.push_str(&format!("{serial} {}\n", arguments.name));
        private_file::write_public(&list, &text)?;
    }
    out!("revoked {serial}; `bascule pki crl` writes the list to import");
    Ok(())
}

fn crl(arguments: &Crl) -> Result<()> {
    let (ca, ca_key) = authority(&arguments.dir)?;
    let revoked = std::fs::read_to_string(arguments.dir.join("revoked.txt")).unwrap_or_default();
    let serials = revoked
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(|hex| bytes_of(hex).with_context(|| format!("revoked.txt: {hex} is no serial number")))
        .collect::<Result<Vec<_>>>()?;
    let counter = arguments.dir.join("crl-number");
    let number: u64 =
        std::fs::read_to_string(&counter).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let now = Timestamp::now().as_second();
    let number = number + 1;
    let next = now + i64::from(arguments.days) * DAY_S;
    let list = issue::crl(&ca, &ca_key, &serials, now - BACKDATE_S, next, number)
        .context("cannot write the list")?;
    private_file::write_public(&counter, &format!("{number}\n"))?;
    let path = arguments.dir.join("crl.pem");
    private_file::write_public(&path, &list)?;
    out!("{}", path.display());
    Ok(())
}

/// A client's own key, wrapped. It says when it was made, for servers that look at that.
fn client_key(arguments: &WrapClientKey) -> Result<()> {
    check_name(&arguments.name)?;
    let path = arguments.dir.join(SERVER_KEY);
    let text = std::fs::read_to_string(&path).map(Zeroizing::new).with_context(|| {
        format!("cannot read {}: `bascule pki tls-crypt-v2-server-key` makes it", path.display())
    })?;
    let server = ServerKey::from_file(&text).with_context(|| format!("{}", path.display()))?;
    let mut metadata = vec![MADE_AT];
    metadata.extend(Timestamp::now().as_second().to_be_bytes());
    let key = server.wrap(StaticKey::from_seed(*seed()?), &metadata).context("cannot wrap the key")?;
    keep(&arguments.dir, &format!("{}.tls-crypt-v2.key", arguments.name), &key.to_file())
}

fn keep(dir: &Path, name: &str, text: &str) -> Result<()> {
    private_file::folder(dir)?;
    let path = dir.join(name);
    if path.exists() {
        bail!("{} is there already; it was left as it is", path.display());
    }
    private_file::write(&path, text)?;
    out!("{}", path.display());
    Ok(())
}

fn seed() -> Result<Zeroizing<[u8; 32]>> {
    let mut seed = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(seed.as_mut_slice()).ok().context("the system gave no randomness")?;
    Ok(seed)
}

fn authority(dir: &Path) -> Result<(String, String)> {
    let read = |name: &str| {
        let path = dir.join(name);
        std::fs::read_to_string(&path).with_context(|| {
            format!("cannot read {}: `bascule pki init-ca` makes an authority", path.display())
        })
    };
    Ok((read("ca.crt")?, read("ca.key")?))
}

fn validity(days: u32) -> (i64, i64) {
    let now = Timestamp::now().as_second();
    (now - BACKDATE_S, now + i64::from(days) * DAY_S)
}

/// Names become file names.
fn check_name(name: &str) -> Result<()> {
    let plain = !name.is_empty()
        && name.len() <= 64
        && name != "ca"
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'@'));
    if plain {
        Ok(())
    } else {
        Err(crate::Usage(format!("{name}: a name has 1 to 64 letters, digits or . - _ @, and is not `ca`"))
            .into())
    }
}

fn serial_of(path: &Path) -> Result<String> {
    let pem = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let chain = pki::certificates_from_pem(&pem).with_context(|| format!("{}", path.display()))?;
    let leaf = chain.first().with_context(|| format!("{} holds no certificate", path.display()))?;
    Ok(pki::facts(leaf).with_context(|| format!("{}", path.display()))?.serial)
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    hex.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect()
}
