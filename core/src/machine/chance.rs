//! Chance that can be repeated: everything random that a node draws follows from one seed, which is an input.

use crate::id::{Incarnation, hash};

#[derive(Clone)]
pub(super) struct Chance {
    seed: [u8; 32],
    drawn: u64,
}

impl Chance {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self { seed, drawn: 0 }
    }

    /// 256 bits that nobody can guess who does not know the seed.
    pub(super) fn secret(&mut self) -> [u8; 32] {
        self.drawn += 1;
        hash("larder 1 chance", &[&self.seed, &self.drawn.to_be_bytes()])
    }

    /// 128 such bits.
    pub(super) fn nonce(&mut self) -> [u8; 16] {
        let mut nonce = [0; 16];
        for (to, from) in nonce.iter_mut().zip(self.secret()) {
            *to = from;
        }
        nonce
    }

    pub(super) fn incarnation(&mut self) -> Incarnation {
        Incarnation(self.nonce())
    }

    /// A number.
    pub(super) fn number(&mut self) -> u64 {
        self.nonce().iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }
}

impl std::fmt::Debug for Chance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chance({} drawn)", self.drawn)
    }
}
