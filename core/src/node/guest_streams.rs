//! Guest streams: how they open, what each of their frames leads to, and how they end.

use super::Node;
use super::effect::Effect;
use super::input::{LinkId, MonoTime};
use super::join::JoinHandshake;
use super::protocol_error::ProtocolError;
use crate::id::{GroupId, NodeId};
use crate::limits;
use crate::record::SignedRecord;
use crate::wire::guest::GuestFrame;

/// A visit, from either side.
#[derive(Clone, Debug)]
pub(super) struct GuestStream {
    pub(super) peer: NodeId,
    /// True if this node opened it.
    pub(super) opened_here: bool,
    pub(super) last_activity: MonoTime,
    /// What this node, as a joiner, has heard so far.
    pub(super) join_handshake: Option<JoinHandshake>,
    /// What this node, as a member, was asked for: group, the joiner's nonce and its own.
    pub(super) probe_nonces: Option<(GroupId, [u8; 16], [u8; 16])>,
    /// True once somebody asked on it to be let in without a code.
    pub(super) is_pairing: bool,
    /// True once this node told the other side everything, since that took one of the two for no member.
    pub(super) has_sent_full_membership: bool,
    /// A line of grants that comes in portions.
    pub(super) partial_records: Vec<SignedRecord>,
    /// Lines of grants that this node showed and that were not answered yet. Answers come in order: these before that
    /// to the first probe.
    pub(super) unanswered_grant_paths: usize,
}

impl Node {
    pub(super) fn on_guest_stream_up(&mut self, link: LinkId, peer: NodeId, opened_here: bool) {
        if self.guest_streams.len() >= limits::MAX_GUEST_STREAMS {
            self.limit_stats.record("visits of strangers at once", limits::MAX_GUEST_STREAMS);
            self.outbox.push(Effect::Close { link, reason: "too many visits at once".to_owned() });
            return;
        }
        if self.outbox.has_failed() {
            self.outbox.push(Effect::Close { link, reason: "the store failed".to_owned() });
            return;
        }
        let last_activity = self.now.mono;
        self.guest_streams.insert(
            link,
            GuestStream {
                peer,
                opened_here,
                last_activity,
                join_handshake: None,
                probe_nonces: None,
                is_pairing: false,
                has_sent_full_membership: false,
                partial_records: Vec::new(),
                unanswered_grant_paths: 0,
            },
        );
        if !opened_here {
            return;
        }
        self.send_grant_paths(link, peer);
        let has_probed = self.send_next_probe(link, peer);
        let has_shown_grant_path =
            self.guest_streams.get(&link).is_some_and(|stream| stream.unanswered_grant_paths > 0);
        if !has_probed && !has_shown_grant_path {
            self.close_guest_stream(link, "nothing to say");
        }
    }

    pub(super) fn on_guest_frame(
        &mut self,
        link: LinkId,
        peer: NodeId,
        frame: GuestFrame,
    ) -> Result<(), ProtocolError> {
        if let Some(stream) = self.guest_streams.get_mut(&link) {
            stream.last_activity = self.now.mono;
        }
        match frame {
            GuestFrame::MembershipProbe(membership_probe) => self.on_probe(link, peer, &membership_probe),
            GuestFrame::ProbeResponse(response) => self.on_probe_response(link, peer, &response)?,
            GuestFrame::JoinRequest(request) => self.on_join_request(link, peer, request)?,
            GuestFrame::JoinResponse(response) => self.on_join_response(link, &response)?,
            GuestFrame::GrantPath(grant_path) => self.on_grant_path(link, peer, &grant_path)?,
            GuestFrame::MembershipEnded(ended) => self.on_membership_ended(link, &ended)?,
            GuestFrame::PairingRequest(request) => self.on_pairing_request(link, peer, request),
            GuestFrame::PairingNonce(nonce) => self.on_pairing_nonce(link, peer, nonce)?,
            GuestFrame::PairingReveal(nonce) => self.on_pairing_reveal(link, peer, nonce)?,
            GuestFrame::NotMember => {
                if !self.on_grant_path_answered(link, "not known") && !self.send_next_probe(link, peer) {
                    self.close_guest_stream(link, "not in the same group");
                }
            }
            GuestFrame::MemberRecognized(_) => drop(self.on_grant_path_answered(link, "known now")),
            GuestFrame::Unknown(_) => {}
        }
        Ok(())
    }

    /// A line that this node showed was answered, and nothing is left to say once all were, unless it came to ask for
    /// something too. False if none was waited for.
    pub(super) fn on_grant_path_answered(&mut self, link: LinkId, reason: &str) -> bool {
        let Some(stream) = self.guest_streams.get_mut(&link) else { return true };
        if stream.unanswered_grant_paths == 0 {
            return false;
        }
        stream.unanswered_grant_paths -= 1;
        if stream.unanswered_grant_paths == 0 && stream.join_handshake.is_none() {
            self.close_guest_stream(link, reason);
        }
        true
    }

    pub(super) fn send_guest_frame(&mut self, link: LinkId, frame: &GuestFrame) {
        self.outbox.push(Effect::Send { link, bytes: frame.encode() });
    }

    pub(super) fn close_guest_stream(&mut self, link: LinkId, reason: &str) {
        self.guest_streams.remove(&link);
        self.outbox.push(Effect::Close { link, reason: reason.to_owned() });
    }

    pub(super) fn close_idle_guest_streams(&mut self) {
        let now = self.now.mono;
        let idle = self
            .guest_streams
            .iter()
            .filter(|(_, stream)| now.ms_since(stream.last_activity) >= limits::GUEST_STREAM_IDLE_MS);
        for link in idle.map(|(link, _)| *link).collect::<Vec<_>>() {
            self.close_guest_stream(link, "a visit without a word");
        }
    }
}
