//! One file is one file, by whatever path it is reached, and the daemon's own files are never a target.

use super::*;

#[test]
fn the_second_resource_of_a_file_is_blocked_as_a_claim() {
    let root = TestRoot::new();
    fs::create_dir(root.path_in_root("dir")).unwrap();
    symlink("dir", root.path_in_root("link")).unwrap();
    let absolute = root.path_in_root("dir/same").display().to_string();
    let lexical = "./dir//same".to_owned();
    let applied = root.apply("file/first", &[("path", "dir/same"), ("content", "first")], None);
    for (group, path) in [(1, &absolute), (2, &absolute), (1, &"link/same".to_owned()), (2, &lexical)] {
        let second = owner(group, "file/second");
        let fields = text_fields(&[("path", path), ("content", "second")]);
        let intent = Action::Apply { fields, conflicted: vec![] };
        let outcome = root.run_for(&second, intent, None);
        assert_eq!((outcome.state, outcome.is_retried), (ResourceState::Blocked, true), "{path}");
        assert!(
            outcome.message.starts_with("claim: the file belongs to file/first of group shop"),
            "{}",
            outcome.message
        );
        assert_eq!(outcome.applied, AppliedState::Unchanged);
        assert_eq!(root.read("dir/same"), "first");
    }
    // When the first gives the file up, the second gets it.
    root.remove("file/first", &applied);
    let intent =
        Action::Apply { fields: text_fields(&[("path", &absolute), ("content", "2")]), conflicted: vec![] };
    assert_eq!(root.run_for(&owner(2, "file/second"), intent, None).state, ResourceState::Applied);
    assert_eq!(root.read("dir/same"), "2");
    // A removal by the first does not concern it.
    root.remove("file/first", &applied);
    assert_eq!(root.read("dir/same"), "2");
}

#[test]
fn a_claim_outlives_a_restart() {
    let mut root = TestRoot::new();
    root.apply("file/first", &[("path", "a"), ("content", "first")], None);
    root.restart();
    let owned: Vec<String> =
        root.providers.owned_at_start().iter().map(|(owner, _)| owner.to_string()).collect();
    assert_eq!(owned, ["file/first of group shop"]);
    let outcome = root.try_apply("config/second", &[("path", "a"), ("keys.x", "1")], None);
    assert!(outcome.message.starts_with("claim:"), "{}", outcome.message);
}

#[test]
fn another_path_to_the_same_file_removes_nothing() {
    let root = TestRoot::new();
    fs::create_dir(root.path_in_root("dir")).unwrap();
    symlink("dir", root.path_in_root("link")).unwrap();
    let absolute = root.path_in_root("dir/a").display().to_string();
    let mut applied = root.apply("file/a", &[("path", "dir/a"), ("content", "one")], None);
    for path in [absolute.as_str(), "link/a", "./dir/a", "dir/a"] {
        applied = root.apply("file/a", &[("path", path), ("content", "one")], Some(&applied));
        assert_eq!(root.read("dir/a"), "one", "{path}");
    }
}

#[test]
fn the_data_directory_is_no_target_by_any_name() {
    let mut root = TestRoot::new();
    let data = root.dir.join("data");
    fs::create_dir_all(data.join("files")).unwrap();
    let settings = root.dir.join("root/settings.toml");
    fs::write(&settings, "").unwrap();
    symlink("../data", root.path_in_root("link-out")).unwrap();
    symlink("data", root.dir.join("link")).unwrap();
    let data_dir = DataDir::new(Some(data.clone()), None);
    let roots = WriteRoots::named(&[root.dir.clone(), data.join("kept")]).unwrap();
    root.providers = Providers::open(roots, &data_dir, Some(&settings), fixed_clock);
    root.apply("file/own", &[("path", "root/x"), ("content", "y")], None);
    for path in [
        "data/larder.toml",
        "./data//larder.toml",
        "link/larder.toml",
        "data/kept/x",
        "data/new/deep/x",
        "root/settings.toml",
        data.join("larder.toml").to_str().unwrap(),
    ] {
        let outcome = root.try_apply("file/e", &[("path", path), ("content", "roots = ['/']")], None);
        assert_eq!(outcome.state, ResourceState::Blocked, "{path}");
        assert!(outcome.message.starts_with("policy: "), "{path}: {}", outcome.message);
        assert!(outcome.message.contains("the daemon's own files"), "{path}: {}", outcome.message);
    }
    assert!(!data.join("larder.toml").exists());
    // The default root is below the data directory.
    root.apply("file/f", &[("path", "data/files/x"), ("content", "y")], None);
}

#[test]
fn a_root_that_is_replaced_is_opened_anew() {
    let root = TestRoot::new();
    let applied = root.apply("file/h", &[("path", "h.conf"), ("content", "x")], None);
    fs::rename(root.dir.join("root"), root.dir.join("former")).unwrap();
    let outcome = root.try_apply("file/h", &[("path", "h.conf"), ("content", "y")], Some(&applied));
    assert_eq!((outcome.state, outcome.is_retried), (ResourceState::Blocked, true));
    assert!(outcome.message.starts_with("the root cannot be opened"), "{}", outcome.message);
    fs::create_dir(root.dir.join("root")).unwrap();
    root.apply("file/h", &[("path", "h.conf"), ("content", "y")], Some(&applied));
    assert_eq!(root.read("h.conf"), "y");
    assert_eq!(fs::read_to_string(root.dir.join("former/h.conf")).unwrap(), "x");
}

#[test]
fn a_root_that_is_a_link_leads_to_its_present_directory() {
    let mut root = TestRoot::new();
    for release in ["r1", "r2"] {
        fs::create_dir(root.dir.join(release)).unwrap();
        fs::write(root.dir.join(release).join("app"), format!("shipped in {release}")).unwrap();
    }
    let current = root.dir.join("current");
    symlink("r1", &current).unwrap();
    root.restart_with_roots(std::slice::from_ref(&current));
    let applied = root.apply("file/h", &[("path", "app"), ("content", "x")], None);
    fs::remove_file(&current).unwrap();
    symlink("r2", &current).unwrap();
    root.apply("file/h", &[("path", "app"), ("content", "x")], Some(&applied));
    assert_eq!(fs::read_to_string(current.join("app")).unwrap(), "x");
    let kept: Vec<String> = root.kept().into_iter().map(|(_, text)| text).collect();
    assert!(kept.contains(&"shipped in r1".to_owned()) && kept.contains(&"shipped in r2".to_owned()));
}

#[test]
fn a_missing_root_blocks_only_what_lies_below_it() {
    let mut root = TestRoot::new();
    let missing = root.dir.join("missing");
    root.restart_with_roots(&[root.dir.join("root"), missing.clone()]);
    let in_missing = missing.join("x").display().to_string();
    let outcome = root.try_apply("file/m", &[("path", &in_missing), ("content", "x")], None);
    assert_eq!((outcome.state, outcome.is_retried), (ResourceState::Blocked, true));
    root.apply("file/n", &[("path", "n"), ("content", "x")], None);
    fs::create_dir(&missing).unwrap();
    root.apply("file/m", &[("path", &in_missing), ("content", "x")], None);
}
