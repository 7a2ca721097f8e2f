//! Calls of our own to HTTP servers that the configuration names: one connection each, no redirects, bounded answers.
//! Whoever calls bounds the time.

use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// Nobody answered as HTTP has it.
    Unreachable(String),
    /// The answer is longer than it may be.
    TooLong,
}

/// An answer, whatever it says.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A caller that trusts the authorities of this host.
pub(crate) struct Outbound {
    tls: TlsConnector,
}

impl Outbound {
    /// Reads the host's authorities. Without any, only plain HTTP works.
    pub(crate) fn new() -> Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        let (good, bad) = roots.add_parsable_certificates(found.certs);
        tracing::debug!(good, bad, "authorities of this host");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("TLS of calls to others")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    /// One POST.
    pub(crate) async fn post(
        &self,
        target: &Uri,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
        max_answer_bytes: usize,
    ) -> Result<Reply, Failed> {
        let host = target.host().ok_or_else(|| unreachable("no host"))?;
        let secure = target.scheme_str() == Some("https");
        let port = target.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let authority = target.authority().map(ToString::to_string).unwrap_or_default();
        let path = target.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::post(path).header(header::HOST, authority);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).map_err(|error| unreachable(&error.to_string()))?;
        // In brackets only where it stands in a URL.
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((name, port)).await.map_err(|e| unreachable(&e.to_string()))?;
        let _ = stream.set_nodelay(true);
        if !secure {
            return exchange(stream, request, max_answer_bytes).await;
        }
        let server = ServerName::try_from(name.to_owned()).map_err(|e| unreachable(&e.to_string()))?;
        let stream = self.tls.connect(server, stream).await.map_err(|e| unreachable(&e.to_string()))?;
        exchange(stream, request, max_answer_bytes).await
    }
}

async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    max_answer_bytes: usize,
) -> Result<Reply, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| unreachable(&error.to_string()))?;
    let answered = async {
        let answer = sender.send_request(request).await.map_err(|error| unreachable(&error.to_string()))?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, max_answer_bytes).collect().await;
        let body = body.map_err(|error| match error.downcast::<http_body_util::LengthLimitError>() {
            Ok(_) => Failed::TooLong,
            Err(error) => unreachable(&error.to_string()),
        })?;
        Ok(Reply { status: parts.status, headers: parts.headers, body: body.to_bytes() })
    };
    // The connection is driven only while its answer is waited for, and ends with that.
    tokio::pin!(connection);
    tokio::pin!(answered);
    tokio::select! {
        answer = &mut answered => answer,
        ended = &mut connection => match ended {
            Ok(()) => answered.await,
            Err(error) => Err(unreachable(&error.to_string())),
        },
    }
}

fn unreachable(why: &str) -> Failed {
    Failed::Unreachable(why.to_owned())
}
