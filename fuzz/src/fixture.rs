//! A group of five members with a history, the stored rows of its founder, and the later changes of an
//! operator.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use larder_core::group::{ChainRange, ChangeNote, Group};
use larder_core::id::{GrantId, GroupId, Incarnation, RecordId, SecretKey};
use larder_core::record::{Grant, Record, RecordBody, RecordSet, Role, SignedRecord, Signer, create_genesis};
use larder_core::shard::root::{ShardName, ShardRoot};
use larder_core::store::{GroupRow, InviteRow, MemoryStore, Row, SnapshotBody, SnapshotRow, Table, key};
use larder_core::test_support;
pub use larder_core::test_support::secret_key;
use larder_core::value::Value;
use larder_core::wire::invite_code::InviteCode;

/// The founder, whose node the targets test. Members are named by the number of their key; see
/// [`secret_key`].
pub const FOUNDER: u8 = 1;
/// An operator, who is hostile in most targets.
pub const OPERATOR: u8 = 2;
/// The recovery key of the group.
pub const RECOVERY: u8 = 3;
/// A second admin.
pub const ADMIN: u8 = 4;
/// A member with the role `node`.
pub const NODE: u8 = 5;
/// A member with the role `reader`.
pub const READER: u8 = 6;
/// A key that is not a member.
pub const NON_MEMBER: u8 = 7;

/// The Genesis of the group.
pub fn genesis() -> SignedRecord {
    create_genesis(&secret_key(FOUNDER), "shop", [9; 16], secret_key(RECOVERY).node_id())
}

/// The id of the group.
pub fn group() -> GroupId {
    genesis().genesis_group_id().unwrap_or(GroupId::ZERO)
}

/// All members but the founder, with their roles.
pub const OTHER_MEMBERS: [(u8, Role); 4] =
    [(OPERATOR, Role::Operator), (ADMIN, Role::Admin), (NODE, Role::Node), (READER, Role::Reader)];

/// The records of the group, and the grants in the order of [`OTHER_MEMBERS`].
fn group_records() -> (RecordSet, Vec<GrantId>) {
    let mut records = RecordSet::from_genesis(genesis()).expect("a Genesis");
    let (mut prev, mut grants) = (RecordId::ZERO, Vec::new());
    for ((number, role), seq) in OTHER_MEMBERS.into_iter().zip(1..) {
        let record = sign_record((genesis().id(), &secret_key(FOUNDER)), (seq, prev), grant_to(number, role));
        prev = record.id();
        grants.push(prev);
        records.insert(record);
    }
    (records, grants)
}

/// The body of a grant to the key with this number.
pub fn grant_to(number: u8, role: Role) -> RecordBody {
    let key = secret_key(number).node_id();
    RecordBody::Grant(Grant { holder: key, role, alias: format!("n{number}"), labels: vec![], invite: None })
}

/// Signs a record of the group.
pub fn sign_record(
    grant_and_key: (GrantId, &SecretKey),
    seq_and_prev: (u64, RecordId),
    body: RecordBody,
) -> SignedRecord {
    let (seq, prev) = seq_and_prev;
    Record { group: group(), grant: grant_and_key.0, signer: Signer::Holder, seq, prev, body, note: None }
        .sign(grant_and_key.1)
}

/// The state before a run.
pub struct Fixture {
    /// The root of the desired state.
    pub root: ShardRoot,
    /// The grants of [`OTHER_MEMBERS`], in their order.
    pub grants: Vec<GrantId>,
    /// The stored rows of the founder.
    pub store: MemoryStore,
    /// The operator's copy of the group, with changes that the founder does not have.
    pub operator_copy: Group,
    /// An invite code that the founder issued.
    pub code: InviteCode,
    /// A group that the founder is not in, and an invite code of it. Its founder is [`NON_MEMBER`].
    pub foreign_group: (Group, InviteCode),
}

/// The shared fixture, which is built once.
pub static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let (records, grants) = group_records();
    let root = ShardRoot::derive(group(), ShardName::Desired);
    let mut founder = Group::new(records.clone());
    let mut operator_copy = Group::new(records);
    let mut rows = founder.initial_rows();
    for n in 0..3 {
        rows.extend(write_change(&mut founder, FOUNDER, "config/own", n));
    }
    rows.extend(write_observed(&mut founder));
    send_missing(&mut founder, &mut operator_copy);
    for n in 0..70 {
        write_change(&mut operator_copy, OPERATOR, "config/shared", n);
    }
    rows.extend(send_missing(&mut operator_copy, &mut founder));
    for n in 70..76 {
        write_change(&mut operator_copy, OPERATOR, "config/shared", n);
    }
    founder.flush_documents();
    operator_copy.flush_documents();
    let code = InviteCode::new(group(), &secret_key(FOUNDER).node_id(), [7; 16]);
    let invite = InviteRow {
        version: 1,
        grant: genesis().id(),
        role_byte: Role::Node.to_byte(),
        max_uses: 2,
        created_at: 0,
        expires_at: i64::MAX,
    };
    rows.push(Row::put_encoded(Table::Invites, key::invite(group(), code.invite_id()), &invite));
    rows.push(snapshot(&founder));
    let group_row = GroupRow { version: 1, genesis: genesis().id(), paused: false, refetching: false };
    rows.push(Row::put_encoded(Table::Groups, key::for_group(group()), &group_row));
    let mut store = MemoryStore::default();
    store.write(&rows);
    Fixture { root, grants, store, operator_copy, code, foreign_group: create_foreign_group() }
});

fn create_foreign_group() -> (Group, InviteCode) {
    let genesis =
        create_genesis(&secret_key(NON_MEMBER), "elsewhere", [1; 16], secret_key(RECOVERY).node_id());
    let group = Group::new(RecordSet::from_genesis(genesis).expect("a Genesis"));
    let code = InviteCode::new(group.id(), &secret_key(NON_MEMBER).node_id(), [8; 16]);
    (group, code)
}

/// A snapshot of the desired state, with which a node opens quickly.
fn snapshot(group: &Group) -> Row {
    let shard = group.desired().expect("it stands in any case");
    let graph = shard.graph();
    let chains = graph.chains().map(|chain| (chain.grant, chain.incarnation, chain.len())).collect();
    let body = SnapshotBody { chains, heads: graph.heads(), document: shard.document().save() };
    let snapshot_key = key::for_shard(group.id(), shard.root().shard_id());
    Row::put_encoded(Table::Snapshots, snapshot_key, &SnapshotRow::seal(&body))
}

/// Writes a change as the member with this number. Returns its rows.
pub fn write_change(group: &mut Group, number: u8, resource: &str, n: u64) -> Vec<Row> {
    let puts =
        BTreeMap::from([(format!("{resource} keys.k{}", n % 5), Value::from(format!("{number}-{n}")))]);
    let note = ChangeNote { user: "root".to_owned(), ..ChangeNote::default() };
    let incarnation = Incarnation([number; 16]);
    let written = group.write(&secret_key(number), ShardName::Desired, puts, &note, incarnation);
    written.expect("a member writes").ingest.rows
}

fn write_observed(group: &mut Group) -> Vec<Row> {
    let puts = BTreeMap::from([("config/own".to_owned(), Value::from("applied - - 0 0"))]);
    let shard = ShardName::Observed(genesis().id());
    let written =
        group.write(&secret_key(FOUNDER), shard, puts, &ChangeNote::default(), Incarnation([FOUNDER; 16]));
    written.expect("a member observes").ingest.rows
}

/// The ranges of the desired state that `from` has and `to` lacks.
pub fn missing_ranges(from: &Group, to: &Group) -> Vec<ChainRange> {
    test_support::missing_ranges(from, to, &DESIRED_SHARD_ID)
}

static DESIRED_SHARD_ID: LazyLock<larder_core::id::ShardId> =
    LazyLock::new(|| ShardRoot::derive(group(), ShardName::Desired).shard_id());

fn send_missing(from: &mut Group, to: &mut Group) -> Vec<Row> {
    let wants = missing_ranges(from, to);
    let (batch, _) = from.next_batch(&DESIRED_SHARD_ID, &wants).expect("something to send");
    let taken = to.ingest_batch(*DESIRED_SHARD_ID, &batch);
    assert!(taken.rejection.is_none() && !taken.new_changes.is_empty());
    taken.rows
}
