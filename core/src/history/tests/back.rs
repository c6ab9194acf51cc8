//! Putting back, against a model: a history replayed without the changes that are reverted.

use super::*;
use crate::delta::OpRef;
use crate::resource::view::{NodeLabels, ResourceView, resources};

/// One put: its op, who made it, what it replaced, and its value.
type Made = (OpRef, ChangeId, Vec<OpRef>, Value);
/// Every put of a key that was ever made.
type Puts = BTreeMap<String, Vec<Made>>;

fn reverting<'a>(changes: impl IntoIterator<Item = &'a ChangeId>) -> Back {
    Back::Revert { changes: changes.into_iter().copied().collect(), cancelled: BTreeSet::new() }
}

fn all_puts(peer: &Peer) -> Puts {
    let mut puts = Puts::new();
    for (id, delta) in peer.shard().deltas_after(&crate::shard::graph::Clock::default()) {
        let actor = delta.actor(peer.group.id());
        for (counter, put) in (delta.start_op..).zip(delta.puts) {
            let made = (OpRef { counter, actor }, id, put.preds, put.value);
            puts.entry(put.key).or_default().push(made);
        }
    }
    puts
}

/// What a key says in a history of some of the changes.
fn winner_without(made: &[Made], counts: impl Fn(&ChangeId) -> bool) -> Value {
    let rest: Vec<_> = made.iter().filter(|(_, id, ..)| counts(id)).collect();
    let is_replaced = |op: &OpRef| rest.iter().any(|(_, _, preds, _)| preds.contains(op));
    let visible = rest.iter().filter(|(op, ..)| !is_replaced(op));
    visible.max_by_key(|(op, ..)| *op).map_or(Value::Null, |(.., value)| value.clone())
}

/// The values of a state, without what is null.
fn values(state: &State) -> BTreeMap<String, Value> {
    let value = |visible: &[crate::shard::state::Visible]| visible.last().map(|one| one.value.clone());
    let all = state.iter().filter_map(|(key, visible)| Some((key.to_owned(), value(visible)?)));
    all.filter(|(_, value)| !value.is_null()).collect()
}

fn some_of(dice: &mut Dice, ids: &[ChangeId]) -> BTreeSet<ChangeId> {
    let many = 1 + dice.roll(3);
    (0..many).map(|_| ids[dice.roll(ids.len() as u64) as usize]).collect()
}

fn field_of(key: &str) -> (ResourceName, String) {
    let (resource, field) = ResourceName::of_key(key).unwrap();
    (resource, crate::resource::item::split(field).0.to_owned())
}

/// What a revert must do: the puts, or the fields that somebody wrote again.
fn expected(
    peer: &Peer,
    puts: &Puts,
    reverted: &BTreeSet<ChangeId>,
) -> Result<BTreeMap<String, Value>, BTreeSet<(ResourceName, String)>> {
    let (mut back, mut overwritten) = (BTreeMap::new(), BTreeSet::new());
    for (key, made) in puts.iter().filter(|(_, made)| made.iter().any(|(_, id, ..)| reverted.contains(id))) {
        let now = peer.shard().state().get(key);
        let by = |op: &OpRef| made.iter().find(|(made, ..)| made == op).unwrap().1;
        let all_by_others = now.iter().all(|visible| !reverted.contains(&by(&visible.op)));
        // What was written over it tells nothing of what was before it.
        let writers = made.iter().map(|(_, id, ..)| id).filter(|id| reverted.contains(id));
        let known = peer.shard().graph().clock(writers);
        let is_before = |id: &ChangeId| {
            let graph = peer.shard().graph();
            !all_by_others || graph.covers(&known, graph.get(id).unwrap())
        };
        let want = winner_without(made, |id| !reverted.contains(id) && is_before(id));
        if now.iter().all(|visible| visible.value == want) {
            continue;
        }
        if all_by_others {
            overwritten.insert(field_of(key));
        } else {
            back.insert(key.clone(), want);
        }
    }
    if overwritten.is_empty() { Ok(back) } else { Err(overwritten) }
}

/// What a resource is left with that has no value any more: the word that it is to be absent.
fn removes_emptied(
    before: &State,
    mut back: BTreeMap<String, Value>,
    after: &BTreeMap<String, Value>,
) -> BTreeMap<String, Value> {
    for view in resources(before).iter().filter(|view| !view.values().is_empty()) {
        let prefix = view.name.prefix();
        if !after.keys().any(|key| key.starts_with(&prefix)) {
            back.retain(|key, _| !key.starts_with(&prefix));
            back.extend((!view.is_removed()).then(|| (view.name.key("ensure"), Value::from("absent"))));
        }
    }
    back
}

#[test]
fn a_revert_leaves_what_a_history_without_the_change_would_have() {
    let (mut done, mut refused, mut unsettled) = (0, 0, 0);
    for seed in 0..60 {
        let mut peers = random_history(seed);
        sync(&mut peers);
        let mut dice = Dice(seed ^ 0xbac0);
        for _ in 0..12 {
            let at = dice.roll(peers.len() as u64) as usize;
            let ids: Vec<ChangeId> = peers[at].shard().graph().iter().map(|entry| entry.id).collect();
            let reverted = some_of(&mut dice, &ids);
            let (before, puts) = (peers[at].shard().state().clone(), all_puts(&peers[at]));
            let found = put_back(peers[at].shard(), peers[at].group.members(), &reverting(&reverted));
            match (expected(&peers[at], &puts, &reverted), found) {
                (Err(fields), Err(BackError::Overwritten(listed))) => {
                    let listed = listed.into_iter().map(|one| (one.resource, one.field)).collect();
                    assert_eq!(fields, listed, "seed {seed}");
                    refused += 1;
                }
                (Ok(back), Err(BackError::Conflicted(listed))) => {
                    let open: BTreeSet<_> = conflicts(peers[at].shard())
                        .into_iter()
                        .map(|one| (one.resource, one.field))
                        .collect();
                    assert!(listed.iter().all(|field| open.contains(field)), "seed {seed}");
                    let touched: BTreeSet<_> = back.keys().map(|key| field_of(key).0).collect();
                    assert!(listed.iter().all(|(resource, _)| touched.contains(resource)), "seed {seed}");
                    unsettled += 1;
                }
                (Ok(back), Ok(found)) => {
                    let mut after = values(&before);
                    after.extend(back.clone());
                    after.retain(|_, value| !value.is_null());
                    let back = removes_emptied(&before, back, &after);
                    assert_eq!(found, back, "seed {seed}");
                    done += 1;
                    let time = 9_000_000 + i64::from(done);
                    peers[at].put(ShardName::Desired, found, time);
                    let mut model = values(&before);
                    model.extend(back);
                    model.retain(|_, value| !value.is_null());
                    assert_eq!(values(peers[at].shard().state()), model, "seed {seed}: the rest stays");
                    sync(&mut peers);
                }
                (expected, found) => panic!("seed {seed}: {expected:?}, and it said {found:?}"),
            }
        }
        assert!(peers.windows(2).all(|pair| pair[0].shard().state() == pair[1].shard().state()));
    }
    assert!(done > 100 && refused > 100 && unsettled > 10, "{done} {refused} {unsettled}");
}

#[test]
fn a_restore_makes_resources_what_they_were() {
    let (mut done, mut unsettled) = (0, 0);
    for seed in 100..160 {
        let mut peers = random_history(seed);
        sync(&mut peers);
        let mut dice = Dice(seed ^ 0x4e57);
        for _ in 0..6 {
            let peer = &mut peers[0];
            let ids: Vec<ChangeId> = peer.shard().graph().iter().map(|entry| entry.id).collect();
            let at: Vec<ChangeId> = some_of(&mut dice, &ids).into_iter().collect();
            let scope = [
                Scope::Everything,
                Scope::Kind("config".into()),
                Scope::Resource(name("config/db")),
                Scope::Resource(name("file/motd")),
            ][dice.roll(4) as usize]
                .clone();
            let (before, then) = (peer.shard().state().clone(), state_at(peer.shard(), &at));
            let back = Back::Restore { at, scope: scope.clone() };
            let puts = match put_back(peer.shard(), peer.group.members(), &back) {
                Ok(puts) => puts,
                Err(BackError::Conflicted(listed)) => {
                    assert!(!listed.is_empty());
                    unsettled += 1;
                    continue;
                }
                Err(other) => panic!("seed {seed}: {other}"),
            };
            done += 1;
            peer.put(ShardName::Desired, puts, 9_000_000 + i64::from(done));
            let state = peer.shard().state();
            for view in resources(state) {
                let was =
                    ResourceView::read(if scope.covers(&view.name) { &then } else { &before }, &view.name);
                let was = was.filter(|was| !was.values().is_empty());
                match was {
                    Some(was) => assert_eq!(view.values(), was.values(), "seed {seed} {}", view.name),
                    None => {
                        assert!(view.values().is_empty() || view.is_removed(), "seed {seed} {}", view.name)
                    }
                }
            }
        }
    }
    assert!(done > 60 && unsettled > 20, "{done} {unsettled}");
}

#[test]
fn what_stands_already_is_not_written_again_and_bookkeeping_is_nobodys_resource() {
    let mut peers = peers(1);
    let peer = &mut peers[0];
    let first = peer.set(&["keys.a=1"], 10);
    let second = peer.set(&["keys.a=2"], 20);
    let tagged = peer.edit(&[Draft::Tag("before".into(), Some(vec![first]))], 25);
    peer.set(&["keys.a=1"], 30);
    let revert =
        |peer: &Peer, ids: &[ChangeId]| put_back(peer.shard(), peer.group.members(), &reverting(ids));
    assert_eq!(revert(peer, &[second]), Ok(BTreeMap::new()), "it says 1 already");
    assert_eq!(
        revert(peer, &[first]).unwrap_err().to_string(),
        format!("written again since: config/db keys.a by {}", peer.heads()[0].short())
    );
    let all = Back::Restore { at: vec![first], scope: Scope::Everything };
    assert_eq!(
        put_back(peer.shard(), peer.group.members(), &all),
        Ok(BTreeMap::new()),
        "a tag stays where resources go back"
    );
    let untag = revert(peer, &[tagged]).unwrap();
    assert_eq!(untag, BTreeMap::from([("tag/before heads".to_owned(), Value::Null)]));
    assert!(matches!(revert(peer, &[ChangeId([7; 32])]), Err(BackError::Unreadable(_))));
}

#[test]
fn undoing_again_and_again_goes_further_back() {
    let mut peers = peers(2);
    let [me, other] = &mut peers[..] else { panic!("two") };
    let node = me.secret.node();
    let undo = |peer: &mut Peer, time| {
        let Done { change: id, cancelled } = newest_done(&peer.group, &node)?;
        let back = Back::Revert { changes: BTreeSet::from([id]), cancelled };
        let puts = put_back(peer.shard(), peer.group.members(), &back).unwrap();
        let fresh = Incarnation([time as u8; 16]);
        let note = Note { command: format!("{UNDO}{id}"), time, ..Note::default() };
        peer.group.write(&peer.secret, ShardName::Desired, puts, &note, fresh).unwrap();
        peer.group.flush();
        Some(id)
    };
    let one = me.set(&["keys.a=1"], 10);
    let two = me.set(&["keys.a=2"], 20);
    other.set(&["keys.b=1"], 25);
    pull(other, me);
    assert_eq!(undo(me, 30), Some(two));
    assert_eq!(undo(me, 40), Some(one));
    assert_eq!(undo(me, 50), None, "what others wrote is theirs to undo");
    let three = me.set(&["keys.a=3"], 60);
    assert_eq!(undo(me, 70), Some(three));
    let value = |peer: &Peer, field: &str| {
        ResourceView::read(peer.shard().state(), &name("config/db")).unwrap().value(field)
    };
    assert_eq!((value(me, "keys.a"), value(me, "keys.b").is_some()), (None, true));
}

/// Nobody wrote the alias and the label that a node came with, so there is no earlier value to put: it is what the grant says.
#[test]
fn an_alias_that_came_with_the_grant_is_put_back() {
    let mut peers = peers(2);
    let node = peers[1].secret.node();
    let peer = &mut peers[0];
    let called = |peer: &Peer| NodeLabels::read(peer.shard().state(), peer.group.members(), &node);
    let labels = vec![("line".to_owned(), Some("2".to_owned()))];
    let renamed = peer.edit(&[Draft::Alias(node, Some("press".into())), Draft::Label(node, labels)], 10);
    let revert = |peer: &mut Peer, id: ChangeId, time| {
        let puts = put_back(peer.shard(), peer.group.members(), &reverting(&[id])).unwrap();
        peer.put(ShardName::Desired, puts, time).unwrap()
    };
    revert(peer, renamed, 20);
    assert_eq!((called(peer).alias.as_deref(), called(peer).labels.len()), (Some("plc"), 0));
    let taken = peer.edit(&[Draft::Alias(node, None)], 30);
    assert_eq!(called(peer).alias, None);
    revert(peer, taken, 40);
    assert_eq!(called(peer).alias.as_deref(), Some("plc"));
}
