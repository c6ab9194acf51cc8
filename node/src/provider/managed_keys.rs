//! The keys that a `config` set in a file, with what stood there before.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::properties::{ExtendedLine, Properties};

/// The values of a key that a record knows: the one before a write, and the one after it.
const MAX_VALUES: usize = 2;

/// The keys of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ManagedKeys {
    keys: BTreeMap<String, ManagedKey>,
    /// The last line of others, if Larder had to add a line end to it.
    extended_line: Option<ExtendedLine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ManagedKey {
    /// The line of the key before Larder set it; `None` if there was none.
    original: Option<Vec<u8>>,
    /// The values that Larder set, newest first.
    values: Vec<String>,
}

/// A key that stands on several lines.
#[derive(Debug)]
pub(super) struct RepeatedKey {
    pub(super) key: String,
    pub(super) lines: usize,
}

impl ManagedKeys {
    /// Sets the wanted keys in `properties` and takes back all others. The result is to be recorded
    /// before the write; [`Self::retain`] gives what remains after it.
    pub(super) fn apply(
        &mut self,
        properties: &mut Properties,
        wanted: &BTreeMap<String, String>,
    ) -> Result<(), RepeatedKey> {
        for key in wanted.keys() {
            let lines = properties.count(key);
            if lines > 1 {
                return Err(RepeatedKey { key: key.clone(), lines });
            }
        }
        let unwanted: BTreeSet<String> =
            self.keys.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect();
        self.take_back(properties, &unwanted);
        for (key, value) in wanted {
            self.set(properties, key, value);
        }
        Ok(())
    }

    fn set(&mut self, properties: &mut Properties, key: &str, value: &str) {
        let current = properties.value(key);
        let managed = self.keys.get(key);
        let is_own = current
            .as_ref()
            .is_some_and(|current| managed.is_some_and(|managed| managed.values.contains(current)));
        let original = match managed {
            Some(managed) if is_own => managed.original.clone(),
            _ => properties.line(key).map(<[u8]>::to_vec),
        };
        let mut values = managed.map(|managed| managed.values.clone()).unwrap_or_default();
        values.retain(|known| known != value);
        values.insert(0, value.to_owned());
        values.truncate(MAX_VALUES);
        self.keys.insert(key.to_owned(), ManagedKey { original, values });
        if let Some(extended) = properties.set(key, value) {
            self.extended_line = Some(extended);
        }
    }

    /// Restores what stood at the keys before, where the value is still the one that Larder set. The keys
    /// stay recorded until the file is written.
    fn take_back(&mut self, properties: &mut Properties, keys: &BTreeSet<String>) {
        let managed = keys.iter().filter_map(|key| Some((key, self.keys.get(key)?)));
        // Added lines go first: then the last line of others is the last one again.
        let (added, changed): (Vec<_>, Vec<_>) = managed.partition(|(_, managed)| managed.original.is_none());
        for (key, managed) in added.into_iter().chain(changed) {
            let extended = properties.restore(key, &managed.values, managed.original.as_deref());
            if extended.is_some() {
                self.extended_line = extended;
            }
        }
        let has_added_lines =
            self.keys.iter().any(|(key, managed)| managed.original.is_none() && !keys.contains(key));
        if let Some(extended) = self.extended_line.as_ref().filter(|_| !has_added_lines) {
            properties.shorten(extended);
        }
    }

    /// Restores what stood at all keys before.
    pub(super) fn take_back_all(&mut self, properties: &mut Properties) {
        let keys: BTreeSet<String> = self.keys.keys().cloned().collect();
        self.take_back(properties, &keys);
    }

    /// Keeps only the wanted keys, after the file was written.
    pub(super) fn retain(&mut self, wanted: &BTreeMap<String, String>) {
        self.keys.retain(|key, _| wanted.contains_key(key));
        if self.keys.values().all(|managed| managed.original.is_some()) {
            self.extended_line = None;
        }
    }
}
