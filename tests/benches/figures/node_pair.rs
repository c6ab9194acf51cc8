//! Two nodes in one process, with stores in memory, a network that takes no time and counts bytes, and a
//! clock that jumps to the next deadline. So only the nodes' own work is measured.

use std::collections::{BTreeSet, VecDeque};

use larder_core::group::ChangeNote;
use larder_core::id::{GroupId, NodeId, SecretKey};
use larder_core::node::{
    ClockReading, Effect, Input, LinkId, LinkKind, MonoTime, Request, RequestId, Response, WriteRequest,
};
use larder_core::record::Role;
use larder_core::resource::edit::{Edit, FieldEdit};
use larder_core::resource::literal::Literal;
use larder_core::store::MemoryStore;
use larder_core::test_support::{TestNode, node_config};

const START: i64 = 1_760_000_000;
/// The number of inputs after which a run counts as stuck.
const MAX_INPUTS: usize = 10_000_000;

/// The traffic between the nodes, and the time for which both only waited for a deadline.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    pub(super) bytes: usize,
    pub(super) frames: usize,
    pub(super) waited_ms: u64,
}

/// The stored state of two stopped nodes.
#[derive(Clone)]
pub(super) struct StoppedPair {
    stores: [MemoryStore; 2],
    group: GroupId,
    clock: MonoTime,
}

/// Two running nodes and the network between them.
pub(super) struct NodePair {
    nodes: [TestNode; 2],
    members: [BTreeSet<NodeId>; 2],
    queue: VecDeque<(usize, Input)>,
    answers: VecDeque<Response>,
    link: Option<LinkId>,
    next_id: u64,
    is_connected: bool,
    clock: MonoTime,
    pub(super) group: GroupId,
    pub(super) traffic: Traffic,
}

fn secret(side: usize) -> SecretKey {
    SecretKey::from_bytes(&[if side == 0 { 1 } else { 2 }; 32])
}

fn now(clock: MonoTime) -> ClockReading {
    ClockReading { mono: clock, unix_secs: START + i64::try_from(clock.0 / 1_000_000).unwrap_or(0) }
}

impl NodePair {
    /// Starts two nodes. They are not connected before [`NodePair::connect`].
    pub(super) fn open(kept: StoppedPair) -> Self {
        let StoppedPair { stores, group, clock } = kept;
        let mut opening_effects = Vec::new();
        let nodes = [0, 1].map(|side| {
            let (node, effects) =
                TestNode::open_at(node_config(secret(side)), now(clock), stores[side].clone());
            opening_effects.push(effects);
            node
        });
        let (members, queue, answers) = Default::default();
        let passed = Traffic::default();
        let mut pair = Self {
            nodes,
            members,
            queue,
            answers,
            link: None,
            next_id: 0,
            is_connected: false,
            clock,
            group,
            traffic: passed,
        };
        for (side, effects) in opening_effects.into_iter().enumerate() {
            pair.apply_effects(side, effects);
        }
        pair
    }

    /// Starts two new nodes in a common new group.
    pub(super) fn with_common_group() -> Self {
        let stores = Default::default();
        let mut pair = Self::open(StoppedPair { stores, group: GroupId::ZERO, clock: MonoTime::default() });
        let Response::GroupCreated { group, .. } =
            pair.request(0, Request::CreateGroup { name: "bench".to_owned() })
        else {
            panic!("no group")
        };
        pair.group = group;
        let invite = Request::CreateInvite {
            group: group.into(),
            role: Role::Operator,
            max_uses: 1,
            expires_unix_secs: START + 3600,
        };
        let Response::InviteCreated(code) = pair.request(0, invite) else { panic!("no invite") };
        pair.is_connected = true;
        let founder = pair.nodes[0].node.own_id();
        pair.queue
            .push_back((1, Input::NodeDiscovered { peer: founder, addresses: vec!["/bench/0".to_owned()] }));
        let joined = pair.request(1, Request::Join { code, alias: String::new(), labels: Vec::new() });
        assert!(matches!(joined, Response::Joined(_)), "{joined:?}");
        pair.run_until_in_sync();
        pair.disconnect();
        pair
    }

    /// Closes the link.
    pub(super) fn disconnect(&mut self) {
        self.is_connected = false;
        if let Some(link) = self.link.take() {
            self.queue.extend([0, 1].map(|side| (side, Input::LinkDown { link })));
        }
        self.handle_all_queued();
    }

    /// Connects the nodes and resets the traffic counts.
    pub(super) fn connect(&mut self) {
        self.is_connected = true;
        self.traffic = Traffic::default();
        self.link_members();
    }

    /// The state that the two nodes have on their disks.
    pub(super) fn stopped_state(&self) -> StoppedPair {
        StoppedPair {
            stores: [0, 1].map(|side| self.nodes[side].store.clone()),
            group: self.group,
            clock: self.clock,
        }
    }

    /// Makes node `side` write one key of one of a thousand resources.
    pub(super) fn write(&mut self, side: usize, nth: u64) {
        let resource = format!("config/c{}", nth % 1000).parse().expect("a resource");
        let field = format!("keys.k{}", nth / 1000 % 10).parse().expect("a field");
        let value = Literal::Scalar(format!("value {nth} of {side}").as_str().into());
        let edit = Edit::Set { resource, fields: vec![(field, FieldEdit::Assign(value))], replace: false };
        let command = format!("set config/c{} keys.k{}=", nth % 1000, nth / 1000 % 10);
        let note = ChangeNote { command, user: "root".to_owned(), ..ChangeNote::default() };
        let write = WriteRequest {
            group: self.group.into(),
            edits: vec![edit],
            expected_heads: None,
            note,
            allow_unknown: false,
        };
        let written = self.request(side, Request::Write(write));
        assert!(matches!(written, Response::Written(Some(_))), "{written:?}");
    }

    /// The document of the group on node `side`, as Automerge saves it.
    pub(super) fn document(&mut self, side: usize) -> Vec<u8> {
        let group = &mut self.nodes[side].node.group_mut(&self.group).expect("a member").group;
        group.flush_documents();
        group.desired().expect("a desired state").document().save()
    }

    /// The number of changes on node `side`.
    pub(super) fn change_count(&self, side: usize) -> u64 {
        self.nodes[side].node.group(&self.group).map_or(0, |state| state.group.shard_states().change_count())
    }

    /// Runs until both nodes know that they are in sync, and both documents are up to date.
    pub(super) fn run_until_in_sync(&mut self) {
        let group = self.group;
        self.run_until(|pair| {
            pair.nodes.iter().all(|host| {
                host.node
                    .group(&group)
                    .is_some_and(|state| state.neighbour_sessions().any(|(_, session)| session.is_in_sync()))
            })
        });
        let digests = [0, 1].map(|side| {
            let state = self.nodes[side].node.group_mut(&group).expect("a member");
            state.group.flush_documents();
            state.digest()
        });
        assert_eq!(digests[0], digests[1]);
    }

    fn request(&mut self, side: usize, request: Request) -> Response {
        self.next_id += 1;
        let request_id = RequestId(self.next_id);
        self.queue.push_back((side, Input::Request { request_id, request }));
        self.run_until(|pair| !pair.answers.is_empty());
        self.answers.pop_front().expect("just seen")
    }

    fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..MAX_INPUTS {
            if done(self) {
                return;
            }
            if !self.handle_next_input() {
                self.advance_to_next_wake();
            }
        }
        panic!("the two do not get there");
    }

    fn handle_all_queued(&mut self) {
        while self.handle_next_input() {}
    }

    fn handle_next_input(&mut self) -> bool {
        let Some((side, input)) = self.queue.pop_front() else { return false };
        // Each input takes a microsecond, so that time passes under load.
        self.clock.0 += 1;
        self.nodes[side].now = now(self.clock);
        let effects = self.nodes[side].handle(input);
        self.apply_effects(side, effects);
        true
    }

    fn advance_to_next_wake(&mut self) {
        let wakes = [0, 1].map(|side| self.nodes[side].node.next_wake_at());
        let next = wakes.into_iter().flatten().min().expect("a linked node has a deadline");
        let next = next.max(MonoTime(self.clock.0 + 1));
        self.traffic.waited_ms += next.ms_since(self.clock);
        self.clock = next;
        self.queue.extend([0, 1].map(|side| (side, Input::Tick)));
    }

    fn apply_effects(&mut self, side: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { link, bytes } => {
                    self.traffic.frames += 1;
                    self.traffic.bytes += bytes.len();
                    self.queue.push_back((side, Input::BytesSent { link, bytes: bytes.len() }));
                    self.queue.push_back((1 - side, Input::FrameReceived { link, bytes }));
                }
                Effect::Close { link, .. } => {
                    self.queue.extend([0, 1].map(|side| (side, Input::LinkDown { link })));
                    self.link = self.link.filter(|open| *open != link);
                }
                Effect::OpenGuestStream { .. } if self.is_connected => {
                    self.open_stream(side, LinkKind::Guest);
                }
                Effect::SetMembers(members) => {
                    self.members[side] = members;
                    self.link_members();
                }
                Effect::Respond { response: answer, .. } => {
                    self.answers.push_back(answer.expect("no refusal"))
                }
                Effect::OpenGuestStream { .. }
                | Effect::LearnAddresses { .. }
                | Effect::DesiredChanged { .. }
                | Effect::Store { .. }
                | Effect::Event(_) => {}
            }
        }
    }

    /// Opens a link between the nodes, if they are connected and know each other as members.
    fn link_members(&mut self) {
        let known = [0, 1].iter().all(|side| self.members[*side].contains(&secret(1 - side).node_id()));
        if self.is_connected && self.link.is_none() && known {
            self.link = Some(self.open_stream(0, LinkKind::Member));
        }
    }

    fn open_stream(&mut self, by: usize, kind: LinkKind) -> LinkId {
        self.next_id += 1;
        let link = LinkId(self.next_id);
        for side in [1 - by, by] {
            let peer = secret(1 - side).node_id();
            self.queue.push_back((side, Input::LinkUp { link, peer, kind, is_opened_here: side == by }));
        }
        link
    }
}
