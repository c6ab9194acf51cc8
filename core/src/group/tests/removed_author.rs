//! Values of a removed author that stay in the document, and what takes back the decision about them.

use std::collections::BTreeSet;

use super::new_peers;
use crate::group::ChangeNote;
use crate::history::{ResourceScope, RevertRequest, plan_revert};
use crate::id::ChangeId;
use crate::resource::conflict::{Conflict, ConflictKind, conflicts};
use crate::resource::edit::{Edit, FieldEdit, Resolution};
use crate::resource::edit_transaction::plan_edits;
use crate::resource::literal::Literal;
use crate::resource::view::ResourceView;
use crate::shard::Shard;
use crate::shard::root::ShardName;
use crate::test_support::GroupPeer;
use crate::value::Value;

const FIELD: &str = "keys.x";

/// A peer with the value `base` of a member, the value `theirs` of a removed author, and a conflict between
/// them.
struct World {
    peer: GroupPeer,
    removed: ChangeId,
}

impl World {
    fn new() -> Self {
        let mut world = Self { peer: new_peers(1).remove(0), removed: ChangeId([0; 32]) };
        world.set("base");
        world.removed = world.set("theirs");
        let shard_id = world.shard().root().shard_id();
        let state = world.peer.group.shards.get_mut(&shard_id).unwrap();
        state.shard.set_dependency_only(BTreeSet::from([world.removed]));
        world.assert_conflict();
        world
    }

    fn shard(&self) -> &Shard {
        self.peer.group.desired().unwrap()
    }

    fn edit(&mut self, edit: Edit) -> ChangeId {
        let puts = plan_edits(self.shard(), &[edit], false).unwrap();
        let change = self.peer.write(ShardName::Desired, puts, 0).unwrap();
        self.peer.group.flush_documents();
        change
    }

    fn set(&mut self, value: &str) -> ChangeId {
        let fields = vec![(FIELD.parse().unwrap(), FieldEdit::Assign(Literal::Scalar(value.into())))];
        self.edit(Edit::Set { resource: "config/db".parse().unwrap(), fields, replace: false })
    }

    fn resolve(&mut self, value: &str) -> ChangeId {
        let resource = "config/db".parse().unwrap();
        let sides = self.conflict().unwrap().sides;
        let side = sides.into_iter().find(|side| side.value == Some(Literal::Scalar(value.into()))).unwrap();
        let resolution = Resolution::UseSide(side.tag);
        let change = self.edit(Edit::Resolve { resource, field: FIELD.into(), resolution, id: None });
        assert_eq!((self.value(), self.conflict()), (value.to_owned(), None));
        change
    }

    /// Writes the puts of the request under `command`.
    fn restore(&mut self, request: &RevertRequest, command: String) -> ChangeId {
        let puts = plan_revert(self.shard(), self.peer.group.members(), request).unwrap();
        let note = ChangeNote { command, ..ChangeNote::default() };
        let incarnation = self.peer.next_incarnation();
        let GroupPeer { group, secret, .. } = &mut self.peer;
        let written = group.write(secret, ShardName::Desired, puts, &note, incarnation).unwrap();
        group.flush_documents();
        written.change_id.unwrap()
    }

    fn undo(&mut self, change: ChangeId, cancelled: &[ChangeId]) -> ChangeId {
        let (changes, cancelled) = (BTreeSet::from([change]), cancelled.iter().copied().collect());
        self.restore(&RevertRequest::Revert { changes, cancelled }, format!("undo {change}"))
    }

    fn conflict(&self) -> Option<Conflict> {
        conflicts(self.shard()).pop()
    }

    fn value(&self) -> String {
        let view = ResourceView::read(self.shard().state(), &"config/db".parse().unwrap()).unwrap();
        match view.value(FIELD) {
            Some(Literal::Scalar(Value::Str(text))) => text,
            other => panic!("{other:?}"),
        }
    }

    /// The conflict is listed, and the value belongs to the removed author's change.
    fn assert_conflict(&self) {
        let conflict = self.conflict().expect("a conflict");
        assert_eq!((conflict.kind, conflict.field.as_str()), (ConflictKind::RemovedAuthor, FIELD));
        let side = |value: &str| {
            conflict.sides.iter().find(|side| side.value == Some(Literal::Scalar(value.into()))).unwrap()
        };
        assert_eq!((side("theirs").change, conflict.sides.len()), (self.removed, 2));
        assert_eq!(conflict.base, side("base").value);
    }
}

#[test]
fn undo_of_a_decision_lists_the_conflict_again() {
    for decision in ["base", "theirs"] {
        let mut world = World::new();
        let decided = world.resolve(decision);
        world.undo(decided, &[]);
        assert_eq!(world.value(), "theirs");
        world.assert_conflict();
    }
}

#[test]
fn second_undo_lists_the_conflict_again() {
    let mut world = World::new();
    let first = world.resolve("base");
    let undone = world.undo(first, &[]);
    let second = world.resolve("theirs");
    world.undo(second, &[first, undone]);
    world.assert_conflict();
}

#[test]
fn restoring_a_point_with_the_value_lists_the_conflict_again() {
    let mut world = World::new();
    let heads = world.shard().graph().heads();
    world.resolve("base");
    world.set("ours");
    let request = RevertRequest::Restore { heads, scope: ResourceScope::Everything };
    world.restore(&request, "restore --at 1h".to_owned());
    assert_eq!(world.value(), "theirs");
    world.assert_conflict();
}

#[test]
fn value_that_a_member_accepted_is_restored_without_a_conflict() {
    let mut world = World::new();
    world.resolve("theirs");
    let other = world.set("ours");
    world.undo(other, &[]);
    assert_eq!((world.value(), world.conflict()), ("theirs".to_owned(), None));
}

#[test]
fn value_that_a_member_writes_itself_is_no_conflict() {
    let mut world = World::new();
    world.resolve("base");
    world.set("theirs");
    assert_eq!(world.conflict(), None);
}
