//! A node that a test drives by hand.

use super::node_config;
use crate::id::SecretKey;
use crate::node::{
    ClockReading, Effect, Input, LinkId, LinkKind, MonoTime, Node, NodeConfig, Request, RequestId, offline,
};
use crate::store::MemoryStore;

/// A node whose rows are durable at once, with its store and clock.
#[derive(Clone, Debug)]
pub struct TestNode {
    /// The driven node.
    pub node: Node,
    /// The rows that the node stored.
    pub store: MemoryStore,
    /// The time of the next input.
    pub now: ClockReading,
    request_count: u64,
}

impl TestNode {
    /// The time at which [`TestNode::open`] opens a node.
    pub const START: ClockReading = ClockReading { mono: MonoTime(1_000_000), unix_secs: 1_700_000_000 };

    /// Opens the node with this key from `store`. Its first effects are carried out and forgotten.
    ///
    /// # Panics
    ///
    /// If the rows in `store` are damaged.
    pub fn open(secret: SecretKey, store: MemoryStore) -> Self {
        Self::open_at(node_config(secret), Self::START, store).0
    }

    /// Opens a node. Returns it with its first effects, apart from the rows.
    ///
    /// # Panics
    ///
    /// If the rows in `store` are damaged.
    pub fn open_at(config: NodeConfig, now: ClockReading, store: MemoryStore) -> (Self, Vec<Effect>) {
        let (node, effects) = Node::open(config, now, &store).expect("the stored rows are intact");
        let mut opened = Self { node, store, now, request_count: 0 };
        let effects = opened.carry_out(effects);
        (opened, effects)
    }

    fn carry_out(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        offline::carry_out(&mut self.node, self.now, effects, |rows| self.store.write(&rows))
    }

    /// Handles an input. Returns all effects but the stores, once those are durable.
    pub fn handle(&mut self, input: Input) -> Vec<Effect> {
        let effects = self.node.handle(self.now, input);
        self.carry_out(effects)
    }

    /// Handles a request. Returns its id and the effects.
    pub fn request(&mut self, request: Request) -> (RequestId, Vec<Effect>) {
        self.request_count += 1;
        let request_id = RequestId(self.request_count);
        (request_id, self.handle(Input::Request { request_id, request }))
    }

    /// Handles that a link or guest stream with the node of `peer` came up.
    pub fn open_link(
        &mut self,
        link: u64,
        peer: &SecretKey,
        kind: LinkKind,
        is_opened_here: bool,
    ) -> Vec<Effect> {
        self.handle(Input::LinkUp { link: LinkId(link), peer: peer.node_id(), kind, is_opened_here })
    }

    /// Handles a frame on a link or guest stream.
    pub fn receive(&mut self, link: LinkId, bytes: Vec<u8>) -> Vec<Effect> {
        self.handle(Input::FrameReceived { link, bytes })
    }
}
