//! `bascule profile`: the exported client configuration with a client certificate in it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use zeroize::Zeroizing;

use crate::aws_client::{AwsClient, Credentials};
use crate::cli::Profile;
use crate::config::default_data_dir;
use crate::{CREDENTIALS_FILE, URL_FILE};

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
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let data_dir = arguments.data_dir.clone().map_or_else(default_data_dir, Ok)?;
    let credentials = match (set("AWS_ACCESS_KEY_ID"), set("AWS_SECRET_ACCESS_KEY")) {
        (Some(id), Some(secret)) => Credentials::new(&id, &secret, set("AWS_SESSION_TOKEN").as_deref()),
        _ => {
            let file = set("AWS_SHARED_CREDENTIALS_FILE")
                .map_or_else(|| data_dir.join(CREDENTIALS_FILE), Into::into);
            Credentials::from_file(&file)?
        }
    };
    let url = set("AWS_ENDPOINT_URL_EC2").or_else(|| set("AWS_ENDPOINT_URL")).or_else(|| {
        let url = std::fs::read_to_string(data_dir.join(URL_FILE)).ok()?;
        Some(url.trim().to_owned())
    });
    let region = arguments.region.clone().or_else(|| set("AWS_REGION")).or_else(|| set("AWS_DEFAULT_REGION"));
    AwsClient::new(
        url.as_deref().unwrap_or("http://127.0.0.1:8585"),
        region.as_deref().unwrap_or("us-east-1"),
        credentials,
    )
}
