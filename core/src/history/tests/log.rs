//! Tests of the log: its order, filters, parents and verification.

use super::*;
use crate::id::HistoryEntryId;
use crate::node::name_lookup::find_history_object;
use crate::node::{LookupError, NameKind};

#[test]
fn converged_nodes_produce_the_same_log() {
    for seed in 0..12 {
        let mut peers = random_history(seed);
        sync(&mut peers);
        let first = peers[0].log(&query_all());
        assert_eq!(
            first.len() as u64,
            peers[0].group.shard_states().change_count() + peers[0].group.records().len() as u64
        );
        for peer in &peers[1..] {
            assert_eq!(peer.log(&query_all()), first, "seed {seed}");
        }
        let mut seen = BTreeSet::new();
        for entry in first.iter().rev() {
            assert!(entry.verified && entry.node.is_some());
            assert!(entry.deps.iter().all(|dep| seen.contains(dep)), "what it was built on comes later");
            assert_eq!(entry.parents, entry.deps);
            let found = find_history_object(&peers[0].group, &entry.id).unwrap();
            assert_eq!(super::find_entry(&peers[0].group, &found).as_ref(), Some(entry));
            seen.insert(entry.id.clone());
        }
        // Of the entries that may come next, the latest comes first, then the one with the smallest id.
        let mut waiting: BTreeMap<&str, usize> = first.iter().map(|entry| (entry.id.as_str(), 0)).collect();
        for dep in first.iter().flat_map(|entry| &entry.deps) {
            *waiting.get_mut(dep.as_str()).unwrap() += 1;
        }
        for entry in &first {
            let free = first.iter().filter(|entry| waiting.get(entry.id.as_str()) == Some(&0));
            let best = free.min_by_key(|entry| (std::cmp::Reverse(entry.note.time), entry.id.clone()));
            assert_eq!(best.map(|best| &best.id), Some(&entry.id));
            waiting.remove(entry.id.as_str());
            entry.deps.iter().for_each(|dep| *waiting.get_mut(dep.as_str()).unwrap() -= 1);
        }
    }
}

/// All entries on which an entry builds, directly or not.
fn ancestors<'a>(log: &'a [LogEntry], id: &'a str) -> BTreeSet<&'a str> {
    let mut ids = BTreeSet::new();
    let mut pending = vec![id];
    while let Some(id) = pending.pop() {
        let entry = log.iter().find(|entry| entry.id == id).unwrap();
        for dep in &entry.deps {
            if ids.insert(dep.as_str()) {
                pending.push(dep);
            }
        }
    }
    ids
}

/// Entries in log order: of those on which no remaining entry builds, the latest first.
fn in_log_order<'a>(log: &'a [LogEntry], mut remaining: Vec<&'a LogEntry>) -> Vec<&'a LogEntry> {
    let mut ordered = Vec::new();
    while !remaining.is_empty() {
        let is_below = |entry: &&LogEntry| {
            remaining.iter().any(|other| ancestors(log, &other.id).contains(entry.id.as_str()))
        };
        let free = remaining.iter().filter(|entry| !is_below(entry));
        let best = *free.min_by_key(|entry| (std::cmp::Reverse(entry.note.time), &entry.id)).unwrap();
        remaining.retain(|entry| entry.id != best.id);
        ordered.push(best);
    }
    ordered
}

#[test]
fn resource_index_matches_a_full_scan_and_survives_a_store_round_trip() {
    use crate::shard::resource_index::ResourceIndex;
    for seed in 50..56 {
        let mut peers = random_history(seed);
        sync(&mut peers);
        let shards: Vec<Vec<Shard>> =
            peers.iter().map(|peer| peer.group.shards().cloned().collect()).collect();
        for (nth, shard) in shards[0].iter().enumerate() {
            let index = shard.resource_index().unwrap();
            let mut expected: BTreeMap<String, BTreeSet<ChangeId>> = BTreeMap::new();
            for (id, delta) in shard.deltas_after(&crate::shard::graph::VersionVector::default()) {
                for put in delta.puts {
                    let resource = put.key.split(' ').next().unwrap().to_owned();
                    expected.entry(resource).or_default().insert(id);
                }
            }
            for (resource, ids) in expected {
                let positions = index.changes_of(&resource).iter();
                let found = positions.map(|position| shard.graph().entry_at(*position).unwrap().id);
                assert_eq!(found.collect::<BTreeSet<_>>(), ids, "seed {seed}");
            }
            // A node reads the rows of another, which received the changes in another order.
            let row = index.to_row(shard.graph());
            for other in shards.iter().map(|shards| &shards[nth]) {
                assert_eq!(
                    ResourceIndex::from_row(&row, other.graph()).as_ref(),
                    other.resource_index(),
                    "seed {seed}"
                );
            }
            let mut restored = shard.clone();
            restored.set_resource_index(None);
            restored.build_resource_index();
            assert_eq!(restored.resource_index(), Some(index), "seed {seed}");
            let mut wrong = row.clone();
            *wrong.body.last_mut().unwrap() ^= 1;
            assert_eq!(ResourceIndex::from_row(&wrong, shard.graph()), None);
            assert_eq!(ResourceIndex::from_row(&row, Shard::new(shard.root().clone()).graph()), None);
        }
    }
}

#[test]
fn filtered_log_is_a_subset_with_nearest_shown_parents() {
    for seed in 20..26 {
        let mut peers = random_history(seed);
        sync(&mut peers);
        let whole = peers[0].log(&query_all());
        let node = peers[1].secret.node_id();
        let middle = whole[whole.len() / 2].note.time;
        type Picks<'a> = Box<dyn Fn(&LogEntry) -> bool + 'a>;
        let web = resource_name("config/web");
        let is_desired = |entry: &LogEntry| entry.source == LogSource::Desired;
        let picks: Vec<(LogQuery, Picks<'_>)> = vec![
            (LogQuery::default(), Box::new(is_desired)),
            (
                LogQuery { user: Some("cem".into()), ..query_all() },
                Box::new(|entry| entry.note.user == "cem"),
            ),
            (
                LogQuery { nodes: Some([node].into()), ..query_all() },
                Box::new(|entry| entry.node == Some(node)),
            ),
            (LogQuery { since: Some(middle), ..query_all() }, Box::new(|entry| entry.note.time >= middle)),
            (LogQuery { until: Some(middle), ..query_all() }, Box::new(|entry| entry.note.time <= middle)),
            (
                LogQuery { resource: Some(web.clone()), ..LogQuery::default() },
                Box::new(|entry| {
                    is_desired(entry) && entry.field_changes.iter().any(|touch| touch.resource == web)
                }),
            ),
        ];
        for (query, pick) in picks {
            let mut want: Vec<&LogEntry> = whole.iter().filter(|entry| pick(entry)).collect();
            if query.resource.is_some() {
                want = in_log_order(&whole, want);
            }
            for limit in [None, Some(0), Some(1), Some(5), Some(whole.len())] {
                let got = peers[0].log(&LogQuery { limit, ..query.clone() });
                let want = &want[..want.len().min(limit.unwrap_or(usize::MAX))];
                let shown: BTreeSet<&str> = want.iter().map(|entry| entry.id.as_str()).collect();
                assert_eq!(got.len(), want.len());
                for (got, want) in got.iter().zip(want) {
                    let below = ancestors(&whole, &want.id);
                    let below: Vec<&str> = below.into_iter().filter(|id| shown.contains(id)).collect();
                    let under = |id: &&str| below.iter().any(|other| ancestors(&whole, other).contains(id));
                    let nearest: BTreeSet<&str> = below.iter().filter(|id| !under(id)).copied().collect();
                    assert_eq!(got.parents.iter().map(String::as_str).collect::<BTreeSet<_>>(), nearest);
                    assert_eq!(got.parents.len(), nearest.len());
                    assert_eq!(LogEntry { parents: want.parents.clone(), ..got.clone() }, **want);
                }
            }
        }
    }
}

#[test]
fn log_at_past_heads_contains_only_their_ancestors() {
    let mut peers = random_history(31);
    sync(&mut peers);
    let whole = peers[0].log(&LogQuery::default());
    for entry in &whole {
        let id = ChangeId::parse(&entry.id).unwrap();
        let past_log = peers[0].log(&LogQuery { heads: Some(vec![id]), ..LogQuery::default() });
        let ids: BTreeSet<&str> = past_log.iter().map(|entry| entry.id.as_str()).collect();
        let mut want = ancestors(&whole, &entry.id);
        want.insert(&entry.id);
        assert_eq!(ids, want);
        let last = peers[0].log(&LogQuery { heads: Some(vec![id]), limit: Some(1), ..LogQuery::default() });
        assert_eq!((last[0].id.as_str(), &last[0].field_changes), (entry.id.as_str(), &entry.field_changes));
    }
    let root = peers[0].shard().root().id();
    assert_eq!(peers[0].log(&LogQuery { heads: Some(vec![root]), ..LogQuery::default() }), []);
    assert_eq!(peers[0].log(&LogQuery { heads: Some(vec![]), ..LogQuery::default() }), []);
}

#[test]
fn unique_id_prefix_finds_its_object() {
    let mut peers = random_history(60);
    sync(&mut peers);
    let group = &peers[0].group;
    let ids: Vec<String> = peers[0].log(&query_all()).into_iter().map(|entry| entry.id).collect();
    for id in &ids {
        let shortest = (1..64).find(|n| ids.iter().filter(|other| other.starts_with(&id[..*n])).count() == 1);
        let shortest = shortest.unwrap();
        for text in [&id[..shortest], id, &id.to_ascii_uppercase()] {
            assert_eq!(find_history_object(group, text).map(|found| found.to_string()).as_ref(), Ok(id));
        }
        let mut alike: Vec<String> =
            ids.iter().filter(|other| other.starts_with(&id[..shortest - 1])).cloned().collect();
        if shortest > 1 {
            alike.sort();
            let text = id[..shortest - 1].to_owned();
            let ambiguous =
                LookupError::Ambiguous { kind: NameKind::Change, text: text.clone(), candidates: alike };
            assert_eq!(find_history_object(group, &text), Err(ambiguous));
        }
        let longer = format!("{id}0");
        assert_eq!(
            find_history_object(group, &longer),
            Err(LookupError::NotFound(NameKind::Change, longer.clone()))
        );
    }
    let record = group.records().genesis();
    assert_eq!(find_history_object(group, &record.to_string()), Ok(HistoryEntryId::Record(record)));
    let root = group.desired().unwrap().root().id().to_string();
    for text in ["", "g", "0g", "-1", " ", &root, &"0".repeat(64)] {
        let not_found = LookupError::NotFound(NameKind::Change, text.to_owned());
        assert_eq!(find_history_object(group, text), Err(not_found), "{text:?}");
    }
}

#[test]
fn parents_lead_past_filtered_entries_to_the_nearest_shown() {
    let mut peers = peers(2);
    let [a, b] = &mut peers[..] else { panic!() };
    let mut ids = vec![("base", a.set(&["keys.n=0"], 100))];
    pull(a, b);
    ids.push(("pong", b.set(&["keys.n=1"], 101)));
    pull(b, a);
    ids.push(("ping", a.set(&["keys.n=2"], 102)));
    pull(a, b);
    ids.push(("left", a.set(&["keys.a=1"], 103)));
    ids.push(("right", b.set(&["keys.b=1"], 104)));
    ids.push(("left again", a.set(&["keys.a=2"], 105)));
    pull(b, a);
    ids.push(("joined", a.set(&["keys.n=3"], 106)));
    pull(a, b);
    ids.push(("head", b.set(&["keys.n=4"], 107)));
    ids.push(("side", a.set(&["path=\"x\""], 108)));
    pull(b, a);
    let names: BTreeMap<String, &str> = ids.iter().map(|(name, id)| (id.to_string(), *name)).collect();
    let parents = |query: &LogQuery| -> Vec<String> {
        let line = |entry: &LogEntry| {
            let parents: Vec<&str> = entry.parents.iter().map(|id| names[id]).collect();
            format!("{}: {}", names[&entry.id], parents.join(", ")).trim_end().to_owned()
        };
        a.log(query).iter().map(line).collect()
    };
    let whole = [
        "side: joined",
        "head: joined",
        "joined: left again, right",
        "left again: left",
        "right: ping",
        "left: ping",
        "ping: pong",
        "pong: base",
        "base:",
    ];
    assert_eq!(parents(&LogQuery::default()), whole);
    let of_a =
        ["side: joined", "joined: left again", "left again: left", "left: ping", "ping: base", "base:"];
    assert_eq!(parents(&LogQuery { user: Some(a.user.to_owned()), ..LogQuery::default() }), of_a);
    let newest = ["side: joined", "head: joined", "joined:"];
    assert_eq!(parents(&LogQuery { limit: Some(3), ..LogQuery::default() }), newest);
}

#[test]
fn log_lists_membership_records_with_their_signers() {
    let mut peers = peers(3);
    let peer = &mut peers[0];
    let log = peer.log(&query_all());
    assert_eq!(log.len(), 3);
    for (entry, on) in log.iter().zip([Some(&log[1]), Some(&log[2]), None]) {
        assert_eq!(entry.deps, on.iter().map(|on| on.id.clone()).collect::<Vec<_>>());
        let by_founder: Option<NodeId> = Some(secret_key(1).node_id());
        assert_eq!((entry.source, entry.node, entry.verified), (LogSource::Membership, by_founder, true));
    }
    assert_eq!(peer.log(&LogQuery::default()), []);
    // The recovery key belongs to no node.
    let grant = Grant {
        holder: secret_key(2).node_id(),
        role: Role::Admin,
        alias: "b".into(),
        labels: vec![],
        invite: None,
    };
    let record = Record {
        group: peer.group.id(),
        grant: peer.group.records().genesis(),
        signer: Signer::Recovery,
        seq: 1,
        prev: RecordId::ZERO,
        body: RecordBody::Grant(grant),
        note: None,
    };
    let record = record.sign(&secret_key(200));
    assert_eq!(peer.group.apply_records([record.clone()]).fault, None);
    let entry = find_entry(&peer.group, &HistoryEntryId::Record(record.id())).unwrap();
    assert_eq!((entry.node, entry.verified), (None, true));
}

#[test]
fn change_dated_before_its_dependency_is_marked() {
    let mut peers = peers(3);
    let [a, ahead, behind] = &mut peers[..] else { panic!() };
    let first = a.set(&["keys.a=1"], 1000);
    pull(a, ahead);
    let tomorrow = ahead.set(&["keys.b=1"], 90_000);
    pull(ahead, a);
    let on_future = a.set(&["keys.a=2"], 1060);
    let after = a.set(&["keys.a=3"], 1060);
    pull(a, behind);
    let behind_change = behind.set(&["keys.c=1"], 1059);
    pull(behind, a);
    let marked: BTreeMap<String, bool> =
        a.log(&LogQuery::default()).into_iter().map(|entry| (entry.id, entry.is_clock_behind)).collect();
    for (id, behind) in
        [(first, false), (tomorrow, false), (on_future, true), (after, false), (behind_change, true)]
    {
        assert_eq!(marked[&id.to_string()], behind);
    }
}

#[test]
fn only_changes_with_a_valid_signature_are_verified() {
    let mut peers = peers(2);
    let [a, b] = &mut peers[..] else { panic!() };
    let mine = a.set(&["keys.a=1"], 0);
    let theirs = b.set(&["keys.b=1"], 0);
    pull(b, a);
    let shard_id = a.shard().root().shard_id();
    let is_verified = |group: &Group, id| {
        let entry = find_entry(group, &HistoryEntryId::Change { shard_id, id }).unwrap();
        let listed = log(group, &LogQuery::default(), &no_stored_rows)
            .into_iter()
            .find(|listed| listed.id == entry.id)
            .unwrap();
        assert_eq!(listed.verified, entry.verified);
        entry.verified
    };
    assert!(is_verified(&a.group, mine) && is_verified(&a.group, theirs));
    // These changes are in the graph, but not in the document yet.
    let mut unread = a.group.clone();
    let puts = BTreeMap::from([("config/db keys.a".to_owned(), Value::Int(2))]);
    let note = ChangeNote { user: "ann".into(), time: 7, ..ChangeNote::default() };
    let outcome = unread.write(&a.secret, ShardName::Desired, puts, &note, Incarnation([3; 16])).unwrap();
    let id = outcome.change_id.unwrap();
    let before = find_entry(&unread, &HistoryEntryId::Change { shard_id, id }).unwrap();
    assert_eq!((before.verified, before.note), (false, ChangeNote { time: 7, ..ChangeNote::default() }));
    unread.flush_documents();
    assert_eq!(find_entry(&unread, &HistoryEntryId::Change { shard_id, id }).unwrap().note, note);
    assert!(is_verified(&unread, id));
    // The newest signature of the chain is not its author's.
    let mut forged = a.group.clone();
    let shard = forged.shard_by_id(&shard_id).unwrap();
    let chain_id = shard.graph().chain_of(shard.graph().get(&theirs).unwrap()).unwrap().id;
    let end_proof = EndProof { ids_ahead: vec![], signature: Sig([7; 64]) };
    forged.replace_end_proof(&shard_id, &chain_id, end_proof);
    assert!(is_verified(&forged, mine) && !is_verified(&forged, theirs));
}
