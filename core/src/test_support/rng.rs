//! The random numbers of all tests. They can be repeated from a seed and are equal on every host.

use std::collections::VecDeque;

use crate::id::hash16;

/// A stream of random numbers by SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014). Bytes of a fuzzer may come first.
#[derive(Clone, Debug)]
pub struct TestRng {
    state: u64,
    /// The bytes that are used before the generator.
    bytes: VecDeque<u8>,
}

impl TestRng {
    /// Creates the stream of a seed.
    pub fn from_seed(seed: u64) -> Self {
        Self { state: seed, bytes: VecDeque::new() }
    }

    /// Creates the stream of a seed with the name `label`. Streams with different names are independent: a
    /// change in the use of one does not shift the others.
    pub fn new(seed: u64, label: &str) -> Self {
        // Saved seeds depend on this text.
        let hash = hash16("larder sim dice", &[&seed.to_be_bytes(), label.as_bytes()]);
        Self::from_seed(hash.iter().take(8).fold(0, |state, byte| (state << 8) | u64::from(*byte)))
    }

    /// Creates a stream that takes its decisions from `bytes` first and is random afterwards. Each decision
    /// uses as few bytes as possible, so that a changed byte changes one decision.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self { bytes: bytes.iter().copied().collect(), ..Self::new(0, "bytes") }
    }

    /// Returns the next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
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

    /// Returns a number below `bound`, or 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let bits = match self.bytes.is_empty() {
            true => self.next_u64(),
            false => self
                .take_bytes(bound.saturating_sub(1).checked_ilog2().map_or(1, |bits| bits as usize / 8 + 1)),
        };
        bits % bound.max(1)
    }

    /// Returns a number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// Returns an index into a slice of length `len`.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// Returns true in half of all cases.
    pub fn next_bool(&mut self) -> bool {
        self.below(2) == 1
    }

    /// Returns true in `times` of a thousand cases.
    pub fn per_mille(&mut self, times: u64) -> bool {
        self.below(1000) < times
    }

    /// Returns random bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.next_u64().to_le_bytes()).flatten().take(count).collect()
    }

    /// Returns 256 random bits, for a key.
    pub fn next_seed(&mut self) -> [u8; 32] {
        std::array::from_fn(|_| u8::try_from(self.below(256)).unwrap_or(0))
    }
}
