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

pub(super) mod requests;

use std::collections::BTreeMap;

use super::effect::{RequestError, Response};
use super::group_state::{GroupContext, GroupState};
use super::input::{LinkId, MonoTime};
use super::record_issuer::RecordIssuer;
use crate::group::Group;
use crate::id::{Digest, GroupId, InviteId, NodeId};
use crate::limits;
use crate::record::{Frontiers, Grant, Membership, RecordBody, Revoke, RevokeTarget, Role};
use crate::store::{InviteRow, LAYOUT_VERSION, LoadError, Row, RowReader, Table, decode_versioned, key};
use crate::wire::guest::{JoinDenial, JoinRequest, JoinResponse, JoinTerms};
use crate::wire::invite_code::InviteCode;

/// The stream on which the response to a join request is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum ReplyRoute {
    /// The guest stream of the joiner.
    GuestStream(LinkId),
    /// The link of the member that forwarded the request.
    MemberLink(LinkId),
}

/// The invites of one group, and the join requests to it.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    /// The invites made on this node.
    pub invites: BTreeMap<InviteId, InviteRow>,
    /// By the id of the request: where its response is sent, and when it was forwarded.
    forwarded: BTreeMap<Digest, (ReplyRoute, MonoTime)>,
    /// By joiner: the requests whose issuer has not answered.
    waiting: BTreeMap<NodeId, JoinRequest>,
}

impl Admission {
    /// Reads the invites of a group from the store.
    pub(super) fn load<R: RowReader>(store: &R, group: GroupId) -> Result<Self, LoadError> {
        let mut admission = Self::default();
        let rows = store.read_rows(Table::Invites, &key::for_group(group));
        for (row_key, value) in rows.map_err(|error| LoadError::Read(error.to_string()))? {
            let damaged = || LoadError::Damaged("a row of `invites`".to_owned());
            let invite = key::parse_invite(&row_key).ok_or_else(damaged)?;
            admission.invites.insert(invite, decode_versioned(Table::Invites, &value)?);
        }
        Ok(admission)
    }

    /// Removes expired invites if there is no room for one more. Returns the rows to store.
    fn make_room_for_invite(&mut self, group: GroupId, unix_secs: i64) -> Result<Vec<Row>, RequestError> {
        if self.invites.len() < limits::MAX_INVITES_PER_GROUP {
            return Ok(Vec::new());
        }
        let expired = self.invites.iter().filter(|(_, row)| row.expires_at <= unix_secs);
        let rows: Vec<Row> =
            expired.map(|(invite, _)| Row::remove(Table::Invites, key::invite(group, *invite))).collect();
        self.invites.retain(|_, row| row.expires_at > unix_secs);
        if rows.is_empty() { Err(RequestError::LimitReached("invites")) } else { Ok(rows) }
    }

    /// The grant that `terms` ask for, if their invite allows it.
    fn grant_for(
        &self,
        terms: &JoinTerms,
        members: &Membership,
        unix_secs: i64,
    ) -> Result<Grant, JoinDenial> {
        let invite = self.invites.get(&terms.invite_id).ok_or(JoinDenial::UnknownInvite)?;
        let is_printable = |text: &str| !text.chars().any(char::is_control);
        if members.is_revoked(&terms.invite_id) {
            return Err(JoinDenial::Revoked);
        }
        if unix_secs >= invite.expires_at {
            return Err(JoinDenial::Expired);
        }
        let uses = members.grants().filter(|grant| grant.invite == Some(terms.invite_id)).count();
        if uses >= invite.max_uses as usize {
            return Err(JoinDenial::UsedUp);
        }
        if !is_printable(&terms.alias)
            || !terms.labels.iter().all(|(key, value)| is_printable(key) && is_printable(value))
        {
            return Err(JoinDenial::InvalidTerms);
        }
        Ok(Grant {
            holder: terms.joiner,
            role: Role::from_byte(invite.role_byte),
            alias: terms.alias.clone(),
            labels: terms.labels.clone(),
            invite: Some(terms.invite_id),
        })
    }

    /// Remembers where to send the response to a forwarded request. False if there is no room.
    fn remember_route(&mut self, id: Digest, route: ReplyRoute, now: MonoTime) -> bool {
        let has_room = self.forwarded.len() < limits::MAX_WAITING_JOINS;
        if has_room {
            self.forwarded.insert(id, (route, now));
        }
        has_room
    }

    fn remember_waiting(&mut self, request: &JoinRequest) {
        let joiner = request.terms.joiner;
        if self.waiting.len() < limits::MAX_WAITING_JOINS || self.waiting.contains_key(&joiner) {
            self.waiting.insert(joiner, request.clone());
        }
    }

    /// Where to send a response that came back. A final response ends the request.
    fn route_response(&mut self, id: &Digest, response: &JoinResponse) -> Option<ReplyRoute> {
        let (route, _) = *self.forwarded.get(id)?;
        if !matches!(
            response,
            JoinResponse::Granted { is_last: false, .. } | JoinResponse::WaitingForIssuer { .. }
        ) {
            self.forwarded.remove(id);
            self.waiting.retain(|_, request| request.id() != *id);
        }
        Some(route)
    }

    /// Removes the waiting request of `joiner`. Returns it with the route of its response, if that is still
    /// known.
    fn take_waiting(&mut self, joiner: &NodeId) -> Option<(JoinRequest, Option<ReplyRoute>)> {
        let request = self.waiting.remove(joiner)?;
        let route = self.forwarded.remove(&request.id()).map(|(route, _)| route);
        Some((request, route))
    }

    /// The terms of the waiting request of `joiner`.
    pub(super) fn waiting_terms(&self, joiner: &NodeId) -> Option<&JoinTerms> {
        self.waiting.get(joiner).map(|request| &request.terms)
    }

    /// The requests whose issuer has not answered.
    pub(super) fn waiting_requests(&self) -> Vec<JoinRequest> {
        self.waiting.values().cloned().collect()
    }

    /// When the first forwarded request will have got no response in time.
    pub(super) fn forwarded_due(&self) -> Option<MonoTime> {
        let oldest = self.forwarded.values().map(|(_, forwarded_at)| *forwarded_at).min();
        oldest.map(|at| at.plus_ms(limits::FORWARDED_JOIN_TTL_MS))
    }

    /// Forgets forwarded requests that got no response in time.
    pub(super) fn expire_forwarded(&mut self, now: MonoTime) {
        self.forwarded
            .retain(|_, (_, forwarded_at)| now.ms_since(*forwarded_at) < limits::FORWARDED_JOIN_TTL_MS);
    }

    #[cfg(test)]
    pub(super) fn request_counts(&self) -> (usize, usize) {
        (self.forwarded.len(), self.waiting.len())
    }
}

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
    let mut rows = state.admission.make_room_for_invite(group, unix_secs)?;
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
