//! A group of five with a history: who is in it, what its founder has stored, and what an operator knows that the
//! founder does not.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use larder_core::group::{Group, Note, Want};
use larder_core::id::{GrantId, GroupId, Incarnation, RecordId, Secret};
use larder_core::record::{Body, Grant, Record, Records, Role, SignedRecord, Signer, found};
use larder_core::shard::root::{Root, ShardName};
use larder_core::store::{GroupRow, InviteRow, Memory, Row, SnapshotBody, SnapshotRow, Table, key};
use larder_core::value::Value;
use larder_core::wire::code::Code;

/// The founder: the node that is told everything. Numbers name keys, see [`secret`].
pub const FOUNDER: u8 = 1;
/// An operator, who is up to no good.
pub const OPERATOR: u8 = 2;
/// The recovery key.
pub const RECOVERY: u8 = 3;
/// Another admin.
pub const ADMIN: u8 = 4;
/// A managed machine.
pub const NODE: u8 = 5;
/// A reader.
pub const READER: u8 = 6;
/// In no group at all.
pub const STRANGER: u8 = 7;

/// The key with this number.
pub fn secret(number: u8) -> Secret {
    Secret::from_bytes(&[number; 32])
}

/// The group's first record.
pub fn genesis() -> SignedRecord {
    found(&secret(FOUNDER), "shop", [9; 16], secret(RECOVERY).node())
}

/// The group.
pub fn group() -> GroupId {
    genesis().founds().unwrap_or(GroupId::ZERO)
}

/// Everybody but the founder.
pub const OTHERS: [(u8, Role); 4] =
    [(OPERATOR, Role::Operator), (ADMIN, Role::Admin), (NODE, Role::Node), (READER, Role::Reader)];

/// What everybody of the group knows, and the grants in the order of [`OTHERS`].
fn records() -> (Records, Vec<GrantId>) {
    let mut records = Records::begin(genesis()).expect("a Genesis");
    let (mut prev, mut grants) = (RecordId::ZERO, Vec::new());
    for ((number, role), seq) in OTHERS.into_iter().zip(1..) {
        let record = issue((genesis().id(), &secret(FOUNDER)), (seq, prev), grant(number, role));
        prev = record.id();
        grants.push(prev);
        records.place(record);
    }
    (records, grants)
}

/// A grant to the key with this number.
pub fn grant(number: u8, role: Role) -> Body {
    let key = secret(number).node();
    Body::Grant(Grant { key, role, alias: format!("n{number}"), labels: vec![], invite: None })
}

/// A record of the group, signed.
pub fn issue(by: (GrantId, &Secret), at: (u64, RecordId), body: Body) -> SignedRecord {
    let (seq, prev) = at;
    Record { group: group(), grant: by.0, signer: Signer::Holder, seq, prev, body, remark: None }.sign(by.1)
}

/// All there is before anything happens.
pub struct Scene {
    /// The root of the desired state.
    pub root: Root,
    /// The grants of the others, in the order of [`OTHERS`].
    pub grants: Vec<GrantId>,
    /// What the founder has stored.
    pub store: Memory,
    /// The group as the operator has it, who wrote more than the founder has heard of.
    pub villain: Group,
    /// An invite of the founder's.
    pub code: Code,
    /// A group that the founder is not in, with a code of it; its founder is the stranger.
    pub elsewhere: (Group, Code),
}

/// It is made once.
pub static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let (records, grants) = records();
    let root = Root::derive(group(), ShardName::Desired);
    let mut founder = Group::new(records.clone());
    let mut villain = Group::new(records);
    let mut rows = founder.rows();
    for n in 0..3 {
        rows.extend(write(&mut founder, FOUNDER, "config/own", n));
    }
    rows.extend(observe(&mut founder));
    pull(&mut founder, &mut villain);
    for n in 0..70 {
        write(&mut villain, OPERATOR, "config/shared", n);
    }
    rows.extend(pull(&mut villain, &mut founder));
    for n in 70..76 {
        write(&mut villain, OPERATOR, "config/shared", n);
    }
    founder.flush();
    villain.flush();
    let code = Code::new(group(), &secret(FOUNDER).node(), [7; 16]);
    let invite = InviteRow {
        version: 1,
        grant: genesis().id(),
        role: Role::Node.byte(),
        uses: 2,
        created: 0,
        expires: i64::MAX,
    };
    rows.push(Row::put_layout(Table::Invites, key::invite(group(), code.invite()), &invite));
    rows.push(snapshot(&founder));
    let group_row = GroupRow { version: 1, genesis: genesis().id(), paused: false, refetching: false };
    rows.push(Row::put_layout(Table::Groups, key::group(group()), &group_row));
    let mut store = Memory::default();
    store.write(&rows);
    Scene { root, grants, store, villain, code, elsewhere: elsewhere() }
});

fn elsewhere() -> (Group, Code) {
    let genesis = found(&secret(STRANGER), "elsewhere", [1; 16], secret(RECOVERY).node());
    let group = Group::new(Records::begin(genesis).expect("a Genesis"));
    let code = Code::new(group.id(), &secret(STRANGER).node(), [8; 16]);
    (group, code)
}

/// The desired state, written out whole, so that a node comes up from it quickly.
fn snapshot(group: &Group) -> Row {
    let shard = group.desired().expect("it stands in any case");
    let graph = shard.graph();
    let chains = graph.chains().map(|chain| (chain.grant, chain.incarnation, chain.len())).collect();
    let body = SnapshotBody { chains, heads: graph.heads(), document: shard.document().save() };
    let place = key::epoch(group.id(), shard.root().epoch());
    Row::put_layout(Table::Snapshots, place, &SnapshotRow::seal(&body))
}

/// Writes something as the member with this number; answers the rows.
pub fn write(group: &mut Group, number: u8, resource: &str, n: u64) -> Vec<Row> {
    let puts =
        BTreeMap::from([(format!("{resource} keys.k{}", n % 5), Value::from(format!("{number}-{n}")))]);
    let note = Note { user: "root".to_owned(), ..Note::default() };
    let fresh = Incarnation([number; 16]);
    let written = group.write(&secret(number), ShardName::Desired, puts, &note, fresh);
    written.expect("a member writes").taken.rows
}

fn observe(group: &mut Group) -> Vec<Row> {
    let puts = BTreeMap::from([("config/own".to_owned(), Value::from("applied - - 0 0"))]);
    let shard = ShardName::Observed(genesis().id());
    let written = group.write(&secret(FOUNDER), shard, puts, &Note::default(), Incarnation([FOUNDER; 16]));
    written.expect("a member observes").taken.rows
}

/// What `from` has of the desired state and `to` has not, as wants.
pub fn wants(from: &Group, to: &Group) -> Vec<Want> {
    let epoch = *SCENE_EPOCH;
    let positions = from.positions(&epoch);
    let lacking = positions.iter().filter_map(|position| {
        let (after, upto) = (to.reach(&epoch, &position.actor), *position.tips.first()?);
        (upto.seq > after).then_some(Want { actor: position.actor, after, upto })
    });
    lacking.collect()
}

static SCENE_EPOCH: LazyLock<larder_core::id::EpochId> =
    LazyLock::new(|| Root::derive(group(), ShardName::Desired).epoch());

fn pull(from: &mut Group, to: &mut Group) -> Vec<Row> {
    let wants = wants(from, to);
    let (window, _) = from.window(&SCENE_EPOCH, &wants).expect("something to send");
    let taken = to.take_window(*SCENE_EPOCH, &window);
    assert!(taken.refused.is_none() && !taken.new.is_empty());
    taken.rows
}
