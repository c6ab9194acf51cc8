//! Edits of a state with concurrent writes of two sides.

use super::*;
use crate::resource::edit::{Edit, EditError, FieldEdit};
use crate::resource::edit_transaction::plan_edits;
use crate::resource::literal::Literal;
use crate::resource::node_replacement::plan_node_replacement;
use crate::resource::plan::{Action, AppliedFields, plan_targets};
use crate::resource::view::{NodeLabels, ResourceView};
use crate::resource::{FieldPath, FieldRef, ResourceName};

fn resource_name() -> ResourceName {
    "config/a".parse().unwrap()
}

fn set_fields(fields: &[(&str, FieldEdit)], replace: bool) -> Edit {
    let fields =
        fields.iter().map(|(path, edit)| (path.parse::<FieldPath>().unwrap(), edit.clone())).collect();
    Edit::Set { resource: resource_name(), fields, replace }
}

fn assign_text(text: &str) -> FieldEdit {
    FieldEdit::Assign(Literal::Scalar(Value::from(text)))
}

fn assign_list(items: &[&str]) -> FieldEdit {
    FieldEdit::Assign(Literal::List(items.iter().map(|item| Value::from(*item)).collect()))
}

impl GroupPeer {
    fn plan_puts(&self, edits: &[Edit]) -> Result<BTreeMap<String, Value>, EditError> {
        plan_edits(self.group.desired().unwrap(), edits, false)
    }

    fn write_edit(&mut self, edit: Edit) {
        let puts = self.plan_puts(&[edit]).unwrap();
        self.write(ShardName::Desired, puts, 1_700_000_000);
    }

    fn field_value(&self, field: &str) -> Option<Literal> {
        ResourceView::read(self.group.desired().unwrap().state(), &resource_name())?.value(field)
    }
}

/// Two operators with the same `config/a`.
fn diverging_pair(fields: &[(&str, FieldEdit)]) -> (GroupPeer, GroupPeer) {
    let mut all = new_peers(2);
    let (mut b, mut a) = (all.pop().unwrap(), all.pop().unwrap());
    a.write_edit(set_fields(fields, false));
    pull_all(&mut a, &mut b);
    (a, b)
}

#[test]
fn edit_concurrent_with_a_removal_blocks_further_edits() {
    let (mut a, mut b) = diverging_pair(&[("path", assign_text("a")), ("keys.x", assign_text("1"))]);
    a.write_edit(Edit::Remove(resource_name()));
    b.write_edit(set_fields(&[("keys.x", assign_text("2"))], false));
    pull_all(&mut b, &mut a);
    let rejection = a.plan_puts(&[set_fields(&[("keys.y", assign_text("3"))], false)]);
    assert_eq!(rejection, Err(EditError::Conflicted(FieldRef::new(&resource_name(), "ensure"))));
    assert!(matches!(a.plan_puts(&[Edit::Remove(resource_name())]), Err(EditError::Conflicted(..))));
}

#[test]
fn edit_of_a_parent_or_of_the_whole_resource_respects_conflicts() {
    let (mut a, mut b) = diverging_pair(&[
        ("path", assign_text("a")),
        ("keys.x", assign_text("1")),
        ("keys.y", assign_text("1")),
    ]);
    a.write_edit(set_fields(&[("keys.x", assign_text("2"))], false));
    b.write_edit(set_fields(&[("keys.x", assign_text("3"))], false));
    pull_all(&mut b, &mut a);
    let expected = Err(EditError::Conflicted(FieldRef::new(&resource_name(), "keys.x")));
    assert_eq!(a.plan_puts(&[set_fields(&[("keys", FieldEdit::Unset)], false)]), expected);
    assert_eq!(a.plan_puts(&[set_fields(&[("path", assign_text("b"))], true)]), expected);
    assert_eq!(a.plan_puts(&[set_fields(&[("keys.x", assign_text("4"))], false)]), expected);
    a.plan_puts(&[set_fields(&[("keys.y", FieldEdit::Unset), ("path", assign_text("b"))], false)]).unwrap();
}

#[test]
fn removing_a_list_item_removes_whichever_equal_item_is_left() {
    let (mut a, mut b) = diverging_pair(&[("keys.l", assign_list(&["x", "x"]))]);
    // One side removes the first of two equal items by writing the list again, the other side the second.
    let lower = a
        .group
        .desired()
        .unwrap()
        .state()
        .iter()
        .find(|(key, _)| key.contains("keys.l#"))
        .unwrap()
        .0
        .to_owned();
    a.write(ShardName::Desired, BTreeMap::from([(lower, Value::Null)]), 1_700_000_001);
    assert_eq!(a.field_value("keys.l"), Some(Literal::List(vec![Value::from("x")])));
    a.write_edit(set_fields(&[("keys.l", FieldEdit::Remove(Value::from("x")))], false));
    assert_eq!(a.field_value("keys.l"), None);
    b.write_edit(set_fields(&[("keys.l", FieldEdit::Remove(Value::from("x")))], false));
    assert_eq!(b.field_value("keys.l"), Some(Literal::List(vec![Value::from("x")])));
}

#[test]
fn alias_can_be_set_and_removed() {
    let (mut a, b) = diverging_pair(&[("path", assign_text("a"))]);
    let node = b.secret.node_id();
    let read_alias =
        |a: &GroupPeer| NodeLabels::read(a.group.desired().unwrap().state(), a.group.members(), &node).alias;
    a.write_edit(Edit::SetAlias(node.into(), Some("till".to_owned())));
    assert_eq!(read_alias(&a).as_deref(), Some("till"));
    a.write_edit(Edit::SetAlias(node.into(), None));
    assert_eq!(read_alias(&a), None);
}

#[test]
fn conflicted_overlay_field_applies_its_base_on_a_fresh_node() {
    let overlay_field = "overlay.\"role=plc\".keys.x";
    let (mut a, mut b) = diverging_pair(&[("path", assign_text("a")), (overlay_field, assign_text("base"))]);
    let node = a.secret.node_id();
    a.write_edit(Edit::SetLabels(node.into(), vec![("role".to_owned(), Some("plc".to_owned()))]));
    pull_all(&mut a, &mut b);
    a.write_edit(set_fields(&[(overlay_field, assign_text("left"))], false));
    b.write_edit(set_fields(&[(overlay_field, assign_text("right"))], false));
    pull_all(&mut b, &mut a);
    let found = plan_targets(a.group.desired().unwrap(), a.group.members(), &node, &AppliedFields::new());
    let [target] = found.as_slice() else { panic!("{found:?}") };
    let Action::Apply { fields, conflicted: held } = &target.action else { panic!("{target:?}") };
    assert_eq!(fields.get("keys.x"), Some(&Literal::Scalar(Value::from("base"))));
    assert_eq!(held, &["keys.x"]);
}

#[test]
fn replacement_moves_labels_and_overlays_to_the_new_node() {
    let (mut a, b) = diverging_pair(&[("path", assign_text("a"))]);
    let (old, new) = (a.secret.node_id(), b.secret.node_id());
    let node_overlay = format!("overlay.\"node={old}\".keys.x");
    let select = format!("role=till | node={}", old.short());
    a.write_edit(Edit::SetAlias(old.into(), Some("till".to_owned())));
    a.write_edit(Edit::SetLabels(old.into(), vec![("role".to_owned(), Some("till".to_owned()))]));
    a.write_edit(Edit::SetLabels(new.into(), vec![("spare".to_owned(), Some(String::new()))]));
    a.write_edit(set_fields(
        &[
            ("select", assign_text(&select)),
            (&node_overlay, assign_list(&["1", "2"])),
            ("keys.x", assign_text("0")),
        ],
        false,
    ));
    let plan_replacement = |a: &GroupPeer| {
        let desired = a.group.desired().unwrap();
        plan_node_replacement(desired.state(), a.group.members(), &old, &new)
    };
    let found = plan_replacement(&a);
    assert_eq!(found.labels.alias.as_deref(), Some("till"));
    assert_eq!(found.resources, BTreeSet::from([resource_name()]));
    let puts = a.plan_puts(&found.edits).unwrap();
    a.write(ShardName::Desired, puts, 1_700_000_000);

    let (desired, members) = (a.group.desired().unwrap(), a.group.members());
    let labels_of = |node: &NodeId| NodeLabels::read(desired.state(), members, node);
    assert_eq!((labels_of(&old).alias, labels_of(&new).alias.as_deref()), (None, Some("till")));
    let labels: Vec<_> = labels_of(&new).labels.into_keys().collect();
    assert_eq!(labels, ["role", "spare"]);
    assert_eq!(a.field_value(&node_overlay), None);
    let (one, two) = (Value::from("1"), Value::from("2"));
    let moved = a.field_value(&format!("overlay.\"node={new}\".keys.x"));
    assert_eq!(moved, Some(Literal::List(vec![one, two])));
    let select = a.field_value("select");
    assert_eq!(select, Some(Literal::Scalar(Value::Str(format!("role=till | node={new}")))));
    let [target] = &plan_targets(desired, members, &new, &AppliedFields::new())[..] else {
        panic!("no target")
    };
    assert!(matches!(&target.action, Action::Apply { fields, .. } if fields.contains_key("keys.x")));
    // A second replacement has nothing left to move.
    assert_eq!(plan_replacement(&a).resources, BTreeSet::new());
}

#[test]
fn replacement_is_refused_while_a_moved_field_conflicts() {
    let (mut a, mut b) = diverging_pair(&[("path", assign_text("a"))]);
    let (old, new) = (a.secret.node_id(), b.secret.node_id());
    let node_overlay = format!("overlay.\"node={old}\".keys.x");
    a.write_edit(set_fields(&[(&node_overlay, assign_text("left"))], false));
    b.write_edit(set_fields(&[(&node_overlay, assign_text("right"))], false));
    pull_all(&mut b, &mut a);
    let found = plan_node_replacement(a.group.desired().unwrap().state(), a.group.members(), &old, &new);
    assert_eq!(
        a.plan_puts(&found.edits),
        Err(EditError::Conflicted(FieldRef::new(&resource_name(), &node_overlay)))
    );
}
