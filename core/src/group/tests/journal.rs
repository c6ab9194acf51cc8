//! The journal says what counts, in an order in which everything comes after what it was built on.

use super::*;
use crate::store::{JournalRow, Rows, Told, layout};

/// The rows of a journal, in order.
fn journal(store: &Memory, group: GroupId) -> Vec<JournalRow> {
    let rows = store.rows(Table::Journal, &key::group(group)).unwrap();
    let numbers: Vec<u64> = rows.iter().map(|(row, _)| key::number(row).unwrap()).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "numbered one by one: {numbers:?}");
    rows.iter().map(|(_, value)| layout(value).unwrap()).collect()
}

/// Follows a journal from its beginning: nothing comes twice, or before what it was built on, and in the end just that
/// counts which the group holds.
pub(super) fn tells_what_counts(store: &Memory, group: &Group) {
    let mut counting: BTreeSet<Told> = BTreeSet::new();
    let mut times: BTreeMap<Told, u32> = BTreeMap::new();
    for row in journal(store, group.id()) {
        let moved = if row.counts { counting.insert(row.told) } else { counting.remove(&row.told) };
        assert!(moved, "{row:?} says nothing new");
        let before = times.entry(row.told).or_default();
        *before += 1;
        assert_eq!(row.times, *before, "{row:?}");
        let Told::Change { epoch, id } = row.told else { continue };
        let graph = group.shard_of(&epoch).map(Shard::graph);
        for dep in graph.and_then(|graph| Some(graph.deps(graph.get(&id)?))).into_iter().flatten() {
            let known = counting.contains(&Told::Change { epoch, id: dep.id });
            assert!(dep.seq == 0 || known || !row.counts, "{row:?} comes before what it was built on");
        }
    }
    assert_eq!(counting, counts(group));
}

fn counts(group: &Group) -> BTreeSet<Told> {
    let of = |shard: &Shard| {
        let epoch = shard.root().epoch();
        shard.graph().iter().map(|entry| Told::Change { epoch, id: entry.id }).collect::<Vec<_>>()
    };
    let records = group.offered().map(|record| Told::Record(record.id()));
    group.shards().flat_map(of).chain(records).collect()
}

fn put(key: &str, value: &str) -> BTreeMap<String, Value> {
    [(key.to_owned(), Value::from(value))].into()
}

fn written() -> Peer {
    let mut all = peers(2);
    let (first, second) = all.split_at_mut(1);
    let (one, other) = (&mut first[0], &mut second[0]);
    for nth in 0..20 {
        one.write(ShardName::Desired, put("config/a keys.x", &nth.to_string()), nth);
        one.write(ShardName::Observed(crate::id::RecordId::ZERO), put("config/a", &nth.to_string()), nth);
        other.write(ShardName::Desired, put("config/b keys.y", &nth.to_string()), nth);
    }
    pull(other, one);
    one.store.write(&one.group.rows());
    all.remove(0)
}

fn load(store: &Memory, peer: &Peer) -> Group {
    Group::load(store, peer.group.id(), peer.group.records().genesis()).unwrap()
}

#[test]
fn it_holds_what_was_accepted_in_the_order_in_which_it_was() {
    let mut peer = written();
    let before = journal(&peer.store, peer.group.id());
    assert_eq!(before.len(), 62, "two records and 60 changes");
    assert!(before[..2].iter().all(|row| matches!(row.told, Told::Record(_))), "records come first");
    peer.reload();
    let id = peer.write(ShardName::Desired, put("config/a keys.x", "new"), 99).unwrap();
    let after = journal(&peer.store, peer.group.id());
    assert_eq!(after[..62], before[..], "what was told stays as it was");
    let epoch = peer.group.desired().unwrap().root().epoch();
    assert_eq!(
        after[62..],
        [JournalRow { version: 1, told: Told::Change { epoch, id }, counts: true, times: 1 }]
    );
}

/// As every store of an earlier version is.
#[test]
fn a_store_without_one_gets_one() {
    let peer = written();
    let mut store = peer.store.clone();
    for (row, _) in peer.store.rows(Table::Journal, &[]).unwrap() {
        store.write(&[Row::remove(Table::Journal, row)]);
    }
    let mut loaded = load(&store, &peer);
    store.write(&loaded.take_mended());
    tells_what_counts(&store, &loaded);
    assert_eq!(journal(&store, peer.group.id()).len(), 62);
    assert_eq!(load(&store, &peer).take_mended(), [], "once is enough");
}

/// Rows are lost, changed, or say what is not there; what is right stays, and the rest is said anew after it.
#[test]
fn a_damaged_one_is_brought_in_line() {
    let peer = written();
    let rows = peer.store.rows(Table::Journal, &[]).unwrap();
    for (nth, (row, value)) in rows.iter().enumerate() {
        let flipped = |at: usize| {
            let mut other = value.clone();
            other[at] ^= 1;
            Row::put(Table::Journal, row.clone(), other)
        };
        let spoils = [
            Row::remove(Table::Journal, row.clone()),
            Row::put(Table::Journal, row.clone(), vec![1, 9]),
            Row::put(Table::Journal, [row.as_slice(), b"x"].concat(), value.clone()),
            flipped(10),
            flipped(30),
            flipped(value.len() - 4),
            flipped(value.len() - 2),
        ];
        for spoil in spoils {
            let mut store = peer.store.clone();
            store.write(&[spoil]);
            store.write(&load(&store, &peer).take_mended());
            let mut counting: BTreeSet<Told> = BTreeSet::new();
            for (_, value) in store.rows(Table::Journal, &[]).unwrap() {
                let row: JournalRow = layout(&value).unwrap();
                let _ = if row.counts { counting.insert(row.told) } else { counting.remove(&row.told) };
            }
            assert_eq!(counting, counts(&peer.group), "row {nth}");
            assert_eq!(load(&store, &peer).take_mended(), [], "once is enough");
        }
    }
}
