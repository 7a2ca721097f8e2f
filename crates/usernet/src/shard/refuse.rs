//! What a client hears of a flow that does not begin.

use std::io;

use crate::flow::{Work, dial, udp};
use crate::packet::{Inside, Packet, Unreachable};
use crate::stats::Refusal;

/// Tells a client that its flow may not begin, where it is to hear of it.
pub(super) fn answer(why: Refusal, packet: &Packet<'_>, work: &mut Work<'_>) {
    match (why, packet.inside) {
        (why, _) if !why.is_answered() => {}
        (Refusal::NoRoute, _) => work.tell(packet.whole, Unreachable::Network),
        (_, Inside::Tcp(_)) => dial::reset(packet.whole, work),
        _ => work.tell(packet.whole, Unreachable::Prohibited),
    }
}

/// The same for one whose socket could not be made.
pub(super) fn not_opened(error: &io::Error, packet: &Packet<'_>, work: &mut Work<'_>) {
    let of_the_system = dial::of_the_system(error);
    match (packet.inside, of_the_system) {
        (Inside::Tcp(_), _) => dial::refuse(packet.whole, error, work),
        (_, Some(why)) => {
            work.share.stats.refused(why);
            work.tell(packet.whole, Unreachable::Prohibited);
        }
        (Inside::Echo { .. }, None) if error.kind() == io::ErrorKind::PermissionDenied => {
            work.share.stats.refused(Refusal::NoPing);
        }
        _ => {
            work.share.stats.refused(Refusal::FarSide);
            if let Some(why) = udp::reason(error) {
                work.tell(packet.whole, why);
            }
        }
    }
}
