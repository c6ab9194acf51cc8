//! What Larder does to files that exist, on real daemons.

use std::time::Duration;

use larder_tests::lab::{Lab, wait_until};
use larder_tests::node::{TestNode, WAIT_LIMIT, start_cluster, wait_until_applied};
use serde_json::Value;

use super::LARDER;

tests! {
    a_file_below_another_root_is_kept_before_it_is_replaced,
    a_hand_edit_is_replaced_after_a_restart_and_kept,
    kept_contents_are_listed_printed_and_restored,
    two_groups_with_one_path_are_a_claim,
    an_obstacle_that_goes_away_is_noticed,
    a_missing_root_does_not_stop_the_daemon,
    a_root_that_was_replaced_is_noticed,
    the_umask_of_the_daemon_does_not_close_new_directories,
    a_group_cannot_write_the_settings_of_a_host,
    deselecting_a_config_restores_the_lines_that_it_replaced,
}

/// The state and the reason of a resource on the only node.
fn state_of(node: &TestNode<'_>, group: &str, resource: &str) -> (String, String) {
    let status = node.run_json(&["-g", group, "status", resource]);
    let node_status = &status["resources"][0]["nodes"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&node_status["state"]), text(&node_status["reason"]))
}

fn wait_for_state(node: &TestNode<'_>, resource: &str, state: &str, word: &str) {
    wait_until(Duration::from_secs(60), &format!("{resource} to be {state}"), || {
        let (found, reason) = state_of(node, "shop", resource);
        (found == state && reason.contains(word)).then_some(())
    });
}

fn a_file_below_another_root_is_kept_before_it_is_replaced() {
    let lab = Lab::require(1);
    let mut nodes = start_cluster(&lab, LARDER);
    let node = &mut nodes[0];
    node.run_ok(&["set", "file/f", "path=app.conf", "content=managed"]);
    wait_until_applied(node);
    node.stop();
    let root = lab.log_dir().join("root2");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("app.conf"), "made by hand\n").unwrap();
    node.start(&["daemon", "--root", root.to_str().unwrap()]);
    wait_until(WAIT_LIMIT, "the managed file", || {
        (std::fs::read_to_string(root.join("app.conf")).unwrap() == "managed").then_some(())
    });
    wait_for_state(node, "file/f", "applied", "the file was there before");
    let kept = node.run_json(&["kept"])["kept"].clone();
    let id = kept[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(node.run_ok(&["kept", "show", &id]), "made by hand\n");
}

fn a_hand_edit_is_replaced_after_a_restart_and_kept() {
    let lab = Lab::require(1);
    let mut nodes = start_cluster(&lab, LARDER);
    let node = &mut nodes[0];
    node.run_ok(&["set", "file/f", "path=f", "content=managed"]);
    wait_until_applied(node);
    std::fs::write(node.data_dir.join("files/f"), "edited").unwrap();
    node.kill();
    node.start(&["daemon"]);
    wait_until(WAIT_LIMIT, "the managed file", || (node.read_file("f") == "managed").then_some(()));
    wait_for_state(node, "file/f", "applied", "a hand edit was replaced");
    let reason = state_of(node, "shop", "file/f").1;
    let id = reason.rsplit(' ').next().unwrap().to_owned();
    assert_eq!(node.run_ok(&["kept", "show", &id]), "edited");
    // Removing the file keeps what stands there by hand.
    std::fs::write(node.data_dir.join("files/f"), "edited again").unwrap();
    node.run_ok(&["rm", "file/f"]);
    wait_until(WAIT_LIMIT, "the removal", || (!node.data_dir.join("files/f").exists()).then_some(()));
    wait_until(WAIT_LIMIT, "two kept versions", || {
        (node.run_json(&["kept"])["kept"].as_array().unwrap().len() == 2).then_some(())
    });
}

fn kept_contents_are_listed_printed_and_restored() {
    let lab = Lab::require(1);
    let nodes = start_cluster(&lab, LARDER);
    let node = &nodes[0];
    let file = node.data_dir.join("files/f");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "before").unwrap();
    node.run_ok(&["set", "file/f", "path=f", "content=managed"]);
    wait_for_state(node, "file/f", "applied", "");
    let list = node.run_json(&["kept"]);
    assert_eq!(list["schema"], "larder.kept/1");
    let version = &list["kept"][0];
    assert_eq!((&version["size"], &version["resource"]), (&6.into(), &"file/f of group shop".into()));
    let id = version["id"].as_str().unwrap();
    let table = node.run_ok(&["kept"]);
    assert!(table.contains(id) && table.contains("files/f"), "{table}");
    let refused = node.run_larder(&["kept", "restore", id]);
    assert_eq!(refused.exit_code, 5, "{}", refused.stderr);
    assert!(refused.stderr.contains("file/f of group shop"), "{}", refused.stderr);
    node.run_ok(&["kept", "restore", &id[..6], "copy"]);
    assert_eq!(node.read_file("copy"), "before");
    node.run_ok(&["rm", "file/f"]);
    wait_until(WAIT_LIMIT, "the removal", || (!file.exists()).then_some(()));
    wait_until(WAIT_LIMIT, "the restored file", || {
        (node.run_larder(&["kept", "restore", id]).exit_code == 0).then_some(())
    });
    assert_eq!(node.read_file("f"), "before");
    for (id, code) in [("ffff", 4), ("x", 2)] {
        assert_eq!(node.run_larder(&["kept", "show", id]).exit_code, code, "{id}");
    }
}

fn two_groups_with_one_path_are_a_claim() {
    let lab = Lab::require(1);
    let nodes = start_cluster(&lab, LARDER);
    let node = &nodes[0];
    node.run_ok(&["init", "lab"]);
    node.run_ok(&["-g", "shop", "set", "file/x", "path=same", "content=shop"]);
    wait_until(WAIT_LIMIT, "the file", || (node.read_file("same") == "shop").then_some(()));
    let absolute = node.data_dir.join("files/same").display().to_string();
    node.run_ok(&["-g", "lab", "set", "file/y", &format!("path={absolute}"), "content=lab"]);
    wait_until(WAIT_LIMIT, "the claim", || {
        let (state, reason) = state_of(node, "lab", "file/y");
        (state == "blocked" && reason.starts_with("claim: the file belongs to file/x of group shop"))
            .then_some(())
    });
    assert_eq!(node.read_file("same"), "shop");
    // When the first group gives the file up, the other gets it at once.
    node.run_ok(&["-g", "shop", "rm", "file/x"]);
    wait_until(Duration::from_secs(3), "the other group's file", || {
        (node.read_file("same") == "lab").then_some(())
    });
}

fn an_obstacle_that_goes_away_is_noticed() {
    let lab = Lab::require(1);
    let nodes = start_cluster(&lab, LARDER);
    let node = &nodes[0];
    let obstacle = node.data_dir.join("files/obst");
    std::fs::create_dir_all(&obstacle).unwrap();
    node.run_ok(&["set", "file/o", "path=obst", "content=x"]);
    wait_for_state(node, "file/o", "blocked", "the path is a directory");
    std::fs::remove_dir(&obstacle).unwrap();
    wait_for_state(node, "file/o", "applied", "");
    assert_eq!(node.read_file("obst"), "x");
}

fn a_missing_root_does_not_stop_the_daemon() {
    let lab = Lab::require(1);
    let mut nodes = start_cluster(&lab, LARDER);
    let node = &mut nodes[0];
    node.stop();
    let (here, missing) = (lab.log_dir().join("here"), lab.log_dir().join("missing"));
    std::fs::create_dir(&here).unwrap();
    node.start(&["daemon", "--root", here.to_str().unwrap(), "--root", missing.to_str().unwrap()]);
    node.run_ok(&["set", "file/a", "path=a", "content=x"]);
    let path = format!("path={}", missing.join("b").display());
    node.run_ok(&["set", "file/b", &path, "content=y"]);
    wait_for_state(node, "file/a", "applied", "");
    wait_for_state(node, "file/b", "blocked", "the root cannot be opened");
    std::fs::create_dir(&missing).unwrap();
    wait_for_state(node, "file/b", "applied", "");
    assert_eq!(std::fs::read_to_string(missing.join("b")).unwrap(), "y");
}

fn a_root_that_was_replaced_is_noticed() {
    let lab = Lab::require(1);
    let mut nodes = start_cluster(&lab, LARDER);
    let node = &mut nodes[0];
    node.stop();
    let root = lab.log_dir().join("root");
    std::fs::create_dir(&root).unwrap();
    node.start(&["daemon", "--root", root.to_str().unwrap()]);
    node.run_ok(&["set", "file/h", "path=h.conf", "content=one"]);
    wait_for_state(node, "file/h", "applied", "");
    std::fs::rename(&root, lab.log_dir().join("former")).unwrap();
    std::fs::create_dir(&root).unwrap();
    node.run_ok(&["set", "file/h", "content=two"]);
    wait_until(WAIT_LIMIT, "the file in the new directory", || {
        (std::fs::read_to_string(root.join("h.conf")).ok()? == "two").then_some(())
    });
    assert_eq!(std::fs::read_to_string(lab.log_dir().join("former/h.conf")).unwrap(), "one");
}

fn the_umask_of_the_daemon_does_not_close_new_directories() {
    use std::os::unix::fs::PermissionsExt as _;
    let lab = Lab::require(1);
    let mut nodes = start_cluster(&lab, LARDER);
    let node = &mut nodes[0];
    node.stop();
    let root = lab.log_dir().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755)).unwrap();
    node.start_with_umask("077", &["daemon", "--root", root.to_str().unwrap()]);
    node.run_ok(&["set", "file/a", "path=sub/deep/app.conf", "content=hi"]);
    wait_for_state(node, "file/a", "applied", "");
    let mode = |path: &str| std::fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!([mode("sub"), mode("sub/deep"), mode("sub/deep/app.conf")], [0o755, 0o755, 0o644]);
}

fn a_group_cannot_write_the_settings_of_a_host() {
    let lab = Lab::require(1);
    let mut nodes = start_cluster(&lab, LARDER);
    let node = &mut nodes[0];
    node.stop();
    let parent = node.data_dir.parent().unwrap().to_owned();
    node.start(&["daemon", "--root", parent.to_str().unwrap()]);
    let path = format!("path={}/larder.toml", node.data_dir.file_name().unwrap().display());
    node.run_ok(&["set", "file/e", &path, "content=roots = [\"/\"]"]);
    wait_for_state(node, "file/e", "blocked", "the daemon's own files");
    assert!(!node.data_dir.join("larder.toml").exists());
}

fn deselecting_a_config_restores_the_lines_that_it_replaced() {
    let lab = Lab::require(1);
    let nodes = start_cluster(&lab, LARDER);
    let node = &nodes[0];
    let file = node.data_dir.join("files/sysctl.conf");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "# mine\nip_forward = 0\nother = 1\n").unwrap();
    node.run_ok(&["set", "config/s", "path=sysctl.conf", "keys.ip_forward=1", "keys.new=2"]);
    wait_until(WAIT_LIMIT, "the keys", || {
        (node.read_file("sysctl.conf") == "# mine\nip_forward = 1\nother = 1\nnew = 2\n").then_some(())
    });
    node.run_ok(&["set", "config/s", "select=role=none"]);
    wait_until(WAIT_LIMIT, "the former lines", || {
        (node.read_file("sysctl.conf") == "# mine\nip_forward = 0\nother = 1\n").then_some(())
    });
}
