//! The journal lists the counting entries, each change after its dependencies.

use super::*;
use crate::id::HistoryEntryId;
use crate::store::{JournalRow, RowReader, decode_layout};
use crate::test_support::journal::{check_journal, counting_entries};

/// The rows of a journal, in order.
fn journal_rows(store: &MemoryStore, group: GroupId) -> Vec<JournalRow> {
    let rows = store.read_rows(Table::Journal, &key::for_group(group)).unwrap();
    let numbers: Vec<u64> = rows.iter().map(|(row, _)| key::journal_number(row).unwrap()).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "numbered one by one: {numbers:?}");
    rows.iter().map(|(_, value)| decode_layout(value).unwrap()).collect()
}

/// Reads a journal from its beginning. No row repeats a state, each change comes after its dependencies, and
/// at the end exactly the entries of the group count.
pub(super) fn assert_journal_matches(store: &MemoryStore, group: &Group) {
    assert_eq!(check_journal(group, store, false), Ok(()));
}

fn single_str_put(key: &str, value: &str) -> BTreeMap<String, Value> {
    [(key.to_owned(), Value::from(value))].into()
}

fn peer_with_history() -> GroupPeer {
    let mut all = new_peers(2);
    let (first, second) = all.split_at_mut(1);
    let (first_peer, second_peer) = (&mut first[0], &mut second[0]);
    for nth in 0..20 {
        first_peer.write(ShardName::Desired, single_str_put("config/a keys.x", &nth.to_string()), nth);
        first_peer.write(
            ShardName::Observed(crate::id::RecordId::ZERO),
            single_str_put("config/a", &nth.to_string()),
            nth,
        );
        second_peer.write(ShardName::Desired, single_str_put("config/b keys.y", &nth.to_string()), nth);
    }
    pull_all(second_peer, first_peer);
    first_peer.store.write(&first_peer.group.initial_rows());
    all.remove(0)
}

fn load_group(store: &MemoryStore, peer: &GroupPeer) -> Group {
    Group::load(store, peer.group.id(), peer.group.records().genesis()).unwrap()
}

#[test]
fn journal_lists_changes_in_acceptance_order() {
    let mut peer = peer_with_history();
    let before = journal_rows(&peer.store, peer.group.id());
    assert_eq!(before.len(), 62, "two records and 60 changes");
    assert!(
        before[..2].iter().all(|row| matches!(row.subject, HistoryEntryId::Record(_))),
        "records come first"
    );
    peer.reload();
    let id = peer.write(ShardName::Desired, single_str_put("config/a keys.x", "new"), 99).unwrap();
    let after = journal_rows(&peer.store, peer.group.id());
    assert_eq!(after[..62], before[..], "earlier rows stay as they were");
    let shard_id = peer.group.desired().unwrap().root().shard_id();
    assert_eq!(
        after[62..],
        [JournalRow {
            version: 1,
            subject: HistoryEntryId::Change { shard_id, id },
            is_accepted: true,
            occurrence: 1
        }]
    );
}

/// Stores of an earlier version have no journal.
#[test]
fn store_without_a_journal_gets_one_on_load() {
    let peer = peer_with_history();
    let mut store = peer.store.clone();
    for (row, _) in peer.store.read_rows(Table::Journal, &[]).unwrap() {
        store.write(&[Row::remove(Table::Journal, row)]);
    }
    let mut loaded = load_group(&store, &peer);
    store.write(&loaded.take_repair_rows());
    assert_journal_matches(&store, &loaded);
    assert_eq!(journal_rows(&store, peer.group.id()).len(), 62);
    assert_eq!(load_group(&store, &peer).take_repair_rows(), [], "once is enough");
}

/// Rows may be missing, damaged, or name unknown changes. Correct rows stay, and new rows correct the others.
#[test]
fn damaged_journal_is_repaired_on_load() {
    let peer = peer_with_history();
    let rows = peer.store.read_rows(Table::Journal, &[]).unwrap();
    for (nth, (row, value)) in rows.iter().enumerate() {
        let flipped = |index: usize| {
            let mut flipped_value = value.clone();
            flipped_value[index] ^= 1;
            Row::put(Table::Journal, row.clone(), flipped_value)
        };
        let damages = [
            Row::remove(Table::Journal, row.clone()),
            Row::put(Table::Journal, row.clone(), vec![1, 9]),
            Row::put(Table::Journal, [row.as_slice(), b"x"].concat(), value.clone()),
            flipped(10),
            flipped(30),
            flipped(value.len() - 4),
            flipped(value.len() - 2),
        ];
        for damage in damages {
            let mut store = peer.store.clone();
            store.write(&[damage]);
            store.write(&load_group(&store, &peer).take_repair_rows());
            let mut counting_set: BTreeSet<HistoryEntryId> = BTreeSet::new();
            for (_, value) in store.read_rows(Table::Journal, &[]).unwrap() {
                let row: JournalRow = decode_layout(&value).unwrap();
                let _ = if row.is_accepted {
                    counting_set.insert(row.subject)
                } else {
                    counting_set.remove(&row.subject)
                };
            }
            assert_eq!(counting_set, counting_entries(&peer.group), "row {nth}");
            assert_eq!(load_group(&store, &peer).take_repair_rows(), [], "once is enough");
        }
    }
}
