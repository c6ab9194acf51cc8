//! Edits that meet conflicts, and what a machine makes of conflicts, over histories that really parted.

use std::collections::BTreeMap;

use super::{Peer, peers, pull, secret};
use crate::id::NodeId;
use crate::resource::claim::claims;
use crate::resource::conflict::conflicts;
use crate::resource::draft::draw_up;
use crate::resource::edit::{Edit, EditError, FieldEdit};
use crate::resource::literal::Literal;
use crate::resource::review::reviews;
use crate::resource::target::{Applied, Intent, targets};
use crate::resource::view::{NodeLabels, ResourceView};
use crate::shard::root::ShardName;
use crate::value::Value;

fn to(value: impl Into<Value>) -> FieldEdit {
    FieldEdit::Assign(Literal::Scalar(value.into()))
}

fn set(path: &str, edit: FieldEdit) -> Edit {
    let fields = vec![(path.parse().unwrap(), edit)];
    Edit::Set { resource: "config/db".parse().unwrap(), fields, replace: false }
}

fn remove() -> Edit {
    Edit::Remove("config/db".parse().unwrap())
}

fn draw(peer: &Peer, edit: &Edit) -> Result<BTreeMap<String, Value>, EditError> {
    draw_up(peer.group.desired().unwrap(), std::slice::from_ref(edit), false)
}

fn write(peer: &mut Peer, edit: &Edit) {
    let puts = draw(peer, edit).unwrap();
    peer.write(ShardName::Desired, puts, 0);
}

/// Two peers that wrote `first` together, and then each without the other.
fn parted(first: &[Edit], left: &Edit, right: &Edit) -> Peer {
    let mut all = peers(2);
    let [a, b] = &mut all[..] else { panic!() };
    first.iter().for_each(|edit| write(a, edit));
    pull(a, b);
    write(a, left);
    write(b, right);
    pull(b, a);
    all.swap_remove(0)
}

fn conflicted(peer: &Peer, edit: &Edit) -> String {
    match draw(peer, edit) {
        Err(EditError::Conflicted(_, field)) => field,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_edit_against_a_removal_is_not_overwritten() {
    let peer = parted(&[set("keys.a", to(1))], &remove(), &set("keys.a", to(2)));
    assert_eq!(conflicts(peer.group.desired().unwrap()).len(), 1);
    assert_eq!(conflicted(&peer, &set("keys.b", to(3))), "ensure");
    assert_eq!(conflicted(&peer, &set("keys.a", to(3))), "ensure");
    // What was removed with everybody's consent can be made again.
    let mut alone = peers(1).remove(0);
    write(&mut alone, &set("keys.a", to(1)));
    write(&mut alone, &remove());
    write(&mut alone, &set("keys.b", to(3)));
    let view = alone.group.desired().unwrap().state();
    let view = ResourceView::read(view, &"config/db".parse().unwrap()).unwrap();
    assert_eq!(view.values().into_keys().collect::<Vec<_>>(), ["ensure", "keys.b"]);
}

#[test]
fn what_goes_below_or_beside_is_checked_too() {
    let first = [set("path", to("p")), set("keys.c", to(0))];
    let peer = parted(&first, &set("keys.a", to(1)), &set("keys.a", to(2)));
    assert_eq!(conflicted(&peer, &set("keys.a", FieldEdit::Unset)), "keys.a");
    assert_eq!(conflicted(&peer, &set("keys", FieldEdit::Unset)), "keys.a");
    let Edit::Set { resource, fields, .. } = set("path", to("q")) else { panic!() };
    assert_eq!(conflicted(&peer, &Edit::Set { resource, fields, replace: true }), "keys.a");
    assert!(draw(&peer, &set("path", to("q"))).is_ok(), "what is not touched does not matter");
    assert!(draw(&peer, &set("keys.c", FieldEdit::Unset)).is_ok());
}

#[test]
fn an_item_is_taken_out_though_its_lower_twin_is_gone() {
    let (add, take) = (FieldEdit::Add(Value::from("x")), FieldEdit::Take(Value::from("x")));
    let peer = parted(&[set("keys.l", add.clone())], &set("keys.l", take.clone()), &set("keys.l", add));
    let view = ResourceView::read(peer.group.desired().unwrap().state(), &"config/db".parse().unwrap());
    assert_eq!(view.unwrap().value("keys.l"), Some(Literal::List(vec![Value::from("x")])));
    let puts = draw(&peer, &set("keys.l", take)).unwrap();
    assert_eq!(puts.into_values().collect::<Vec<_>>(), [Value::Null]);
}

#[test]
fn an_alias_from_the_grant_can_be_taken_off() {
    let mut peer = super::peers_called(2, "plc").remove(0);
    let node = secret(2).node();
    let alias = |peer: &Peer| {
        NodeLabels::read(peer.group.desired().unwrap().state(), peer.group.members(), &node).alias
    };
    assert_eq!(alias(&peer).as_deref(), Some("plc"));
    write(&mut peer, &Edit::Alias(node, None));
    assert_eq!(alias(&peer), None);
    assert!(draw(&peer, &Edit::Alias(node, None)).unwrap().is_empty(), "once is enough");
    write(&mut peer, &Edit::Alias(node, Some("pump".to_owned())));
    assert_eq!(alias(&peer).as_deref(), Some("pump"));
}

#[test]
fn a_label_may_be_as_long_as_one_in_a_grant() {
    let peer = peers(1).remove(0);
    let node: NodeId = secret(1).node();
    let label = |len: usize| Edit::Label(node, vec![("k".repeat(len), Some("v".repeat(len)))]);
    assert_eq!(draw(&peer, &label(crate::limits::LABEL_BYTES)).unwrap().len(), 1);
    let error = draw(&peer, &label(crate::limits::LABEL_BYTES + 1)).unwrap_err();
    assert!(error.to_string().contains("128"), "{error}");
    let long = "a".repeat(crate::limits::NAME_BYTES + 1);
    let error = draw(&peer, &Edit::Alias(node, Some(long))).unwrap_err();
    assert!(error.to_string().contains("64"), "{error}");
}

#[test]
fn a_conflict_in_an_overlay_falls_back_to_what_it_began_with() {
    let path = "overlay.\"*\".keys.a";
    let first = [set("path", to("/etc/x")), set(path, to(1))];
    let peer = parted(&first, &set(path, to(2)), &set(path, to(3)));
    let desired = peer.group.desired().unwrap();
    let of = conflicts(desired);
    assert_eq!((of.len(), of[0].base.clone()), (1, Some(Literal::Scalar(Value::Int(1)))));
    let node = peer.secret.node();
    let targets = targets(desired, peer.group.members(), &node, &Applied::new());
    let Intent::Apply { fields, held } = &targets[0].intent else { panic!("{:?}", targets[0].intent) };
    assert_eq!(held, &["keys.a"]);
    assert_eq!(fields.get("keys.a"), Some(&Literal::Scalar(Value::Int(1))));
}

fn make(resource: &str, fields: &[(&str, &str)]) -> Edit {
    let fields = fields.iter().map(|(path, value)| (path.parse().unwrap(), to(*value))).collect();
    Edit::Set { resource: resource.parse().unwrap(), fields, replace: false }
}

#[test]
fn two_resources_that_want_one_path_are_left_alone_until_one_gives_way() {
    let mut all = peers(1);
    let peer = &mut all[0];
    let node = peer.secret.node();
    write(peer, &make("config/db", &[("path", "etc/db"), ("format", "properties")]));
    write(peer, &make("file/motd", &[("path", "etc//./db"), ("content", "x")]));
    write(peer, &make("file/other", &[("path", "etc/other"), ("content", "x")]));
    let seen = |peer: &Peer| {
        let (desired, members) = (peer.group.desired().unwrap(), peer.group.members());
        let found = claims(desired, members);
        let kept = |intent: &Intent| matches!(intent, Intent::Keep { held } if *held == ["path"]);
        let targets = targets(desired, members, &node, &Applied::new());
        let kept: Vec<String> =
            targets.iter().filter(|one| kept(&one.intent)).map(|one| one.resource.to_string()).collect();
        (found.len(), found.first().map(|one| one.sides.len()), kept)
    };
    let both = vec!["config/db".to_owned(), "file/motd".to_owned()];
    assert_eq!(seen(peer), (1, Some(2), both));
    // An edit of the contested field is no write over a conflict: it is how the claim is settled.
    write(peer, &make("file/motd", &[("path", "etc/motd")]));
    assert_eq!(seen(peer), (0, None, vec![]));
    // For other machines than those of the other, the same path is free; and what is removed claims nothing.
    write(peer, &make("file/motd", &[("path", "etc/db"), ("select", "role=none")]));
    assert_eq!(seen(peer), (0, None, vec![]));
    write(peer, &make("file/motd", &[("select", "*")]));
    assert_eq!(seen(peer).0, 1);
    write(peer, &remove());
    assert_eq!(seen(peer), (0, None, vec![]));
}

#[test]
fn what_both_sides_touched_without_a_clash_can_be_looked_at_until_somebody_writes_again() {
    let seen = |peer: &Peer| -> Vec<Vec<String>> {
        let all = reviews(peer.group.desired().unwrap());
        let of = |value: &Option<Literal>| crate::resource::conflict::describe(value.as_ref());
        all.iter().map(|one| one.sides.iter().map(|side| of(&side.value)).collect()).collect()
    };
    let mut peer = parted(&[set("keys.a", to(1))], &set("keys.b", to(2)), &set("keys.c", to(3)));
    let mut sides = seen(&peer);
    sides.iter_mut().for_each(|sides| sides.sort());
    assert_eq!(sides, vec![vec!["[\"keys.b\"]".to_owned(), "[\"keys.c\"]".to_owned()]]);
    write(&mut peer, &set("keys.a", to(4)));
    assert_eq!(seen(&peer), Vec::<Vec<String>>::new(), "whoever wrote that saw both");
    let peer = parted(&[set("keys.a", to(1))], &set("keys.a", to(2)), &set("keys.a", to(3)));
    assert_eq!(seen(&peer), Vec::<Vec<String>>::new(), "a clash is a conflict, and no review");
    let peer = parted(&[set("keys.a", to(1))], &set("keys.a", to(2)), &set("keys.a", to(2)));
    assert_eq!(seen(&peer).len(), 1, "equal values are no conflict");
}
