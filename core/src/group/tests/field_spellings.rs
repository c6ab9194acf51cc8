//! Fields whose keys are in the document in more than one spelling.

use std::collections::{BTreeMap, BTreeSet};

use super::edit_conflicts::{diverged_peer, write_edit};
use super::new_peers;
use crate::history::{blame, diff, no_stored_rows};
use crate::id::ChangeId;
use crate::resource::conflict::conflicts;
use crate::resource::edit::{Edit, FieldEdit, Resolution};
use crate::resource::edit_transaction::plan_edits;
use crate::resource::literal::Literal;
use crate::resource::manifest;
use crate::resource::view::{FieldView, ResourceView, resources};
use crate::resource::{FieldRef, ResourceName};
use crate::shard::Shard;
use crate::shard::root::ShardName;
use crate::test_support::{GroupPeer, pull_all};
use crate::value::Value;

const QUOTED_KEY: &str = "config/app keys.\"server.port\"";
const DOTTED_KEY: &str = "config/app keys.server.port";

fn app() -> ResourceName {
    "config/app".parse().unwrap()
}

fn text(text: &str) -> Literal {
    Literal::Scalar(Value::from(text))
}

fn set(path: &str, edit: FieldEdit) -> Edit {
    Edit::Set { resource: app(), fields: vec![(path.parse().unwrap(), edit)], replace: false }
}

fn set_port(path: &str, port: &str) -> Edit {
    set(path, FieldEdit::Assign(text(port)))
}

/// Writes a key as an earlier version or another program may have written it.
fn write_raw(peer: &mut GroupPeer, puts: &[(&str, Value)]) -> ChangeId {
    let puts = puts.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    peer.write(ShardName::Desired, puts, 0).unwrap()
}

fn desired(peer: &GroupPeer) -> &Shard {
    peer.group.desired().unwrap()
}

/// The fields of the resource, read in each of the ways in which a resource can be read.
fn field_values(peer: &GroupPeer) -> BTreeMap<String, Literal> {
    let state = desired(peer).state();
    let owned = |view: &ResourceView<'_>| -> BTreeMap<String, Literal> {
        view.set_values().into_iter().map(|(path, value)| (path.to_owned(), value)).collect()
    };
    let view = ResourceView::read(state, &app()).unwrap();
    let values = owned(&view);
    let all: Vec<_> = resources(state).iter().map(owned).collect();
    assert_eq!(all, std::slice::from_ref(&values));
    for (path, field) in &view.fields {
        let single = FieldView::read(state, &FieldRef::new(&app(), path));
        assert_eq!((single.value(), single.is_conflicted()), (field.value(), field.is_conflicted()));
    }
    let blamed = blame(&peer.group, &app(), None, &desired(peer).graph().heads(), &no_stored_rows);
    assert_eq!(blamed.into_iter().map(|one| (one.field, one.value)).collect::<BTreeMap<_, _>>(), values);
    values
}

fn port(value: Literal) -> BTreeMap<String, Literal> {
    BTreeMap::from([("keys.server.port".to_owned(), value)])
}

#[test]
fn manifest_and_edits_write_one_field_in_every_spelling() {
    let mut peer = new_peers(1).remove(0);
    let manifests = [
        "[config.app]\n[config.app.keys]\n\"server.port\" = '1'\n",
        "[config.app]\nkeys.server.port = '2'\n",
        "[config.app.keys.server]\nport = '3'\n",
        "[config.app]\n\"keys.server.port\" = '4'\n",
    ];
    for (nth, manifest) in manifests.iter().enumerate() {
        let [entry] = manifest::parse(manifest, false).unwrap().try_into().unwrap();
        write_edit(&mut peer, &entry.into_edit(false));
        assert_eq!(field_values(&peer), port(text(&(nth + 1).to_string())), "{manifest}");
    }
    for path in ["keys.\"server.port\"", "keys.server.port", "keys.server . 'port'"] {
        write_edit(&mut peer, &set_port(path, path));
        assert_eq!(field_values(&peer), port(text(path)));
    }
    assert_eq!(desired(&peer).state().len(), 1, "the document has one key");
    let both = "[config.app]\nkeys.server.port = '1'\nkeys.\"server.port\" = '2'\n";
    assert!(manifest::parse(both, false).unwrap_err().reason.contains("sets `keys.server.port` twice"));
    let select = "overlay.\"role=till\"";
    write_edit(&mut peer, &set_port(&format!("{select}.keys.\"server.port\""), "1"));
    write_edit(&mut peer, &set_port(&format!("{select}.keys.server.port"), "2"));
    assert_eq!(field_values(&peer).get(&format!("{select}.keys.server.port")), Some(&text("2")));
    assert_eq!(desired(&peer).state().len(), 2);
}

#[test]
fn two_sides_that_write_one_key_in_two_spellings_are_in_conflict() {
    let peer = diverged_peer(
        &[set("path", FieldEdit::Assign(text("app")))],
        &set_port("keys.server.port", "9090"),
        &set_port("keys.\"server.port\"", "7070"),
    );
    let [conflict] = conflicts(desired(&peer)).try_into().unwrap();
    assert_eq!((conflict.field.as_str(), conflict.sides.len()), ("keys.server.port", 2));
}

#[test]
fn keys_of_an_earlier_version_in_two_spellings_are_one_field() {
    let mut peer = new_peers(1).remove(0);
    write_raw(&mut peer, &[(QUOTED_KEY, Value::from("8080"))]);
    assert_eq!(field_values(&peer), port(text("8080")), "the only spelling");
    write_raw(&mut peer, &[(DOTTED_KEY, Value::from("8080"))]);
    assert_eq!(field_values(&peer), port(text("8080")), "equal values");
    assert_eq!(conflicts(desired(&peer)), []);
    let before = desired(&peer).graph().heads();
    write_raw(&mut peer, &[(DOTTED_KEY, Value::from("9090"))]);
    let [conflict] = conflicts(desired(&peer)).try_into().unwrap();
    let sides: BTreeSet<String> = conflict.sides.iter().map(|side| format!("{:?}", side.value)).collect();
    assert_eq!(sides, ["8080", "9090"].map(|port| format!("{:?}", Some(text(port)))).into());
    let differing = diff(desired(&peer), &before, &desired(&peer).graph().heads(), None);
    assert_eq!(differing.iter().map(|one| one.field.as_str()).collect::<Vec<_>>(), ["keys.server.port"]);
    let winner = conflict.sides.iter().find(|side| side.is_winner).unwrap();
    let resolve = Edit::Resolve {
        resource: app(),
        field: "keys.\"server.port\"".to_owned(),
        resolution: Resolution::UseSide(winner.tag.clone()),
        id: None,
    };
    let value = winner.value.clone().unwrap();
    write_edit(&mut peer, &resolve);
    assert_eq!(conflicts(desired(&peer)), []);
    assert_eq!(field_values(&peer), port(value));
    assert_eq!(desired(&peer).state().winner(QUOTED_KEY), None, "the other spelling is unset");
    write_edit(&mut peer, &set("keys.server", FieldEdit::Unset));
    assert_eq!(field_values(&peer), BTreeMap::new());
}

#[test]
fn list_in_two_spellings_is_one_list() {
    let mut peer = new_peers(1).remove(0);
    let list = |items: &[&str]| Literal::List(items.iter().map(|item| Value::from(*item)).collect());
    write_edit(&mut peer, &set("keys.a.b", FieldEdit::Assign(list(&["x", "y"]))));
    let raw: Vec<(String, Value)> = desired(&peer)
        .state()
        .iter()
        .map(|(key, visible)| (key.replace("keys.a.b", "keys.\"a.b\""), visible[0].value.clone()))
        .collect();
    let raw: Vec<(&str, Value)> = raw.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    write_raw(&mut peer, &raw);
    let value = |peer: &GroupPeer| field_values(peer).remove("keys.a.b");
    assert_eq!(value(&peer), Some(list(&["x", "y"])));
    write_edit(&mut peer, &set("keys.a.b", FieldEdit::Add(Value::from("x"))));
    assert_eq!(value(&peer), Some(list(&["x", "y", "x"])));
    write_edit(&mut peer, &set("keys.a.b", FieldEdit::Remove(Value::from("y"))));
    assert_eq!(value(&peer), Some(list(&["x", "x"])));
    write_edit(&mut peer, &set("keys.\"a.b\"", FieldEdit::Assign(list(&["z"]))));
    assert_eq!(value(&peer), Some(list(&["z"])));
}

#[test]
fn unset_and_set_of_two_sides_stay_a_conflict_after_a_change_of_spelling() {
    let mut all = new_peers(2);
    let [a, b] = &mut all[..] else { panic!() };
    write_raw(a, &[(QUOTED_KEY, Value::from("1"))]);
    pull_all(a, b);
    write_edit(a, &set("keys.server.port", FieldEdit::Unset));
    write_edit(b, &set_port("keys.server.port", "2"));
    pull_all(b, a);
    let [conflict] = conflicts(desired(a)).try_into().unwrap();
    let values: Vec<Option<Literal>> = conflict.sides.into_iter().map(|side| side.value).collect();
    assert!(values.contains(&None) && values.contains(&Some(text("2"))), "{values:?}");
}

/// With a cost that grows with the square of the keys, this takes minutes.
#[test]
fn ten_thousand_keys_are_set_changed_and_unset_in_one_request() {
    let mut peer = new_peers(1).remove(0);
    let edit = |changed: &str| {
        let value = |nth: usize| if nth == 0 { text(changed) } else { text("value") };
        let fields = (0..9_999)
            .map(|nth| (format!("keys.\"module.{nth}\"").parse().unwrap(), FieldEdit::Assign(value(nth))));
        let path = ("path".parse().unwrap(), FieldEdit::Assign(text("app.properties")));
        Edit::Set { resource: app(), fields: fields.chain([path]).collect(), replace: true }
    };
    write_edit(&mut peer, &edit("first"));
    let puts = plan_edits(desired(&peer), &[edit("second")], false).unwrap();
    assert_eq!(puts.len(), 1);
    let unset = plan_edits(desired(&peer), &[set("keys", FieldEdit::Unset)], false).unwrap();
    assert_eq!(unset.len(), 9_999);
}
