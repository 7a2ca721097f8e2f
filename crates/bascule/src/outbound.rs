//! Calls of our own to HTTP servers that the configuration names: one connection each, no redirects, bounded answers.
//! Whoever calls bounds the time.

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// Bytes of an answer's head.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// Nobody is there, or not with the TLS that was asked for.
    Unreachable(String),
    /// What is there does not answer as HTTP has it.
    Garbled(String),
    /// The answer is longer than it may be.
    TooLong,
}

/// A caller that trusts the authorities of this host.
pub(crate) struct Outbound {
    /// `None`: nothing that is called speaks it.
    tls: Option<TlsConnector>,
}

/// Where a call goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server<'a> {
    /// Name or address, without brackets.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// Whether over TLS.
    pub tls: bool,
}

impl Outbound {
    /// One that calls these. Reads the host's authorities if one of them wants to be called by TLS.
    pub(crate) fn to<'u>(mut targets: impl Iterator<Item = &'u Uri>) -> Result<Self> {
        Self::with_tls(targets.any(is_secure))
    }

    /// One that can speak TLS, for which the host's authorities are read, or none.
    pub(crate) fn with_tls(tls: bool) -> Result<Self> {
        Ok(Self { tls: tls.then(crate::tls::connector).transpose()? })
    }

    /// One POST.
    pub(crate) async fn post(
        &self,
        target: &Uri,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
        max_answer_bytes: usize,
    ) -> Result<Response<Bytes>, Failed> {
        let host = target.host().ok_or_else(|| unreachable("no host"))?;
        let tls = is_secure(target);
        let server = Server {
            // In brackets only where it stands in a URL.
            host: host.trim_start_matches('[').trim_end_matches(']'),
            port: target.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            tls,
        };
        let authority = target.authority().map(ToString::to_string).unwrap_or_default();
        let path = target.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::post(path).header(header::HOST, authority);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(body).map_err(unreachable)?;
        self.send(server, request, max_answer_bytes).await
    }

    /// One request, whole with its `Host`, on a connection of its own.
    pub(crate) async fn send(
        &self,
        to: Server<'_>,
        request: Request<Bytes>,
        max_answer_bytes: usize,
    ) -> Result<Response<Bytes>, Failed> {
        let request = request.map(Full::new);
        let stream = TcpStream::connect((to.host, to.port)).await.map_err(unreachable)?;
        let _ = stream.set_nodelay(true);
        if !to.tls {
            return exchange(stream, request, max_answer_bytes).await;
        }
        let name = ServerName::try_from(to.host.to_owned()).map_err(unreachable)?;
        // Never without TLS where it was asked for.
        let tls = self.tls.as_ref().ok_or_else(|| unreachable("no TLS"))?;
        let stream = tls.connect(name, stream).await.map_err(unreachable)?;
        exchange(stream, request, max_answer_bytes).await
    }
}

/// One request and its answer on a connection that ends with it.
async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    max_answer_bytes: usize,
) -> Result<Response<Bytes>, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| Failed::Garbled(error.to_string());
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(MAX_HEAD_BYTES);
    let (mut sender, connection) =
        builder.handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.map_err(broken)?;
    // Ends with this call, whether it is answered or given up.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
    let body = Limited::new(body, max_answer_bytes).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() { Failed::TooLong } else { Failed::Garbled(error.to_string()) }
    })?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

fn is_secure(target: &Uri) -> bool {
    target.scheme_str() == Some("https")
}

fn unreachable(why: impl ToString) -> Failed {
    Failed::Unreachable(why.to_string())
}
