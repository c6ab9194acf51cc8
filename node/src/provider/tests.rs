use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use larder_core::value::Value;

use super::*;

/// A directory with a root in it, gone with the test.
struct Place {
    dir: PathBuf,
    providers: Providers,
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.dir));
    }
}

impl Place {
    fn new() -> Self {
        static PLACES: AtomicU64 = AtomicU64::new(0);
        let number = PLACES.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("larder-provider-{}-{number}", std::process::id()));
        let root = dir.join("root");
        let providers = Providers::new(Roots::made(&[root]).unwrap(), &dir.join("previous"));
        Self { dir, providers }
    }

    fn root(&self, path: &str) -> PathBuf {
        self.dir.join("root").join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root(path)).unwrap()
    }

    fn run(&self, resource: &str, intent: Intent, runs: Option<&Fields>) -> Verdict {
        let target =
            Target { resource: resource.parse().unwrap(), revision: String::new(), change: None, intent };
        self.providers.carry_out(&target, runs)
    }

    /// Applies, expects that to work, and answers what runs then.
    fn apply(&self, resource: &str, fields: &[(&str, &str)], runs: Option<&Fields>) -> Fields {
        let verdict = self.try_apply(resource, fields, runs);
        assert_eq!((&verdict.condition, verdict.message.as_str()), (&Condition::Applied, ""));
        match verdict.runs {
            Runs::Now(fields) => fields,
            other => panic!("{other:?}"),
        }
    }

    fn try_apply(&self, resource: &str, fields: &[(&str, &str)], runs: Option<&Fields>) -> Verdict {
        let scalar = |text: &str| Literal::Scalar(Value::from(text));
        let fields: BTreeMap<_, _> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), scalar(value))).collect();
        self.run(resource, Intent::Apply { fields, held: vec![] }, runs)
    }
}

use larder_core::resource::literal::Literal;

#[test]
fn a_file_is_written_with_its_mode_and_not_touched_again() {
    let place = Place::new();
    let fields = [("path", "etc/a"), ("content", "one\n"), ("mode", "0640")];
    let runs = place.apply("file/a", &fields, None);
    assert_eq!(place.read("etc/a"), "one\n");
    let meta = fs::metadata(place.root("etc/a")).unwrap();
    assert_eq!(meta.permissions().mode() & 0o7777, 0o640);
    place.apply("file/a", &fields, Some(&runs));
    let again = fs::metadata(place.root("etc/a")).unwrap();
    assert_eq!((meta.ino(), meta.mtime_nsec()), (again.ino(), again.mtime_nsec()));
    // A mode that is not named stays as it is.
    place.apply("file/a", &[("path", "etc/a"), ("content", "two\n")], Some(&runs));
    assert_eq!(fs::metadata(place.root("etc/a")).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(fs::read_dir(place.root("etc")).unwrap().count(), 1, "something staged was left");
}

#[test]
fn what_stood_there_before_is_kept_once() {
    let place = Place::new();
    fs::write(place.root("a"), "foreign").unwrap();
    let runs = place.apply("file/a", &[("path", "a"), ("content", "one")], None);
    place.apply("file/a", &[("path", "a"), ("content", "two")], Some(&runs));
    let kept: Vec<_> = fs::read_dir(place.dir.join("previous")).unwrap().collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(fs::read_to_string(kept[0].as_ref().unwrap().path()).unwrap(), "foreign");
}

#[test]
fn only_what_this_machine_applied_is_removed() {
    let place = Place::new();
    fs::write(place.root("foreign"), "x").unwrap();
    let verdict = place.run("file/foreign", Intent::Remove, None);
    assert_eq!((verdict.condition, verdict.runs), (Condition::Applied, Runs::Nothing));
    assert_eq!(place.read("foreign"), "x");
    let runs = place.apply("file/a", &[("path", "a"), ("content", "one")], None);
    place.run("file/a", Intent::Release, Some(&runs));
    assert_eq!(place.read("a"), "one");
    place.run("file/a", Intent::Remove, Some(&runs));
    assert!(!place.root("a").exists());
    // Gone already is as good.
    assert_eq!(place.run("file/a", Intent::Remove, Some(&runs)).condition, Condition::Applied);
}

#[test]
fn a_file_that_moves_leaves_nothing_behind() {
    let place = Place::new();
    let runs = place.apply("file/a", &[("path", "old/a"), ("content", "one")], None);
    place.apply("file/a", &[("path", "new/a"), ("content", "one")], Some(&runs));
    assert!(!place.root("old/a").exists());
    assert_eq!(place.read("new/a"), "one");
}

#[test]
fn nothing_outside_the_roots_is_ever_written() {
    let place = Place::new();
    let outside = place.dir.join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, place.root("link")).unwrap();
    symlink(outside.join("target"), place.root("file")).unwrap();
    let absolute = outside.join("x").display().to_string();
    for (path, word) in [
        ("/etc/larder-test-outside", "outside the roots"),
        (absolute.as_str(), "outside the roots"),
        ("../outside/x", "`..` in"),
        ("a/../../outside/x", "`..` in"),
        ("link/x", "leads outside the roots"),
        ("", "names a root itself"),
        (".", "names a root itself"),
    ] {
        let verdict = place.try_apply("file/a", &[("path", path), ("content", "x")], None);
        assert_eq!(
            (verdict.condition, verdict.runs),
            (Condition::Blocked, Runs::Same),
            "{path}: {}",
            verdict.message
        );
        assert!(
            verdict.message.starts_with("policy: ") && verdict.message.contains(word),
            "{path}: {}",
            verdict.message
        );
    }
    let verdict = place.try_apply("file/a", &[("path", "file"), ("content", "x")], None);
    assert!(verdict.message.contains("is a symbolic link"), "{}", verdict.message);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    // An absolute path inside a root is inside it.
    let inside = place.root("deep/er").display().to_string();
    place.apply("file/b", &[("path", &inside), ("content", "in")], None);
    assert_eq!(place.read("deep/er"), "in");
}

#[test]
fn what_is_in_the_way_is_left_alone_and_named() {
    let place = Place::new();
    fs::create_dir(place.root("dir")).unwrap();
    let pipe = std::process::Command::new("mkfifo").arg(place.root("pipe")).status();
    assert!(pipe.unwrap().success());
    for (path, condition, word) in
        [("dir", Condition::Blocked, "a directory"), ("pipe", Condition::Blocked, "no regular file")]
    {
        let verdict = place.try_apply("file/a", &[("path", path), ("content", "x")], None);
        assert_eq!(verdict.condition, condition, "{}", verdict.message);
        assert!(verdict.message.contains(word), "{}", verdict.message);
    }
    fs::write(place.root("plain"), "").unwrap();
    let verdict = place.try_apply("file/a", &[("path", "plain/x"), ("content", "x")], None);
    assert_eq!((verdict.condition, verdict.code), (Condition::Failed, 20), "{}", verdict.message);
    let verdict = place.try_apply("file/a", &[("path", "m"), ("content", "x"), ("mode", "rw")], None);
    assert!(verdict.message.contains("octal") && !place.root("m").exists(), "{}", verdict.message);
}

#[test]
fn a_reader_never_sees_half_a_file() {
    let place = Place::new();
    let contents = |letter: &str| letter.repeat(200_000);
    let runs = place.apply("file/a", &[("path", "a"), ("content", &contents("a"))], None);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) {
                let text = fs::read_to_string(place.root("a")).unwrap();
                let first = &text[..1];
                assert!(text.len() == 200_000 && text.trim_start_matches(first).is_empty());
                reads += 1;
            }
            reads
        });
        for letter in ["b", "c", "d", "e"].iter().cycle().take(100) {
            place.apply("file/a", &[("path", "a"), ("content", &contents(letter))], Some(&runs));
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 10);
    });
}

#[test]
fn what_a_killed_daemon_staged_is_taken_away() {
    let place = Place::new();
    let fields = [("path", "a"), ("content", "one")];
    let runs = place.apply("file/a", &fields, None);
    let spot = Spot::find(&place.providers.roots, "a").unwrap();
    let staged = place.root(&spot.staged_name());
    fs::write(&staged, "half").unwrap();
    place.apply("file/a", &fields, Some(&runs));
    assert!(!staged.exists());
}

#[test]
fn keys_are_merged_and_only_ours_are_taken_out() {
    let place = Place::new();
    fs::write(place.root("ntp"), "# ours\nserver old\nfudge 1\n").unwrap();
    let path = ("path", "ntp");
    let runs = place.apply("config/ntp", &[path, ("keys.server", "new"), ("keys.minpoll", "4")], None);
    assert_eq!(place.read("ntp"), "# ours\nserver new\nfudge 1\nminpoll 4\n");
    let runs = place.apply("config/ntp", &[path, ("keys.server", "new")], Some(&runs));
    assert_eq!(place.read("ntp"), "# ours\nserver new\nfudge 1\n");
    place.run("config/ntp", Intent::Remove, Some(&runs));
    assert_eq!(place.read("ntp"), "# ours\nfudge 1\n");
    // A file that Larder made goes with its last key; one that somebody else has added to stays.
    for (added, left) in [("", None), ("mine=1\n", Some("mine=1\n"))] {
        let runs = place.apply("config/b", &[("path", "b"), ("keys.\"a b\"", "1")], None);
        assert_eq!(place.read("b"), "a\\ b=1\n");
        fs::write(place.root("b"), place.read("b") + added).unwrap();
        place.run("config/b", Intent::Remove, Some(&runs));
        assert_eq!(fs::read_to_string(place.root("b")).ok().as_deref(), left);
    }
}

#[test]
fn held_fields_are_named_and_the_rest_applied() {
    let place = Place::new();
    let fields: Fields = [("path", "a"), ("keys.x", "1")]
        .map(|(name, value)| (name.to_owned(), Literal::Scalar(Value::from(value))))
        .into();
    let verdict = place.run("config/a", Intent::Apply { fields, held: vec!["keys.y".into()] }, None);
    assert_eq!((verdict.condition, verdict.message.as_str()), (Condition::Held, "in conflict: keys.y"));
    assert_eq!(place.read("a"), "x=1\n");
    let verdict = place.run("config/a", Intent::Keep { held: vec!["path".into()] }, None);
    assert_eq!((verdict.condition, verdict.runs), (Condition::Held, Runs::Same));
}
