//! The visible values of every key of a shard. They always equal what the Automerge document would answer,
//! and reading them does not need the document.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::delta::{OpRef, Put, Value};
use crate::resource::spelling::canonical_key;

/// One visible value of a key. A key has several if their authors did not know of each other's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisibleValue {
    /// The put that wrote the value.
    pub op: OpRef,
    /// The value itself.
    pub value: Value,
}

/// The visible values of every key, each list sorted so that Automerge's winner is last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VisibleState {
    by_key: BTreeMap<String, Vec<VisibleValue>>,
    /// The keys whose spelling is not the canonical one of their field.
    other_spellings: OtherSpellings,
    total_bytes: usize,
    /// The puts of accepted changes that do not count by themselves.
    dependency_only: BTreeSet<OpRef>,
    /// The visible puts that wrote a removed author's value again, with the put of that author.
    restored_puts: BTreeMap<OpRef, OpRef>,
}

impl VisibleState {
    /// The visible values of `key`, the winner last; empty if it was never put.
    pub fn get(&self, key: &str) -> &[VisibleValue] {
        self.by_key.get(key).map_or(&[], Vec::as_slice)
    }

    /// The value that wins, if the key was ever put and is not null.
    pub fn winner(&self, key: &str) -> Option<&Value> {
        self.get(key).last().map(|visible| &visible.value).filter(|value| !value.is_null())
    }

    /// All keys that begin with `prefix`, in order.
    pub fn range_with_prefix<'a>(
        &'a self,
        prefix: &str,
    ) -> impl Iterator<Item = (&'a str, &'a [VisibleValue])> + use<'a> {
        let prefix = prefix.to_owned();
        self.by_key
            .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(&prefix))
            .map(|(key, visible)| (key.as_str(), visible.as_slice()))
    }

    /// The keys in other spellings whose canonical spelling begins with `prefix`: the canonical spelling, the
    /// key, and its visible values.
    pub(crate) fn other_spellings<'a>(
        &'a self,
        prefix: &str,
    ) -> impl Iterator<Item = (&'a str, &'a str, &'a [VisibleValue])> + use<'a> {
        self.other_spellings.with_prefix(prefix).map(|(canonical, key)| (canonical, key, self.get(key)))
    }

    /// The canonical spelling of a key with the visible values of all its spellings. `None` for all spellings
    /// but the first, so that reading all keys in order reads each field once.
    ///
    /// An unset spelling does not count beside one with a value: it is unset because the value is elsewhere.
    pub(crate) fn merge_spellings<'a>(
        &'a self,
        key: &'a str,
        visible: &'a [VisibleValue],
    ) -> Option<(&'a str, Cow<'a, [VisibleValue]>)> {
        let Some((canonical, others)) = self.other_spellings.of_key(key) else {
            return Some((key, Cow::Borrowed(visible)));
        };
        let canonical_key = self.by_key.get_key_value(canonical).map(|(canonical, _)| canonical);
        if others.iter().chain(canonical_key).min().map(String::as_str) != Some(key) {
            return None;
        }
        let has_value = |visible: &[VisibleValue]| visible.iter().any(|one| !one.value.is_null());
        let canonical_visible = self.get(canonical);
        let other_visible = || others.iter().flat_map(|other| self.get(other));
        let mut merged: Vec<VisibleValue> = match has_value(canonical_visible) {
            true => canonical_visible.to_vec(),
            false => Vec::new(),
        };
        merged.extend(other_visible().filter(|one| !one.value.is_null()).cloned());
        if merged.is_empty() {
            merged.extend(canonical_visible.iter().chain(other_visible()).cloned());
        }
        merged.sort_by_key(|one| one.op);
        Some((canonical, Cow::Owned(merged)))
    }

    /// All keys, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[VisibleValue])> {
        self.by_key.iter().map(|(key, visible)| (key.as_str(), visible.as_slice()))
    }

    /// The number of keys that were ever put.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// True if no key was ever put.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// True if a change wrote this that does not count by itself, see [`crate::acceptance`], or if the put
    /// wrote the value of such a change again.
    pub fn is_dependency_only(&self, op: &OpRef) -> bool {
        self.dependency_only.contains(op) || self.restored_puts.contains_key(op)
    }

    /// The put that a value comes from: the removed author's put for a value that was written again, and else
    /// the put itself.
    pub fn origin_of<'a>(&'a self, op: &'a OpRef) -> &'a OpRef {
        self.restored_puts.get(op).unwrap_or(op)
    }

    pub(super) fn set_restored_puts(&mut self, restored_puts: BTreeMap<OpRef, OpRef>) {
        self.restored_puts = restored_puts;
    }

    pub(super) fn has_restored_puts(&self) -> bool {
        !self.restored_puts.is_empty()
    }

    /// True if one of these values was written only by changes that do not count by themselves.
    pub fn has_dependency_only_value(&self, visible: &[VisibleValue]) -> bool {
        if self.dependency_only.is_empty() && self.restored_puts.is_empty() {
            return false;
        }
        let is_supported = |value: &Value| {
            visible.iter().any(|one| one.value == *value && !self.is_dependency_only(&one.op))
        };
        visible.iter().any(|one| self.is_dependency_only(&one.op) && !is_supported(&one.value))
    }

    pub(super) fn set_dependency_only(&mut self, ops: BTreeSet<OpRef>) {
        self.dependency_only = ops;
    }

    /// The bytes that keys and visible values take.
    pub fn size_estimate(&self) -> usize {
        self.total_bytes
    }

    /// Applies one put: it replaces its predecessors.
    pub(crate) fn apply_put(&mut self, op: OpRef, put: &Put) {
        let visible = self.by_key.entry(put.key.clone()).or_insert_with(|| {
            self.total_bytes += put.key.len();
            self.other_spellings.insert(&put.key);
            Vec::new()
        });
        self.total_bytes -= visible.iter().map(|old| old.value.size_estimate()).sum::<usize>();
        visible.retain(|old| put.preds.binary_search(&old.op).is_err());
        let index = visible.partition_point(|old| old.op < op);
        visible.insert(index, VisibleValue { op, value: put.value.clone() });
        self.total_bytes += visible.iter().map(|new| new.value.size_estimate()).sum::<usize>();
    }

    /// Replaces the visible values of a key; a key without visible values is removed.
    pub(super) fn replace_key(&mut self, key: &str, visible: Vec<VisibleValue>) {
        if let Some(old) = self.by_key.remove(key) {
            self.other_spellings.remove(key);
            self.total_bytes -=
                key.len() + old.iter().map(|value| value.value.size_estimate()).sum::<usize>();
        }
        if !visible.is_empty() {
            self.restore_key(key.to_owned(), visible);
        }
    }

    /// Adds a key with its visible values, as read from the document.
    pub(crate) fn restore_key(&mut self, key: String, mut visible: Vec<VisibleValue>) {
        visible.sort_by_key(|value| value.op);
        self.total_bytes +=
            key.len() + visible.iter().map(|value| value.value.size_estimate()).sum::<usize>();
        self.other_spellings.insert(&key);
        self.by_key.insert(key, visible);
    }
}

/// The keys whose spelling is not the canonical one. Usually there are none: only other programs and earlier
/// versions write such keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OtherSpellings {
    keys_by_canonical: BTreeMap<String, BTreeSet<String>>,
    canonical_by_key: BTreeMap<String, String>,
}

impl OtherSpellings {
    fn insert(&mut self, key: &str) {
        if let Some(canonical) = canonical_key(key) {
            self.keys_by_canonical.entry(canonical.clone()).or_default().insert(key.to_owned());
            self.canonical_by_key.insert(key.to_owned(), canonical);
        }
    }

    fn remove(&mut self, key: &str) {
        let Some(canonical) = self.canonical_by_key.remove(key) else { return };
        if let Some(keys) = self.keys_by_canonical.get_mut(&canonical) {
            keys.remove(key);
            if keys.is_empty() {
                self.keys_by_canonical.remove(&canonical);
            }
        }
    }

    /// The canonical spelling of a key, and all its other spellings. `None` if there are no other spellings.
    fn of_key<'a>(&'a self, key: &'a str) -> Option<(&'a str, &'a BTreeSet<String>)> {
        let canonical = self.canonical_by_key.get(key).map_or(key, String::as_str);
        self.keys_by_canonical.get_key_value(canonical).map(|(canonical, keys)| (canonical.as_str(), keys))
    }

    /// The canonical spellings that begin with `prefix`, each with every other spelling.
    fn with_prefix<'a>(&'a self, prefix: &str) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let prefix = prefix.to_owned();
        self.keys_by_canonical
            .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
            .take_while(move |(canonical, _)| canonical.starts_with(&prefix))
            .flat_map(|(canonical, keys)| keys.iter().map(move |key| (canonical.as_str(), key.as_str())))
    }
}
