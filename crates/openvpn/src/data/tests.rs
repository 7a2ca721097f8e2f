//! The channel against itself: every cipher and form, rekeying, bounds, and what must not open.

use super::*;
use crate::wire::Opcode;

fn material() -> KeyMaterial {
    let mut bytes = [0; KEY_MATERIAL_BYTES];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::try_from(place % 251).unwrap();
    }
    KeyMaterial::new(bytes)
}

fn pair(cipher: Cipher, peer: Option<u32>) -> (Channel, Channel) {
    pair_of(&material(), cipher, peer, Limits::default())
}

fn pair_of(keys: &KeyMaterial, cipher: Cipher, peer: Option<u32>, limits: Limits) -> (Channel, Channel) {
    let make = |role| {
        let mut channel = Channel::with_limits(role, limits);
        channel.install(3, keys, cipher, peer).unwrap();
        channel.send_with(3);
        channel
    };
    (make(Role::Server), make(Role::Client))
}

fn epochs(limits: Limits) -> (Channel, Channel) {
    pair_of(&material().in_epochs(), Cipher::Aes256Gcm, Some(5), limits)
}

fn sealed(channel: &mut Channel, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    channel.seal(payload, &mut out).unwrap();
    out
}

#[test]
fn every_cipher_and_form_round_trips_both_ways() {
    for cipher in Cipher::ALL {
        for (peer, in_epochs, overhead) in [
            (None, false, OVERHEAD_BYTES - 3),
            (Some(0), false, OVERHEAD_BYTES),
            (Some(0x00ff_fffe), false, OVERHEAD_BYTES),
            (Some(0x00ff_fffe), true, EPOCH_OVERHEAD_BYTES),
        ] {
            let keys = if in_epochs { material().in_epochs() } else { material() };
            let (mut server, mut client) = pair_of(&keys, cipher, peer, Limits::default());
            for size in [1, 15, 16, 17, 1400, 9000] {
                let payload: Vec<u8> = (0..size).map(|n| u8::try_from(n % 255).unwrap()).collect();
                for up in [true, false] {
                    let (from, to) = if up { (&mut client, &mut server) } else { (&mut server, &mut client) };
                    let mut out = vec![0xee];
                    from.seal(&payload, &mut out).unwrap();
                    let mut packet = out.split_off(1);
                    assert_eq!(out, [0xee], "appended, not replaced");
                    assert_eq!(packet.len(), size + overhead);
                    assert_eq!(crate::wire::peer_id(&packet), peer);
                    assert!(from.open(&mut packet.clone()).is_err(), "own packets do not open");
                    let opened = to.open(&mut packet).unwrap();
                    assert_eq!(
                        (opened.key_id, &*opened.payload, opened.first_use),
                        (3, &*payload, size == 1)
                    );
                }
            }
        }
    }
}

#[test]
fn a_forged_packet_does_not_move_the_replay_window() {
    let (mut server, mut client) = pair(Cipher::Aes256Gcm, Some(5));
    let mut good = Vec::new();
    client.seal(b"x", &mut good).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x80;
        assert!(server.open(&mut bad).is_err(), "byte {at}");
    }
    for cut in 0..good.len() {
        assert!(server.open(&mut good[..cut].to_vec()).is_err(), "cut at {cut}");
    }
    let mut far = good.clone();
    far[4] = 0xfe; // a packet id far ahead
    assert_eq!(server.open(&mut far).unwrap_err(), OpenError::Unauthenticated);
    assert!(server.open(&mut good.clone()).unwrap().first_use);
    assert_eq!(server.open(&mut good.clone()).unwrap_err(), OpenError::Replayed);
    let mut zero = good;
    zero[4..8].fill(0);
    assert_eq!(server.open(&mut zero).unwrap_err(), OpenError::Replayed);
}

#[test]
fn another_peer_id_is_refused_by_servers_only() {
    let (mut server, mut client) = pair(Cipher::Aes256Gcm, Some(5));
    for role in [Role::Client, Role::Server] {
        let mut other = Channel::new(role);
        other.install(3, &material(), Cipher::Aes256Gcm, Some(6)).unwrap();
        other.send_with(3);
        let mut packet = Vec::new();
        other.seal(b"x", &mut packet).unwrap();
        match role {
            Role::Client => assert_eq!(server.open(&mut packet).unwrap_err(), OpenError::WrongPeerId),
            Role::Server => assert!(client.open(&mut packet).is_ok()),
        }
    }
}

#[test]
fn retired_and_missing_keys() {
    let (mut server, mut client) = pair(Cipher::Aes128Gcm, Some(5));
    let mut packet = Vec::new();
    client.seal(b"x", &mut packet).unwrap();
    server.retire(3);
    assert_eq!(server.open(&mut packet).unwrap_err(), OpenError::UnknownKey);
    assert_eq!(server.seal(b"x", &mut Vec::new()), Err(SealError::NoKey));
    server.send_with(4);
    assert_eq!(server.seal(b"x", &mut Vec::new()), Err(SealError::NoKey));
    assert_eq!(client.seal(b"", &mut Vec::new()), Err(SealError::Empty));
    let keys = KeyMaterial::new([1; KEY_MATERIAL_BYTES]);
    assert_eq!(client.install(8, &keys, Cipher::Aes128Gcm, None), Err(KeyError::KeyId));
    assert_eq!(client.install(1, &keys, Cipher::Aes128Gcm, Some(1 << 24)), Err(KeyError::PeerId));
}

#[test]
fn a_key_asks_for_its_successor_and_then_ends() {
    let (mut server, mut client) = pair(Cipher::Aes256Gcm, Some(5));
    assert!(!client.needs_rekey());
    client.skip_to(3, 0xff00_0000);
    let mut packet = Vec::new();
    client.seal(b"x", &mut packet).unwrap();
    assert!(client.needs_rekey());
    assert!(!server.needs_rekey());
    client.seal(b"x", &mut packet).unwrap();
    server.open(packet.split_off(packet.len() / 2).as_mut_slice()).unwrap();
    assert!(server.needs_rekey(), "the receiver sees it too");
    client.skip_to(3, u64::from(u32::MAX));
    assert!(client.seal(b"x", &mut packet).is_ok());
    let before = packet.len();
    assert_eq!(client.seal(b"x", &mut packet), Err(SealError::Exhausted));
    assert_eq!(packet.len(), before);
}

#[test]
fn a_key_ends_where_its_cipher_can_bear_no_more() {
    let limits = Limits { rekey_blocks: 20, max_blocks: 30, ..Limits::default() };
    let (mut server, mut client) = pair_of(&material(), Cipher::Aes256Gcm, Some(5), limits);
    let mut packets = Vec::new();
    while let Ok(packet) = {
        let mut out = Vec::new();
        client.seal(&[1; 16], &mut out).map(|()| out)
    } {
        packets.push(packet);
        assert_eq!(client.needs_rekey(), packets.len() > 10);
        assert!(packets.len() < 20);
    }
    assert_eq!(packets.len(), 15, "two blocks each");
    assert_eq!(client.seal(b"x", &mut Vec::new()), Err(SealError::Exhausted));
    for (place, mut packet) in packets.into_iter().enumerate() {
        server.open(&mut packet).unwrap();
        assert_eq!(server.needs_rekey(), place >= 10, "the receiver sees it too");
    }
}

#[test]
fn forgeries_wear_a_key_out() {
    let limits = Limits { rekey_failures: 3, max_failures: 6, ..Limits::default() };
    for keys in [material(), material().in_epochs()] {
        let (mut server, mut client) = pair_of(&keys, Cipher::Aes256Gcm, Some(5), limits);
        for count in 0..6 {
            assert_eq!(server.needs_rekey(), count > 3, "{count}");
            let good = sealed(&mut client, b"good");
            server.open(&mut good.clone()).unwrap();
            let mut bad = sealed(&mut client, b"bad");
            *bad.last_mut().unwrap() ^= 1;
            assert_eq!(server.open(&mut bad).unwrap_err(), OpenError::Unauthenticated);
        }
        let mut good = sealed(&mut client, b"good");
        assert_eq!(server.open(&mut good).unwrap_err(), OpenError::Unauthenticated, "not tried any more");
        assert!(server.needs_rekey());
    }
}

#[test]
fn epochs_need_a_peer_id_and_nothing_else_opens_under_them() {
    let mut channel = Channel::new(Role::Server);
    let keys = material().in_epochs();
    assert_eq!(channel.install(0, &keys, Cipher::Aes256Gcm, None), Err(KeyError::Format));
    let (mut server, mut client) = epochs(Limits::default());
    let mut good = sealed(&mut client, b"x");
    for cut in 0..good.len() {
        assert!(server.open(&mut good[..cut].to_vec()).is_err(), "cut at {cut}");
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        assert!(server.open(&mut bad).is_err(), "byte {at}");
    }
    let mut v1 = good.clone();
    v1[0] = Opcode::DataV1.first_byte(3);
    assert_eq!(server.open(&mut v1).unwrap_err(), OpenError::Malformed);
    let mut zero = good.clone();
    zero[6..12].fill(0);
    assert_eq!(server.open(&mut zero).unwrap_err(), OpenError::Replayed);
    assert!(server.open(&mut good.clone()).unwrap().first_use);
    assert_eq!(server.open(&mut good).unwrap_err(), OpenError::Replayed);
    let (_, mut other) = pair(Cipher::Aes256Gcm, Some(5));
    assert!(server.open(&mut sealed(&mut other, b"x")).is_err(), "the other format");
}

#[test]
fn a_sender_moves_up_and_takes_the_receiver_with_it() {
    // Three packets of two blocks each exceed four blocks.
    let limits = Limits { rekey_blocks: 4, ..Limits::default() };
    let (mut server, mut client) = epochs(limits);
    for packet in 0..30u16 {
        let mut up = sealed(&mut client, &[1; 16]);
        let epoch = 1 + packet / 3;
        assert_eq!(up[4..6], epoch.to_be_bytes(), "packet {packet}");
        assert_eq!(u64::from(up[11]), 1 + u64::from(packet % 3), "ids start anew");
        server.open(&mut up).unwrap();
        assert_eq!(server.epochs(3), Some((epoch, epoch)), "it sends there too");
        assert!(!server.needs_rekey() && !client.needs_rekey());
        let mut down = sealed(&mut server, b"x");
        assert_eq!(down[4..6], epoch.to_be_bytes());
        client.open(&mut down).unwrap();
    }
    // Packet ids move a sender up as well.
    let limits = Limits { epoch_packet_id: 2, ..Limits::default() };
    let (_, mut client) = epochs(limits);
    let seen: Vec<u8> = (0..6).map(|_| sealed(&mut client, b"x")[5]).collect();
    assert_eq!(seen, [1, 1, 2, 2, 3, 3]);
}

/// Packets of epochs 2 and 3, computed by another implementation of the format (spec: openvpn-protocol §8.4).
#[test]
fn later_epochs_are_those_of_others() {
    let rows = [
        (Cipher::Aes256Gcm, "4b0000050002000000000001f1c7f42b19433dd05fe2222d2080a13fc7f651b21a5d95e06a"),
        (Cipher::Aes256Gcm, "4b0000050003000000000001889a4e1431de1ed01302f18ded910d2a7e39660f7bb489c708"),
        (Cipher::Aes128Gcm, "4b00000500020000000000018aea552fe5f347c31323e786521def4e23681d40837a0b190f"),
        (Cipher::Aes128Gcm, "4b00000500030000000000010177c17ce3250a61c432a8f4d614cbf9f6a51d990c62f17561"),
        (
            Cipher::ChaCha20Poly1305,
            "4b0000050002000000000001a181a097f9eb5a3023c69ebd53ad9221fcd6e5ac24dd64a20c",
        ),
        (
            Cipher::ChaCha20Poly1305,
            "4b00000500030000000000012f2d5214d747c1e4a15dfa51dcd4ae0fa5c3ad2235f45d7873",
        ),
    ];
    for pair in rows.chunks(2) {
        let cipher = pair[0].0;
        let limits = Limits { epoch_packet_id: 1, ..Limits::default() };
        let (mut server, mut client) = pair_of(&material().in_epochs(), cipher, Some(5), limits);
        let _first = sealed(&mut client, b"x");
        for (_, hex) in pair {
            let at = |place: usize| u8::from_str_radix(&hex[2 * place..2 * place + 2], 16).unwrap();
            let theirs: Vec<u8> = (0..hex.len() / 2).map(at).collect();
            assert_eq!(sealed(&mut client, b"in epochs"), theirs, "{cipher:?}");
            assert_eq!(server.open(&mut theirs.clone()).unwrap().payload, b"in epochs");
        }
    }
}

#[test]
fn the_previous_epoch_and_four_future_ones_open() {
    let (mut server, mut client) = epochs(Limits::default());
    let packets: Vec<Vec<u8>> = (1..=7)
        .flat_map(|epoch| {
            client.skip_to_epoch(3, epoch);
            [sealed(&mut client, b"x"), sealed(&mut client, b"x")]
        })
        .collect();
    let mut open =
        |epoch: usize, second: usize| server.open(&mut packets[(epoch - 1) * 2 + second].clone()).map(|_| ());
    let rows = [
        (6, 0, Err(OpenError::UnknownKey), "five ahead"),
        (5, 0, Ok(()), "four ahead"),
        (5, 0, Err(OpenError::Replayed), "again"),
        (1, 0, Ok(()), "the one before, however far"),
        (1, 0, Err(OpenError::Replayed), "again"),
        (2, 0, Err(OpenError::UnknownKey), "skipped"),
        (6, 1, Ok(()), "one ahead"),
        (6, 0, Ok(()), "late"),
        (5, 1, Ok(()), "late, from before"),
        (5, 0, Err(OpenError::Replayed), "its window has moved with it"),
        (1, 1, Err(OpenError::UnknownKey), "too late"),
        (7, 0, Ok(()), "and so on"),
    ];
    for (epoch, second, expected, why) in rows {
        assert_eq!(open(epoch, second), expected, "{why}");
    }
}

/// Who only sends stays where the other end can follow, and asks for another key instead.
#[test]
fn a_sender_does_not_run_away_from_a_silent_peer() {
    let limits = Limits { epoch_packet_id: 2, ..Limits::default() };
    let (mut server, mut client) = epochs(limits);
    let mut asked = Vec::new();
    for packet in 0..40 {
        let mut up = sealed(&mut client, b"x");
        asked.push(client.needs_rekey());
        if packet == 0 || packet == 39 {
            server.open(&mut up).unwrap();
        }
    }
    assert_eq!(client.epochs(3), Some((5, 1)));
    assert_eq!(asked.iter().position(|asks| *asks), Some(9), "at the end of the fifth");
    assert_eq!(server.epochs(3), Some((5, 5)), "it follows on the first packet that comes through");
    client.open(&mut sealed(&mut server, b"x")).unwrap();
    assert_eq!(client.epochs(3), Some((5, 5)));
    assert_eq!(sealed(&mut client, b"x")[5], 6, "and on we go");
}

#[test]
fn a_forged_packet_moves_no_epoch() {
    let limits = Limits { epoch_packet_id: 1, ..Limits::default() };
    let (mut server, mut client) = epochs(limits);
    let _first = sealed(&mut client, b"x");
    let mut second = sealed(&mut client, b"x");
    second[20] ^= 1;
    assert_eq!(server.open(&mut second.clone()).unwrap_err(), OpenError::Unauthenticated);
    assert_eq!(server.epochs(3), Some((1, 1)));
    second[20] ^= 1;
    server.open(&mut second).unwrap();
    assert_eq!(server.epochs(3), Some((2, 2)));
}

#[test]
fn the_last_epochs_ask_for_another_key_and_then_end() {
    let limits = Limits { rekey_blocks: 4, max_blocks: 8, ..Limits::default() };
    let (mut server, mut client) = epochs(limits);
    for channel in [&mut server, &mut client] {
        channel.skip_to_epoch(3, 0xefff);
        assert!(!channel.needs_rekey());
        channel.skip_to_epoch(3, 0xf000);
        assert!(channel.needs_rekey());
        channel.skip_to_epoch(3, 0xfffe);
    }
    let mut count = 0;
    let mut out = Vec::new();
    while client.seal(&[1; 16], &mut out).is_ok() {
        server.open(&mut out).unwrap();
        assert!(count < 20);
        count += 1;
        out.clear();
    }
    // Three in the last but one epoch, then as many as the cipher bears.
    assert_eq!((count, client.seal(b"", &mut out)), (7, Err(SealError::Empty)));
    assert_eq!(client.seal(b"x", &mut out), Err(SealError::Exhausted));
    assert!(out.is_empty());
    assert_eq!(server.epochs(3), Some((0xffff, 0xffff)));
}

#[test]
fn payloads_are_sorted() {
    let occ = |op: u8| [OCC.as_slice(), &[op]].concat();
    for (payload, kind) in [
        (PING.to_vec(), InBand::Ping),
        ([PING.as_slice(), &[0]].concat(), InBand::Other),
        (occ(6), InBand::OccExit),
        (occ(0), InBand::Occ),
        (OCC.to_vec(), InBand::Occ),
        (vec![0x45, 0], InBand::Ip4),
        (vec![0x60], InBand::Ip6),
        (vec![0xfa, 0x45], InBand::Other),
        (vec![], InBand::Other),
    ] {
        assert_eq!(classify(&payload), kind, "{payload:02x?}");
    }
}
