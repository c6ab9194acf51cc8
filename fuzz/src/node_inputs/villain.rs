//! What members say who are up to no good: they have keys and grants, and sign whatever they like.

use larder_core::delta::columns::{self, Head, Proof};
use larder_core::delta::compose::Composed;
use larder_core::delta::{Delta, OpRef, Put, SignedDelta};
use larder_core::group::{Group, Position, Tip, Want};
use larder_core::id::{Actor, ChangeId, Digest, EpochId, RecordId, Sig};
use larder_core::limits;
use larder_core::record::{Body, Frontiers, Revoke, Revoked, Role, SignedRecord};
use larder_core::shard::chain::{self, Cover, Link, first_link, next_link};
use larder_core::shard::root::{Root, ShardName};
use larder_core::value::Value;
use larder_core::wire::link::{
    Bundle, Carried, Carry, Compare, Frame, Have, Positions, Push, Told, Wanted, Window,
};
use larder_core::wire::presence::Presence;

use super::host::Host;
use super::people::PEOPLE;
use super::visitor;
use crate::scene::{self, SCENE, secret};
use crate::script::Script;

pub(super) struct Villain {
    /// The group as the operator has it; copied once it writes more.
    group: Option<Group>,
    written: u64,
    /// The records that the second admin issued.
    issued: Vec<SignedRecord>,
}

/// A change, and the link of its chain at it, for its author to sign.
struct Forged {
    composed: Composed,
    link: Link,
}

impl Villain {
    pub(super) fn new() -> Self {
        Self { group: None, written: 100, issued: Vec::new() }
    }

    fn group(&self) -> &Group {
        self.group.as_ref().unwrap_or(&SCENE.villain)
    }

    pub(super) fn says(&mut self, script: &mut Script<'_>, host: &mut Host) -> Frame {
        let group = scene::group();
        let epoch = epoch(script);
        match script.byte() % 32 {
            0 | 1 => {
                Frame::Digest(Compare { group, digest: self.digest(script, host), omitted: epochs(script) })
            }
            2 | 3 => Frame::Have(self.have(script)),
            4..=6 => {
                let records = self.records(script);
                Frame::Records(Bundle { group, records, last: script.coin() })
            }
            7..=9 => {
                let chains = (0..script.byte() % 5).map(|_| self.position(script)).collect();
                Frame::Positions(Positions { group, epoch, chains })
            }
            10..=12 => {
                let wants = (0..script.byte() % 5).map(|_| self.want(script)).collect();
                Frame::Want(Wanted { group, epoch, wants })
            }
            13..=15 => {
                let columns = self.window(host);
                Frame::Window(Window { group, epoch: SCENE.root.epoch(), more: script.coin(), columns })
            }
            16..=20 => {
                let columns = self.forged_window(script);
                Frame::Window(Window { group, epoch: SCENE.root.epoch(), more: script.coin(), columns })
            }
            21 | 22 => Frame::Push(self.news(script)),
            23 | 24 => {
                let changes = self.forge(script).2.iter().map(Forged::signed).collect();
                Frame::Push(Push { group, epoch: SCENE.root.epoch(), changes })
            }
            25 | 26 => Frame::Presence(self.presence(script, host)),
            27 if script.coin() => Frame::Bye(group),
            27 => Frame::WhoAreYou(group),
            28 => Frame::Line(Bundle { group, records: self.records(script), last: script.coin() }),
            29 => {
                let person = *script.pick(&PEOPLE);
                let request = visitor::request(script, &[5; 16], person);
                Frame::Carry(Carry { group, hops: script.byte(), request })
            }
            30 => {
                let person = *script.pick(&PEOPLE);
                let request = visitor::request(script, &[5; 16], person).id();
                let last = script.coin();
                Frame::Carried(Carried { group, request, answer: visitor::answer(script, last) })
            }
            _ => match script.byte() % 3 {
                0 => Frame::Ping(script.number()),
                1 => Frame::Pong(script.number()),
                _ => Frame::Unknown(17 + script.byte() % 200),
            },
        }
    }

    fn digest(&self, script: &mut Script<'_>, host: &mut Host) -> Digest {
        match script.byte() % 3 {
            0 => host.digest(),
            1 => self.group().digest(&[]),
            _ => Digest(script.nonce()),
        }
    }

    fn have(&self, script: &mut Script<'_>) -> Have {
        let tips = self.group().record_tips();
        let tips = if script.coin() { Have::tips(&tips) } else { vec![] };
        let shards = epochs(script).into_iter().map(|epoch| (epoch, Digest(script.nonce()))).collect();
        Have { group: scene::group(), records: tips, shards }
    }

    /// What is known already, or more by the second admin, or anything.
    fn records(&mut self, script: &mut Script<'_>) -> Vec<Vec<u8>> {
        match script.byte() % 4 {
            0 => self.group().records().iter().map(SignedRecord::encode).collect(),
            1 => vec![script.bytes().to_vec()],
            _ => {
                let (seq, prev) =
                    self.issued.last().map_or((1, RecordId::ZERO), |last| (last.record().seq + 1, last.id()));
                let body = match script.byte() % 4 {
                    0 => Body::Unknown { tag: 99, bytes: script.bytes().to_vec() },
                    1 => {
                        let what = Revoked::Grant(*script.pick(&SCENE.grants));
                        Body::Revoke(Revoke { what, frontiers: Frontiers::default() })
                    }
                    _ => {
                        let roles = [Role::Admin, Role::Operator, Role::Node, Role::Reader, Role::Other(7)];
                        scene::grant(*script.pick(&PEOPLE), *script.pick(&roles))
                    }
                };
                let admin = SCENE.grants[1];
                self.issued.push(scene::issue((admin, &secret(scene::ADMIN)), (seq, prev), body));
                // Sometimes only the newest, which has to wait for those before it.
                let skip = if script.rarely(3) { self.issued.len() - 1 } else { 0 };
                self.issued.iter().skip(skip).map(SignedRecord::encode).collect()
            }
        }
    }

    fn actor(&self, script: &mut Script<'_>) -> Actor {
        let desired = self.group().desired().expect("it stands in any case");
        let chains: Vec<Actor> = desired.graph().chains().map(|chain| chain.actor).collect();
        if script.rarely(4) { Actor(script.nonce()) } else { *script.pick(&chains) }
    }

    fn position(&self, script: &mut Script<'_>) -> Position {
        let tips = (0..=script.byte() % 2).map(|_| tip(script)).collect();
        Position { actor: self.actor(script), tips }
    }

    fn want(&self, script: &mut Script<'_>) -> Want {
        Want { actor: self.actor(script), after: script.number(), upto: tip(script) }
    }

    /// What the founder lacks, in good faith.
    fn window(&mut self, host: &Host) -> Vec<u8> {
        let Some(of) = host.group() else { return Vec::new() };
        let wants = scene::wants(self.group(), &of.group);
        let group = self.group.get_or_insert_with(|| SCENE.villain.clone());
        group.window(&SCENE.root.epoch(), &wants).unwrap_or_default().0
    }

    /// A new change, or some that are not new.
    fn news(&mut self, script: &mut Script<'_>) -> Push {
        if script.coin() {
            self.written += 1;
            let n = self.written;
            let group = self.group.get_or_insert_with(|| SCENE.villain.clone());
            scene::write(group, scene::OPERATOR, "config/shared", n);
            group.flush();
        }
        let (_, _, mut all) = self.chain(0, usize::MAX, &mut Script::new(&[]));
        let newest = all.split_off(all.len().saturating_sub(1 + script.index(4)));
        let changes = newest.iter().map(Forged::signed).collect();
        Push { group: scene::group(), epoch: SCENE.root.epoch(), changes }
    }

    fn presence(&self, script: &mut Script<'_>, host: &mut Host) -> Told {
        let by = secret(*script.pick(&[
            scene::OPERATOR,
            scene::ADMIN,
            scene::NODE,
            scene::READER,
            scene::FOUNDER,
        ]));
        let mut links: Vec<[u8; 8]> =
            PEOPLE.iter().filter(|_| script.coin()).map(|person| secret(*person).node().hint()).collect();
        links.sort_unstable();
        let presence = Presence {
            group: scene::group(),
            node: by.node(),
            boot: script.number(),
            count: script.number(),
            software: "fuzz".to_owned(),
            host: String::from_utf8_lossy(script.bytes()).into_owned(),
            addresses: vec!["/ip4/192.0.2.1/tcp/1".to_owned()],
            links,
            digest: self.digest(script, host),
            changes: script.number(),
        };
        let (presence, signature) = presence.sign(&by);
        Told { group: scene::group(), presence, signature }
    }

    /// A part of the operator's chain with changes altered or added, signed by the operator as if nothing were wrong.
    fn forge(&mut self, script: &mut Script<'_>) -> (Head, Vec<ChangeId>, Vec<Forged>) {
        let from = usize::try_from(script.number()).unwrap_or(usize::MAX);
        let count = usize::from(script.byte() % 80);
        self.chain(from, count, script)
    }

    /// The operator's changes past `from`, and what is before them.
    fn chain(
        &self,
        from: usize,
        count: usize,
        script: &mut Script<'_>,
    ) -> (Head, Vec<ChangeId>, Vec<Forged>) {
        let shard = self.group().desired().expect("it stands in any case");
        let (graph, root) = (shard.graph(), shard.root());
        let grant = SCENE.grants[0];
        let chain = graph.chains().find(|chain| chain.grant == grant).expect("the operator wrote");
        let ids: Vec<ChangeId> = (1..=chain.len()).filter_map(|seq| Some(graph.at(chain, seq)?.id)).collect();
        let (before, after) = ids.split_at(from.min(ids.len()));
        let mut link = first_link(root.group(), root.epoch(), chain.actor);
        link = before.iter().fold(link, |link, id| next_link(&link, *id));
        let base = before.last().copied().unwrap_or(ChangeId::ZERO);
        let head = Head { grant, incarnation: chain.incarnation, after: before.len() as u64, base };
        let real = after.iter().filter_map(|id| shard.delta(id));
        let mut out: Vec<Forged> = Vec::new();
        let mut real = real.take(count).peekable();
        let extra = count.saturating_sub(after.len()).min(80);
        let mut extra = if count == usize::MAX { 0 } else { extra };
        loop {
            let seq = before.len() as u64 + out.len() as u64 + 1;
            let last = out.last().map_or(base, |last| last.composed.id());
            let delta = match real.next() {
                Some(delta) => {
                    let before = (seq as usize).checked_sub(2).and_then(|at| ids.get(at));
                    relinked(delta, before.copied(), last)
                }
                None if extra > 0 => {
                    extra -= 1;
                    let max_op = out.last().map(|last| last.composed.delta().max_op());
                    let max_op = max_op.or_else(|| graph.get(&base).map(|entry| entry.max_op));
                    added(root, &head, seq, last, max_op.unwrap_or(root.max_op()))
                }
                None => break,
            };
            let delta = if script.rarely(8) { altered(delta, script) } else { delta };
            let Ok(composed) = Composed::new(root, delta) else { break };
            link = next_link(&link, composed.id());
            out.push(Forged { composed, link });
        }
        (head, before.to_vec(), out)
    }

    /// Such a part as a window, with proofs that are right or not.
    fn forged_window(&mut self, script: &mut Script<'_>) -> Vec<u8> {
        let (head, before, changes) = self.forge(script);
        let end = head.after + changes.len() as u64;
        let mut marks: Vec<Sig> = (head.after + 1..)
            .zip(&changes)
            .filter(|(seq, _)| seq.is_multiple_of(limits::SIGNED_EVERY))
            .map(|(_, change)| change.signature())
            .collect();
        if script.rarely(4) {
            marks.push(Sig([script.byte(); 64]));
        }
        if script.rarely(8) {
            marks.pop();
        }
        let far = usize::from(script.byte() % 70);
        let ahead: Vec<ChangeId> =
            if script.rarely(2) { (0..far).map(|n| ChangeId([n as u8; 32])).collect() } else { vec![] };
        let link = link(&before, &changes, &ahead);
        let signature = chain::sign(
            &secret(if script.rarely(8) { scene::ADMIN } else { scene::OPERATOR }),
            scene::group(),
            SCENE.root.epoch(),
            end + ahead.len() as u64,
            &link,
        );
        let proof = Proof { marks, cover: Cover { ahead, signature } };
        let mut chains = vec![(head.clone(), proof.clone())];
        if script.rarely(8) {
            chains.push((Head { after: script.number(), ..head }, proof));
        }
        let place = |_| 0;
        let placed: Vec<_> =
            changes.iter().map(|change| (place(()), change.composed.id(), change.composed.delta())).collect();
        columns::encode(&SCENE.root, &chains, &placed)
    }
}

impl Forged {
    fn signature(&self) -> Sig {
        let (operator, seq) = (secret(scene::OPERATOR), self.composed.delta().seq);
        chain::sign(&operator, scene::group(), SCENE.root.epoch(), seq, &self.link)
    }

    fn signed(&self) -> SignedDelta {
        SignedDelta { delta: self.composed.bytes().to_vec(), signature: self.signature() }
    }
}

fn link(before: &[ChangeId], changes: &[Forged], ahead: &[ChangeId]) -> Link {
    let desired = SCENE.villain.desired().expect("it stands in any case");
    let grant = SCENE.grants[0];
    let chain = desired.graph().chains().find(|chain| chain.grant == grant).expect("the operator wrote");
    let first = first_link(scene::group(), SCENE.root.epoch(), chain.actor);
    let ids = before.iter().copied().chain(changes.iter().map(|change| change.composed.id()));
    ids.chain(ahead.iter().copied()).fold(first, |link, id| next_link(&link, id))
}

/// A change on top of another predecessor than the one it was written on.
fn relinked(mut delta: Delta, old: Option<ChangeId>, new: ChangeId) -> Delta {
    for dep in &mut delta.deps {
        if Some(*dep) == old {
            *dep = new;
        }
    }
    delta.deps.sort_unstable();
    delta.deps.dedup();
    delta
}

/// One more change of the same chain.
fn added(root: &Root, head: &Head, seq: u64, last: ChangeId, max_op: u64) -> Delta {
    let put = Put { key: format!("config/more keys.k{seq}"), value: Value::from("more"), preds: vec![] };
    Delta {
        epoch: root.epoch(),
        grant: head.grant,
        incarnation: head.incarnation,
        seq,
        deps: vec![if seq == 1 { root.id() } else { last }],
        start_op: max_op + 1,
        time: 0,
        message: String::new(),
        puts: vec![put],
    }
}

/// Something in it is not what the writer's rule gives.
fn altered(mut delta: Delta, script: &mut Script<'_>) -> Delta {
    match script.byte() % 8 {
        0 => delta.start_op = script.number(),
        1 => delta.time = script.number().cast_signed(),
        2 => delta.message = String::from_utf8_lossy(script.bytes()).into_owned(),
        3 => delta.deps.push(ChangeId([script.byte(); 32])),
        4 => delta.deps.push(SCENE.root.id()),
        5 => delta.puts.iter_mut().for_each(|put| put.preds.clear()),
        6 => {
            let pred = OpRef { counter: script.number(), actor: Actor(script.nonce()) };
            delta.puts.iter_mut().for_each(|put| put.preds.push(pred));
        }
        _ => delta.puts.iter_mut().for_each(|put| put.value = Value::Bytes(script.bytes().to_vec())),
    }
    delta.deps.sort_unstable();
    delta.deps.dedup();
    for put in &mut delta.puts {
        put.preds.sort_unstable();
    }
    delta
}

fn tip(script: &mut Script<'_>) -> Tip {
    Tip { seq: script.number(), id: ChangeId([script.byte(); 32]) }
}

fn epoch(script: &mut Script<'_>) -> EpochId {
    let observed = |grant| Root::derive(scene::group(), ShardName::Observed(grant)).epoch();
    match script.byte() % 16 {
        13 => observed(scene::genesis().id()),
        14 => observed(SCENE.grants[2]),
        15 => EpochId(script.nonce()),
        _ => SCENE.root.epoch(),
    }
}

fn epochs(script: &mut Script<'_>) -> Vec<EpochId> {
    (0..script.byte() % 3).map(|_| epoch(script)).collect()
}
