//! The tested node with its disk and links, and the conditions that it must never violate.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::LazyLock;

use larder_core::limits;
use larder_core::node::{
    ClockReading, Effect, GroupState, Input, LinkId, LinkKind, Node, NodeConfig, Request, RequestError,
    RequestId, Response,
};
use larder_core::resource::conflict::conflicts;
use larder_core::resource::view::resources;
use larder_core::test_support::{TestDisk, TestNode, node_config, set_request};
use larder_core::wire::guest::GuestFrame;

use crate::fixture::{self, FIXTURE, secret_key};

/// A link as the tested node sees it.
#[derive(Clone, Copy)]
pub(super) struct HarnessLink {
    pub(super) key_number: u8,
    kind: LinkKind,
    /// The nonce of the last probe response that the node sent on this link.
    pub(super) proof_nonce: [u8; 16],
}

pub(super) struct NodeHarness {
    node: Node,
    disk: TestDisk,
    now: ClockReading,
    boots: u8,
    store_failed: bool,
    links: BTreeMap<LinkId, HarnessLink>,
    next_link: u64,
    /// The pending requests, each with whether it must be answered once everything is durable.
    pending_requests: BTreeMap<RequestId, bool>,
    abandoned_requests: BTreeSet<RequestId>,
    next_request: u64,
    answers: BTreeMap<RequestId, Result<Response, RequestError>>,
    /// The limits that the inputs allow (effects and sent bytes), and the actual numbers.
    allowed_output: (usize, usize),
    actual_output: (usize, usize),
}

impl NodeHarness {
    pub(super) fn open() -> Self {
        let (node, effects) = FIRST_START.clone();
        let mut host = Self {
            node,
            disk: TestDisk::new(FIXTURE.store.clone()),
            now: NOW,
            boots: 0,
            store_failed: false,
            links: BTreeMap::new(),
            next_link: 1000,
            pending_requests: BTreeMap::new(),
            abandoned_requests: BTreeSet::new(),
            next_request: 0,
            answers: BTreeMap::new(),
            allowed_output: (64, 0),
            actual_output: (0, 0),
        };
        host.apply_effects(effects);
        host
    }

    /// Handles an input and all inputs that follow from it at once.
    pub(super) fn input(&mut self, input: Input) {
        let mut todo = VecDeque::from([input]);
        while let Some(input) = todo.pop_front() {
            let input_bytes = match &input {
                Input::FrameReceived { bytes, .. } => bytes.len(),
                Input::Observations { .. } | Input::Request { .. } => 1024,
                _ => 0,
            };
            // An input causes a few effects for each link, and more for the items that it lists. A full batch
            // has 1 MiB.
            let links = self.links.len() + 1;
            self.allowed_output.0 += 32 + 16 * links + input_bytes / 8;
            self.allowed_output.1 += links * (limits::MAX_FRAME_BYTES + 2 * input_bytes);
            let effects = self.node.handle(self.now, input);
            for link in self.apply_effects(effects) {
                if self.links.remove(&link).is_some() {
                    todo.push_back(Input::LinkDown { link });
                }
            }
            let wake_at = self.node.next_wake_at();
            assert!(wake_at.is_none_or(|at| at >= self.now.mono), "it wakes in the future");
        }
    }

    /// Applies effects. Returns the links that the node closes.
    fn apply_effects(&mut self, effects: Vec<Effect>) -> Vec<LinkId> {
        let mut closed = Vec::new();
        self.actual_output.0 += effects.len();
        for effect in effects {
            match effect {
                Effect::Store { batch_id, rows } => self.disk.write(batch_id, rows),
                Effect::Send { link, bytes } => {
                    self.actual_output.1 += bytes.len();
                    assert!(bytes.len() <= limits::MAX_FRAME_BYTES, "a frame fits a frame");
                    self.on_frame_sent(link, &bytes);
                }
                Effect::Close { link, .. } => closed.push(link),
                Effect::Respond { request_id, response: answer } => {
                    let waited = self.pending_requests.remove(&request_id).is_some();
                    assert!(
                        waited || self.abandoned_requests.remove(&request_id),
                        "{request_id:?} is answered once"
                    );
                    self.answers.insert(request_id, answer);
                }
                Effect::OpenGuestStream { .. }
                | Effect::SetMembers(_)
                | Effect::LearnAddresses { .. }
                | Effect::DesiredChanged { .. }
                | Effect::Event(_) => {}
            }
        }
        assert!(
            self.actual_output.0 <= self.allowed_output.0,
            "{} effects, {} allowed",
            self.actual_output.0,
            self.allowed_output.0
        );
        assert!(
            self.actual_output.1 <= self.allowed_output.1,
            "{} bytes, {} allowed",
            self.actual_output.1,
            self.allowed_output.1
        );
        closed
    }

    fn on_frame_sent(&mut self, link: LinkId, bytes: &[u8]) {
        let Some(line) = self.links.get_mut(&link).filter(|line| line.kind == LinkKind::Guest) else {
            return;
        };
        assert!(bytes.len() <= limits::MAX_GUEST_FRAME_BYTES, "a frame on a visit fits one");
        if let Ok(GuestFrame::ProbeResponse(proof)) = GuestFrame::decode(bytes) {
            line.proof_nonce = proof.nonce;
        }
    }

    pub(super) fn advance_time(&mut self, ms: u64, jump: i64) {
        let wall = self.now.unix_secs.saturating_add((ms / 1000).cast_signed()).saturating_add(jump);
        self.now = ClockReading { mono: self.now.mono.plus_ms(ms), unix_secs: wall.max(0) };
        self.input(Input::Tick);
    }

    pub(super) fn link_up(&mut self, person: u8, kind: LinkKind, opened: bool) -> LinkId {
        let old: Vec<LinkId> =
            self.links.iter().filter(|(_, l)| l.key_number == person).map(|(id, _)| *id).collect();
        if kind == LinkKind::Member {
            old.into_iter().for_each(|link| self.close_link(link));
        }
        self.next_link += 1;
        let link = LinkId(self.next_link);
        self.links.insert(link, HarnessLink { key_number: person, kind, proof_nonce: [0; 16] });
        self.input(Input::LinkUp { link, peer: secret_key(person).node_id(), kind, is_opened_here: opened });
        link
    }

    pub(super) fn close_link(&mut self, link: LinkId) {
        self.links.remove(&link);
        self.input(Input::LinkDown { link });
    }

    pub(super) fn links(&self) -> impl Iterator<Item = LinkId> {
        self.links.keys().copied()
    }

    pub(super) fn links_of(&self, kind: LinkKind) -> impl Iterator<Item = LinkId> {
        self.links.iter().filter(move |(_, link)| link.kind == kind).map(|(link, _)| *link)
    }

    pub(super) fn link(&self, link: LinkId) -> HarnessLink {
        self.links.get(&link).copied().unwrap_or(HarnessLink {
            key_number: fixture::NON_MEMBER,
            kind: LinkKind::Guest,
            proof_nonce: [0; 16],
        })
    }

    pub(super) fn group(&self) -> Option<&GroupState> {
        self.node.group(&fixture::group())
    }

    pub(super) fn digest(&mut self) -> larder_core::id::Digest {
        self.node.group_mut(&fixture::group()).expect("a member").digest()
    }

    pub(super) fn send_request(&mut self, request: Request) -> RequestId {
        self.next_request += 1;
        let request_id = RequestId(self.next_request);
        // A ping waits for its peer, and a join for a member.
        let must_be_answered = !matches!(request, Request::Ping { .. } | Request::Join { .. });
        self.pending_requests.insert(request_id, must_be_answered);
        self.input(Input::Request { request_id, request });
        request_id
    }

    /// Cancels all pending requests.
    pub(super) fn abandon_requests(&mut self) {
        let request_ids: Vec<RequestId> = std::mem::take(&mut self.pending_requests).into_keys().collect();
        self.abandoned_requests.extend(&request_ids);
        request_ids.into_iter().for_each(|request_id| self.input(Input::RequestCancelled { request_id }));
    }

    /// Makes batches durable and confirms them.
    pub(super) fn confirm_writes(&mut self, count: usize) {
        if self.store_failed {
            return;
        }
        if let Some(batch_id) = self.disk.sync(count) {
            self.input(Input::Stored { batch_id });
        }
    }

    /// Makes the disk fail for good.
    pub(super) fn fail_store(&mut self) {
        self.store_failed = true;
        self.input(Input::StoreFailed { reason: "full".to_owned() });
    }

    /// Simulates a power failure and a restart.
    pub(super) fn restart(&mut self, extra_batches: usize, store_was_copied: bool) {
        self.disk.crash(if self.store_failed { 0 } else { extra_batches });
        self.store_failed = false;
        self.boots = self.boots.wrapping_add(1);
        self.links.clear();
        self.pending_requests.clear();
        self.abandoned_requests.clear();
        let (node, effects) = open_node(&self.disk, self.now, self.boots, store_was_copied);
        self.node = node;
        self.allowed_output.0 += 64;
        self.apply_effects(effects);
    }

    /// Runs the queries that a user may make at any time.
    pub(super) fn check_queries(&self) {
        for state in self.node.groups() {
            let views = self.node.member_infos(state);
            assert!(views.iter().any(|view| view.is_self), "it is a member of its groups");
            for (_, session) in state.neighbour_sessions() {
                let _ = (session.count_missing_here(&state.group), session.count_missing_there(&state.group));
            }
            for shard in state.group.shards() {
                assert_eq!(shard.document().fault(), None);
                assert_eq!(shard.document().heads(), shard.graph().heads());
            }
            let Some(desired) = state.group.desired() else { panic!("a desired state stands in any case") };
            let _ = conflicts(desired);
            resources(desired.state()).iter().for_each(|view| drop(view.set_values()));
            assert!(state.group.rejected().iter().count() <= limits::MAX_REJECTED_IDS);
        }
        let _ = (self.node.stranger_infos(), self.node.pending_joins().count());
    }

    /// Checks that the node writes a change, keeps it, and opens with an equal state, whatever happened
    /// before.
    pub(super) fn check_final_write(mut self) {
        if self.store_failed {
            let request_id = self.send_request(write_request());
            assert!(
                matches!(self.answers.get(&request_id), Some(Err(RequestError::StoreFailed(_)))),
                "it says so"
            );
            self.restart(0, false);
        }
        self.confirm_writes(usize::MAX);
        assert!(!self.pending_requests.values().any(|must| *must), "all were answered");
        self.send_request(Request::SetPaused { group: fixture::group().into(), paused: false });
        self.confirm_writes(usize::MAX);
        let request_id = self.send_request(write_request());
        self.confirm_writes(usize::MAX);
        let answer = self.answers.get(&request_id);
        let Some(Ok(Response::Written(Some(id)))) = answer else {
            panic!("a write is answered by {answer:?}")
        };
        let id = *id;
        self.check_queries();
        let digest = self.digest();
        self.restart(usize::MAX, false);
        assert_eq!(self.digest(), digest, "it comes up equal");
        let desired = self.group().and_then(|state| state.group.desired()).expect("a member");
        assert!(desired.graph().contains(&id));
        self.check_queries();
    }
}

const NOW: ClockReading = TestNode::START;

/// The node after its first start, with which every run begins.
static FIRST_START: LazyLock<(Node, Vec<Effect>)> =
    LazyLock::new(|| open_node(&TestDisk::new(FIXTURE.store.clone()), NOW, 0, false));

fn open_node(disk: &TestDisk, now: ClockReading, boots: u8, store_was_copied: bool) -> (Node, Vec<Effect>) {
    let config = node_config(secret_key(fixture::FOUNDER));
    let config = NodeConfig { rng_seed: [boots; 32], store_was_copied, ..config };
    Node::open(config, now, &disk.rows).expect("it comes up from what is durable")
}

fn write_request() -> Request {
    set_request(FIXTURE.root.group(), "config/the-end", "keys.last", "the end")
}
