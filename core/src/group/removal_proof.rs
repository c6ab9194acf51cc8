//! The records that prove to a node that it is no longer a member.

use std::collections::BTreeSet;

use super::membership_records::MembershipRecords;
use crate::id::{NodeId, RecordId};
use crate::record::{RecordBody, SignedRecord};

impl MembershipRecords {
    /// The records that prove to a former member that none of its grants is effective: those that ended its
    /// grants or the grants above them, with everything needed to evaluate these. Empty for members and for
    /// unknown nodes.
    pub fn removal_proof(&self, former_member: &NodeId) -> Vec<SignedRecord> {
        let records = self.records();
        let is_theirs =
            |id: &RecordId| records.holder_and_role(id).is_some_and(|(key, _)| key == *former_member);
        let grants = records.iter().map(SignedRecord::id).filter(is_theirs);
        let grant_path = grants.filter_map(|grant| records.path(&grant)).flatten().collect();
        self.removal_proof_for_path(former_member, &grant_path)
    }

    /// [`MembershipRecords::removal_proof`] for a node that shows these records as its grant path. The admin
    /// who added it may have been removed itself, so the node may know of neither removal.
    pub fn removal_proof_for_path(
        &self,
        former_member: &NodeId,
        grant_path: &BTreeSet<RecordId>,
    ) -> Vec<SignedRecord> {
        let (records, members) = (self.records(), self.members());
        let path_grants = || grant_path.iter().filter(|id| members.grant(id).is_some());
        // A node that shows the grant path of another node gets no proof.
        let is_own_path = grant_path
            .iter()
            .filter_map(|id| records.holder_and_role(id))
            .any(|(key, _)| key == *former_member);
        if members.is_member(former_member) || !is_own_path {
            return Vec::new();
        }
        let revocations = path_grants().flat_map(|grant| members.revocations(grant));
        let mut record_ids: BTreeSet<RecordId> = revocations.map(|revocation| revocation.record).collect();
        if path_grants().next().is_some() {
            record_ids.extend(members.dissolved_by());
        }
        let with_deciding = records.with_dependencies(self.with_deciding_records(record_ids));
        records.missing_for_peer(&with_deciding, &[])
    }

    /// These records with all that decide whether and how far they count: the revokes of the grants they were
    /// issued under, and the records that their frontiers name. A node with fewer records may evaluate them
    /// differently.
    fn with_deciding_records(&self, mut record_ids: BTreeSet<RecordId>) -> BTreeSet<RecordId> {
        let mut queue: Vec<RecordId> = record_ids.iter().copied().collect();
        while let Some(id) = queue.pop() {
            let Some(record) = self.records().get(&id).map(SignedRecord::record) else { continue };
            let grant_path = self.records().path(&record.grant).unwrap_or_default();
            let revocations = grant_path.iter().flat_map(|grant| self.members().revocations(grant));
            let frontier_record = match &record.body {
                RecordBody::Revoke(revoke) => revoke.frontiers.last_record.map(|(_, id)| id),
                _ => None,
            };
            for other_id in revocations.map(|revocation| revocation.record).chain(frontier_record) {
                if record_ids.insert(other_id) {
                    queue.push(other_id);
                }
            }
        }
        record_ids
    }
}
