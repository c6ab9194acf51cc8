//! Every row of the store: keys and layouts.

use std::collections::BTreeMap;

use super::golden::Golden;
use super::scene::{self, founder, genesis, grant, group, operator};
use crate::delta::Delta;
use crate::group::Group;
use crate::id::{Actor, ChangeId, EpochId, Incarnation, InviteId};
use crate::record::{Role, SignedRecord};
use crate::shard::chain::Cover;
use crate::store::{
    AsideRow, GroupRow, InviteRow, JoinRow, JournalRow, Memory, OwnRow, Row, Rows, SnapshotBody, SnapshotRow,
    Table, Told, key, layout,
};
use crate::wire::code::Code;

/// The key of one row of every table. The values of `meta`, `applied` and `addresses` are the node's own.
fn keys() -> Vec<(Table, Vec<u8>)> {
    let (group, epoch, actor) = (group(), scene::desired().epoch(), Actor([1; 16]));
    let grant = grant().id();
    vec![
        (Table::Meta, b"marker".to_vec()),
        (Table::Groups, key::group(group)),
        (Table::Records, key::record(group, grant)),
        (Table::Changes, key::change(group, epoch, actor, 0x0102_0304, ChangeId([2; 32]))),
        (Table::Aside, key::change(group, epoch, actor, 0x0102_0304, ChangeId([2; 32]))),
        (Table::Marks, key::seq(group, epoch, actor, 64)),
        (Table::Covers, key::chain(group, epoch, actor)),
        (Table::Own, key::own(group, epoch, grant)),
        (Table::Snapshots, key::epoch(group, epoch)),
        (Table::Index, key::epoch(group, epoch)),
        (Table::Invites, key::invite(group, InviteId([4; 32]))),
        (Table::Joins, key::group(group)),
        (Table::Journal, key::journal(group, 0x0102_0304)),
        (Table::Applied, key::applied(group, "config/db")),
        (Table::Addresses, key::node(operator().node())),
    ]
}

#[test]
fn rows_are_written_and_read_as_ever() {
    let mut golden = Golden::open(
        "rows",
        "Rows of the store: the key of one row of every table, and the layouts of their values. (Values of `records`,\n\
         `changes` and `marks` are those in records.txt, changes.txt and chains.txt.)",
    );
    let keys = keys();
    assert!(keys.iter().map(|(table, _)| *table).eq(Table::ALL), "every table is pinned");
    for (table, key) in keys {
        golden.fact(&format!("{}.key", table.name()), key);
    }
    let group_row = GroupRow { version: 1, genesis: genesis().id(), paused: true, refetching: false };
    pin(&mut golden, "groups.value", &group_row);
    let signature = scene::story().change("first").signed.signature;
    let cover = (300u64, Cover { ahead: vec![ChangeId([2; 32])], signature });
    pin(&mut golden, "covers.value", &cover);
    let delta = scene::story().change("first").signed.delta.clone();
    pin(&mut golden, "aside.value", &AsideRow { version: 1, cover: cover.1, delta });
    let own = OwnRow { version: 1, incarnation: Incarnation([5; 16]), seq: 300, id: ChangeId([2; 32]) };
    pin(&mut golden, "own.value", &own);
    let story = scene::story();
    let index = story.shard.touched().expect("a shard that was never written down").seal(story.shard.graph());
    pin(&mut golden, "index.value", &index);
    let role = Role::Operator.byte();
    let invite = InviteRow {
        version: 1,
        grant: genesis().id(),
        role,
        uses: 3,
        created: 1_700_000_000,
        expires: i64::MAX,
    };
    pin(&mut golden, "invites.value", &invite);
    let code = Code::new(group(), &founder().node(), [7; 16]).to_bytes();
    let labels = vec![("role".to_owned(), "till".to_owned())];
    pin(&mut golden, "joins.value", &JoinRow { version: 1, code, alias: "till-3".into(), labels });
    let told = Told::Change { epoch: scene::desired().epoch(), id: ChangeId([2; 32]) };
    pin(&mut golden, "journal.value.change", &JournalRow { version: 1, told, counts: true, times: 1 });
    let told = Told::Record(grant().id());
    pin(&mut golden, "journal.value.record", &JournalRow { version: 1, told, counts: false, times: 2 });
    let body = SnapshotBody {
        chains: vec![(grant().id(), Incarnation([5; 16]), 300)],
        heads: vec![ChangeId([2; 32])],
        document: b"what Automerge saved".to_vec(),
    };
    let row = SnapshotRow::seal(&body);
    assert_eq!(pin(&mut golden, "snapshots.value", &row).open(), Some(body));
    golden.close();
}

fn pin<T>(golden: &mut Golden, name: &str, value: &T) -> T
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let Some(bytes) = Row::put_layout(Table::Meta, vec![], value).value else {
        panic!("{name} has no value")
    };
    let pinned = golden.fact(name, bytes);
    let read: T = layout(&pinned).unwrap_or_else(|| panic!("{name} is not read"));
    assert_eq!(read, *value, "{name}");
    read
}

/// A whole store, as it was once written: the group must come up from it with everything.
#[test]
fn a_store_of_version_1_is_read() {
    let mut golden = Golden::open(
        "store",
        "All rows of one group as version 1 stored them, `<table>.<key> = value`. A snapshot need not be written in the\n\
         same bytes again, but must be read.",
    );
    let story = scene::story();
    let mut group = Group::new(scene::records());
    let mut rows = group.rows();
    for written in &story.changes {
        rows.extend(group.take_push(story.shard.root().epoch(), &written.signed).rows);
    }
    let mut store: BTreeMap<(Table, Vec<u8>), Vec<u8>> = BTreeMap::new();
    for row in rows {
        store.insert((row.table, row.key), row.value.unwrap());
    }
    let epoch = story.shard.root().epoch();
    store.insert((Table::Snapshots, key::epoch(group.id(), epoch)), snapshot(&story));
    let mut memory = Memory::default();
    for ((table, key), value) in store {
        let name = format!("{}.{}", table.name(), data_encoding::HEXLOWER.encode(&key));
        let pinned = match table {
            Table::Snapshots => golden.readable(&name, &value),
            _ => golden.fact(&name, value),
        };
        memory.write(&[Row::put(table, key, pinned)]);
    }
    let loaded = Group::load(&memory, group.id(), genesis().id()).unwrap();
    assert_eq!(loaded.digest(&[]), group.digest(&[]));
    assert_eq!(loaded.desired().unwrap().state(), story.shard.state());
    assert_eq!(rows_of(&memory, Table::Records).len(), 2);
    for record in rows_of(&memory, Table::Records) {
        assert!(SignedRecord::decode(&record).is_ok());
    }
    for delta in rows_of(&memory, Table::Changes) {
        assert!(Delta::decode(&delta).is_ok());
    }
    without_changes_the_snapshot_serves(&memory, group.id(), epoch, &loaded);
    golden.close();
}

fn snapshot(story: &scene::Story) -> Vec<u8> {
    let graph = story.shard.graph();
    let chains = graph.chains().map(|chain| (chain.grant, chain.incarnation, chain.len())).collect();
    let body = SnapshotBody { chains, heads: graph.heads(), document: story.shard.document().save() };
    postcard::to_allocvec(&SnapshotRow::seal(&body)).unwrap()
}

fn rows_of(memory: &Memory, table: Table) -> Vec<Vec<u8>> {
    let rows = memory.rows(table, &[]).unwrap();
    rows.into_iter().map(|(_, value)| value).collect()
}

/// The pinned snapshot alone brings the shard back: without it, a group whose changes are gone does not come up.
fn without_changes_the_snapshot_serves(
    memory: &Memory,
    group: crate::id::GroupId,
    epoch: EpochId,
    loaded: &Group,
) {
    let mut bare = memory.clone();
    for (key, _) in memory.rows(Table::Changes, &[]).unwrap() {
        bare.write(&[Row::remove(Table::Changes, key)]);
    }
    let from_snapshot = Group::load(&bare, group, genesis().id()).unwrap();
    assert_eq!(from_snapshot.digest(&[]), loaded.digest(&[]));
    bare.write(&[Row::remove(Table::Snapshots, key::epoch(group, epoch))]);
    assert!(Group::load(&bare, group, genesis().id()).is_err());
}
