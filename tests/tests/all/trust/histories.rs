//! Small histories with removals, a new key, forks and news that come late, in every order in which they can arrive: one
//! document, and the one that the oracle says.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::accept::{Changes, Valid};
use larder_core::delta::SignedDelta;
use larder_core::group::{Aside, Group, Note};
use larder_core::id::{ChangeId, Digest, EpochId, GrantId, Incarnation, RecordId, Secret, hash16};
use larder_core::record::{
    Admit, Body, Frontiers, Grant, Record, Records, Revoke, Revoked, Role, SignedRecord, Signer, found,
};
use larder_core::shard::root::ShardName;
use larder_core::value::Value;
use larder_tests::sim::trust::{Fold, accept};

use super::{Dice, orders, whole};

/// Something that arrives.
#[derive(Clone)]
enum News {
    Record(SignedRecord),
    Change(EpochId, SignedDelta),
}

fn hear(group: &mut Group, news: &News) {
    match news {
        News::Record(record) => {
            group.record([record.clone()]);
        }
        News::Change(epoch, delta) => {
            let taken = group.take_push(*epoch, delta);
            assert_eq!(taken.refused, None);
        }
    }
}

fn secret(n: usize) -> Secret {
    Secret::from_bytes(&[u8::try_from(n).unwrap() + 1; 32])
}

/// Five authors, two of them admins, and what they say.
struct World {
    dice: Dice,
    begun: Vec<SignedRecord>,
    /// Each author's own copy; the grant that it acts under.
    authors: Vec<(Group, GrantId)>,
    news: Vec<News>,
    lives: u64,
}

const AUTHORS: usize = 5;

impl World {
    fn new(seed: u64) -> Self {
        let genesis = found(&secret(0), "small", [7; 16], secret(90).node());
        let group = genesis.founds().unwrap();
        let mut begun = vec![genesis.clone()];
        let mut prev = RecordId::ZERO;
        for n in 1..AUTHORS {
            let role = if n == 1 { Role::Admin } else { Role::Operator };
            let seq = n as u64;
            let body = grant_to(n, role);
            let record =
                Record { group, grant: genesis.id(), signer: Signer::Holder, seq, prev, body, remark: None };
            let signed = record.sign(&secret(0));
            prev = signed.id();
            begun.push(signed);
        }
        let grants: Vec<GrantId> = begun.iter().map(SignedRecord::id).collect();
        let copy = Group::new(records(&begun));
        let authors = grants.iter().map(|grant| (copy.clone(), *grant)).collect();
        Self { dice: Dice(seed), begun, authors, news: Vec::new(), lives: 0 }
    }

    fn write(&mut self, at: usize) {
        self.lives += 1;
        let fresh = Incarnation(hash16("test life", &[&self.lives.to_be_bytes()]));
        let key = format!("config/db keys.k{}", self.dice.roll(2));
        let puts = BTreeMap::from([(key, Value::Int(i64::try_from(self.lives).unwrap()))]);
        let (group, _) = &mut self.authors[at];
        let note = Note { time: 1, ..Note::default() };
        let Ok(written) = group.write(&secret(at), ShardName::Desired, puts, &note, fresh) else { return };
        for new in written.taken.new {
            let signature = new.signature.expect("an own change is signed");
            let delta = SignedDelta { delta: new.delta, signature };
            self.news.push(News::Change(new.epoch, delta));
        }
    }

    fn issue(&mut self, at: usize, body: Body) {
        let (group, grant) = &mut self.authors[at];
        let newest = group.records().newest((*grant, Signer::Holder));
        let (seq, prev) = newest.map_or((1, RecordId::ZERO), |(seq, id)| (seq + 1, id));
        let record = Record {
            group: group.id(),
            grant: *grant,
            signer: Signer::Holder,
            seq,
            prev,
            body,
            remark: None,
        };
        let signed = record.sign(&secret(at));
        if group.record([signed.clone()]).fault.is_none() {
            self.news.push(News::Record(signed));
        }
    }

    /// Two changes in one place: one copy of a machine writes, and then the machine as it was.
    fn fork(&mut self, at: usize) {
        let before = self.authors[at].0.clone();
        self.write(at);
        let twin = std::mem::replace(&mut self.authors[at].0, before);
        self.write(at);
        if self.dice.roll(2) == 0 {
            self.authors[at].0 = twin;
        }
    }

    /// Somebody hears everything, or a part of it.
    fn meet(&mut self, at: usize) {
        let most = self.dice.roll(2);
        for news in &self.news {
            if most == 0 || self.dice.roll(3) > 0 {
                hear(&mut self.authors[at].0, news);
            }
        }
    }

    fn end(&mut self, at: usize, target: usize) {
        let (group, _) = &self.authors[at];
        let grant = self.authors[target].1;
        let mut frontiers = group.frontiers(&grant);
        match self.dice.roll(4) {
            0 => frontiers.changes.clear(),
            1 => frontiers.record = None,
            _ => {}
        }
        self.issue(at, Body::Revoke(Revoke { what: Revoked::Grant(grant), frontiers }));
    }

    /// An admin goes on under another key: a grant to it, and the end of its own.
    fn change_key(&mut self) {
        let at = self.authors.len();
        self.issue(1, grant_to(at, Role::Admin));
        let Some(News::Record(granted)) = self.news.last().cloned() else { return };
        let copy = self.authors[1].0.clone();
        self.authors.push((copy, granted.id()));
        self.end(1, 1);
    }

    fn admit(&mut self, at: usize) {
        let (group, _) = &self.authors[at];
        let all: Vec<_> = valid(group).into_iter().map(|(id, valid)| (valid.actor, valid.seq, id)).collect();
        if !all.is_empty() {
            let changes = vec![all[self.dice.roll(all.len())]];
            self.issue(at, Body::Admit(Admit { frontiers: Frontiers { record: None, changes } }));
        }
    }

    /// Says things until there are `most`.
    fn run(&mut self, most: usize) {
        let mut changed_key = false;
        for _ in 0..10 * most {
            if self.news.len() >= most {
                break;
            }
            let at = self.dice.roll(self.authors.len());
            match self.dice.roll(12) {
                0..=2 => self.write(at),
                3 | 4 if self.news.len() + 2 <= most => self.fork(at),
                5 if self.news.len() + 2 <= most && !changed_key => {
                    changed_key = true;
                    self.change_key();
                }
                6..=8 => {
                    let admin = self.dice.roll(2);
                    self.end(admin, 1 + at % (AUTHORS - 1));
                }
                9 => self.admit(0),
                _ => self.meet(at),
            }
        }
        self.news.truncate(most);
    }
}

fn grant_to(n: usize, role: Role) -> Body {
    let key = secret(n).node();
    Body::Grant(Grant { key, role, alias: String::new(), labels: vec![], invite: None })
}

fn records(of: &[SignedRecord]) -> Records {
    let mut records = Records::begin(of[0].clone()).unwrap();
    of[1..].iter().for_each(|record| drop(records.place(record.clone())));
    records
}

/// Every valid change of the desired state that a copy has, wherever.
fn valid(group: &Group) -> BTreeMap<ChangeId, Valid> {
    let desired = group.desired().unwrap();
    let mut all: BTreeMap<ChangeId, Valid> =
        Changes::of(desired, group.records()).iter().map(|(id, valid)| (*id, valid.clone())).collect();
    let aside = group.aside(&desired.root().epoch());
    all.extend(aside.into_iter().flat_map(Aside::iter).map(|beside| (beside.id(), beside.valid())));
    all
}

/// What a copy makes of what it heard.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    digest: Digest,
    accepted: BTreeSet<ChangeId>,
    held: BTreeSet<ChangeId>,
    kept: BTreeSet<ChangeId>,
    values: String,
}

fn shown(group: &mut Group) -> Shown {
    group.flush();
    let desired = group.desired().unwrap();
    let accepted: BTreeSet<ChangeId> = desired.graph().iter().map(|entry| entry.id).collect();
    let aside = group.aside(&desired.root().epoch()).into_iter().flat_map(Aside::iter);
    let kept = aside.filter(|beside| beside.kept).map(|beside| beside.id()).chain(accepted.iter().copied());
    Shown {
        digest: group.digest(&[]),
        kept: kept.collect(),
        held: desired.held().clone(),
        values: format!("{:?}", desired.state().iter().collect::<Vec<_>>()),
        accepted,
    }
}

/// All orders in which the news can arrive give one thing, and it is what the oracle says.
fn tried(world: &World) -> usize {
    let begun = Group::new(records(&world.begun));
    let mut first: Option<Shown> = None;
    let mut count = 0;
    orders(world.news.len(), &mut |order| {
        let mut group = begun.clone();
        // What had to wait may have been forgotten: it is told again, as a neighbour would.
        for _ in 0..3 {
            order.iter().for_each(|nth| hear(&mut group, &world.news[*nth]));
        }
        let now = shown(&mut group);
        if first.is_none() {
            agrees(world, &group, &now);
        }
        assert_eq!(*first.get_or_insert_with(|| shown(&mut group)), now, "{order:?}");
        count += 1;
    });
    count
}

fn agrees(world: &World, group: &Group, shown: &Shown) {
    let told: Vec<SignedRecord> = world
        .begun
        .iter()
        .cloned()
        .chain(world.news.iter().filter_map(|news| match news {
            News::Record(record) => Some(record.clone()),
            News::Change(..) => None,
        }))
        .collect();
    let placed = records(&told);
    let told: Vec<SignedRecord> = placed.iter().cloned().collect();
    let all = valid(group);
    let verdict = accept(&Fold::new(&told), &all);
    assert_eq!(verdict.accepted, shown.accepted);
    assert_eq!(verdict.held, shown.held);
    assert_eq!(verdict.kept, shown.kept);
    for id in &shown.accepted {
        let deps = all[id].deps.iter().filter(|dep| all.contains_key(dep));
        assert!(deps.into_iter().all(|dep| shown.accepted.contains(dep)), "not closed under ancestors");
    }
}

/// Whole: 250 histories of up to seven pieces of news, each in all 5040 orders, a millisecond each. By default some of
/// five and six.
#[test]
fn whatever_comes_first_the_document_is_one() {
    let (rounds, most) = if whole() { (250, 7) } else { (60, 5) };
    let (mut tries, mut asides, mut held, mut forks) = (0, 0, 0, 0);
    for seed in 0..rounds {
        let mut world = World::new(seed);
        let most = if seed % 8 == 0 { most + 1 } else { most };
        world.run(most.min(7));
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tried(&world)));
        tries += seen.unwrap_or_else(|_| panic!("seed {seed}"));
        let mut group = Group::new(records(&world.begun));
        (0..2).for_each(|_| world.news.iter().for_each(|news| hear(&mut group, news)));
        asides += group.asides().map(|(_, aside)| aside.iter().count()).sum::<usize>();
        held += group.desired().unwrap().held().len();
        forks += group.forks().count();
    }
    println!("{rounds} histories, {tries} orders: {asides} changes aside, {held} held, {forks} forks");
    assert!(asides > 20 && forks > 3, "{asides} {held} {forks}");
}

/// One history after the other, by name: what `docs/trust.md` walks through.
#[test]
fn cases_that_the_argument_walks_through() {
    // Two admins end the same grant with different frontiers, and its holder and another go on meanwhile.
    let mut world = World::new(1);
    world.write(2);
    world.meet_all(0);
    world.end_through(0, 2);
    world.write(2);
    world.meet_all(3);
    world.write(3);
    world.end_through(1, 2);
    assert!(world.news.len() <= 6);
    tried(&world);
    let mut group = Group::new(records(&world.begun));
    (0..2).for_each(|_| world.news.iter().for_each(|news| hear(&mut group, news)));
    assert_eq!(group.desired().unwrap().held().len(), 1, "what another built upon is held");

    // A forker lets others build on one branch and shows the other later; the end of its grant names the other.
    let mut world = World::new(2);
    let before = world.authors[2].0.clone();
    world.write(2);
    let one = world.news.len();
    world.meet_all(3);
    world.write(3);
    world.authors[2].0 = before;
    world.write(2);
    let other = world.news[one + 1].clone();
    hear(&mut world.authors[0].0, &other);
    world.end_through(0, 2);
    tried(&world);

    // An admin changes its key; what it says under the old one later does not count, and what it says under the new does.
    let mut world = World::new(3);
    world.write(1);
    let late = world.authors[1].0.clone();
    world.change_key();
    world.write(AUTHORS);
    world.authors[1].0 = late;
    world.write(1);
    tried(&world);
}

impl World {
    fn meet_all(&mut self, at: usize) {
        for news in &self.news {
            hear(&mut self.authors[at].0, news);
        }
    }

    fn end_through(&mut self, at: usize, target: usize) {
        let grant = self.authors[target].1;
        let frontiers = self.authors[at].0.frontiers(&grant);
        self.issue(at, Body::Revoke(Revoke { what: Revoked::Grant(grant), frontiers }));
    }
}
