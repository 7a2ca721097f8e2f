//! Which resets have been refused a few seconds ago. A client sends the same one again after two seconds; a flood from
//! made-up addresses never does, so this tells them apart when there are more than can be answered.
//!
//! A Bloom filter for each of the last few seconds: a fixed size, whatever comes.

use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

use openvpn::Instant;

/// How long one generation takes notes. Shorter than the first pause of clients (2.2 s), so that a repetition falls into a
/// later one.
const GENERATION: Duration = Duration::from_secs(2);
const GENERATIONS: usize = 3;
/// Bits of a generation: 100,000 notes fill less than a fifth.
const BITS: u64 = 1 << 20;

pub(super) struct Repeats {
    /// Empty until something is refused for the first time.
    generations: [Vec<u64>; GENERATIONS],
    current: usize,
    began: Instant,
}

impl Repeats {
    pub(super) fn new(now: Instant) -> Self {
        Self { generations: [const { Vec::new() }; GENERATIONS], current: 0, began: now }
    }

    /// Takes a note; true if an earlier generation has the same one. `hasher` has been given all that names it.
    pub(super) fn note(&mut self, hasher: &DefaultHasher, now: Instant) -> bool {
        self.turn(now);
        let places: [u64; 2] = [1, 2].map(|salt| {
            let mut hasher = hasher.clone();
            hasher.write_u8(salt);
            hasher.finish() % BITS
        });
        let has = |bits: &Vec<u64>| {
            places
                .iter()
                .all(|place| bits.get(word(*place)).is_some_and(|word| word >> (place % 64) & 1 == 1))
        };
        let earlier = self.generations.iter().enumerate().any(|(at, bits)| at != self.current && has(bits));
        if let Some(bits) = self.generations.get_mut(self.current) {
            bits.resize(word(BITS), 0);
            for place in places {
                if let Some(word) = bits.get_mut(word(place)) {
                    *word |= 1 << (place % 64);
                }
            }
        }
        earlier
    }

    fn turn(&mut self, now: Instant) {
        let past = now.since(self.began).as_micros() / GENERATION.as_micros();
        for _ in 0..past.min(GENERATIONS as u128) {
            self.current = (self.current + 1) % GENERATIONS;
            if let Some(bits) = self.generations.get_mut(self.current) {
                bits.fill(0);
            }
        }
        if past > 0 {
            self.began = now;
        }
    }
}

fn word(place: u64) -> usize {
    usize::try_from(place / 64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(number: u64) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(number);
        hasher
    }

    #[test]
    fn only_what_comes_again_later_is_known() {
        let mut repeats = Repeats::new(Instant(0));
        let ms = |ms: u64| Instant(ms * 1_000);
        assert!(!repeats.note(&named(1), ms(0)));
        assert!(!repeats.note(&named(1), ms(100)), "so soon no client comes again");
        assert!(repeats.note(&named(1), ms(2_200)));
        assert!(!repeats.note(&named(2), ms(2_200)));
        assert!(repeats.note(&named(2), ms(5_900)));
        assert!(!repeats.note(&named(2), ms(60_000)), "forgotten");
    }

    #[test]
    fn a_flood_of_others_is_hardly_ever_taken_for_one() {
        let mut repeats = Repeats::new(Instant(0));
        let known = (0..300_000_u64).filter(|n| repeats.note(&named(*n), Instant(n * 20))).count();
        assert!(known < 9_000, "{known}");
    }
}
