//! The contents of the document: keys, buckets, list items, observed states, messages.

use super::fixture::operator;
use super::golden_file::GoldenFile;
use crate::group::ChangeNote;
use crate::limits::{DESIRED_BUCKETS, OBSERVED_BUCKETS};
use crate::resource::list_item::{self, ListItem};
use crate::resource::observed::{ObservedState, ResourceState};
use crate::resource::{FieldPath, ResourceName};
use crate::shard::bucket;
use crate::value::Value;

fn resource(text: &str) -> ResourceName {
    text.parse().unwrap()
}

#[test]
fn keys_and_buckets_match_the_pinned_values() {
    let mut golden = GoldenFile::open(
        "keys",
        "Keys of the document, `<kind>/<name> <field>`, and the bucket of each (of 256 and of 16).",
    );
    let fields = [
        ("plain", "config/db", "keys.url"),
        ("ensure", "file/motd", "ensure"),
        ("quoted", "config/db", "keys.\"a b\""),
        ("dots", "config/db", "keys.\"a.b\""),
        ("unicode", "config/db", "keys.\"ключ\""),
        ("overlay", "service/web", "overlay.\"role=till\".mode"),
    ];
    for (name, name_of_resource, field) in fields {
        let path: FieldPath = field.parse().unwrap();
        let key = golden.check_text(name, &resource(name_of_resource).field_key(&path.to_string()));
        let (read, rest) = ResourceName::split_key(&key).unwrap();
        assert_eq!((read, rest), (resource(name_of_resource), field), "the separator is one space");
        check_buckets(&mut golden, name, &key);
    }
    let node = ResourceName::for_node(&operator().node_id());
    let alias = golden.check_text("node.alias", &node.field_key("alias"));
    check_buckets(&mut golden, "node.alias", &alias);
    golden.check_text("node.label", &node.field_key("labels.site"));
    let observed = golden.check_text("observed", &resource("config/db").to_string());
    check_buckets(&mut golden, "observed", &observed);
    golden.finish();
}

fn check_buckets(golden: &mut GoldenFile, name: &str, key: &str) {
    let bucket_of = |buckets| bucket::bucket_index(key, buckets).to_be_bytes();
    golden.check(&format!("{name}.bucket-of-256"), bucket_of(DESIRED_BUCKETS));
    golden.check(&format!("{name}.bucket-of-16"), bucket_of(OBSERVED_BUCKETS));
}

#[test]
fn list_items_match_the_pinned_values() {
    let mut golden = GoldenFile::open(
        "items",
        "List items: the field part of the key, which hashes (value, equal items before it), and the value,\n\
         which has the rank and the item as a TOML literal.",
    );
    let first_values =
        [Value::from("a"), Value::from("a \"b\" \\ \t\u{1}é"), Value::Int(-5), Value::Bool(true)];
    let other_values = [Value::Float(1.0), Value::Float(1e300), Value::Bytes(vec![0, 255])];
    for (nth, value) in first_values.into_iter().chain(other_values).enumerate() {
        for equal in [0, 1] {
            let item_field = golden.check_text(
                &format!("{nth}.mark.{equal}"),
                &list_item::item_field("keys.list", &value, equal),
            );
            assert_eq!(list_item::split_item_field(&item_field), ("keys.list", true));
        }
        let item = ListItem { rank: list_item::RANK_SPACING * (nth as i64 - 1), value };
        let Value::Str(written) = item.encode() else { panic!("an item is text") };
        let pinned = golden.check_text(&format!("{nth}.value"), &written);
        assert_eq!(ListItem::decode(&Value::Str(pinned)), Some(item));
    }
    golden.finish();
}

#[test]
fn observed_states_match_the_pinned_values() {
    let mut golden = GoldenFile::open(
        "observed",
        "The state of a resource that a node reports: one value in its observed shard.",
    );
    let plain = ObservedState {
        state: ResourceState::Applied,
        change: "0123456789abcdef".into(),
        revision: "fedcba9876543210".into(),
        since: 1_700_000_000,
        code: 0,
        message: String::new(),
    };
    let conditions =
        ["applied", "held", "failed", "drifted", "blocked", "paused", "released", "unsupported", "dreaming"];
    for word in conditions {
        let observed = ObservedState { state: ResourceState::parse(word), ..plain.clone() };
        check_observed(&mut golden, word, &observed);
    }
    let failed = ObservedState {
        state: ResourceState::Failed,
        change: String::new(),
        revision: String::new(),
        since: 0,
        code: -13,
        message: "permission denied: etc/ñ".into(),
    };
    check_observed(&mut golden, "failed.with-message", &failed);
    golden.finish();
}

fn check_observed(golden: &mut GoldenFile, name: &str, observed: &ObservedState) {
    let Value::Str(written) = observed.encode() else { panic!("an observed state is text") };
    let pinned = golden.check_text(name, &written);
    assert_eq!(ObservedState::decode(&Value::Str(pinned)).as_ref(), Some(observed));
}

#[test]
fn change_messages_match_the_pinned_text() {
    let mut golden =
        GoldenFile::open("messages", "Messages of changes: the operator's message, then trailers.");
    let note = |message: &str, user: &str, command: &str| ChangeNote {
        message: message.into(),
        user: user.into(),
        command: command.into(),
        time: 7,
    };
    for (name, note) in [
        ("empty", note("", "", "")),
        ("message", note("new till\nin Köln", "", "")),
        ("trailers", note("", "root", "larder set config/db keys.url=…")),
        ("all", note("why", "root", "larder apply shop.toml")),
    ] {
        let pinned = golden.check_text(name, &note.encode());
        assert_eq!(ChangeNote::decode(&pinned, 7), note);
    }
    let forged = note("a", "root\nUser: other", "x");
    golden.check_text("trailer-is-one-line", &forged.encode());
    golden.finish();
}
