//! Ids, their derivations and their shown forms; roots; digests.

use super::fixture::{self, founder, genesis, grant, group, operator};
use super::golden_file::GoldenFile;
use crate::group::Group;
use crate::id::{ChainId, GroupId, Incarnation, base32, is_mistyped_node_id};
use crate::resource::ResourceName;
use crate::resource::view::ResourceView;
use crate::shard::root::ShardRoot;
use crate::shard::{Shard, digest_of_heads};

#[test]
fn ids_match_the_pinned_values() {
    let mut golden = GoldenFile::open(
        "ids",
        "Ids, their derivations and their shown forms. The keys have the seeds 01 01 .. (founder), 02 02 ..\n\
         (operator), 03 03 .. (recovery).",
    );
    for (name, secret) in [("founder", founder()), ("operator", operator())] {
        let node = secret.node_id();
        golden.check(&format!("node.{name}"), node.0);
        let shown = golden.check_text(&format!("node.{name}.shown"), &node.to_string());
        assert!(!is_mistyped_node_id(&shown));
        golden.check_text(&format!("node.{name}.short"), &node.short());
        golden.check(&format!("node.{name}.hint"), node.fingerprint8());
    }
    for len in [0, 1, 2, 5, 20] {
        let bytes: Vec<u8> = (0..len).map(|i| (i * 73 + 5) as u8).collect();
        let shown = golden.check_text(&format!("base32.{len}"), &base32::encode(&bytes));
        assert_eq!(base32::decode(&shown, len), Some(bytes));
    }
    golden.check("genesis.id", genesis().id());
    golden.check("group", group());
    let shown = golden.check_text("group.shown", &group().to_string());
    assert_eq!(GroupId::parse(&shown), Some(group()));
    golden.check("grant.id", grant().id());
    golden.check("shard-id.desired", fixture::desired_root().shard_id());
    golden.check("shard-id.observed", fixture::observed_root().shard_id());
    for (name, writer) in [("first", fixture::first_writer()), ("second", fixture::second_writer())] {
        let chain =
            ChainId::derive(group(), fixture::desired_root().shard_id(), writer.grant, writer.incarnation);
        golden.check(&format!("actor.{name}"), chain);
    }
    let next_incarnation = Incarnation([7; 16]);
    golden.check(
        "actor.next-life",
        ChainId::derive(
            group(),
            fixture::desired_root().shard_id(),
            fixture::first_writer().grant,
            next_incarnation,
        ),
    );
    golden.finish();
}

#[test]
fn shard_roots_match_the_pinned_values() {
    let mut golden = GoldenFile::open(
        "roots",
        "Root changes: the first change of each shard, which every node derives. `bytes` is the length of\n\
         the Automerge change, and `hash` its hash, whose first half is the shard id.",
    );
    for (name, root) in [("desired", fixture::desired_root()), ("observed", fixture::observed_root())] {
        check_root(&mut golden, name, &root);
    }
    golden.finish();
}

fn check_root(golden: &mut GoldenFile, name: &str, root: &ShardRoot) {
    golden.check_text(&format!("{name}.shard"), &root.name().to_string());
    golden.check(&format!("{name}.actor"), root.chain_id());
    golden.check(&format!("{name}.hash"), root.id());
    golden.check(&format!("{name}.shard-id"), root.shard_id());
    let bytes = root.change().raw_bytes().len() as u32;
    golden.check(&format!("{name}.bytes"), bytes.to_be_bytes());
    golden.check(&format!("{name}.max-op"), root.max_op().to_be_bytes());
}

#[test]
fn digests_match_the_pinned_values() {
    let mut golden =
        GoldenFile::open("digests", "Digests of the history in changes.txt and the records in records.txt.");
    let empty = Group::new(fixture::records());
    golden.check("group.records-only", empty.digest(&[]));
    let history = fixture::history();
    golden.check("shard.empty", digest_of_heads(&Shard::new(fixture::desired_root()).graph().heads()));
    golden.check("shard.history", digest_of_heads(&history.shard.graph().heads()));
    let mut group = empty;
    for written in &history.changes {
        let outcome = group.ingest_push(history.shard.root().shard_id(), &written.signed);
        assert_eq!((outcome.new_changes.len(), outcome.rejection), (1, None), "{}", written.name);
    }
    golden.check("group.history", group.digest(&[]));
    golden.check("group.without-desired", group.digest(&[history.shard.root().shard_id()]));
    let name = ResourceName::new("config", "db").unwrap();
    let view = ResourceView::read(history.shard.state(), &name).unwrap();
    golden.check_text("revision.config-db", &view.revision());
    golden.finish();
}
