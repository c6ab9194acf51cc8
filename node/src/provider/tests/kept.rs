//! What Larder did not write is kept before it is replaced or removed.

use super::*;
use crate::limits;

fn kept_pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs.map(|(name, text)| (name.to_owned(), text.to_owned())).to_vec()
}

#[test]
fn contents_that_were_there_before_are_kept_and_own_contents_are_not() {
    let root = TestRoot::new();
    root.write("a", "foreign");
    let outcome = root.try_apply("file/a", &[("path", "a"), ("content", "one")], None);
    assert!(outcome.message.starts_with("the file was there before"), "{}", outcome.message);
    let AppliedState::Now(applied) = outcome.applied else { panic!("not applied") };
    let applied = root.apply("file/a", &[("path", "a"), ("content", "two")], Some(&applied));
    root.remove("file/a", &applied);
    assert_eq!(root.kept(), kept_pairs([("a", "foreign")]));
}

#[test]
fn a_hand_edit_is_kept_and_reported_until_the_next_write() {
    let mut root = TestRoot::new();
    let fields = [("path", "a"), ("content", "one")];
    let applied = root.apply("file/a", &fields, None);
    root.write("a", "edited");
    root.restart();
    for _ in 0..2 {
        // The second time, nothing is written, and the note stays.
        let outcome = root.try_apply("file/a", &fields, Some(&applied));
        assert!(outcome.message.starts_with("a hand edit was replaced"), "{}", outcome.message);
        let id = root.providers.kept.list()[0].id.clone();
        assert!(outcome.message.ends_with(&format!("larder kept show {id}")), "{}", outcome.message);
    }
    let outcome = root.try_apply("file/a", &[("path", "a"), ("content", "two")], Some(&applied));
    assert_eq!(outcome.message, "");
    assert_eq!(root.kept(), kept_pairs([("a", "edited")]));
}

#[test]
fn a_file_that_replaced_that_of_a_resource_is_kept_before_it_is_removed() {
    let root = TestRoot::new();
    for (resource, path) in [("file/b", "b.conf"), ("file/c", "c.conf")] {
        let applied = root.apply(resource, &[("path", path), ("content", "managed")], None);
        fs::remove_file(root.path_in_root(path)).unwrap();
        root.write(path, format!("mine at {path}"));
        match resource {
            "file/b" => root.remove(resource, &applied),
            _ => drop(root.apply(resource, &[("path", "d.conf"), ("content", "x")], Some(&applied))),
        }
        assert!(!root.path_in_root(path).exists());
    }
    let mut kept = root.kept();
    kept.sort();
    assert_eq!(kept, kept_pairs([("b.conf", "mine at b.conf"), ("c.conf", "mine at c.conf")]));
}

#[test]
fn another_root_has_its_own_file_which_is_kept() {
    let mut root = TestRoot::new();
    let fields = [("path", "app.conf"), ("content", "managed")];
    let applied = root.apply("file/f", &fields, None);
    let second = root.dir.join("root2");
    fs::create_dir(&second).unwrap();
    fs::write(second.join("app.conf"), "by hand").unwrap();
    root.restart_with_roots(std::slice::from_ref(&second));
    root.apply("file/f", &fields, Some(&applied));
    assert_eq!(fs::read_to_string(second.join("app.conf")).unwrap(), "managed");
    assert_eq!(root.read("app.conf"), "managed");
    assert_eq!(root.kept(), kept_pairs([("app.conf", "by hand")]));
}

#[test]
fn a_file_that_replaces_the_lines_of_a_config_keeps_the_lines_of_others() {
    let root = TestRoot::new();
    root.write("a", "mine=1\n");
    let applied = root.apply("config/a", &[("path", "a"), ("keys.x", "2")], None);
    assert_eq!(root.read("a"), "mine=1\nx=2\n");
    // Another version of the foreign lines, which the config accepts and leaves in place.
    root.write("a", "mine=3\nx=2\n");
    root.apply("config/a", &[("path", "a"), ("keys.x", "2")], Some(&applied));
    root.run_provider("config/a", Action::Forget, Some(&applied));
    root.apply("file/a", &[("path", "a"), ("content", "whole")], None);
    let kept = root.kept();
    assert!(kept.contains(&("a".to_owned(), "mine=3\nx=2\n".to_owned())), "{kept:?}");
    assert!(kept.contains(&("a".to_owned(), "mine=1\n".to_owned())), "{kept:?}");
}

#[test]
fn a_file_that_was_deselected_and_selected_again_is_no_hand_edit() {
    let root = TestRoot::new();
    let applied = root.apply("file/a", &[("path", "a"), ("content", "one")], None);
    root.run_provider("file/a", Action::Release, Some(&applied));
    root.apply("file/a", &[("path", "a"), ("content", "two")], None);
    assert_eq!(root.kept(), vec![]);
    root.run_provider("file/a", Action::Release, Some(&applied));
    root.write("a", "edited meanwhile");
    root.apply("file/a", &[("path", "a"), ("content", "three")], None);
    assert_eq!(root.kept(), kept_pairs([("a", "edited meanwhile")]));
}

#[test]
fn long_paths_and_equal_names_do_not_clash() {
    let root = TestRoot::new();
    let deep = vec!["d".repeat(60); 5].join("/");
    for dir in [deep.as_str(), "x/y", "x%y"] {
        fs::create_dir_all(root.path_in_root(dir)).unwrap();
        root.write(&format!("{dir}/app.conf"), format!("in {dir}"));
        root.apply("file/a", &[("path", &format!("{dir}/app.conf")), ("content", "new")], None);
    }
    assert_eq!(root.kept().len(), 3);
    let long_name = "n".repeat(255);
    root.write(&long_name, "long");
    root.apply("file/n", &[("path", &long_name), ("content", "new")], None);
    assert_eq!(root.kept().len(), 4);
}

#[test]
fn the_oldest_kept_contents_are_dropped_first() {
    let root = TestRoot::new();
    let kept = &root.providers.kept;
    let entry = |path: &str, time| KeptEntry {
        id: String::new(),
        path: path.to_owned(),
        time,
        reason: String::new(),
        resource: String::new(),
        size: 0,
        mode: 0o644,
    };
    let paths = |kept: &KeptFiles| kept.list().into_iter().map(|entry| entry.path).collect::<Vec<_>>();
    kept.keep(entry("old", 10), b"x").unwrap();
    kept.keep(entry("recent", 20), b"x").unwrap();
    kept.keep(entry("new", 11 + limits::MAX_KEPT_SECONDS), b"x").unwrap();
    assert_eq!(paths(kept), ["new", "recent"], "one is older than the limit");
    let large = vec![b'x'; usize::try_from(limits::MAX_FILE_BYTES).unwrap()];
    let fitting = limits::MAX_KEPT_BYTES / limits::MAX_FILE_BYTES;
    for nth in 0..fitting {
        let time = 12 + limits::MAX_KEPT_SECONDS + i64::try_from(nth).unwrap();
        kept.keep(entry(&format!("large {nth:03}"), time), &large).unwrap();
    }
    let left = paths(kept);
    assert_eq!(left.len(), usize::try_from(fitting).unwrap());
    assert_eq!(left.last().unwrap(), "large 000");
    let reopened = KeptFiles::open(&root.dir.join("data/kept"));
    assert_eq!(paths(&reopened), left);
}
