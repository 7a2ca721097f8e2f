//! What a client with keys says, bent before it is sealed.

use openvpn::wire::Control;

use crate::{Dice, bend};

/// What clients and servers say; servers expect some of it of nobody.
const TEXTS: [&[u8]; 8] = [
    b"PUSH_REQUEST\0",
    b"EXIT\0",
    b"CR_RESPONSE,AAAA\0",
    b"PUSH_REQUEST,EXIT\0\0\0",
    b"INFO,\x1b[2J\r\n%s%n\0",
    b"AUTH_FAILED\0",
    b"PUSH_REPLY,ifconfig 10.0.0.1 255.0.0.0\0",
    b"RESTART,[P]",
];

/// A control message with parts of others in it.
pub fn bent_message(dice: &mut Dice, plaintext: &[u8]) -> Vec<u8> {
    let texts = TEXTS.map(<[u8]>::to_vec);
    let mut message = plaintext.to_vec();
    if dice.chance(300) {
        message.extend_from_slice(dice.pick::<Vec<u8>>(&texts));
    }
    bend(dice, &mut message, &texts);
    message
}

/// A control packet that mostly still has the form of one; what is none stays as it is.
pub fn bent_packet(dice: &mut Dice, packet: &[u8]) -> Vec<u8> {
    let mut bytes = packet.to_vec();
    let Ok(mut control) = Control::parse(packet) else { return bytes };
    let mut acks: Vec<u32> = control.acks.as_slice().to_vec();
    match dice.below(7) {
        0 => control.key_id = dice.byte() & 7,
        1 => {
            let by = u32::from(dice.byte()).wrapping_sub(3);
            control.message_id = control.message_id.map(|id| id.wrapping_add(by));
        }
        2 => control.message_id = control.message_id.map(|_| u32::MAX - u32::from(dice.byte() & 1)),
        3 => {
            acks.push(u32::from(dice.byte()));
            control.peer_session.get_or_insert(control.session);
        }
        4 => control.peer_session = control.peer_session.map(|_| control.session),
        5 => {
            let from = dice.place(control.payload.len() + 1);
            control.payload = control.payload.get(from..).unwrap_or_default();
        }
        _ => {
            bend(dice, &mut bytes, &[]);
            return bytes;
        }
    }
    control.acks = acks.into_iter().take(8).collect();
    bytes.clear();
    control.encode(&mut bytes);
    bytes
}
