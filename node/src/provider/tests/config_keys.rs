//! A config gives back what stood at its keys before.

use super::*;

#[test]
fn removing_or_releasing_a_config_restores_every_line() {
    for before in [
        "# head\nserver = one\nother=2\n",
        "server=one",
        "server",
        "a=1\nserver:\\\n  one\nb=2",
        "a=1",
        "a=b\\",
        "\u{feff}server=one\r\nb=2\r\n",
        "server=new\n",
        "",
        "\n",
    ] {
        for end in [Action::Remove, Action::Release] {
            let root = TestRoot::new();
            root.write("f", before);
            let path = ("path", "f");
            let keys = [path, ("keys.server", "new"), ("keys.added", "x")];
            let applied = root.apply("config/a", &keys, None);
            let applied = root.apply("config/a", &[path, ("keys.server", "newer"), keys[2]], Some(&applied));
            let outcome = root.run_provider("config/a", end.clone(), Some(&applied));
            assert!(!outcome.is_retried, "{}", outcome.message);
            assert_eq!(root.read("f"), before, "{before:?} {end:?}");
        }
    }
}

#[test]
fn unsetting_one_key_restores_that_key_only() {
    let root = TestRoot::new();
    root.write("sysctl.conf", "net.ipv4.ip_forward = 0\nlog.level=info\n");
    let path = ("path", "sysctl.conf");
    let forward = ("keys.net.ipv4.ip_forward", "1");
    let applied = root.apply("config/o", &[path, forward, ("keys.log.level", "info")], None);
    assert_eq!(root.read("sysctl.conf"), "net.ipv4.ip_forward = 1\nlog.level=info\n");
    let applied = root.apply("config/o", &[path, ("keys.log.level", "info")], Some(&applied));
    assert_eq!(root.read("sysctl.conf"), "net.ipv4.ip_forward = 0\nlog.level=info\n");
    root.remove("config/o", &applied);
    assert_eq!(root.read("sysctl.conf"), "net.ipv4.ip_forward = 0\nlog.level=info\n");
}

#[test]
fn lines_that_others_wrote_since_stay() {
    let root = TestRoot::new();
    root.write("f", "a=1\nb=1\n");
    let keys = [("path", "f"), ("keys.a", "2"), ("keys.b", "2"), ("keys.c", "2")];
    let applied = root.apply("config/o", &keys, None);
    // Another program changed `a`, stored `b` in another spelling, and repeated `c`.
    root.write("f", "a=3\nb : 2\nc=2\nc=4\n");
    root.remove("config/o", &applied);
    assert_eq!(root.read("f"), "a=3\nb=1\nc=4\n");
}

#[test]
fn a_key_on_several_lines_is_refused_and_no_line_is_lost() {
    let root = TestRoot::new();
    let ntp = "server 0.example iburst\nserver 1.example iburst\nserver 2.example iburst\ndriftfile d\n";
    root.write("ntp.conf", ntp);
    let fields = [("path", "ntp.conf"), ("keys.server", "ntp9.example.net iburst")];
    let outcome = root.try_apply("config/n", &fields, None);
    assert_eq!((outcome.state, outcome.is_retried), (ResourceState::Blocked, true));
    assert!(outcome.message.starts_with("`server` stands on 3 lines"), "{}", outcome.message);
    assert!(outcome.message.contains("kind file"), "{}", outcome.message);
    assert_eq!(outcome.applied, AppliedState::Unchanged);
    assert_eq!(root.read("ntp.conf"), ntp);
    // The lines do not matter to other keys, also when these are removed.
    let applied = root.apply("config/n", &[("path", "ntp.conf"), ("keys.driftfile", "e")], None);
    root.remove("config/n", &applied);
    assert_eq!(root.read("ntp.conf"), ntp);
}

#[test]
fn files_of_another_format_are_refused_unless_the_format_is_named() {
    let root = TestRoot::new();
    for name in ["c.json", "c.TOML", "c.yaml", "c.yml", "c.ini", "c.xml"] {
        root.write(name, "{}");
        let fields = [("path", name), ("keys.name", "x")];
        let outcome = root.try_apply("config/c", &fields, None);
        assert_eq!((outcome.state, outcome.is_retried), (ResourceState::Blocked, false), "{name}");
        assert!(outcome.message.contains("the name says"), "{}", outcome.message);
        assert_eq!(root.read(name), "{}");
    }
    root.apply("config/c", &[("path", "c.ini"), ("keys.a", "1"), ("format", "properties")], None);
    for (name, bytes, word) in
        [("nul", &b"a=1\0"[..], "NUL"), ("le", b"\xff\xfea\0=\0", "UTF-16"), ("be", b"\xfe\xff\0a", "UTF-16")]
    {
        root.write(name, bytes);
        let outcome = root.try_apply("config/d", &[("path", name), ("keys.a", "1")], None);
        assert_eq!((outcome.state, outcome.is_retried), (ResourceState::Blocked, true), "{name}");
        assert!(outcome.message.contains(word), "{}", outcome.message);
        assert_eq!(fs::read(root.path_in_root(name)).unwrap(), bytes);
    }
}

#[test]
fn bytes_are_no_value_of_a_key() {
    let root = TestRoot::new();
    let mut fields = text_fields(&[("path", "p")]);
    fields.insert("keys.motd".to_owned(), Literal::Scalar(Value::Bytes(vec![0xe9])));
    let outcome = root.run_provider("config/p", Action::Apply { fields, conflicted: vec![] }, None);
    assert_eq!(outcome.state, ResourceState::Blocked);
    assert_eq!(outcome.message, "bytes cannot be the value of a key: keys.motd");
    assert!(!root.path_in_root("p").exists());
}

#[test]
fn text_in_ascii_and_new_files_is_escaped() {
    let root = TestRoot::new();
    for (name, before, after) in [
        ("ascii", "motd=hello\n", "motd=\\u00A76Caf\\u00E9\n"),
        ("new", "", "motd=\\u00A76Caf\\u00E9\n"),
        ("utf8", "other=ü\nmotd=hello\n", "other=ü\nmotd=§6Café\n"),
        ("bom", "\u{feff}motd=hello\n", "\u{feff}motd=§6Café\n"),
    ] {
        if !before.is_empty() {
            root.write(name, before);
        }
        root.apply("config/p", &[("path", name), ("keys.motd", "§6Café")], None);
        assert_eq!(root.read(name), after, "{name}");
    }
}

#[test]
fn setting_many_keys_costs_no_square() {
    let root = TestRoot::new();
    let time_for = |count: usize| {
        let mut fields = text_fields(&[("path", "many"), ("keys.first", "x")]);
        root.write("many", "first=1");
        let applied = root.apply("config/m", &[("path", "many"), ("keys.first", "x")], None);
        let keys = (0..count).map(|nth| (format!("keys.k{nth}"), Literal::Scalar(Value::from("value"))));
        fields.extend(keys);
        let start = std::time::Instant::now();
        let intent = Action::Apply { fields: fields.clone(), conflicted: vec![] };
        assert_eq!(root.run_provider("config/m", intent, Some(&applied)).state, ResourceState::Applied);
        assert_eq!(root.read("many").lines().count(), count + 1);
        root.remove("config/m", &fields);
        assert_eq!(root.read("many"), "first=1");
        start.elapsed()
    };
    let (few, many) = (time_for(1_000), time_for(10_000));
    // Ten times the keys: a square would cost a hundred times the time.
    assert!(many < few * 40, "{many:?}, and {few:?} for a tenth of the keys");
}
