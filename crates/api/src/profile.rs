//! The exported client profile (spec: aws-client-vpn §3.2). Its directives stay inside the list the AWS client accepts.

use std::fmt::Write;

use model::{Authentication, Certificate, Endpoint};

use crate::config::Config;
use crate::error::ApiError;
use crate::names;

/// The profile of an endpoint whose server certificate this is.
pub(crate) fn text(
    endpoint: &Endpoint,
    certificate: &Certificate,
    config: &Config,
) -> Result<String, ApiError> {
    let leaf =
        pki::certificates_from_pem(&certificate.certificate_pem).ok().and_then(|all| all.into_iter().next());
    let facts = leaf.as_deref().and_then(|der| pki::facts(der).ok()).ok_or_else(|| {
        tracing::error!(certificate = %certificate.arn, "a stored certificate cannot be read");
        ApiError::internal()
    })?;
    let mut out = String::from("client\ndev tun\n");
    line(&mut out, format_args!("proto {}", endpoint.spec.transport.as_str()));
    remote(&mut out, endpoint, config);
    out.push_str("resolv-retry infinite\nnobind\nremote-cert-tls server\ncipher AES-256-GCM\n");
    if let Some(name) = facts.common_name.as_deref().filter(|name| is_plain(name)) {
        line(&mut out, format_args!("verify-x509-name {name} name"));
    }
    out.push_str("verb 3\n");
    let chain = certificate.chain_pem.as_deref().unwrap_or(&certificate.certificate_pem);
    line(&mut out, format_args!("<ca>\n{}\n</ca>\n", authorities(chain)));
    for way in &endpoint.spec.authentication {
        out.push_str(match way {
            Authentication::Certificate { .. } => "",
            Authentication::Directory { .. } => "auth-user-pass\n",
            Authentication::Federated { .. } => "auth-user-pass\nauth-federate\nauth-retry interact\n",
        });
    }
    if let Some(secret) = &config.profile_secret {
        out.push_str(secret.lines());
    }
    out.push_str("\nreneg-sec 0\n");
    Ok(out)
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("invariant: writing to a string cannot fail");
}

/// With a domain: the endpoint's name under it, resolved anew with a random label each time. Without: the address as it is,
/// or both of a dual-stack endpoint, the IPv4 one first.
fn remote(out: &mut String, endpoint: &Endpoint, config: &Config) {
    let advertise = config.advertise.as_ref();
    let listen = &endpoint.spec.listen;
    let moved = |listen: u16| {
        config.moved_ports.iter().find(|(port, _)| *port == listen).map_or(listen, |(_, instead)| *instead)
    };
    let port = advertise.and_then(|advertise| advertise.port).unwrap_or_else(|| moved(listen.port));
    let remotes: Vec<(String, u16)> = match advertise {
        _ if config.domain.is_some() => Vec::new(),
        Some(advertise) => vec![(advertise.host.clone(), port)],
        None => listen.places().map(|at| (at.ip().to_string(), moved(at.port()))).collect(),
    };
    for (address, port) in &remotes {
        line(out, format_args!("remote {address} {port}"));
    }
    if remotes.is_empty() {
        let name = names::dns_name(&endpoint.id, &endpoint.scope, config);
        line(out, format_args!("remote {name} {port}\nremote-random-hostname"));
    }
}

/// A name that stays one word of one line in a profile: what is in a certificate is foreign text.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._*@:/".contains(c))
}

/// Only the certificates of a PEM text: what may stand between them has no place in a profile.
fn authorities(pem: &str) -> String {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in pem.lines().map(str::trim) {
        inside |= line == "-----BEGIN CERTIFICATE-----";
        if inside && !line.is_empty() {
            lines.push(line);
        }
        inside &= line != "-----END CERTIFICATE-----";
    }
    lines.join("\n")
}
