//! What the parts of the driver request: actions of the swarm, and events for the daemon.

use std::collections::VecDeque;
use std::time::Instant;

use larder_core::id::NodeId;
use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::DialOpts;

use crate::event::{LinkKind, NetEvent};
use crate::event_backlog::EventBacklog;
use crate::members::MemberSet;

/// An action that the driver carries out on the swarm.
#[derive(Debug)]
pub(crate) enum SwarmAction {
    /// Dials a node, or an address whose node is not known.
    Dial(Option<NodeId>, DialOpts),
    /// Closes all connections of a node and aborts its dials.
    Disconnect(NodeId),
    CloseConnection(ConnectionId),
    /// Requests a stream on a connection.
    RequestStream(NodeId, ConnectionId, LinkKind),
}

/// Collects the actions and events of one step of the driver.
#[derive(Default)]
pub(crate) struct DriverEffects {
    pub(crate) swarm_actions: VecDeque<SwarmAction>,
    pub(crate) events: EventBacklog,
}

impl DriverEffects {
    pub(crate) fn act(&mut self, action: SwarmAction) {
        self.swarm_actions.push_back(action);
    }

    pub(crate) fn report(&mut self, event: NetEvent) {
        self.events.push(event);
    }
}

/// What a part of the driver needs beside its own state.
pub(crate) struct DriverContext<'a> {
    pub(crate) members: &'a MemberSet,
    pub(crate) effects: &'a mut DriverEffects,
    pub(crate) now: Instant,
}
