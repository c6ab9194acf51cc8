//! What a host may be like: masks, attributes, links, and obstacles that go away.

use super::*;

#[test]
fn what_was_in_the_way_is_no_obstacle_once_it_is_gone() {
    let root = TestRoot::new();
    fs::create_dir(root.path_in_root("obst")).unwrap();
    let fields = [("path", "obst"), ("content", "x")];
    let outcome = root.try_apply("file/o", &fields, None);
    assert_eq!((outcome.state, outcome.is_retried), (ResourceState::Blocked, true));
    assert!(outcome.message.starts_with("the path is a directory"), "{}", outcome.message);
    fs::remove_dir(root.path_in_root("obst")).unwrap();
    root.apply("file/o", &fields, None);
    // A resource that is written wrongly is not tried again.
    let outcome = root.try_apply("file/p", &[("path", "p"), ("content", "x"), ("mode", "rw")], None);
    assert_eq!((outcome.state, outcome.is_retried), (ResourceState::Blocked, false));
}

#[test]
fn new_directories_have_the_mode_of_their_parent() {
    let root = TestRoot::new();
    let set_mode = |path: &str, mode| {
        fs::set_permissions(root.path_in_root(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    let mode_of = |path: &str| fs::metadata(root.path_in_root(path)).unwrap().permissions().mode() & 0o7777;
    for (parent_mode, child_mode) in [(0o755, 0o755), (0o750, 0o750), (0o1777, 0o775), (0o2775, 0o2775)] {
        let name = format!("m{parent_mode:o}");
        fs::create_dir(root.path_in_root(&name)).unwrap();
        set_mode(&name, parent_mode);
        let path = format!("{name}/sub/deep/app.conf");
        root.apply("file/a", &[("path", &path), ("content", "hi")], None);
        for dir in ["sub", "sub/deep"] {
            assert_eq!(mode_of(&format!("{name}/{dir}")), child_mode, "{parent_mode:o} {dir}");
        }
    }
}

#[test]
fn extended_attributes_survive_a_rewrite() {
    let root = TestRoot::new();
    root.write("a", "old");
    let file = fs::File::open(root.path_in_root("a")).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    if rustix::fs::fsetxattr(&file, "user.note", b"mine", flags).is_err() {
        // This file system has no attributes of users.
        return;
    }
    // The access control list `u::rw-,u:65534:r--,g::r--,m::r--,o::r--`.
    let acl: Vec<u8> = [2u32.to_le_bytes().to_vec()]
        .into_iter()
        .chain(
            [(1u16, 6u16, u32::MAX), (2, 4, 65534), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 4, u32::MAX)]
                .map(|(tag, perm, id)| {
                    [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat()
                }),
        )
        .flatten()
        .collect();
    let has_acl = rustix::fs::fsetxattr(&file, "system.posix_acl_access", &acl, flags).is_ok();
    root.apply("file/a", &[("path", "a"), ("content", "new")], None);
    let file = fs::File::open(root.path_in_root("a")).unwrap();
    let mut value = [0; 100];
    let length = rustix::fs::fgetxattr(&file, "user.note", &mut value[..]).unwrap();
    assert_eq!(&value[..length], b"mine");
    if has_acl {
        let length = rustix::fs::fgetxattr(&file, "system.posix_acl_access", &mut value[..]).unwrap();
        assert_eq!(&value[..length], acl);
    }
}

#[test]
fn hard_links_that_part_are_named() {
    let root = TestRoot::new();
    root.write("a", "old");
    fs::hard_link(root.path_in_root("a"), root.path_in_root("b")).unwrap();
    let outcome = root.try_apply("file/a", &[("path", "a"), ("content", "new")], None);
    assert!(
        outcome.message.contains("1 other names (hard links) keep the old contents"),
        "{}",
        outcome.message
    );
    assert_eq!((root.read("a").as_str(), root.read("b").as_str()), ("new", "old"));
}

#[test]
fn messages_begin_with_the_reason_and_name_the_step() {
    let root = TestRoot::new();
    root.write("plain", "");
    let outcome = root.try_apply("file/a", &[("path", "plain/x"), ("content", "x")], None);
    assert_eq!(outcome.message, "cannot open the directory: Not a directory (os error 20): plain/x");
    let long = "n".repeat(256);
    let outcome = root.try_apply("file/a", &[("path", &long), ("content", "x")], None);
    assert!(outcome.message.starts_with("cannot read the file: File name too long"), "{}", outcome.message);
    assert_eq!((outcome.state, outcome.errno), (ResourceState::Failed, 36));
}
