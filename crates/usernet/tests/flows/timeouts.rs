//! What nothing is heard of ends, each kind of it after its own time.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use smoltcp::socket::tcp::State;
use socket2::{Domain, Socket, Type};

use super::*;

/// What is tried; and the others, which do not come into it.
const SHORT: Duration = Duration::from_millis(300);
const NEVER: Duration = Duration::from_secs(600);
const NONE: Timeouts = Timeouts {
    dial: NEVER,
    handshake: NEVER,
    unacknowledged: NEVER,
    keep_alive: NEVER,
    linger: NEVER,
    udp_unanswered: NEVER,
    udp: NEVER,
    echo: NEVER,
};

fn site(timeouts: Timeouts) -> Option<(Site, Client)> {
    let (site, [client]) = Site::with(Options { timeouts, ..Options::default() }, &[(None, None)])?;
    Some((site, client))
}

/// Waits without the client: it is gone.
fn wait<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let end = deadline();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

/// Waits until the far side's connection ends, and how.
fn end_of(server: &mut TcpStream) -> Option<ErrorKind> {
    match server.read(&mut [0; 65_536]) {
        Ok(0) => Some(ErrorKind::UnexpectedEof),
        Ok(_) => None,
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => Some(error.kind()),
    }
}

#[test]
fn datagrams_that_were_answered_and_those_that_were_not_have_their_own_times() {
    for (timeouts, answered_stays) in
        [(Timeouts { udp_unanswered: SHORT, ..NONE }, true), (Timeouts { udp: SHORT, ..NONE }, false)]
    {
        let Some((site, mut client)) = site(timeouts) else { return };
        let ((deaf, deaf_at), (server, far)) = (udp_server(), udp_server());
        let (unanswered, answered) = (client.udp(), client.udp());
        let began = Instant::now();
        let mut buffer = [0; 16];
        client.send_udp(unanswered, deaf_at, b"anybody?");
        let (_, heard_from) = client.until("the datagram", |_| deaf.recv_from(&mut buffer).ok());
        client.send_udp(answered, far, b"hello");
        let (_, from) = client.until("the datagram", |_| server.recv_from(&mut buffer).ok());
        server.send_to(b"hello yourself", from).unwrap();
        client.until("the answer", |client| client.receive_udp(answered));
        site.until(&mut client, "the end of one", |figures| figures.open["udp"] == 1);
        assert!(began.elapsed() >= SHORT);
        // It is the other that is left.
        let (server, to, handle) =
            if answered_stays { (server, from, answered) } else { (deaf, heard_from, unanswered) };
        server.send_to(b"still there", to).unwrap();
        assert_eq!(client.until("the datagram", |client| client.receive_udp(handle)), b"still there");
        assert_eq!(site.figures().begun["udp"], 2);
    }
}

#[test]
fn echo_requests_have_their_time() {
    if !namespace::is_inside("timeouts::echo_requests_have_their_time") {
        return;
    }
    let (site, mut client) = site(Timeouts { echo: SHORT, ..NONE }).unwrap();
    let began = Instant::now();
    client.send_raw(&raw::echo(CLIENT, own().unwrap(), 77));
    client.until("the reply", |client| client.icmp().first().cloned());
    site.until(&mut client, "the flow's end", |figures| figures.open["icmp"] == 0);
    assert!(began.elapsed() >= SHORT);
    assert_eq!(site.figures().begun["icmp"], 1);
}

#[test]
fn a_far_side_that_does_not_answer_is_given_up_silently() {
    let Some((site, mut client)) = site(Timeouts { dial: SHORT, ..NONE }) else { return };
    // One connection waits to be accepted, and there is room for no other: what asks for one is not heard.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::new(own().unwrap(), 0).into()).unwrap();
    listener.listen(0).unwrap();
    let far = listener.local_addr().unwrap().as_socket().unwrap();
    let _first = TcpStream::connect(far).unwrap();
    let began = Instant::now();
    let handle = client.connect(far);
    site.until(&mut client, "the flow", |figures| figures.open["tcp"] == 1);
    site.until(&mut client, "the flow's end", |figures| {
        figures.open["tcp"] == 0 && figures.refused["silence"] == 1
    });
    assert!(began.elapsed() >= SHORT);
    assert_eq!(client.tcp(handle).state(), State::SynSent, "nothing was answered");
}

#[test]
fn a_client_that_does_not_finish_its_handshake_is_given_up() {
    let Some((site, client)) = site(Timeouts { handshake: SHORT, ..NONE }) else { return };
    let (listener, far) = listener();
    let began = Instant::now();
    let queue = client.into_queue();
    netio::tun::write(&queue, &raw::syn(SocketAddr::new(CLIENT, 7_000), far, 64, |_| ())).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.set_nonblocking(true).unwrap();
    assert_eq!(wait("the reset", || end_of(&mut server)), ErrorKind::ConnectionReset);
    assert!(began.elapsed() >= SHORT);
    wait("the flow's end", || (site.figures().open["tcp"] == 0).then_some(()));
    assert_eq!(site.figures().buffer_bytes, 0);
}

#[test]
fn a_client_that_is_gone_is_given_up_and_one_that_is_silent_is_not() {
    let asked = Timeouts { keep_alive: SHORT / 3, unacknowledged: SHORT, ..NONE };
    let Some((site, mut client)) = site(asked) else { return };
    let (listener, far) = listener();
    let handle = client.connected(far);
    let mut server = accept(&listener, &mut client);
    let began = Instant::now();
    client.until("its time three times over", |_| (began.elapsed() >= 3 * SHORT).then_some(()));
    assert!(client.tcp(handle).may_send());
    assert_eq!(site.figures().open["tcp"], 1);
    // It has nothing to acknowledge but what it is asked.
    let gone = Instant::now();
    assert_eq!(wait("the reset", || end_of(&mut server)), ErrorKind::ConnectionReset);
    assert!(gone.elapsed() >= SHORT - asked.keep_alive);
    wait("the flow's end", || (site.figures().open["tcp"] == 0).then_some(()));
}

#[test]
fn what_a_client_does_not_acknowledge_is_given_up() {
    let Some((site, mut client)) = site(Timeouts { unacknowledged: SHORT, ..NONE }) else { return };
    let (listener, far) = listener();
    client.connected(far);
    let mut server = accept(&listener, &mut client);
    let gone = Instant::now();
    server.write_all(b"are you there").unwrap();
    assert_eq!(wait("the reset", || end_of(&mut server)), ErrorKind::ConnectionReset);
    assert!(gone.elapsed() >= SHORT);
    wait("the flow's end", || (site.figures().open["tcp"] == 0).then_some(()));
}

#[test]
fn a_far_side_that_does_not_read_the_rest_is_given_up() {
    // The system takes megabytes at a time elsewhere: nothing would be left to wait for.
    if !namespace::is_inside("timeouts::a_far_side_that_does_not_read_the_rest_is_given_up") {
        return;
    }
    let (site, mut client) = site(Timeouts { linger: SHORT, ..NONE }).unwrap();
    let (listener, far) = listener();
    let handle = client.connected(far);
    let mut server = accept(&listener, &mut client);
    // The far side takes nothing, until all that lies between is full.
    let data = pattern(65_536);
    let mut quiet_since = Instant::now();
    client.until("the client to be stopped", |client| {
        let socket = client.tcp(handle);
        if socket.can_send() && socket.send_slice(&data).unwrap() > 0 {
            quiet_since = Instant::now();
        }
        (quiet_since.elapsed() > SHORT).then_some(())
    });
    // Then as much as makes room for the client's last bytes. They are acknowledged, and wait.
    let mut some = [0; 4_096];
    client.until("the last bytes to be taken", |client| {
        if client.tcp(handle).send_queue() > 0 {
            let _ = server.read(&mut some);
            return None;
        }
        Some(())
    });
    client.tcp(handle).close();
    client.until("the client's end to be taken", |client| {
        (client.tcp(handle).state() == State::FinWait2).then_some(())
    });
    let done = Instant::now();
    server.shutdown(Shutdown::Write).unwrap();
    site.until(&mut client, "the flow's end", |figures| figures.open["tcp"] == 0);
    assert!(done.elapsed() >= SHORT);
    assert_eq!(wait("the reset", || end_of(&mut server)), ErrorKind::ConnectionReset);
    assert_eq!(site.figures().buffer_bytes, 0);
}
