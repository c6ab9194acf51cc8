//! The input of a fuzz target as a series of decisions, based on [`arbitrary`].
//!
//! Decisions are read from the front and mostly take one byte, so that a changed byte changes one decision.
//! After the end of the input, every number is 0.

use arbitrary::Unstructured;

/// The remaining decisions of an input.
#[derive(Debug)]
pub struct Decisions<'a>(Unstructured<'a>);

/// Numbers near the boundaries of formats and limits.
const EDGE_NUMBERS: [u64; 24] = [
    0,
    1,
    2,
    3,
    5,
    62,
    63,
    64,
    65,
    70,
    75,
    76,
    77,
    127,
    128,
    129,
    1000,
    u32::MAX as u64,
    1 << 31,
    (1 << 31) + 1,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

impl<'a> Decisions<'a> {
    /// The decisions that `bytes` encode.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(Unstructured::new(bytes))
    }

    /// The next byte; `None` at the end of the input.
    pub fn next_byte(&mut self) -> Option<u8> {
        (!self.0.is_empty()).then(|| self.next_byte_or_zero())
    }

    /// The next byte; 0 after the end of the input.
    pub fn next_byte_or_zero(&mut self) -> u8 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// An index below `len`, which is not 0.
    pub fn index(&mut self, len: usize) -> usize {
        self.0.choose_index(len).unwrap_or_default()
    }

    /// Chooses one of `options`.
    pub fn choose<'b, T>(&mut self, options: &'b [T]) -> &'b T {
        &options[self.index(options.len())]
    }

    /// True in half of all cases.
    pub fn next_bool(&mut self) -> bool {
        self.0.arbitrary().unwrap_or_default()
    }

    /// True in one of `times` cases; false after the end of the input, so that a run ends.
    pub fn one_in(&mut self, times: u8) -> bool {
        self.next_byte().is_some_and(|byte| byte % times == times - 1)
    }

    /// A number that is small, near a boundary, or arbitrary.
    pub fn number(&mut self) -> u64 {
        match self.next_byte_or_zero() {
            small @ 0..=127 => u64::from(small),
            edge @ 128..=250 => EDGE_NUMBERS[usize::from(edge - 128) % EDGE_NUMBERS.len()],
            _ => self.0.arbitrary().unwrap_or_default(),
        }
    }

    /// Up to 255 bytes.
    pub fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.next_byte_or_zero()).min(self.0.len());
        self.0.bytes(len).unwrap_or_default()
    }

    /// All remaining bytes.
    pub fn remaining(&mut self) -> &'a [u8] {
        self.0.bytes(self.0.len()).unwrap_or_default()
    }

    /// Sixteen equal bytes.
    pub fn repeated_byte(&mut self) -> [u8; 16] {
        [self.next_byte_or_zero(); 16]
    }
}
