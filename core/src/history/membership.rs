//! Membership records, said in a line.

use crate::group::Group;
use crate::id::{GrantId, NodeId};
use crate::record::{Body, Grant, Record, Records, Revoked, Signer};

/// The key that a record must be signed with: that of the grant acted under, or the group's recovery key.
pub(super) fn signing_key(records: &Records, record: &Record) -> Option<NodeId> {
    if let Body::Genesis(genesis) = &record.body {
        return Some(genesis.founder);
    }
    match (record.signer, &records.get(&record.grant)?.record().body) {
        (Signer::Holder, Body::Genesis(genesis)) => Some(genesis.founder),
        (Signer::Recovery, Body::Genesis(genesis)) => Some(genesis.recovery),
        (Signer::Holder, Body::Grant(grant)) => Some(grant.key),
        _ => None,
    }
}

/// What a record does, in words.
pub(super) fn sentence(group: &Group, record: &Record) -> String {
    let words = match &record.body {
        Body::Genesis(genesis) => format!("found group {}", genesis.name),
        Body::Grant(grant) => format!("grant {} to {}", grant.role, holder(grant)),
        Body::Revoke(revoke) => match revoke.what {
            Revoked::Grant(grant) => format!("revoke the grant of {}", holder_of(group, &grant)),
            Revoked::Invite(invite) => format!("revoke invite {}", invite.short()),
        },
        Body::Admit(_) => "admit changes that did not count".to_owned(),
        Body::Forget(forget) => format!("forget {}", forget.shard),
        Body::Dissolve => "dissolve the group".to_owned(),
        Body::Unknown { tag, .. } => format!("unsupported record of kind {tag}"),
    };
    let words = match record.signer {
        Signer::Holder => words,
        Signer::Recovery => format!("{words}, by the recovery key"),
    };
    match record.remark.as_ref().map(|remark| remark.words.as_str()) {
        None | Some("") => words,
        Some(why) => format!("{words}: {why}"),
    }
}

fn holder_of(group: &Group, grant: &GrantId) -> String {
    match group.records().get(grant).map(|signed| &signed.record().body) {
        Some(Body::Grant(grant)) => holder(grant),
        Some(Body::Genesis(genesis)) => genesis.founder.short(),
        _ => format!("grant {}", grant.short()),
    }
}

/// The node, and the alias that it asked for at `join`: what it is called today may change, the record does not.
fn holder(grant: &Grant) -> String {
    let node = grant.key.short();
    if grant.alias.is_empty() { node } else { format!("{node} ({})", grant.alias) }
}
