//! `bascule profile`: the exported client configuration with a client certificate in it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use zeroize::Zeroizing;

use crate::aws_client::AwsClient;
use crate::cli::Profile;
use crate::nearby;

pub(crate) fn run(arguments: &Profile) -> Result<()> {
    let certificate = read(&arguments.cert)?;
    let key = Zeroizing::new(read(&arguments.key)?);
    check(arguments, &certificate, &key)?;
    let answer = client(arguments)?
        .ec2("ExportClientVpnClientConfiguration", &[("ClientVpnEndpointId", &arguments.endpoint)])
        .context("the configuration cannot be exported")?;
    let configuration = answer.text("clientConfiguration")?;
    print!("{}", completed(&configuration, &certificate, &key).as_str());
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

/// Adds the certificate and key as inline blocks.
fn completed(configuration: &str, certificate: &str, key: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(configuration.trim_end().to_owned());
    for (tag, pem) in [("cert", certificate), ("key", key)] {
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
