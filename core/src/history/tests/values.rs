//! Values then and now: states, differences, blame.

use super::*;

#[test]
fn a_past_state_is_what_its_changes_make() {
    for seed in 40..46 {
        let mut peers = random_history(seed);
        sync(&mut peers);
        let shard = peers[0].shard();
        let mut dice = Dice(seed);
        let ids: Vec<ChangeId> = shard.graph().iter().map(|entry| entry.id).collect();
        for _ in 0..40 {
            let picked = 1 + dice.roll(3);
            let heads: Vec<ChangeId> =
                (0..picked).map(|_| ids[dice.roll(ids.len() as u64) as usize]).collect();
            let clock = shard.graph().clock(&heads);
            let mut replayed = State::default();
            for (id, delta) in shard.deltas_after(&crate::shard::graph::Clock::default()) {
                if shard.graph().covers(&clock, shard.graph().get(&id).unwrap()) {
                    let actor = delta.actor(peers[0].group.id());
                    for (counter, put) in (delta.start_op..).zip(&delta.puts) {
                        replayed.put(crate::delta::OpRef { counter, actor }, put);
                    }
                }
            }
            assert_eq!(state_at(shard, &heads), replayed, "seed {seed}");
            let part = part_at(shard, &heads, "config/db ");
            assert!(part.iter().eq(replayed.range_with_prefix("config/db ")), "seed {seed}");
        }
        assert_eq!(&state_at(shard, &shard.graph().heads()), shard.state());
        assert!(state_at(shard, &[shard.root().id()]).is_empty());
        assert!(state_at(shard, &[]).is_empty());
    }
}

fn said(edits: &[Edit]) -> Vec<String> {
    let value = |value: &Option<Literal>| crate::resource::conflict::describe(value.as_ref());
    let edit = |edit: &Edit| {
        format!(
            "{} {} {}: {} -> {}",
            edit.op.word(),
            edit.resource,
            edit.field,
            value(&edit.old),
            value(&edit.new)
        )
    };
    edits.iter().map(edit).collect()
}

fn touched(entry: &LogEntry) -> Vec<String> {
    let touch = |touch: &Touch| format!("{} {} {}", touch.op.word(), touch.resource, touch.fields.join(","));
    entry.touches.iter().map(touch).collect()
}

#[test]
fn a_change_is_shown_with_old_and_new_values() {
    let mut peers = peers(1);
    let peer = &mut peers[0];
    let epoch = peer.shard().root().epoch();
    let steps: [(&[&str], &[&str], &[&str]); 7] = [
        (
            &["keys.url=\"x\"", "keys.tags=[\"a\",\"b\"]", "keys.n=1"],
            &[
                "set config/db keys.n: (unset) -> 1",
                "set config/db keys.tags: (unset) -> [\"a\", \"b\"]",
                "set config/db keys.url: (unset) -> \"x\"",
            ],
            &["set config/db keys.n,keys.tags,keys.url"],
        ),
        (
            &["keys.url=\"y\"", "keys.n-"],
            &["unset config/db keys.n: 1 -> (unset)", "set config/db keys.url: \"x\" -> \"y\""],
            &["set config/db keys.url", "unset config/db keys.n"],
        ),
        (
            &["keys.tags+=\"c\""],
            &["set config/db keys.tags: [\"a\", \"b\"] -> [\"a\", \"b\", \"c\"]"],
            &["set config/db keys.tags"],
        ),
        (
            &["keys.tags-=\"a\""],
            &["set config/db keys.tags: [\"a\", \"b\", \"c\"] -> [\"b\", \"c\"]"],
            &["set config/db keys.tags"],
        ),
        (
            &["keys.tags-"],
            &["unset config/db keys.tags: [\"b\", \"c\"] -> (unset)"],
            &["unset config/db keys.tags"],
        ),
        (&["keys.url=[1]"], &["set config/db keys.url: \"y\" -> [1]"], &["set config/db keys.url"]),
        (&["keys.url=2"], &["set config/db keys.url: [1] -> 2"], &["set config/db keys.url"]),
    ];
    let mut ids = vec![peer.shard().root().id()];
    for (fields, shown, touches) in steps {
        let id = peer.set(fields, 0);
        ids.push(id);
        let edits = show(&peer.group, &epoch, &id);
        assert_eq!(said(&edits), shown);
        assert!(edits.iter().all(|edit| edit.change == Some(id)));
        assert_eq!(touched(&entry(&peer.group, &Found::Change { epoch, id }).unwrap()), touches);
    }
    // An old change shows what it did then, and between any two points stands what differs there.
    assert_eq!(said(&show(&peer.group, &epoch, &ids[2])), steps[1].1);
    let edits = diff(peer.shard(), &[ids[1]], &[ids[4]], None);
    assert_eq!(
        said(&edits),
        [
            "unset config/db keys.n: 1 -> (unset)",
            "set config/db keys.tags: [\"a\", \"b\"] -> [\"b\", \"c\"]",
            "set config/db keys.url: \"x\" -> \"y\""
        ]
    );
    let writers: Vec<_> = edits.iter().map(|edit| edit.change).collect();
    assert_eq!(writers, [Some(ids[2]), Some(ids[4]), Some(ids[2])]);
    let back = diff(peer.shard(), &[ids[1]], &[ids[0]], Some(&name("config/db")));
    assert_eq!(back.iter().map(|edit| (edit.op, edit.change)).collect::<Vec<_>>(), [(Op::Unset, None); 3]);
    assert_eq!(diff(peer.shard(), &[ids[1]], &[ids[4]], Some(&name("config/d"))), []);
    assert_eq!(diff(peer.shard(), &peer.heads(), &peer.heads(), None), []);
    assert_eq!(show(&peer.group, &epoch, &ids[0]), []);
}

#[test]
fn a_diff_over_one_change_is_what_it_shows() {
    for seed in 50..56 {
        let mut peers = random_history(seed);
        sync(&mut peers);
        for shard in peers[0].group.shards() {
            for at in shard.graph().iter() {
                let deps: Vec<ChangeId> = shard.graph().deps(at).map(|dep| dep.id).collect();
                let mut shown = show(&peers[0].group, &shard.root().epoch(), &at.id);
                assert!(!shown.is_empty());
                shown.retain(|edit| edit.old != edit.new);
                assert_eq!(diff(shard, &deps, &[at.id], None), shown);
            }
        }
    }
}

#[test]
fn an_edit_and_a_removal_are_both_told() {
    let mut peers = peers(2);
    let [a, b] = &mut peers[..] else { panic!() };
    let epoch = a.shard().root().epoch();
    let made = a.set(&["path=\"db\"", "keys.n=1"], 0);
    pull(a, b);
    let removal = a.edit(&[Draft::Remove(name("config/db"))], 0);
    let edit = b.set(&["keys.n=2"], 0);
    pull(a, b);
    pull(b, a);
    assert_eq!(said(&show(&a.group, &epoch, &removal)), ["remove config/db ensure: (unset) -> \"absent\""]);
    assert_eq!(said(&show(&a.group, &epoch, &edit)), ["set config/db keys.n: 1 -> 2"]);
    assert_eq!(
        said(&diff(a.shard(), &[removal], &[edit], None)),
        ["unset config/db ensure: \"absent\" -> (unset)", "set config/db keys.n: 1 -> 2"]
    );
    assert_eq!(
        said(&diff(a.shard(), &[made], &a.heads(), None)),
        ["remove config/db ensure: (unset) -> \"absent\"", "set config/db keys.n: 1 -> 2"]
    );
    let conflict = conflicts(a.shard()).remove(0);
    let settle = Draft::Resolve {
        resource: conflict.resource,
        field: conflict.field,
        settle: Settle::Value(Literal::Scalar(Value::from("absent"))),
        id: None,
    };
    let settled = a.edit(&[settle], 0);
    assert_eq!(
        said(&show(&a.group, &epoch, &settled)),
        ["remove config/db ensure: \"absent\" -> \"absent\""],
        "settling writes the winner again"
    );
    let log = a.log(&Query::default());
    assert_eq!(log.iter().map(|entry| entry.merge).collect::<Vec<_>>(), [true, false, false, false]);
    assert_eq!(touched(&log[0]), ["remove config/db ensure"]);
}

#[test]
fn a_clock_a_day_ahead_hides_and_one_at_1970_pulls_nothing_back() {
    const NOW: i64 = 1_800_000_000;
    const DAY: i64 = 86_400;
    let mut peers = peers(3);
    let [a, ahead, behind] = &mut peers[..] else { panic!() };
    let first = a.set(&["keys.a=1"], NOW);
    pull(a, ahead);
    pull(a, behind);
    let own = a.set(&["keys.a=2"], NOW + 60);
    let future = ahead.set(&["keys.b=1"], NOW + DAY);
    let past = behind.set(&["keys.c=1"], 0);
    let at = |peer: &Peer, time| heads_at_time(peer.shard(), time);
    assert_eq!(at(behind, NOW - 1), [behind.shard().root().id()], "1970 was not before what it builds on");
    assert_eq!(at(behind, NOW), [past]);
    pull(ahead, a);
    pull(behind, a);
    let sorted = |mut ids: Vec<ChangeId>| {
        ids.sort_unstable();
        ids
    };
    assert_eq!(at(a, NOW - 1), [a.shard().root().id()]);
    assert_eq!(at(a, NOW), [past]);
    assert_eq!(at(a, NOW + 60), sorted(vec![own, past]));
    assert_eq!(at(a, NOW + DAY), sorted(vec![own, past, future]));
    // What is built on the change from tomorrow is not from today either.
    let late = a.set(&["keys.a=3"], NOW + 120);
    assert_eq!(at(a, NOW + 600), sorted(vec![own, past]));
    assert_eq!(at(a, NOW + DAY), [late]);
    assert_eq!(at(a, i64::MIN), [a.shard().root().id()]);
    let state = state_at(a.shard(), &at(a, NOW + 600));
    assert_eq!(state.winner("config/db keys.a"), Some(&Value::Int(2)));
    assert_eq!(state.winner("config/db keys.b"), None);
    assert_eq!(state.winner("config/db keys.c"), Some(&Value::Int(1)));
    assert_eq!(a.log(&Query::default()).last().map(|entry| entry.id.clone()), Some(first.to_string()));
}

#[test]
fn blame_names_who_wrote_each_field() {
    let mut peers = peers(2);
    let [a, b] = &mut peers[..] else { panic!() };
    let one = a.set(&["keys.url=\"x\"", "keys.tags=[1,2]", "keys.gone=1"], 100);
    pull(a, b);
    let two = b.set(&["keys.tags-=1", "keys.gone-"], 200);
    pull(b, a);
    let of = |change, node: &Secret, user: &str, time, field: &str, value: &str| Blame {
        field: field.to_owned(),
        value: literal::parse(value).unwrap(),
        origin: Origin { change, node: Some(node.node()), user: user.to_owned(), time },
        lines: vec![],
    };
    let db = name("config/db");
    assert_eq!(
        blame(&a.group, &db, None, &a.heads(), &nowhere),
        [
            of(two, &b.secret, b.user, 200, "keys.tags", "[2]"),
            of(one, &a.secret, a.user, 100, "keys.url", "\"x\"")
        ]
    );
    assert_eq!(
        blame(&b.group, &db, None, &[one], &nowhere),
        [
            of(one, &a.secret, a.user, 100, "keys.gone", "1"),
            of(one, &a.secret, a.user, 100, "keys.tags", "[1,2]"),
            of(one, &a.secret, a.user, 100, "keys.url", "\"x\"")
        ]
    );
    assert_eq!(blame(&a.group, &name("config/d"), None, &a.heads(), &nowhere), []);
}
