//! Opening and accepting streams: a small `NetworkBehaviour` with its `ConnectionHandler`.
//!
//! Both protocols are always offered; who may use them is decided by the driver, which gets every stream. (A key that
//! is not yet a member can so be held back and let in later, without a second connection.) libp2p-stream is not used:
//! it drops inbound streams in silence when many arrive at once, 294 of 435 as thirty hosts start together.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::future::{Ready, ready};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, Stream, StreamProtocol, StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use crate::event::LinkKind;
use crate::limits;

const LINK: StreamProtocol = StreamProtocol::new("/larder/link/1");
const VISIT: StreamProtocol = StreamProtocol::new("/larder/visit/1");

fn protocol(kind: LinkKind) -> StreamProtocol {
    match kind {
        LinkKind::Member => LINK,
        LinkKind::Stranger => VISIT,
    }
}

/// What became of a stream on one connection.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The stream that we asked for is open.
    Opened(LinkKind, Stream),
    /// The stream that we asked for did not open. True: the other side does not speak the protocol.
    Failed(LinkKind, bool),
    /// The other side opened a stream.
    Accepted(LinkKind, Stream),
}

/// Tells the driver of streams.
#[derive(Debug)]
pub(crate) struct StreamEvent {
    pub(crate) peer: PeerId,
    pub(crate) connection: ConnectionId,
    pub(crate) outcome: Outcome,
}

/// The behaviour: passes requests down and outcomes up.
#[derive(Default)]
pub(crate) struct Streams {
    actions: VecDeque<ToSwarm<StreamEvent, LinkKind>>,
}

impl Streams {
    /// Asks for a stream on that connection. The driver polls the swarm right after, so nothing need be woken.
    pub(crate) fn open(&mut self, peer_id: PeerId, connection: ConnectionId, kind: LinkKind) {
        let handler = NotifyHandler::One(connection);
        self.actions.push_back(ToSwarm::NotifyHandler { peer_id, handler, event: kind });
    }
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = Handler;
    type ToSwarm = StreamEvent;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        outcome: THandlerOutEvent<Self>,
    ) {
        self.actions.push_back(ToSwarm::GenerateEvent(StreamEvent { peer, connection, outcome }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.actions.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// One connection's part. Its queues need no waker: libp2p polls it again after every event it hands in.
#[derive(Default)]
pub(crate) struct Handler {
    requests: VecDeque<LinkKind>,
    outcomes: VecDeque<Outcome>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = LinkKind;
    type ToBehaviour = Outcome;
    type InboundProtocol = Both;
    type OutboundProtocol = One;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = LinkKind;

    fn listen_protocol(&self) -> SubstreamProtocol<Both> {
        SubstreamProtocol::new(Both, ()).with_timeout(limits::NEGOTIATE)
    }

    fn on_behaviour_event(&mut self, kind: LinkKind) {
        if self.requests.len() < limits::STREAMS {
            self.requests.push_back(kind);
        } else {
            self.outcomes.push_back(Outcome::Failed(kind, false));
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Both, One, (), LinkKind>) {
        let outcome = match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (kind, stream),
                ..
            }) => Outcome::Accepted(kind, stream),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, info }) => {
                Outcome::Opened(info, stream)
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                Outcome::Failed(info, matches!(error, StreamUpgradeError::NegotiationFailed))
            }
            _ => return,
        };
        // Yamux allows hardly more streams than this; one that is dropped is reset, and its opener sees that.
        if !matches!(outcome, Outcome::Accepted(..)) || self.outcomes.len() < limits::STREAMS {
            self.outcomes.push_back(outcome);
        }
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<One, LinkKind, Outcome>> {
        if let Some(outcome) = self.outcomes.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(outcome));
        }
        let Some(kind) = self.requests.pop_front() else { return Poll::Pending };
        let protocol = SubstreamProtocol::new(One(kind), kind).with_timeout(limits::NEGOTIATE);
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
    }
}

/// Offers both protocols.
#[derive(Debug)]
pub(crate) struct Both;

impl UpgradeInfo for Both {
    type Info = StreamProtocol;
    type InfoIter = [StreamProtocol; 2];

    fn protocol_info(&self) -> Self::InfoIter {
        [LINK, VISIT]
    }
}

impl InboundUpgrade<Stream> for Both {
    type Output = (LinkKind, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, info: StreamProtocol) -> Self::Future {
        let kind = if info == LINK { LinkKind::Member } else { LinkKind::Stranger };
        ready(Ok((kind, stream)))
    }
}

/// Asks for one protocol.
#[derive(Debug)]
pub(crate) struct One(LinkKind);

impl UpgradeInfo for One {
    type Info = StreamProtocol;
    type InfoIter = [StreamProtocol; 1];

    fn protocol_info(&self) -> Self::InfoIter {
        [protocol(self.0)]
    }
}

impl OutboundUpgrade<Stream> for One {
    type Output = Stream;
    type Error = Infallible;
    type Future = Ready<Result<Stream, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, _: StreamProtocol) -> Self::Future {
        ready(Ok(stream))
    }
}
