//! Ids, what they are derived from, and how they are shown; roots; digests.

use super::golden::Golden;
use super::scene::{self, founder, genesis, grant, group, operator};
use crate::group::Group;
use crate::id::{Actor, GroupId, Incarnation, base32, node_id_is_mistyped};
use crate::resource::ResourceName;
use crate::resource::view::ResourceView;
use crate::shard::root::Root;

#[test]
fn ids_are_derived_as_ever() {
    let mut golden = Golden::open(
        "ids",
        "Ids: what they are derived from and how they are shown.\n\
         Keys are made of the seeds 01 01 .. (founder), 02 02 .. (operator), 03 03 .. (recovery).",
    );
    for (name, secret) in [("founder", founder()), ("operator", operator())] {
        let node = secret.node();
        golden.fact(&format!("node.{name}"), node.0);
        let shown = golden.text(&format!("node.{name}.shown"), &node.to_string());
        assert!(!node_id_is_mistyped(&shown));
        golden.text(&format!("node.{name}.short"), &node.short());
        golden.fact(&format!("node.{name}.hint"), node.hint());
    }
    for len in [0, 1, 2, 5, 20] {
        let bytes: Vec<u8> = (0..len).map(|i| (i * 73 + 5) as u8).collect();
        let shown = golden.text(&format!("base32.{len}"), &base32::encode(&bytes));
        assert_eq!(base32::decode(&shown, len), Some(bytes));
    }
    golden.fact("genesis.id", genesis().id());
    golden.fact("group", group());
    let shown = golden.text("group.shown", &group().to_string());
    assert_eq!(GroupId::parse(&shown), Some(group()));
    golden.fact("grant.id", grant().id());
    golden.fact("epoch.desired", scene::desired().epoch());
    golden.fact("epoch.observed", scene::observed().epoch());
    for (name, by) in [("first", scene::first_writer()), ("second", scene::second_writer())] {
        let actor = Actor::of(group(), scene::desired().epoch(), by.grant, by.incarnation);
        golden.fact(&format!("actor.{name}"), actor);
    }
    let next_life = Incarnation([7; 16]);
    golden.fact(
        "actor.next-life",
        Actor::of(group(), scene::desired().epoch(), scene::first_writer().grant, next_life),
    );
    golden.close();
}

#[test]
fn roots_are_derived_as_ever() {
    let mut golden = Golden::open(
        "roots",
        "Root changes: the beginning of every shard, derived by every node alike.\n\
         `bytes` is the length of the Automerge change, `hash` its hash; the epoch is the first half of that.",
    );
    for (name, root) in [("desired", scene::desired()), ("observed", scene::observed())] {
        root_facts(&mut golden, name, &root);
    }
    golden.close();
}

fn root_facts(golden: &mut Golden, name: &str, root: &Root) {
    golden.text(&format!("{name}.shard"), &root.shard().to_string());
    golden.fact(&format!("{name}.actor"), root.actor());
    golden.fact(&format!("{name}.hash"), root.id());
    golden.fact(&format!("{name}.epoch"), root.epoch());
    let bytes = root.change().raw_bytes().len() as u32;
    golden.fact(&format!("{name}.bytes"), bytes.to_be_bytes());
    golden.fact(&format!("{name}.max-op"), root.max_op().to_be_bytes());
}

#[test]
fn digests_are_derived_as_ever() {
    let mut golden = Golden::open(
        "digests",
        "Digests: what two nodes compare. Of the history in changes.txt and the records in records.txt.",
    );
    let empty = Group::new(scene::records());
    golden.fact("group.records-only", empty.digest(&[]));
    let story = scene::story();
    golden.fact("shard.empty", crate::shard::Shard::new(scene::desired()).digest());
    golden.fact("shard.story", story.shard.digest());
    let mut group = empty;
    for written in &story.changes {
        let taken = group.take_push(story.shard.root().epoch(), &written.signed);
        assert_eq!((taken.new.len(), taken.refused), (1, None), "{}", written.name);
    }
    golden.fact("group.story", group.digest(&[]));
    golden.fact("group.without-desired", group.digest(&[story.shard.root().epoch()]));
    let name = ResourceName::new("config", "db").unwrap();
    let view = ResourceView::read(story.shard.state(), &name).unwrap();
    golden.text("revision.config-db", &view.revision());
    golden.close();
}
