//! HTTP: accepting connections, reading bounded requests, `/health`, `/metrics`, and one fallback for every service.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::config::MAX_BODY_BYTES;
use crate::frame::{Answer, Api, Call};

/// Connections at a time; more wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 1_024;
/// How long a client may take for its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a client may take for its request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client may take for its TLS handshake.
const TLS_TIMEOUT: Duration = Duration::from_secs(15);
/// How long calls in flight may take once the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause after an accept that failed, so that a lack of descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bytes of a request's head.
const MAX_HEAD_BYTES: usize = 64 * 1024;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// Serves until `shutdown` completes, then lets calls in flight end.
///
/// # Errors
/// None at present: a listener that fails to accept is tried again.
pub async fn serve(
    api: Arc<Api>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    shutdown: impl Future<Output = ()> + Send,
) -> std::io::Result<()> {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &slots) => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let Some((stream, peer, slot)) = accepted else { continue };
        let (api, tls, stopping) = (Arc::clone(&api), tls.clone(), stopping.clone());
        connections.spawn(async move {
            connection(api, stream, peer, tls, stopping).await;
            drop(slot);
        });
    }
    drop(listener);
    let _ = stop.send(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        tracing::warn!("stopped with calls still in flight");
    }
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, slot)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn connection(
    api: Arc<Api>,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    stopping: watch::Receiver<bool>,
) {
    // Small answers; without this each waits for the client's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    match tls {
        None => http(api, stream, peer.ip(), false, stopping).await,
        Some(acceptor) => match tokio::time::timeout(TLS_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => http(api, stream, peer.ip(), true, stopping).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        },
    }
}

async fn http<S>(api: Arc<Api>, stream: S, peer: IpAddr, secure: bool, mut stopping: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let api = Arc::clone(&api);
        async move { Ok::<_, Infallible>(route(&api, request, peer, secure).await) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD_BYTES);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let stopped = async {
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = stopped => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

async fn route(api: &Api, request: Request<Incoming>, peer: IpAddr, secure: bool) -> Response<Full<Bytes>> {
    match request.uri().path() {
        "/health" if request.method() == http::Method::GET => {
            let (status, text) = match api.is_ready() {
                true => (StatusCode::OK, "ok\n"),
                false => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
            };
            plain(status, text.to_owned())
        }
        "/metrics" if request.method() == http::Method::GET && peer.to_canonical().is_loopback() => {
            match api.render_metrics() {
                Some(text) => plain(StatusCode::OK, text),
                None => plain(StatusCode::NOT_FOUND, "no metrics here\n".to_owned()),
            }
        }
        // Signed, it may be for a service at the upstream.
        "/coverage"
            if request.method() == http::Method::GET && !request.headers().contains_key(AUTHORIZATION) =>
        {
            let mut response = plain(StatusCode::OK, crate::coverage::coverage_json().to_string());
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        _ => fallback(api, request, peer, secure).await,
    }
}

async fn fallback(
    api: &Api,
    request: Request<Incoming>,
    peer: IpAddr,
    secure: bool,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    if hyper::body::Body::size_hint(&body).lower() > u64::try_from(MAX_BODY_BYTES).unwrap_or(u64::MAX) {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large\n".to_owned());
    }
    let body = match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            return plain(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large or broken\n".to_owned());
        }
        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the request took too long\n".to_owned()),
    };
    let Some(headers) = texts(&head.headers) else {
        return plain(StatusCode::BAD_REQUEST, "a header is no text\n".to_owned());
    };
    let call = Call {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers,
        body,
        peer: peer.to_canonical(),
        secure,
    };
    response(api.handle(&call).await)
}

/// Headers as text; `None` if a value has other than visible ASCII (a client of the services sends none).
fn texts(headers: &HeaderMap) -> Option<Vec<(String, String)>> {
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        let value = std::str::from_utf8(value.as_bytes()).ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    };
    headers.iter().map(text).collect()
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let mut response =
        plain(StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), answer.body);
    let headers = response.headers_mut();
    match HeaderValue::from_str(&answer.content_type) {
        Ok(content_type) if !content_type.is_empty() => headers.insert(CONTENT_TYPE, content_type),
        _ => headers.remove(CONTENT_TYPE),
    };
    if let Ok(id) = HeaderValue::from_str(&answer.request_id) {
        headers.insert(REQUEST_ID, id);
    }
    for (name, value) in &answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        {
            // The upstream's own id of the request takes the place of ours.
            if name == REQUEST_ID {
                headers.insert(name, value);
            } else {
                headers.append(name, value);
            }
        }
    }
    response
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
