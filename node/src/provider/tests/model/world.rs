//! A host with real providers, the hand of a person, and the oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};

use larder_core::resource::plan::{Action, FieldValues, text_field};

use super::super::super::crash_point::{Crashed, crash_after};
use super::super::{AppliedState, KeptFiles, Path, PathBuf, ResourceState, TestRoot, owner, text_fields};
use super::oracle::{Desired, Oracle};
use super::{Crash, HandEdit, KEYS, Op, PATHS, SLOTS};

/// The resources: the number of the group, and the name.
pub(super) const RESOURCES: [(u8, &str); 5] =
    [(1, "file/f"), (1, "file/g"), (1, "config/c"), (2, "file/f"), (2, "config/d")];

/// The host.
pub(super) struct World {
    root: TestRoot,
    oracle: Oracle,
    desired: BTreeMap<usize, Wanted>,
    applied: BTreeMap<usize, FieldValues>,
    /// Contents that were written by hand and not by hand removed, by place.
    by_hand: BTreeMap<usize, Vec<u8>>,
    /// Contents that were written by hand while no resource had the place, and only configs since. When no
    /// config is left, they must be there again.
    pristine: BTreeMap<usize, Vec<u8>>,
    /// What the providers ever wrote at a place.
    by_larder: BTreeSet<(usize, Vec<u8>)>,
    /// Counts hand edits, so that each has its own text.
    edits: u32,
}

/// What the group wants of a resource.
#[derive(Clone, Debug)]
enum Wanted {
    Present { path: usize, value: u8, keys: u8 },
    Removed,
    Deselected,
}

impl World {
    pub(super) fn new() -> Self {
        let shm = Path::new("/dev/shm");
        let parent = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
        let mut root = TestRoot::in_dir(&parent);
        for dir in ["r1", "r2", "root/d"] {
            fs::create_dir(root.dir.join(dir)).unwrap();
        }
        symlink("r1", root.dir.join("current")).unwrap();
        symlink("d", root.dir.join("root/l")).unwrap();
        let roots = roots(&root.dir);
        root.restart_with_roots(&roots);
        Self {
            root,
            oracle: Oracle::default(),
            desired: BTreeMap::new(),
            applied: BTreeMap::new(),
            by_hand: BTreeMap::new(),
            pristine: BTreeMap::new(),
            by_larder: BTreeSet::new(),
            edits: 0,
        }
    }

    pub(super) fn step(&mut self, op: &Op) -> Result<(), String> {
        match *op {
            Op::Set { resource, path, value, keys, crash } => {
                let wanted = Wanted::Present { path: usize::from(path) % PATHS, value, keys };
                self.desired.insert(usize::from(resource), wanted);
                self.run(usize::from(resource), crash);
            }
            Op::Remove { resource, crash } => {
                self.desired.insert(usize::from(resource), Wanted::Removed);
                self.run(usize::from(resource), crash);
            }
            Op::Release { resource, crash } => {
                self.desired.insert(usize::from(resource), Wanted::Deselected);
                self.run(usize::from(resource), crash);
            }
            Op::Apply { resource, crash } => self.run(usize::from(resource), crash),
            Op::Hand { slot, edit } => self.edit_by_hand(usize::from(slot), edit),
            Op::Restart { flip } => {
                if flip {
                    self.flip();
                }
                self.restart();
                self.run_all();
            }
        }
        self.check()
    }

    /// Applies one resource, with a kill on the way. After a kill the daemon starts again.
    fn run(&mut self, resource: usize, crash: Crash) {
        self.oracle_apply(resource);
        match crash {
            Crash::None => self.apply(resource),
            Crash::BeforeStored => {
                let applied = self.applied.clone();
                self.apply(resource);
                self.applied = applied;
                self.recover(resource, None);
            }
            Crash::At(steps, again) => {
                if self.apply_until(resource, steps) {
                    self.recover(resource, again);
                }
            }
        }
    }

    /// Starts the daemon again. The resource that was interrupted comes first.
    fn recover(&mut self, resource: usize, crash: Option<u8>) {
        self.restart();
        match crash {
            Some(steps) if self.apply_until(resource, steps) => self.restart(),
            Some(_) => {}
            None => {}
        }
        self.apply(resource);
        self.run_all();
        self.run_all();
        let leftovers = self.staging_files();
        assert!(leftovers.is_empty(), "unfinished files are left: {leftovers:?}");
    }

    fn run_all(&mut self) {
        for resource in 0..RESOURCES.len() {
            self.oracle_apply(resource);
            self.apply(resource);
        }
    }

    fn restart(&mut self) {
        self.root.restart_with_roots(&roots(&self.root.dir));
        for (owner_at_start, fields) in self.root.providers.owned_at_start() {
            let resource = RESOURCES
                .iter()
                .position(|(group, name)| owner(*group, name).is_same(owner_at_start))
                .unwrap();
            self.applied.entry(resource).or_insert_with(|| fields.clone());
        }
    }

    fn flip(&mut self) {
        let current = self.root.dir.join("current");
        fs::remove_file(&current).unwrap();
        self.oracle.is_flipped = !self.oracle.is_flipped;
        symlink(if self.oracle.is_flipped { "r2" } else { "r1" }, current).unwrap();
    }

    /// Applies a resource and kills the daemon after some crash points. False if it was done before.
    fn apply_until(&mut self, resource: usize, steps: u8) -> bool {
        crash_after(Some(u32::from(steps)));
        let result = catch_unwind(AssertUnwindSafe(|| self.apply(resource)));
        crash_after(None);
        match result {
            Ok(()) => false,
            Err(panic) if panic.is::<Crashed>() => true,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn apply(&mut self, resource: usize) {
        let Some(wanted) = self.desired.get(&resource) else { return };
        let applied = self.applied.get(&resource);
        let action = match wanted {
            Wanted::Present { path, value, keys } => {
                Action::Apply { fields: self.fields(resource, *path, *value, *keys), conflicted: vec![] }
            }
            Wanted::Removed => Action::Remove,
            Wanted::Deselected if applied.is_some() => Action::Release,
            Wanted::Deselected => return,
        };
        let (group, name) = RESOURCES[resource];
        let outcome = self.root.run_for(&owner(group, name), action, applied);
        assert_ne!(outcome.state, ResourceState::Failed, "{name}: {}", outcome.message);
        match outcome.applied {
            AppliedState::Now(fields) => drop(self.applied.insert(resource, fields)),
            AppliedState::Nothing => drop(self.applied.remove(&resource)),
            AppliedState::Unchanged => {}
        }
    }

    fn fields(&self, resource: usize, path: usize, value: u8, keys: u8) -> FieldValues {
        let path = self.path_text(path);
        if RESOURCES[resource].1.starts_with("file") {
            return text_fields(&[("path", &path), ("content", &file_contents(value))]);
        }
        let mut fields = text_fields(&[("path", &path)]);
        for (key, value) in config_keys(value, keys) {
            fields.extend(text_fields(&[(format!("keys.{key}").as_str(), value.as_str())]));
        }
        fields
    }

    fn path_text(&self, path: usize) -> String {
        let absolute = |path: &str| self.root.dir.join(path).display().to_string();
        match path {
            0 => "a".to_owned(),
            1 => "./a".to_owned(),
            2 => absolute("current/a"),
            3 => absolute("root/b"),
            4 => absolute("root/d/c"),
            5 => absolute("root/l/c"),
            6 => "new/e".to_owned(),
            _ => absolute(if self.oracle.is_flipped { "r2/a" } else { "r1/a" }),
        }
    }

    /// The place to which a path leads.
    fn slot_of(&self, path: usize) -> usize {
        let flipped = usize::from(self.oracle.is_flipped);
        match path {
            3 => 2,
            4 | 5 => 3,
            6 => 4 + flipped,
            _ => flipped,
        }
    }

    /// The place to which the path of applied fields leads.
    fn applied_slot(&self, resource: usize) -> Option<usize> {
        let path = text_field(self.applied.get(&resource)?, "path")?;
        let known = (0..PATHS).find(|nth| self.path_text(*nth) == path);
        // An absolute path to the other directory of the link is outside of the roots now.
        known.map(|path| self.slot_of(path))
    }

    fn file_at(&self, slot: usize) -> PathBuf {
        let path = ["r1/a", "r2/a", "root/b", "root/d/c", "r1/new/e", "r2/new/e"][slot];
        self.root.dir.join(path)
    }

    fn oracle_apply(&mut self, resource: usize) {
        let applied_slot = self.applied_slot(resource);
        let is_file = RESOURCES[resource].1.starts_with("file");
        let desired = match self.desired.get(&resource) {
            None => return,
            Some(Wanted::Present { path, value, keys }) => {
                let slot = self.slot_of(*path);
                match is_file {
                    true => Desired::File(slot, file_contents(*value).into_bytes()),
                    false => Desired::Config(slot, config_keys(*value, *keys)),
                }
            }
            Some(Wanted::Removed) => Desired::Removed,
            Some(Wanted::Deselected) if self.applied.contains_key(&resource) => Desired::Released,
            Some(Wanted::Deselected) => return,
        };
        let same_text = match self.desired.get(&resource) {
            Some(Wanted::Present { path, .. }) => {
                let applied = self.applied.get(&resource);
                applied.and_then(|applied| text_field(applied, "path")) == Some(&self.path_text(*path))
            }
            _ => false,
        };
        let abandoned = self.oracle.apply(resource, is_file, desired, applied_slot.filter(|_| !same_text));
        abandoned.iter().for_each(|slot| drop(self.pristine.remove(slot)));
        self.by_larder.extend(self.oracle.take_written());
    }

    fn edit_by_hand(&mut self, slot: usize, edit: HandEdit) {
        let path = self.file_at(slot);
        self.edits += 1;
        let before = fs::symlink_metadata(&path).ok().filter(|meta| meta.is_file());
        let before = before.map(|_| fs::read(&path).unwrap());
        let lines = || -> Vec<String> {
            let text = String::from_utf8(before.clone().unwrap_or_default()).unwrap();
            text.split_inclusive('\n').map(str::to_owned).collect()
        };
        let is_key = |line: &str, key: u8| line.starts_with(&format!("{}=", KEYS[usize::from(key)]));
        let contents = match edit {
            HandEdit::Write(kind) | HandEdit::Swap(kind) => Some(self.text_by_hand(kind)),
            HandEdit::Append(kind) => Some(
                String::from_utf8(before.clone().unwrap_or_default()).unwrap() + &self.text_by_hand(kind),
            ),
            HandEdit::SetKey(key, value) => {
                let mut lines = lines();
                match lines.iter_mut().find(|line| is_key(line, key)) {
                    Some(line) => *line = format!("{}=hand{value}\n", KEYS[usize::from(key)]),
                    None => lines.push(format!("{}=hand{value}\n", KEYS[usize::from(key)])),
                }
                Some(lines.concat())
            }
            HandEdit::RemoveKey(key) => {
                Some(lines().into_iter().filter(|line| !is_key(line, key)).collect::<String>())
            }
            HandEdit::CutLineEnd => Some(lines().concat().trim_end_matches('\n').to_owned()),
            HandEdit::CopyFrom(from) => {
                fs::read(self.file_at(usize::from(from))).ok().map(|bytes| String::from_utf8(bytes).unwrap())
            }
            _ => None,
        };
        if let HandEdit::HardLinkTo(to) = edit
            && (usize::from(to) == slot || !self.is_file(usize::from(to)))
        {
            return;
        }
        // Changing the directory of a place is not modelled, and neither is a directory that is missing.
        if !path.parent().unwrap().is_dir() {
            return;
        }
        let same_inode = !matches!(edit, HandEdit::Swap(_));
        self.clear(slot, same_inode && contents.is_some());
        self.oracle.clear(slot);
        self.by_hand.remove(&slot);
        self.pristine.remove(&slot);
        match edit {
            HandEdit::Directory => fs::create_dir(&path).unwrap(),
            HandEdit::Symlink => symlink("nowhere", &path).unwrap(),
            HandEdit::Delete => return,
            HandEdit::HardLinkTo(to) => {
                fs::hard_link(self.file_at(usize::from(to)), &path).unwrap();
                self.note_by_hand(slot, fs::read(&path).unwrap());
                return;
            }
            _ => {
                let Some(contents) = contents else { return };
                if same_inode {
                    // Other names of the file change too.
                    fs::write(&path, &contents).unwrap();
                } else {
                    let new = path.with_extension("swap");
                    fs::write(&new, &contents).unwrap();
                    fs::rename(new, &path).unwrap();
                }
                self.note_by_hand(slot, contents.into_bytes());
                self.note_linked_files();
                return;
            }
        }
        self.oracle.block(slot);
    }

    fn is_file(&self, slot: usize) -> bool {
        fs::symlink_metadata(self.file_at(slot)).is_ok_and(|meta| meta.is_file())
    }

    fn note_by_hand(&mut self, slot: usize, contents: Vec<u8>) {
        self.oracle.put(slot, contents.clone());
        self.pristine.remove(&slot);
        if !self.oracle.has_owner(slot) {
            self.pristine.insert(slot, contents.clone());
        }
        self.by_hand.insert(slot, contents);
    }

    /// A write in place changes the other names of a file.
    fn note_linked_files(&mut self) {
        for slot in (0..SLOTS).filter(|slot| self.is_file(*slot)).collect::<Vec<_>>() {
            let contents = fs::read(self.file_at(slot)).unwrap();
            if self.oracle.get(slot) != Some(&contents) {
                self.note_by_hand(slot, contents);
            }
        }
    }

    /// Makes room for a hand edit. A file that is written in place stays.
    fn clear(&self, slot: usize, same_inode: bool) {
        let path = self.file_at(slot);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => fs::remove_dir(&path).unwrap(),
            Ok(meta) if meta.is_file() && same_inode => {}
            Ok(_) => fs::remove_file(&path).unwrap(),
            Err(_) => {}
        }
    }

    fn text_by_hand(&self, kind: u8) -> String {
        let edit = self.edits;
        match kind {
            0 => format!("# by hand {edit}\n"),
            1 => format!("u{edit}=1\nx=old{edit}\ny=1\n"),
            2 => format!("u{edit}=1"),
            _ => format!("x={edit}\nx=again\n"),
        }
    }

    fn staging_files(&self) -> Vec<String> {
        let dirs = ["r1", "r2", "root", "root/d", "r1/new", "r2/new"];
        let names = dirs.iter().filter_map(|dir| fs::read_dir(self.root.dir.join(dir)).ok()).flatten();
        let names = names.map(|entry| entry.unwrap().file_name().display().to_string());
        names.filter(|name| name.starts_with(".larder-")).collect()
    }

    fn check(&self) -> Result<(), String> {
        for slot in 0..SLOTS {
            let found = self.is_file(slot).then(|| fs::read(self.file_at(slot)).unwrap());
            if found.as_ref() != self.oracle.get(slot) {
                let text =
                    |bytes: Option<&Vec<u8>>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                return Err(format!(
                    "slot {slot} holds {:?}, not {:?}",
                    text(found.as_ref()),
                    text(self.oracle.get(slot))
                ));
            }
            let pristine = self.pristine.get(&slot).filter(|_| !self.oracle.has_owner(slot));
            if let Some(pristine) = pristine.filter(|pristine| found.as_ref() != Some(pristine)) {
                return Err(format!("slot {slot} is not again {:?}", String::from_utf8_lossy(pristine)));
            }
            let Some(by_hand) = self.by_hand.get(&slot).filter(|bytes| found.as_ref() != Some(bytes)) else {
                continue;
            };
            if !self.by_larder.contains(&(slot, by_hand.clone())) && !self.is_kept(by_hand) {
                return Err(format!("slot {slot} lost {:?}", String::from_utf8_lossy(by_hand)));
            }
        }
        Ok(())
    }

    /// True if the contents are among those that are kept, as a start would find them.
    fn is_kept(&self, contents: &[u8]) -> bool {
        let kept = KeptFiles::open(&self.root.dir.join("data/kept"));
        kept.list().iter().any(|entry| kept.read(entry).unwrap() == contents)
    }
}

fn roots(dir: &Path) -> Vec<PathBuf> {
    vec![dir.join("current"), dir.join("root")]
}

fn file_contents(value: u8) -> String {
    ["", "x=1\n", "whole\n", "no line end"][usize::from(value)].to_owned()
}

fn config_keys(value: u8, keys: u8) -> BTreeMap<String, String> {
    let wanted = (0..3).filter(|nth| keys >> nth & 1 == 1);
    wanted.map(|nth| (KEYS[nth].to_owned(), format!("{}", value + u8::try_from(nth).unwrap() % 2))).collect()
}
