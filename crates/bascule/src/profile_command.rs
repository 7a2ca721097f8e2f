//! `bascule profile`: the exported client configuration with a client certificate in it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use openvpn::wrap::ClientKey;
use zeroize::Zeroizing;

use crate::aws_client::AwsClient;
use crate::cli::Profile;
use crate::{nearby, output};

pub(crate) fn run(arguments: &Profile) -> Result<()> {
    let certificate = read(&arguments.cert)?;
    let key = Zeroizing::new(read(&arguments.key)?);
    check(arguments, &certificate, &key)?;
    let control_key = arguments.tls_crypt_v2_key.as_deref().map(control_key).transpose()?;
    let answer = client(arguments)?
        .ec2("ExportClientVpnClientConfiguration", &[("ClientVpnEndpointId", &arguments.endpoint)])
        .context("the configuration cannot be exported")?;
    let configuration = answer.text("clientConfiguration")?;
    let mut blocks = vec![("cert", certificate.as_str()), ("key", key.as_str())];
    blocks.extend(control_key.as_ref().map(|text| ("tls-crypt-v2", text.as_str())));
    output::text(completed(&configuration, &blocks).as_bytes());
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn check(arguments: &Profile, certificate: &str, key: &str) -> Result<()> {
    let chain = pki::certificates_from_pem(certificate)
        .with_context(|| format!("cert = {}", arguments.cert.display()))?;
    let der = pki::key_from_pem(key).with_context(|| format!("key = {}", arguments.key.display()))?;
    match chain.first() {
        Some(leaf) if pki::key_matches(leaf, &der) => Ok(()),
        _ => bail!("{} is not the key of {}", arguments.key.display(), arguments.cert.display()),
    }
}

/// The client's own key of the control channel, as it is written.
fn control_key(path: &Path) -> Result<Zeroizing<String>> {
    let text = Zeroizing::new(read(path)?);
    let key =
        ClientKey::from_file(&text).with_context(|| format!("tls-crypt-v2-key = {}", path.display()))?;
    Ok(key.to_file())
}

/// Adds certificate and keys as inline blocks.
fn completed(configuration: &str, blocks: &[(&str, &str)]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(configuration.trim_end().to_owned());
    for (tag, pem) in blocks {
        text.push_str(&format!("\n<{tag}>\n{}\n</{tag}>", pem.trim()));
    }
    text.push('\n');
    text
}

/// Credentials and endpoint as the AWS tools find them, else from the data directory.
fn client(arguments: &Profile) -> Result<AwsClient> {
    let data_dir = nearby::data_dir(arguments.data_dir.as_ref())?;
    let credentials = nearby::credentials(&data_dir)?;
    AwsClient::new(&nearby::url(None, &data_dir), &nearby::region(arguments.region.as_ref()), credentials)
}
