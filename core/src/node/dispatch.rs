//! Dispatch: hands each received frame to its handler.

use super::admission::requests::JoinRequestHandler;
use super::effect::{Effect, NodeEvent};
use super::input::LinkId;
use super::links::LinkHandler;
use super::membership_proof;
use super::protocol_error::ProtocolError;
use crate::id::{GroupId, NodeId};
use crate::wire::member::{GroupFrame, Hello, MemberFrame};
use crate::wire::{MIN_PROTOCOL_VERSION, PROTOCOL_VERSION};

impl LinkHandler<'_> {
    pub(super) fn on_frame(&mut self, link: LinkId, bytes: &[u8]) {
        let outcome = if let Some(peer) = self.node.links.get(&link).map(|link| link.peer) {
            match MemberFrame::decode(bytes) {
                Ok(frame) => self.on_member_frame(link, peer, frame).map_err(|error| (peer, error)),
                Err(error) => {
                    self.node.outbox.push(Effect::Close { link, reason: error.to_string() });
                    Err((peer, error.into()))
                }
            }
        } else {
            let (guest_streams, mut ctx) = self.node.split();
            guest_streams.on_frame(&mut ctx, link, bytes)
        };
        if let Err((peer, error)) = outcome {
            self.node.outbox.push(Effect::Event(NodeEvent::ProtocolViolation { peer, error }));
        }
    }

    fn on_member_frame(
        &mut self,
        link: LinkId,
        peer: NodeId,
        frame: MemberFrame,
    ) -> Result<(), ProtocolError> {
        let has_greeted = self.node.links.get(&link).is_some_and(|link| link.has_greeted);
        match frame {
            MemberFrame::Group(..) | MemberFrame::Unknown(_) if !has_greeted => {
                return Err(ProtocolError::FrameBeforeHello);
            }
            MemberFrame::Hello(hello) => self.on_hello(link, peer, &hello),
            MemberFrame::Ping(nonce) => self.send_member_frame(link, &MemberFrame::Pong(nonce)),
            MemberFrame::Pong(nonce) => self.on_pong(link, peer, nonce),
            MemberFrame::Group(group, frame) => return self.on_group_frame(link, peer, group, frame),
            MemberFrame::Unknown(_) => {}
        }
        Ok(())
    }

    fn on_hello(&mut self, link: LinkId, peer: NodeId, hello: &Hello) {
        if hello.newest_version < MIN_PROTOCOL_VERSION || hello.min_version > PROTOCOL_VERSION {
            let software = hello.software.clone();
            self.node.outbox.push(Effect::Event(NodeEvent::IncompatibleVersion { peer, software }));
            self.node.outbox.push(Effect::Close { link, reason: "no protocol version in common".to_owned() });
            return;
        }
        if let Some(link) = self.node.links.get_mut(&link) {
            link.has_greeted = true;
        }
        self.open_sessions();
    }

    /// Handles a frame of a group. A group that this node is not in, or has paused, is not answered for.
    fn on_group_frame(
        &mut self,
        link: LinkId,
        peer: NodeId,
        group: GroupId,
        frame: GroupFrame,
    ) -> Result<(), ProtocolError> {
        let Some((state, mut ctx)) = self.node.group_with_context(group) else { return Ok(()) };
        // After a store failure nothing can be stored, and what is in memory may not be durable.
        if state.paused
            || (ctx.outbox.has_failed() && !matches!(frame, GroupFrame::Presence(_) | GroupFrame::StopSync))
        {
            return Ok(());
        }
        if !state.is_member(&ctx.own_id) {
            state.on_frame_as_nonmember(&mut ctx, link, peer, &frame)?;
            self.open_sessions();
            return Ok(());
        }
        if !state.group.members().is_member(&peer) {
            match frame {
                GroupFrame::GrantPath(bundle) => state.sync(&mut ctx).on_records(link, &bundle)?,
                GroupFrame::ProveMembership | GroupFrame::StopSync => {}
                _ => state.challenge_nonmember(&mut ctx, link, peer),
            }
            self.open_sessions();
            return Ok(());
        }
        if !state.sessions.contains_key(&link) && !matches!(frame, GroupFrame::StopSync) {
            state.sync(&mut ctx).open_session(link, peer);
        }
        state.mark_alive(&mut ctx, peer);
        match frame {
            GroupFrame::GroupDigest(body) => state.sync(&mut ctx).on_digest(link, &body),
            GroupFrame::GroupSummary(body) => state.sync(&mut ctx).on_summary(link, &body),
            GroupFrame::RecordBatch(body) | GroupFrame::GrantPath(body) => {
                state.sync(&mut ctx).on_records(link, &body)?
            }
            GroupFrame::ShardPositions(body) => state.sync(&mut ctx).on_positions(link, &body),
            GroupFrame::RangeRequest(body) => state.sync(&mut ctx).on_range_request(link, &body),
            GroupFrame::RangeResponse(body) => state.sync(&mut ctx).on_range_response(link, &body)?,
            GroupFrame::Push(body) => state.sync(&mut ctx).on_push(link, &body)?,
            GroupFrame::Presence(body) => state.on_presence(&mut ctx, link, &body),
            GroupFrame::StopSync => state.sync(&mut ctx).close_session(link),
            GroupFrame::ProveMembership => membership_proof::answer_challenge(state, &mut ctx, link),
            GroupFrame::ForwardedJoin(body) => {
                JoinRequestHandler { state, ctx: &mut ctx }.on_forwarded_join(link, body)?;
            }
            GroupFrame::ForwardedResponse(body) => {
                JoinRequestHandler { state, ctx: &mut ctx }.on_forwarded_response(body);
            }
        }
        Ok(())
    }
}
