//! Membership records, said in a line.

use crate::group::Group;
use crate::id::{GrantId, NodeId};
use crate::record::{Grant, Record, RecordBody, RecordSet, RevokeTarget, Signer};

/// The key that a record must be signed with: that of the grant acted under, or the group's recovery key.
pub(super) fn signing_key(records: &RecordSet, record: &Record) -> Option<NodeId> {
    if let RecordBody::Genesis(genesis) = &record.body {
        return Some(genesis.founder);
    }
    match (record.signer, &records.get(&record.grant)?.record().body) {
        (Signer::Holder, RecordBody::Genesis(genesis)) => Some(genesis.founder),
        (Signer::Recovery, RecordBody::Genesis(genesis)) => Some(genesis.recovery_key),
        (Signer::Holder, RecordBody::Grant(grant)) => Some(grant.holder),
        _ => None,
    }
}

/// What a record does, in words.
pub(super) fn summarize_record(group: &Group, record: &Record) -> String {
    let summary = match &record.body {
        RecordBody::Genesis(genesis) => format!("found group {}", genesis.name),
        RecordBody::Grant(grant) => format!("grant {} to {}", grant.role, describe_holder(grant)),
        RecordBody::Revoke(revoke) => match revoke.target {
            RevokeTarget::Grant(grant) => {
                format!("revoke the grant of {}", describe_grant_holder(group, &grant))
            }
            RevokeTarget::Invite(invite) => format!("revoke invite {}", invite.short()),
        },
        RecordBody::Admit(_) => "admit changes that did not count".to_owned(),
        RecordBody::Forget(forget) => format!("forget {}", forget.shard),
        RecordBody::Dissolve => "dissolve the group".to_owned(),
        RecordBody::Unknown { tag, .. } => format!("unsupported record of kind {tag}"),
    };
    let summary = match record.signer {
        Signer::Holder => summary,
        Signer::Recovery => format!("{summary}, by the recovery key"),
    };
    match record.note.as_ref().map(|remark| remark.message.as_str()) {
        None | Some("") => summary,
        Some(message) => format!("{summary}: {message}"),
    }
}

fn describe_grant_holder(group: &Group, grant: &GrantId) -> String {
    match group.records().get(grant).map(|signed| &signed.record().body) {
        Some(RecordBody::Grant(grant)) => describe_holder(grant),
        Some(RecordBody::Genesis(genesis)) => genesis.founder.short(),
        _ => format!("grant {}", grant.short()),
    }
}

/// The node, and the alias that it asked for at `join`: what it is called today may change, the record does not.
fn describe_holder(grant: &Grant) -> String {
    let node = grant.holder.short();
    if grant.alias.is_empty() { node } else { format!("{node} ({})", grant.alias) }
}
