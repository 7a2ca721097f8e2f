//! The replay window: checked before authentication, committed after it.
//!
//! A ring of bits over packet ids. It is wider than the stock 64 because several cores and queues may reorder
//! more than that. spec: openvpn-protocol §8.6

/// Packet ids back from the highest seen that are still accepted.
pub const REPLAY_WINDOW_PACKETS: u32 = 32 * 64 - 64;

/// Words of the ring; one word of slack is what makes clearing word by word safe.
const WORDS: u64 = 32;
const WINDOW: u64 = REPLAY_WINDOW_PACKETS as u64;

/// Which packet ids of one key and direction have been seen. Ids have 32 bits, or 48 within an epoch.
#[derive(Debug)]
pub(crate) struct ReplayWindow {
    highest: u64,
    ring: [u64; WORDS as usize],
}

impl ReplayWindow {
    pub(crate) fn new() -> Self {
        Self { highest: 0, ring: [0; WORDS as usize] }
    }

    /// Highest committed id; 0 if none.
    pub(crate) fn highest(&self) -> u64 {
        self.highest
    }

    /// True if `id` may be new. Changes nothing: the packet is not authenticated yet.
    pub(crate) fn check(&self, id: u64) -> bool {
        if id == 0 {
            return false;
        }
        if id > self.highest {
            return true;
        }
        if self.highest - id >= WINDOW {
            return false;
        }
        self.ring.get(word(id)).is_some_and(|bits| bits & bit(id) == 0)
    }

    /// Marks an authenticated `id` as seen.
    pub(crate) fn commit(&mut self, id: u64) {
        if id > self.highest {
            let last = self.highest / 64;
            let steps = (id / 64 - last).min(WORDS);
            for step in 1..=steps {
                if let Some(bits) = self.ring.get_mut(((last + step) % WORDS) as usize) {
                    *bits = 0;
                }
            }
            self.highest = id;
        }
        if let Some(bits) = self.ring.get_mut(word(id)) {
            *bits |= bit(id);
        }
    }
}

fn word(id: u64) -> usize {
    (id / 64 % WORDS) as usize
}

fn bit(id: u64) -> u64 {
    1 << (id % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The window against the plainest model: a set of everything seen.
    #[test]
    fn agrees_with_a_set() {
        let mut window = ReplayWindow::new();
        let mut seen = BTreeSet::new();
        let mut highest = 0u64;
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..200_000u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let roll = state >> 33;
            let id = match roll % 50 {
                0 => highest.saturating_add(roll % 9000),
                1..25 => highest.saturating_add(1),
                _ => highest.saturating_sub(roll % 2500),
            };
            let expected = id != 0 && !seen.contains(&id) && (id > highest || highest - id < WINDOW);
            assert_eq!(window.check(id), expected, "round {round}, id {id}, highest {highest}");
            if expected {
                window.commit(id);
                seen.insert(id);
                highest = highest.max(id);
            }
        }
    }

    /// In figures: at least 1,024 packets may overtake one (spec: openvpn-protocol §8.6), and the ring has room for no more
    /// than these.
    #[test]
    fn the_window_is_as_wide_as_promised() {
        let mut window = ReplayWindow::new();
        window.commit(5000);
        assert!(window.check(5000 - 1024) && window.check(5000 - 1983));
        assert!(!window.check(5000 - 1984));
    }

    #[test]
    fn the_last_id_is_usable_once() {
        for last in [u64::from(u32::MAX), (1 << 48) - 1, u64::MAX] {
            let mut window = ReplayWindow::new();
            window.commit(last);
            assert!(!window.check(last));
            assert!(window.check(last - WINDOW + 1));
            assert!(!window.check(last - WINDOW));
        }
    }
}
