//! Invite codes: what one person reads to another.
//!
//! ```text
//! code    = "larder1-" and ten groups of seven base32 characters, joined by dashes: 350 bits
//! bits    = group [16 bytes] | issuer hint [8 bytes] | secret [16 bytes] | check [30 bits]
//! check   = first 30 bits of BLAKE3("larder 1 invite check", the 40 bytes before)
//! key     = Ed25519 key with the seed BLAKE3("larder 1 invite key", group | secret)
//! ```
//!
//! The secret never travels: it makes a key, and the joiner signs with it. Whoever carries the request learns nothing
//! that would let it join.

use std::fmt;
use std::str::FromStr;

use crate::id::{GroupId, InviteId, NodeId, Secret, base32, hash, hash16};

/// What every code begins with.
pub const PREFIX: &str = "larder1";
const GROUPS: usize = 10;
const GROUP_CHARS: usize = 7;
const BODY: usize = 40;

/// An invite code.
#[derive(Clone, PartialEq, Eq)]
pub struct Code {
    /// The group it leads to.
    pub group: GroupId,
    /// Who issued it, see [`NodeId::hint`].
    pub issuer: [u8; 8],
    secret: [u8; 16],
}

/// Why a text is no invite code. The fault is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// It looks like something else.
    #[error(
        "this is not an invite code: one looks like larder1-XXXXXXX-... with ten groups of seven characters"
    )]
    Shape,
    /// One or more characters are wrong.
    #[error("this invite code is mistyped: its check characters do not fit")]
    Mistyped,
}

impl Code {
    /// A code of `issuer` for `group`, with 128 bits of chance.
    pub fn new(group: GroupId, issuer: &NodeId, secret: [u8; 16]) -> Self {
        Self { group, issuer: issuer.hint(), secret }
    }

    /// The key that the secret makes.
    pub fn key(&self) -> Secret {
        Secret::from_bytes(&hash("larder 1 invite key", &[&self.group.0, &self.secret]))
    }

    /// The public half of that key, by which the issuer knows the invite.
    pub fn invite(&self) -> InviteId {
        InviteId(self.key().public())
    }

    /// The code's bytes, for the row of a join under way.
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.group.0.as_slice(), &self.issuer, &self.secret].concat()
    }

    /// Reads what [`Code::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (group, rest) = bytes.split_at_checked(16)?;
        let (issuer, secret) = rest.split_at_checked(8)?;
        Some(Self {
            group: GroupId::from_slice(group)?,
            issuer: issuer.try_into().ok()?,
            secret: secret.try_into().ok()?,
        })
    }
}

/// 350 bits do not fill their last byte: the check is kept in four bytes whose last two bits are zero.
fn check(body: &[u8]) -> [u8; 4] {
    let hash = hash16("larder 1 invite check", &[body]);
    let mut check = [0; 4];
    for (to, from) in check.iter_mut().zip(hash) {
        *to = from;
    }
    check[3] &= 0b1111_1100;
    check
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.to_bytes();
        bytes.extend(check(&bytes));
        f.write_str(PREFIX)?;
        let text: Vec<char> = base32::encode(&bytes).chars().take(GROUPS * GROUP_CHARS).collect();
        text.chunks(GROUP_CHARS).try_for_each(|group| write!(f, "-{}", group.iter().collect::<String>()))
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({}, ..)", self.group.short())
    }
}

impl FromStr for Code {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        let text = text.trim().to_ascii_lowercase();
        let rest = text.strip_prefix(PREFIX).ok_or(CodeError::Shape)?;
        let chars: String = rest.chars().filter(|c| *c != '-' && !c.is_whitespace()).collect();
        if chars.chars().count() != GROUPS * GROUP_CHARS {
            return Err(CodeError::Shape);
        }
        // 352 bits make 71 characters; the last holds the two zero bits.
        let bytes = base32::decode(&format!("{chars}0"), BODY + 4).ok_or(CodeError::Mistyped)?;
        let (body, found) = bytes.split_at_checked(BODY).ok_or(CodeError::Shape)?;
        if check(body) != found {
            return Err(CodeError::Mistyped);
        }
        Self::from_bytes(body).ok_or(CodeError::Shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code() -> Code {
        Code::new(GroupId([3; 16]), &Secret::from_bytes(&[5; 32]).node(), [7; 16])
    }

    #[test]
    fn a_code_comes_back_however_it_is_typed() {
        let text = code().to_string();
        assert_eq!(text.len(), 7 + 10 * 8);
        for typed in [
            text.clone(),
            text.to_uppercase(),
            format!("  {text}\n"),
            text.replace('-', " "),
            text.replace('1', "l").replacen("larderl", "larder1", 1).replace('0', "O"),
        ] {
            assert_eq!(typed.parse::<Code>(), Ok(code()), "{typed}");
        }
    }

    #[test]
    fn every_single_slip_is_noticed() {
        let text = code().to_string();
        for at in 8..text.len() {
            let mut chars: Vec<char> = text.chars().collect();
            if chars[at] == '-' {
                continue;
            }
            chars[at] = if chars[at] == 'z' { 'y' } else { 'z' };
            let slipped: String = chars.into_iter().collect();
            assert_eq!(slipped.parse::<Code>(), Err(CodeError::Mistyped), "at {at}");
        }
        assert_eq!("larder1-abc".parse::<Code>(), Err(CodeError::Shape));
        assert_eq!("hello".parse::<Code>(), Err(CodeError::Shape));
    }

    #[test]
    fn a_code_shown_for_debugging_keeps_its_secret() {
        assert_eq!(format!("{:?}", code()), "Code(0303030, ..)");
    }
}
