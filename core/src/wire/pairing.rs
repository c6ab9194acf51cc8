//! Messages of a pairing: a join without an invite code, in which the operators of both nodes compare six
//! digits.
//!
//! ```text
//! joiner                                             member
//! |-- PairingRequest(commit, alias, labels) -------->|
//! |<----------------- PairingNonce(member's nonce) --|    only from an admin
//! |-- PairingReveal(joiner's nonce) ---------------->|    both show the digits
//! |<------------------------ JoinResponse(Granted) --|    once the member's operator has approved the digits
//! commit = BLAKE3("larder 1 ask", joiner | joiner's nonce)
//! digits = BLAKE3("larder 1 digits", joiner | member | joiner's nonce | member's nonce) mod 1,000,000
//! ```
//!
//! The joiner joins only after its own operator has confirmed the digits. The commitment fixes the joiner's
//! nonce before the joiner sees the member's nonce, and the member sends its nonce before it sees the
//! joiner's. So an attacker between the two has one try in a million to make both screens agree (short
//! authentication string, as in RFC 6189 section 4.4.1.1).

use serde::{Deserialize, Serialize};

use crate::id::{Digest, NodeId, hash, hash16};
use crate::limits;

/// Asks to join without an invite code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairingRequest {
    /// The commitment to the joiner's nonce.
    pub commit: Digest,
    /// The alias that the joiner asks for; empty for none.
    pub alias: String,
    /// The labels that the joiner asks for, sorted by key.
    pub labels: Vec<(String, String)>,
}

impl PairingRequest {
    /// True if the alias and the labels are within the limits of a grant.
    pub fn is_within_limits(&self) -> bool {
        let is_printable = |text: &str| !text.chars().any(char::is_control);
        let is_valid_text = |text: &String| text.len() <= limits::MAX_LABEL_BYTES && is_printable(text);
        self.alias.len() <= limits::MAX_NAME_BYTES
            && is_printable(&self.alias)
            && self.labels.len() <= limits::MAX_LABELS_PER_GRANT
            && self.labels.is_sorted_by(|a, b| a.0 < b.0)
            && self
                .labels
                .iter()
                .all(|(key, value)| !key.is_empty() && is_valid_text(key) && is_valid_text(value))
    }
}

/// The commitment of `joiner` to its nonce.
pub fn commitment(joiner: &NodeId, joiner_nonce: &[u8; 16]) -> Digest {
    Digest(hash16("larder 1 ask", &[&joiner.0, joiner_nonce]))
}

/// The six digits that both nodes show.
pub fn digits(joiner: &NodeId, member: &NodeId, nonces: (&[u8; 16], &[u8; 16])) -> u32 {
    let bytes = hash("larder 1 digits", &[&joiner.0, &member.0, nonces.0, nonces.1]);
    let number = bytes.iter().take(8).fold(0u64, |number, byte| (number << 8) | u64::from(*byte));
    u32::try_from(number % 1_000_000).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SecretKey;

    #[test]
    fn pairing_digits_depend_on_both_keys_and_both_nonces() {
        let node = |n| SecretKey::from_bytes(&[n; 32]).node_id();
        let digits_for = |a, b, x: u8, y: u8| digits(&node(a), &node(b), (&[x; 16], &[y; 16]));
        let all =
            [digits_for(1, 2, 3, 4), digits_for(2, 1, 3, 4), digits_for(1, 2, 4, 3), digits_for(1, 2, 3, 5)];
        assert!(all.iter().all(|digits| *digits < 1_000_000));
        let distinct: std::collections::BTreeSet<u32> = all.into_iter().collect();
        assert_eq!(distinct.len(), 4);
        assert_ne!(commitment(&node(1), &[1; 16]), commitment(&node(2), &[1; 16]));
    }
}
