//! The one-line summaries of membership records that `log` and `watch` show.

use larder_core::group::Group;
use larder_core::history::{LogEntry, LogSource};
use larder_core::id::{GrantId, RecordId};
use larder_core::record::{Grant, Record, RecordBody, RevokeTarget, Signer};

/// The message of a log entry. For a membership record, the record's effect comes before its author's
/// message.
pub(super) fn entry_message(group: &Group, entry: &LogEntry) -> String {
    let record_id = RecordId::parse(&entry.id).filter(|_| entry.source == LogSource::Membership);
    match record_id.and_then(|id| group.records().get(&id)) {
        Some(signed) => summarize_record(group, signed.record()),
        None => entry.note.message.clone(),
    }
}

fn summarize_record(group: &Group, record: &Record) -> String {
    let summary = match &record.body {
        RecordBody::Genesis(genesis) => format!("create group {}", genesis.name),
        RecordBody::Grant(grant) => format!("grant {} to {}", grant.role, describe_holder(grant)),
        RecordBody::Revoke(revoke) => match revoke.target {
            RevokeTarget::Grant(grant) => {
                format!("revoke the grant of {}", describe_grant_holder(group, &grant))
            }
            RevokeTarget::Invite(invite) => format!("revoke invite {}", invite.short()),
        },
        RecordBody::Admit(_) => "admit unaccepted changes".to_owned(),
        RecordBody::Forget(forget) => format!("forget {}", forget.shard),
        RecordBody::Dissolve => "delete the group".to_owned(),
        RecordBody::Unknown { tag, .. } => format!("unsupported record of kind {tag}"),
    };
    let summary = match record.signer {
        Signer::Holder => summary,
        Signer::Recovery => format!("{summary}, by the recovery key"),
    };
    match record.note.as_ref().map(|note| note.message.as_str()) {
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

/// The node, with the alias that it requested when it joined. Its present alias may differ; the record does
/// not change.
fn describe_holder(grant: &Grant) -> String {
    let node = grant.holder.short();
    if grant.alias.is_empty() { node } else { format!("{node} ({})", grant.alias) }
}

#[cfg(test)]
mod tests {
    use larder_core::history::{LogQuery, log, no_stored_rows};
    use larder_core::id::SecretKey;
    use larder_core::record::{RecordSet, Role, create_genesis};

    use super::*;

    #[test]
    fn membership_records_have_readable_summaries() {
        let secret = |n: u8| SecretKey::from_bytes(&[n; 32]);
        let genesis = create_genesis(&secret(1), "shop", [9; 16], secret(200).node_id());
        let mut group = Group::new(RecordSet::from_genesis(genesis.clone()).unwrap());
        let grant = |holder: u8, role, alias: &str| Grant {
            holder: secret(holder).node_id(),
            role,
            alias: alias.to_owned(),
            labels: vec![],
            invite: None,
        };
        let mut apply = |signer, grant: Grant, key: &SecretKey| {
            let (group_id, body) = (genesis.genesis_group_id().unwrap(), RecordBody::Grant(grant));
            let record = Record {
                group: group_id,
                grant: genesis.id(),
                signer,
                seq: 1,
                prev: RecordId::ZERO,
                body,
                note: None,
            };
            assert_eq!(group.apply_records([record.sign(key)]).fault, None);
        };
        apply(Signer::Holder, grant(2, Role::Operator, "plc"), &secret(1));
        apply(Signer::Recovery, grant(3, Role::Admin, ""), &secret(200));
        let query = LogQuery { include_all_sources: true, ..LogQuery::default() };
        let mut messages: Vec<String> =
            log(&group, &query, &no_stored_rows).iter().map(|entry| entry_message(&group, entry)).collect();
        messages.sort();
        let (two, three) = (secret(2).node_id().short(), secret(3).node_id().short());
        let expected = [
            "create group shop".to_owned(),
            format!("grant admin to {three}, by the recovery key"),
            format!("grant operator to {two} (plc)"),
        ];
        assert_eq!(messages, expected);
    }
}
