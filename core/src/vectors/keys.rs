//! What stands in the document: keys, buckets, list items, observed states, messages.

use super::golden::Golden;
use super::scene::operator;
use crate::group::Note;
use crate::limits::{DESIRED_BUCKETS, OBSERVED_BUCKETS};
use crate::resource::item::{self, Item};
use crate::resource::observed::{Condition, Observed};
use crate::resource::{FieldPath, ResourceName};
use crate::shard::bucket;
use crate::value::Value;

fn resource(text: &str) -> ResourceName {
    text.parse().unwrap()
}

#[test]
fn keys_and_buckets_are_as_ever() {
    let mut golden = Golden::open(
        "keys",
        "Keys of the document, `<kind>/<name> <field>`, and the bucket that each lives in (of 256 and of 16).",
    );
    let fields = [
        ("plain", "config/db", "keys.url"),
        ("ensure", "file/motd", "ensure"),
        ("quoted", "config/db", "keys.\"a b\""),
        ("dots", "config/db", "keys.\"a.b\""),
        ("unicode", "config/db", "keys.\"ключ\""),
        ("overlay", "service/web", "overlay.\"role=till\".mode"),
    ];
    for (name, of, field) in fields {
        let path: FieldPath = field.parse().unwrap();
        let key = golden.text(name, &resource(of).key(&path.to_string()));
        let (read, rest) = ResourceName::of_key(&key).unwrap();
        assert_eq!((read, rest), (resource(of), field), "the separator is one space");
        buckets(&mut golden, name, &key);
    }
    let node = ResourceName::node(&operator().node());
    let alias = golden.text("node.alias", &node.key("alias"));
    buckets(&mut golden, "node.alias", &alias);
    golden.text("node.label", &node.key("labels.site"));
    let observed = golden.text("observed", &resource("config/db").to_string());
    buckets(&mut golden, "observed", &observed);
    golden.close();
}

fn buckets(golden: &mut Golden, name: &str, key: &str) {
    let of = |buckets| bucket::of(key, buckets).to_be_bytes();
    golden.fact(&format!("{name}.bucket-of-256"), of(DESIRED_BUCKETS));
    golden.fact(&format!("{name}.bucket-of-16"), of(OBSERVED_BUCKETS));
}

#[test]
fn list_items_are_as_ever() {
    let mut golden = Golden::open(
        "items",
        "List items: the field part of the key, which marks (value, equal items before it), and the value, which holds\n\
         the rank and the item as a TOML literal.",
    );
    let said = [Value::from("a"), Value::from("a \"b\" \\ \t\u{1}é"), Value::Int(-5), Value::Bool(true)];
    let more = [Value::Float(1.0), Value::Float(1e300), Value::Bytes(vec![0, 255])];
    for (nth, value) in said.into_iter().chain(more).enumerate() {
        for equal in [0, 1] {
            let mark = golden.text(&format!("{nth}.mark.{equal}"), &item::mark("keys.list", &value, equal));
            assert_eq!(item::split(&mark), ("keys.list", true));
        }
        let item = Item { rank: item::SPACING * (nth as i64 - 1), value };
        let Value::Str(written) = item.encode() else { panic!("an item is text") };
        let pinned = golden.text(&format!("{nth}.value"), &written);
        assert_eq!(Item::decode(&Value::Str(pinned)), Some(item));
    }
    golden.close();
}

#[test]
fn observed_states_are_as_ever() {
    let mut golden =
        Golden::open("observed", "What a machine says of a resource, one scalar in its observed shard.");
    let plain = Observed {
        condition: Condition::Applied,
        change: "0123456789abcdef".into(),
        revision: "fedcba9876543210".into(),
        since: 1_700_000_000,
        code: 0,
        message: String::new(),
    };
    let conditions =
        ["applied", "held", "failed", "drifted", "blocked", "paused", "released", "unsupported", "dreaming"];
    for word in conditions {
        let observed = Observed { condition: Condition::parse(word), ..plain.clone() };
        is_read_back(&mut golden, word, &observed);
    }
    let failed = Observed {
        condition: Condition::Failed,
        change: String::new(),
        revision: String::new(),
        since: 0,
        code: -13,
        message: "permission denied: etc/ñ".into(),
    };
    is_read_back(&mut golden, "failed.with-message", &failed);
    golden.close();
}

fn is_read_back(golden: &mut Golden, name: &str, observed: &Observed) {
    let Value::Str(written) = observed.encode() else { panic!("an observed state is text") };
    let pinned = golden.text(name, &written);
    assert_eq!(Observed::decode(&Value::Str(pinned)).as_ref(), Some(observed));
}

#[test]
fn messages_are_as_ever() {
    let mut golden = Golden::open("messages", "Messages of changes: the words, then trailers.");
    let note = |words: &str, user: &str, command: &str| Note {
        words: words.into(),
        user: user.into(),
        command: command.into(),
        time: 7,
    };
    for (name, note) in [
        ("empty", note("", "", "")),
        ("words", note("new till\nin Köln", "", "")),
        ("trailers", note("", "root", "larder set config/db keys.url=…")),
        ("all", note("why", "root", "larder apply shop.toml")),
    ] {
        let pinned = golden.text(name, &note.message());
        assert_eq!(Note::read(&pinned, 7), note);
    }
    let forged = note("a", "root\nUser: other", "x");
    golden.text("trailer-is-one-line", &forged.message());
    golden.close();
}
