//! Edits of conflicting fields, and the plans of nodes with conflicts, in histories that diverged.

use std::collections::{BTreeMap, BTreeSet};

use super::new_peers;
use crate::id::NodeId;
use crate::resource::concurrent_edits::find_concurrent_edits;
use crate::resource::conflict::conflicts;
use crate::resource::edit::{Edit, EditError, FieldEdit};
use crate::resource::edit_transaction::plan_edits;
use crate::resource::literal::Literal;
use crate::resource::path_conflict::path_conflicts;
use crate::resource::plan::{Action, AppliedFields, plan_targets};
use crate::resource::view::{NodeLabels, ResourceView};
use crate::shard::root::ShardName;
use crate::test_support::{GroupPeer, pull_all, secret_key};
use crate::value::Value;

fn assign(value: impl Into<Value>) -> FieldEdit {
    FieldEdit::Assign(Literal::Scalar(value.into()))
}

fn set_field(path: &str, edit: FieldEdit) -> Edit {
    let fields = vec![(path.parse().unwrap(), edit)];
    Edit::Set { resource: "config/db".parse().unwrap(), fields, replace: false }
}

fn remove_db() -> Edit {
    Edit::Remove("config/db".parse().unwrap())
}

fn plan_puts(peer: &GroupPeer, edit: &Edit) -> Result<BTreeMap<String, Value>, EditError> {
    plan_edits(peer.group.desired().unwrap(), std::slice::from_ref(edit), false)
}

pub(super) fn write_edit(peer: &mut GroupPeer, edit: &Edit) {
    let puts = plan_puts(peer, edit).unwrap();
    peer.write(ShardName::Desired, puts, 0);
}

/// A peer after two peers wrote `first` together, and then one edit each without knowing of the other's.
pub(super) fn diverged_peer(first: &[Edit], left: &Edit, right: &Edit) -> GroupPeer {
    let mut all = new_peers(2);
    let [a, b] = &mut all[..] else { panic!() };
    first.iter().for_each(|edit| write_edit(a, edit));
    pull_all(a, b);
    write_edit(a, left);
    write_edit(b, right);
    pull_all(b, a);
    all.swap_remove(0)
}

fn conflicted_field(peer: &GroupPeer, edit: &Edit) -> String {
    match plan_puts(peer, edit) {
        Err(EditError::Conflicted(field)) => field.path,
        other => panic!("{other:?}"),
    }
}

#[test]
fn edit_concurrent_with_a_removal_is_a_conflict() {
    let peer =
        diverged_peer(&[set_field("keys.a", assign(1))], &remove_db(), &set_field("keys.a", assign(2)));
    assert_eq!(conflicts(peer.group.desired().unwrap()).len(), 1);
    assert_eq!(conflicted_field(&peer, &set_field("keys.b", assign(3))), "ensure");
    assert_eq!(conflicted_field(&peer, &set_field("keys.a", assign(3))), "ensure");
    // A resource that was removed without a conflict can be created again.
    let mut alone = new_peers(1).remove(0);
    write_edit(&mut alone, &set_field("keys.a", assign(1)));
    write_edit(&mut alone, &remove_db());
    write_edit(&mut alone, &set_field("keys.b", assign(3)));
    let view = alone.group.desired().unwrap().state();
    let view = ResourceView::read(view, &"config/db".parse().unwrap()).unwrap();
    assert_eq!(view.set_values().into_keys().collect::<Vec<_>>(), ["ensure", "keys.b"]);
}

#[test]
fn edit_of_a_parent_or_sibling_checks_conflicted_fields() {
    let first = [set_field("path", assign("p")), set_field("keys.c", assign(0))];
    let peer = diverged_peer(&first, &set_field("keys.a", assign(1)), &set_field("keys.a", assign(2)));
    assert_eq!(conflicted_field(&peer, &set_field("keys.a", FieldEdit::Unset)), "keys.a");
    assert_eq!(conflicted_field(&peer, &set_field("keys", FieldEdit::Unset)), "keys.a");
    let Edit::Set { resource, fields, .. } = set_field("path", assign("q")) else { panic!() };
    assert_eq!(conflicted_field(&peer, &Edit::Set { resource, fields, replace: true }), "keys.a");
    assert!(plan_puts(&peer, &set_field("path", assign("q"))).is_ok(), "what is not touched does not matter");
    assert!(plan_puts(&peer, &set_field("keys.c", FieldEdit::Unset)).is_ok());
}

#[test]
fn equal_list_item_is_removed_though_the_first_copy_is_gone() {
    let (add, take) = (FieldEdit::Add(Value::from("x")), FieldEdit::Remove(Value::from("x")));
    let peer = diverged_peer(
        &[set_field("keys.l", add.clone())],
        &set_field("keys.l", take.clone()),
        &set_field("keys.l", add),
    );
    let view = ResourceView::read(peer.group.desired().unwrap().state(), &"config/db".parse().unwrap());
    assert_eq!(view.unwrap().value("keys.l"), Some(Literal::List(vec![Value::from("x")])));
    let puts = plan_puts(&peer, &set_field("keys.l", take)).unwrap();
    assert_eq!(puts.into_values().collect::<Vec<_>>(), [Value::Null]);
}

#[test]
fn alias_of_a_grant_can_be_removed_and_set_again() {
    let mut peer = GroupPeer::new_group(2, |_| "plc".to_owned()).remove(0);
    let node = secret_key(2).node_id();
    let alias = |peer: &GroupPeer| {
        NodeLabels::read(peer.group.desired().unwrap().state(), peer.group.members(), &node).alias
    };
    assert_eq!(alias(&peer).as_deref(), Some("plc"));
    write_edit(&mut peer, &Edit::SetAlias(node.into(), None));
    assert_eq!(alias(&peer), None);
    assert!(plan_puts(&peer, &Edit::SetAlias(node.into(), None)).unwrap().is_empty(), "once is enough");
    write_edit(&mut peer, &Edit::SetAlias(node.into(), Some("pump".to_owned())));
    assert_eq!(alias(&peer).as_deref(), Some("pump"));
}

#[test]
fn label_and_alias_lengths_are_limited() {
    let peer = new_peers(1).remove(0);
    let node: NodeId = secret_key(1).node_id();
    let label = |len: usize| Edit::SetLabels(node.into(), vec![("k".repeat(len), Some("v".repeat(len)))]);
    assert_eq!(plan_puts(&peer, &label(crate::limits::MAX_LABEL_BYTES)).unwrap().len(), 1);
    let error = plan_puts(&peer, &label(crate::limits::MAX_LABEL_BYTES + 1)).unwrap_err();
    assert!(error.to_string().contains("128"), "{error}");
    let long = "a".repeat(crate::limits::MAX_NAME_BYTES + 1);
    let error = plan_puts(&peer, &Edit::SetAlias(node.into(), Some(long))).unwrap_err();
    assert!(error.to_string().contains("64"), "{error}");
}

#[test]
fn conflicted_overlay_field_applies_its_base_value() {
    let path = "overlay.\"*\".keys.a";
    let first = [set_field("path", assign("/etc/x")), set_field(path, assign(1))];
    let peer = diverged_peer(&first, &set_field(path, assign(2)), &set_field(path, assign(3)));
    let desired = peer.group.desired().unwrap();
    let found_conflicts = conflicts(desired);
    assert_eq!(
        (found_conflicts.len(), found_conflicts[0].base.clone()),
        (1, Some(Literal::Scalar(Value::Int(1))))
    );
    let node = peer.secret.node_id();
    let targets = plan_targets(desired, peer.group.members(), &node, &AppliedFields::new());
    let Action::Apply { fields, conflicted: held } = &targets[0].action else {
        panic!("{:?}", targets[0].action)
    };
    assert_eq!(held, &["keys.a"]);
    assert_eq!(fields.get("keys.a"), Some(&Literal::Scalar(Value::Int(1))));
}

fn set_fields(resource: &str, fields: &[(&str, &str)]) -> Edit {
    let fields = fields.iter().map(|(path, value)| (path.parse().unwrap(), assign(*value))).collect();
    Edit::Set { resource: resource.parse().unwrap(), fields, replace: false }
}

#[test]
fn path_claimed_by_two_resources_is_held_until_one_moves() {
    let mut all = new_peers(1);
    let peer = &mut all[0];
    let node = peer.secret.node_id();
    write_edit(peer, &set_fields("config/db", &[("path", "etc/db"), ("format", "properties")]));
    write_edit(peer, &set_fields("file/motd", &[("path", "etc//./db"), ("content", "x")]));
    write_edit(peer, &set_fields("file/other", &[("path", "etc/other"), ("content", "x")]));
    let observed = |peer: &GroupPeer| {
        let (desired, members) = (peer.group.desired().unwrap(), peer.group.members());
        let found = path_conflicts(desired, members);
        let is_path_held =
            |intent: &Action| matches!(intent, Action::Keep { conflicted } if *conflicted == ["path"]);
        let targets = plan_targets(desired, members, &node, &AppliedFields::new());
        let held_resources: Vec<String> = targets
            .iter()
            .filter(|one| is_path_held(&one.action))
            .map(|one| one.resource.to_string())
            .collect();
        (found.len(), found.first().map(|one| one.sides.len()), held_resources)
    };
    let both = vec!["config/db".to_owned(), "file/motd".to_owned()];
    assert_eq!(observed(peer), (1, Some(2), both));
    // Editing the path in conflict is allowed, because it resolves the claim.
    write_edit(peer, &set_fields("file/motd", &[("path", "etc/motd")]));
    assert_eq!(observed(peer), (0, None, vec![]));
    // On nodes that the other resource does not select, the path is free. A removed resource claims no path.
    write_edit(peer, &set_fields("file/motd", &[("path", "etc/db"), ("select", "role=none")]));
    assert_eq!(observed(peer), (0, None, vec![]));
    write_edit(peer, &set_fields("file/motd", &[("select", "*")]));
    assert_eq!(observed(peer).0, 1);
    write_edit(peer, &remove_db());
    assert_eq!(observed(peer), (0, None, vec![]));
}

#[test]
fn concurrent_edits_without_conflict_are_listed_until_the_next_write() {
    let concurrent_sides = |peer: &GroupPeer| -> Vec<Vec<String>> {
        let all = find_concurrent_edits(peer.group.desired().unwrap());
        let join = |fields: &BTreeSet<String>| fields.iter().cloned().collect::<Vec<_>>().join(" ");
        all.iter().map(|one| one.changes.values().map(join).collect()).collect()
    };
    let mut peer = diverged_peer(
        &[set_field("keys.a", assign(1))],
        &set_field("keys.b", assign(2)),
        &set_field("keys.c", assign(3)),
    );
    let mut sides = concurrent_sides(&peer);
    sides.iter_mut().for_each(|sides| sides.sort());
    assert_eq!(sides, vec![vec!["keys.b".to_owned(), "keys.c".to_owned()]]);
    write_edit(&mut peer, &set_field("keys.a", assign(4)));
    assert_eq!(concurrent_sides(&peer), Vec::<Vec<String>>::new(), "its author saw both");
    let peer = diverged_peer(
        &[set_field("keys.a", assign(1))],
        &set_field("keys.a", assign(2)),
        &set_field("keys.a", assign(3)),
    );
    assert_eq!(concurrent_sides(&peer), Vec::<Vec<String>>::new(), "a clash is a conflict, and no review");
    let peer = diverged_peer(
        &[set_field("keys.a", assign(1))],
        &set_field("keys.a", assign(2)),
        &set_field("keys.a", assign(2)),
    );
    assert_eq!(concurrent_sides(&peer).len(), 1, "equal values are no conflict");
}
