//! Invite codes: the text form of an invite.
//!
//! ```text
//! code    = "larder1-" and ten groups of seven base32 characters, joined by dashes: 350 bits
//! bits    = group [16 bytes] | issuer fingerprint [8 bytes] | secret [16 bytes] | check [30 bits]
//! check   = first 30 bits of BLAKE3("larder 1 invite check", the 40 bytes before)
//! key     = Ed25519 key with the seed BLAKE3("larder 1 invite key", group | secret)
//! ```
//!
//! The secret is never sent. The joiner derives a key from it and signs its request with that key, so a
//! member that forwards the request cannot join by it.

use std::fmt;
use std::str::FromStr;

use crate::id::{GroupId, InviteId, NodeId, SecretKey, base32, hash, hash16};

/// The first characters of every invite code.
pub const CODE_PREFIX: &str = "larder1";
const CHAR_GROUPS: usize = 10;
const CHARS_PER_GROUP: usize = 7;
const BODY_BYTES: usize = 40;

/// A parsed invite code.
#[derive(Clone, PartialEq, Eq)]
pub struct InviteCode {
    /// The group that the code leads to.
    pub group: GroupId,
    /// The fingerprint of the issuer, see [`NodeId::fingerprint8`].
    pub issuer_fingerprint: [u8; 8],
    secret: [u8; 16],
}

/// The reason why a text is not an invite code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InviteCodeError {
    /// The text does not have the form of a code.
    #[error(
        "this is not an invite code: one looks like larder1-XXXXXXX-... with ten groups of seven characters"
    )]
    NotAnInviteCode,
    /// The check characters do not match the others.
    #[error("this invite code is mistyped: its check characters do not match")]
    ChecksumMismatch,
}

impl InviteCode {
    /// A code of `issuer` for `group`, with 128 random bits.
    pub fn new(group: GroupId, issuer: &NodeId, secret: [u8; 16]) -> Self {
        Self { group, issuer_fingerprint: issuer.fingerprint8(), secret }
    }

    /// The key that is derived from the secret.
    pub fn invite_key(&self) -> SecretKey {
        SecretKey::from_bytes(&hash("larder 1 invite key", &[&self.group.0, &self.secret]))
    }

    /// The public half of [`Self::invite_key`]. The issuer finds the invite by it.
    pub fn invite_id(&self) -> InviteId {
        InviteId(self.invite_key().public_key())
    }

    /// Encodes the code, for the stored row of a pending join.
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.group.0.as_slice(), &self.issuer_fingerprint, &self.secret].concat()
    }

    /// Decodes the bytes of [`InviteCode::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (group, rest) = bytes.split_at_checked(16)?;
        let (issuer, secret) = rest.split_at_checked(8)?;
        Some(Self {
            group: GroupId::from_slice(group)?,
            issuer_fingerprint: issuer.try_into().ok()?,
            secret: secret.try_into().ok()?,
        })
    }
}

/// The 30 check bits in four bytes, whose last two bits are zero.
fn checksum(body: &[u8]) -> [u8; 4] {
    let hash = hash16("larder 1 invite check", &[body]);
    let mut checksum = [0; 4];
    for (to, from) in checksum.iter_mut().zip(hash) {
        *to = from;
    }
    checksum[3] &= 0b1111_1100;
    checksum
}

impl fmt::Display for InviteCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.to_bytes();
        bytes.extend(checksum(&bytes));
        f.write_str(CODE_PREFIX)?;
        let text: Vec<char> = base32::encode(&bytes).chars().take(CHAR_GROUPS * CHARS_PER_GROUP).collect();
        text.chunks(CHARS_PER_GROUP).try_for_each(|group| write!(f, "-{}", group.iter().collect::<String>()))
    }
}

impl fmt::Debug for InviteCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InviteCode({}, ..)", self.group.short())
    }
}

impl FromStr for InviteCode {
    type Err = InviteCodeError;

    fn from_str(text: &str) -> Result<Self, InviteCodeError> {
        let text = text.trim().to_ascii_lowercase();
        let rest = text.strip_prefix(CODE_PREFIX).ok_or(InviteCodeError::NotAnInviteCode)?;
        let chars: String = rest.chars().filter(|c| *c != '-' && !c.is_whitespace()).collect();
        if chars.chars().count() != CHAR_GROUPS * CHARS_PER_GROUP {
            return Err(InviteCodeError::NotAnInviteCode);
        }
        // 352 bits make 71 characters; the last holds the two zero bits.
        let bytes =
            base32::decode(&format!("{chars}0"), BODY_BYTES + 4).ok_or(InviteCodeError::ChecksumMismatch)?;
        let (body, expected_checksum) =
            bytes.split_at_checked(BODY_BYTES).ok_or(InviteCodeError::NotAnInviteCode)?;
        if checksum(body) != expected_checksum {
            return Err(InviteCodeError::ChecksumMismatch);
        }
        Self::from_bytes(body).ok_or(InviteCodeError::NotAnInviteCode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example_code() -> InviteCode {
        InviteCode::new(GroupId([3; 16]), &SecretKey::from_bytes(&[5; 32]).node_id(), [7; 16])
    }

    #[test]
    fn invite_code_parses_from_every_spelling_of_its_text() {
        let text = example_code().to_string();
        assert_eq!(text.len(), 7 + 10 * 8);
        for typed in [
            text.clone(),
            text.to_uppercase(),
            format!("  {text}\n"),
            text.replace('-', " "),
            text.replace('1', "l").replacen("larderl", "larder1", 1).replace('0', "O"),
        ] {
            assert_eq!(typed.parse::<InviteCode>(), Ok(example_code()), "{typed}");
        }
    }

    #[test]
    fn every_single_character_error_in_an_invite_code_is_rejected() {
        let text = example_code().to_string();
        for position in 8..text.len() {
            let mut chars: Vec<char> = text.chars().collect();
            if chars[position] == '-' {
                continue;
            }
            chars[position] = if chars[position] == 'z' { 'y' } else { 'z' };
            let mistyped: String = chars.into_iter().collect();
            assert_eq!(
                mistyped.parse::<InviteCode>(),
                Err(InviteCodeError::ChecksumMismatch),
                "at {position}"
            );
        }
        assert_eq!("larder1-abc".parse::<InviteCode>(), Err(InviteCodeError::NotAnInviteCode));
        assert_eq!("hello".parse::<InviteCode>(), Err(InviteCodeError::NotAnInviteCode));
    }

    #[test]
    fn debug_output_of_an_invite_code_hides_the_secret() {
        assert_eq!(format!("{:?}", example_code()), "InviteCode(0303030, ..)");
    }
}
