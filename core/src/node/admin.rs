//! Governing a group: who is in it, with which role, and what of theirs counts. Every act is one or more records, which
//! go at once to whoever can be reached and to all others when they are met.

use std::collections::BTreeMap;

use super::Node;
use super::effect::{RequestError, Response};
use super::group_state::{GroupContext, GroupState};
use super::input::{AdminOp, AdminRequest, RequestId};
use crate::codec::truncate_utf8;
use crate::group::ChangeNote;
use crate::id::{ChangeId, GrantId, Incarnation, NodeId, RecordId, SecretKey};
use crate::limits;
use crate::record::{
    Admit, EffectiveGrant, Forget, Frontiers, Grant, Record, RecordBody, RecordNote, Revoke, RevokeTarget,
    Role, Signer,
};
use crate::shard::root::ShardName;

/// By which right a record is issued: under which grant, with which key.
#[derive(Clone, Copy)]
pub(super) struct Authority<'a> {
    grant: GrantId,
    signer: Signer,
    secret: &'a SecretKey,
}

impl Node {
    pub(super) fn handle_admin_request(&mut self, request_id: RequestId, request: AdminRequest) {
        let response = self.execute_admin_request(request);
        self.outbox.respond(request_id, response);
    }

    fn execute_admin_request(&mut self, request: AdminRequest) -> Result<Response, RequestError> {
        let AdminRequest { group, act: op, user, words: reason } = request;
        let record_note = build_record_note(self.now.unix_secs, &user, &reason);
        let requested_terms = match &op {
            AdminOp::ApproveJoin { node, digits, .. } => self.requested_terms(group, node, *digits)?,
            _ => (String::new(), Vec::new()),
        };
        let new_incarnation = self.rng.next_incarnation();
        let (state, mut ctx) = self.group_with_context(group).ok_or(RequestError::UnknownGroup)?;
        if state.refetching {
            return Err(RequestError::Refetching);
        }
        match op {
            AdminOp::RemoveMember { node, keep_through } => {
                state.remove_member(&mut ctx, node, keep_through, &record_note)?
            }
            AdminOp::ChangeRole { node, role } => state.change_role(&mut ctx, node, role, &record_note)?,
            AdminOp::LeaveGroup { force } => state.leave_group(&mut ctx, force, &record_note)?,
            AdminOp::RotateKey { new_key: key, alias, labels } => {
                state.rotate_key(&mut ctx, key, (alias, labels), &record_note)?
            }
            AdminOp::DeleteGroup { recovery_key: recovery } => {
                state.delete_group(&mut ctx, recovery.as_ref(), &record_note)?
            }
            AdminOp::ForgetMember { node } => state.forget_member(&mut ctx, node, &record_note)?,
            AdminOp::RecoverAdmin { recovery_key: key } => {
                state.recover_admin(&mut ctx, &key, &record_note)?
            }
            AdminOp::ReadmitChanges { changes } => state.readmit_changes(&mut ctx, &changes, &record_note)?,
            AdminOp::RewriteChanges { changes, note } => {
                return state
                    .rewrite_changes(&mut ctx, &changes, &note, new_incarnation)
                    .map(Response::Written);
            }
            AdminOp::ApproveJoin { node, role, .. } => {
                state.approve_join(&mut ctx, node, role, requested_terms, &record_note)?;
                self.send_grant_on_all_streams(node);
            }
        }
        Ok(Response::Done)
    }

    /// What somebody asked for who waits: by a code whose issuer is away, or without one.
    fn requested_terms(
        &self,
        group: crate::id::GroupId,
        node: &NodeId,
        digits: Option<u32>,
    ) -> Result<(String, Vec<(String, String)>), RequestError> {
        let state = self.groups.get(&group).ok_or(RequestError::UnknownGroup)?;
        match state.waiting_joins.get(node) {
            Some(request) => Ok((request.terms.alias.clone(), request.terms.labels.clone())),
            None => self.terms_of_pairing(node, digits),
        }
    }
}

impl GroupState {
    /// This node's right as an admin.
    fn admin_authority<'a>(&self, ctx: &GroupContext<'a>) -> Result<Authority<'a>, RequestError> {
        let grant = self.group.members().oldest_grant_allowing(&ctx.own_id, |role| role == Role::Admin);
        let grant = grant.ok_or(RequestError::NotAdmin)?;
        Ok(Authority { grant, signer: Signer::Holder, secret: ctx.secret })
    }

    /// Its right to end that grant: any admin's, or of an admin's grant only that of one above it.
    fn authority_to_end<'a>(
        &self,
        ctx: &GroupContext<'a>,
        ended_grant: &EffectiveGrant,
    ) -> Result<Authority<'a>, RequestError> {
        if ended_grant.role != Role::Admin {
            return self.admin_authority(ctx);
        }
        let grant_path = self.group.records().path(&ended_grant.grant).unwrap_or_default();
        let members = self.group.members();
        let is_granting_admin = |effective_grant: &&EffectiveGrant| {
            effective_grant.role == Role::Admin
                && grant_path.iter().skip(1).any(|grant| *grant == effective_grant.grant)
        };
        let grant = members
            .live_grants_of(&ctx.own_id)
            .find(is_granting_admin)
            .map(|effective_grant| effective_grant.grant);
        let grant =
            grant.ok_or_else(|| self.admin_authority(ctx).err().unwrap_or(RequestError::NotGrantingAdmin))?;
        Ok(Authority { grant, signer: Signer::Holder, secret: ctx.secret })
    }

    /// The right of whoever has the recovery key.
    fn recovery_authority<'a>(&self, recovery_key: &'a SecretKey) -> Result<Authority<'a>, RequestError> {
        let genesis = self.group.records().genesis();
        let is_key_of_group = match self.group.records().get(&genesis).map(|genesis| &genesis.record().body) {
            Some(RecordBody::Genesis(genesis)) => genesis.recovery_key == recovery_key.node_id(),
            _ => false,
        };
        let authority = Authority { grant: genesis, signer: Signer::Recovery, secret: recovery_key };
        if is_key_of_group { Ok(authority) } else { Err(RequestError::WrongRecoveryKey) }
    }

    /// Issues a record, and tells it.
    pub(super) fn issue_record(
        &mut self,
        ctx: &mut GroupContext<'_>,
        authority: Authority<'_>,
        body: RecordBody,
        record_note: &RecordNote,
    ) -> Result<RecordId, RequestError> {
        let (seq, prev) = match self.group.records().newest_in_chain((authority.grant, authority.signer)) {
            Some((seq, id)) => (seq + 1, id),
            None => (1, RecordId::ZERO),
        };
        let record = Record {
            group: self.group.id(),
            grant: authority.grant,
            signer: authority.signer,
            seq,
            prev,
            body,
            note: Some(record_note.clone()),
        };
        if Record::decode(&record.encode()).is_err() {
            return Err(RequestError::InvalidGrantTerms);
        }
        let signed = record.sign(authority.secret);
        let id = signed.id();
        let outcome = self.group.apply_records([signed]);
        let is_rejected = outcome.fault.is_some();
        self.sync(ctx).on_records_ingested(outcome, None);
        let is_stored = self.group.records().get(&id).is_some();
        if is_rejected || !is_stored { Err(RequestError::LimitReached("membership records")) } else { Ok(id) }
    }

    /// Issues under this node's own admin grant.
    pub(super) fn issue_record_as_admin(
        &mut self,
        ctx: &mut GroupContext<'_>,
        body: RecordBody,
        record_note: &RecordNote,
    ) -> Result<RecordId, RequestError> {
        let authority = self.admin_authority(ctx)?;
        self.issue_record(ctx, authority, body, record_note)
    }

    fn remove_member(
        &mut self,
        ctx: &mut GroupContext<'_>,
        node: NodeId,
        keep_through: Option<ChangeId>,
        record_note: &RecordNote,
    ) -> Result<(), RequestError> {
        if node == ctx.own_id {
            return Err(RequestError::CannotRemoveSelf);
        }
        let grants: Vec<EffectiveGrant> = self.group.members().live_grants_of(&node).cloned().collect();
        if grants.is_empty() {
            return Err(RequestError::NotMember);
        }
        // All or nothing: a key with a grant left would stay a member.
        let authorities =
            grants.iter().map(|grant| self.authority_to_end(ctx, grant)).collect::<Result<Vec<_>, _>>()?;
        let grant_of_change =
            keep_through.and_then(|change| self.group.shard_states().grant_of_change(&change));
        if keep_through.is_some() && grants.iter().all(|grant| Some(grant.grant) != grant_of_change) {
            return Err(RequestError::ChangeByOtherNode);
        }
        let frontiers_of = |grant: &EffectiveGrant| match keep_through {
            Some(change) => {
                let shards = self.group.shard_states();
                let records = self.group.records();
                shards.frontiers_of_grant(records, &grant.grant, Some(&change)).unwrap_or_default()
            }
            None => self.group.frontiers_of_grant(&grant.grant),
        };
        let kept_frontiers: Vec<Frontiers> = grants.iter().map(frontiers_of).collect();
        for ((grant, authority), frontiers) in grants.iter().zip(authorities).zip(kept_frontiers) {
            self.revoke_grant(ctx, authority, grant.grant, frontiers, record_note)?;
        }
        Ok(())
    }

    fn revoke_grant(
        &mut self,
        ctx: &mut GroupContext<'_>,
        authority: Authority<'_>,
        grant: GrantId,
        frontiers: Frontiers,
        record_note: &RecordNote,
    ) -> Result<(), RequestError> {
        let body = RecordBody::Revoke(Revoke { target: RevokeTarget::Grant(grant), frontiers });
        self.issue_record(ctx, authority, body, record_note).map(drop)
    }

    /// A promotion is one more grant; a demotion also ends those above it.
    fn change_role(
        &mut self,
        ctx: &mut GroupContext<'_>,
        node: NodeId,
        role: Role,
        record_note: &RecordNote,
    ) -> Result<(), RequestError> {
        let grants: Vec<EffectiveGrant> = self.group.members().live_grants_of(&node).cloned().collect();
        let Some(first) = grants.first() else { return Err(RequestError::NotMember) };
        let highest = grants.iter().map(|grant| grant.role).max();
        if highest == Some(role) {
            return Err(RequestError::RoleUnchanged(role));
        }
        let higher_grants: Vec<&EffectiveGrant> = grants.iter().filter(|grant| grant.role > role).collect();
        if node == ctx.own_id && highest == Some(Role::Admin) && self.is_last_admin(ctx) {
            return Err(RequestError::LastAdmin);
        }
        let authority = self.admin_authority(ctx)?;
        for grant in higher_grants.iter().filter(|_| node != ctx.own_id) {
            self.authority_to_end(ctx, grant)?;
        }
        if grants.iter().all(|grant| grant.role != role) {
            let body = RecordBody::Grant(Grant {
                holder: node,
                role,
                alias: first.alias.clone(),
                labels: first.labels.clone(),
                invite: None,
            });
            self.issue_record(ctx, authority, body, record_note)?;
        }
        for grant in higher_grants {
            let authority = match node == ctx.own_id {
                true => Authority { grant: grant.grant, signer: Signer::Holder, secret: ctx.secret },
                false => self.authority_to_end(ctx, grant)?,
            };
            let frontiers = self.group.frontiers_of_grant(&grant.grant);
            self.revoke_grant(ctx, authority, grant.grant, frontiers, record_note)?;
        }
        Ok(())
    }

    fn is_last_admin(&self, ctx: &GroupContext<'_>) -> bool {
        let members = self.group.members();
        members.nodes().all(|key| key == ctx.own_id || members.role_of(&key) != Some(Role::Admin))
    }

    /// Ends this node's own grants. Its changes all count, as far as they are here.
    fn leave_group(
        &mut self,
        ctx: &mut GroupContext<'_>,
        force: bool,
        record_note: &RecordNote,
    ) -> Result<(), RequestError> {
        let grants: Vec<GrantId> =
            self.group.members().live_grants_of(&ctx.own_id).map(|grant| grant.grant).collect();
        if grants.is_empty() {
            return Err(RequestError::NotMember);
        }
        let is_only_member = self.group.members().nodes().all(|key| key == ctx.own_id);
        let is_admin = self.group.members().role_of(&ctx.own_id) == Some(Role::Admin);
        if !force && !is_only_member && is_admin && self.is_last_admin(ctx) {
            return Err(RequestError::LastAdmin);
        }
        for grant in grants {
            let authority = Authority { grant, signer: Signer::Holder, secret: ctx.secret };
            let frontiers = Frontiers { last_record: None, ..self.group.frontiers_of_grant(&grant) };
            self.revoke_grant(ctx, authority, grant, frontiers, record_note)?;
        }
        Ok(())
    }

    /// Grants what this node has to another key, and ends its own grants. The new grant stands below the old one, so all
    /// that this node granted goes on to count, and whoever may end the old may end the new.
    fn rotate_key(
        &mut self,
        ctx: &mut GroupContext<'_>,
        new_key: NodeId,
        (alias, labels): (String, Vec<(String, String)>),
        record_note: &RecordNote,
    ) -> Result<(), RequestError> {
        let body =
            RecordBody::Grant(Grant { holder: new_key, role: Role::Admin, alias, labels, invite: None });
        self.issue_record_as_admin(ctx, body, record_note)?;
        self.leave_group(ctx, true, record_note)
    }

    fn delete_group(
        &mut self,
        ctx: &mut GroupContext<'_>,
        recovery_key: Option<&SecretKey>,
        record_note: &RecordNote,
    ) -> Result<(), RequestError> {
        let genesis = self.group.records().genesis();
        let is_founder = self.group.members().live_grants_of(&ctx.own_id).any(|grant| grant.grant == genesis);
        let authority = match recovery_key {
            Some(recovery_key) => self.recovery_authority(recovery_key)?,
            None if is_founder => Authority { grant: genesis, signer: Signer::Holder, secret: ctx.secret },
            None => return Err(RequestError::NotFounder),
        };
        self.issue_record(ctx, authority, RecordBody::Dissolve, record_note).map(drop)
    }

    /// Drops what a former member observed.
    fn forget_member(
        &mut self,
        ctx: &mut GroupContext<'_>,
        node: NodeId,
        record_note: &RecordNote,
    ) -> Result<(), RequestError> {
        if self.group.members().is_member(&node) {
            return Err(RequestError::StillMember);
        }
        let is_forgotten = |grant: &GrantId| self.group.members().is_forgotten(grant);
        let grants: Vec<GrantId> = self
            .group
            .members()
            .ended_grants_of(&node)
            .map(|effective_grant| effective_grant.grant)
            .filter(|grant| !is_forgotten(grant))
            .collect();
        if grants.is_empty() {
            return Err(RequestError::NotMember);
        }
        for grant in grants {
            let shard = ShardName::Observed(grant).to_string();
            self.issue_record_as_admin(ctx, RecordBody::Forget(Forget { shard }), record_note)?;
        }
        Ok(())
    }

    /// Makes this node an admin by the recovery key.
    fn recover_admin(
        &mut self,
        ctx: &mut GroupContext<'_>,
        recovery_key: &SecretKey,
        record_note: &RecordNote,
    ) -> Result<(), RequestError> {
        let authority = self.recovery_authority(recovery_key)?;
        if self.group.members().role_of(&ctx.own_id) == Some(Role::Admin) {
            return Err(RequestError::RoleUnchanged(Role::Admin));
        }
        let own_grant = self.group.members().live_grants_of(&ctx.own_id).next();
        let (alias, labels) =
            own_grant.map(|grant| (grant.alias.clone(), grant.labels.clone())).unwrap_or_default();
        let body =
            RecordBody::Grant(Grant { holder: ctx.own_id, role: Role::Admin, alias, labels, invite: None });
        self.issue_record(ctx, authority, body, record_note).map(drop)
    }

    /// Brings changes in that do not count, with what they build on.
    fn readmit_changes(
        &mut self,
        ctx: &mut GroupContext<'_>,
        changes: &[ChangeId],
        record_note: &RecordNote,
    ) -> Result<(), RequestError> {
        let mut frontiers = Frontiers::default();
        for change in changes {
            let unaccepted = self.group.shard_states().unaccepted_sets().find_map(|(_, set)| set.get(change));
            let unaccepted = unaccepted.ok_or(RequestError::NotUnaccepted)?;
            frontiers.last_changes.push((unaccepted.chain_id, unaccepted.delta().seq, *change));
        }
        frontiers.last_changes.sort_unstable();
        if frontiers.last_changes.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0)) {
            return Err(RequestError::SameChainTwice);
        }
        self.issue_record_as_admin(ctx, RecordBody::Admit(Admit { frontiers }), record_note).map(drop)
    }

    /// Writes what changes say that are kept aside once more, as a change of this node's own.
    fn rewrite_changes(
        &mut self,
        ctx: &mut GroupContext<'_>,
        changes: &[ChangeId],
        note: &ChangeNote,
        new_incarnation: Incarnation,
    ) -> Result<Option<ChangeId>, RequestError> {
        let desired = self.group.desired().ok_or(RequestError::UnknownGroup)?;
        let unaccepted_set =
            self.group.unaccepted_in(&desired.root().shard_id()).ok_or(RequestError::NotUnaccepted)?;
        let mut puts = BTreeMap::new();
        for change in changes {
            let unaccepted = unaccepted_set.get(change).ok_or(RequestError::NotUnaccepted)?;
            puts.extend(unaccepted.delta().puts.iter().map(|put| (put.key.clone(), put.value.clone())));
        }
        puts.retain(|key, value| {
            let visible = desired.state().get(key);
            !matches!(visible, [one] if one.value == *value)
        });
        let note = ChangeNote { time: ctx.now.unix_secs, ..note.clone() };
        let written = self.group.write(ctx.secret, ShardName::Desired, puts, &note, new_incarnation)?;
        let id = written.change_id;
        self.on_written(ctx, written);
        Ok(id)
    }

    fn approve_join(
        &mut self,
        ctx: &mut GroupContext<'_>,
        node: NodeId,
        role: Role,
        requested_terms: (String, Vec<(String, String)>),
        record_note: &RecordNote,
    ) -> Result<(), RequestError> {
        let (alias, labels) = requested_terms;
        let invite = self.waiting_joins.get(&node).map(|request| request.terms.invite_id);
        let body = RecordBody::Grant(Grant { holder: node, role, alias, labels, invite });
        self.issue_record_as_admin(ctx, body, record_note)?;
        self.grant_waiting_join(ctx, &node);
        Ok(())
    }
}

/// What goes with a record. What is too long is cut.
pub(super) fn build_record_note(time: i64, user: &str, reason: &str) -> RecordNote {
    let truncate = |text: &str| truncate_utf8(text, limits::MAX_RECORD_NOTE_BYTES).to_owned();
    RecordNote {
        time: time.clamp(0, limits::MAX_TIME_SECONDS),
        user: truncate(user),
        message: truncate(reason),
    }
}
