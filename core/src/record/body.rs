//! The statements that a membership record can make.
//!
//! ```text
//! 1 Genesis  founder [32] | name string | nonce [16] | recovery [32]
//! 2 Grant    key [32] | role u8 | alias string | labels [(string, string)] | invite option [32]
//! 3 Revoke   what: 0 grant [32] | 1 invite [32] ; frontiers
//! 4 Admit    frontiers
//! 5 Forget   shard string
//! 6          any of the others with a note, see `record`
//! 7 Dissolve nothing
//! frontiers  record option (seq, [32]) | changes [(chain [16], seq, change [32])]
//! ```
//!
//! Lists are sorted and free of duplicates. A record with an unknown tag is stored with its bytes, passed on
//! and shown as `unsupported`, so that newer members can use new kinds of records among older ones.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::id::{ChainId, ChangeId, GrantId, InviteId, NodeId, RecordId};
use crate::limits;

/// The rights of a member. Each role has the rights of the roles before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A role of a newer version, without rights in this one.
    Other(u8),
    /// May write nothing.
    Reader,
    /// May write its own observed state: a managed host.
    Node,
    /// May also write the desired state.
    Operator,
    /// May also grant and revoke.
    Admin,
}

impl Role {
    /// The byte that encodes the role in a Grant.
    pub fn to_byte(self) -> u8 {
        match self {
            Self::Reader => 1,
            Self::Node => 2,
            Self::Operator => 3,
            Self::Admin => 4,
            Self::Other(byte) => byte,
        }
    }

    /// Decodes the byte that [`Role::to_byte`] returns.
    pub fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Reader,
            2 => Self::Node,
            3 => Self::Operator,
            4 => Self::Admin,
            other => Self::Other(other),
        }
    }

    /// Parses a role's name.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "reader" => Some(Self::Reader),
            "node" => Some(Self::Node),
            "operator" => Some(Self::Operator),
            "admin" => Some(Self::Admin),
            _ => None,
        }
    }

    /// True if this role may write the group's desired state.
    pub fn can_write_desired(self) -> bool {
        self >= Self::Operator
    }

    /// True if this role may write its own observed state.
    pub fn can_write_observed(self) -> bool {
        self >= Self::Node
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reader => f.write_str("reader"),
            Self::Node => f.write_str("node"),
            Self::Operator => f.write_str("operator"),
            Self::Admin => f.write_str("admin"),
            Self::Other(byte) => write!(f, "role-{byte}"),
        }
    }
}

/// The first record of a group. Its hash is the group's id; its own id is the founder's grant, of role
/// `admin`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// The node that created the group.
    pub founder: NodeId,
    /// The group's name. Groups with the same name still have different ids.
    pub name: String,
    /// 128 random bits, so that two groups by one founder have different ids.
    pub nonce: [u8; 16],
    /// The public recovery key, which can appoint an admin when none is left.
    pub recovery_key: NodeId,
}

/// A grant of a role to one key, which never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The key that holds the grant.
    pub holder: NodeId,
    /// The role that the grant gives.
    pub role: Role,
    /// The alias requested at `join`, or empty. Operators change it in `desired` afterwards.
    pub alias: String,
    /// The labels requested at `join`, sorted by key.
    pub labels: Vec<(String, String)>,
    /// The invite that the join used, if there was one.
    pub invite: Option<InviteId>,
}

/// The last record and the last change of each chain of an ended grant that still count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontiers {
    /// The position and id of the last record that counts. `None` means that no record counts.
    pub last_record: Option<(u64, RecordId)>,
    /// The last change that counts of each chain, sorted by chain. No change of another chain counts.
    pub last_changes: Vec<(ChainId, u64, ChangeId)>,
}

/// The object that a Revoke ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RevokeTarget {
    /// A grant, with everything issued under it after the frontiers.
    Grant(GrantId),
    /// An invite, which cannot be used any more.
    Invite(InviteId),
}

/// Ends a grant or an invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoke {
    /// The grant or invite that ends.
    pub target: RevokeTarget,
    /// The records and changes under the grant that still count.
    pub frontiers: Frontiers,
}

/// Makes changes count that otherwise would not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admit {
    /// The changes that count from now on.
    pub frontiers: Frontiers,
}

/// Lets members delete a shard: the observed state of a former member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forget {
    /// The shard's name.
    pub shard: String,
}

/// The statement that a record makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordBody {
    /// Creates the group.
    Genesis(Genesis),
    /// Gives a key a role.
    Grant(Grant),
    /// Ends a grant or an invite.
    Revoke(Revoke),
    /// Makes unaccepted changes count.
    Admit(Admit),
    /// Lets members delete a shard.
    Forget(Forget),
    /// Deletes the group: it has no members any more.
    Dissolve,
    /// A statement of a newer version.
    Unknown {
        /// The tag that this version does not know.
        tag: u16,
        /// The undecoded bytes of the body.
        bytes: Vec<u8>,
    },
}

#[derive(Serialize, Deserialize)]
struct GrantLayout {
    holder: NodeId,
    role: u8,
    alias: String,
    labels: Vec<(String, String)>,
    invite: Option<InviteId>,
}

impl RecordBody {
    /// The number that encodes this kind of body.
    pub fn tag(&self) -> u16 {
        match self {
            Self::Genesis(_) => 1,
            Self::Grant(_) => 2,
            Self::Revoke(_) => 3,
            Self::Admit(_) => 4,
            Self::Forget(_) => 5,
            Self::Dissolve => 7,
            Self::Unknown { tag, .. } => *tag,
        }
    }

    /// The name of this kind of body.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Genesis(_) => "genesis",
            Self::Grant(_) => "grant",
            Self::Revoke(_) => "revoke",
            Self::Admit(_) => "admit",
            Self::Forget(_) => "forget",
            Self::Dissolve => "dissolve",
            Self::Unknown { .. } => "unsupported",
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let encoded = match self {
            Self::Genesis(body) => postcard::to_allocvec(body),
            Self::Grant(body) => postcard::to_allocvec(&GrantLayout {
                holder: body.holder,
                role: body.role.to_byte(),
                alias: body.alias.clone(),
                labels: body.labels.clone(),
                invite: body.invite,
            }),
            Self::Revoke(body) => postcard::to_allocvec(body),
            Self::Admit(body) => postcard::to_allocvec(body),
            Self::Forget(body) => postcard::to_allocvec(body),
            Self::Dissolve => Ok(Vec::new()),
            Self::Unknown { bytes, .. } => Ok(bytes.clone()),
        };
        encoded.unwrap_or_default()
    }

    pub(super) fn decode(tag: u16, bytes: &[u8]) -> Option<Self> {
        let body = match tag {
            1 => Self::Genesis(decode_exact(bytes)?),
            2 => {
                let grant: GrantLayout = decode_exact(bytes)?;
                Self::Grant(Grant {
                    holder: grant.holder,
                    role: Role::from_byte(grant.role),
                    alias: grant.alias,
                    labels: grant.labels,
                    invite: grant.invite,
                })
            }
            3 => Self::Revoke(decode_exact(bytes)?),
            4 => Self::Admit(decode_exact(bytes)?),
            5 => Self::Forget(decode_exact(bytes)?),
            7 => decode_exact::<()>(bytes).map(|()| Self::Dissolve)?,
            tag => Self::Unknown { tag, bytes: bytes.to_vec() },
        };
        body.is_within_limits().then_some(body)
    }

    fn is_within_limits(&self) -> bool {
        match self {
            Self::Genesis(body) => !body.name.is_empty() && body.name.len() <= limits::MAX_NAME_BYTES,
            Self::Grant(body) => {
                body.alias.len() <= limits::MAX_NAME_BYTES
                    && body.labels.len() <= limits::MAX_LABELS_PER_GRANT
                    && body.labels.is_sorted_by(|a, b| a.0 < b.0)
                    && body.labels.iter().all(|(key, value)| {
                        !key.is_empty()
                            && key.len() <= limits::MAX_LABEL_BYTES
                            && value.len() <= limits::MAX_LABEL_BYTES
                    })
            }
            Self::Revoke(Revoke { frontiers, .. }) | Self::Admit(Admit { frontiers }) => {
                frontiers.last_changes.len() <= limits::MAX_FRONTIER_CHAINS
                    && frontiers.last_changes.is_sorted_by(|a, b| a.0 < b.0)
            }
            Self::Forget(body) => !body.shard.is_empty() && body.shard.len() <= limits::MAX_KEY_BYTES,
            Self::Dissolve | Self::Unknown { .. } => true,
        }
    }
}

fn decode_exact<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}
