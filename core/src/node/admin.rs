//! Admin operations: each issues one or more records, which go to the linked members at once and to all
//! others when they sync. An operation that fails with an error has issued nothing, unless the set of records
//! reached its limit midway.

use std::collections::BTreeMap;

use super::Node;
use super::admission::requests::JoinRequestHandler;
use super::effect::{RequestError, Response};
use super::group_state::{GroupContext, GroupState};
use super::input::{AdminOp, AdminRequest, AliasAndLabels};
use super::name_lookup::{self, find_change, find_unaccepted};
use super::pairing::exchange;
use super::record_issuer::{Authority, RecordIssuer};
use crate::delta::change_note::{ChangeNote, MessageTooLong};
use crate::id::{ChangeId, GrantId, NodeId, SecretKey};
use crate::limits;
use crate::record::{Admit, EffectiveGrant, Forget, Frontiers, Grant, RecordBody, Role};
use crate::shard::root::ShardName;
use crate::typed_name::ChangeName;

impl Node {
    pub(super) fn handle_admin_request(&mut self, request: AdminRequest) -> Result<Response, RequestError> {
        // A node that is no member any more can use the recovery key.
        let group = match request.op {
            AdminOp::RecoverAdmin { .. } | AdminOp::DeleteGroup { recovery_key: Some(_) } => {
                self.find_group(&request.group)?
            }
            _ => self.find_own_group(&request.group)?,
        };
        let joiner = match &request.op {
            AdminOp::ApproveJoin { node, digits, .. } => {
                Some((name_lookup::find_join_request(self, &request.group, node)?, *digits))
            }
            _ => None,
        };
        // The terms of a pairing are not part of the group.
        let pairing_terms =
            joiner.map(|(node, digits)| (node, exchange::requested_terms(self, &node, digits)));
        let response =
            self.with_group(&group.into(), |state, ctx| execute(state, ctx, request, pairing_terms))?;
        if let Some((node, _)) = joiner {
            let (guest_streams, mut ctx) = self.split();
            guest_streams.send_pairing_grant(&mut ctx, node);
        }
        Ok(response)
    }
}

fn execute(
    state: &mut GroupState,
    ctx: &mut GroupContext<'_>,
    request: AdminRequest,
    pairing_terms: Option<(NodeId, Result<AliasAndLabels, RequestError>)>,
) -> Result<Response, RequestError> {
    if state.refetching {
        return Err(RequestError::Refetching);
    }
    let AdminRequest { op, user, message, .. } = request;
    if message.len() > limits::MAX_RECORD_NOTE_BYTES {
        let error = MessageTooLong { bytes: message.len(), limit: limits::MAX_RECORD_NOTE_BYTES };
        return Err(RequestError::Write(error.into()));
    }
    let issuer = &mut RecordIssuer::new(state, ctx, &user, &message);
    match op {
        AdminOp::RemoveMember { node, keep_through } => {
            let find_change = |name: &ChangeName| {
                find_change(issuer.state.desired_shard()?, name).map_err(RequestError::from)
            };
            let keep_through = keep_through.as_ref().map(find_change).transpose()?;
            remove_member(issuer, name_lookup::find_member(issuer.state, &node)?, keep_through)?;
        }
        AdminOp::ChangeRole { node, role } => {
            change_role(issuer, name_lookup::find_member(issuer.state, &node)?, role)?;
        }
        AdminOp::LeaveGroup { force } => leave_group(issuer, force)?,
        AdminOp::RotateKey { new_key, alias, labels } => rotate_key(issuer, new_key, (alias, labels))?,
        AdminOp::DeleteGroup { recovery_key } => delete_group(issuer, recovery_key.as_ref())?,
        AdminOp::ForgetMember { node } => {
            forget_member(issuer, name_lookup::find_member_or_former(issuer.state, &node)?)?;
        }
        AdminOp::RecoverAdmin { recovery_key } => recover_admin(issuer, &recovery_key)?,
        AdminOp::ReadmitChanges { changes } => {
            readmit_changes(issuer, &find_unaccepted(issuer.state, &changes)?)?;
        }
        AdminOp::RewriteChanges { changes, note } => {
            let changes = find_unaccepted(issuer.state, &changes)?;
            return rewrite_changes(issuer, &changes, &note).map(Response::Written);
        }
        AdminOp::ApproveJoin { role, .. } => {
            let (node, terms) = pairing_terms.ok_or(RequestError::NoPairingRequest)?;
            approve_join(issuer, node, role, terms)?;
        }
    }
    Ok(Response::Done)
}

/// Ends all grants of a member.
fn remove_member(
    issuer: &mut RecordIssuer<'_, '_>,
    node: NodeId,
    keep_through: Option<ChangeId>,
) -> Result<(), RequestError> {
    if node == issuer.ctx.own_id {
        return Err(RequestError::CannotRemoveSelf);
    }
    let grants = issuer.grants_of_member(&node)?;
    // All or nothing: a key with a grant left would stay a member.
    let authorities =
        grants.iter().map(|grant| issuer.authority_to_end(grant)).collect::<Result<Vec<_>, _>>()?;
    let group = &issuer.state.group;
    let grant_of_change = keep_through.and_then(|change| group.shard_states().grant_of_change(&change));
    if keep_through.is_some() && grants.iter().all(|grant| Some(grant.grant) != grant_of_change) {
        return Err(RequestError::ChangeByOtherNode);
    }
    let frontiers_of = |grant: &EffectiveGrant| {
        let shards = group.shard_states();
        shards.frontiers_of_grant(group.records(), &grant.grant, keep_through.as_ref()).unwrap_or_default()
    };
    let frontiers: Vec<Frontiers> = grants.iter().map(frontiers_of).collect();
    for ((grant, authority), frontiers) in grants.iter().zip(authorities).zip(frontiers) {
        issuer.revoke_grant(authority, grant.grant, frontiers)?;
    }
    Ok(())
}

/// Adds a grant with the new role, and ends the grants above it.
fn change_role(issuer: &mut RecordIssuer<'_, '_>, node: NodeId, role: Role) -> Result<(), RequestError> {
    let own_id = issuer.ctx.own_id;
    let grants = issuer.grants_of_member(&node)?;
    let highest = grants.iter().map(|grant| grant.role).max();
    if highest == Some(role) {
        return Err(RequestError::RoleUnchanged(role));
    }
    if node == own_id && highest == Some(Role::Admin) && is_last_admin(issuer) {
        return Err(RequestError::LastAdmin);
    }
    issuer.admin_authority()?;
    let higher_grants: Vec<&EffectiveGrant> = grants.iter().filter(|grant| grant.role > role).collect();
    for grant in higher_grants.iter().filter(|_| node != own_id) {
        issuer.authority_to_end(grant)?;
    }
    if grants.iter().all(|grant| grant.role != role)
        && let Some(EffectiveGrant { alias, labels, .. }) = grants.first().cloned()
    {
        issuer.issue_as_admin(RecordBody::Grant(Grant {
            holder: node,
            role,
            alias,
            labels,
            invite: None,
        }))?;
    }
    for grant in higher_grants {
        let authority = match node == own_id {
            true => Authority::holder(grant.grant, issuer.ctx.secret),
            false => issuer.authority_to_end(grant)?,
        };
        let frontiers = issuer.state.group.frontiers_of_grant(&grant.grant);
        issuer.revoke_grant(authority, grant.grant, frontiers)?;
    }
    Ok(())
}

fn is_last_admin(issuer: &RecordIssuer<'_, '_>) -> bool {
    let members = issuer.members();
    members.nodes().all(|node| node == issuer.ctx.own_id || members.role_of(&node) != Some(Role::Admin))
}

/// Ends this node's own grants. All its changes that are here go on to count.
fn leave_group(issuer: &mut RecordIssuer<'_, '_>, force: bool) -> Result<(), RequestError> {
    let own_id = issuer.ctx.own_id;
    let grants = issuer.grants_of_member(&own_id)?;
    let is_only_member = issuer.members().nodes().all(|node| node == own_id);
    let is_admin = issuer.members().role_of(&own_id) == Some(Role::Admin);
    if !force && !is_only_member && is_admin && is_last_admin(issuer) {
        return Err(RequestError::LastAdmin);
    }
    for EffectiveGrant { grant, .. } in grants {
        let authority = Authority::holder(grant, issuer.ctx.secret);
        let frontiers = Frontiers { last_record: None, ..issuer.state.group.frontiers_of_grant(&grant) };
        issuer.revoke_grant(authority, grant, frontiers)?;
    }
    Ok(())
}

/// Grants this node's membership to another key, and ends its own grants. The new grant is issued under the
/// old one, so what this node granted goes on to count, and whoever may end the old grant may end the new
/// one.
fn rotate_key(
    issuer: &mut RecordIssuer<'_, '_>,
    new_key: NodeId,
    (alias, labels): AliasAndLabels,
) -> Result<(), RequestError> {
    let grant = Grant { holder: new_key, role: Role::Admin, alias, labels, invite: None };
    issuer.issue_as_admin(RecordBody::Grant(grant))?;
    leave_group(issuer, true)
}

/// Dissolves the group for all members. Only the founder or the recovery key can.
fn delete_group(
    issuer: &mut RecordIssuer<'_, '_>,
    recovery_key: Option<&SecretKey>,
) -> Result<(), RequestError> {
    let genesis = issuer.state.group.records().genesis();
    let is_founder = issuer.members().live_grants_of(&issuer.ctx.own_id).any(|grant| grant.grant == genesis);
    let authority = match recovery_key {
        Some(recovery_key) => issuer.recovery_authority(recovery_key)?,
        None if is_founder => Authority::holder(genesis, issuer.ctx.secret),
        None => return Err(RequestError::NotFounder),
    };
    issuer.issue(authority, RecordBody::Dissolve).map(drop)
}

/// Drops the observed state of a former member.
fn forget_member(issuer: &mut RecordIssuer<'_, '_>, node: NodeId) -> Result<(), RequestError> {
    let members = issuer.members();
    if members.is_member(&node) {
        return Err(RequestError::StillMember);
    }
    let ended = members.ended_grants_of(&node).map(|ended| ended.grant);
    let grants: Vec<GrantId> = ended.filter(|grant| !members.is_forgotten(grant)).collect();
    if grants.is_empty() {
        return Err(RequestError::NotMember);
    }
    for grant in grants {
        let shard = ShardName::Observed(grant).to_string();
        issuer.issue_as_admin(RecordBody::Forget(Forget { shard }))?;
    }
    Ok(())
}

/// Makes this node an admin by the recovery key.
fn recover_admin(issuer: &mut RecordIssuer<'_, '_>, recovery_key: &SecretKey) -> Result<(), RequestError> {
    let (own_id, role) = (issuer.ctx.own_id, Role::Admin);
    let authority = issuer.recovery_authority(recovery_key)?;
    if issuer.members().role_of(&own_id) == Some(role) {
        return Err(RequestError::RoleUnchanged(role));
    }
    let own_grant = issuer.members().live_grants_of(&own_id).next();
    let (alias, labels) =
        own_grant.map(|grant| (grant.alias.clone(), grant.labels.clone())).unwrap_or_default();
    let grant = Grant { holder: own_id, role, alias, labels, invite: None };
    issuer.issue(authority, RecordBody::Grant(grant)).map(drop)
}

/// Lets unaccepted changes count, with the changes that they build on.
fn readmit_changes(issuer: &mut RecordIssuer<'_, '_>, changes: &[ChangeId]) -> Result<(), RequestError> {
    let mut frontiers = Frontiers::default();
    for change in changes {
        let unaccepted =
            issuer.state.group.shard_states().unaccepted_sets().find_map(|(_, set)| set.get(change));
        let unaccepted = unaccepted.ok_or(RequestError::NotUnaccepted)?;
        frontiers.last_changes.push((unaccepted.chain_id, unaccepted.delta().seq, *change));
    }
    frontiers.last_changes.sort_unstable();
    if frontiers.last_changes.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0)) {
        return Err(RequestError::SameChainTwice);
    }
    issuer.issue_as_admin(RecordBody::Admit(Admit { frontiers })).map(drop)
}

/// Writes the values of unaccepted changes again, as one change of this node. `None` if the document has them
/// all.
fn rewrite_changes(
    issuer: &mut RecordIssuer<'_, '_>,
    changes: &[ChangeId],
    note: &ChangeNote,
) -> Result<Option<ChangeId>, RequestError> {
    let group = &mut issuer.state.group;
    let desired = group.desired().ok_or(RequestError::UnknownGroup)?;
    let unaccepted_set =
        group.unaccepted_in(&desired.root().shard_id()).ok_or(RequestError::NotUnaccepted)?;
    let mut puts = BTreeMap::new();
    for change in changes {
        let unaccepted = unaccepted_set.get(change).ok_or(RequestError::NotUnaccepted)?;
        puts.extend(unaccepted.delta().puts.iter().map(|put| (put.key.clone(), put.value.clone())));
    }
    puts.retain(|key, value| !matches!(desired.state().get(key), [visible] if visible.value == *value));
    let note = ChangeNote { time: issuer.ctx.now.unix_secs, ..note.clone() };
    let incarnation = issuer.ctx.rng.next_incarnation();
    let written = group.write(issuer.ctx.secret, ShardName::Desired, puts, &note, incarnation)?;
    let id = written.change_id;
    issuer.state.on_written(issuer.ctx, written);
    Ok(id)
}

/// Grants a joiner its role. The alias and labels are those of its join request that waits for the issuer of
/// its code, which is answered, or else those of its pairing.
fn approve_join(
    issuer: &mut RecordIssuer<'_, '_>,
    node: NodeId,
    role: Role,
    pairing_terms: Result<AliasAndLabels, RequestError>,
) -> Result<(), RequestError> {
    let waiting_terms = issuer.state.admission.waiting_terms(&node);
    let (alias, labels, invite) = match waiting_terms {
        Some(terms) => (terms.alias.clone(), terms.labels.clone(), Some(terms.invite_id)),
        None => pairing_terms.map(|(alias, labels)| (alias, labels, None))?,
    };
    issuer.issue_as_admin(RecordBody::Grant(Grant { holder: node, role, alias, labels, invite }))?;
    JoinRequestHandler { state: issuer.state, ctx: issuer.ctx }.grant_waiting(&node);
    Ok(())
}
