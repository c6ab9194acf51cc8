//! Following a node's journal from its rows alone, as one who watches does.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::group::Group;
use larder_core::record::SignedRecord;
use larder_core::shard::Shard;
use larder_core::store::{JournalRow, Memory, Rows, Table, Told, key, layout};

/// Reads a journal from its beginning: no row says what is known, nothing comes before what it was built on, and in the
/// end just that counts which the group holds. Of one that was `damaged` only the end is asked.
pub(super) fn tells_what_counts(group: &Group, disk: &Memory, damaged: bool) -> Result<(), String> {
    let rows = disk.rows(Table::Journal, &key::group(group.id())).map_err(|error| error.to_string())?;
    let mut counting: BTreeSet<Told> = BTreeSet::new();
    let mut times: BTreeMap<Told, u32> = BTreeMap::new();
    for (_, value) in rows {
        let row: JournalRow = layout(&value).ok_or("a damaged row of the journal")?;
        let moved = if row.counts { counting.insert(row.told) } else { counting.remove(&row.told) };
        let before = times.entry(row.told).or_default();
        *before += 1;
        if damaged {
            continue;
        }
        if !moved || row.times != *before {
            return Err(format!("the journal says nothing new, or the wrong time, by {row:?}"));
        }
        if let Some(dep) = missing(group, &row, &counting) {
            return Err(format!("the journal tells {row:?} before {dep:?}, which it was built on"));
        }
    }
    if counting != counts(group) {
        return Err("the journal says that other things count than do".to_owned());
    }
    Ok(())
}

/// Something that a change was built on and that does not count yet.
fn missing(group: &Group, row: &JournalRow, counting: &BTreeSet<Told>) -> Option<Told> {
    let Told::Change { epoch, id } = row.told else { return None };
    let graph = group.shard_of(&epoch).filter(|_| row.counts)?.graph();
    let deps = graph.deps(graph.get(&id)?).filter(|dep| dep.seq > 0);
    deps.map(|dep| Told::Change { epoch, id: dep.id }).find(|dep| !counting.contains(dep))
}

fn counts(group: &Group) -> BTreeSet<Told> {
    let of = |shard: &Shard| {
        let epoch = shard.root().epoch();
        shard.graph().iter().map(|entry| Told::Change { epoch, id: entry.id }).collect::<Vec<_>>()
    };
    let records = group.offered().map(SignedRecord::id).map(Told::Record);
    group.shards().flat_map(of).chain(records).collect()
}
