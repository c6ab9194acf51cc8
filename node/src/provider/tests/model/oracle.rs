//! What every file must hold, by rules that are as plain as possible.

use std::collections::BTreeMap;

use super::SLOTS;

/// What a resource is to be.
pub(super) enum Desired {
    File(usize, Vec<u8>),
    Config(usize, BTreeMap<String, String>),
    Removed,
    Released,
}

/// The files of a host.
#[derive(Default)]
pub(super) struct Oracle {
    slots: [Slot; SLOTS],
    /// True if the link to the first root leads to the second directory.
    pub(super) is_flipped: bool,
    written: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone, Default)]
struct Slot {
    contents: Option<Vec<u8>>,
    /// True if a directory or a link is in the way.
    is_blocked: bool,
    owner: Option<usize>,
    /// True if there was no file before that of the owner.
    is_created: bool,
    keys: BTreeMap<String, Key>,
    /// A line of others before and after it got a line end.
    extended: Option<(String, String)>,
}

#[derive(Clone)]
struct Key {
    original: Option<String>,
    values: Vec<String>,
}

impl Oracle {
    pub(super) fn get(&self, slot: usize) -> Option<&Vec<u8>> {
        self.slots[slot].contents.as_ref()
    }

    /// Contents written by hand.
    pub(super) fn put(&mut self, slot: usize, contents: Vec<u8>) {
        self.clear(slot);
        self.slots[slot].contents = Some(contents);
    }

    pub(super) fn clear(&mut self, slot: usize) {
        (self.slots[slot].contents, self.slots[slot].is_blocked) = (None, false);
    }

    pub(super) fn block(&mut self, slot: usize) {
        self.slots[slot].is_blocked = true;
    }

    /// Takes the contents that the providers wrote.
    pub(super) fn take_written(&mut self) -> Vec<(usize, Vec<u8>)> {
        std::mem::take(&mut self.written)
    }

    pub(super) fn has_owner(&self, slot: usize) -> bool {
        self.slots[slot].owner.is_some()
    }

    /// Applies a resource. `former` is the place to which its former path leads. Returns the places where a
    /// file replaced the lines of others, or where a config left its own.
    pub(super) fn apply(
        &mut self,
        resource: usize,
        is_file: bool,
        desired: Desired,
        former: Option<usize>,
    ) -> Vec<usize> {
        let slot = match &desired {
            Desired::File(slot, _) | Desired::Config(slot, _) => {
                let at = &self.slots[*slot];
                if at.is_blocked || at.owner.is_some_and(|owner| owner != resource) {
                    return Vec::new();
                }
                Some(*slot)
            }
            Desired::Removed | Desired::Released => None,
        };
        let is_done = match desired {
            Desired::File(slot, contents) => {
                self.adopt(slot, resource);
                self.slots[slot].keys.clear();
                self.slots[slot].extended = None;
                self.write(slot, contents);
                true
            }
            Desired::Config(slot, wanted) => self.set_keys(slot, resource, &wanted),
            Desired::Released if is_file => return self.disown(resource, None),
            Desired::Released | Desired::Removed => true,
        };
        if !is_done {
            return Vec::new();
        }
        let mut abandoned: Vec<usize> = slot.into_iter().filter(|_| is_file).collect();
        if let Some(former) = former.filter(|former| Some(*former) != slot) {
            self.remove(former, resource, is_file);
        }
        abandoned.extend(self.disown(resource, slot));
        abandoned
    }

    fn write(&mut self, slot: usize, contents: Vec<u8>) {
        if self.slots[slot].contents.as_ref() != Some(&contents) {
            self.written.push((slot, contents.clone()));
        }
        self.slots[slot].contents = Some(contents);
    }

    fn adopt(&mut self, slot: usize, resource: usize) {
        let at = &mut self.slots[slot];
        if at.owner != Some(resource) {
            (at.owner, at.is_created) = (Some(resource), false);
        }
        if at.contents.is_none() {
            at.is_created = true;
            at.keys.clear();
            at.extended = None;
        }
    }

    fn disown(&mut self, resource: usize, except: Option<usize>) -> Vec<usize> {
        let mut disowned = Vec::new();
        for (slot, at) in self.slots.iter_mut().enumerate() {
            if at.owner == Some(resource) && Some(slot) != except {
                at.owner = None;
                at.keys.clear();
                at.extended = None;
                disowned.push(slot);
            }
        }
        disowned
    }

    fn lines(&self, slot: usize) -> Vec<String> {
        let text = String::from_utf8(self.get(slot).cloned().unwrap_or_default()).unwrap();
        text.split_inclusive('\n').map(str::to_owned).collect()
    }

    /// False if a key stands on several lines: then nothing changes.
    fn set_keys(&mut self, slot: usize, resource: usize, wanted: &BTreeMap<String, String>) -> bool {
        let mut lines = self.lines(slot);
        let count = |key: &str| lines.iter().filter(|line| key_of(line) == Some(key)).count();
        if wanted.keys().any(|key| count(key) > 1) {
            return false;
        }
        self.adopt(slot, resource);
        let unwanted = |key: &String| !wanted.contains_key(key);
        self.take_back(slot, &mut lines, &unwanted);
        let at = &mut self.slots[slot];
        at.keys.retain(|key, _| wanted.contains_key(key));
        for (key, value) in wanted {
            let line = lines.iter().position(|line| key_of(line) == Some(key));
            let current = line.map(|line| value_of(&lines[line]));
            let managed = at.keys.get(key).cloned();
            let mut values = managed.as_ref().map(|key| key.values.clone()).unwrap_or_default();
            let is_own = current.as_ref().is_some_and(|current| values.contains(current));
            let original = match managed {
                Some(managed) if is_own => managed.original,
                _ => line.map(|line| lines[line].clone()),
            };
            values.retain(|known| known != value);
            values.insert(0, value.clone());
            values.truncate(2);
            at.keys.insert(key.clone(), Key { original, values });
            match line {
                Some(_) if current.as_ref() == Some(value) => {}
                Some(line) => {
                    let end = if lines[line].ends_with('\n') { "\n" } else { "" };
                    let (head, _) = split(&lines[line]);
                    lines[line] = format!("{head}{value}{end}");
                }
                None => append(&mut lines, key, value, &mut at.extended),
            }
        }
        if at.keys.values().all(|key| key.original.is_some()) {
            at.extended = None;
        }
        self.write(slot, lines.concat().into_bytes());
        true
    }

    /// Puts back what stood at the keys before, where the value is still that of the config.
    fn take_back(&mut self, slot: usize, lines: &mut Vec<String>, is_taken: &dyn Fn(&String) -> bool) {
        let at = &mut self.slots[slot];
        for is_added in [true, false] {
            let taken = at
                .keys
                .iter()
                .filter(|(key, managed)| is_taken(key) && managed.original.is_none() == is_added);
            for (key, managed) in taken {
                let own =
                    |line: &String| key_of(line) == Some(key) && managed.values.contains(&value_of(line));
                let Some(line) = lines.iter().rposition(own) else { continue };
                let Some(original) = &managed.original else {
                    lines.remove(line);
                    continue;
                };
                lines[line].clone_from(original);
                if line + 1 < lines.len() && !original.ends_with('\n') {
                    lines[line].push('\n');
                    at.extended = Some((original.clone(), lines[line].clone()));
                }
            }
        }
        let has_added = at.keys.iter().any(|(key, managed)| managed.original.is_none() && !is_taken(key));
        if let (Some((before, after)), Some(last), false) = (&at.extended, lines.last_mut(), has_added)
            && last == after
        {
            last.clone_from(before);
        }
    }

    fn remove(&mut self, slot: usize, resource: usize, is_file: bool) {
        if self.slots[slot].owner != Some(resource) {
            return;
        }
        if self.slots[slot].contents.is_some() {
            let mut lines = self.lines(slot);
            self.take_back(slot, &mut lines, &|_| true);
            let is_blank = lines.concat().trim_ascii().is_empty();
            if is_file || (self.slots[slot].is_created && is_blank) {
                self.slots[slot].contents = None;
            } else {
                self.write(slot, lines.concat().into_bytes());
            }
        }
        let Slot { contents, is_blocked, .. } = self.slots[slot].clone();
        self.slots[slot] = Slot { contents, is_blocked, ..Slot::default() };
    }
}

fn append(lines: &mut Vec<String>, key: &str, value: &str, extended: &mut Option<(String, String)>) {
    if let Some(last) = lines.last_mut().filter(|last| !last.ends_with('\n')) {
        let before = last.clone();
        last.push('\n');
        *extended = Some((before, last.clone()));
    }
    let separator = lines.iter().rev().find(|line| key_of(line).is_some()).map(|line| {
        let (head, _) = split(line);
        head[key_of(line).unwrap().len()..].to_owned()
    });
    let separator = separator.filter(|separator| !separator.is_empty()).unwrap_or_else(|| "=".to_owned());
    lines.push(format!("{key}{separator}{value}\n"));
}

fn key_of(line: &str) -> Option<&str> {
    let text = line.trim_end_matches('\n');
    let end = text.find(['=', ' ']).unwrap_or(text.len());
    (!text.is_empty() && !text.starts_with('#')).then(|| &text[..end])
}

/// Splits a line into the key with its separator, and the value.
fn split(line: &str) -> (String, String) {
    let text = line.trim_end_matches('\n');
    let key = key_of(line).unwrap_or_default().len();
    let value = key + text[key..].len().min(1);
    (text[..value].to_owned(), text[value..].to_owned())
}

fn value_of(line: &str) -> String {
    split(line).1
}
