//! When clients that are sent away may come back: not all at once, and not each second for ever. Those that can be told a
//! time are told one; to older ones `RESTART` means one second, or five (spec: openvpn-protocol §9.5).

use std::time::Duration;

use openvpn::Instant;
use openvpn::server::Farewell;

use super::Gateway;

/// Longest pause a client is told.
const LONGEST_S: u32 = 60;
/// Shortest pause of a client that found no place.
const NO_PLACE_S: u32 = 5;
/// So many refusals within a [`WINDOW`] make the pause a second longer.
const REFUSALS_PER_S: u32 = 20;
/// How far back refusals count.
const WINDOW: Duration = Duration::from_secs(10);

/// What a client is told that found no place.
pub(super) const TOO_MANY: &str = "Too many clients are connected";
pub(super) const NO_ADDRESS: &str = "No client address is left";
/// What one of many is told.
const COME_BACK: &str = "Come back";

/// Refusals for want of a place, of this window and the one before.
#[derive(Default)]
pub(super) struct Refusals {
    began: Instant,
    now: u32,
    before: u32,
}

impl Refusals {
    /// Counts one; how many there are.
    fn count(&mut self, now: Instant) -> u32 {
        let past = now.since(self.began);
        if past >= WINDOW {
            self.before = if past < WINDOW * 2 { self.now } else { 0 };
            (self.began, self.now) = (now, 0);
        }
        self.now = self.now.saturating_add(1);
        self.now.max(self.before)
    }
}

impl Gateway {
    /// What a client is told for which there is no place: it is not its fault, and it may pass. `AUTH_FAILED` would make a
    /// stock client stop for good, `RESTART` has it back each second with a whole handshake. The more are refused, the later.
    /// UNVERIFIED: what AWS sends when its addresses are used up.
    pub(super) fn no_place(&mut self, why: &str, now: Instant) -> Farewell {
        let base = NO_PLACE_S.saturating_add(self.refusals.count(now) / REFUSALS_PER_S).min(LONGEST_S / 2);
        // Between once and twice as long, so that those refused together do not come back together.
        let drawn = u32::try_from(self.draws.bits("return") % u128::from(base + 1)).unwrap_or(0);
        Farewell::ComeBack { after_s: base + drawn, text: why.to_owned() }
    }

    /// What one of many is told that shall come back: the first ones at once, those behind them later.
    pub(super) fn come_back(&mut self, farewell: Farewell) -> Farewell {
        let after_s = self.sent_away / self.limits.max_returns_per_s.max(1);
        self.sent_away = self.sent_away.saturating_add(1);
        match farewell {
            Farewell::Restart | Farewell::RestartKeep if after_s > 0 => {
                Farewell::ComeBack { after_s: (1 + after_s).min(LONGEST_S), text: COME_BACK.to_owned() }
            }
            farewell => farewell,
        }
    }
}
