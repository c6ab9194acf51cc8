//! Guest streams: short streams with a peer that at least one of the two nodes does not know as a member.
//!
//! On a stream that this node opened, it runs one exchange after the other ([`opener`]). On a stream that the
//! peer opened, it answers the peer's exchanges ([`responder`]). Each side is an enum of phases; the table in
//! its module lists the legal transitions. Any other frame is a [`ProtocolError`] and closes the stream,
//! except a frame of an unknown kind, which both sides ignore.

mod opener;
mod responder;

use std::collections::{BTreeMap, BTreeSet};

use super::input::{LinkId, MonoTime};
use super::node_context::NodeContext;
use super::protocol_error::ProtocolError;
use crate::id::{GroupId, NodeId};
use crate::limits;
use crate::record::SignedRecord;
use crate::wire::EncodedRecords;
use crate::wire::guest::{GrantPath, GuestFrame, split_records};
use opener::Opener;
use responder::Responder;

/// Whether a stream stays open after a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    KeepOpen,
    /// Close the stream, for this reason.
    Close(&'static str),
}

/// This node's part in a guest stream.
#[derive(Clone, Debug)]
enum Side {
    /// This node opened the stream.
    Opener(Opener),
    /// The peer opened the stream.
    Responder(Responder),
}

#[derive(Clone, Debug)]
struct GuestStream {
    peer: NodeId,
    last_activity: MonoTime,
    side: Side,
}

/// A guest stream while it is handled, with what the node lends.
struct OpenStream<'a, 'n> {
    ctx: &'a mut NodeContext<'n>,
    link: LinkId,
    peer: NodeId,
}

impl OpenStream<'_, '_> {
    fn send(&mut self, frame: &GuestFrame) {
        self.ctx.send(self.link, frame);
    }

    /// Sends records in as many frames as they need. `frame` gets the records of one frame, and whether it is
    /// the last.
    fn send_records(&mut self, records: &[SignedRecord], frame: impl Fn(EncodedRecords, bool) -> GuestFrame) {
        for (records, is_last) in split_records(records.iter().map(SignedRecord::encode).collect()) {
            self.send(&frame(records, is_last));
        }
    }

    /// Sends records of `group`, in frames of one kind.
    fn send_grant_path(
        &mut self,
        group: GroupId,
        records: &[SignedRecord],
        frame: fn(GrantPath) -> GuestFrame,
    ) {
        self.send_records(records, |records, is_last| frame(GrantPath { group, records, is_last }));
    }
}

/// All open guest streams.
#[derive(Clone, Debug, Default)]
pub(super) struct GuestStreams {
    streams: BTreeMap<LinkId, GuestStream>,
}

impl GuestStreams {
    /// The peers to which this node opened a stream.
    pub(super) fn peers_opened_to(&self) -> BTreeSet<NodeId> {
        let is_opened_here = |stream: &&GuestStream| matches!(stream.side, Side::Opener(_));
        self.streams.values().filter(is_opened_here).map(|stream| stream.peer).collect()
    }

    /// A guest stream came up.
    pub(super) fn on_up(
        &mut self,
        ctx: &mut NodeContext<'_>,
        link: LinkId,
        peer: NodeId,
        is_opened_here: bool,
    ) {
        if self.streams.len() >= limits::MAX_GUEST_STREAMS {
            ctx.limit_stats.record("guest streams at once", limits::MAX_GUEST_STREAMS);
            return ctx.close(link, "this node has too many guest streams");
        }
        if ctx.outbox.has_failed() {
            return ctx.close(link, "the store failed");
        }
        let side = match is_opened_here {
            false => Side::Responder(Responder::new()),
            true => {
                let mut opener = Opener::new(ctx, &peer);
                let mut stream = OpenStream { ctx, link, peer };
                if let Step::Close(reason) = opener.start_next(&mut stream, "nothing to ask or prove") {
                    return ctx.close(link, reason);
                }
                Side::Opener(opener)
            }
        };
        self.streams.insert(link, GuestStream { peer, last_activity: ctx.now.mono, side });
    }

    pub(super) fn on_down(&mut self, link: LinkId) {
        self.streams.remove(&link);
    }

    /// Handles a frame on the guest stream `link`. Closes the stream if the exchange is over or the peer is
    /// at fault.
    pub(super) fn on_frame(
        &mut self,
        ctx: &mut NodeContext<'_>,
        link: LinkId,
        bytes: &[u8],
    ) -> Result<(), (NodeId, ProtocolError)> {
        let Some(mut stream) = self.streams.remove(&link) else { return Ok(()) };
        if ctx.outbox.has_failed() {
            ctx.close(link, "the store failed");
            return Ok(());
        }
        stream.last_activity = ctx.now.mono;
        let mut open = OpenStream { ctx, link, peer: stream.peer };
        let step =
            GuestFrame::decode(bytes).map_err(ProtocolError::from).and_then(|frame| match &mut stream.side {
                Side::Opener(opener) => opener.on_frame(&mut open, frame),
                Side::Responder(responder) => responder.on_frame(&mut open, frame),
            });
        match step {
            Ok(Step::KeepOpen) => drop(self.streams.insert(link, stream)),
            Ok(Step::Close(reason)) => ctx.close(link, reason),
            Err(error) => {
                ctx.close(link, error.to_string());
                return Err((stream.peer, error));
            }
        }
        Ok(())
    }

    /// Sends the grant of `joiner` on every stream on which it asked to pair.
    pub(super) fn send_pairing_grant(&self, ctx: &mut NodeContext<'_>, joiner: NodeId) {
        for (link, stream) in self.streams.iter().filter(|(_, stream)| stream.peer == joiner) {
            if let Side::Responder(responder) = &stream.side
                && responder.is_pairing()
            {
                responder::send_grant(&mut OpenStream { ctx: &mut *ctx, link: *link, peer: joiner });
            }
        }
    }

    /// When the first stream will have been idle for too long.
    pub(super) fn idle_due(&self) -> Option<MonoTime> {
        let last_activity = self.streams.values().map(|stream| stream.last_activity).min();
        last_activity.map(|at| at.plus_ms(limits::GUEST_STREAM_IDLE_MS))
    }

    /// Closes streams without a frame for [`limits::GUEST_STREAM_IDLE_MS`].
    pub(super) fn close_idle(&mut self, ctx: &mut NodeContext<'_>) {
        let now = ctx.now.mono;
        self.streams.retain(|link, stream| {
            let is_idle = now.ms_since(stream.last_activity) >= limits::GUEST_STREAM_IDLE_MS;
            if is_idle {
                ctx.close(*link, "the guest stream was idle");
            }
            !is_idle
        });
    }

    /// The number of records of an incomplete grant path on a stream that the peer opened.
    #[cfg(test)]
    pub(super) fn partial_record_count(&self, link: LinkId) -> usize {
        match &self.streams[&link].side {
            Side::Opener(_) => 0,
            Side::Responder(responder) => responder.partial_record_count(),
        }
    }
}
