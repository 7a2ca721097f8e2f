//! The channel against itself: every cipher and form, rekeying, bounds, and what must not open.

use super::*;

fn pair(cipher: Cipher, peer: Option<u32>) -> (Channel, Channel) {
    let mut bytes = [0; KEY_MATERIAL_BYTES];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::try_from(place % 251).unwrap();
    }
    let keys = KeyMaterial::new(bytes);
    let make = |role| {
        let mut channel = Channel::new(role);
        channel.install(3, &keys, cipher, peer).unwrap();
        channel.send_with(3);
        channel
    };
    (make(Role::Server), make(Role::Client))
}

#[test]
fn every_cipher_and_form_round_trips_both_ways() {
    for cipher in Cipher::ALL {
        for peer in [None, Some(0), Some(0x00ff_fffe)] {
            let (mut server, mut client) = pair(cipher, peer);
            for size in [1, 15, 16, 17, 1400, 9000] {
                let payload: Vec<u8> = (0..size).map(|n| u8::try_from(n % 255).unwrap()).collect();
                for up in [true, false] {
                    let (from, to) = if up { (&mut client, &mut server) } else { (&mut server, &mut client) };
                    let mut out = vec![0xee];
                    from.seal(&payload, &mut out).unwrap();
                    let mut packet = out.split_off(1);
                    assert_eq!(out, [0xee], "appended, not replaced");
                    assert_eq!(
                        packet.len(),
                        size + if peer.is_some() { OVERHEAD_BYTES } else { OVERHEAD_BYTES - 3 }
                    );
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
    let mut keys = [0; KEY_MATERIAL_BYTES];
    for (place, byte) in keys.iter_mut().enumerate() {
        *byte = u8::try_from(place % 251).unwrap();
    }
    for role in [Role::Client, Role::Server] {
        let mut other = Channel::new(role);
        other.install(3, &KeyMaterial::new(keys), Cipher::Aes256Gcm, Some(6)).unwrap();
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
