//! Admission: the member's side of a join by code. It holds the invites made here, and the join requests that
//! wait for their issuer or that this node forwarded.
//!
//! A request that reaches its issuer is answered there. Any other member remembers it and forwards it
//! ([`requests`]):
//!
//! | a request is | until |
//! |---|---|
//! | forwarded | its final response has passed, or [`limits::FORWARDED_JOIN_TTL_MS`] have passed |
//! | waiting | its final response has passed, an admin approves or rejects it, or the node stops |

mod invites_and_requests;
pub(super) mod requests;

pub(super) use invites_and_requests::{Admission, ReplyRoute};

use super::effect::{RequestError, Response};
use super::group_state::{GroupContext, GroupState};
use super::record_issuer::RecordIssuer;
use crate::group::Group;
use crate::id::InviteId;
use crate::record::{Frontiers, RecordBody, Revoke, RevokeTarget, Role};
use crate::store::{InviteRow, LAYOUT_VERSION, Row, Table, key};
use crate::wire::guest::JoinTerms;
use crate::wire::invite_code::InviteCode;

impl GroupState {
    /// The join requests that wait for their issuer: the terms, and the issuer's short id.
    pub fn waiting_joins(&self) -> impl Iterator<Item = (&JoinTerms, String)> {
        let terms = self.admission.waiting.values().map(|request| &request.terms);
        terms.map(|terms| (terms, issuer_name(&self.group, terms)))
    }
}

/// The short id of the issuer of a code; empty if this node does not know the issuer.
fn issuer_name(group: &Group, terms: &JoinTerms) -> String {
    let issuer = group.members().nodes().find(|node| node.fingerprint8() == terms.issuer_fingerprint);
    issuer.map(|node| node.short()).unwrap_or_default()
}

/// Makes an invite.
pub(super) fn create_invite(
    state: &mut GroupState,
    ctx: &mut GroupContext<'_>,
    (role, max_uses, expires_unix_secs): (Role, u32, i64),
) -> Result<Response, RequestError> {
    let (group, unix_secs) = (state.group.id(), ctx.now.unix_secs);
    let grant = state.group.members().oldest_grant_allowing(&ctx.own_id, |role| role == Role::Admin);
    let row = InviteRow {
        version: LAYOUT_VERSION,
        grant: grant.ok_or(RequestError::NotAdmin)?,
        role_byte: role.to_byte(),
        max_uses,
        created_at: unix_secs,
        expires_at: expires_unix_secs,
    };
    let mut rows = state.admission.remove_expired_if_full(group, unix_secs)?;
    let code = InviteCode::new(group, &ctx.own_id, ctx.rng.next_nonce());
    rows.push(Row::put_encoded(Table::Invites, key::invite(group, code.invite_id()), &row));
    ctx.outbox.store_batch(rows);
    state.admission.invites.insert(code.invite_id(), row);
    Ok(Response::InviteCreated(code))
}

/// Revokes an invite made on this node.
pub(super) fn revoke_invite(
    state: &mut GroupState,
    ctx: &mut GroupContext<'_>,
    invite: InviteId,
) -> Result<Response, RequestError> {
    if !state.admission.invites.contains_key(&invite) || state.group.members().is_revoked(&invite) {
        return Err(RequestError::UnknownInvite);
    }
    let target = RevokeTarget::Invite(invite);
    let body = RecordBody::Revoke(Revoke { target, frontiers: Frontiers::default() });
    RecordIssuer::new(state, ctx, "", "").issue_as_admin(body).map(|_| Response::Done)
}
