use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use larder_core::id::GroupId;

use super::*;

mod config_keys;
mod host;
mod kept;
mod model;
mod places;

/// A temporary directory with a root in it.
struct TestRoot {
    dir: PathBuf,
    providers: Providers,
}

impl Drop for TestRoot {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.dir));
    }
}

fn fixed_clock() -> i64 {
    1_700_000_000
}

fn owner(group: u8, resource: &str) -> PathOwner {
    let group_name = if group == 1 { "shop" } else { "lab" }.to_owned();
    PathOwner { group: GroupId([group; 16]), group_name, resource: resource.parse().unwrap() }
}

fn text_fields(fields: &[(&str, &str)]) -> FieldValues {
    let scalar = |text: &str| Literal::Scalar(Value::from(text));
    fields.iter().map(|(name, value)| ((*name).to_owned(), scalar(value))).collect()
}

impl TestRoot {
    fn new() -> Self {
        Self::in_dir(&std::env::temp_dir())
    }

    fn in_dir(parent: &Path) -> Self {
        static NEXT_ROOT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT_ROOT.fetch_add(1, Ordering::Relaxed);
        let dir = parent.join(format!("larder-provider-{}-{number}", std::process::id()));
        fs::create_dir_all(dir.join("root")).unwrap();
        let providers = open_providers(&dir, &[dir.join("root")]);
        Self { dir, providers }
    }

    /// Opens the providers again, as a restart does.
    fn restart(&mut self) {
        self.restart_with_roots(&[self.dir.join("root")]);
    }

    fn restart_with_roots(&mut self, roots: &[PathBuf]) {
        self.providers = open_providers(&self.dir, roots);
    }

    fn path_in_root(&self, path: &str) -> PathBuf {
        self.dir.join("root").join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path_in_root(path)).unwrap()
    }

    fn write(&self, path: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.path_in_root(path), contents).unwrap();
    }

    fn run_provider(&self, resource: &str, intent: Action, applied: Option<&FieldValues>) -> ApplyOutcome {
        self.run_for(&owner(1, resource), intent, applied)
    }

    fn run_for(&self, owner: &PathOwner, intent: Action, applied: Option<&FieldValues>) -> ApplyOutcome {
        let target = Target {
            resource: owner.resource.clone(),
            revision: String::new(),
            change: None,
            action: intent,
        };
        self.providers.apply_target(owner, &target, applied)
    }

    /// Applies a target, asserts success, and returns the applied fields.
    fn apply(&self, resource: &str, fields: &[(&str, &str)], applied: Option<&FieldValues>) -> FieldValues {
        let outcome = self.try_apply(resource, fields, applied);
        assert_eq!(outcome.state, ResourceState::Applied, "{}", outcome.message);
        match outcome.applied {
            AppliedState::Now(fields) => fields,
            other => panic!("{other:?}"),
        }
    }

    fn try_apply(
        &self,
        resource: &str,
        fields: &[(&str, &str)],
        applied: Option<&FieldValues>,
    ) -> ApplyOutcome {
        let intent = Action::Apply { fields: text_fields(fields), conflicted: vec![] };
        self.run_provider(resource, intent, applied)
    }

    fn remove(&self, resource: &str, applied: &FieldValues) {
        let outcome = self.run_provider(resource, Action::Remove, Some(applied));
        assert_eq!(outcome.state, ResourceState::Applied, "{}", outcome.message);
    }

    /// The kept contents, newest first, with the file names that they had.
    fn kept(&self) -> Vec<(String, String)> {
        let text = |entry: &KeptEntry| {
            String::from_utf8_lossy(&self.providers.kept.read(entry).unwrap()).into_owned()
        };
        let name = |entry: &KeptEntry| Path::new(&entry.path).file_name().unwrap().display().to_string();
        self.providers.kept.list().iter().map(|entry| (name(entry), text(entry))).collect()
    }
}

fn open_providers(dir: &Path, roots: &[PathBuf]) -> Providers {
    let data_dir = DataDir::new(Some(dir.join("data")), None);
    Providers::open(WriteRoots::named(roots).unwrap(), &data_dir, None, fixed_clock)
}

#[test]
fn applying_the_same_file_twice_does_not_rewrite_it() {
    let root = TestRoot::new();
    let fields = [("path", "etc/a"), ("content", "one\n"), ("mode", "0640")];
    let applied = root.apply("file/a", &fields, None);
    assert_eq!(root.read("etc/a"), "one\n");
    let meta = fs::metadata(root.path_in_root("etc/a")).unwrap();
    assert_eq!(meta.permissions().mode() & 0o7777, 0o640);
    root.apply("file/a", &fields, Some(&applied));
    let again = fs::metadata(root.path_in_root("etc/a")).unwrap();
    assert_eq!((meta.ino(), meta.mtime_nsec()), (again.ino(), again.mtime_nsec()));
    // Without a mode in the resource, the file keeps its mode.
    root.apply("file/a", &[("path", "etc/a"), ("content", "two\n")], Some(&applied));
    assert_eq!(fs::metadata(root.path_in_root("etc/a")).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(fs::read_dir(root.path_in_root("etc")).unwrap().count(), 1, "something staged was left");
}

#[test]
fn remove_deletes_only_files_this_host_applied() {
    let root = TestRoot::new();
    fs::write(root.path_in_root("foreign"), "x").unwrap();
    let outcome = root.run_provider("file/foreign", Action::Remove, None);
    assert_eq!((outcome.state, outcome.applied), (ResourceState::Applied, AppliedState::Nothing));
    assert_eq!(root.read("foreign"), "x");
    let applied = root.apply("file/a", &[("path", "a"), ("content", "one")], None);
    root.run_provider("file/a", Action::Release, Some(&applied));
    assert_eq!(root.read("a"), "one");
    let applied = root.apply("file/a", &[("path", "a"), ("content", "one")], None);
    root.run_provider("file/a", Action::Remove, Some(&applied));
    assert!(!root.path_in_root("a").exists());
    // Removing a missing file succeeds.
    assert_eq!(root.run_provider("file/a", Action::Remove, Some(&applied)).state, ResourceState::Applied);
}

#[test]
fn changing_the_path_removes_the_old_file() {
    let root = TestRoot::new();
    let applied = root.apply("file/a", &[("path", "old/a"), ("content", "one")], None);
    root.apply("file/a", &[("path", "new/a"), ("content", "one")], Some(&applied));
    assert!(!root.path_in_root("old/a").exists());
    assert_eq!(root.read("new/a"), "one");
}

#[test]
fn paths_outside_the_roots_are_blocked() {
    let root = TestRoot::new();
    let outside = root.dir.join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, root.path_in_root("link")).unwrap();
    symlink(outside.join("target"), root.path_in_root("file")).unwrap();
    let absolute = outside.join("x").display().to_string();
    for (path, word) in [
        ("/etc/larder-test-outside", "outside the roots"),
        (absolute.as_str(), "outside the roots"),
        ("../outside/x", "contains `..`"),
        ("a/../../outside/x", "contains `..`"),
        ("link/x", "leads outside the roots"),
        ("", "names a root itself"),
        (".", "names a root itself"),
    ] {
        let outcome = root.try_apply("file/a", &[("path", path), ("content", "x")], None);
        assert_eq!(outcome.is_retried, path == "link/x", "{path}: only a link may change on this host");
        assert_eq!(
            (outcome.state, outcome.applied),
            (ResourceState::Blocked, AppliedState::Unchanged),
            "{path}: {}",
            outcome.message
        );
        assert!(
            outcome.message.starts_with("policy: ") && outcome.message.contains(word),
            "{path}: {}",
            outcome.message
        );
    }
    let outcome = root.try_apply("file/a", &[("path", "file"), ("content", "x")], None);
    assert!(outcome.message.contains("the path is a symbolic link"), "{}", outcome.message);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    // An absolute path inside a root is allowed.
    let inside = root.path_in_root("deep/er").display().to_string();
    root.apply("file/b", &[("path", &inside), ("content", "in")], None);
    assert_eq!(root.read("deep/er"), "in");
}

#[test]
fn directories_pipes_and_bad_modes_are_reported_and_not_touched() {
    let root = TestRoot::new();
    fs::create_dir(root.path_in_root("dir")).unwrap();
    let pipe = std::process::Command::new("mkfifo").arg(root.path_in_root("pipe")).status();
    assert!(pipe.unwrap().success());
    for (path, condition, word) in [
        ("dir", ResourceState::Blocked, "a directory"),
        ("pipe", ResourceState::Blocked, "not a regular file"),
    ] {
        let outcome = root.try_apply("file/a", &[("path", path), ("content", "x")], None);
        assert_eq!((outcome.state, outcome.is_retried), (condition, true), "{}", outcome.message);
        assert!(outcome.message.contains(word), "{}", outcome.message);
    }
    fs::write(root.path_in_root("plain"), "").unwrap();
    let outcome = root.try_apply("file/a", &[("path", "plain/x"), ("content", "x")], None);
    assert_eq!((outcome.state, outcome.errno), (ResourceState::Failed, 20), "{}", outcome.message);
    let outcome = root.try_apply("file/a", &[("path", "m"), ("content", "x"), ("mode", "rw")], None);
    assert!(outcome.message.contains("octal") && !root.path_in_root("m").exists(), "{}", outcome.message);
}

#[test]
fn readers_never_see_a_partial_file() {
    let root = TestRoot::new();
    let contents = |letter: &str| letter.repeat(200_000);
    let applied = root.apply("file/a", &[("path", "a"), ("content", &contents("a"))], None);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) {
                let text = fs::read_to_string(root.path_in_root("a")).unwrap();
                let first = &text[..1];
                assert!(text.len() == 200_000 && text.trim_start_matches(first).is_empty());
                reads += 1;
            }
            reads
        });
        for letter in ["b", "c", "d", "e"].iter().cycle().take(100) {
            root.apply("file/a", &[("path", "a"), ("content", &contents(letter))], Some(&applied));
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 10);
    });
}

#[test]
fn a_leftover_staging_file_is_removed_on_the_next_apply() {
    let root = TestRoot::new();
    let fields = [("path", "a"), ("content", "one")];
    let applied = root.apply("file/a", &fields, None);
    let target = root.providers.locate("a").unwrap();
    let staging_file = root.path_in_root(&target.staging_name());
    fs::write(&staging_file, "half").unwrap();
    root.apply("file/a", &fields, Some(&applied));
    assert!(!staging_file.exists());
}

#[test]
fn config_keys_merge_and_only_keys_larder_set_are_removed() {
    let root = TestRoot::new();
    fs::write(root.path_in_root("ntp"), "# ours\nserver old\nfudge 1\n").unwrap();
    let path = ("path", "ntp");
    let applied = root.apply("config/ntp", &[path, ("keys.server", "new"), ("keys.minpoll", "4")], None);
    assert_eq!(root.read("ntp"), "# ours\nserver new\nfudge 1\nminpoll 4\n");
    let applied = root.apply("config/ntp", &[path, ("keys.server", "new")], Some(&applied));
    assert_eq!(root.read("ntp"), "# ours\nserver new\nfudge 1\n");
    root.remove("config/ntp", &applied);
    assert_eq!(root.read("ntp"), "# ours\nserver old\nfudge 1\n");
    // A file that Larder created is removed with its last key, unless another program added content.
    for (added, left) in [("", None), ("mine=1\n", Some("mine=1\n"))] {
        let applied = root.apply("config/b", &[("path", "b"), ("keys.\"a b\"", "1")], None);
        assert_eq!(root.read("b"), "a\\ b=1\n");
        fs::write(root.path_in_root("b"), root.read("b") + added).unwrap();
        root.run_provider("config/b", Action::Remove, Some(&applied));
        assert_eq!(fs::read_to_string(root.path_in_root("b")).ok().as_deref(), left);
    }
}

#[test]
fn conflicted_fields_are_named_and_the_rest_is_applied() {
    let root = TestRoot::new();
    let fields = text_fields(&[("path", "a"), ("keys.x", "1")]);
    let outcome =
        root.run_provider("config/a", Action::Apply { fields, conflicted: vec!["keys.y".into()] }, None);
    assert_eq!((outcome.state, outcome.message.as_str()), (ResourceState::Held, "in conflict: keys.y"));
    assert_eq!(root.read("a"), "x=1\n");
    let outcome = root.run_provider("config/a", Action::Keep { conflicted: vec!["path".into()] }, None);
    assert_eq!((outcome.state, outcome.applied), (ResourceState::Held, AppliedState::Unchanged));
}
