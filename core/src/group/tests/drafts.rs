//! What edits make of a state that two sides wrote to without knowing of each other.

use super::*;
use crate::resource::draft::draw_up;
use crate::resource::edit::{Edit, EditError, FieldEdit};
use crate::resource::literal::Literal;
use crate::resource::replace::replacement;
use crate::resource::target::{Applied, Intent, targets};
use crate::resource::view::{NodeLabels, ResourceView};
use crate::resource::{FieldPath, ResourceName};

fn name() -> ResourceName {
    "config/a".parse().unwrap()
}

fn set(fields: &[(&str, FieldEdit)], replace: bool) -> Edit {
    let fields =
        fields.iter().map(|(path, edit)| (path.parse::<FieldPath>().unwrap(), edit.clone())).collect();
    Edit::Set { resource: name(), fields, replace }
}

fn text(text: &str) -> FieldEdit {
    FieldEdit::Assign(Literal::Scalar(Value::from(text)))
}

fn list(items: &[&str]) -> FieldEdit {
    FieldEdit::Assign(Literal::List(items.iter().map(|item| Value::from(*item)).collect()))
}

impl Peer {
    fn draw(&self, edits: &[Edit]) -> Result<BTreeMap<String, Value>, EditError> {
        draw_up(self.group.desired().unwrap(), edits, false)
    }

    fn edit(&mut self, edit: Edit) {
        let puts = self.draw(&[edit]).unwrap();
        self.write(ShardName::Desired, puts, 1_700_000_000);
    }

    fn value(&self, field: &str) -> Option<Literal> {
        ResourceView::read(self.group.desired().unwrap().state(), &name())?.value(field)
    }
}

/// Two operators with the same `config/a`.
fn pair(fields: &[(&str, FieldEdit)]) -> (Peer, Peer) {
    let mut all = peers(2);
    let (mut b, mut a) = (all.pop().unwrap(), all.pop().unwrap());
    a.edit(set(fields, false));
    pull(&mut a, &mut b);
    (a, b)
}

#[test]
fn an_edit_against_a_removal_is_not_written_over() {
    let (mut a, mut b) = pair(&[("path", text("a")), ("keys.x", text("1"))]);
    a.edit(Edit::Remove(name()));
    b.edit(set(&[("keys.x", text("2"))], false));
    pull(&mut b, &mut a);
    let refused = a.draw(&[set(&[("keys.y", text("3"))], false)]);
    assert_eq!(refused, Err(EditError::Conflicted(name(), "ensure".to_owned())));
    assert!(matches!(a.draw(&[Edit::Remove(name())]), Err(EditError::Conflicted(..))));
}

#[test]
fn no_edit_writes_over_a_conflict_below_or_beside_it() {
    let (mut a, mut b) = pair(&[("path", text("a")), ("keys.x", text("1")), ("keys.y", text("1"))]);
    a.edit(set(&[("keys.x", text("2"))], false));
    b.edit(set(&[("keys.x", text("3"))], false));
    pull(&mut b, &mut a);
    let refused = Err(EditError::Conflicted(name(), "keys.x".to_owned()));
    assert_eq!(a.draw(&[set(&[("keys", FieldEdit::Unset)], false)]), refused);
    assert_eq!(a.draw(&[set(&[("path", text("b"))], true)]), refused);
    assert_eq!(a.draw(&[set(&[("keys.x", text("4"))], false)]), refused);
    a.draw(&[set(&[("keys.y", FieldEdit::Unset), ("path", text("b"))], false)]).unwrap();
}

#[test]
fn an_equal_item_is_taken_whichever_is_left() {
    let (mut a, mut b) = pair(&[("keys.l", list(&["x", "x"]))]);
    // One side takes the upper twin by writing the list anew, the other the lower one.
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
    assert_eq!(a.value("keys.l"), Some(Literal::List(vec![Value::from("x")])));
    a.edit(set(&[("keys.l", FieldEdit::Take(Value::from("x")))], false));
    assert_eq!(a.value("keys.l"), None);
    b.edit(set(&[("keys.l", FieldEdit::Take(Value::from("x")))], false));
    assert_eq!(b.value("keys.l"), Some(Literal::List(vec![Value::from("x")])));
}

#[test]
fn an_alias_of_the_grant_can_be_taken_off() {
    let (mut a, b) = pair(&[("path", text("a"))]);
    let node = b.secret.node();
    let read =
        |a: &Peer| NodeLabels::read(a.group.desired().unwrap().state(), a.group.members(), &node).alias;
    a.edit(Edit::Alias(node, Some("till".to_owned())));
    assert_eq!(read(&a).as_deref(), Some("till"));
    a.edit(Edit::Alias(node, None));
    assert_eq!(read(&a), None);
}

#[test]
fn what_stood_before_a_conflict_in_an_overlay_is_applied_where_nothing_ran() {
    let mode = "overlay.\"role=plc\".keys.x";
    let (mut a, mut b) = pair(&[("path", text("a")), (mode, text("base"))]);
    let node = a.secret.node();
    a.edit(Edit::Label(node, vec![("role".to_owned(), Some("plc".to_owned()))]));
    pull(&mut a, &mut b);
    a.edit(set(&[(mode, text("left"))], false));
    b.edit(set(&[(mode, text("right"))], false));
    pull(&mut b, &mut a);
    let found = targets(a.group.desired().unwrap(), a.group.members(), &node, &Applied::new());
    let [target] = found.as_slice() else { panic!("{found:?}") };
    let Intent::Apply { fields, held } = &target.intent else { panic!("{target:?}") };
    assert_eq!(fields.get("keys.x"), Some(&Literal::Scalar(Value::from("base"))));
    assert_eq!(held, &["keys.x"]);
}

#[test]
fn one_node_takes_the_place_of_another() {
    let (mut a, b) = pair(&[("path", text("a"))]);
    let (old, new) = (a.secret.node(), b.secret.node());
    let alone = format!("overlay.\"node={old}\".keys.x");
    let select = format!("role=till | node={}", old.short());
    a.edit(Edit::Alias(old, Some("till".to_owned())));
    a.edit(Edit::Label(old, vec![("role".to_owned(), Some("till".to_owned()))]));
    a.edit(Edit::Label(new, vec![("spare".to_owned(), Some(String::new()))]));
    a.edit(set(&[("select", text(&select)), (&alone, list(&["1", "2"])), ("keys.x", text("0"))], false));
    let at = |a: &Peer| {
        let desired = a.group.desired().unwrap();
        replacement(desired.state(), a.group.members(), &old, &new)
    };
    let found = at(&a);
    assert_eq!(found.labels.alias.as_deref(), Some("till"));
    assert_eq!(found.resources, BTreeSet::from([name()]));
    let puts = a.draw(&found.edits).unwrap();
    a.write(ShardName::Desired, puts, 1_700_000_000);

    let (desired, members) = (a.group.desired().unwrap(), a.group.members());
    let of = |node: &NodeId| NodeLabels::read(desired.state(), members, node);
    assert_eq!((of(&old).alias, of(&new).alias.as_deref()), (None, Some("till")));
    let labels: Vec<_> = of(&new).labels.into_keys().collect();
    assert_eq!(labels, ["role", "spare"]);
    assert_eq!(a.value(&alone), None);
    let (one, two) = (Value::from("1"), Value::from("2"));
    let moved = a.value(&format!("overlay.\"node={new}\".keys.x"));
    assert_eq!(moved, Some(Literal::List(vec![one, two])));
    let select = a.value("select");
    assert_eq!(select, Some(Literal::Scalar(Value::Str(format!("role=till | node={new}")))));
    let [target] = &targets(desired, members, &new, &Applied::new())[..] else { panic!("no target") };
    assert!(matches!(&target.intent, Intent::Apply { fields, .. } if fields.contains_key("keys.x")));
    // There is nothing left of it to take.
    assert_eq!(at(&a).resources, BTreeSet::new());
}

#[test]
fn a_value_in_conflict_is_settled_before_it_goes_to_another_node() {
    let (mut a, mut b) = pair(&[("path", text("a"))]);
    let (old, new) = (a.secret.node(), b.secret.node());
    let alone = format!("overlay.\"node={old}\".keys.x");
    a.edit(set(&[(&alone, text("left"))], false));
    b.edit(set(&[(&alone, text("right"))], false));
    pull(&mut b, &mut a);
    let found = replacement(a.group.desired().unwrap().state(), a.group.members(), &old, &new);
    assert_eq!(a.draw(&found.edits), Err(EditError::Conflicted(name(), alone)));
}
