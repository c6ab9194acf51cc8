//! Invalid input of every kind gives a clear error and changes nothing.

use larder_tests::lab::Lab;
use larder_tests::node::{TestNode, start_cluster};
use serde_json::Value;

use super::LARDER;

tests! {
    commands_that_need_no_daemon_report_bad_input,
    a_node_in_no_group_says_so,
    unknown_names_and_invalid_values_fail_and_write_nothing,
    text_written_by_others_is_escaped_on_the_terminal,
    the_demo_runs_to_its_end_and_leaves_no_files,
    help_output_matches_the_snapshot,
}

fn commands_that_need_no_daemon_report_bad_input() {
    let dir = std::env::temp_dir().join(format!("larder-input-{}", std::process::id()));
    let node = TestNode::without_host(&dir, "input", LARDER);
    for (name, text, position, word) in [
        ("syntax.toml", "[file.a]\npath = \n", "syntax.toml:2:", ""),
        ("kind.toml", "[fille.a]\npath = \"x\"\n", "kind.toml:1:2: ", "unknown kind `fille`"),
        ("field.toml", "\n[file.a]\n  pth = \"x\"\n", "field.toml:3:3: ", "no field `pth`"),
        ("value.toml", "[file.a]\npath = 5\n", "value.toml:2:1: ", "must be text"),
    ] {
        std::fs::write(dir.join(name), text).unwrap();
        let ran = node.run_larder(&["validate", name]);
        assert_eq!(ran.exit_code, 2, "{name}");
        assert!(ran.stderr.contains(position) && ran.stderr.contains(word), "{name}: {}", ran.stderr);
    }
    std::fs::write(dir.join("good.toml"), "[file.a]\npath = \"x\"\ncontent = \"y\"\n").unwrap();
    assert_eq!(node.run_larder(&["validate", "good.toml"]).exit_code, 0);
    assert_eq!(node.run_larder(&["validate", "novel.toml"]).exit_code, 2);
    for args in [
        ["nonsense"].as_slice(),
        &["set"],
        &["log", "-n", "x"],
        &["list", "--colour"],
        &["ping", "x", "-c", "0"],
    ] {
        assert_eq!(node.run_larder(args).exit_code, 2, "{args:?}");
    }
    let ran = node.run_larder(&["list", "--nonsense", "--json"]);
    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((&error["schema"], &error["exit"]), (&"larder.error/1".into(), &2.into()));
    let ran = node.run_larder(&["nodes", "--json"]);
    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((ran.exit_code, &error["code"]), (3, &"unreachable".into()));
    let completions = node.run_ok(&["completions", "bash"]);
    assert!(completions.contains("_larder") && completions.contains("conflicts"));
    assert_every_command_has_a_page_and_completions(&node, &dir);
    assert_eq!(node.run_larder(&["paths"]).exit_code, 3);
    drop(std::fs::remove_dir_all(dir));
}

/// The names of the commands that `--help` lists.
fn command_names(help: &str) -> Vec<&str> {
    let listed = help.lines().filter_map(|line| line.strip_prefix("  "));
    let listed = listed.filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
    listed.filter_map(|line| line.split_whitespace().next()).collect()
}

fn assert_every_command_has_a_page_and_completions(node: &TestNode<'_>, dir: &std::path::Path) {
    let help = node.run_ok(&["--help"]);
    let all = command_names(&help);
    assert!(all.len() > 40, "{all:?}");
    let ran = node.run_larder(&["man", "pages/man1"]);
    assert_eq!((ran.exit_code, ran.stdout.as_str()), (0, ""), "{}", ran.stderr);
    let page =
        |name: &str| std::fs::read_to_string(dir.join(format!("pages/man1/{name}.1"))).unwrap_or_default();
    for command in &all {
        let text = page(&format!("larder-{command}"));
        assert!(text.starts_with(".ie") && text.contains(".SH SYNOPSIS"), "{command}: {text}");
        assert!(
            page("larder").contains(&format!("larder\\-{}(1)", command.replace('-', "\\-"))),
            "{command}"
        );
    }
    assert!(page("larder-invite-list").contains(".SH NAME"));
    assert_eq!(node.run_larder(&["man", "good.toml/x"]).exit_code, 1);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let completions = node.run_ok(&["completions", shell]);
        let missing: Vec<_> = all.iter().filter(|command| !completions.contains(**command)).collect();
        assert!(missing.is_empty(), "{shell} lacks {missing:?}");
    }
}

fn a_node_in_no_group_says_so() {
    let dir = std::env::temp_dir().join(format!("larder-alone-{}", std::process::id()));
    let mut node = TestNode::without_host(&dir, "alone", LARDER);
    node.start(&["daemon", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"]);
    for args in [
        ["list"].as_slice(),
        &["status"],
        &["log"],
        &["set", "config/a", "keys.x=1"],
        &["invite"],
        &["heads"],
        &["conflicts"],
        &["watch"],
    ] {
        let ran = node.run_larder(args);
        assert_eq!(ran.exit_code, 3, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("in no group") && ran.stderr.contains("larder init"), "{}", ran.stderr);
    }
    for args in [["nodes"].as_slice(), &["groups"], &["paths"]] {
        assert_eq!(node.run_larder(args).exit_code, 0, "{args:?}");
    }
    assert_eq!(node.run_larder(&["init", ""]).exit_code, 2);
    assert_eq!(node.run_larder(&["init", "a\nb"]).exit_code, 2);
    node.stop();
    drop(std::fs::remove_dir_all(dir));
}

fn unknown_names_and_invalid_values_fail_and_write_nothing() {
    let lab = Lab::require(1);
    let nodes = start_cluster(&lab, LARDER);
    let node = &nodes[0];
    node.run_ok(&["set", "config/a", "path=a"]);
    let before = node.run_json(&["heads"])["heads"].clone();
    let mut wrong = Vec::new();
    for (args, code, word) in [
        (["get", "nothing"].as_slice(), 4, "expected KIND/NAME"),
        (&["get", "config/none"], 4, "no resource config/none"),
        (&["get", "config/a", "keys.none"], 4, "no field"),
        (&["get", "config/a", "ke..ys"], 4, "not a field"),
        (&["rm", "config/none"], 4, "no resource"),
        (&["rm", "x y"], 4, "expected KIND/NAME"),
        (&["unset", "config/none", "keys.x"], 4, "no resource"),
        (&["list", "novel"], 4, "no resource of kind"),
        (&["status", "config/none"], 4, "no resource"),
        (&["alias", "nobody", "x"], 4, "no node `nobody`"),
        (&["resolve", "config/a", "path", "--take", "A"], 4, "no conflict"),
        (&["invite", "revoke", "zzzz"], 4, "no invite `zzzz`"),
        (&["set", "config/a b", "keys.x=1"], 2, "not a name"),
        (&["set", "config/a", "novel=1"], 2, "no field `novel`"),
        (&["set", "config/a", "keys.x"], 2, "not a field with a value"),
        (&["set", "config/a", "keys.x:=[["], 2, "not a TOML value"),
        (&["set", "config/a", "ke..ys=1"], 2, "not a field"),
        (&["set", "novel/a", "x=1"], 2, "unknown kind"),
        (&["set", "file/a", "mode=rw"], 2, "octal"),
        (&["set", "config/a", "--select", "role="], 2, "label expression"),
        (&["set", "config/a", "content=@/no/such/file"], 2, "cannot read"),
        (&["label", "n0", "nonsense"], 2, "not a label"),
        (&["invite", "--expires", "soon"], 2, "not a duration"),
        (&["invite", "--role", "king"], 2, "possible values"),
        (&["invite", "--uses", "0"], 2, "at least one use"),
        (&["log", "--since", "soonish"], 2, "not a time"),
        (&["list", "-g", "other"], 3, "in no group `other`"),
        (&["apply", "good.toml", "--at", "now"], 2, ""),
    ] {
        let ran = node.run_larder(args);
        if ran.exit_code != code || !ran.stderr.contains(word) {
            wrong.push(format!("{args:?} exits {}: {}{}", ran.exit_code, ran.stdout, ran.stderr));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(node.run_json(&["heads"])["heads"], before);
    // With `--allow-unknown`, a kind that only newer nodes know is stored and reported as unsupported.
    node.run_ok(&["set", "novel/a", "x=1", "--allow-unknown"]);
    larder_tests::node::wait_until_applied(node);
    assert!(node.run_ok(&["status", "novel/a"]).contains("unsupported"));
}

fn text_written_by_others_is_escaped_on_the_terminal() {
    let lab = Lab::require(1);
    let nodes = start_cluster(&lab, LARDER);
    let evil = "\u{1b}[31mred\u{7}";
    nodes[0].run_ok(&["set", "config/a", &format!("keys.x={evil}"), "-m", evil]);
    for args in
        [["log", "-p"].as_slice(), &["get", "config/a"], &["show", "config/a"], &["diff"], &["export"]]
    {
        let out = nodes[0].run_ok(args);
        assert!(!out.contains('\u{1b}') && !out.contains('\u{7}'), "{args:?}: {out:?}");
        assert!(out.contains("u{1b}") || out.contains("\\u001B"), "{args:?}: {out:?}");
    }
}

fn the_demo_runs_to_its_end_and_leaves_no_files() {
    let dir = std::env::temp_dir().join(format!("larder-demo-test-{}", std::process::id()));
    let node = TestNode::without_host(&dir, "demo", LARDER);
    std::fs::create_dir(dir.join("tmp")).unwrap();
    let mut command = node.command(LARDER.as_ref());
    let output = command.arg("demo").env("TMPDIR", dir.join("tmp")).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    for word in
        ["larder conflicts", "\"http://lab\"", "\"http://shop\"", "talked it over", "|\\", "3 applied"]
    {
        assert!(out.contains(word), "{word}: {out}");
    }
    assert_eq!(std::fs::read_dir(dir.join("tmp")).unwrap().count(), 0);
    drop(std::fs::remove_dir_all(dir));
}

/// The help of every command. Review changes of the snapshot as changes of the user interface.
fn help_output_matches_the_snapshot() {
    let dir = std::env::temp_dir().join(format!("larder-help-{}", std::process::id()));
    let node = TestNode::without_host(&dir, "help", LARDER);
    let mut all = node.run_ok(&["--help"]);
    for command in all
        .clone()
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
    {
        let name = command.split_whitespace().next().unwrap();
        all.push_str(&format!("\n$ larder {name} --help\n{}", node.run_ok(&[name, "--help"])));
    }
    insta::with_settings!({ snapshot_path => "../../../snapshots", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("help", all);
    });
    drop(std::fs::remove_dir_all(dir));
}
