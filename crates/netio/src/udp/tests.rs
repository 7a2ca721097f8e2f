//! Batches and steering over the loopback interface.

use std::net::UdpSocket;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::{Domain, Socket, Type};

use super::*;

fn wait<'a>(sockets: impl Iterator<Item = &'a UdpSocket>) {
    let mut polled: Vec<_> = sockets.map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
    let ready = rustix::event::poll(&mut polled, Some(&Timespec { tv_sec: 5, tv_nsec: 0 })).unwrap();
    assert!(ready > 0, "nothing came");
}

fn group(size: usize, host: &str) -> Vec<UdpSocket> {
    let mut address: SocketAddr = format!("{host}:0").parse().unwrap();
    (0..size)
        .map(|_| {
            let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), None).unwrap();
            socket.set_reuse_port(true).unwrap();
            socket.bind(&address.into()).unwrap();
            address = socket.local_addr().unwrap().as_socket().unwrap();
            socket.into()
        })
        .collect()
}

#[test]
fn batches_go_to_several_peers_and_come_back_in_order() {
    for host in ["127.0.0.1", "[::1]"] {
        let server = UdpSocket::bind(format!("{host}:0")).unwrap();
        let clients: Vec<_> = (0..3).map(|_| UdpSocket::bind(format!("{host}:0")).unwrap()).collect();
        let mut buffers = vec![[0_u8; 16]; BATCH];
        let mut received = Vec::new();
        let none = receive(&server, &mut buffers, &mut received).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
        let texts: Vec<Vec<u8>> = (0..BATCH + 8).map(|i| format!("datagram {i}").into_bytes()).collect();
        let batch: Vec<(SocketAddr, &[u8])> = texts
            .iter()
            .enumerate()
            .map(|(i, text)| (clients[i % clients.len()].local_addr().unwrap(), text.as_slice()))
            .collect();
        let sent = send(&server, &batch).unwrap();
        assert_eq!(sent, Sent { done: texts.len(), refused: 0, errno: None });
        for (first, client) in clients.iter().enumerate() {
            let mut expected = texts.iter().skip(first).step_by(clients.len());
            let mut left = expected.clone().count();
            while left > 0 {
                wait([client].into_iter());
                let got = receive(client, &mut buffers[..5], &mut received).unwrap();
                assert!(got <= 5 && got == received.len());
                for (buffer, datagram) in buffers.iter().zip(&received) {
                    assert_eq!(datagram.peer, server.local_addr().unwrap());
                    assert!(!datagram.truncated);
                    assert_eq!(Some(&buffer[..datagram.len]), expected.next().map(Vec::as_slice));
                }
                left -= got;
            }
        }
    }
}

#[test]
fn what_is_cut_or_refused_is_told() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let here = client.local_addr().unwrap();
    let large = vec![0; 70_000];
    let elsewhere = "[::1]:9".parse().unwrap();
    let batch: [(SocketAddr, &[u8]); 5] =
        [(elsewhere, b"x"), (here, b"0123456789"), (here, &large), (here, b""), (elsewhere, b"x")];
    let sent = send(&server, &batch).unwrap();
    assert_eq!((sent.done, sent.refused), (5, 3));
    assert!(sent.errno.is_some());
    let mut buffers = [[0_u8; 4]; 4];
    let mut received = Vec::new();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        wait([&client].into_iter());
        receive(&client, &mut buffers, &mut received).unwrap();
        seen.extend(received.iter().map(|datagram| (datagram.len, datagram.truncated)));
    }
    assert_eq!(seen, [(4, true), (0, false)]);
    assert_eq!(send(&server, &[]).unwrap(), Sent::default());
}

#[test]
fn data_packets_go_to_the_worker_of_their_peer_id() {
    for (workers, host) in [(1, "127.0.0.1"), (3, "127.0.0.1"), (4, "127.0.0.1"), (4, "[::1]")] {
        let sockets = group(workers, host);
        steering(&sockets[0], workers.try_into().unwrap()).unwrap();
        let there = sockets[0].local_addr().unwrap();
        for peer_id in [0_u32, 1, 2, 3, 7, 250, 0x01_0203, 0xff_ffff] {
            // Whatever the key id, and from whatever address the client comes.
            for key_id in 0..3_u8 {
                let id = peer_id.to_be_bytes();
                let client = UdpSocket::bind(format!("{host}:0")).unwrap();
                client.send_to(&[9 << 3 | key_id, id[1], id[2], id[3], 0xaa], there).unwrap();
                wait(sockets.iter());
                let mut byte = [0];
                let owner = usize::try_from(peer_id).unwrap() % workers;
                let got: Vec<_> =
                    (0..workers).filter(|worker| sockets[*worker].recv_from(&mut byte).is_ok()).collect();
                assert_eq!(got, [owner], "peer id {peer_id}, {workers} workers");
            }
        }
    }
}

#[test]
fn all_else_is_spread() {
    let sockets = group(4, "127.0.0.1");
    steering(&sockets[0], 4).unwrap();
    let there = sockets[0].local_addr().unwrap();
    // A hard reset, DATA_V1, what is too short for a peer id, and nothing at all.
    let packets: [&[u8]; 4] = [&[7 << 3, 0, 0, 1, 0], &[6 << 3, 0, 0, 1, 0], &[9 << 3, 0, 0], &[]];
    for packet in packets {
        let clients: Vec<_> = (0..64).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        for client in &clients {
            client.send_to(packet, there).unwrap();
        }
        let counts = sockets.iter().map(|socket| {
            socket.set_nonblocking(false).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let mut byte = [0];
            std::iter::from_fn(|| socket.recv_from(&mut byte).ok()).count()
        });
        let counts: Vec<_> = counts.collect();
        assert_eq!(counts.iter().sum::<usize>(), clients.len());
        assert!(counts.iter().all(|count| *count > 0), "{packet:?}: {counts:?}");
    }
    assert!(steering(&sockets[0], 0).is_err());
}
