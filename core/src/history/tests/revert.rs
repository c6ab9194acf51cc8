//! Tests of reverts against a model: a replay of the history without the reverted changes.

use super::*;
use crate::delta::OpRef;
use crate::resource::view::{NodeLabels, ResourceView, resources};

/// One put: its op, change, predecessors and value.
type Made = (OpRef, ChangeId, Vec<OpRef>, Value);
/// Every put of each key.
type Puts = BTreeMap<String, Vec<Made>>;

fn revert_request<'a>(changes: impl IntoIterator<Item = &'a ChangeId>) -> RevertRequest {
    RevertRequest::Revert { changes: changes.into_iter().copied().collect(), cancelled: BTreeSet::new() }
}

fn all_puts(peer: &GroupPeer) -> Puts {
    let mut puts = Puts::new();
    for (id, delta) in peer.shard().deltas_after(&crate::shard::graph::VersionVector::default()) {
        let chain_id = delta.chain_id(peer.group.id());
        for (counter, put) in (delta.start_op..).zip(delta.puts) {
            let put_made = (OpRef { counter, chain_id }, id, put.preds, put.value);
            puts.entry(put.key).or_default().push(put_made);
        }
    }
    puts
}

/// The visible values of a key in a history of some of the changes.
fn winner_without(puts: &[Made], is_included: impl Fn(&ChangeId) -> bool) -> Value {
    let included: Vec<_> = puts.iter().filter(|(_, id, ..)| is_included(id)).collect();
    let is_replaced = |op: &OpRef| included.iter().any(|(_, _, preds, _)| preds.contains(op));
    let visible = included.iter().filter(|(op, ..)| !is_replaced(op));
    visible.max_by_key(|(op, ..)| *op).map_or(Value::Null, |(.., value)| value.clone())
}

/// The values of a state that are not null.
fn visible_values(state: &VisibleState) -> BTreeMap<String, Value> {
    let value = |visible: &[crate::shard::state::VisibleValue]| visible.last().map(|one| one.value.clone());
    let all = state.iter().filter_map(|(key, visible)| Some((key.to_owned(), value(visible)?)));
    all.filter(|(_, value)| !value.is_null()).collect()
}

fn random_subset(rng: &mut TestRng, ids: &[ChangeId]) -> BTreeSet<ChangeId> {
    let count = 1 + rng.below(3);
    (0..count).map(|_| ids[rng.below(ids.len() as u64) as usize]).collect()
}

fn field_of(key: &str) -> (ResourceName, String) {
    let (resource, field) = ResourceName::split_key(key).unwrap();
    (resource, crate::resource::list_item::split_item_field(field).0.to_owned())
}

/// The expected result of a revert: the puts, or the overwritten fields.
fn expected_revert(
    peer: &GroupPeer,
    puts: &Puts,
    reverted: &BTreeSet<ChangeId>,
) -> Result<BTreeMap<String, Value>, BTreeSet<(ResourceName, String)>> {
    let (mut expected_puts, mut overwritten) = (BTreeMap::new(), BTreeSet::new());
    for (key, made) in puts.iter().filter(|(_, made)| made.iter().any(|(_, id, ..)| reverted.contains(id))) {
        let current = peer.shard().state().get(key);
        let by = |op: &OpRef| made.iter().find(|(made, ..)| made == op).unwrap().1;
        let all_by_others = current.iter().all(|visible| !reverted.contains(&by(&visible.op)));
        // An overwriting value does not show the values before it.
        let writers = made.iter().map(|(_, id, ..)| id).filter(|id| reverted.contains(id));
        let known = peer.shard().graph().version_of(writers);
        let is_before = |id: &ChangeId| {
            let graph = peer.shard().graph();
            !all_by_others || graph.version_contains(&known, graph.get(id).unwrap())
        };
        let wanted = winner_without(made, |id| !reverted.contains(id) && is_before(id));
        if current.iter().all(|visible| visible.value == wanted) {
            continue;
        }
        if all_by_others {
            overwritten.insert(field_of(key));
        } else {
            expected_puts.insert(key.clone(), wanted);
        }
    }
    if overwritten.is_empty() { Ok(expected_puts) } else { Err(overwritten) }
}

/// The expected puts for a resource without values: its removal.
fn with_emptied_removed(
    before: &VisibleState,
    mut back: BTreeMap<String, Value>,
    after: &BTreeMap<String, Value>,
) -> BTreeMap<String, Value> {
    for view in resources(before).iter().filter(|view| !view.set_values().is_empty()) {
        let prefix = view.name.key_prefix();
        if !after.keys().any(|key| key.starts_with(&prefix)) {
            back.retain(|key, _| !key.starts_with(&prefix));
            back.extend((!view.is_removed()).then(|| (view.name.field_key("ensure"), Value::from("absent"))));
        }
    }
    back
}

#[test]
fn revert_equals_a_replay_without_the_reverted_changes() {
    let (mut reverted_count, mut refused, mut unsettled) = (0, 0, 0);
    for seed in 0..60 {
        let mut peers = random_history(seed);
        sync(&mut peers);
        let mut rng = TestRng::from_seed(seed ^ 0xbac0);
        for _ in 0..12 {
            let peer_index = rng.below(peers.len() as u64) as usize;
            let ids: Vec<ChangeId> = peers[peer_index].shard().graph().iter().map(|entry| entry.id).collect();
            let reverted = random_subset(&mut rng, &ids);
            let (before, puts) = (peers[peer_index].shard().state().clone(), all_puts(&peers[peer_index]));
            let plan = plan_revert(
                peers[peer_index].shard(),
                peers[peer_index].group.members(),
                &revert_request(&reverted),
            );
            match (expected_revert(&peers[peer_index], &puts, &reverted), plan) {
                (Err(fields), Err(RevertError::Overwritten(listed))) => {
                    let listed = listed.into_iter().map(|(one, _)| (one.resource, one.path)).collect();
                    assert_eq!(fields, listed, "seed {seed}");
                    refused += 1;
                }
                (Ok(back), Err(RevertError::Conflicted(listed))) => {
                    let conflicted: BTreeSet<_> = conflicts(peers[peer_index].shard())
                        .into_iter()
                        .map(|one| FieldRef { resource: one.resource, path: one.field })
                        .collect();
                    assert!(listed.iter().all(|field| conflicted.contains(field)), "seed {seed}");
                    let touched: BTreeSet<_> = back.keys().map(|key| field_of(key).0).collect();
                    assert!(listed.iter().all(|field| touched.contains(&field.resource)), "seed {seed}");
                    unsettled += 1;
                }
                (Ok(back), Ok(found)) => {
                    let mut after = visible_values(&before);
                    after.extend(back.clone());
                    after.retain(|_, value| !value.is_null());
                    let expected_puts = with_emptied_removed(&before, back, &after);
                    assert_eq!(found, expected_puts, "seed {seed}");
                    reverted_count += 1;
                    let time = 9_000_000 + i64::from(reverted_count);
                    peers[peer_index].put(ShardName::Desired, found, time);
                    let mut model = visible_values(&before);
                    model.extend(expected_puts);
                    model.retain(|_, value| !value.is_null());
                    assert_eq!(
                        visible_values(peers[peer_index].shard().state()),
                        model,
                        "seed {seed}: the rest stays"
                    );
                    sync(&mut peers);
                }
                (expected, found) => panic!("seed {seed}: {expected:?}, and it said {found:?}"),
            }
        }
        assert!(peers.windows(2).all(|pair| pair[0].shard().state() == pair[1].shard().state()));
    }
    assert!(
        reverted_count > 100 && refused > 100 && unsettled > 10,
        "{reverted_count} {refused} {unsettled}"
    );
}

#[test]
fn restore_returns_resources_to_their_past_values() {
    let (mut restored_count, mut unsettled) = (0, 0);
    for seed in 100..160 {
        let mut peers = random_history(seed);
        sync(&mut peers);
        let mut rng = TestRng::from_seed(seed ^ 0x4e57);
        for _ in 0..6 {
            let peer = &mut peers[0];
            let ids: Vec<ChangeId> = peer.shard().graph().iter().map(|entry| entry.id).collect();
            let heads: Vec<ChangeId> = random_subset(&mut rng, &ids).into_iter().collect();
            let scope = [
                ResourceScope::Everything,
                ResourceScope::Kind("config".into()),
                ResourceScope::Resource(resource_name("config/db")),
                ResourceScope::Resource(resource_name("file/motd")),
            ][rng.below(4) as usize]
                .clone();
            let (before, past) = (peer.shard().state().clone(), state_at(peer.shard(), &heads));
            let request = RevertRequest::Restore { heads, scope: scope.clone() };
            let puts = match plan_revert(peer.shard(), peer.group.members(), &request) {
                Ok(puts) => puts,
                Err(RevertError::Conflicted(listed)) => {
                    assert!(!listed.is_empty());
                    unsettled += 1;
                    continue;
                }
                Err(other) => panic!("seed {seed}: {other}"),
            };
            restored_count += 1;
            peer.put(ShardName::Desired, puts, 9_000_000 + i64::from(restored_count));
            let state = peer.shard().state();
            for view in resources(state) {
                let past_view =
                    ResourceView::read(if scope.contains(&view.name) { &past } else { &before }, &view.name);
                let past_view = past_view.filter(|was| !was.set_values().is_empty());
                match past_view {
                    Some(was) => assert_eq!(view.set_values(), was.set_values(), "seed {seed} {}", view.name),
                    None => {
                        assert!(
                            view.set_values().is_empty() || view.is_removed(),
                            "seed {seed} {}",
                            view.name
                        )
                    }
                }
            }
        }
    }
    assert!(restored_count > 60 && unsettled > 20, "{restored_count} {unsettled}");
}

#[test]
fn restore_skips_unchanged_values_and_tags() {
    let mut peers = peers(1);
    let peer = &mut peers[0];
    let first = peer.set(&["keys.a=1"], 10);
    let second = peer.set(&["keys.a=2"], 20);
    let tagged = peer.edit(
        &[Draft::SetTag { name: "before".into(), point: HistoryPoint::Heads(vec![first]), force: false }],
        25,
    );
    peer.set(&["keys.a=1"], 30);
    let revert = |peer: &GroupPeer, ids: &[ChangeId]| {
        plan_revert(peer.shard(), peer.group.members(), &revert_request(ids))
    };
    assert_eq!(revert(peer, &[second]), Ok(BTreeMap::new()), "it says 1 already");
    assert_eq!(
        revert(peer, &[first]).unwrap_err().to_string(),
        format!("overwritten since: config/db keys.a by {}", peer.heads()[0].short())
    );
    let restore_all = RevertRequest::Restore { heads: vec![first], scope: ResourceScope::Everything };
    assert_eq!(
        plan_revert(peer.shard(), peer.group.members(), &restore_all),
        Ok(BTreeMap::new()),
        "a tag stays where resources go back"
    );
    let untag = revert(peer, &[tagged]).unwrap();
    assert_eq!(untag, BTreeMap::from([("tag/before heads".to_owned(), Value::Null)]));
    assert!(matches!(revert(peer, &[ChangeId([7; 32])]), Err(RevertError::Unreadable(_))));
}

#[test]
fn repeated_undo_reverts_older_changes() {
    let mut peers = peers(2);
    let [me, other] = &mut peers[..] else { panic!("two") };
    let node = me.secret.node_id();
    let undo_newest = |peer: &mut GroupPeer, time| {
        let UndoableChange { change: id, cancelled } = newest_undoable_change(&peer.group, &node)?;
        let request = RevertRequest::Revert { changes: BTreeSet::from([id]), cancelled };
        let puts = plan_revert(peer.shard(), peer.group.members(), &request).unwrap();
        let incarnation = Incarnation([time as u8; 16]);
        let note =
            ChangeNote { command: format!("{UNDO_COMMAND_PREFIX}{id}"), time, ..ChangeNote::default() };
        peer.group.write(&peer.secret, ShardName::Desired, puts, &note, incarnation).unwrap();
        peer.group.flush_documents();
        Some(id)
    };
    let one = me.set(&["keys.a=1"], 10);
    let two = me.set(&["keys.a=2"], 20);
    other.set(&["keys.b=1"], 25);
    pull(other, me);
    assert_eq!(undo_newest(me, 30), Some(two));
    assert_eq!(undo_newest(me, 40), Some(one));
    assert_eq!(undo_newest(me, 50), None, "what others wrote is theirs to undo");
    let three = me.set(&["keys.a=3"], 60);
    assert_eq!(undo_newest(me, 70), Some(three));
    let value = |peer: &GroupPeer, field: &str| {
        ResourceView::read(peer.shard().state(), &resource_name("config/db")).unwrap().value(field)
    };
    assert_eq!((value(me, "keys.a"), value(me, "keys.b").is_some()), (None, true));
}

/// No change wrote the alias and label of a new node, so the revert puts those of its grant.
#[test]
fn revert_restores_the_alias_from_the_grant() {
    let mut peers = peers(2);
    let node = peers[1].secret.node_id();
    let peer = &mut peers[0];
    let labels_of = |peer: &GroupPeer| NodeLabels::read(peer.shard().state(), peer.group.members(), &node);
    let labels = vec![("line".to_owned(), Some("2".to_owned()))];
    let renamed = peer.edit(
        &[Draft::SetAlias(node.into(), Some("press".into())), Draft::SetLabels(node.into(), labels)],
        10,
    );
    let revert = |peer: &mut GroupPeer, id: ChangeId, time| {
        let puts = plan_revert(peer.shard(), peer.group.members(), &revert_request(&[id])).unwrap();
        peer.put(ShardName::Desired, puts, time).unwrap()
    };
    revert(peer, renamed, 20);
    assert_eq!((labels_of(peer).alias.as_deref(), labels_of(peer).labels.len()), (Some("plc"), 0));
    let removed = peer.edit(&[Draft::SetAlias(node.into(), None)], 30);
    assert_eq!(labels_of(peer).alias, None);
    revert(peer, removed, 40);
    assert_eq!(labels_of(peer).alias.as_deref(), Some("plc"));
}
