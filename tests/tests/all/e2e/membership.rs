//! Membership: removal, roles, leaving, recovery, copied hosts, and joining without a code.

use std::path::Path;

use larder_tests::lab::{Lab, wait_until};
use larder_tests::node::{TestNode, WAIT_LIMIT, start_cluster, start_daemons, wait_until_converged};
use serde_json::Value;

use super::LARDER;

tests! {
    a_removed_node_is_excluded_everywhere_and_learns_of_it,
    changes_of_a_member_removed_during_a_cut_are_held_or_unaccepted,
    an_admin_readmits_an_unaccepted_change,
    a_restored_directory_catches_up_and_nothing_old_comes_back,
    a_host_rolled_back_unnoticed_forks_and_loses_nothing,
    two_admins_can_remove_each_others_appointees_concurrently,
    a_single_use_code_admits_only_one_node,
    a_left_or_deleted_group_does_not_come_back,
    the_recovery_key_regains_a_group_without_admins,
    a_stranger_sees_no_group_data_and_is_admitted_by_six_digits,
    roles_are_enforced_whoever_relays_changes,
}

fn node_row(on: &TestNode<'_>, id: &str) -> Option<Value> {
    let nodes = on.run_json(&["nodes"]);
    nodes["nodes"].as_array()?.iter().find(|node| node["id"] == id).cloned()
}

fn node_state(on: &TestNode<'_>, id: &str) -> String {
    node_row(on, id).and_then(|row| Some(row["state"].as_str()?.to_owned())).unwrap_or_default()
}

fn field_value(on: &TestNode<'_>, field: &str) -> Value {
    on.run_json(&["get", "config/db"])["fields"][field].clone()
}

fn conflicts(on: &TestNode<'_>) -> Vec<Value> {
    on.run_json(&["conflicts"])["conflicts"].as_array().cloned().unwrap_or_default()
}

fn unaccepted_changes(on: &TestNode<'_>) -> Vec<Value> {
    let all = on.run_json(&["quarantine", "list"]);
    all["changes"].as_array().cloned().unwrap_or_default()
}

fn copy_dir(from: &Path, to: &Path) {
    drop(std::fs::remove_dir_all(to));
    let copied = std::process::Command::new("cp").arg("-a").arg("--").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// A connected node that is removed learns of it at once. No member accepts its changes or sends it new ones.
/// Its own commands name the admin who removed it, and its data stays readable.
fn a_removed_node_is_excluded_everywhere_and_learns_of_it() {
    let lab = Lab::require(3);
    let mut nodes = start_cluster(&lab, LARDER);
    nodes[2].run_ok(&["set", "config/db", "path=db", "keys.url=two"]);
    wait_until_converged(&nodes);
    let removed = nodes[2].id();
    nodes[0].run_ok(&["remove", "n2", "-m", "sold"]);
    wait_until(WAIT_LIMIT, "all to see it removed", || {
        nodes.iter().all(|node| node_state(node, &removed) == "removed").then_some(())
    });
    // The removed node cannot write, but can read.
    let refused = nodes[2].run_larder(&["set", "config/db", "keys.url=three"]);
    assert_eq!(refused.exit_code, 5, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("removed from group `shop` by") && refused.stderr.contains("sold"),
        "{}",
        refused.stderr
    );
    assert_eq!(field_value(&nodes[2], "keys.url"), "two");
    let status = nodes[2].run_larder(&["status"]).stderr;
    assert!(status.contains("was removed from group"), "{status}");
    assert!(nodes[2].run_ok(&["groups"]).contains("removed"));
    // Its earlier changes count, without a conflict.
    assert_eq!((field_value(&nodes[0], "keys.url"), conflicts(&nodes[0]).len()), (Value::from("two"), 0));
    // The other members continue without it, also after a restart of all nodes.
    nodes[1].run_ok(&["set", "config/db", "keys.url=four"]);
    wait_until_converged(&nodes[..2]);
    for node in &mut nodes {
        node.stop();
        node.start(&["daemon"]);
    }
    wait_until_converged(&nodes[..2]);
    assert_eq!(field_value(&nodes[2], "keys.url"), "two", "nothing new came to it");
    assert_eq!(node_state(&nodes[2], &removed), "removed");
    // The file that it applied stays as it is.
    assert_eq!(nodes[2].read_file("db"), "url=two\n");
    // A forgotten node is not listed as a member any more.
    nodes[1].run_larder(&["forget", "n2"]);
    nodes[0].run_ok(&["forget", "n2"]);
    assert_eq!(node_state(&nodes[0], &removed), "seen");
    // The node may join again.
    let code = nodes[0].create_invite(1);
    nodes[2].run_ok(&["join", &code]);
    wait_until_converged(&nodes);
    assert_eq!(field_value(&nodes[2], "keys.url"), "four");
}

/// A removed member wrote during a cut. Its changes reached one side, where an honest member built on one of
/// them.
fn changes_of_a_member_removed_during_a_cut_are_held_or_unaccepted() {
    let lab = Lab::require(4);
    let nodes = start_cluster(&lab, LARDER);
    nodes[0].run_ok(&["set", "config/db", "path=db", "keys.url=one"]);
    wait_until_converged(&nodes);
    lab.partition(&[&[0, 1], &[2, 3]]);
    nodes[0].run_ok(&["remove", "n3"]);
    // The members on this side do not know of the removal yet. n3 writes, and n2 builds on one of its
    // changes.
    nodes[3].run_ok(&["set", "config/db", "keys.url=bad"]);
    wait_until(WAIT_LIMIT, "n2 to have it", || (field_value(&nodes[2], "keys.url") == "bad").then_some(()));
    nodes[2].run_ok(&["set", "config/db", "keys.honest=1"]);
    wait_until(WAIT_LIMIT, "n3 to have that", || {
        (field_value(&nodes[3], "keys.honest") == "1").then_some(())
    });
    nodes[3].run_ok(&["set", "config/db", "keys.late=1"]);
    wait_until(WAIT_LIMIT, "n2 to have the last", || {
        (field_value(&nodes[2], "keys.late") == "1").then_some(())
    });
    lab.heal();
    wait_until_converged(&nodes[..3]);
    for node in &nodes[..3] {
        // The change that an honest member built on is accepted as a dependency, and listed as a conflict.
        assert_eq!(field_value(node, "keys.honest"), "1");
        let found = conflicts(node);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((&found[0]["kind"], &found[0]["field"]), (&"removed-author".into(), &"keys.url".into()));
        assert_eq!(found[0]["base"], "one");
        assert_eq!(field_value(node, "keys.late"), Value::Null);
        assert_eq!(node.run_larder(&["set", "config/db", "keys.url=x"]).exit_code, 5, "it is in conflict");
    }
    // The later change is quarantined on the node that received it, and is not sent to others.
    let late = unaccepted_changes(&nodes[2]);
    assert_eq!(late.len(), 1, "{late:?}");
    assert_eq!(late[0]["state"], "quarantine");
    assert!(late[0]["reason"].as_str().unwrap().contains("ended the membership of its author"), "{late:?}");
    assert_eq!(unaccepted_changes(&nodes[0]).len() + unaccepted_changes(&nodes[1]).len(), 0);
    assert_eq!(nodes[0].read_file("db"), "url=one\nhonest=1\n", "the machine keeps what stood before");
    // A resolution on one node resolves the conflict on all.
    let side = conflicts(&nodes[1])[0]["values"]
        .as_array()
        .unwrap()
        .iter()
        .find(|side| side["value"] == "one")
        .cloned();
    nodes[1].run_ok(&["resolve", "config/db", "keys.url", "--take", side.unwrap()["tag"].as_str().unwrap()]);
    wait_until_converged(&nodes[..3]);
    assert!(
        nodes[..3].iter().all(|node| conflicts(node).is_empty() && field_value(node, "keys.url") == "one")
    );
    // An admin could readmit the late change. n2 is not an admin, so it writes the same edit again.
    let id = late[0]["id"].as_str().unwrap();
    assert_eq!(nodes[2].run_larder(&["quarantine", "readmit", id]).exit_code, 5);
    assert!(nodes[2].run_ok(&["quarantine", "show", id]).contains("config/db keys.late = \"1\""));
    nodes[2].run_ok(&["quarantine", "rewrite", id, "-m", "it was right"]);
    wait_until_converged(&nodes[..3]);
    assert_eq!(field_value(&nodes[0], "keys.late"), "1");
}

/// An admin readmits a quarantined change, which then counts on every node.
fn an_admin_readmits_an_unaccepted_change() {
    let lab = Lab::require(3);
    let nodes = start_cluster(&lab, LARDER);
    nodes[0].run_ok(&["role", "n1", "admin"]);
    nodes[0].run_ok(&["set", "config/db", "path=db", "keys.url=one"]);
    wait_until_converged(&nodes);
    lab.partition(&[&[0], &[1, 2]]);
    nodes[0].run_ok(&["remove", "n2"]);
    nodes[2].run_ok(&["set", "config/db", "keys.url=two"]);
    wait_until(WAIT_LIMIT, "n1 to have it", || (field_value(&nodes[1], "keys.url") == "two").then_some(()));
    lab.heal();
    wait_until_converged(&nodes[..2]);
    assert_eq!(field_value(&nodes[1], "keys.url"), "one");
    let unaccepted = unaccepted_changes(&nodes[1]);
    nodes[1].run_ok(&["quarantine", "readmit", unaccepted[0]["id"].as_str().unwrap(), "-m", "it was meant"]);
    wait_until_converged(&nodes[..2]);
    assert!(
        nodes[..2].iter().all(|node| field_value(node, "keys.url") == "two" && conflicts(node).is_empty())
    );
    assert!(nodes[..2].iter().all(|node| unaccepted_changes(node).is_empty()));
}

/// An old copy of a data directory is restored.
fn a_restored_directory_catches_up_and_nothing_old_comes_back() {
    let lab = Lab::require(3);
    let mut nodes = start_cluster(&lab, LARDER);
    nodes[1].run_ok(&["set", "config/db", "path=db", "keys.url=old"]);
    wait_until_converged(&nodes);
    nodes[1].stop();
    let backup = nodes[1].data_dir.with_extension("backup");
    copy_dir(&nodes[1].data_dir, &backup);
    nodes[1].start(&["daemon"]);
    nodes[1].run_ok(&["set", "config/db", "keys.url=new"]);
    nodes[1].run_ok(&["set", "config/db", "keys.more=1"]);
    wait_until_converged(&nodes);
    nodes[1].stop();
    nodes[0].run_ok(&["set", "config/db", "keys.url=newest"]);
    copy_dir(&backup, &nodes[1].data_dir);
    // The node writes before it meets a member. It knows by the marker file that the store was copied.
    lab.partition(&[&[0, 2], &[1]]);
    nodes[1].start(&["daemon"]);
    nodes[1].run_ok(&["set", "config/db", "keys.offline=1"]);
    lab.heal();
    wait_until_converged(&nodes);
    for node in &nodes {
        assert_eq!(field_value(node, "keys.url"), "newest");
        assert_eq!(
            (field_value(node, "keys.more"), field_value(node, "keys.offline")),
            ("1".into(), "1".into())
        );
        assert!(conflicts(node).is_empty() && unaccepted_changes(node).is_empty());
    }
    drop(std::fs::remove_dir_all(backup));
}

/// A host is rolled back unnoticed, like a virtual machine to a snapshot: the store is the same file with
/// older contents.
fn a_host_rolled_back_unnoticed_forks_and_loses_nothing() {
    let lab = Lab::require(3);
    let mut nodes = start_cluster(&lab, LARDER);
    nodes[1].run_ok(&["set", "config/db", "path=db", "keys.url=old"]);
    wait_until_converged(&nodes);
    nodes[1].stop();
    let store = nodes[1].data_dir.join("store.redb");
    let old = std::fs::read(&store).unwrap();
    nodes[1].start(&["daemon"]);
    nodes[1].run_ok(&["set", "config/db", "keys.first=1"]);
    wait_until_converged(&nodes);
    nodes[1].stop();
    // Writing in place keeps the inode of the file.
    std::fs::write(&store, &old).unwrap();
    lab.partition(&[&[0, 2], &[1]]);
    nodes[1].start(&["daemon"]);
    nodes[1].run_ok(&["set", "config/db", "keys.second=1"]);
    lab.heal();
    wait_until_converged(&nodes);
    let id = nodes[1].id();
    for node in &nodes {
        let (first, second) = (field_value(node, "keys.first"), field_value(node, "keys.second"));
        let unaccepted = unaccepted_changes(node);
        // Every node accepts the same branch, and the other branch is unaccepted.
        assert!((first == "1") != (second == "1"), "{first} {second}");
        assert_eq!(unaccepted.len(), 1, "{unaccepted:?}");
        assert!(unaccepted[0]["reason"].as_str().unwrap().contains("forked"), "{unaccepted:?}");
        assert_eq!(node_row(node, &id).unwrap()["forked"], true);
    }
    assert!(nodes[0].run_larder(&["doctor"]).stdout.contains("forked"));
    // The node continues with a new incarnation, and writes the edits of the lost branch again.
    nodes[1].run_ok(&["set", "config/db", "keys.third=1"]);
    let lost = unaccepted_changes(&nodes[1])[0]["id"].as_str().unwrap().to_owned();
    nodes[1].run_ok(&["quarantine", "rewrite", &lost]);
    wait_until_converged(&nodes);
    for field in ["keys.first", "keys.second", "keys.third"] {
        assert!(nodes.iter().all(|node| field_value(node, field) == "1"), "{field}");
    }
}

/// During a cut, each of two admins removes the node that the other admitted.
fn two_admins_can_remove_each_others_appointees_concurrently() {
    let lab = Lab::require(4);
    let nodes = start_daemons(&lab, LARDER);
    nodes[0].run_ok(&["init", "shop"]);
    let code = nodes[0].run_ok(&["invite", "--role", "admin"]);
    nodes[1].run_ok(&["join", code.trim(), "--alias", "n1"]);
    let code = nodes[0].create_invite(1);
    nodes[2].run_ok(&["join", &code, "--alias", "n2"]);
    let code = nodes[1].create_invite(1);
    nodes[3].run_ok(&["join", &code, "--alias", "n3"]);
    wait_until_converged(&nodes);
    lab.partition(&[&[0], &[1]]);
    nodes[0].run_ok(&["remove", "n3"]);
    nodes[1].run_ok(&["remove", "n2"]);
    lab.heal();
    let (second, third) = (nodes[2].id(), nodes[3].id());
    wait_until(WAIT_LIMIT, "both to be out, and to know it", || {
        let out = |node: &TestNode<'_>| {
            node_state(node, &second) == "removed" && node_state(node, &third) == "removed"
        };
        // A removed node learns of its own removal, but not of later ones.
        let knows = node_state(&nodes[2], &second) == "removed" && node_state(&nodes[3], &third) == "removed";
        (knows && nodes[..2].iter().all(out)).then_some(())
    });
    wait_until_converged(&nodes[..2]);
    for node in &nodes[2..] {
        assert_eq!(node.run_larder(&["set", "config/db", "path=x"]).exit_code, 5);
    }
}

/// Two nodes on different sides of a cut use a single-use code. Only its issuer counts uses, so it admits
/// only one of them.
fn a_single_use_code_admits_only_one_node() {
    let lab = Lab::require(4);
    let nodes = start_daemons(&lab, LARDER);
    nodes[0].run_ok(&["init", "shop"]);
    let code = nodes[0].create_invite(1);
    nodes[1].run_ok(&["join", &code, "--alias", "n1"]);
    wait_until_converged(&nodes[..2]);
    let code = nodes[0].create_invite(1);
    // n2 meets the issuer. n3 meets only a member that stores its request.
    lab.partition(&[&[0, 2], &[1, 3]]);
    nodes[2].run_ok(&["join", &code, "--alias", "n2"]);
    let waits = nodes[3].run_larder(&["join", &code, "--alias", "n3", "--timeout", "6"]);
    assert_eq!(waits.exit_code, 6, "{} {}", waits.stdout, waits.stderr);
    assert!(nodes[1].run_ok(&["pending"]).contains("n3"));
    lab.heal();
    wait_until(WAIT_LIMIT, "n3 to be refused", || {
        let groups = nodes[3].run_json(&["groups"]);
        groups["joining"].as_array().unwrap().is_empty().then_some(())
    });
    assert!(nodes[3].run_json(&["groups"])["groups"].as_array().unwrap().is_empty());
    wait_until_converged(&nodes[..3]);
}

/// A node that left stays out, and a deleted group stays deleted. Their data stays readable.
fn a_left_or_deleted_group_does_not_come_back() {
    let lab = Lab::require(3);
    let mut nodes = start_cluster(&lab, LARDER);
    nodes[2].run_ok(&["set", "config/db", "path=db", "keys.url=one"]);
    wait_until_converged(&nodes);
    // The node leaves while it is disconnected. The others learn of it after the heal.
    lab.partition(&[&[0, 1], &[2]]);
    let left = nodes[2].id();
    nodes[2].run_ok(&["leave", "-m", "moved out"]);
    assert_eq!(node_state(&nodes[2], &left), "left");
    assert_eq!(nodes[2].run_larder(&["set", "config/db", "keys.url=x"]).exit_code, 5);
    lab.heal();
    wait_until(WAIT_LIMIT, "the others to hear", || {
        nodes[..2].iter().all(|node| node_state(node, &left) == "left").then_some(())
    });
    nodes[0].run_ok(&["set", "config/db", "keys.url=two"]);
    wait_until_converged(&nodes[..2]);
    assert_eq!(field_value(&nodes[2], "keys.url"), "one");
    // The founder deletes the group while n1 is stopped.
    assert_eq!(nodes[1].run_larder(&["delete-group", "shop"]).exit_code, 5);
    nodes[1].stop();
    nodes[0].run_ok(&["delete-group", "shop"]);
    assert_eq!(nodes[0].run_larder(&["set", "config/db", "keys.url=x"]).exit_code, 5);
    nodes[1].start(&["daemon"]);
    wait_until(WAIT_LIMIT, "n1 to hear", || nodes[1].run_ok(&["groups"]).contains("dissolved").then_some(()));
    for node in &mut nodes {
        node.stop();
        node.start(&["daemon"]);
    }
    assert!(nodes[..2].iter().all(|node| node.run_ok(&["groups"]).contains("dissolved")));
    assert_eq!(field_value(&nodes[1], "keys.url"), "two");
    assert_eq!(nodes[1].run_larder(&["invite"]).exit_code, 5);
}

/// The host of the last admin is lost, and the recovery key appoints another admin.
fn the_recovery_key_regains_a_group_without_admins() {
    let lab = Lab::require(2);
    let mut nodes = start_cluster(&lab, LARDER);
    let groups = nodes[0].run_json(&["groups"]);
    let id = groups["groups"][0]["id"].as_str().unwrap();
    let key = nodes[0].data_dir.join(format!("recovery-{id}.key"));
    let kept = nodes[1].data_dir.with_extension("key");
    std::fs::copy(&key, &kept).unwrap();
    nodes[0].kill();
    assert_eq!(nodes[1].run_larder(&["invite"]).exit_code, 5);
    let wrong = nodes[1].data_dir.join("node.key");
    assert_eq!(nodes[1].run_larder(&["recover", "--key", wrong.to_str().unwrap()]).exit_code, 5);
    nodes[1].run_ok(&["recover", "--key", kept.to_str().unwrap()]);
    nodes[1].run_ok(&["invite"]);
    assert_eq!(
        nodes[1].run_larder(&["remove", "n0"]).exit_code,
        5,
        "nobody stands above the founder but the key"
    );
    drop(std::fs::remove_file(kept));
}

/// A non-member sees that nodes exist, and no data of the group. Its join without a code is pending until six
/// digits are compared on both screens.
fn a_stranger_sees_no_group_data_and_is_admitted_by_six_digits() {
    let lab = Lab::require(3);
    let nodes = start_daemons(&lab, LARDER);
    nodes[0].run_ok(&["init", "secretshop"]);
    let code = nodes[0].create_invite(1);
    nodes[1].run_ok(&["join", &code, "--alias", "hiddenname"]);
    let (stranger, member) = (nodes[2].id(), nodes[0].id());
    let seen = wait_until(WAIT_LIMIT, "the stranger to see a member", || node_row(&nodes[2], &member));
    assert_eq!(seen["state"], "seen");
    let all = nodes[2].run_ok(&["nodes", "--wide"]) + &nodes[2].run_ok(&["nodes", "--json"]);
    assert!(!all.contains("secretshop") && !all.contains("hiddenname"), "{all}");
    assert_eq!(node_state(&nodes[0], &stranger), "seen");
    // The command gives up after its timeout; the request stays pending.
    let pairing_attempt = nodes[2].run_larder(&["join", "--alias", "till", "--timeout", "4"]);
    assert_eq!(pairing_attempt.exit_code, 6, "{}", pairing_attempt.stderr);
    assert!(pairing_attempt.stderr.contains("Digits: "), "{}", pairing_attempt.stderr);
    let pending = wait_until(WAIT_LIMIT, "it to be pending", || {
        let pending = nodes[0].run_json(&["pending"])["pending"].as_array().unwrap().clone();
        pending.into_iter().find(|row| row["digits"].is_string())
    });
    assert_eq!((&pending["id"], &pending["alias"]), (&stranger.clone().into(), &"till".into()));
    assert_eq!(node_state(&nodes[0], &stranger), "pending");
    let digits = pending["digits"].as_str().unwrap();
    assert!(pairing_attempt.stderr.contains(digits), "{} {digits}", pairing_attempt.stderr);
    let wrong = format!("{:06}", (digits.parse::<u32>().unwrap() + 1) % 1_000_000);
    assert_eq!(nodes[0].run_larder(&["approve", "till", "--role", "node", "--digits", &wrong]).exit_code, 5);
    nodes[0].run_ok(&["approve", "till", "--role", "node", "--digits", digits]);
    // The joining node's own operator must compare the digits, too.
    assert!(nodes[2].run_json(&["groups"])["groups"].as_array().unwrap().is_empty());
    let joined = nodes[2].run_larder(&["join", "--alias", "till", "--digits", digits, "--timeout", "20"]);
    assert_eq!(joined.exit_code, 0, "{}", joined.stderr);
    assert!(
        joined.stderr.contains("This node is now in group `secretshop` with the role node"),
        "{}",
        joined.stderr
    );
    assert_eq!(node_state(&nodes[0], &stranger), "up");
    wait_until_converged(&nodes);
}

/// The role of a member decides what it may write, no matter which member relays its changes.
fn roles_are_enforced_whoever_relays_changes() {
    let lab = Lab::require(3);
    let nodes = start_cluster(&lab, LARDER);
    nodes[0].run_ok(&["role", "n1", "node"]);
    wait_until(WAIT_LIMIT, "n1 to know", || {
        (nodes[1].run_larder(&["set", "config/db", "path=db", "keys.x=1"]).exit_code == 5).then_some(())
    });
    nodes[0].run_ok(&["role", "n1", "reader"]);
    let id = nodes[1].id();
    wait_until(WAIT_LIMIT, "n2 to know", || (node_row(&nodes[2], &id)?["role"] == "reader").then_some(()));
    nodes[0].run_ok(&["role", "n1", "operator"]);
    wait_until(WAIT_LIMIT, "n1 to write again", || {
        (nodes[1].run_larder(&["set", "config/db", "path=db", "keys.x=1"]).exit_code == 0).then_some(())
    });
    wait_until_converged(&nodes);
    assert_eq!(field_value(&nodes[2], "keys.x"), "1");
    assert_eq!(nodes[1].run_larder(&["role", "n2", "admin"]).exit_code, 5);
    assert_eq!(nodes[0].run_larder(&["role", "n0", "operator"]).exit_code, 5, "the last admin stays one");
    assert_eq!(nodes[0].run_larder(&["leave"]).exit_code, 5);
}
