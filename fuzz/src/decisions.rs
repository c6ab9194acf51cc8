//! The input of a fuzz target as a series of decisions, on top of [`arbitrary`].
//!
//! Decisions are read from the front, one byte for most of them, so that a changed byte changes one decision.
//! Past the end every number is 0.

use arbitrary::Unstructured;

/// The decisions that are left.
#[derive(Debug)]
pub struct Decisions<'a>(Unstructured<'a>);

/// Numbers at the edges of what formats and limits allow.
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

    /// The next byte; `None` at the end.
    pub fn next_byte(&mut self) -> Option<u8> {
        (!self.0.is_empty()).then(|| self.next_byte_or_zero())
    }

    /// The next byte; 0 past the end.
    pub fn next_byte_or_zero(&mut self) -> u8 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// An index below `len`, which is not 0.
    pub fn index(&mut self, len: usize) -> usize {
        self.0.choose_index(len).unwrap_or_default()
    }

    /// One of `options`.
    pub fn choose<'b, T>(&mut self, options: &'b [T]) -> &'b T {
        &options[self.index(options.len())]
    }

    /// True in half of all cases.
    pub fn next_bool(&mut self) -> bool {
        self.0.arbitrary().unwrap_or_default()
    }

    /// True in one of `times` cases; false past the end, so that a run comes to its end.
    pub fn one_in(&mut self, times: u8) -> bool {
        self.next_byte().is_some_and(|byte| byte % times == times - 1)
    }

    /// A number: small, at an edge, or any.
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

    /// All bytes that are left.
    pub fn remaining(&mut self) -> &'a [u8] {
        self.0.bytes(self.0.len()).unwrap_or_default()
    }

    /// 16 bytes that are all the same.
    pub fn repeated_byte(&mut self) -> [u8; 16] {
        [self.next_byte_or_zero(); 16]
    }
}
