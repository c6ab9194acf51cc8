//! Who and what the vectors speak of: two members of a group, and a short history of its desired state.

use crate::delta::compose::Composed;
use crate::delta::{Delta, Put, SignedDelta, Value};
use crate::id::{Actor, ChangeId, GrantId, GroupId, Incarnation, InviteId, RecordId, Secret};
use crate::record::{Body, Grant, Record, Records, Role, SignedRecord, Signer, found};
use crate::shard::Shard;
use crate::shard::chain::{self, Chain, first_link, next_link};
use crate::shard::gate::Verdict;
use crate::shard::root::{Root, ShardName};

/// The founder, an admin.
pub(crate) fn founder() -> Secret {
    Secret::from_bytes(&[1; 32])
}

/// An operator whom the founder let in.
pub(crate) fn operator() -> Secret {
    Secret::from_bytes(&[2; 32])
}

/// The group's recovery key.
pub(crate) fn recovery() -> Secret {
    Secret::from_bytes(&[3; 32])
}

/// The group's first record.
pub(crate) fn genesis() -> SignedRecord {
    found(&founder(), "shop", [9; 16], recovery().node())
}

/// The group.
pub(crate) fn group() -> GroupId {
    genesis().founds().unwrap()
}

/// A record that the founder issues.
pub(crate) fn record(seq: u64, prev: RecordId, body: Body) -> Record {
    Record { group: group(), grant: genesis().id(), signer: Signer::Holder, seq, prev, body, remark: None }
}

/// The operator's grant, with everything that a grant can hold.
pub(crate) fn grant() -> SignedRecord {
    let body = Body::Grant(Grant {
        key: operator().node(),
        role: Role::Operator,
        alias: "till-2".into(),
        labels: vec![("role".into(), "till".into()), ("site".into(), "Köln".into())],
        invite: Some(InviteId([4; 32])),
    });
    record(1, RecordId::ZERO, body).sign(&founder())
}

/// Both records, placed.
pub(crate) fn records() -> Records {
    let mut records = Records::begin(genesis()).unwrap();
    records.place(grant());
    assert_eq!(records.len(), 2);
    records
}

/// The root of the desired state.
pub(crate) fn desired() -> Root {
    Root::derive(group(), ShardName::Desired)
}

/// The root of what the operator's machine observes.
pub(crate) fn observed() -> Root {
    Root::derive(group(), ShardName::Observed(grant().id()))
}

/// Who writes: a key under a grant, in one of its lives.
pub(crate) struct Writer {
    pub(crate) secret: Secret,
    pub(crate) grant: GrantId,
    pub(crate) incarnation: Incarnation,
}

/// The founder as a writer.
pub(crate) fn first_writer() -> Writer {
    Writer { secret: founder(), grant: genesis().id(), incarnation: Incarnation([5; 16]) }
}

/// The operator as a writer.
pub(crate) fn second_writer() -> Writer {
    Writer { secret: operator(), grant: grant().id(), incarnation: Incarnation([6; 16]) }
}

/// One change of the history.
pub(crate) struct Written {
    pub(crate) name: &'static str,
    pub(crate) composed: Composed,
    pub(crate) signed: SignedDelta,
}

/// A shard with the changes that made it, in order.
pub(crate) struct Story {
    pub(crate) shard: Shard,
    pub(crate) changes: Vec<Written>,
}

impl Story {
    /// The change called `name`.
    pub(crate) fn change(&self, name: &str) -> &Written {
        self.changes.iter().find(|written| written.name == name).unwrap()
    }

    /// Writes by the writer's rule at `heads`, or at all heads.
    fn write(&mut self, name: &'static str, by: &Writer, at: Option<Vec<ChangeId>>, change: Change<'_>) {
        let root = self.shard.root().clone();
        let graph = self.shard.graph();
        let actor = Actor::of(root.group(), root.epoch(), by.grant, by.incarnation);
        let chain = graph.chain(&actor);
        let link = chain.map_or_else(|| first_link(root.group(), root.epoch(), actor), |chain| *chain.link());
        let seq = chain.map_or(0, Chain::len) + 1;
        let heads = at.unwrap_or_else(|| graph.heads());
        let mut deps = heads.clone();
        deps.extend(chain.and_then(|chain| graph.at(chain, chain.len())).map(|entry| entry.id));
        deps.sort_unstable();
        deps.dedup();
        let start_op = deps.iter().map(|dep| graph.get(dep).unwrap().max_op).max().unwrap() + 1;
        let put = |(key, value): &(&str, Value)| Put {
            key: (*key).to_owned(),
            value: value.clone(),
            preds: self.shard.visible_at(key, &heads).unwrap().iter().map(|visible| visible.op).collect(),
        };
        let mut puts: Vec<Put> = change.puts.iter().map(put).collect();
        puts.sort_by(|a, b| a.key.cmp(&b.key));
        let delta = Delta {
            epoch: root.epoch(),
            grant: by.grant,
            incarnation: by.incarnation,
            seq,
            deps,
            start_op,
            time: change.time,
            message: change.message.to_owned(),
            puts,
        };
        let composed = Composed::new(&root, delta).unwrap();
        let link = next_link(&link, composed.id());
        let signature = chain::sign(&by.secret, root.group(), root.epoch(), seq, &link);
        let Verdict::Ready(checked) = self.shard.examine(composed.clone()) else {
            panic!("{name} is not valid")
        };
        self.shard.accept(*checked);
        self.shard.flush();
        let signed = SignedDelta { delta: composed.bytes().to_vec(), signature };
        self.changes.push(Written { name, composed, signed });
    }
}

/// What a change says.
struct Change<'a> {
    time: i64,
    message: &'a str,
    puts: &'a [(&'a str, Value)],
}

/// Every type of value, with its edges.
pub(crate) fn values() -> Vec<(&'static str, Value)> {
    vec![
        ("values/all a-null", Value::Null),
        ("values/all b-false", Value::Bool(false)),
        ("values/all b-true", Value::Bool(true)),
        ("values/all c-zero", Value::Int(0)),
        ("values/all d-minus-one", Value::Int(-1)),
        ("values/all e-least", Value::Int(i64::MIN)),
        ("values/all f-most", Value::Int(i64::MAX)),
        ("values/all g-zero", Value::Float(0.0)),
        ("values/all h-tenth", Value::Float(0.1)),
        ("values/all i-tiny", Value::Float(f64::MIN_POSITIVE)),
        ("values/all j-huge", Value::Float(f64::MAX)),
        ("values/all k-empty", Value::Str(String::new())),
        ("values/all l-unicode", Value::Str("Grüße, 世界 🦀 \u{0}\u{7f}\n".into())),
        ("values/all m-empty", Value::Bytes(vec![])),
        ("values/all n-bytes", Value::Bytes(vec![0x00, 0xff, 0x80])),
    ]
}

/// A history with all that a history can have: concurrent writes, values replaced, merges, changes that put nothing.
pub(crate) fn story() -> Story {
    let (first, second) = (first_writer(), second_writer());
    let mut story = Story { shard: Shard::new(desired()), changes: Vec::new() };
    let (url, text) = ("config/db keys.url", |text: &str| Value::from(text));
    let puts: &[(&str, Value)] = &[(url, text("one"))];
    story.write("first", &first, None, Change { time: 1_700_000_000, message: "", puts });
    let begin = story.shard.graph().heads();
    let all = values();
    let message = "why\n\nUser: root\nCommand: larder apply";
    story.write("values", &first, None, Change { time: 0, message, puts: &all });
    let puts: &[(&str, Value)] = &[(url, text("two")), ("config/db keys.\"ключ a.b\"", text("é"))];
    let message = "zwei 🦀";
    story.write("concurrent", &second, Some(begin), Change { time: (1 << 53) - 1, message, puts });
    let puts: &[(&str, Value)] = &[(url, text("two"))];
    story.write("merge", &first, None, Change { time: 1 << 53, message: "settled", puts });
    let aside = vec![story.change("concurrent").composed.id()];
    let puts: &[(&str, Value)] = &[("config/db ensure", text("absent")), (url, Value::Null)];
    story.write("aside", &second, Some(aside), Change { time: 5, message: "", puts });
    story.write("empty", &second, None, Change { time: 6, message: "merge", puts: &[] });
    story
}
