//! Opens and accepts streams: a small `NetworkBehaviour` with its `ConnectionHandler`.
//!
//! Both protocols are always offered. The driver gets every stream and decides who may use it, so it can hold
//! the link of a peer that is not yet a member and release it later on the same connection. libp2p-stream is
//! not used: it silently drops inbound streams when many arrive at once (294 of 435 when thirty hosts start
//! together).

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

const MEMBER_PROTOCOL: StreamProtocol = StreamProtocol::new("/larder/link/1");
const GUEST_PROTOCOL: StreamProtocol = StreamProtocol::new("/larder/guest/1");

fn protocol_of(kind: LinkKind) -> StreamProtocol {
    match kind {
        LinkKind::Member => MEMBER_PROTOCOL,
        LinkKind::Guest => GUEST_PROTOCOL,
    }
}

/// The outcome of a stream on one connection.
#[derive(Debug)]
pub(crate) enum StreamOutcome {
    /// The requested stream is open.
    Opened(LinkKind, Stream),
    /// The requested stream did not open. True if the peer does not support the protocol.
    Failed(LinkKind, bool),
    /// The peer opened a stream.
    Accepted(LinkKind, Stream),
}

/// Reports the outcome of a stream to the driver.
#[derive(Debug)]
pub(crate) struct StreamEvent {
    pub(crate) peer: PeerId,
    pub(crate) connection: ConnectionId,
    pub(crate) outcome: StreamOutcome,
}

/// The behaviour: passes requests to the handlers and outcomes to the driver.
#[derive(Default)]
pub(crate) struct StreamBehaviour {
    swarm_actions: VecDeque<ToSwarm<StreamEvent, LinkKind>>,
}

impl StreamBehaviour {
    /// Requests a stream on a connection. The driver polls the swarm right after, so no waker is needed.
    pub(crate) fn request_stream(&mut self, peer_id: PeerId, connection: ConnectionId, kind: LinkKind) {
        let handler = NotifyHandler::One(connection);
        self.swarm_actions.push_back(ToSwarm::NotifyHandler { peer_id, handler, event: kind });
    }
}

impl NetworkBehaviour for StreamBehaviour {
    type ConnectionHandler = StreamHandler;
    type ToSwarm = StreamEvent;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(StreamHandler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(StreamHandler::default())
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        outcome: THandlerOutEvent<Self>,
    ) {
        self.swarm_actions.push_back(ToSwarm::GenerateEvent(StreamEvent { peer, connection, outcome }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.swarm_actions.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// The handler of one connection. Its queues need no waker: libp2p polls it again after every event.
#[derive(Default)]
pub(crate) struct StreamHandler {
    requests: VecDeque<LinkKind>,
    outcomes: VecDeque<StreamOutcome>,
}

impl ConnectionHandler for StreamHandler {
    type FromBehaviour = LinkKind;
    type ToBehaviour = StreamOutcome;
    type InboundProtocol = AcceptAnyKind;
    type OutboundProtocol = RequestKind;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = LinkKind;

    fn listen_protocol(&self) -> SubstreamProtocol<AcceptAnyKind> {
        SubstreamProtocol::new(AcceptAnyKind, ()).with_timeout(limits::STREAM_NEGOTIATION_TIMEOUT)
    }

    fn on_behaviour_event(&mut self, kind: LinkKind) {
        if self.requests.len() < limits::MAX_STREAMS_PER_CONNECTION {
            self.requests.push_back(kind);
        } else {
            self.outcomes.push_back(StreamOutcome::Failed(kind, false));
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, AcceptAnyKind, RequestKind, (), LinkKind>) {
        let outcome = match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (kind, stream),
                ..
            }) => StreamOutcome::Accepted(kind, stream),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, info }) => {
                StreamOutcome::Opened(info, stream)
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                StreamOutcome::Failed(info, matches!(error, StreamUpgradeError::NegotiationFailed))
            }
            _ => return,
        };
        // Yamux allows hardly more streams than this. A dropped stream is reset, which its opener notices.
        if !matches!(outcome, StreamOutcome::Accepted(..))
            || self.outcomes.len() < limits::MAX_STREAMS_PER_CONNECTION
        {
            self.outcomes.push_back(outcome);
        }
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<RequestKind, LinkKind, StreamOutcome>> {
        if let Some(outcome) = self.outcomes.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(outcome));
        }
        let Some(kind) = self.requests.pop_front() else { return Poll::Pending };
        let protocol =
            SubstreamProtocol::new(RequestKind(kind), kind).with_timeout(limits::STREAM_NEGOTIATION_TIMEOUT);
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
    }
}

/// Offers both protocols.
#[derive(Debug)]
pub(crate) struct AcceptAnyKind;

impl UpgradeInfo for AcceptAnyKind {
    type Info = StreamProtocol;
    type InfoIter = [StreamProtocol; 2];

    fn protocol_info(&self) -> Self::InfoIter {
        [MEMBER_PROTOCOL, GUEST_PROTOCOL]
    }
}

impl InboundUpgrade<Stream> for AcceptAnyKind {
    type Output = (LinkKind, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        let kind = if protocol == MEMBER_PROTOCOL { LinkKind::Member } else { LinkKind::Guest };
        ready(Ok((kind, stream)))
    }
}

/// Requests one protocol.
#[derive(Debug)]
pub(crate) struct RequestKind(LinkKind);

impl UpgradeInfo for RequestKind {
    type Info = StreamProtocol;
    type InfoIter = [StreamProtocol; 1];

    fn protocol_info(&self) -> Self::InfoIter {
        [protocol_of(self.0)]
    }
}

impl OutboundUpgrade<Stream> for RequestKind {
    type Output = Stream;
    type Error = Infallible;
    type Future = Ready<Result<Stream, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, _: StreamProtocol) -> Self::Future {
        ready(Ok(stream))
    }
}
