//! Repeatable random numbers: all that a node draws follows from one seed, which is an input.

use crate::id::{Incarnation, hash};

/// A deterministic random bit generator.
#[derive(Clone)]
pub(super) struct SeededRng {
    seed: [u8; 32],
    draw_count: u64,
}

impl SeededRng {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self { seed, draw_count: 0 }
    }

    /// 256 bits that cannot be guessed without the seed.
    pub(super) fn next_secret(&mut self) -> [u8; 32] {
        self.draw_count += 1;
        hash("larder 1 chance", &[&self.seed, &self.draw_count.to_be_bytes()])
    }

    /// 128 bits that cannot be guessed without the seed.
    pub(super) fn next_nonce(&mut self) -> [u8; 16] {
        let mut nonce = [0; 16];
        for (target, byte) in nonce.iter_mut().zip(self.next_secret()) {
            *target = byte;
        }
        nonce
    }

    pub(super) fn next_incarnation(&mut self) -> Incarnation {
        Incarnation(self.next_nonce())
    }

    pub(super) fn next_u64(&mut self) -> u64 {
        self.next_nonce().iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }
}

impl std::fmt::Debug for SeededRng {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SeededRng({} drawn)", self.draw_count)
    }
}
