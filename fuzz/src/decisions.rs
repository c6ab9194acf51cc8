//! Bytes as decisions, read from the front: what is cut off decides nothing, and a byte changed changes one decision.

/// What is left of the bytes.
#[derive(Clone, Copy, Debug)]
pub struct Decisions<'a>(&'a [u8]);

/// Numbers at which something may happen.
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
    /// The script that these bytes are.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next byte; `None` at the end.
    pub fn next_byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// The next byte; 0 past the end.
    pub fn next_byte_or_zero(&mut self) -> u8 {
        self.next_byte().unwrap_or(0)
    }

    /// An index below `len`, which is not 0.
    pub fn index(&mut self, len: usize) -> usize {
        usize::from(self.next_byte_or_zero()) % len
    }

    /// One of these.
    pub fn choose<'b, T>(&mut self, options: &'b [T]) -> &'b T {
        &options[self.index(options.len())]
    }

    /// True every second time.
    pub fn next_bool(&mut self) -> bool {
        self.next_byte_or_zero() & 1 == 1
    }

    /// True once in so many times; never past the end.
    pub fn one_in(&mut self, times: u8) -> bool {
        self.next_byte().is_some_and(|byte| byte % times == times - 1)
    }

    /// A number: small, at an edge, or any.
    pub fn number(&mut self) -> u64 {
        match self.next_byte_or_zero() {
            small @ 0..=127 => u64::from(small),
            edge @ 128..=250 => EDGE_NUMBERS[usize::from(edge - 128) % EDGE_NUMBERS.len()],
            _ => u64::from_be_bytes(std::array::from_fn(|_| self.next_byte_or_zero())),
        }
    }

    /// Up to 255 bytes.
    pub fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.next_byte_or_zero()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }

    /// All that is left.
    pub fn remaining(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// 16 bytes that hold a number.
    pub fn repeated_byte(&mut self) -> [u8; 16] {
        [self.next_byte_or_zero(); 16]
    }
}
