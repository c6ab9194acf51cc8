//! The fixture of the golden vectors: a group with two members, and a short history of its desired state.

use crate::delta::encoded_change::EncodedChange;
use crate::delta::{Delta, Put, SignedDelta, Value};
use crate::group::{ChangeNote, Group};
use crate::id::{ChainId, ChangeId, GrantId, GroupId, Incarnation, InviteId, RecordId, SecretKey};
use crate::record::{Grant, Record, RecordBody, RecordSet, Role, SignedRecord, Signer, create_genesis};
use crate::shard::Shard;
use crate::shard::chain::{self, Chain, first_chain_hash, next_chain_hash};
use crate::shard::root::{ShardName, ShardRoot};
use crate::shard::validate::Validation;
use crate::store::MemoryStore;

/// The founder, an admin.
pub(crate) fn founder() -> SecretKey {
    SecretKey::from_bytes(&[1; 32])
}

/// An operator, admitted by the founder.
pub(crate) fn operator() -> SecretKey {
    SecretKey::from_bytes(&[2; 32])
}

/// The group's recovery key.
pub(crate) fn recovery() -> SecretKey {
    SecretKey::from_bytes(&[3; 32])
}

/// The group's Genesis record.
pub(crate) fn genesis() -> SignedRecord {
    create_genesis(&founder(), "shop", [9; 16], recovery().node_id())
}

/// The group.
pub(crate) fn group() -> GroupId {
    genesis().genesis_group_id().unwrap()
}

/// A record that the founder issues.
pub(crate) fn record(seq: u64, prev: RecordId, body: RecordBody) -> Record {
    Record { group: group(), grant: genesis().id(), signer: Signer::Holder, seq, prev, body, note: None }
}

/// The operator's grant, with a value in every field.
pub(crate) fn grant() -> SignedRecord {
    let body = RecordBody::Grant(Grant {
        holder: operator().node_id(),
        role: Role::Operator,
        alias: "till-2".into(),
        labels: vec![("role".into(), "till".into()), ("site".into(), "Köln".into())],
        invite: Some(InviteId([4; 32])),
    });
    record(1, RecordId::ZERO, body).sign(&founder())
}

/// The record set with both records.
pub(crate) fn records() -> RecordSet {
    let mut records = RecordSet::from_genesis(genesis()).unwrap();
    records.insert(grant());
    assert_eq!(records.len(), 2);
    records
}

/// The rows of the group after `count` writes of the founder, or of the operator where `is_by_operator`.
pub(crate) fn stored_changes(count: i64, is_by_operator: impl Fn(i64) -> bool) -> MemoryStore {
    let mut group = Group::new(records());
    let mut store = MemoryStore::default();
    store.write(&group.initial_rows());
    for nth in 0..count {
        let (secret, incarnation) = if is_by_operator(nth) { (operator(), 2) } else { (founder(), 1) };
        let puts = [(format!("config/a keys.k{nth}"), Value::Int(nth))].into();
        let (note, incarnation) = (ChangeNote::default(), Incarnation([incarnation; 16]));
        let outcome = group.write(&secret, ShardName::Desired, puts, &note, incarnation).unwrap();
        store.write(&outcome.ingest.rows);
        group.flush_documents();
    }
    store
}

/// The root of the desired state.
pub(crate) fn desired_root() -> ShardRoot {
    ShardRoot::derive(group(), ShardName::Desired)
}

/// The root of the operator's observed shard.
pub(crate) fn observed_root() -> ShardRoot {
    ShardRoot::derive(group(), ShardName::Observed(grant().id()))
}

/// An author of changes: a key, its grant and an incarnation.
pub(crate) struct FixtureWriter {
    pub(crate) secret: SecretKey,
    pub(crate) grant: GrantId,
    pub(crate) incarnation: Incarnation,
}

/// The founder as an author.
pub(crate) fn first_writer() -> FixtureWriter {
    FixtureWriter { secret: founder(), grant: genesis().id(), incarnation: Incarnation([5; 16]) }
}

/// The operator as an author.
pub(crate) fn second_writer() -> FixtureWriter {
    FixtureWriter { secret: operator(), grant: grant().id(), incarnation: Incarnation([6; 16]) }
}

/// One change of the history.
pub(crate) struct FixtureChange {
    pub(crate) name: &'static str,
    pub(crate) composed: EncodedChange,
    pub(crate) signed: SignedDelta,
}

/// A shard and its changes, in order.
pub(crate) struct FixtureHistory {
    pub(crate) shard: Shard,
    pub(crate) changes: Vec<FixtureChange>,
}

impl FixtureHistory {
    /// The change called `name`.
    pub(crate) fn change(&self, name: &str) -> &FixtureChange {
        self.changes.iter().find(|written| written.name == name).unwrap()
    }

    /// Writes a change at `heads`, or at all heads, as a node would.
    fn write(
        &mut self,
        name: &'static str,
        writer: &FixtureWriter,
        base_heads: Option<Vec<ChangeId>>,
        change: ChangeSpec<'_>,
    ) {
        let root = self.shard.root().clone();
        let graph = self.shard.graph();
        let chain_id = ChainId::derive(root.group(), root.shard_id(), writer.grant, writer.incarnation);
        let chain = graph.chain(&chain_id);
        let chain_hash = chain
            .map_or_else(|| first_chain_hash(root.group(), root.shard_id(), chain_id), |chain| *chain.hash());
        let seq = chain.map_or(0, Chain::len) + 1;
        let heads = base_heads.unwrap_or_else(|| graph.heads());
        let mut deps = heads.clone();
        deps.extend(chain.and_then(|chain| graph.entry_in_chain(chain, chain.len())).map(|entry| entry.id));
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
            shard_id: root.shard_id(),
            grant: writer.grant,
            incarnation: writer.incarnation,
            seq,
            deps,
            start_op,
            time: change.time,
            message: change.message.to_owned(),
            puts,
        };
        let composed = EncodedChange::new(&root, delta).unwrap();
        let chain_hash = next_chain_hash(&chain_hash, composed.id());
        let signature = chain::sign_chain(&writer.secret, root.group(), root.shard_id(), seq, &chain_hash);
        let Validation::Valid(checked) = self.shard.validate(composed.clone()) else {
            panic!("{name} is not valid")
        };
        self.shard.apply_change(*checked);
        self.shard.flush();
        let signed = SignedDelta { delta: composed.bytes().to_vec(), signature };
        self.changes.push(FixtureChange { name, composed, signed });
    }
}

/// The content of a change.
struct ChangeSpec<'a> {
    time: i64,
    message: &'a str,
    puts: &'a [(&'a str, Value)],
}

/// Values of every type, including edge cases.
pub(crate) fn all_values() -> Vec<(&'static str, Value)> {
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

/// A history with all features: concurrent writes, replaced values, merges, and changes without puts.
pub(crate) fn history() -> FixtureHistory {
    let (first, second) = (first_writer(), second_writer());
    let mut history = FixtureHistory { shard: Shard::new(desired_root()), changes: Vec::new() };
    let (url, text) = ("config/db keys.url", |text: &str| Value::from(text));
    let puts: &[(&str, Value)] = &[(url, text("one"))];
    history.write("first", &first, None, ChangeSpec { time: 1_700_000_000, message: "", puts });
    let begin = history.shard.graph().heads();
    let all = all_values();
    let message = "why\n\nUser: root\nCommand: larder apply";
    history.write("values", &first, None, ChangeSpec { time: 0, message, puts: &all });
    let puts: &[(&str, Value)] = &[(url, text("two")), ("config/db keys.\"ключ a.b\"", text("é"))];
    let message = "zwei 🦀";
    history.write("concurrent", &second, Some(begin), ChangeSpec { time: (1 << 53) - 1, message, puts });
    let puts: &[(&str, Value)] = &[(url, text("two"))];
    history.write("merge", &first, None, ChangeSpec { time: 1 << 53, message: "settled", puts });
    let concurrent_id = vec![history.change("concurrent").composed.id()];
    let puts: &[(&str, Value)] = &[("config/db ensure", text("absent")), (url, Value::Null)];
    history.write("branch", &second, Some(concurrent_id), ChangeSpec { time: 5, message: "", puts });
    history.write("empty", &second, None, ChangeSpec { time: 6, message: "merge", puts: &[] });
    history
}
