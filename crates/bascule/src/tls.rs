//! TLS of the API port: certificate and key from files, read again when they change.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// The newest certificate that could be read.
struct Current(RwLock<Arc<CertifiedKey>>);

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current(…)")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().ok().map(|key| key.clone())
    }
}

/// An acceptor on these files. Must run inside the runtime: it starts the task that looks at them.
pub(crate) fn acceptor(certificate: PathBuf, key: PathBuf) -> Result<TlsAcceptor> {
    let current = Arc::new(Current(RwLock::new(read(&certificate, &key)?)));
    tokio::spawn(follow(current.clone(), certificate, key));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(current);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn follow(current: Arc<Current>, certificate: PathBuf, key: PathBuf) {
    let mut seen = times(&certificate, &key);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = times(&certificate, &key);
        if now == seen {
            continue;
        }
        seen = now;
        match read(&certificate, &key) {
            Ok(fresh) => {
                if let Ok(mut current) = current.0.write() {
                    *current = fresh;
                }
                tracing::info!(file = %certificate.display(), "read the API's certificate again");
            }
            Err(error) => tracing::error!("the API keeps its old certificate: {error:#}"),
        }
    }
}

fn times(certificate: &Path, key: &Path) -> [Option<SystemTime>; 2] {
    [certificate, key].map(|path| std::fs::metadata(path).and_then(|data| data.modified()).ok())
}

/// The authorities of servers that we call: the bundle of `AWS_CA_BUNDLE`, else the host's.
pub(crate) fn authorities() -> Result<Vec<CertificateDer<'static>>> {
    let Some(bundle) = std::env::var_os("AWS_CA_BUNDLE") else {
        return Ok(rustls_native_certs::load_native_certs().certs);
    };
    let bundle = Path::new(&bundle);
    authorities_in(bundle).with_context(|| format!("AWS_CA_BUNDLE = {}", bundle.display()))
}

/// The certificates of a bundle, however many.
fn authorities_in(bundle: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(bundle)?.collect::<Result<_, _>>()?;
    Ok(certificates)
}

/// TLS towards servers that we call. Where the host has no authorities, nobody is trusted.
pub(crate) fn connector() -> Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(authorities()?);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS of calls to others")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Whether the files are good, before the process gives up what it may need to say so.
pub(crate) fn check(certificate: &Path, key: &Path) -> Result<()> {
    read(certificate, key).map(drop)
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>> {
    let text = |name: &str, path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("{name} = {}", path.display()))
    };
    let chain = pki::certificates_from_pem(&text("tls-cert", certificate)?)
        .with_context(|| format!("tls-cert = {}", certificate.display()))?;
    let pem = zeroize::Zeroizing::new(text("tls-key", key)?);
    let der = pki::key_from_pem(&pem).with_context(|| format!("tls-key = {}", key.display()))?;
    let der = PrivateKeyDer::try_from(der.to_vec())
        .map_err(|why| anyhow::anyhow!("tls-key = {}: {why}", key.display()))?;
    let chain = chain.into_iter().map(CertificateDer::from).collect();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let certified = CertifiedKey::from_der(chain, der, &provider)
        .with_context(|| format!("tls-key = {} does not go with tls-cert", key.display()))?;
    Ok(Arc::new(certified))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host's bundle holds more certificates than anybody may import.
    #[test]
    fn a_bundle_of_many_authorities_is_read() {
        let certificate = include_str!("../../pki/tests/certs/ca-rsa.pem");
        let bundle = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(bundle.path(), certificate.repeat(300)).unwrap();
        assert_eq!(authorities_in(bundle.path()).unwrap().len(), 300);
        std::fs::write(bundle.path(), certificate.replace("MII", "!!!")).unwrap();
        assert!(authorities_in(bundle.path()).is_err());
    }
}
