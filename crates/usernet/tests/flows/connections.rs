//! TCP: whole in both directions, ended as either side ends it, refused as the far side refuses it.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use smoltcp::socket::tcp::RecvError;

use super::*;

/// Writes what there is room for.
fn push(stream: &mut TcpStream, data: &[u8], at: &mut usize) {
    match stream.write(&data[*at..]) {
        Ok(count) => *at += count,
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
    }
}

/// Takes what has come; true: no more will.
fn pull(stream: &mut TcpStream, into: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 16_384];
    match stream.read(&mut buffer) {
        Ok(0) => return true,
        Ok(count) => into.extend_from_slice(&buffer[..count]),
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
    }
    false
}

#[test]
fn megabytes_go_both_ways_at_once_and_both_ends_are_said() {
    both_ways(Limits::default(), 6 << 20);
}

#[test]
fn a_connection_with_the_least_memory_is_whole_too() {
    both_ways(Limits { buffer_bytes: 8 << 10, ..Limits::default() }, 1 << 20);
}

/// A transfer of so many bytes each way at once.
fn both_ways(limits: Limits, bytes: usize) {
    let Some((site, mut client)) = Site::new(limits, &[(None, None)]) else { return };
    let (listener, far) = listener();
    let handle = client.connected(far);
    let mut server = accept(&listener, &mut client);
    let data = pattern(bytes);
    let (mut up, mut down, mut arrived, mut came) = (0, 0, Vec::new(), Vec::new());
    let mut server_heard_the_end = false;
    client.until("the transfer", |client| {
        let socket = client.tcp(handle);
        if socket.can_send() && up < data.len() {
            up += socket.send_slice(&data[up..]).unwrap();
            if up == data.len() {
                socket.close();
            }
        }
        while socket.can_recv() {
            socket.recv(|bytes| (bytes.len(), came.extend_from_slice(bytes))).unwrap();
        }
        if down < data.len() {
            push(&mut server, &data, &mut down);
            if down == data.len() {
                server.shutdown(Shutdown::Write).unwrap();
            }
        }
        server_heard_the_end |= !server_heard_the_end && pull(&mut server, &mut arrived);
        (server_heard_the_end && arrived.len() == data.len() && came.len() == data.len()).then_some(())
    });
    assert!(arrived == data && came == data);
    site.until(&mut client, "the flow's end", |figures| {
        figures.open["tcp"] == 0 && figures.buffer_bytes == 0
    });
}

#[test]
fn a_side_that_reads_nothing_stops_the_other_and_nothing_is_lost() {
    let Some((site, mut client)) = Site::open() else { return };
    let (listener, far) = listener();
    let handle = client.connected(far);
    let mut server = accept(&listener, &mut client);
    // Upwards: the server does not read.
    let data = pattern(32 << 20);
    let mut up = 0;
    let mut quiet_since = Instant::now();
    client.until("the client to be stopped", |client| {
        let socket = client.tcp(handle);
        let more = if socket.can_send() { socket.send_slice(&data[up..]).unwrap() } else { 0 };
        if more > 0 {
            (up, quiet_since) = (up + more, Instant::now());
        }
        (quiet_since.elapsed() > Duration::from_millis(300)).then_some(())
    });
    assert!(up < data.len(), "everything was taken: nothing stopped it");
    let mut arrived = Vec::new();
    client.until("what was sent", |client| {
        let socket = client.tcp(handle);
        if up < data.len() && socket.can_send() {
            up += socket.send_slice(&data[up..]).unwrap();
        }
        pull(&mut server, &mut arrived);
        (arrived.len() == data.len()).then_some(())
    });
    assert!(arrived == data);
    // Downwards: the client does not read.
    let (mut down, mut quiet_since) = (0, Instant::now());
    client.until("the server to be stopped", |_| {
        let before = down;
        push(&mut server, &data, &mut down);
        if down > before {
            quiet_since = Instant::now();
        }
        (quiet_since.elapsed() > Duration::from_millis(300)).then_some(())
    });
    assert!(down < data.len(), "everything was taken: nothing stopped it");
    let mut came = Vec::new();
    client.until("what was sent", |client| {
        let socket = client.tcp(handle);
        while socket.can_recv() {
            socket.recv(|bytes| (bytes.len(), came.extend_from_slice(bytes))).unwrap();
        }
        if down < data.len() {
            push(&mut server, &data, &mut down);
        }
        (came.len() == data.len()).then_some(())
    });
    assert!(came == data);
    drop(site);
}

#[test]
fn either_side_may_end_first_and_still_hear_the_other() {
    for client_first in [true, false] {
        let Some((site, mut client)) = Site::open() else { return };
        let (listener, far) = listener();
        let handle = client.connected(far);
        let mut server = accept(&listener, &mut client);
        let mut arrived = Vec::new();
        if client_first {
            client.tcp(handle).send_slice(b"question").unwrap();
            client.tcp(handle).close();
            client.until("the client's end", |_| pull(&mut server, &mut arrived).then_some(()));
            server.write_all(b"answer").unwrap();
        } else {
            server.write_all(b"answer").unwrap();
            server.shutdown(Shutdown::Write).unwrap();
        }
        let mut came = Vec::new();
        client.until("the answer", |client| {
            let socket = client.tcp(handle);
            let _ = socket.recv(|bytes| (bytes.len(), came.extend_from_slice(bytes)));
            (came == b"answer").then_some(())
        });
        if client_first {
            drop(server);
        } else {
            client.until("the server's end", |client| {
                (client.tcp(handle).recv(|_| (0, ())) == Err(RecvError::Finished)).then_some(())
            });
            client.tcp(handle).send_slice(b"question").unwrap();
            client.tcp(handle).close();
            client.until("the client's end", |_| pull(&mut server, &mut arrived).then_some(()));
        }
        assert_eq!(arrived, b"question");
        site.until(&mut client, "the flow's end", |figures| figures.open["tcp"] == 0);
        assert_eq!(site.figures().buffer_bytes, 0);
    }
}

#[test]
fn a_reset_of_either_side_reaches_the_other() {
    let Some((site, mut client)) = Site::open() else { return };
    let (listener, far) = listener();
    let handle = client.connected(far);
    let mut server = accept(&listener, &mut client);
    client.tcp(handle).abort();
    let kind = client.until("the client's reset", |_| match server.read(&mut [0; 16]) {
        Ok(count) => panic!("{count} bytes instead"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => Some(error.kind()),
    });
    assert_eq!(kind, ErrorKind::ConnectionReset);
    site.until(&mut client, "the flow's end", |figures| figures.open["tcp"] == 0);

    let handle = client.connected(far);
    let server = accept(&listener, &mut client);
    socket2::SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
    drop(server);
    client.closed(handle);
    site.until(&mut client, "the flow's end", |figures| figures.open["tcp"] == 0);
}

#[test]
fn a_refused_connection_is_refused_to_the_client_and_only_an_accepted_one_comes_up() {
    let Some((site, mut client)) = Site::open() else { return };
    let (listener, far) = listener();
    drop(listener);
    let handle = client.connect(far);
    client.closed(handle);
    assert_eq!(site.refused("far-side"), 1);
    assert_eq!(site.figures().open["tcp"], 0);
}

#[test]
fn what_belongs_to_no_connection_is_reset() {
    let Some((mut site, mut client)) = Site::open() else { return };
    let (listener, far) = listener();
    let handle = client.connected(far);
    let _server = accept(&listener, &mut client);
    // The association is made anew, and the client goes on where it was.
    let queue = site.fabric.add(&association(1, &[(None, None)])).unwrap().remove(0);
    client.use_queue(queue);
    client.tcp(handle).send_slice(b"hello?").unwrap();
    client.closed(handle);
    assert!(site.refused("stray") >= 1);
}

#[test]
fn hundreds_of_connections_are_whole_beside_each_other() {
    const CONNECTIONS: usize = 100;
    let Some((site, mut client)) = Site::open() else { return };
    let (listener, far) = listener();
    let echo = std::thread::spawn(move || {
        let workers: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let (mut stream, _) = listener.accept().unwrap();
                std::thread::Builder::new()
                    .stack_size(128 << 10)
                    .spawn(move || {
                        let mut writer = stream.try_clone().unwrap();
                        std::io::copy(&mut stream, &mut writer).unwrap()
                    })
                    .unwrap()
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum::<u64>()
    });
    let data = pattern(40_000);
    let mut all: Vec<_> = (0..CONNECTIONS).map(|_| (client.connect(far), 0, Vec::new())).collect();
    client.until("the echoes", |client| {
        let mut done = true;
        for (handle, sent, came) in &mut all {
            let socket = client.tcp(*handle);
            if *sent < data.len() && socket.can_send() {
                *sent += socket.send_slice(&data[*sent..]).unwrap();
                if *sent == data.len() {
                    socket.close();
                }
            }
            let _ = socket.recv(|bytes| (bytes.len(), came.extend_from_slice(bytes)));
            done &= came.len() == data.len();
        }
        done.then_some(())
    });
    assert!(all.iter().all(|(_, _, came)| *came == data));
    client.until("the far side's ends", |_| echo.is_finished().then_some(()));
    assert_eq!(echo.join().unwrap(), (CONNECTIONS * data.len()) as u64);
    site.until(&mut client, "the flows' ends", |figures| {
        figures.open["tcp"] == 0 && figures.buffer_bytes == 0
    });
}
