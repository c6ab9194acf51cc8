//! Tests with a few nodes that are connected by hand.

use super::super::*;
use crate::id::ChangeId;
use crate::limits;
use crate::record::Role;
use crate::store::{MemoryStore, Row, key};
use crate::test_support::{TestNode, node_config, operator_records, secret_key, set_request};
use crate::wire::member::{GroupFrame, RangeResponse};

/// A node, with the responses and other effects that it gave.
struct PeerNode {
    host: TestNode,
    responses: BTreeMap<RequestId, Result<Response, RequestError>>,
    other_effects: Vec<Effect>,
}

const LINK: LinkId = LinkId(1);

fn clock_at(ms: u64) -> ClockReading {
    ClockReading { mono: MonoTime(ms * 1000), ..TestNode::START }
}

impl PeerNode {
    fn new(n: u8, rows: &MemoryStore) -> Self {
        let (host, effects) = TestNode::open_at(node_config(secret_key(n)), clock_at(0), rows.clone());
        let mut peer = Self { host, responses: BTreeMap::new(), other_effects: Vec::new() };
        assert!(peer.sort_effects(effects).is_empty());
        peer
    }

    /// Handles an input. Returns the frames to be sent.
    fn handle_input(&mut self, now: ClockReading, input: Input) -> Vec<(LinkId, Vec<u8>)> {
        self.host.now = now;
        let effects = self.host.handle(input);
        self.sort_effects(effects)
    }

    fn sort_effects(&mut self, effects: Vec<Effect>) -> Vec<(LinkId, Vec<u8>)> {
        let mut sent = Vec::new();
        for effect in effects {
            match effect {
                Effect::Send { link, bytes } => sent.push((link, bytes)),
                Effect::Respond { request_id, response } => drop(self.responses.insert(request_id, response)),
                effect => self.other_effects.push(effect),
            }
        }
        sent
    }

    fn request(&mut self, now: ClockReading, request: Request) -> (RequestId, Vec<(LinkId, Vec<u8>)>) {
        self.host.now = now;
        let (request_id, effects) = self.host.request(request);
        (request_id, self.sort_effects(effects))
    }

    fn write(&mut self, now: ClockReading, group: GroupId, value: i64) -> Vec<(LinkId, Vec<u8>)> {
        self.request(now, set_request(group, "config/x", "keys.k", value)).1
    }

    fn heads(&self, group: GroupId) -> Vec<ChangeId> {
        self.host.node.group(&group).unwrap().group.desired().unwrap().graph().heads()
    }
}

/// A group of `n` operators, the first its founder and admin, each with a store of its own.
fn open_members(n: u8) -> (GroupId, Vec<PeerNode>) {
    let (group, rows) = stored_group_rows(u16::from(n), &[]);
    (group, (1..=n).map(|i| PeerNode::new(i, &memory_store(&rows))).collect())
}

fn memory_store(rows: &[Row]) -> MemoryStore {
    let mut memory = MemoryStore::default();
    memory.write(rows);
    memory
}

/// The stored rows of a group of `n` operators with these labels: its group row, Genesis, and the grants in
/// order.
fn stored_group_rows(n: u16, labels: &[(String, String)]) -> (GroupId, Vec<Row>) {
    let holder = |number: u16| {
        let mut seed = [number as u8; 32];
        seed[31] = seed[31].wrapping_add((number >> 8) as u8 * 100);
        (SecretKey::from_bytes(&seed).node_id(), String::new(), labels.to_vec())
    };
    let records = operator_records((2..=n).map(holder));
    let group = records[0].genesis_group_id().unwrap();
    let row = GroupRow { version: 1, genesis: records[0].id(), paused: false, refetching: false };
    let mut rows = vec![Row::put_encoded(Table::Groups, key::for_group(group), &row)];
    rows.extend(
        records
            .iter()
            .map(|record| Row::put(Table::Records, key::record(group, record.id()), record.encode())),
    );
    (group, rows)
}

/// Brings up a link between two nodes and delivers all frames that follow.
fn link_nodes(now: ClockReading, a: &mut PeerNode, b: &mut PeerNode) {
    let (ka, kb) = (a.host.node.own_id(), b.host.node.own_id());
    let kind = LinkKind::Member;
    let to_b = a.handle_input(now, Input::LinkUp { link: LINK, peer: kb, kind, is_opened_here: true });
    let to_a = b.handle_input(now, Input::LinkUp { link: LINK, peer: ka, kind, is_opened_here: false });
    exchange_frames(now, a, b, to_a, to_b);
}

/// Delivers frames and their answers.
fn exchange_frames(
    now: ClockReading,
    a: &mut PeerNode,
    b: &mut PeerNode,
    mut to_a: Vec<(LinkId, Vec<u8>)>,
    mut to_b: Vec<(LinkId, Vec<u8>)>,
) {
    while !to_a.is_empty() || !to_b.is_empty() {
        for (link, bytes) in std::mem::take(&mut to_b) {
            to_a.extend(b.handle_input(now, Input::FrameReceived { link, bytes }));
        }
        for (link, bytes) in std::mem::take(&mut to_a) {
            to_b.extend(a.handle_input(now, Input::FrameReceived { link, bytes }));
        }
    }
}

#[test]
fn unrequested_range_response_is_ignored() {
    let (group, mut all) = open_members(2);
    let [a, b] = &mut all[..] else { panic!() };
    link_nodes(clock_at(1), a, b);
    // The push is delayed, and the batch with its change comes without a request.
    a.write(clock_at(2), group, 1);
    let group_data = &mut a.host.node.groups.get_mut(&group).unwrap().group;
    let shard_id = group_data.desired().unwrap().root().shard_id();
    let position = group_data.shard_states().chain_positions(&shard_id)[0].clone();
    let range = crate::group::ChainRange { chain_id: position.chain_id, after: 0, upto: position.tips[0] };
    let (columns, has_more) = group_data.next_batch(&shard_id, &[range]).unwrap();
    let response = GroupFrame::RangeResponse(RangeResponse { shard_id, has_more, columns }).encode(group);
    b.handle_input(clock_at(3), Input::FrameReceived { link: LINK, bytes: response });
    assert_ne!(a.heads(group), b.heads(group), "nobody asked for it");
    let (_, to_b) = a.request(clock_at(4), Request::SyncNow { group: group.into() });
    exchange_frames(clock_at(4), a, b, vec![], to_b);
    assert_eq!(a.heads(group), b.heads(group), "asked for, it is taken");
}

fn example_code(group: GroupId, n: u8) -> InviteCode {
    InviteCode::new(group, &secret_key(1).node_id(), [n; 16])
}

#[test]
fn replaced_join_request_gets_a_response() {
    let mut a = PeerNode::new(3, &MemoryStore::default());
    let group = GroupId([5; 16]);
    let join = |n| Request::Join { code: example_code(group, n), alias: String::new(), labels: vec![] };
    let (first, _) = a.request(clock_at(1), join(1));
    let (second, _) = a.request(clock_at(2), join(2));
    assert!(matches!(a.responses[&first], Err(RequestError::JoinReplaced)));
    assert!(!a.responses.contains_key(&second), "it goes on");
}

#[test]
fn join_denial_ends_only_the_join_it_answers() {
    use crate::wire::guest::{GuestFrame, JoinDenial, JoinResponse};
    let (group, mut all) = open_members(1);
    let mut a = all.remove(0);
    let (request_id, _) = a.request(
        clock_at(1),
        Request::CreateInvite {
            group: group.into(),
            role: Role::Node,
            max_uses: 1,
            expires_unix_secs: i64::MAX,
        },
    );
    let Some(Ok(Response::InviteCreated(good))) = a.responses.remove(&request_id) else { panic!() };
    let mut c = PeerNode::new(3, &MemoryStore::default());
    let join = |code: InviteCode| Request::Join { code, alias: String::new(), labels: vec![] };
    let link_up =
        |link, peer, opened| Input::LinkUp { link, peer, kind: LinkKind::Guest, is_opened_here: opened };
    // The node joins with a bad code on one guest stream, whose answer is delayed.
    let (_, _) = c.request(clock_at(2), join(example_code(group, 9)));
    let run_guest_stream = |a: &mut PeerNode, c: &mut PeerNode, link: LinkId| {
        let mut to_a = c.handle_input(clock_at(3), link_up(link, a.host.node.own_id(), true));
        let mut to_c = a.handle_input(clock_at(3), link_up(link, c.host.node.own_id(), false));
        let mut held_responses = Vec::new();
        while !to_a.is_empty() || !to_c.is_empty() {
            for (link, bytes) in std::mem::take(&mut to_a) {
                to_c.extend(a.handle_input(clock_at(3), Input::FrameReceived { link, bytes }));
            }
            for (link, bytes) in std::mem::take(&mut to_c) {
                match GuestFrame::decode(&bytes).unwrap() {
                    GuestFrame::JoinResponse(response) => held_responses.push((link, response)),
                    _ => to_a.extend(c.handle_input(clock_at(3), Input::FrameReceived { link, bytes })),
                }
            }
        }
        held_responses
    };
    let denied_responses = run_guest_stream(&mut a, &mut c, LinkId(2));
    assert!(matches!(denied_responses[..], [(_, JoinResponse::Denied(JoinDenial::UnknownInvite))]));
    let (request_id, _) = c.request(clock_at(4), join(good));
    let granted_responses = run_guest_stream(&mut a, &mut c, LinkId(3));
    let deliver_response = |c: &mut PeerNode, (link, answer): &(LinkId, JoinResponse)| {
        c.handle_input(
            clock_at(5),
            Input::FrameReceived { link: *link, bytes: GuestFrame::JoinResponse(answer.clone()).encode() },
        )
    };
    deliver_response(&mut c, &denied_responses[0]);
    assert!(!c.responses.contains_key(&request_id), "that was the other code");
    // The denial of the good code arrives after the grant.
    let later_responses = run_guest_stream(&mut a, &mut c, LinkId(4));
    deliver_response(&mut c, &granted_responses[0]);
    assert!(c.host.node.group(&group).is_some());
    deliver_response(&mut c, &(later_responses[0].0, JoinResponse::Denied(JoinDenial::UsedUp)));
    assert!(!c.responses.contains_key(&request_id), "what is granted stays granted");
    assert_eq!(c.host.node.pending_joins().count(), 1);
}

#[test]
fn idle_link_is_kept_alive_by_pings() {
    let (group, mut all) = open_members(2);
    let [a, b] = &mut all[..] else { panic!() };
    link_nodes(clock_at(1), a, b);
    let (_, to_b) = a.request(clock_at(2), Request::SetPaused { group: group.into(), paused: true });
    exchange_frames(clock_at(2), a, b, vec![], to_b);
    let (_, to_a) = b.request(clock_at(3), Request::SetPaused { group: group.into(), paused: true });
    exchange_frames(clock_at(3), a, b, to_a, vec![]);
    let mut last_frame_ms = [3, 3];
    for ms in (4..60_000).step_by(500) {
        let (to_b, to_a) =
            (a.handle_input(clock_at(ms), Input::Tick), b.handle_input(clock_at(ms), Input::Tick));
        for (last_ms, frames) in last_frame_ms.iter_mut().zip([&to_a, &to_b]) {
            if !frames.is_empty() {
                *last_ms = ms;
            }
            assert!(ms - *last_ms < limits::AWAY_AFTER_MS / 2, "silent since {last_ms}, now {ms}");
        }
        exchange_frames(clock_at(ms), a, b, to_a, to_b);
    }
    let is_fault = |effect: &Effect| {
        matches!(effect, Effect::Event(NodeEvent::ProtocolViolation { .. }) | Effect::Close { .. })
    };
    assert!(
        !a.other_effects.iter().chain(&b.other_effects).any(is_fault),
        "an answer that nobody waits for is nothing"
    );
}

#[test]
fn anti_entropy_never_exceeds_the_pending_bytes_of_a_link() {
    let labels: Vec<_> = (0..limits::MAX_LABELS_PER_GRANT)
        .map(|n| (format!("{n:0>128}"), "v".repeat(limits::MAX_LABEL_BYTES)))
        .collect();
    let (group, rows) = stored_group_rows(700, &labels);
    let (mut a, mut b) =
        (PeerNode::new(1, &memory_store(&rows)), PeerNode::new(2, &memory_store(&rows[..3])));
    let (ka, kb) = (a.host.node.own_id(), b.host.node.own_id());
    let kind = LinkKind::Member;
    let mut to_b =
        a.handle_input(clock_at(1), Input::LinkUp { link: LINK, peer: kb, kind, is_opened_here: true });
    let mut to_a =
        b.handle_input(clock_at(1), Input::LinkUp { link: LINK, peer: ka, kind, is_opened_here: false });
    let (mut pending, mut max_pending, mut total_bytes) = (0, 0, 0);
    let mut count_sent = |sent: &[(LinkId, Vec<u8>)], pending: &mut usize| {
        let bytes: usize = sent.iter().map(|(_, bytes)| bytes.len()).sum();
        *pending += bytes;
        total_bytes += bytes;
        max_pending = max_pending.max(*pending);
    };
    count_sent(&to_b, &mut pending);
    while !to_a.is_empty() || !to_b.is_empty() {
        for (link, bytes) in std::mem::take(&mut to_a) {
            let sent = a.handle_input(clock_at(2), Input::FrameReceived { link, bytes });
            count_sent(&sent, &mut pending);
            to_b.extend(sent);
        }
        // The link takes one frame at a time.
        if !to_b.is_empty() {
            let (link, bytes) = to_b.remove(0);
            pending -= bytes.len();
            let sent = a.handle_input(clock_at(2), Input::BytesSent { link, bytes: bytes.len() });
            count_sent(&sent, &mut pending);
            to_b.extend(sent);
            to_a.extend(b.handle_input(clock_at(2), Input::FrameReceived { link, bytes }));
        }
    }
    assert_eq!(b.host.node.group(&group).unwrap().group.records().len(), 700);
    assert!(
        total_bytes > 5 << 20 && max_pending <= limits::MAX_LINK_PENDING_BYTES + limits::MAX_FRAME_BYTES,
        "{max_pending} of {total_bytes}"
    );
}

/// Several linked nodes. A frame is delivered unless `is_lost` names its direction.
struct TestMesh {
    nodes: Vec<PeerNode>,
    is_lost: fn(usize, usize) -> bool,
}

impl TestMesh {
    fn link_of(a: usize, b: usize) -> LinkId {
        LinkId((16 * a.min(b) + a.max(b)) as u64)
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let count = self.nodes.len();
        (0..count).flat_map(move |a| (a + 1..count).map(move |b| (a, b)))
    }

    fn link_all(&mut self, now: ClockReading) {
        for (a, b) in self.pairs() {
            let mut sent_frames = Vec::new();
            for (node_index, peer, opened) in [(a, b, true), (b, a, false)] {
                let (link, peer) = (Self::link_of(a, b), self.nodes[peer].host.node.own_id());
                let up = Input::LinkUp { link, peer, kind: LinkKind::Member, is_opened_here: opened };
                sent_frames.push((node_index, self.nodes[node_index].handle_input(now, up)));
            }
            sent_frames.into_iter().for_each(|(node_index, sent)| self.deliver(now, node_index, sent));
        }
    }

    fn deliver(&mut self, now: ClockReading, from: usize, sent: Vec<(LinkId, Vec<u8>)>) {
        let mut queue: Vec<_> = sent.into_iter().map(|(link, bytes)| (from, link, bytes)).collect();
        while !queue.is_empty() {
            let (from, link, bytes) = queue.remove(0);
            let to = (0..self.nodes.len()).find(|to| *to != from && Self::link_of(from, *to) == link);
            if let Some(to) = to.filter(|to| !(self.is_lost)(from, *to)) {
                let more = self.nodes[to].handle_input(now, Input::FrameReceived { link, bytes });
                queue.extend(more.into_iter().map(|(link, bytes)| (to, link, bytes)));
            }
        }
    }

    /// Lets time pass until `done` is true. Returns the time in milliseconds.
    fn run_until(&mut self, from: u64, limit_ms: u64, done: impl Fn(&Self) -> bool) -> u64 {
        for ms in (from..from + limit_ms).step_by(100) {
            if done(self) {
                return ms;
            }
            for node_index in 0..self.nodes.len() {
                let sent = self.nodes[node_index].handle_input(clock_at(ms), Input::Tick);
                self.deliver(clock_at(ms), node_index, sent);
            }
        }
        panic!("not within {limit_ms} ms");
    }
}

/// A node leaves a push to the neighbour that claims a link with the receiver. If that neighbour does not
/// push, anti-entropy repairs it.
#[test]
fn change_that_a_linked_peer_withholds_is_fetched_from_another_peer() {
    let (group, all) = open_members(3);
    let mut mesh = TestMesh { nodes: all, is_lost: |_, _| false };
    mesh.link_all(clock_at(1));
    let knows_of_link = |mesh: &TestMesh| {
        let last = mesh.nodes[2].host.node.own_id();
        mesh.nodes[1].host.node.groups[&group]
            .liveness
            .claims_link(Some(mesh.nodes[0].host.node.own_id()), &last)
    };
    let now = mesh.run_until(2, 10_000, knows_of_link);
    // From now on frames from the first node to the last are lost.
    mesh.is_lost = |from, to| from + to == 2;
    let sent = mesh.nodes[0].write(clock_at(now), group, 7);
    mesh.deliver(clock_at(now), 0, sent);
    let has_same_heads = |mesh: &TestMesh, node_index: usize| {
        mesh.nodes[node_index].heads(group) == mesh.nodes[0].heads(group)
    };
    assert!(has_same_heads(&mesh, 1) && !has_same_heads(&mesh, 2), "the second leaves the last to the first");
    let synced_at = mesh.run_until(now + 1, 20_000, |mesh| has_same_heads(mesh, 2));
    assert!(
        synced_at - now <= limits::PRESENCE_INTERVAL_MS + 2 * limits::REPAIR_DELAY_MS,
        "it took {} ms",
        synced_at - now
    );
}

impl TestMesh {
    /// Ticks each node at its own deadlines for one minute. Returns how often each was ticked.
    fn count_ticks_in_one_minute(&mut self) -> Vec<u32> {
        let mut ticks = vec![0; self.nodes.len()];
        loop {
            let deadlines = self.nodes.iter().map(|peer| peer.host.node.next_wake_at());
            let next = deadlines.enumerate().filter_map(|(index, due)| Some((due?, index))).min();
            let Some((mono, index)) = next.filter(|(due, _)| *due <= clock_at(60_000).mono) else {
                return ticks;
            };
            let now = ClockReading { mono, ..clock_at(0) };
            ticks[index] += 1;
            let sent = self.nodes[index].handle_input(now, Input::Tick);
            self.deliver(now, index, sent);
        }
    }
}

#[test]
fn idle_node_sleeps_until_its_next_timer() {
    let (_, nodes) = open_members(1);
    let mut alone = TestMesh { nodes, is_lost: |_, _| false };
    assert!(alone.count_ticks_in_one_minute()[0] <= 12, "a lone node wakes at most once in five seconds");

    let (_, nodes) = open_members(2);
    let mut pair = TestMesh { nodes, is_lost: |_, _| false };
    pair.link_all(clock_at(1));
    let ticks = pair.count_ticks_in_one_minute();
    assert!(ticks.iter().all(|ticks| (12..=20).contains(ticks)), "presence every five seconds: {ticks:?}");
}
