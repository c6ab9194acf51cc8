//! The invites of one group that were made on this node, and the join requests that wait or are forwarded.

use std::collections::BTreeMap;

use crate::id::{Digest, GroupId, InviteId, NodeId};
use crate::limits;
use crate::node::effect::RequestError;
use crate::node::input::{LinkId, MonoTime};
use crate::record::{Grant, Membership, Role};
use crate::store::{InviteRow, LoadError, Row, RowReader, Table, decode_versioned, key};
use crate::wire::guest::{JoinDenial, JoinRequest, JoinResponse, JoinTerms};

/// The stream on which the response to a join request is sent.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) enum ReplyRoute {
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
    pub(super) forwarded: BTreeMap<Digest, (ReplyRoute, MonoTime)>,
    /// By joiner: the requests whose issuer has not answered.
    pub(super) waiting: BTreeMap<NodeId, JoinRequest>,
}

impl Admission {
    /// Reads the invites of a group from the store.
    pub(in crate::node) fn load<R: RowReader>(store: &R, group: GroupId) -> Result<Self, LoadError> {
        let mut admission = Self::default();
        let rows = store.read_rows(Table::Invites, &key::for_group(group));
        for (row_key, value) in rows.map_err(|error| LoadError::Read(error.to_string()))? {
            let damaged = || LoadError::Damaged("a row of `invites`".to_owned());
            let invite = key::parse_invite(&row_key).ok_or_else(damaged)?;
            admission.invites.insert(invite, decode_versioned(Table::Invites, &value)?);
        }
        Ok(admission)
    }

    /// Removes expired invites if no more can be added. Returns the rows to store; an error if none
    /// has expired.
    pub(super) fn remove_expired_if_full(
        &mut self,
        group: GroupId,
        unix_secs: i64,
    ) -> Result<Vec<Row>, RequestError> {
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
    pub(super) fn grant_for(
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

    /// Remembers where to send the response to a forwarded request. False if too many are remembered.
    pub(super) fn remember_route(&mut self, id: Digest, route: ReplyRoute, now: MonoTime) -> bool {
        let is_remembered = self.forwarded.len() < limits::MAX_WAITING_JOINS;
        if is_remembered {
            self.forwarded.insert(id, (route, now));
        }
        is_remembered
    }

    pub(super) fn remember_waiting(&mut self, request: &JoinRequest) {
        let joiner = request.terms.joiner;
        if self.waiting.len() < limits::MAX_WAITING_JOINS || self.waiting.contains_key(&joiner) {
            self.waiting.insert(joiner, request.clone());
        }
    }

    /// Where to send a response that came back. A final response ends the request.
    pub(super) fn route_response(&mut self, id: &Digest, response: &JoinResponse) -> Option<ReplyRoute> {
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
    pub(super) fn take_waiting(&mut self, joiner: &NodeId) -> Option<(JoinRequest, Option<ReplyRoute>)> {
        let request = self.waiting.remove(joiner)?;
        let route = self.forwarded.remove(&request.id()).map(|(route, _)| route);
        Some((request, route))
    }

    /// The terms of the waiting request of `joiner`.
    pub(in crate::node) fn waiting_terms(&self, joiner: &NodeId) -> Option<&JoinTerms> {
        self.waiting.get(joiner).map(|request| &request.terms)
    }

    /// The requests whose issuer has not answered.
    pub(super) fn waiting_requests(&self) -> Vec<JoinRequest> {
        self.waiting.values().cloned().collect()
    }

    /// When the first forwarded request will have got no response in time.
    pub(in crate::node) fn forwarded_due(&self) -> Option<MonoTime> {
        let oldest = self.forwarded.values().map(|(_, forwarded_at)| *forwarded_at).min();
        oldest.map(|at| at.plus_ms(limits::FORWARDED_JOIN_TTL_MS))
    }

    /// Forgets forwarded requests that got no response in time.
    pub(in crate::node) fn expire_forwarded(&mut self, now: MonoTime) {
        self.forwarded
            .retain(|_, (_, forwarded_at)| now.ms_since(*forwarded_at) < limits::FORWARDED_JOIN_TTL_MS);
    }

    #[cfg(test)]
    pub(in crate::node) fn request_counts(&self) -> (usize, usize) {
        (self.forwarded.len(), self.waiting.len())
    }
}
