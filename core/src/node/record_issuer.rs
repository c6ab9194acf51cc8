//! Issues membership records of one group: chooses the grant and key to issue under, signs, stores and sends.

use super::effect::RequestError;
use super::group_state::{GroupContext, GroupState};
use crate::codec::truncate_utf8;
use crate::id::{GrantId, NodeId, RecordId, SecretKey};
use crate::limits;
use crate::record::{
    EffectiveGrant, Frontiers, Membership, Record, RecordBody, RecordNote, Revoke, RevokeTarget, Role, Signer,
};

/// The grant that a record is issued under, and the key that signs it.
#[derive(Clone, Copy)]
pub(super) struct Authority<'a> {
    grant: GrantId,
    signer: Signer,
    secret: &'a SecretKey,
}

impl<'a> Authority<'a> {
    /// The authority of a grant that this node holds.
    pub(super) fn holder(grant: GrantId, secret: &'a SecretKey) -> Self {
        Self { grant, signer: Signer::Holder, secret }
    }
}

/// Issues records in one group, all with the same note.
pub(super) struct RecordIssuer<'r, 'c> {
    pub(super) state: &'r mut GroupState,
    pub(super) ctx: &'r mut GroupContext<'c>,
    note: RecordNote,
}

impl<'r, 'c> RecordIssuer<'r, 'c> {
    /// `user` and `reason` are cut to [`limits::MAX_RECORD_NOTE_BYTES`].
    pub(super) fn new(
        state: &'r mut GroupState,
        ctx: &'r mut GroupContext<'c>,
        user: &str,
        reason: &str,
    ) -> Self {
        let truncate = |text: &str| truncate_utf8(text, limits::MAX_RECORD_NOTE_BYTES).to_owned();
        let time = ctx.now.unix_secs.clamp(0, limits::MAX_TIME_SECONDS);
        let note = RecordNote { time, user: truncate(user), message: truncate(reason) };
        Self { state, ctx, note }
    }

    pub(super) fn members(&self) -> &Membership {
        self.state.group.members()
    }

    /// The effective grants of `node`; an error if it has none.
    pub(super) fn grants_of_member(&self, node: &NodeId) -> Result<Vec<EffectiveGrant>, RequestError> {
        let grants: Vec<_> = self.members().live_grants_of(node).cloned().collect();
        if grants.is_empty() { Err(RequestError::NotMember) } else { Ok(grants) }
    }

    /// This node's authority as an admin.
    pub(super) fn admin_authority(&self) -> Result<Authority<'c>, RequestError> {
        let grant = self.members().oldest_grant_allowing(&self.ctx.own_id, |role| role == Role::Admin);
        Ok(Authority::holder(grant.ok_or(RequestError::NotAdmin)?, self.ctx.secret))
    }

    /// This node's authority to end `ended`. Any admin may end a grant below admin; only an admin on the
    /// grant path of an admin's grant may end that one.
    pub(super) fn authority_to_end(&self, ended: &EffectiveGrant) -> Result<Authority<'c>, RequestError> {
        let any_admin = self.admin_authority()?;
        if ended.role != Role::Admin {
            return Ok(any_admin);
        }
        let path = self.state.group.records().path(&ended.grant).unwrap_or_default();
        let is_above = |own: &&EffectiveGrant| {
            own.role == Role::Admin && path.iter().skip(1).any(|grant| *grant == own.grant)
        };
        let above = self.members().live_grants_of(&self.ctx.own_id).find(is_above);
        let above = above.ok_or(RequestError::NotGrantingAdmin)?;
        Ok(Authority::holder(above.grant, self.ctx.secret))
    }

    /// The authority of the group's recovery key.
    pub(super) fn recovery_authority<'a>(
        &self,
        recovery_key: &'a SecretKey,
    ) -> Result<Authority<'a>, RequestError> {
        let records = self.state.group.records();
        let grant = records.genesis();
        match records.get(&grant).map(|genesis| &genesis.record().body) {
            Some(RecordBody::Genesis(genesis)) if genesis.recovery_key == recovery_key.node_id() => {
                Ok(Authority { grant, signer: Signer::Recovery, secret: recovery_key })
            }
            _ => Err(RequestError::WrongRecoveryKey),
        }
    }

    /// Signs and stores a record, and sends it to the neighbours.
    pub(super) fn issue(
        &mut self,
        authority: Authority<'_>,
        body: RecordBody,
    ) -> Result<RecordId, RequestError> {
        let Authority { grant, signer, secret } = authority;
        let (seq, prev) = match self.state.group.records().newest_in_chain((grant, signer)) {
            Some((seq, id)) => (seq + 1, id),
            None => (1, RecordId::ZERO),
        };
        let (group, note) = (self.state.group.id(), Some(self.note.clone()));
        let record = Record { group, grant, signer, seq, prev, body, note };
        if Record::decode(&record.encode()).is_err() {
            return Err(RequestError::InvalidGrantTerms);
        }
        let signed = record.sign(secret);
        let id = signed.id();
        let outcome = self.state.group.apply_records([signed]);
        let is_rejected = outcome.fault.is_some();
        self.state.sync(self.ctx).on_records_ingested(outcome, None);
        let is_stored = self.state.group.records().get(&id).is_some();
        if is_rejected || !is_stored { Err(RequestError::LimitReached("membership records")) } else { Ok(id) }
    }

    /// Issues a record under this node's own admin grant.
    pub(super) fn issue_as_admin(&mut self, body: RecordBody) -> Result<RecordId, RequestError> {
        self.issue(self.admin_authority()?, body)
    }

    /// Ends a grant. What its holder wrote beyond `frontiers` no longer counts.
    pub(super) fn revoke_grant(
        &mut self,
        authority: Authority<'_>,
        grant: GrantId,
        frontiers: Frontiers,
    ) -> Result<(), RequestError> {
        let target = RevokeTarget::Grant(grant);
        self.issue(authority, RecordBody::Revoke(Revoke { target, frontiers })).map(drop)
    }
}
