//! Joining without a code: a machine asks every node that it sees, operators on both sides compare six digits, and an
//! admin lets it in. See [`crate::wire::ask`].

use std::collections::BTreeMap;

use super::Node;
use super::effect::{RequestError, Response};
use super::input::{LinkId, MonoTime, RequestId};
use super::protocol_error::ProtocolError;
use crate::id::{Digest, GroupId, NodeId};
use crate::limits;
use crate::record::{Role, SignedRecord};
use crate::wire::EncodedRecords;
use crate::wire::guest::{GuestFrame, JoinDenial, JoinResponse};
use crate::wire::pairing::{self, PairingRequest};

/// This node asks to be let in somewhere.
#[derive(Clone, Debug)]
pub struct OutgoingPairing {
    alias: String,
    labels: Vec<(String, String)>,
    started_at: MonoTime,
    peers: BTreeMap<NodeId, PairingPeer>,
    /// The member whose digits the operator found to be right.
    confirmed_member: Option<NodeId>,
    /// The group that let it in.
    pub joined_group: Option<GroupId>,
}

/// What a joiner knows of one member that could let it in.
#[derive(Clone, Debug)]
struct PairingPeer {
    own_nonce: [u8; 16],
    peer_nonce: Option<[u8; 16]>,
    is_denied: bool,
    /// A grant that came, and waits until the digits are found to be right.
    grant_records: Vec<SignedRecord>,
    is_grant_complete: bool,
}

impl OutgoingPairing {
    /// When this node gives up.
    pub(super) fn expires_at(&self) -> MonoTime {
        self.started_at.plus_ms(limits::PAIRING_TIMEOUT_MS)
    }

    /// The members that showed the request to their operators, with the digits that these must see, and whether they
    /// said no.
    pub fn peers_with_digits(&self, me: &NodeId) -> impl Iterator<Item = (NodeId, u32, bool)> {
        self.peers.iter().filter_map(move |(member, peer)| {
            let peer_nonce = peer.peer_nonce.as_ref()?;
            Some((*member, pairing::digits(me, member, (&peer.own_nonce, peer_nonce)), peer.is_denied))
        })
    }
}

/// Somebody asks this node to be let in.
#[derive(Clone, Debug)]
pub struct IncomingPairing {
    /// What it would like to be called.
    pub alias: String,
    /// The labels it would like.
    pub labels: Vec<(String, String)>,
    /// When it asked first, in seconds since 1970.
    pub requested_unix_secs: i64,
    commitment: Digest,
    own_nonce: [u8; 16],
    joiner_nonce: Option<[u8; 16]>,
    last_request_at: MonoTime,
    is_denied: bool,
}

impl Node {
    /// The machines that ask to be let in, with the digits that their operators must see, once these are known.
    pub fn incoming_pairings(&self) -> impl Iterator<Item = (NodeId, &IncomingPairing, Option<u32>)> {
        let open = self
            .incoming_pairings
            .iter()
            .filter(|(joiner, incoming)| !incoming.is_denied && !self.announced_members.contains(*joiner));
        open.map(|(joiner, incoming)| {
            let joiner_nonce = incoming.joiner_nonce.as_ref();
            let digits =
                joiner_nonce.map(|nonce| pairing::digits(joiner, &self.own_id, (nonce, &incoming.own_nonce)));
            (*joiner, incoming, digits)
        })
    }

    /// This node's own asking, if it does.
    pub fn outgoing_pairing(&self) -> Option<&OutgoingPairing> {
        self.outgoing_pairing.as_ref()
    }

    pub(super) fn start_pairing(
        &mut self,
        request_id: RequestId,
        alias: String,
        labels: Vec<(String, String)>,
    ) {
        // Whoever asks once more is still the same, and so are its digits.
        let earlier = self.outgoing_pairing.take().filter(|outgoing| outgoing.joined_group.is_none());
        let (peers, confirmed_member) =
            earlier.map(|outgoing| (outgoing.peers, outgoing.confirmed_member)).unwrap_or_default();
        self.outgoing_pairing = Some(OutgoingPairing {
            alias,
            labels,
            started_at: self.now.mono,
            peers,
            confirmed_member,
            joined_group: None,
        });
        self.outbox.respond(request_id, Ok(Response::Done));
        self.guest_backoff.reset();
        self.open_due_guest_streams();
    }

    pub(super) fn stop_pairing(&mut self, request_id: RequestId) {
        self.outgoing_pairing = None;
        self.outbox.respond(request_id, Ok(Response::Done));
    }

    /// The operator of this node, which asks, found a member's digits to be right.
    pub(super) fn confirm_digits(&mut self, request_id: RequestId, digits: u32) {
        let me = self.own_id;
        let confirmed = self.outgoing_pairing.as_ref().and_then(|outgoing| {
            outgoing.peers_with_digits(&me).find(|(_, shown, denied)| *shown == digits && !denied)
        });
        let (Some((member, _, _)), Some(outgoing)) = (confirmed, self.outgoing_pairing.as_mut()) else {
            return self.respond_error(request_id, RequestError::WrongDigits);
        };
        outgoing.confirmed_member = Some(member);
        self.outbox.respond(request_id, Ok(Response::Done));
        self.join_if_confirmed();
    }

    /// Gives up once nobody let it in for too long.
    pub(super) fn expire_outgoing_pairing(&mut self) {
        let now = self.now.mono;
        if self
            .outgoing_pairing
            .as_ref()
            .is_some_and(|outgoing| now.ms_since(outgoing.started_at) >= limits::PAIRING_TIMEOUT_MS)
        {
            self.outgoing_pairing = None;
        }
    }

    /// Asks a node on a visit that stands. False if there is nothing to ask for, or it was asked.
    pub(super) fn send_pairing_request(&mut self, link: LinkId, peer: NodeId) -> bool {
        let new_nonce = self.rng.next_nonce();
        let Some(outgoing) =
            self.outgoing_pairing.as_mut().filter(|candidate| candidate.joined_group.is_none())
        else {
            return false;
        };
        let Some(stream) = self
            .guest_streams
            .get_mut(&link)
            .filter(|candidate| candidate.opened_here && !candidate.is_pairing)
        else {
            return false;
        };
        stream.is_pairing = true;
        let pairing_peer = outgoing.peers.entry(peer).or_insert_with(|| PairingPeer {
            own_nonce: new_nonce,
            peer_nonce: None,
            is_denied: false,
            grant_records: Vec::new(),
            is_grant_complete: false,
        });
        (pairing_peer.grant_records, pairing_peer.is_grant_complete) = (Vec::new(), false);
        let commitment = pairing::commitment(&self.own_id, &pairing_peer.own_nonce);
        let request = PairingRequest {
            commit: commitment,
            alias: outgoing.alias.clone(),
            labels: outgoing.labels.clone(),
        };
        self.send_guest_frame(link, &GuestFrame::PairingRequest(request));
        true
    }

    pub(super) fn on_pairing_nonce(
        &mut self,
        link: LinkId,
        peer: NodeId,
        nonce: [u8; 16],
    ) -> Result<(), ProtocolError> {
        let pairing_peer = self.outgoing_pairing.as_mut().and_then(|outgoing| outgoing.peers.get_mut(&peer));
        let Some(pairing_peer) = pairing_peer else { return Ok(()) };
        if *pairing_peer.peer_nonce.get_or_insert(nonce) != nonce {
            return Err(ProtocolError::PairingNonceChanged);
        }
        let own_nonce = pairing_peer.own_nonce;
        self.send_guest_frame(link, &GuestFrame::PairingReveal(own_nonce));
        Ok(())
    }

    /// An answer on a visit on which this node asked without a code.
    pub(super) fn on_pairing_response(
        &mut self,
        peer: NodeId,
        response: &JoinResponse,
    ) -> Result<(), ProtocolError> {
        let pairing_peer = self.outgoing_pairing.as_mut().and_then(|outgoing| outgoing.peers.get_mut(&peer));
        let Some(pairing_peer) = pairing_peer else { return Ok(()) };
        match response {
            JoinResponse::Granted { records, last } => {
                collect_grant(pairing_peer, records)?;
                pairing_peer.is_grant_complete = *last;
                self.join_if_confirmed();
            }
            JoinResponse::Denied(_) => pairing_peer.is_denied = true,
            JoinResponse::WaitingForIssuer { .. } => {}
        }
        Ok(())
    }

    /// Enters the group whose member this node's operator trusts, once its grant is here.
    fn join_if_confirmed(&mut self) {
        let Some(outgoing) =
            self.outgoing_pairing.as_mut().filter(|candidate| candidate.joined_group.is_none())
        else {
            return;
        };
        let Some(member) = outgoing.confirmed_member else { return };
        let Some(pairing_peer) =
            outgoing.peers.get_mut(&member).filter(|candidate| candidate.is_grant_complete)
        else {
            return;
        };
        let records = std::mem::take(&mut pairing_peer.grant_records);
        pairing_peer.is_grant_complete = false;
        let Some(group) = records.iter().find_map(SignedRecord::genesis_group_id) else { return };
        let Some(record_set) = super::join::build_record_set(group, records) else { return };
        let is_granted_by_member = crate::record::Membership::evaluate(&record_set).is_member(&member);
        if is_granted_by_member
            && self.join_group(record_set) == Ok(true)
            && let Some(outgoing) = &mut self.outgoing_pairing
        {
            outgoing.joined_group = Some(group);
        }
    }

    /// True if this node may let others in somewhere.
    fn can_admit(&self) -> bool {
        let is_admin = |role: Role| role == Role::Admin;
        self.groups
            .values()
            .any(|state| state.group.members().oldest_grant_allowing(&self.own_id, is_admin).is_some())
    }

    pub(super) fn on_pairing_request(&mut self, link: LinkId, peer: NodeId, request: PairingRequest) {
        if !self.can_admit() {
            return self.send_guest_frame(link, &GuestFrame::NotMember);
        }
        self.expire_incoming_pairings();
        let (new_nonce, now) = (self.rng.next_nonce(), self.now);
        let is_full = self.incoming_pairings.len() >= limits::MAX_INCOMING_PAIRINGS
            && !self.incoming_pairings.contains_key(&peer);
        if is_full {
            self.limit_stats.record("machines that ask to be let in", limits::MAX_INCOMING_PAIRINGS);
            return self.send_guest_frame(link, &GuestFrame::NotMember);
        }
        if let Some(stream) = self.guest_streams.get_mut(&link) {
            stream.is_pairing = true;
        }
        let PairingRequest { commit: commitment, alias, labels } = request;
        let new_incoming = IncomingPairing {
            alias,
            labels,
            requested_unix_secs: now.unix_secs,
            commitment,
            own_nonce: new_nonce,
            joiner_nonce: None,
            last_request_at: now.mono,
            is_denied: false,
        };
        let incoming = self.incoming_pairings.entry(peer).or_insert_with(|| new_incoming.clone());
        if incoming.commitment != commitment {
            *incoming = new_incoming;
        }
        incoming.last_request_at = now.mono;
        if incoming.is_denied {
            return self.send_guest_frame(
                link,
                &GuestFrame::JoinResponse(JoinResponse::Denied(JoinDenial::DeclinedByOperator)),
            );
        }
        let own_nonce = incoming.own_nonce;
        self.send_guest_frame(link, &GuestFrame::PairingNonce(own_nonce));
    }

    pub(super) fn on_pairing_reveal(
        &mut self,
        link: LinkId,
        peer: NodeId,
        nonce: [u8; 16],
    ) -> Result<(), ProtocolError> {
        let Some(incoming) = self.incoming_pairings.get_mut(&peer) else { return Ok(()) };
        if incoming.commitment != pairing::commitment(&peer, &nonce) {
            return Err(ProtocolError::PairingCommitmentBroken);
        }
        incoming.joiner_nonce = Some(nonce);
        self.send_grant_to(link, peer);
        Ok(())
    }

    /// Tells a machine that asked and was let in meanwhile.
    fn send_grant_to(&mut self, link: LinkId, peer: NodeId) {
        let responses =
            self.groups.values().find_map(|state| state.grant_responses(&peer)).unwrap_or_default();
        for response in responses {
            self.send_guest_frame(link, &GuestFrame::JoinResponse(response));
        }
    }

    /// Tells it on all visits on which it asks.
    pub(super) fn send_grant_on_all_streams(&mut self, peer: NodeId) {
        let open = self
            .guest_streams
            .iter()
            .filter(|(_, stream)| stream.peer == peer && stream.is_pairing && !stream.opened_here);
        for link in open.map(|(link, _)| *link).collect::<Vec<_>>() {
            self.send_grant_to(link, peer);
        }
    }

    /// What a machine that asked would like, if its digits are these.
    pub(super) fn terms_of_pairing(
        &self,
        joiner: &NodeId,
        digits: Option<u32>,
    ) -> Result<(String, Vec<(String, String)>), RequestError> {
        let (_, incoming, expected_digits) = self
            .incoming_pairings()
            .find(|(candidate, _, _)| candidate == joiner)
            .ok_or(RequestError::NoPairingRequest)?;
        match (expected_digits, digits) {
            (Some(shown), Some(digits)) if shown == digits => {
                Ok((incoming.alias.clone(), incoming.labels.clone()))
            }
            _ => Err(RequestError::WrongDigits),
        }
    }

    pub(super) fn reject_join(&mut self, request_id: RequestId, joiner: NodeId) {
        let groups_with_request: Vec<GroupId> = self
            .groups
            .values()
            .filter(|state| state.waiting_joins.contains_key(&joiner))
            .map(|state| state.group.id())
            .collect();
        for group in &groups_with_request {
            if let Some((state, mut ctx)) = self.group_with_context(*group) {
                state.deny_waiting_join(&mut ctx, &joiner, JoinDenial::DeclinedByOperator);
            }
        }
        match self.incoming_pairings.get_mut(&joiner) {
            Some(incoming) => incoming.is_denied = true,
            None if groups_with_request.is_empty() => {
                return self.respond_error(request_id, RequestError::NoPairingRequest);
            }
            None => {}
        }
        self.outbox.respond(request_id, Ok(Response::Done));
    }

    /// When the first pairing request is forgotten, unless its node repeats it.
    pub(super) fn incoming_pairing_due(&self) -> Option<MonoTime> {
        let oldest = self.incoming_pairings.values().map(|incoming| incoming.last_request_at).min();
        oldest.map(|at| at.plus_ms(limits::PAIRING_TIMEOUT_MS))
    }

    /// Forgets those that do not ask any more.
    pub(super) fn expire_incoming_pairings(&mut self) {
        let now = self.now.mono;
        self.incoming_pairings
            .retain(|_, incoming| now.ms_since(incoming.last_request_at) < limits::PAIRING_TIMEOUT_MS);
    }
}

fn collect_grant(pairing_peer: &mut PairingPeer, records: &EncodedRecords) -> Result<(), ProtocolError> {
    super::join::collect_records(&mut pairing_peer.grant_records, records)
}
