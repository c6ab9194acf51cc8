//! Tests of past states, differences and blame.

use super::*;
use crate::id::HistoryEntryId;

#[test]
fn past_state_equals_a_replay_of_its_changes() {
    for seed in 40..46 {
        let mut peers = random_history(seed);
        sync(&mut peers);
        let shard = peers[0].shard();
        let mut rng = TestRng::from_seed(seed);
        let ids: Vec<ChangeId> = shard.graph().iter().map(|entry| entry.id).collect();
        for _ in 0..40 {
            let count = 1 + rng.below(3);
            let heads: Vec<ChangeId> =
                (0..count).map(|_| ids[rng.below(ids.len() as u64) as usize]).collect();
            let clock = shard.graph().version_of(&heads);
            let mut replayed = VisibleState::default();
            for (id, delta) in shard.deltas_after(&crate::shard::graph::VersionVector::default()) {
                if shard.graph().version_contains(&clock, shard.graph().get(&id).unwrap()) {
                    let chain_id = delta.chain_id(peers[0].group.id());
                    for (counter, put) in (delta.start_op..).zip(&delta.puts) {
                        replayed.apply_put(crate::delta::OpRef { counter, chain_id }, put);
                    }
                }
            }
            assert_eq!(state_at(shard, &heads), replayed, "seed {seed}");
            let partial = state_at_with_prefix(shard, &heads, "config/db ");
            assert!(partial.iter().eq(replayed.range_with_prefix("config/db ")), "seed {seed}");
        }
        assert_eq!(&state_at(shard, &shard.graph().heads()), shard.state());
        assert!(state_at(shard, &[shard.root().id()]).is_empty());
        assert!(state_at(shard, &[]).is_empty());
    }
}

fn describe_diffs(edits: &[FieldDiff]) -> Vec<String> {
    let value = |value: &Option<Literal>| match value {
        None => "(unset)".to_owned(),
        Some(Literal::Scalar(value)) => literal::format_scalar(value),
        Some(Literal::List(values)) => literal::format_list(values),
    };
    let edit = |edit: &FieldDiff| {
        format!(
            "{} {} {}: {} -> {}",
            op_name(edit.op),
            edit.resource,
            edit.field,
            value(&edit.old),
            value(&edit.new)
        )
    };
    edits.iter().map(edit).collect()
}

fn op_name(op: FieldOp) -> String {
    format!("{op:?}").to_lowercase()
}

fn describe_field_changes(entry: &LogEntry) -> Vec<String> {
    let touch =
        |touch: &FieldChanges| format!("{} {} {}", op_name(touch.op), touch.resource, touch.fields.join(","));
    entry.field_changes.iter().map(touch).collect()
}

/// Writes to one resource, with the diff and the touched fields of each.
const STEPS: [(&[&str], &[&str], &[&str]); 7] = [
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

#[test]
fn change_diff_has_old_and_new_values() {
    let mut peers = peers(1);
    let peer = &mut peers[0];
    let shard_id = peer.shard().root().shard_id();
    let mut ids = vec![peer.shard().root().id()];
    for (fields, shown, touches) in STEPS {
        let id = peer.set(fields, 0);
        ids.push(id);
        let edits = diff_of_change(&peer.group, &shard_id, &id);
        assert_eq!(describe_diffs(&edits), shown);
        assert!(edits.iter().all(|edit| edit.change == Some(id)));
        assert_eq!(
            describe_field_changes(
                &find_entry(&peer.group, &HistoryEntryId::Change { shard_id, id }).unwrap()
            ),
            touches
        );
    }
    // An old change shows its own effect only. A diff shows all differences between two points.
    assert_eq!(describe_diffs(&diff_of_change(&peer.group, &shard_id, &ids[2])), STEPS[1].1);
    let edits = diff(peer.shard(), &[ids[1]], &[ids[4]], None);
    assert_eq!(
        describe_diffs(&edits),
        [
            "unset config/db keys.n: 1 -> (unset)",
            "set config/db keys.tags: [\"a\", \"b\"] -> [\"b\", \"c\"]",
            "set config/db keys.url: \"x\" -> \"y\""
        ]
    );
    let writers: Vec<_> = edits.iter().map(|edit| edit.change).collect();
    assert_eq!(writers, [Some(ids[2]), Some(ids[4]), Some(ids[2])]);
    let reverse_diff = diff(peer.shard(), &[ids[1]], &[ids[0]], Some(&resource_name("config/db")));
    assert_eq!(
        reverse_diff.iter().map(|edit| (edit.op, edit.change)).collect::<Vec<_>>(),
        [(FieldOp::Unset, None); 3]
    );
    assert_eq!(diff(peer.shard(), &[ids[1]], &[ids[4]], Some(&resource_name("config/d"))), []);
    assert_eq!(diff(peer.shard(), &peer.heads(), &peer.heads(), None), []);
    assert_eq!(diff_of_change(&peer.group, &shard_id, &ids[0]), []);
}

#[test]
fn diff_between_a_change_and_its_deps_equals_the_change_diff() {
    for seed in 50..56 {
        let mut peers = random_history(seed);
        sync(&mut peers);
        for shard in peers[0].group.shards() {
            for entry in shard.graph().iter() {
                let deps: Vec<ChangeId> = shard.graph().deps(entry).map(|dep| dep.id).collect();
                let mut shown = diff_of_change(&peers[0].group, &shard.root().shard_id(), &entry.id);
                assert!(!shown.is_empty());
                shown.retain(|edit| edit.old != edit.new);
                assert_eq!(diff(shard, &deps, &[entry.id], None), shown);
            }
        }
    }
}

#[test]
fn concurrent_edit_and_removal_are_both_shown() {
    let mut peers = peers(2);
    let [a, b] = &mut peers[..] else { panic!() };
    let shard_id = a.shard().root().shard_id();
    let made = a.set(&["path=\"db\"", "keys.n=1"], 0);
    pull(a, b);
    let removal = a.edit(&[Draft::Remove(resource_name("config/db"))], 0);
    let edit = b.set(&["keys.n=2"], 0);
    pull(a, b);
    pull(b, a);
    assert_eq!(
        describe_diffs(&diff_of_change(&a.group, &shard_id, &removal)),
        ["remove config/db ensure: (unset) -> \"absent\""]
    );
    assert_eq!(describe_diffs(&diff_of_change(&a.group, &shard_id, &edit)), ["set config/db keys.n: 1 -> 2"]);
    assert_eq!(
        describe_diffs(&diff(a.shard(), &[removal], &[edit], None)),
        ["unset config/db ensure: \"absent\" -> (unset)", "set config/db keys.n: 1 -> 2"]
    );
    assert_eq!(
        describe_diffs(&diff(a.shard(), &[made], &a.heads(), None)),
        ["remove config/db ensure: (unset) -> \"absent\"", "set config/db keys.n: 1 -> 2"]
    );
    let conflict = conflicts(a.shard()).remove(0);
    let resolve_edit = Draft::Resolve {
        resource: conflict.resource,
        field: conflict.field,
        resolution: Resolution::UseValue(Literal::Scalar(Value::from("absent"))),
        id: None,
    };
    let resolving_change = a.edit(&[resolve_edit], 0);
    assert_eq!(
        describe_diffs(&diff_of_change(&a.group, &shard_id, &resolving_change)),
        ["remove config/db ensure: \"absent\" -> \"absent\""],
        "settling writes the winner again"
    );
    let log = a.log(&LogQuery::default());
    assert_eq!(log.iter().map(|entry| entry.is_merge).collect::<Vec<_>>(), [true, false, false, false]);
    assert_eq!(describe_field_changes(&log[0]), ["remove config/db ensure"]);
}

#[test]
fn wrong_clocks_do_not_move_other_changes_in_time() {
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
    let heads_at = |peer: &GroupPeer, time| heads_at_time(peer.shard(), time);
    assert_eq!(
        heads_at(behind, NOW - 1),
        [behind.shard().root().id()],
        "1970 was not before what it builds on"
    );
    assert_eq!(heads_at(behind, NOW), [past]);
    pull(ahead, a);
    pull(behind, a);
    let sorted = |mut ids: Vec<ChangeId>| {
        ids.sort_unstable();
        ids
    };
    assert_eq!(heads_at(a, NOW - 1), [a.shard().root().id()]);
    assert_eq!(heads_at(a, NOW), [past]);
    assert_eq!(heads_at(a, NOW + 60), sorted(vec![own, past]));
    assert_eq!(heads_at(a, NOW + DAY), sorted(vec![own, past, future]));
    // A change that builds on a change from the future does not count for the present either.
    let late = a.set(&["keys.a=3"], NOW + 120);
    assert_eq!(heads_at(a, NOW + 600), sorted(vec![own, past]));
    assert_eq!(heads_at(a, NOW + DAY), [late]);
    assert_eq!(heads_at(a, i64::MIN), [a.shard().root().id()]);
    let state = state_at(a.shard(), &heads_at(a, NOW + 600));
    assert_eq!(state.winner("config/db keys.a"), Some(&Value::Int(2)));
    assert_eq!(state.winner("config/db keys.b"), None);
    assert_eq!(state.winner("config/db keys.c"), Some(&Value::Int(1)));
    assert_eq!(a.log(&LogQuery::default()).last().map(|entry| entry.id.clone()), Some(first.to_string()));
}

#[test]
fn blame_attributes_each_field_to_its_last_writer() {
    let mut peers = peers(2);
    let [a, b] = &mut peers[..] else { panic!() };
    let one = a.set(&["keys.url=\"x\"", "keys.tags=[1,2]", "keys.gone=1"], 100);
    pull(a, b);
    let two = b.set(&["keys.tags-=1", "keys.gone-"], 200);
    pull(b, a);
    let expected_blame = |change, node: &SecretKey, user: &str, time, field: &str, value: &str| FieldBlame {
        field: field.to_owned(),
        value: literal::parse(value).unwrap(),
        origin: ChangeOrigin { change, node: Some(node.node_id()), user: user.to_owned(), time },
        lines: vec![],
    };
    let db = resource_name("config/db");
    assert_eq!(
        blame(&a.group, &db, None, &a.heads(), &no_stored_rows),
        [
            expected_blame(two, &b.secret, b.user, 200, "keys.tags", "[2]"),
            expected_blame(one, &a.secret, a.user, 100, "keys.url", "\"x\"")
        ]
    );
    assert_eq!(
        blame(&b.group, &db, None, &[one], &no_stored_rows),
        [
            expected_blame(one, &a.secret, a.user, 100, "keys.gone", "1"),
            expected_blame(one, &a.secret, a.user, 100, "keys.tags", "[1,2]"),
            expected_blame(one, &a.secret, a.user, 100, "keys.url", "\"x\"")
        ]
    );
    assert_eq!(blame(&a.group, &resource_name("config/d"), None, &a.heads(), &no_stored_rows), []);
}
