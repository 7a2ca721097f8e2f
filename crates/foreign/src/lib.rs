//! Bytes that nobody should send, for every parser that sees foreign ones: a corpus that is replayed, and seeded mutations
//! of it. Tests only.
//!
//! A target's corpus is a file of rows: hexadecimal bytes, or text behind `"`, then the reason behind ` #`. Whoever breaks
//! a target is told the row to add, and adds it with the reason. `BASCULE_FUZZ` sets how many mutations each target takes.
#![allow(clippy::panic)]

mod said;

pub use said::{bent_message, bent_packet};

use std::path::Path;

/// splitmix64: small, seeded, good enough to bend bytes.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// The next 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, or 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound.max(1)
    }

    /// A place in a list of this length, or 0.
    pub fn place(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or_default()
    }

    /// One of `of`, which has some.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.place(of.len())]
    }

    /// So many bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend(self.roll().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    /// True so many times in a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.roll().to_be_bytes()[0]
    }
}

/// What looks like a length, made extreme.
const EXTREMES: [&[u8]; 6] =
    [&[0, 0], &[0xff, 0xff], &[0, 1], &[0x7f, 0xff], &[0, 0, 0, 0], &[0xff, 0xff, 0xff, 0xff]];

/// Changes one of `seeds` in a few places, the way a fuzzer does: bits, bytes, lengths, cuts, repetitions, parts of another.
pub fn mutate(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[dice.place(seeds.len())].clone();
    bend(dice, &mut bytes, seeds);
    bytes
}

/// The same to bytes at hand.
pub fn bend(dice: &mut Dice, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    for _ in 0..=dice.below(4) {
        let at = dice.place(bytes.len() + 1);
        match dice.below(9) {
            0 => bytes.truncate(at),
            1 => {
                bytes.drain(..at);
            }
            2 => bytes.insert(at, dice.byte()),
            3 => bytes.extend(vec![dice.byte(); dice.place(600)]),
            4 if !seeds.is_empty() => {
                let other = &seeds[dice.place(seeds.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[dice.place(other.len() + 1)..]);
            }
            4..7 => {
                for (offset, byte) in EXTREMES[dice.place(EXTREMES.len())].iter().enumerate() {
                    if let Some(to) = bytes.get_mut(at + offset) {
                        *to = *byte;
                    }
                }
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
        }
    }
}

/// The rows of a corpus file.
///
/// # Panics
/// There are none, or one is not readable.
pub fn corpus(file: &Path) -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let rows: Vec<Vec<u8>> =
        text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(row).collect();
    assert!(!rows.is_empty(), "{}: nothing to replay", file.display());
    rows
}

fn row(line: &str) -> Vec<u8> {
    if let Some(text) = line.strip_prefix('"') {
        let text = text.rsplit_once(" #").map_or(text, |(text, _)| text);
        return text.replace("\\n", "\n").replace("\\0", "\0").into_bytes();
    }
    let digits = line.split('#').next().unwrap_or_default().trim();
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or_default());
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap_or_else(|_| panic!("not hexadecimal: {line}")))
        .collect()
}

/// Says which input it was, if the target panics.
struct Told<'i>(&'i Path, &'i [u8]);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hex: String = self.1.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("for {}:\n{hex}", self.0.display());
        }
    }
}

/// Replays a target's corpus, then `seeds`, then mutations of both: `rounds` of them, or as many as `BASCULE_FUZZ` says.
/// `run` panics if the target does what it must not.
///
/// # Panics
/// The corpus cannot be read, `BASCULE_FUZZ` is no number, or `run` does.
pub fn storm(file: &Path, mut seeds: Vec<Vec<u8>>, rounds: u64, mut run: impl FnMut(&[u8], &mut Dice)) {
    let rounds = std::env::var("BASCULE_FUZZ").map_or(rounds, |text| text.parse().expect("a number"));
    let name = file.file_stem().unwrap_or_default().as_encoded_bytes();
    let first = std::env::var("BASCULE_SEED").map_or(1, |text| text.parse().expect("a number"));
    let mut dice = Dice(
        name.iter().fold(first, |seed: u64, byte| seed.wrapping_mul(131).wrapping_add(u64::from(*byte))),
    );
    let mut run = |bytes: &[u8], dice: &mut Dice| {
        let _told = Told(file, bytes);
        run(bytes, dice);
    };
    seeds.extend(corpus(file));
    for seed in seeds.iter().rev() {
        run(seed, &mut dice);
    }
    for _ in 0..rounds {
        let bytes = mutate(&mut dice, &seeds);
        run(&bytes, &mut dice);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_bytes_or_text() {
        assert_eq!(row("00ff # why"), [0, 0xff]);
        assert_eq!(row("\"a # b\\n # why"), b"a # b\n");
        assert_eq!(row("\"plain"), b"plain");
    }

    #[test]
    fn mutations_repeat_and_differ() {
        let seeds = vec![b"one of them".to_vec(), b"another".to_vec()];
        let draw = || {
            let mut dice = Dice(7);
            (0..200).map(|_| mutate(&mut dice, &seeds)).collect::<Vec<_>>()
        };
        assert_eq!(draw(), draw());
        assert!(draw().iter().filter(|bytes| !seeds.contains(bytes)).count() > 150);
    }
}
