//! Resources: how what is wanted comes to be.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use larder_tests::lab::until;
use larder_tests::node::{Node, PATIENCE, cluster, converge, settle};

use super::{LARDER, lab};

#[test]
fn a_set_value_is_in_the_other_nodes_file() {
    let lab = lab!(2, "a_set_value_is_in_the_other_nodes_file");
    let nodes = cluster(&lab, LARDER);
    nodes[0].ok(&["set", "config/db", "path=etc/db.properties", "keys.url=one"]);
    until(Duration::from_secs(10), "the value on the other node", || {
        (nodes[1].file("etc/db.properties") == "url=one\n").then_some(())
    });
    nodes[1].ok(&["set", "config/db", "keys.url=two", "keys.n:=5", "keys.list:=[\"a\", \"b\"]"]);
    until(Duration::from_secs(10), "the values on the first node", || {
        (nodes[0].file("etc/db.properties") == "url=two\nlist=a,b\nn=5\n").then_some(())
    });
    settle(&nodes[0]);
    let status = nodes[0].json(&["status"]);
    assert_eq!(status["summary"]["applied"], 2, "{status}");
}

#[test]
fn a_whole_file_with_its_mode() {
    let lab = lab!(2, "a_whole_file_with_its_mode");
    let nodes = cluster(&lab, LARDER);
    std::fs::write(lab.logs().join("motd"), "hello\nall\n").unwrap();
    nodes[0].ok(&["set", "file/motd", "path=motd", "content=@motd", "mode=0600"]);
    until(PATIENCE, "the file", || (nodes[1].file("motd") == "hello\nall\n").then_some(()));
    let mode = std::fs::metadata(nodes[1].data.join("files/motd")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(nodes[1].ok(&["get", "file/motd", "content"]), "hello\nall\n");
}

#[test]
fn a_bad_item_leaves_everything_unwritten() {
    let lab = lab!(1, "a_bad_item_leaves_everything_unwritten");
    let nodes = cluster(&lab, LARDER);
    let before = nodes[0].digest();
    let good = "[config.a]\npath = \"a\"\nkeys.x = 1\n";
    std::fs::write(lab.logs().join("good.toml"), good).unwrap();
    std::fs::write(lab.logs().join("bad.toml"), "[config.b]\npath = \"b\"\n\n[file.c]\npth = \"c\"\n")
        .unwrap();
    let ran = nodes[0].larder(&["apply", "good.toml", "bad.toml"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("bad.toml:5:1: file/c has no field `pth`"), "{}", ran.err);
    assert_eq!(nodes[0].digest(), before);
    let ran = nodes[0].larder_with(&["apply", "-"], "[config.a]\nkeys.x = \n");
    assert!(ran.code == 2 && ran.err.contains("standard input:2:"), "{}", ran.err);
    assert_eq!(nodes[0].digest(), before);
    nodes[0].ok(&["apply", "good.toml"]);
    assert_eq!(nodes[0].ok(&["get", "config/a", "keys.x"]), "1\n");
}

#[test]
fn a_plan_moves_nothing_and_says_all() {
    let lab = lab!(1, "a_plan_moves_nothing_and_says_all");
    let nodes = cluster(&lab, LARDER);
    nodes[0].ok(&["set", "config/a", "path=a", "keys.x=1", "keys.y=2"]);
    settle(&nodes[0]);
    let before = nodes[0].digest();
    let manifest = "[config.a]\npath = \"a\"\nkeys.x = \"new\"\n";
    std::fs::write(lab.logs().join("m.toml"), manifest).unwrap();
    let plan = nodes[0].larder(&["plan", "m.toml", "--exit-code", "--replace"]);
    assert_eq!(plan.code, 10, "{}", plan.err);
    assert_eq!(plan.out, "config/a\n  - keys.x = \"1\"\n  + keys.x = \"new\"\n  - keys.y = \"2\"\n");
    assert_eq!(nodes[0].digest(), before);
    let base = nodes[0].json(&["plan", "m.toml"])["base"][0].as_str().unwrap().to_owned();
    nodes[0].ok(&["set", "config/a", "keys.z=3"]);
    let ran = nodes[0].larder(&["apply", "m.toml", "--base", &base]);
    assert_eq!(ran.code, 5, "{}", ran.err);
    assert!(ran.err.contains("moved on"), "{}", ran.err);
    nodes[0].ok(&["apply", "m.toml"]);
    assert_eq!(nodes[0].larder(&["plan", "m.toml", "--exit-code"]).code, 0);
}

#[test]
fn what_was_removed_while_a_node_was_away_is_removed_there() {
    let lab = lab!(2, "what_was_removed_while_a_node_was_away_is_removed_there");
    let mut nodes = cluster(&lab, LARDER);
    nodes[0].ok(&["set", "file/a", "path=a", "content=x"]);
    nodes[0].ok(&["set", "config/b", "path=b", "keys.ours=1"]);
    until(PATIENCE, "both files", || {
        (nodes[1].file("a") == "x" && nodes[1].file("b") == "ours=1\n").then_some(())
    });
    settle(&nodes[1]);
    let b = nodes[1].data.join("files/b");
    std::fs::write(&b, "ours=1\ntheirs=2\n").unwrap();
    std::fs::write(nodes[1].data.join("files/never-named"), "mine").unwrap();
    nodes[1].stop();
    nodes[0].ok(&["rm", "file/a", "config/b", "-m", "no longer used"]);
    nodes[1].start(&["daemon"]);
    until(PATIENCE, "the removal", || (!nodes[1].data.join("files/a").exists()).then_some(()));
    until(PATIENCE, "the keys to go", || (nodes[1].file("b") == "theirs=2\n").then_some(()));
    assert_eq!(nodes[1].file("never-named"), "mine");
    converge(&nodes);
    assert_eq!(nodes[1].larder(&["get", "file/a"]).code, 4);
    assert_eq!(nodes[1].larder(&["rm", "file/a"]).code, 4);
    assert_eq!(nodes[1].ok(&["list"]), "");
    // Made anew, no old field comes back.
    nodes[0].ok(&["set", "file/a", "path=a"]);
    let fields = nodes[0].json(&["get", "file/a"])["fields"].clone();
    assert_eq!(fields, serde_json::json!({ "path": "a", "ensure": "present" }));
    settle(&nodes[0]);
    let status = nodes[0].ok(&["status", "file/a"]);
    assert!(status.contains("blocked") && status.contains("incomplete: content"), "{status}");
}

#[test]
fn local_policy_has_the_last_word() {
    let lab = lab!(2, "local_policy_has_the_last_word");
    let mut nodes = cluster(&lab, LARDER);
    let root = lab.logs().join("root");
    std::fs::create_dir(&root).unwrap();
    nodes[1].stop();
    nodes[1].start(&["daemon", "--root", root.to_str().unwrap()]);
    let outside = lab.logs().join("outside.txt");
    nodes[0].ok(&["set", "file/a", &format!("path={}", outside.display()), "content=x"]);
    for node in &nodes {
        settle(node);
    }
    let status = nodes[0].json(&["status", "file/a"]);
    for standing in status["resources"][0]["nodes"].as_array().unwrap() {
        assert_eq!(standing["state"], "blocked", "{status}");
        let reason = standing["reason"].as_str().unwrap();
        assert!(reason.starts_with("policy: ") && reason.contains("outside the roots"), "{reason}");
    }
    assert!(!outside.exists());
    let inside = root.join("in.txt");
    nodes[0].ok(&["set", "file/a", &format!("path={}", inside.display())]);
    until(PATIENCE, "the file inside the root", || inside.exists().then_some(()));
    until(PATIENCE, "the other node to be blocked still", || {
        let status = nodes[1].json(&["status", "file/a"])["summary"].clone();
        (status["applied"] == 1 && status["blocked"] == 1).then_some(())
    });
}

#[test]
fn a_machine_without_a_network_converges_from_its_own_copy() {
    let lab = lab!(2, "a_machine_without_a_network_converges_from_its_own_copy");
    let mut nodes = cluster(&lab, LARDER);
    nodes[0].ok(&["set", "config/a", "path=a", "keys.x=1"]);
    until(PATIENCE, "the file", || (nodes[1].file("a") == "x=1\n").then_some(()));
    settle(&nodes[1]);
    nodes[1].kill();
    lab.cable(1, false);
    std::fs::remove_dir_all(nodes[1].data.join("files")).unwrap();
    nodes[1].start(&["daemon"]);
    until(PATIENCE, "the file from its own copy", || (nodes[1].file("a") == "x=1\n").then_some(()));
}

#[test]
fn a_selection_and_a_value_for_one_node() {
    let lab = lab!(2, "a_selection_and_a_value_for_one_node");
    let nodes = cluster(&lab, LARDER);
    nodes[0].ok(&["label", "n1", "role=plc"]);
    nodes[0].ok(&["set", "config/a", "path=a", "keys.x=1", "--select", "role=plc"]);
    nodes[0].ok(&["set", "config/b", "path=b", "keys.x=1"]);
    nodes[0].ok(&["set", "config/b", "keys.x=other", "--node", "n1"]);
    until(PATIENCE, "the files", || {
        (nodes[1].file("a") == "x=1\n" && nodes[1].file("b") == "x=other\n" && nodes[0].file("b") == "x=1\n")
            .then_some(())
    });
    assert_eq!(nodes[0].file("a"), "");
    nodes[0].ok(&["label", "n1", "role-"]);
    until(PATIENCE, "the release", || {
        nodes[0].ok(&["status", "config/a"]).contains("released").then_some(())
    });
    assert_eq!(nodes[1].file("a"), "x=1\n");
}

#[test]
fn export_applied_again_changes_nothing() {
    let lab = lab!(1, "export_applied_again_changes_nothing");
    let nodes = cluster(&lab, LARDER);
    let manifest = "[config.\"a.b\"]\npath = \"a\"\nselect = \"role=x\"\nkeys.\"k e\\ny\" = \"v \\u0001\"\nkeys.n = 5\nkeys.f = 0.5\nkeys.b = true\nkeys.list = [\"x\", \"x\", \"y\"]\noverlay.\"role=plc\".keys.n = 6\n\n[file.c]\npath = \"c\"\ncontent = \"\"\"\nline\n\"\"\"\nmode = \"0600\"\n";
    let ran = nodes[0].larder_with(&["apply", "-"], manifest);
    assert_eq!(ran.code, 0, "{}", ran.err);
    settle(&nodes[0]);
    let before = nodes[0].digest();
    let export = nodes[0].ok(&["export"]);
    for args in [["apply", "-"].as_slice(), &["apply", "--replace", "-"]] {
        let ran = nodes[0].larder_with(args, &export);
        assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}\n{export}", ran.err);
        assert!(ran.err.contains("Nothing differs"), "{}", ran.err);
    }
    assert_eq!(nodes[0].digest(), before);
    assert_eq!(
        nodes[0].ok(&["export", "file/c"]),
        "[file.c]\ncontent = \"line\\n\"\nmode = \"0600\"\npath = \"c\"\n"
    );
    let empty: &Node<'_> = &nodes[0];
    assert_eq!(empty.larder(&["export", "file/none"]).code, 4);
}
