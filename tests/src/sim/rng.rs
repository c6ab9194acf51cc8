//! Chance from a seed. Each use has a stream of its own, so that a change in one does not shift the others.

use std::collections::VecDeque;

use larder_core::id::hash16;

/// One stream (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014), or bytes from outside
/// and then such a stream.
#[derive(Clone, Debug)]
pub(super) struct SimRng {
    state: u64,
    /// What decides first.
    bytes: VecDeque<u8>,
}

impl SimRng {
    /// The stream called `label` of a seed.
    pub(super) fn new(seed: u64, label: &str) -> Self {
        let hash = hash16("larder sim dice", &[&seed.to_be_bytes(), label.as_bytes()]);
        let state = hash.iter().take(8).fold(0, |state, byte| (state << 8) | u64::from(*byte));
        Self { state, bytes: VecDeque::new() }
    }

    /// Decisions out of bytes: each takes as many as it has use for, so that a byte changed changes one decision.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        Self { bytes: bytes.iter().copied().collect(), ..Self::new(0, "bytes") }
    }

    /// The next 64 bits.
    pub(super) fn next_u64(&mut self) -> u64 {
        if !self.bytes.is_empty() {
            return self.take_bytes(8);
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn take_bytes(&mut self, count: usize) -> u64 {
        let count = count.min(self.bytes.len());
        self.bytes.drain(..count).fold(0, |all, byte| (all << 8) | u64::from(byte))
    }

    /// A number below `sides`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        let bits = match self.bytes.is_empty() {
            true => self.next_u64(),
            false => self
                .take_bytes(bound.saturating_sub(1).checked_ilog2().map_or(1, |bits| bits as usize / 8 + 1)),
        };
        bits % bound.max(1)
    }

    /// A number between `low` and `high`, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// An index into something of that length.
    pub(super) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// True so many times in a thousand.
    pub(super) fn per_mille(&mut self, times: u64) -> bool {
        self.below(1000) < times
    }

    /// 256 bits.
    pub(super) fn next_seed(&mut self) -> [u8; 32] {
        std::array::from_fn(|_| u8::try_from(self.below(256)).unwrap_or(0))
    }
}
