//! What a shard says now: every key with its visible values. Kept beside the Automerge document and always equal to
//! what that would answer, so that no reader has to walk it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::delta::{OpRef, Put, Value};

/// One visible value of a key. More than one means that writers did not know of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visible {
    /// Which put wrote it.
    pub op: OpRef,
    /// The value.
    pub value: Value,
}

/// The visible values of every key, each list sorted so that Automerge's winner is last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    keys: BTreeMap<String, Vec<Visible>>,
    bytes: usize,
    /// Puts of changes that are here only for the sake of what was built on them.
    held: BTreeSet<OpRef>,
}

impl State {
    /// The visible values of `key`, the winner last; empty if it was never put.
    pub fn get(&self, key: &str) -> &[Visible] {
        self.keys.get(key).map_or(&[], Vec::as_slice)
    }

    /// The value that wins, if the key was ever put and is not null.
    pub fn winner(&self, key: &str) -> Option<&Value> {
        self.get(key).last().map(|visible| &visible.value).filter(|value| !value.is_null())
    }

    /// All keys that begin with `prefix`, in order.
    pub fn range_with_prefix<'a>(
        &'a self,
        prefix: &str,
    ) -> impl Iterator<Item = (&'a str, &'a [Visible])> + use<'a> {
        let prefix = prefix.to_owned();
        self.keys
            .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(&prefix))
            .map(|(key, visible)| (key.as_str(), visible.as_slice()))
    }

    /// All keys, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[Visible])> {
        self.keys.iter().map(|(key, visible)| (key.as_str(), visible.as_slice()))
    }

    /// How many keys were ever put.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// True if nothing was ever put.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// True if a change wrote this that is here only for the sake of what was built on it, see [`crate::accept`].
    pub fn is_held(&self, op: &OpRef) -> bool {
        self.held.contains(op)
    }

    /// True if one of these values stands by held puts alone.
    pub fn holds_any(&self, visible: &[Visible]) -> bool {
        if self.held.is_empty() {
            return false;
        }
        let vouched = |value: &Value| visible.iter().any(|one| one.value == *value && !self.is_held(&one.op));
        visible.iter().any(|one| self.is_held(&one.op) && !vouched(&one.value))
    }

    pub(super) fn set_held(&mut self, held: BTreeSet<OpRef>) {
        self.held = held;
    }

    /// Bytes of keys and visible values.
    pub fn weight(&self) -> usize {
        self.bytes
    }

    /// Lets one put take effect: it replaces its predecessors.
    pub(crate) fn put(&mut self, op: OpRef, put: &Put) {
        let visible = self.keys.entry(put.key.clone()).or_insert_with(|| {
            self.bytes += put.key.len();
            Vec::new()
        });
        self.bytes -= visible.iter().map(|old| old.value.weight()).sum::<usize>();
        visible.retain(|old| put.preds.binary_search(&old.op).is_err());
        let place = visible.partition_point(|old| old.op < op);
        visible.insert(place, Visible { op, value: put.value.clone() });
        self.bytes += visible.iter().map(|new| new.value.weight()).sum::<usize>();
    }

    /// Puts a key to what was read of it; one with nothing visible was never put.
    pub(super) fn replace(&mut self, key: &str, visible: Vec<Visible>) {
        if let Some(old) = self.keys.remove(key) {
            self.bytes -= key.len() + old.iter().map(|value| value.value.weight()).sum::<usize>();
        }
        if !visible.is_empty() {
            self.restore(key.to_owned(), visible);
        }
    }

    /// Puts a key back as it was read.
    pub(crate) fn restore(&mut self, key: String, mut visible: Vec<Visible>) {
        visible.sort_by_key(|value| value.op);
        self.bytes += key.len() + visible.iter().map(|value| value.value.weight()).sum::<usize>();
        self.keys.insert(key, visible);
    }
}
