//! The log: its order, its filters, its lines, and what it vouches for.

use super::*;

#[test]
fn converged_nodes_print_the_same_log() {
    for seed in 0..12 {
        let mut peers = random_history(seed);
        sync(&mut peers);
        let first = peers[0].log(&all());
        assert_eq!(first.len() as u64, peers[0].group.changes() + peers[0].group.records().len() as u64);
        for peer in &peers[1..] {
            assert_eq!(peer.log(&all()), first, "seed {seed}");
        }
        let mut seen = BTreeSet::new();
        for entry in first.iter().rev() {
            assert!(entry.verified && entry.node.is_some());
            assert!(entry.deps.iter().all(|dep| seen.contains(dep)), "what it was built on comes later");
            assert_eq!(entry.parents, entry.deps);
            let found = find(&peers[0].group, &entry.id).unwrap();
            assert_eq!(super::entry(&peers[0].group, &found).as_ref(), Some(entry));
            seen.insert(entry.id.clone());
        }
        // Among what may come next, the latest does, then the smallest id.
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

/// All that an entry builds on, however far below.
fn ancestors<'a>(log: &'a [LogEntry], id: &'a str) -> BTreeSet<&'a str> {
    let mut out = BTreeSet::new();
    let mut todo = vec![id];
    while let Some(id) = todo.pop() {
        let entry = log.iter().find(|entry| entry.id == id).unwrap();
        for dep in &entry.deps {
            if out.insert(dep.as_str()) {
                todo.push(dep);
            }
        }
    }
    out
}

/// Some entries of a log as they come if there are no others: the latest of those that nothing more is built on.
fn in_order<'a>(log: &'a [LogEntry], mut left: Vec<&'a LogEntry>) -> Vec<&'a LogEntry> {
    let mut out = Vec::new();
    while !left.is_empty() {
        let is_below = |entry: &&LogEntry| {
            left.iter().any(|other| ancestors(log, &other.id).contains(entry.id.as_str()))
        };
        let free = left.iter().filter(|entry| !is_below(entry));
        let best = *free.min_by_key(|entry| (std::cmp::Reverse(entry.note.time), &entry.id)).unwrap();
        left.retain(|entry| entry.id != best.id);
        out.push(best);
    }
    out
}

#[test]
fn it_is_known_what_touched_a_resource_and_what_is_written_down_is_read_again() {
    use crate::shard::touched::Touched;
    for seed in 50..56 {
        let mut peers = random_history(seed);
        sync(&mut peers);
        let shards: Vec<Vec<Shard>> =
            peers.iter().map(|peer| peer.group.shards().cloned().collect()).collect();
        for (nth, shard) in shards[0].iter().enumerate() {
            let touched = shard.touched().unwrap();
            let mut naive: BTreeMap<String, BTreeSet<ChangeId>> = BTreeMap::new();
            for (id, delta) in shard.deltas_after(&crate::shard::graph::Clock::default()) {
                for put in delta.puts {
                    let resource = put.key.split(' ').next().unwrap().to_owned();
                    naive.entry(resource).or_default().insert(id);
                }
            }
            for (resource, ids) in naive {
                let places = touched.of(&resource).iter();
                let found = places.map(|place| shard.graph().entry_at(*place).unwrap().id);
                assert_eq!(found.collect::<BTreeSet<_>>(), ids, "seed {seed}");
            }
            // A row that one node wrote is read by another, to which the changes came in another order.
            let row = touched.seal(shard.graph());
            for other in shards.iter().map(|shards| &shards[nth]) {
                assert_eq!(Touched::open(&row, other.graph()).as_ref(), other.touched(), "seed {seed}");
            }
            let mut bare = shard.clone();
            bare.set_touched(None);
            bare.index();
            assert_eq!(bare.touched(), Some(touched), "seed {seed}");
            let mut wrong = row.clone();
            *wrong.body.last_mut().unwrap() ^= 1;
            assert_eq!(Touched::open(&wrong, shard.graph()), None);
            assert_eq!(Touched::open(&row, Shard::new(shard.root().clone()).graph()), None);
        }
    }
}

#[test]
fn a_filter_picks_from_the_whole_log_and_keeps_the_lines() {
    for seed in 20..26 {
        let mut peers = random_history(seed);
        sync(&mut peers);
        let whole = peers[0].log(&all());
        let node = peers[1].secret.node();
        let middle = whole[whole.len() / 2].note.time;
        type Picks<'a> = Box<dyn Fn(&LogEntry) -> bool + 'a>;
        let web = name("config/web");
        let is_desired = |entry: &LogEntry| entry.source == Source::Desired;
        let picks: Vec<(Query, Picks<'_>)> = vec![
            (Query::default(), Box::new(is_desired)),
            (Query { user: Some("cem".into()), ..all() }, Box::new(|entry| entry.note.user == "cem")),
            (Query { nodes: Some([node].into()), ..all() }, Box::new(|entry| entry.node == Some(node))),
            (Query { since: Some(middle), ..all() }, Box::new(|entry| entry.note.time >= middle)),
            (Query { until: Some(middle), ..all() }, Box::new(|entry| entry.note.time <= middle)),
            (
                Query { resource: Some(web.clone()), ..Query::default() },
                Box::new(|entry| {
                    is_desired(entry) && entry.touches.iter().any(|touch| touch.resource == web)
                }),
            ),
        ];
        for (query, pick) in picks {
            let mut want: Vec<&LogEntry> = whole.iter().filter(|entry| pick(entry)).collect();
            if query.resource.is_some() {
                want = in_order(&whole, want);
            }
            for limit in [None, Some(0), Some(1), Some(5), Some(whole.len())] {
                let got = peers[0].log(&Query { limit, ..query.clone() });
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
fn the_log_of_an_older_state_ends_there() {
    let mut peers = random_history(31);
    sync(&mut peers);
    let whole = peers[0].log(&Query::default());
    for entry in &whole {
        let id = ChangeId::parse(&entry.id).unwrap();
        let then = peers[0].log(&Query { at: Some(vec![id]), ..Query::default() });
        let ids: BTreeSet<&str> = then.iter().map(|entry| entry.id.as_str()).collect();
        let mut want = ancestors(&whole, &entry.id);
        want.insert(&entry.id);
        assert_eq!(ids, want);
        let last = peers[0].log(&Query { at: Some(vec![id]), limit: Some(1), ..Query::default() });
        assert_eq!((last[0].id.as_str(), &last[0].touches), (entry.id.as_str(), &entry.touches));
    }
    let root = peers[0].shard().root().id();
    assert_eq!(peers[0].log(&Query { at: Some(vec![root]), ..Query::default() }), []);
    assert_eq!(peers[0].log(&Query { at: Some(vec![]), ..Query::default() }), []);
}

#[test]
fn an_id_is_found_by_its_first_digits() {
    let mut peers = random_history(60);
    sync(&mut peers);
    let group = &peers[0].group;
    let ids: Vec<String> = peers[0].log(&all()).into_iter().map(|entry| entry.id).collect();
    for id in &ids {
        let shortest = (1..64).find(|n| ids.iter().filter(|other| other.starts_with(&id[..*n])).count() == 1);
        let shortest = shortest.unwrap();
        for text in [&id[..shortest], id, &id.to_ascii_uppercase()] {
            assert_eq!(find(group, text).map(|found| found.id()).as_ref(), Ok(id));
        }
        let mut alike: Vec<String> =
            ids.iter().filter(|other| other.starts_with(&id[..shortest - 1])).cloned().collect();
        if shortest > 1 {
            alike.sort();
            alike.truncate(limits::CANDIDATES);
            assert_eq!(find(group, &id[..shortest - 1]), Err(FindError::Ambiguous(alike)));
        }
        assert_eq!(find(group, &format!("{id}0")), Err(FindError::None));
    }
    let record = group.records().genesis();
    assert_eq!(find(group, &record.to_string()), Ok(Found::Record(record)));
    let root = group.desired().unwrap().root().id().to_string();
    for text in ["", "g", "0g", "-1", " ", &root, &"0".repeat(64)] {
        assert_eq!(find(group, text), Err(FindError::None), "{text:?}");
    }
}

#[test]
fn the_graph_of_the_log_shows_sides_part_and_meet() {
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
    ids.push(("aside", a.set(&["path=\"x\""], 108)));
    pull(b, a);
    let names: BTreeMap<String, &str> = ids.iter().map(|(name, id)| (id.to_string(), *name)).collect();
    let drawn = |query: &Query| {
        let log = a.log(query);
        let edges: Vec<_> = log.iter().map(|entry| (entry.id.clone(), entry.parents.clone())).collect();
        let mut out = String::new();
        for (entry, row) in log.iter().zip(draw(&edges)) {
            out += &format!("\n{}{}", row.prefix, names[&entry.id]);
            row.after.iter().for_each(|line| out += &format!("\n{}", line.trim_end()));
        }
        out
    };
    let whole = r"
* aside
| * head
|/
* joined
|\
* | left again
| * right
* | left
|/
* ping
* pong
* base";
    assert_eq!(drawn(&Query::default()), whole);
    let of_a = r"
* aside
* joined
* left again
* left
* ping
* base";
    assert_eq!(drawn(&Query { user: Some(a.user.to_owned()), ..Query::default() }), of_a);
    let some = r"
* aside
| * head
|/
* joined";
    assert_eq!(drawn(&Query { limit: Some(3), ..Query::default() }), some);
}

#[test]
fn records_are_said_in_words() {
    let mut peers = peers(3);
    let peer = &mut peers[0];
    let log = peer.log(&all());
    let (two, three) = (secret(2).node().short(), secret(3).node().short());
    let words: Vec<&str> = log.iter().map(|entry| entry.note.words.as_str()).collect();
    let want = [
        format!("grant operator to {three}"),
        format!("grant operator to {two} (plc)"),
        "found group shop".into(),
    ];
    assert_eq!(words, want);
    for (entry, on) in log.iter().zip([Some(&log[1]), Some(&log[2]), None]) {
        assert_eq!(entry.deps, on.iter().map(|on| on.id.clone()).collect::<Vec<_>>());
        let by_founder: Option<NodeId> = Some(secret(1).node());
        assert_eq!((entry.source, entry.node, entry.verified), (Source::Membership, by_founder, true));
    }
    assert_eq!(peer.log(&Query::default()), []);
    // By the recovery key, which is no node's.
    let grant =
        Grant { key: secret(2).node(), role: Role::Admin, alias: "b".into(), labels: vec![], invite: None };
    let record = Record {
        group: peer.group.id(),
        grant: peer.group.records().genesis(),
        signer: Signer::Recovery,
        seq: 1,
        prev: RecordId::ZERO,
        body: Body::Grant(grant),
        remark: None,
    };
    let record = record.sign(&secret(200));
    assert_eq!(peer.group.record([record.clone()]).fault, None);
    let entry = entry(&peer.group, &Found::Record(record.id())).unwrap();
    assert_eq!(entry.note.words, format!("grant admin to {two} (b), by the recovery key"));
    assert_eq!((entry.node, entry.verified), (None, true));
}

#[test]
fn a_clock_that_disagrees_with_what_was_built_on_is_marked() {
    let mut peers = peers(3);
    let [a, ahead, behind] = &mut peers[..] else { panic!() };
    let first = a.set(&["keys.a=1"], 1000);
    pull(a, ahead);
    let tomorrow = ahead.set(&["keys.b=1"], 90_000);
    pull(ahead, a);
    let upon = a.set(&["keys.a=2"], 1060);
    let after = a.set(&["keys.a=3"], 1060);
    pull(a, behind);
    let slow = behind.set(&["keys.c=1"], 1059);
    pull(behind, a);
    let marked: BTreeMap<String, bool> =
        a.log(&Query::default()).into_iter().map(|entry| (entry.id, entry.behind)).collect();
    for (id, behind) in [(first, false), (tomorrow, false), (upon, true), (after, false), (slow, true)] {
        assert_eq!(marked[&id.to_string()], behind);
    }
}

#[test]
fn only_what_was_checked_is_verified() {
    let mut peers = peers(2);
    let [a, b] = &mut peers[..] else { panic!() };
    let mine = a.set(&["keys.a=1"], 0);
    let theirs = b.set(&["keys.b=1"], 0);
    pull(b, a);
    let epoch = a.shard().root().epoch();
    let verified = |group: &Group, id| {
        let entry = entry(group, &Found::Change { epoch, id }).unwrap();
        let listed =
            log(group, &Query::default(), &nowhere).into_iter().find(|listed| listed.id == entry.id).unwrap();
        assert_eq!(listed.verified, entry.verified);
        entry.verified
    };
    assert!(verified(&a.group, mine) && verified(&a.group, theirs));
    // Changes that are not in the document yet: known, but unread.
    let mut unread = a.group.clone();
    let puts = BTreeMap::from([("config/db keys.a".to_owned(), Value::Int(2))]);
    let note = Note { user: "ann".into(), time: 7, ..Note::default() };
    let written = unread.write(&a.secret, ShardName::Desired, puts, &note, Incarnation([3; 16])).unwrap();
    let id = written.id.unwrap();
    let before = entry(&unread, &Found::Change { epoch, id }).unwrap();
    assert_eq!((before.verified, before.note), (false, Note { time: 7, ..Note::default() }));
    unread.flush();
    assert_eq!(entry(&unread, &Found::Change { epoch, id }).unwrap().note, note);
    assert!(verified(&unread, id));
    // A chain whose newest signature is not its author's.
    let mut forged = a.group.clone();
    let shard = forged.shard_of(&epoch).unwrap();
    let actor = shard.graph().chain_of(shard.graph().get(&theirs).unwrap()).unwrap().actor;
    let cover = Cover { ahead: vec![], signature: Sig([7; 64]) };
    forged.shard_mut(epoch).and_then(|shard| shard.chain_mut(&actor)).unwrap().set_cover(cover);
    assert!(verified(&forged, mine) && !verified(&forged, theirs));
}
