//! A hostile peer: it encodes every frame correctly and breaks every rule, first as a non-member and then as
//! a member. `docs/threats.md` lists its attacks.

mod attacks;
mod sockets;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use larder_core::group::Group;
use larder_core::id::{GrantId, NodeId, SecretKey, ShardId};
use larder_core::node::{
    ClockReading, Effect, GroupState, Input, LinkId, LinkKind, MonoTime, Node, Request, RequestId,
};
use larder_core::store::MemoryStore;
use larder_core::test_support::node_config;
use larder_core::wire::invite_code::InviteCode;
use larder_net::{EventReceiver, Multiaddr, NetEvent, NetHandle};

use crate::rng::TestRng;

pub use attacks::{AS_MEMBER, AS_STRANGER, Attack};

/// A hostile node. Between its attacks it behaves like an honest node.
pub struct Adversary {
    pub(crate) secret: SecretKey,
    net: NetHandle,
    events: EventReceiver,
    node: Node,
    store: MemoryStore,
    started: Instant,
    links: BTreeMap<LinkId, (NodeId, LinkKind)>,
    next_request: u64,
    /// The addresses of the attacked nodes.
    pub(crate) victims: Vec<SocketAddr>,
    /// Connections that are kept open without traffic.
    pub(crate) idle_connections: Vec<TcpStream>,
    /// The last known membership. The attacks continue with it after the removal.
    last_membership: Option<(Group, ShardId, GrantId)>,
    pub(crate) rng: TestRng,
}

impl Adversary {
    /// Starts a node with a fresh key that is in no group.
    ///
    /// # Panics
    ///
    /// Panics if the network does not start.
    pub fn start(seed: u8, peers: Vec<Multiaddr>) -> Self {
        let secret = SecretKey::from_bytes(&[seed; 32]);
        let mut config = larder_net::Config::new(secret.clone());
        let victims = peers.iter().filter_map(sockets::socket_addr).collect();
        config.static_peers = peers;
        config.listen_addrs = vec!["/ip4/0.0.0.0/tcp/0".parse().expect("an address")];
        let (net, events) = larder_net::start(config).expect("a network");
        let store = MemoryStore::default();
        let (node, effects) =
            Node::open(node_config(secret.clone()), now(Instant::now()), &store).expect("an empty store");
        let mut adversary = Self {
            secret,
            net,
            events,
            node,
            store,
            started: Instant::now(),
            links: BTreeMap::new(),
            next_request: 0,
            victims,
            idle_connections: Vec::new(),
            last_membership: None,
            rng: TestRng::from_seed(u64::from(seed)),
        };
        adversary.carry_out(effects);
        adversary
    }

    /// The group that the node is in, if any.
    pub(crate) fn group_state(&self) -> Option<&GroupState> {
        self.node.groups().next()
    }

    /// The group, the id of its desired shard, and the node's own grant, as they are or as they last were.
    pub(crate) fn membership(&mut self) -> Option<(Group, ShardId, GrantId)> {
        let current = self.group_state().and_then(|state| {
            let grant = state.group.members().live_grants_of(&self.secret.node_id()).next()?.grant;
            Some((state.group.clone(), state.group.desired()?.root().shard_id(), grant))
        });
        self.last_membership = current.or_else(|| self.last_membership.take());
        self.last_membership.clone()
    }

    /// All nodes that it discovered, or that it knows as members.
    pub(crate) fn known_nodes(&self) -> BTreeSet<NodeId> {
        let discovered = self.node.stranger_infos().into_iter().map(|view| view.id);
        let former_members = self.last_membership.iter().flat_map(|(group, ..)| group.members().nodes());
        former_members.chain(discovered).filter(|node| *node != self.secret.node_id()).collect()
    }

    /// Treats every known node as a member, so that the network requests member links.
    pub(crate) fn claim_membership_of_all(&mut self) {
        self.net.set_members(self.known_nodes());
    }

    /// The number of open member links.
    pub fn member_link_count(&self) -> usize {
        self.links.values().filter(|(_, kind)| *kind == LinkKind::Member).count()
    }

    /// Sends an honest request to the node's own core.
    pub fn request(&mut self, request: Request) {
        self.next_request += 1;
        let request_id = RequestId(self.next_request);
        self.input(Input::Request { request_id, request });
    }

    /// Joins with an invite code. Returns true once the node is in the group and has a member link.
    pub async fn join(&mut self, code: InviteCode, timeout: Duration) -> bool {
        self.request(Request::Join { code, alias: "adversary".to_owned(), labels: Vec::new() });
        let end = Instant::now() + timeout;
        while Instant::now() < end {
            self.run_for(Duration::from_millis(50)).await;
            if self.group_state().is_some() && self.member_link_count() > 0 {
                return true;
            }
        }
        false
    }

    /// Behaves like an honest node for a while.
    pub async fn run_for(&mut self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        loop {
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(event) => self.on_event(event),
                    None => return,
                },
                () = tokio::time::sleep(Duration::from_millis(100)) => self.input(Input::Tick),
                () = tokio::time::sleep_until(end) => return,
            }
            if tokio::time::Instant::now() >= end {
                return;
            }
        }
    }

    /// Sends a frame on every link of this kind, without the core's knowledge.
    pub(crate) fn send_to_all(&mut self, kind: LinkKind, frame: &[u8]) {
        for (link, (_, link_kind)) in &self.links {
            if *link_kind == kind {
                let _ = self.net.send_frame(*link, frame.to_vec());
            }
        }
    }

    /// Opens a guest stream to every discovered node.
    pub(crate) fn visit_all_known(&mut self) {
        for view in self.node.stranger_infos() {
            self.net.open_guest_stream(view.id);
        }
    }

    fn input(&mut self, input: Input) {
        let effects = self.node.handle(now(self.started), input);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Store { batch_id, rows } => {
                    self.store.write(&rows);
                    self.input(Input::Stored { batch_id });
                }
                Effect::Send { link, bytes } => {
                    let _ = self.net.send_frame(link, bytes);
                }
                Effect::Close { link, .. } => self.net.close_link(link),
                Effect::OpenGuestStream { peer } => {
                    self.net.open_guest_stream(peer);
                }
                Effect::SetMembers(members) => self.net.set_members(members),
                Effect::LearnAddresses { peer, addresses } => {
                    self.net.learn_addresses(
                        peer,
                        addresses.iter().filter_map(|addr| addr.parse().ok()).collect(),
                    );
                }
                Effect::Respond { .. } | Effect::DesiredChanged { .. } | Effect::Event(_) => {}
            }
        }
    }

    fn on_event(&mut self, event: NetEvent) {
        let texts = |addrs: &[Multiaddr]| addrs.iter().map(Multiaddr::to_string).collect::<Vec<_>>();
        match event {
            NetEvent::Listening { addrs } => self.input(Input::OwnAddresses(texts(&addrs))),
            NetEvent::NodeDiscovered { peer, addrs, .. } => {
                self.input(Input::NodeDiscovered { peer, addresses: texts(&addrs) })
            }
            NetEvent::LinkUp { link, peer, kind, is_opened_here: opened, .. } => {
                self.links.insert(link, (peer, kind));
                self.input(Input::LinkUp { link, peer, kind, is_opened_here: opened });
            }
            NetEvent::LinkDown { link, .. } => {
                self.links.remove(&link);
                self.input(Input::LinkDown { link });
            }
            NetEvent::FrameReceived { link, bytes } => self.input(Input::FrameReceived { link, bytes }),
            NetEvent::BytesSent { link, bytes } => self.input(Input::BytesSent { link, bytes }),
            NetEvent::LinkRefused { peer, .. } => self.input(Input::LinkRefused { peer }),
            NetEvent::GuestStreamFailed { peer, .. } => self.input(Input::GuestStreamFailed { peer }),
            NetEvent::AddressConfirmed { .. } => {}
        }
    }
}

fn now(started: Instant) -> ClockReading {
    let mono = MonoTime(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    ClockReading { mono, unix_secs: i64::try_from(since.as_secs()).unwrap_or(i64::MAX) }
}
