//! The rows of the store: keys and layouts.

use std::collections::BTreeMap;

use super::fixture::{self, founder, genesis, grant, group, operator};
use super::golden_file::GoldenFile;
use crate::delta::Delta;
use crate::group::Group;
use crate::id::{ChainId, ChangeId, HistoryEntryId, Incarnation, InviteId, ShardId};
use crate::record::{Role, SignedRecord};
use crate::shard::chain::EndProof;
use crate::store::{
    GroupRow, InviteRow, JoinRow, JournalRow, MemoryStore, OwnTipRow, Row, RowReader, SnapshotBody,
    SnapshotRow, Table, UnacceptedRow, decode_layout, key,
};
use crate::wire::invite_code::InviteCode;

/// The key of one row of each table. The values of `meta`, `applied` and `addresses` belong to the daemon.
fn keys() -> Vec<(Table, Vec<u8>)> {
    let (group, shard, chain) = (group(), fixture::desired_root().shard_id(), ChainId([1; 16]));
    let grant = grant().id();
    vec![
        (Table::Meta, b"marker".to_vec()),
        (Table::Groups, key::for_group(group)),
        (Table::Records, key::record(group, grant)),
        (Table::Changes, key::change(group, shard, chain, 0x0102_0304, ChangeId([2; 32]))),
        (Table::Unaccepted, key::change(group, shard, chain, 0x0102_0304, ChangeId([2; 32]))),
        (Table::Checkpoints, key::chain_from_seq(group, shard, chain, 64)),
        (Table::EndProofs, key::for_chain(group, shard, chain)),
        (Table::OwnTips, key::own_tip(group, shard, grant)),
        (Table::Snapshots, key::for_shard(group, shard)),
        (Table::ResourceIndexes, key::for_shard(group, shard)),
        (Table::Invites, key::invite(group, InviteId([4; 32]))),
        (Table::Joins, key::for_group(group)),
        (Table::Journal, key::journal(group, 0x0102_0304)),
        (Table::Applied, key::applied(group, "config/db")),
        (Table::Addresses, key::addresses(operator().node_id())),
    ]
}

#[test]
fn store_rows_match_the_pinned_bytes() {
    let mut golden = GoldenFile::open(
        "rows",
        "Rows of the store: the key of one row of each table, and the layouts of their values. The values\n\
         of `records`, `changes` and `checkpoints` are in records.txt, changes.txt and chains.txt.",
    );
    let keys = keys();
    assert!(keys.iter().map(|(table, _)| *table).eq(Table::ALL), "every table is pinned");
    for (table, key) in keys {
        golden.check(&format!("{}.key", table.name()), key);
    }
    let group_row = GroupRow { version: 1, genesis: genesis().id(), paused: true, refetching: false };
    check_layout(&mut golden, "groups.value", &group_row);
    let signature = fixture::history().change("first").signed.signature;
    let end_proof = (300u64, EndProof { ids_ahead: vec![ChangeId([2; 32])], signature });
    check_layout(&mut golden, "end-proofs.value", &end_proof);
    let delta = fixture::history().change("first").signed.delta.clone();
    check_layout(
        &mut golden,
        "unaccepted.value",
        &UnacceptedRow { version: 1, end_proof: end_proof.1, delta },
    );
    let own_tip =
        OwnTipRow { version: 1, incarnation: Incarnation([5; 16]), seq: 300, id: ChangeId([2; 32]) };
    check_layout(&mut golden, "own-tips.value", &own_tip);
    let history = fixture::history();
    let index = history
        .shard
        .resource_index()
        .expect("a shard that was never written down")
        .to_row(history.shard.graph());
    check_layout(&mut golden, "resource-index.value", &index);
    let role = Role::Operator.to_byte();
    let invite = InviteRow {
        version: 1,
        grant: genesis().id(),
        role_byte: role,
        max_uses: 3,
        created_at: 1_700_000_000,
        expires_at: i64::MAX,
    };
    check_layout(&mut golden, "invites.value", &invite);
    let code = InviteCode::new(group(), &founder().node_id(), [7; 16]).to_bytes();
    let labels = vec![("role".to_owned(), "till".to_owned())];
    check_layout(&mut golden, "joins.value", &JoinRow { version: 1, code, alias: "till-3".into(), labels });
    let subject =
        HistoryEntryId::Change { shard_id: fixture::desired_root().shard_id(), id: ChangeId([2; 32]) };
    check_layout(
        &mut golden,
        "journal.value.change",
        &JournalRow { version: 1, subject, is_accepted: true, occurrence: 1 },
    );
    let subject = HistoryEntryId::Record(grant().id());
    check_layout(
        &mut golden,
        "journal.value.record",
        &JournalRow { version: 1, subject, is_accepted: false, occurrence: 2 },
    );
    let body = SnapshotBody {
        chains: vec![(grant().id(), Incarnation([5; 16]), 300)],
        heads: vec![ChangeId([2; 32])],
        document: b"what Automerge saved".to_vec(),
    };
    let row = SnapshotRow::seal(&body);
    assert_eq!(check_layout(&mut golden, "snapshots.value", &row).open(), Some(body));
    golden.finish();
}

fn check_layout<T>(golden: &mut GoldenFile, name: &str, value: &T) -> T
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let Some(bytes) = Row::put_encoded(Table::Meta, vec![], value).value else {
        panic!("{name} has no value")
    };
    let pinned = golden.check(name, bytes);
    let read: T = decode_layout(&pinned).unwrap_or_else(|| panic!("{name} is not read"));
    assert_eq!(read, *value, "{name}");
    read
}

/// A whole store of an earlier version: the group must load completely from it.
#[test]
fn store_of_layout_version_1_loads() {
    let mut golden = GoldenFile::open(
        "store",
        "All rows of one group as version 1 stored them, `<table>.<key> = value`. A snapshot may be written\n\
         in other bytes, but these must stay readable.",
    );
    let history = fixture::history();
    let mut group = Group::new(fixture::records());
    let mut rows = group.initial_rows();
    for written in &history.changes {
        rows.extend(group.ingest_push(history.shard.root().shard_id(), &written.signed).rows);
    }
    let mut store: BTreeMap<(Table, Vec<u8>), Vec<u8>> = BTreeMap::new();
    for row in rows {
        store.insert((row.table, row.key), row.value.unwrap());
    }
    let shard = history.shard.root().shard_id();
    store.insert((Table::Snapshots, key::for_shard(group.id(), shard)), snapshot_value(&history));
    let mut memory_store = MemoryStore::default();
    for ((table, key), value) in store {
        let name = format!("{}.{}", table.name(), data_encoding::HEXLOWER.encode(&key));
        let pinned = match table {
            Table::Snapshots => golden.check_readable(&name, &value),
            _ => golden.check(&name, value),
        };
        memory_store.write(&[Row::put(table, key, pinned)]);
    }
    let loaded = Group::load(&memory_store, group.id(), genesis().id()).unwrap();
    assert_eq!(loaded.digest(&[]), group.digest(&[]));
    assert_eq!(loaded.desired().unwrap().state(), history.shard.state());
    assert_eq!(rows_of(&memory_store, Table::Records).len(), 2);
    for record in rows_of(&memory_store, Table::Records) {
        assert!(SignedRecord::decode(&record).is_ok());
    }
    for delta in rows_of(&memory_store, Table::Changes) {
        assert!(Delta::decode(&delta).is_ok());
    }
    check_load_from_snapshot_alone(&memory_store, group.id(), shard, &loaded);
    golden.finish();
}

fn snapshot_value(history: &fixture::FixtureHistory) -> Vec<u8> {
    let graph = history.shard.graph();
    let chains = graph.chains().map(|chain| (chain.grant, chain.incarnation, chain.len())).collect();
    let body = SnapshotBody { chains, heads: graph.heads(), document: history.shard.document().save() };
    postcard::to_allocvec(&SnapshotRow::seal(&body)).unwrap()
}

fn rows_of(store: &MemoryStore, table: Table) -> Vec<Vec<u8>> {
    let rows = store.read_rows(table, &[]).unwrap();
    rows.into_iter().map(|(_, value)| value).collect()
}

/// The pinned snapshot is needed: without it, a group whose changes are missing does not load.
fn check_load_from_snapshot_alone(
    store: &MemoryStore,
    group: crate::id::GroupId,
    shard: ShardId,
    loaded: &Group,
) {
    let mut bare = store.clone();
    for (key, _) in store.read_rows(Table::Changes, &[]).unwrap() {
        bare.write(&[Row::remove(Table::Changes, key)]);
    }
    let from_snapshot = Group::load(&bare, group, genesis().id()).unwrap();
    assert_eq!(from_snapshot.digest(&[]), loaded.digest(&[]));
    bare.write(&[Row::remove(Table::Snapshots, key::for_shard(group, shard))]);
    assert!(Group::load(&bare, group, genesis().id()).is_err());
}
