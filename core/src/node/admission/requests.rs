//! Join requests on their way: answered by the issuer, and forwarded by every other member.

use super::{ReplyRoute, issuer_name};
use crate::group::Group;
use crate::id::NodeId;
use crate::limits;
use crate::node::effect::{Effect, NodeEvent, RequestError};
use crate::node::group_state::{GroupContext, GroupState};
use crate::node::input::LinkId;
use crate::node::protocol_error::ProtocolError;
use crate::node::record_issuer::RecordIssuer;
use crate::record::{RecordBody, SignedRecord};
use crate::wire::guest::{GuestFrame, JoinDenial, JoinRequest, JoinResponse, split_records};
use crate::wire::member::{ForwardedJoin, ForwardedResponse, GroupFrame};

/// The name of the limit [`limits::MAX_WAITING_JOINS`].
const WAITING_JOINS_LIMIT: &str = "join requests that wait for their issuer";

/// The responses that tell `joiner` that it is a member, if it is one.
pub(in crate::node) fn grant_responses(group: &Group, joiner: &NodeId) -> Option<Vec<JoinResponse>> {
    let newest_grant = group.members().live_grants_of(joiner).last()?;
    let proof = group.records().grant_proof(&newest_grant.grant)?;
    let parts = split_records(proof.iter().map(SignedRecord::encode).collect());
    Some(parts.into_iter().map(|(records, is_last)| JoinResponse::Granted { records, is_last }).collect())
}

/// Handles the join requests of one group.
pub(in crate::node) struct JoinRequestHandler<'r, 'c> {
    pub(in crate::node) state: &'r mut GroupState,
    pub(in crate::node) ctx: &'r mut GroupContext<'c>,
}

impl JoinRequestHandler<'_, '_> {
    /// Answers a request if this node can, and forwards it otherwise.
    pub(in crate::node) fn handle(&mut self, request: &JoinRequest, route: ReplyRoute) {
        let responses = match self.answer(request) {
            Some(responses) => responses,
            None => self.remember_and_forward(request, route),
        };
        self.respond(request, route, responses);
    }

    /// The responses to a request of a member, or to one with a code of this node; else `None`.
    fn answer(&mut self, request: &JoinRequest) -> Option<Vec<JoinResponse>> {
        let joiner = &request.terms.joiner;
        if let Some(responses) = grant_responses(&self.state.group, joiner) {
            return Some(responses);
        }
        if request.terms.issuer_fingerprint != self.ctx.own_id.fingerprint8() {
            return None;
        }
        match self.issue_grant(request) {
            Ok(()) => grant_responses(&self.state.group, joiner),
            Err(denial) => Some(vec![JoinResponse::Denied(denial)]),
        }
    }

    fn issue_grant(&mut self, request: &JoinRequest) -> Result<(), JoinDenial> {
        let (group, peer) = (self.state.group.id(), request.terms.joiner);
        let members = self.state.group.members();
        let grant = self.state.admission.grant_for(&request.terms, members, self.ctx.now.unix_secs)?;
        let issued = RecordIssuer::new(self.state, self.ctx, "", "").issue_as_admin(RecordBody::Grant(grant));
        issued.map_err(|error| match error {
            RequestError::InvalidGrantTerms => JoinDenial::InvalidTerms,
            _ => JoinDenial::IssuerNotAdmin,
        })?;
        self.state.admission.waiting.remove(&peer);
        self.ctx.emit_event(NodeEvent::MemberAdmitted { group, peer });
        Ok(())
    }

    /// Returns what to respond now: that the issuer is away, if it is not linked.
    fn remember_and_forward(&mut self, request: &JoinRequest, route: ReplyRoute) -> Vec<JoinResponse> {
        self.state.admission.remember_waiting(request);
        self.remember_route(request, route);
        self.forward(request, limits::MAX_FORWARD_HOPS, None);
        match self.find_linked_issuer(request) {
            Some(_) => Vec::new(),
            None => {
                let issuer_name = issuer_name(&self.state.group, &request.terms);
                vec![JoinResponse::WaitingForIssuer { issuer_name }]
            }
        }
    }

    fn remember_route(&mut self, request: &JoinRequest, route: ReplyRoute) -> bool {
        let is_remembered = self.state.admission.remember_route(request.id(), route, self.ctx.now.mono);
        if !is_remembered {
            self.ctx.limit_stats.record(WAITING_JOINS_LIMIT, limits::MAX_WAITING_JOINS);
        }
        is_remembered
    }

    fn find_linked_issuer(&self, request: &JoinRequest) -> Option<LinkId> {
        let is_issuer = |peer: &NodeId| peer.fingerprint8() == request.terms.issuer_fingerprint;
        self.state.sessions.iter().find(|(_, session)| is_issuer(&session.peer)).map(|(link, _)| *link)
    }

    /// Sends a request to its issuer if that is linked, and else to all neighbours except `from`.
    fn forward(&mut self, request: &JoinRequest, hops: u8, from: Option<LinkId>) {
        let links: Vec<LinkId> = match self.find_linked_issuer(request) {
            Some(link) => vec![link],
            None => self.state.sessions.keys().copied().filter(|link| Some(*link) != from).collect(),
        };
        let forwarded = ForwardedJoin { hops, request: request.clone() };
        for link in links {
            self.ctx.send(link, &GroupFrame::ForwardedJoin(forwarded.clone()));
        }
    }

    /// Sends the requests that wait for their issuer once more: a neighbour has come.
    pub(in crate::node) fn forward_waiting(&mut self) {
        for request in self.state.admission.waiting_requests() {
            self.forward(&request, limits::MAX_FORWARD_HOPS, None);
        }
    }

    fn respond(&mut self, request: &JoinRequest, route: ReplyRoute, responses: Vec<JoinResponse>) {
        let join_id = request.id();
        for response in responses {
            self.send_response(route, ForwardedResponse { join_id, response });
        }
    }

    fn send_response(&mut self, route: ReplyRoute, forwarded: ForwardedResponse) {
        match route {
            ReplyRoute::GuestStream(link) => {
                let bytes = GuestFrame::JoinResponse(forwarded.response).encode();
                self.ctx.outbox.push(Effect::Send { link, bytes });
            }
            ReplyRoute::MemberLink(link) => self.ctx.send(link, &GroupFrame::ForwardedResponse(forwarded)),
        }
    }

    /// A neighbour forwarded a request.
    pub(in crate::node) fn on_forwarded_join(
        &mut self,
        link: LinkId,
        forwarded: ForwardedJoin,
    ) -> Result<(), ProtocolError> {
        let ForwardedJoin { hops, request } = forwarded;
        if request.terms.group != self.state.group.id() || !request.has_valid_signatures() {
            return Err(ProtocolError::InvalidJoinRequest);
        }
        if self.state.admission.forwarded.contains_key(&request.id()) {
            return Ok(());
        }
        let route = ReplyRoute::MemberLink(link);
        if !self.remember_route(&request, route) {
            return Ok(());
        }
        if let Some(responses) = self.answer(&request) {
            self.state.admission.forwarded.remove(&request.id());
            self.respond(&request, route, responses);
        } else if let Some(hops) = hops.min(limits::MAX_FORWARD_HOPS).checked_sub(1) {
            self.forward(&request, hops, Some(link));
        }
        Ok(())
    }

    /// A neighbour sent the response to a forwarded request.
    pub(in crate::node) fn on_forwarded_response(&mut self, forwarded: ForwardedResponse) {
        let route = self.state.admission.route_response(&forwarded.join_id, &forwarded.response);
        if let Some(route) = route {
            self.send_response(route, forwarded);
        }
    }

    /// Tells a joiner whose request waits that it is a member now: another admin approved it.
    pub(in crate::node) fn grant_waiting(&mut self, joiner: &NodeId) {
        let responses = grant_responses(&self.state.group, joiner).unwrap_or_default();
        self.answer_waiting(joiner, responses);
    }

    /// Answers the waiting request of `joiner`. False if it has none.
    pub(in crate::node) fn answer_waiting(&mut self, joiner: &NodeId, responses: Vec<JoinResponse>) -> bool {
        let Some((request, route)) = self.state.admission.take_waiting(joiner) else { return false };
        if let Some(route) = route {
            self.respond(&request, route, responses);
        }
        true
    }
}
