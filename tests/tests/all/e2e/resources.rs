//! Resources: from the desired state to files on the hosts.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use larder_tests::lab::{Lab, wait_until};
use larder_tests::node::{TestNode, WAIT_LIMIT, start_cluster, wait_until_applied, wait_until_converged};

use super::LARDER;

tests! {
    a_value_set_on_one_node_is_written_to_the_others_file,
    a_file_is_written_whole_with_its_mode,
    one_invalid_item_leaves_the_whole_apply_unwritten,
    a_plan_shows_every_edit_and_writes_nothing,
    a_removal_made_while_a_node_was_away_is_applied_there,
    local_policy_blocks_paths_outside_the_roots,
    a_host_without_a_network_restores_files_from_its_own_copy,
    selectors_and_per_node_values_reach_only_their_nodes,
    applying_an_export_changes_nothing,
}

fn a_value_set_on_one_node_is_written_to_the_others_file() {
    let lab = Lab::require(2);
    let nodes = start_cluster(&lab, LARDER);
    nodes[0].run_ok(&["set", "config/db", "path=etc/db.properties", "keys.url=one"]);
    wait_until(Duration::from_secs(10), "the value on the other node", || {
        (nodes[1].read_file("etc/db.properties") == "url=one\n").then_some(())
    });
    nodes[1].run_ok(&["set", "config/db", "keys.url=two", "keys.n:=5", "keys.list:=[\"a\", \"b\"]"]);
    wait_until(Duration::from_secs(10), "the values on the first node", || {
        (nodes[0].read_file("etc/db.properties") == "url=two\nlist=a,b\nn=5\n").then_some(())
    });
    wait_until_applied(&nodes[0]);
    let status = nodes[0].run_json(&["status"]);
    assert_eq!(status["summary"]["applied"], 2, "{status}");
}

fn a_file_is_written_whole_with_its_mode() {
    let lab = Lab::require(2);
    let nodes = start_cluster(&lab, LARDER);
    std::fs::write(lab.log_dir().join("motd"), "hello\nall\n").unwrap();
    nodes[0].run_ok(&["set", "file/motd", "path=motd", "content=@motd", "mode=0600"]);
    wait_until(WAIT_LIMIT, "the file", || (nodes[1].read_file("motd") == "hello\nall\n").then_some(()));
    let mode = std::fs::metadata(nodes[1].data_dir.join("files/motd")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(nodes[1].run_ok(&["get", "file/motd", "content"]), "hello\nall\n");
}

fn one_invalid_item_leaves_the_whole_apply_unwritten() {
    let lab = Lab::require(1);
    let nodes = start_cluster(&lab, LARDER);
    let before = nodes[0].digest();
    let good = "[config.a]\npath = \"a\"\nkeys.x = 1\n";
    std::fs::write(lab.log_dir().join("good.toml"), good).unwrap();
    std::fs::write(lab.log_dir().join("bad.toml"), "[config.b]\npath = \"b\"\n\n[file.c]\npth = \"c\"\n")
        .unwrap();
    let ran = nodes[0].run_larder(&["apply", "good.toml", "bad.toml"]);
    assert_eq!(ran.exit_code, 2);
    assert!(ran.stderr.contains("bad.toml:5:1: file/c has no field `pth`"), "{}", ran.stderr);
    assert_eq!(nodes[0].digest(), before);
    let ran = nodes[0].run_larder_with_stdin(&["apply", "-"], "[config.a]\nkeys.x = \n");
    assert!(ran.exit_code == 2 && ran.stderr.contains("standard input:2:"), "{}", ran.stderr);
    assert_eq!(nodes[0].digest(), before);
    nodes[0].run_ok(&["apply", "good.toml"]);
    assert_eq!(nodes[0].run_ok(&["get", "config/a", "keys.x"]), "1\n");
}

fn a_plan_shows_every_edit_and_writes_nothing() {
    let lab = Lab::require(1);
    let nodes = start_cluster(&lab, LARDER);
    nodes[0].run_ok(&["set", "config/a", "path=a", "keys.x=1", "keys.y=2"]);
    wait_until_applied(&nodes[0]);
    let before = nodes[0].digest();
    let manifest = "[config.a]\npath = \"a\"\nkeys.x = \"new\"\n";
    std::fs::write(lab.log_dir().join("m.toml"), manifest).unwrap();
    let plan = nodes[0].run_larder(&["plan", "m.toml", "--exit-code", "--replace"]);
    assert_eq!(plan.exit_code, 10, "{}", plan.stderr);
    assert_eq!(plan.stdout, "config/a\n  - keys.x = \"1\"\n  + keys.x = \"new\"\n  - keys.y = \"2\"\n");
    assert_eq!(nodes[0].digest(), before);
    let base = nodes[0].run_json(&["plan", "m.toml"])["base"][0].as_str().unwrap().to_owned();
    nodes[0].run_ok(&["set", "config/a", "keys.z=3"]);
    let ran = nodes[0].run_larder(&["apply", "m.toml", "--base", &base]);
    assert_eq!(ran.exit_code, 5, "{}", ran.stderr);
    assert!(ran.stderr.contains("has changed since"), "{}", ran.stderr);
    nodes[0].run_ok(&["apply", "m.toml"]);
    assert_eq!(nodes[0].run_larder(&["plan", "m.toml", "--exit-code"]).exit_code, 0);
}

fn a_removal_made_while_a_node_was_away_is_applied_there() {
    let lab = Lab::require(2);
    let mut nodes = start_cluster(&lab, LARDER);
    nodes[0].run_ok(&["set", "file/a", "path=a", "content=x"]);
    nodes[0].run_ok(&["set", "config/b", "path=b", "keys.ours=1"]);
    wait_until(WAIT_LIMIT, "both files", || {
        (nodes[1].read_file("a") == "x" && nodes[1].read_file("b") == "ours=1\n").then_some(())
    });
    wait_until_applied(&nodes[1]);
    let b = nodes[1].data_dir.join("files/b");
    std::fs::write(&b, "ours=1\ntheirs=2\n").unwrap();
    std::fs::write(nodes[1].data_dir.join("files/never-named"), "mine").unwrap();
    nodes[1].stop();
    nodes[0].run_ok(&["rm", "file/a", "config/b", "-m", "no longer used"]);
    nodes[1].start(&["daemon"]);
    wait_until(WAIT_LIMIT, "the removal", || (!nodes[1].data_dir.join("files/a").exists()).then_some(()));
    wait_until(WAIT_LIMIT, "the keys to go", || (nodes[1].read_file("b") == "theirs=2\n").then_some(()));
    assert_eq!(nodes[1].read_file("never-named"), "mine");
    wait_until_converged(&nodes);
    assert_eq!(nodes[1].run_larder(&["get", "file/a"]).exit_code, 4);
    assert_eq!(nodes[1].run_larder(&["rm", "file/a"]).exit_code, 4);
    assert_eq!(nodes[1].run_ok(&["list"]), "");
    // A resource that is created again has no old fields.
    nodes[0].run_ok(&["set", "file/a", "path=a"]);
    let fields = nodes[0].run_json(&["get", "file/a"])["fields"].clone();
    assert_eq!(fields, serde_json::json!({ "path": "a", "ensure": "present" }));
    wait_until_applied(&nodes[0]);
    let status = nodes[0].run_ok(&["status", "file/a"]);
    assert!(status.contains("blocked") && status.contains("incomplete: content"), "{status}");
}

fn local_policy_blocks_paths_outside_the_roots() {
    let lab = Lab::require(2);
    let mut nodes = start_cluster(&lab, LARDER);
    let root = lab.log_dir().join("root");
    std::fs::create_dir(&root).unwrap();
    nodes[1].stop();
    nodes[1].start(&["daemon", "--root", root.to_str().unwrap()]);
    let outside = lab.log_dir().join("outside.txt");
    nodes[0].run_ok(&["set", "file/a", &format!("path={}", outside.display()), "content=x"]);
    for node in &nodes {
        wait_until_applied(node);
    }
    let status = nodes[0].run_json(&["status", "file/a"]);
    for node_status in status["resources"][0]["nodes"].as_array().unwrap() {
        assert_eq!(node_status["state"], "blocked", "{status}");
        let reason = node_status["reason"].as_str().unwrap();
        assert!(reason.starts_with("policy: ") && reason.contains("outside the roots"), "{reason}");
    }
    assert!(!outside.exists());
    let inside = root.join("in.txt");
    nodes[0].run_ok(&["set", "file/a", &format!("path={}", inside.display())]);
    wait_until(WAIT_LIMIT, "the file inside the root", || inside.exists().then_some(()));
    wait_until(WAIT_LIMIT, "the other node to be blocked still", || {
        let status = nodes[1].run_json(&["status", "file/a"])["summary"].clone();
        (status["applied"] == 1 && status["blocked"] == 1).then_some(())
    });
}

fn a_host_without_a_network_restores_files_from_its_own_copy() {
    let lab = Lab::require(2);
    let mut nodes = start_cluster(&lab, LARDER);
    nodes[0].run_ok(&["set", "config/a", "path=a", "keys.x=1"]);
    wait_until(WAIT_LIMIT, "the file", || (nodes[1].read_file("a") == "x=1\n").then_some(()));
    wait_until_applied(&nodes[1]);
    nodes[1].kill();
    lab.set_cable_plugged(1, false);
    std::fs::remove_dir_all(nodes[1].data_dir.join("files")).unwrap();
    nodes[1].start(&["daemon"]);
    wait_until(WAIT_LIMIT, "the file from its own copy", || {
        (nodes[1].read_file("a") == "x=1\n").then_some(())
    });
}

fn selectors_and_per_node_values_reach_only_their_nodes() {
    let lab = Lab::require(2);
    let nodes = start_cluster(&lab, LARDER);
    nodes[0].run_ok(&["label", "n1", "role=plc"]);
    nodes[0].run_ok(&["set", "config/a", "path=a", "keys.x=1", "--select", "role=plc"]);
    nodes[0].run_ok(&["set", "config/b", "path=b", "keys.x=1"]);
    nodes[0].run_ok(&["set", "config/b", "keys.x=other", "--node", "n1"]);
    wait_until(WAIT_LIMIT, "the files", || {
        (nodes[1].read_file("a") == "x=1\n"
            && nodes[1].read_file("b") == "x=other\n"
            && nodes[0].read_file("b") == "x=1\n")
            .then_some(())
    });
    assert_eq!(nodes[0].read_file("a"), "");
    nodes[0].run_ok(&["label", "n1", "role-"]);
    wait_until(WAIT_LIMIT, "the release", || {
        nodes[0].run_ok(&["status", "config/a"]).contains("released").then_some(())
    });
    assert_eq!(nodes[1].read_file("a"), "", "a released config gives back what stood at its keys before");
}

fn applying_an_export_changes_nothing() {
    let lab = Lab::require(1);
    let nodes = start_cluster(&lab, LARDER);
    let manifest = r#"[config."a.b"]
path = "a"
select = "role=x"
keys."k e\ny" = "v \u0001"
keys.n = 5
keys.f = 0.5
keys.b = true
keys.list = ["x", "x", "y"]
overlay."role=plc".keys.n = 6

[file.c]
path = "c"
content = """
line
"""
mode = "0600"
"#;
    let ran = nodes[0].run_larder_with_stdin(&["apply", "-"], manifest);
    assert_eq!(ran.exit_code, 0, "{}", ran.stderr);
    wait_until_applied(&nodes[0]);
    let before = nodes[0].digest();
    let export = nodes[0].run_ok(&["export"]);
    for args in [["apply", "-"].as_slice(), &["apply", "--replace", "-"]] {
        let ran = nodes[0].run_larder_with_stdin(args, &export);
        assert_eq!((ran.exit_code, ran.stdout.as_str()), (0, ""), "{}\n{export}", ran.stderr);
        assert!(ran.stderr.contains("Nothing differs"), "{}", ran.stderr);
    }
    assert_eq!(nodes[0].digest(), before);
    assert_eq!(
        nodes[0].run_ok(&["export", "file/c"]),
        "[file.c]\ncontent = \"line\\n\"\nmode = \"0600\"\npath = \"c\"\n"
    );
    let empty: &TestNode<'_> = &nodes[0];
    assert_eq!(empty.run_larder(&["export", "file/none"]).exit_code, 4);
}
