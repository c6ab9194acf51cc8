//! Base32 in lower case without the letters i, l, o and u, for ids that people read aloud and type.
//!
//! The alphabet is Crockford's (<https://www.crockford.com/base32.html>). Like his decoder, this one accepts
//! upper case, `i` and `l` for `1`, and `o` for `0`. Bits are taken from the left, and the last group is
//! filled with zero bits. Other filling bits are rejected, so that each value has one spelling apart from
//! case and look-alikes.

use std::sync::LazyLock;

use data_encoding::{Encoding, Specification};

const ALPHABET: &str = "0123456789abcdefghjkmnpqrstvwxyz";

static CROCKFORD: LazyLock<Option<Encoding>> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str(ALPHABET);
    specification.translate.from.push_str("ABCDEFGHJKMNPQRSTVWXYZILOilo");
    specification.translate.to.push_str("abcdefghjkmnpqrstvwxyz110110");
    specification.encoding().ok()
});

/// Encodes `bytes` as `ceil(8 * len / 5)` characters.
pub fn encode(bytes: &[u8]) -> String {
    CROCKFORD.as_ref().map(|crockford| crockford.encode(bytes)).unwrap_or_default()
}

/// Decodes `text` into `len` bytes, or returns `None` if it is not base32 of that length.
pub fn decode(text: &str, len: usize) -> Option<Vec<u8>> {
    let bytes = CROCKFORD.as_ref()?.decode(text.as_bytes()).ok()?;
    (bytes.len() == len).then_some(bytes)
}

/// True if `text` consists of characters of the alphabet, and is not empty.
pub fn is_base32(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| ALPHABET.contains(c))
}

/// The character of the alphabet that `c` stands for, or `None` if there is none.
pub fn normalize_char(c: char) -> Option<char> {
    match c.to_ascii_lowercase() {
        'i' | 'l' => Some('1'),
        'o' => Some('0'),
        c => ALPHABET.contains(c).then_some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_returns_the_encoded_bytes_for_every_length() {
        for len in 0..70 {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 73 + 5) as u8).collect();
            let text = encode(&bytes);
            assert_eq!(text.len(), (len as usize * 8).div_ceil(5));
            assert_eq!(decode(&text, len as usize), Some(bytes.clone()));
            assert_eq!(decode(&text.to_uppercase(), len as usize), Some(bytes));
        }
    }

    #[test]
    fn decode_accepts_one_spelling_per_value() {
        assert_eq!(decode("00", 1), Some(vec![0]));
        assert_eq!(decode("01", 1), None, "filling bits must be zero");
        assert_eq!(decode("0u", 1), None, "u is not of the alphabet");
        assert_eq!(decode("000", 1), None, "too long");
        assert_eq!(decode("OO", 1), Some(vec![0]), "look-alikes are forgiven");
        assert_eq!(encode(&[255]), "zw");
    }
}
