//! The server on a real socket: routes, limits, stop.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::{How, World, signed};

async fn exchange(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

#[tokio::test]
async fn health_metrics_services_and_stop() {
    let world = World::new();
    let api = Arc::new(world.api.with_metrics(|| "# metrics\n".to_owned()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(crate::serve(api.clone(), listener, None, async {
        let _ = stopped.await;
    }));
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(exchange(address, &get("/health")).await.starts_with("HTTP/1.1 503"));
    api.readiness().store(true, Ordering::Release);
    assert!(exchange(address, &get("/health")).await.starts_with("HTTP/1.1 200"));
    assert!(exchange(address, &get("/metrics")).await.ends_with("# metrics\n"));
    let unsigned = exchange(address, &get("/?Action=DescribeVpcs")).await;
    assert!(
        unsigned.starts_with("HTTP/1.1 403") && unsigned.contains("MissingAuthenticationToken"),
        "{unsigned}"
    );
    assert!(unsigned.contains("x-amzn-requestid: "), "{unsigned}");
    assert!(unsigned.contains("content-type: text/xml;charset=UTF-8"), "{unsigned}");
    assert!(exchange(address, &get("/2015-03-31/functions")).await.starts_with("HTTP/1.1 404"));
    let large = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4194305\r\nconnection: close\r\n\r\n";
    assert!(exchange(address, large).await.starts_with("HTTP/1.1 413"));
    let both = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /health HTTP/1.1\r\nhost: x\r\n\r\n";
    let answer = exchange(address, both).await;
    assert!(answer.matches("HTTP/1.1").count() <= 1, "{answer}");
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_signed_call_over_the_wire() {
    let world = World::new();
    let api = Arc::new(world.api);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(crate::serve(api, listener, None, std::future::pending()));
    let call = signed(&How::default(), "/", "", b"Action=DescribeVpcs&Version=2016-11-15".to_vec(), &[]);
    let mut text = String::from("POST / HTTP/1.1\r\n");
    for (name, value) in &call.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n", call.body.len()));
    text.push_str(std::str::from_utf8(&call.body).unwrap());
    let answer = exchange(address, &text).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("<vpcSet/>"), "{answer}");
}
