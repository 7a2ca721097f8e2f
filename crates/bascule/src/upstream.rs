//! The upstream of `serve`: its credentials, and the client that carries calls to it. One connection for each call, TLS by
//! rustls with the host's authorities, nothing followed and nothing tried again: the caller's own client does that.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use api::{Destination, MAX_UPSTREAM_ANSWER_BYTES, Transport, Upstream, UpstreamFault, UpstreamUrl};
use aws_auth::{Credentials, Secret};
use bytes::Bytes;
use http::{Request, Response};

use crate::outbound::{Failed, Outbound, Server};
use crate::{Usage, config, credentials};

/// Environment variables of the credentials. Not those of the AWS tools: they are for whoever calls us.
const KEY_ID: &str = "BASCULE_UPSTREAM_ACCESS_KEY_ID";
const SECRET: &str = "BASCULE_UPSTREAM_SECRET_ACCESS_KEY";
const TOKEN: &str = "BASCULE_UPSTREAM_SESSION_TOKEN";

/// The upstream of this configuration. Reads credentials and authorities, so that a fault in them ends the start.
pub(crate) fn open(settings: &config::Upstream) -> Result<Upstream> {
    let outbound = Outbound::with_tls(settings.url.is_tls())?;
    Ok(Upstream::new(
        settings.url.clone(),
        find(settings.credentials_file.as_deref())?,
        settings.allow.iter().cloned(),
        Duration::from_secs(settings.timeout_seconds),
        Arc::new(Client(outbound)),
    ))
}

/// From the environment, else from the configured file.
fn find(file: Option<&Path>) -> Result<Credentials> {
    let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match (given(KEY_ID), given(SECRET), file) {
        (Some(access_key_id), Some(secret), _) => Ok(Credentials {
            access_key_id,
            secret: Secret::new(secret),
            session_token: given(TOKEN).map(Secret::new),
        }),
        (None, None, Some(file)) => {
            let key = credentials::read(file)
                .map_err(|error| Usage(format!("upstream.credentials-file = {}: {error:#}", file.display())))?;
            Ok(Credentials {
                access_key_id: key.id,
                secret: Secret::new(key.secret.as_str()),
                session_token: key.session_token.map(|token| Secret::new(token.as_str())),
            })
        }
        (None, None, None) => Err(Usage(format!(
            "upstream: its credentials are missing: set {KEY_ID} and {SECRET}, or credentials-file in [upstream]"
        ))
        .into()),
        _ => Err(Usage(format!("{KEY_ID} and {SECRET} go together: one of them is missing")).into()),
    }
}

struct Client(Outbound);

#[async_trait::async_trait]
impl Transport for Client {
    async fn send(
        &self,
        to: &Destination,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, UpstreamFault> {
        let server = Server { host: &to.host, port: to.port, tls: to.tls };
        let answer = self.0.send(server, request, MAX_UPSTREAM_ANSWER_BYTES).await;
        answer.map_err(|failed| match failed {
            Failed::TooLong => UpstreamFault::TooLong,
            Failed::Unreachable(error) => {
                tracing::warn!(upstream = to.authority, error, "the upstream cannot be reached");
                UpstreamFault::Unreachable
            }
            Failed::Garbled(error) => {
                tracing::warn!(upstream = to.authority, error, "the upstream did not answer properly");
                UpstreamFault::Garbled
            }
        })
    }
}

/// Whether the upstream is the server itself, as far as its address tells; the header on what is forwarded tells the rest.
pub(crate) fn is_own(url: &UpstreamUrl, listen: std::net::SocketAddr) -> bool {
    let Some(to) = url.fixed().filter(|to| to.port == listen.port()) else { return false };
    let here = |ip: std::net::IpAddr| {
        ip == listen.ip() || (ip.is_loopback() && (listen.ip().is_loopback() || listen.ip().is_unspecified()))
    };
    match to.host.parse() {
        Ok(ip) => here(ip),
        Err(_) => to.host == "localhost" && (listen.ip().is_loopback() || listen.ip().is_unspecified()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// What comes of an upstream that answers these bytes and hangs up.
    async fn of(answer: &'static [u8], more: usize) -> Result<Response<Bytes>, UpstreamFault> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = UpstreamUrl::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let to = url.fixed().unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(answer).await;
            let _ = stream.write_all(&vec![b'x'; more]).await;
            let _ = stream.shutdown().await;
        });
        let request = Request::get("/").header("host", &to.authority).body(Bytes::new()).unwrap();
        let got = Client(Outbound::with_tls(false).unwrap()).send(&to, request).await;
        serving.abort();
        got
    }

    #[tokio::test]
    async fn answers_are_read_whole_or_not_at_all() {
        let good =
            of(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nX-Amzn-A: b\r\n\r\nhi", 0).await.unwrap();
        assert_eq!((good.status().as_u16(), good.body().as_ref()), (404, b"hi".as_slice()));
        // Nothing is followed.
        let moved = of(b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n", 0).await;
        assert_eq!(moved.unwrap().status().as_u16(), 302);
        for garbled in [
            b"".as_slice(),
            b"SSH-2.0-x\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ] {
            assert_eq!(of(garbled, 0).await.unwrap_err(), UpstreamFault::Garbled, "{garbled:?}");
        }
        let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
        assert_eq!(of(head, MAX_UPSTREAM_ANSWER_BYTES + 1).await.unwrap_err(), UpstreamFault::TooLong);
    }

    #[tokio::test]
    async fn nobody_there_is_a_fault_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = UpstreamUrl::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        drop(listener);
        let to = url.fixed().unwrap();
        let request = || Request::get("/").body(Bytes::new()).unwrap();
        let client = Client(Outbound::with_tls(false).unwrap());
        assert_eq!(client.send(&to, request()).await.unwrap_err(), UpstreamFault::Unreachable);
        // Over TLS or not at all.
        let to = Destination { tls: true, ..to };
        assert_eq!(client.send(&to, request()).await.unwrap_err(), UpstreamFault::Unreachable);
    }

    #[test]
    fn we_are_not_our_own_upstream() {
        for (url, listen, own) in [
            ("http://127.0.0.1:8585", "127.0.0.1:8585", true),
            ("http://localhost:8585", "127.0.0.1:8585", true),
            ("http://127.0.0.1:8585", "0.0.0.0:8585", true),
            ("http://[::1]:8585", "127.0.0.1:8585", true),
            ("http://192.0.2.1:8585", "192.0.2.1:8585", true),
            ("http://127.0.0.1:5000", "127.0.0.1:8585", false),
            ("http://192.0.2.1:8585", "127.0.0.1:8585", false),
            ("https://{service}.{region}.amazonaws.com:8585", "127.0.0.1:8585", false),
        ] {
            assert_eq!(
                is_own(&UpstreamUrl::parse(url).unwrap(), listen.parse().unwrap()),
                own,
                "{url} {listen}"
            );
        }
    }
}
