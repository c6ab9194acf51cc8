//! Who is in a group and who is not: removal, roles, leaving, recovery, copies, and ways in without a code.

use std::path::Path;
use std::time::{Duration, Instant};

use larder_tests::lab::until;
use larder_tests::node::{Node, PATIENCE, cluster, converge, daemons};
use serde_json::Value;

use super::{LARDER, lab};

fn row(on: &Node<'_>, id: &str) -> Option<Value> {
    let nodes = on.json(&["nodes"]);
    nodes["nodes"].as_array()?.iter().find(|node| node["id"] == id).cloned()
}

fn state(on: &Node<'_>, id: &str) -> String {
    row(on, id).and_then(|row| Some(row["state"].as_str()?.to_owned())).unwrap_or_default()
}

fn value(on: &Node<'_>, field: &str) -> Value {
    on.json(&["get", "config/db"])["fields"][field].clone()
}

fn conflicts(on: &Node<'_>) -> Vec<Value> {
    on.json(&["conflicts"])["conflicts"].as_array().cloned().unwrap_or_default()
}

fn aside(on: &Node<'_>) -> Vec<Value> {
    let all = on.json(&["quarantine", "list"]);
    all["changes"].as_array().cloned().unwrap_or_default()
}

fn copy(from: &Path, to: &Path) {
    drop(std::fs::remove_dir_all(to));
    let copied = std::process::Command::new("cp").arg("-a").arg("--").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// T8: a removed node that is connected hears of it at once; nobody takes anything from it or gives it anything; its own
/// commands say who removed it, and what it had stays readable.
#[test]
fn a_removed_node_is_out_everywhere_and_is_told_so() {
    let lab = lab!(3, "a_removed_node_is_out_everywhere_and_is_told_so");
    let mut nodes = cluster(&lab, LARDER);
    nodes[2].ok(&["set", "config/db", "path=db", "keys.url=two"]);
    converge(&nodes);
    let removed = nodes[2].id();
    nodes[0].ok(&["remove", "n2", "-m", "sold"]);
    until(PATIENCE, "all to see it removed", || {
        nodes.iter().all(|node| state(node, &removed) == "removed").then_some(())
    });
    // It writes no more, and reads on.
    let refused = nodes[2].larder(&["set", "config/db", "keys.url=three"]);
    assert_eq!(refused.code, 5, "{}", refused.err);
    assert!(
        refused.err.contains("removed from group `shop` by") && refused.err.contains("sold"),
        "{}",
        refused.err
    );
    assert_eq!(value(&nodes[2], "keys.url"), "two");
    let status = nodes[2].larder(&["status"]).err;
    assert!(status.contains("was removed from group"), "{status}");
    assert!(nodes[2].ok(&["groups"]).contains("removed"));
    // What it wrote before counts, and is no conflict.
    assert_eq!((value(&nodes[0], "keys.url"), conflicts(&nodes[0]).len()), (Value::from("two"), 0));
    // The others go on without it, over a restart of everybody.
    nodes[1].ok(&["set", "config/db", "keys.url=four"]);
    converge(&nodes[..2]);
    for node in &mut nodes {
        node.stop();
        node.start(&["daemon"]);
    }
    converge(&nodes[..2]);
    assert_eq!(value(&nodes[2], "keys.url"), "two", "nothing new came to it");
    assert_eq!(state(&nodes[2], &removed), "removed");
    // What it applied stays as it is.
    assert_eq!(nodes[2].file("db"), "url=two\n");
    // Forgotten, it is listed no more.
    nodes[1].larder(&["forget", "n2"]);
    nodes[0].ok(&["forget", "n2"]);
    assert_eq!(state(&nodes[0], &removed), "seen");
    // And it may be let in again.
    let code = nodes[0].invite(1);
    nodes[2].ok(&["join", &code]);
    converge(&nodes);
    assert_eq!(value(&nodes[2], "keys.url"), "four");
}

/// A removed member kept writing during a cut, and its changes had spread to one side, where others built on them.
#[test]
fn what_a_removed_member_wrote_in_a_cut_is_held_or_kept_aside() {
    let lab = lab!(4, "what_a_removed_member_wrote_in_a_cut_is_held_or_kept_aside");
    let nodes = cluster(&lab, LARDER);
    nodes[0].ok(&["set", "config/db", "path=db", "keys.url=one"]);
    converge(&nodes);
    lab.split(&[&[0, 1], &[2, 3]]);
    nodes[0].ok(&["remove", "n3"]);
    // On its own side nobody has heard: it writes, and n2 builds on one of these writes.
    nodes[3].ok(&["set", "config/db", "keys.url=bad"]);
    until(PATIENCE, "n2 to have it", || (value(&nodes[2], "keys.url") == "bad").then_some(()));
    nodes[2].ok(&["set", "config/db", "keys.honest=1"]);
    until(PATIENCE, "n3 to have that", || (value(&nodes[3], "keys.honest") == "1").then_some(()));
    nodes[3].ok(&["set", "config/db", "keys.late=1"]);
    until(PATIENCE, "n2 to have the last", || (value(&nodes[2], "keys.late") == "1").then_some(()));
    lab.heal();
    converge(&nodes[..3]);
    for node in &nodes[..3] {
        // What an honest member built upon is held, and listed.
        assert_eq!(value(node, "keys.honest"), "1");
        let found = conflicts(node);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((&found[0]["kind"], &found[0]["field"]), (&"removed-author".into(), &"keys.url".into()));
        assert_eq!(found[0]["base"], "one");
        assert_eq!(value(node, "keys.late"), Value::Null);
        assert_eq!(node.larder(&["set", "config/db", "keys.url=x"]).code, 5, "it is in conflict");
    }
    // What came after is in the quarantine of the one that had it, and goes nowhere.
    let late = aside(&nodes[2]);
    assert_eq!(late.len(), 1, "{late:?}");
    assert_eq!(late[0]["state"], "quarantine");
    assert!(late[0]["why"].as_str().unwrap().contains("membership was ended"), "{late:?}");
    assert_eq!(aside(&nodes[0]).len() + aside(&nodes[1]).len(), 0);
    assert_eq!(nodes[0].file("db"), "url=one\nhonest=1\n", "the machine keeps what stood before");
    // Settled on one, it is settled on all.
    let side = conflicts(&nodes[1])[0]["values"]
        .as_array()
        .unwrap()
        .iter()
        .find(|side| side["value"] == "one")
        .cloned();
    nodes[1].ok(&["resolve", "config/db", "keys.url", "--take", side.unwrap()["tag"].as_str().unwrap()]);
    converge(&nodes[..3]);
    assert!(nodes[..3].iter().all(|node| conflicts(node).is_empty() && value(node, "keys.url") == "one"));
    // An admin that has the late one may bring it in; n2 is none, so it writes it again.
    let id = late[0]["id"].as_str().unwrap();
    assert_eq!(nodes[2].larder(&["quarantine", "readmit", id]).code, 5);
    assert!(nodes[2].ok(&["quarantine", "show", id]).contains("config/db keys.late = \"1\""));
    nodes[2].ok(&["quarantine", "rewrite", id, "-m", "it was right"]);
    converge(&nodes[..3]);
    assert_eq!(value(&nodes[0], "keys.late"), "1");
}

/// An admin brings back what it has in quarantine, and it counts everywhere.
#[test]
fn an_admin_readmits_what_was_left_outside() {
    let lab = lab!(3, "an_admin_readmits_what_was_left_outside");
    let nodes = cluster(&lab, LARDER);
    nodes[0].ok(&["role", "n1", "admin"]);
    nodes[0].ok(&["set", "config/db", "path=db", "keys.url=one"]);
    converge(&nodes);
    lab.split(&[&[0], &[1, 2]]);
    nodes[0].ok(&["remove", "n2"]);
    nodes[2].ok(&["set", "config/db", "keys.url=two"]);
    until(PATIENCE, "n1 to have it", || (value(&nodes[1], "keys.url") == "two").then_some(()));
    lab.heal();
    converge(&nodes[..2]);
    assert_eq!(value(&nodes[1], "keys.url"), "one");
    let outside = aside(&nodes[1]);
    nodes[1].ok(&["quarantine", "readmit", outside[0]["id"].as_str().unwrap(), "-m", "it was meant"]);
    converge(&nodes[..2]);
    assert!(nodes[..2].iter().all(|node| value(node, "keys.url") == "two" && conflicts(node).is_empty()));
    assert!(nodes[..2].iter().all(|node| aside(node).is_empty()));
}

/// E12, and N7 of a single machine: a directory from last week is put back under its own daemon.
#[test]
fn a_restored_directory_catches_up_and_nothing_old_comes_back() {
    let lab = lab!(3, "a_restored_directory_catches_up_and_nothing_old_comes_back");
    let mut nodes = cluster(&lab, LARDER);
    nodes[1].ok(&["set", "config/db", "path=db", "keys.url=old"]);
    converge(&nodes);
    nodes[1].stop();
    let backup = nodes[1].data.with_extension("backup");
    copy(&nodes[1].data, &backup);
    nodes[1].start(&["daemon"]);
    nodes[1].ok(&["set", "config/db", "keys.url=new"]);
    nodes[1].ok(&["set", "config/db", "keys.more=1"]);
    converge(&nodes);
    nodes[1].stop();
    nodes[0].ok(&["set", "config/db", "keys.url=newest"]);
    copy(&backup, &nodes[1].data);
    // It writes before it meets anybody: the marker says that this is not where the store was made.
    lab.split(&[&[0, 2], &[1]]);
    nodes[1].start(&["daemon"]);
    nodes[1].ok(&["set", "config/db", "keys.offline=1"]);
    lab.heal();
    converge(&nodes);
    for node in &nodes {
        assert_eq!(value(node, "keys.url"), "newest");
        assert_eq!((value(node, "keys.more"), value(node, "keys.offline")), ("1".into(), "1".into()));
        assert!(conflicts(node).is_empty() && aside(node).is_empty());
    }
    drop(std::fs::remove_dir_all(backup));
}

/// A machine that is set back where nothing tells (a virtual machine's snapshot): the same file, older contents.
#[test]
fn a_machine_that_is_set_back_unnoticed_forks_and_loses_nothing() {
    let lab = lab!(3, "a_machine_that_is_set_back_unnoticed_forks_and_loses_nothing");
    let mut nodes = cluster(&lab, LARDER);
    nodes[1].ok(&["set", "config/db", "path=db", "keys.url=old"]);
    converge(&nodes);
    nodes[1].stop();
    let store = nodes[1].data.join("store.redb");
    let old = std::fs::read(&store).unwrap();
    nodes[1].start(&["daemon"]);
    nodes[1].ok(&["set", "config/db", "keys.first=1"]);
    converge(&nodes);
    nodes[1].stop();
    // In place, so that the file stays the same one.
    std::fs::write(&store, &old).unwrap();
    lab.split(&[&[0, 2], &[1]]);
    nodes[1].start(&["daemon"]);
    nodes[1].ok(&["set", "config/db", "keys.second=1"]);
    lab.heal();
    converge(&nodes);
    let id = nodes[1].id();
    for node in &nodes {
        let (first, second) = (value(node, "keys.first"), value(node, "keys.second"));
        let outside = aside(node);
        // One branch stays, the other is kept aside, everywhere alike.
        assert!((first == "1") != (second == "1"), "{first} {second}");
        assert_eq!(outside.len(), 1, "{outside:?}");
        assert!(outside[0]["why"].as_str().unwrap().contains("forked"), "{outside:?}");
        assert_eq!(row(node, &id).unwrap()["forked"], true);
    }
    assert!(nodes[0].larder(&["doctor"]).out.contains("forked"));
    // It writes on under a new incarnation, and an admin brings the other branch in as its own words.
    nodes[1].ok(&["set", "config/db", "keys.third=1"]);
    let lost = aside(&nodes[1])[0]["id"].as_str().unwrap().to_owned();
    nodes[1].ok(&["quarantine", "rewrite", &lost]);
    converge(&nodes);
    for field in ["keys.first", "keys.second", "keys.third"] {
        assert!(nodes.iter().all(|node| value(node, field) == "1"), "{field}");
    }
}

/// Two admins, on two sides of a cut, each remove the one that the other let in.
#[test]
fn two_admins_remove_each_others_appointees_at_once() {
    let lab = lab!(4, "two_admins_remove_each_others_appointees_at_once");
    let nodes = daemons(&lab, LARDER);
    nodes[0].ok(&["init", "shop"]);
    let code = nodes[0].ok(&["invite", "--role", "admin"]);
    nodes[1].ok(&["join", code.trim(), "--alias", "n1"]);
    let code = nodes[0].invite(1);
    nodes[2].ok(&["join", &code, "--alias", "n2"]);
    let code = nodes[1].invite(1);
    nodes[3].ok(&["join", &code, "--alias", "n3"]);
    converge(&nodes);
    lab.split(&[&[0], &[1]]);
    nodes[0].ok(&["remove", "n3"]);
    nodes[1].ok(&["remove", "n2"]);
    lab.heal();
    let (second, third) = (nodes[2].id(), nodes[3].id());
    until(PATIENCE, "both to be out, and to know it", || {
        let out = |node: &Node<'_>| state(node, &second) == "removed" && state(node, &third) == "removed";
        // Of others, whoever is out hears no more.
        let knows = state(&nodes[2], &second) == "removed" && state(&nodes[3], &third) == "removed";
        (knows && nodes[..2].iter().all(out)).then_some(())
    });
    converge(&nodes[..2]);
    for node in &nodes[2..] {
        assert_eq!(node.larder(&["set", "config/db", "path=x"]).code, 5);
    }
}

/// An invite for one machine, used by two at once on two sides of a cut: only its issuer counts, and it counts right.
#[test]
fn a_code_for_one_lets_only_one_in() {
    let lab = lab!(4, "a_code_for_one_lets_only_one_in");
    let nodes = daemons(&lab, LARDER);
    nodes[0].ok(&["init", "shop"]);
    let code = nodes[0].invite(1);
    nodes[1].ok(&["join", &code, "--alias", "n1"]);
    converge(&nodes[..2]);
    let code = nodes[0].invite(1);
    // n2 meets the issuer; n3 only a member that keeps its request.
    lab.split(&[&[0, 2], &[1, 3]]);
    nodes[2].ok(&["join", &code, "--alias", "n2"]);
    let waits = nodes[3].larder(&["join", &code, "--alias", "n3", "--timeout", "6"]);
    assert_eq!(waits.code, 6, "{} {}", waits.out, waits.err);
    assert!(nodes[1].ok(&["pending"]).contains("n3"));
    lab.heal();
    until(PATIENCE, "n3 to be refused", || {
        let groups = nodes[3].json(&["groups"]);
        groups["joining"].as_array().unwrap().is_empty().then_some(())
    });
    assert!(nodes[3].json(&["groups"])["groups"].as_array().unwrap().is_empty());
    converge(&nodes[..3]);
}

/// G1, G3: who left stays out, a group that was deleted stays deleted, and what was there stays readable.
#[test]
fn a_group_that_was_left_or_deleted_does_not_come_back() {
    let lab = lab!(3, "a_group_that_was_left_or_deleted_does_not_come_back");
    let mut nodes = cluster(&lab, LARDER);
    nodes[2].ok(&["set", "config/db", "path=db", "keys.url=one"]);
    converge(&nodes);
    // It leaves while it reaches nobody; the others hear when they meet.
    lab.split(&[&[0, 1], &[2]]);
    let left = nodes[2].id();
    nodes[2].ok(&["leave", "-m", "moved out"]);
    assert_eq!(state(&nodes[2], &left), "left");
    assert_eq!(nodes[2].larder(&["set", "config/db", "keys.url=x"]).code, 5);
    lab.heal();
    until(PATIENCE, "the others to hear", || {
        nodes[..2].iter().all(|node| state(node, &left) == "left").then_some(())
    });
    nodes[0].ok(&["set", "config/db", "keys.url=two"]);
    converge(&nodes[..2]);
    assert_eq!(value(&nodes[2], "keys.url"), "one");
    // The founder deletes the group while n1 is away.
    assert_eq!(nodes[1].larder(&["delete-group", "shop"]).code, 5);
    nodes[1].stop();
    nodes[0].ok(&["delete-group", "shop"]);
    assert_eq!(nodes[0].larder(&["set", "config/db", "keys.url=x"]).code, 5);
    nodes[1].start(&["daemon"]);
    until(PATIENCE, "n1 to hear", || nodes[1].ok(&["groups"]).contains("dissolved").then_some(()));
    for node in &mut nodes {
        node.stop();
        node.start(&["daemon"]);
    }
    assert!(nodes[..2].iter().all(|node| node.ok(&["groups"]).contains("dissolved")));
    assert_eq!(value(&nodes[1], "keys.url"), "two");
    assert_eq!(nodes[1].larder(&["invite"]).code, 5);
}

/// The last admin is lost with its machine: the recovery key makes another one.
#[test]
fn the_recovery_key_regains_a_group_without_admins() {
    let lab = lab!(2, "the_recovery_key_regains_a_group_without_admins");
    let mut nodes = cluster(&lab, LARDER);
    let groups = nodes[0].json(&["groups"]);
    let id = groups["groups"][0]["id"].as_str().unwrap();
    let key = nodes[0].data.join(format!("recovery-{id}.key"));
    let kept = nodes[1].data.with_extension("key");
    std::fs::copy(&key, &kept).unwrap();
    nodes[0].kill();
    assert_eq!(nodes[1].larder(&["invite"]).code, 5);
    let wrong = nodes[1].data.join("node.key");
    assert_eq!(nodes[1].larder(&["recover", "--key", wrong.to_str().unwrap()]).code, 5);
    nodes[1].ok(&["recover", "--key", kept.to_str().unwrap()]);
    nodes[1].ok(&["invite"]);
    assert_eq!(nodes[1].larder(&["remove", "n0"]).code, 5, "nobody stands above the founder but the key");
    drop(std::fs::remove_file(kept));
}

/// T6, and joining without a code: a stranger sees no more than that somebody is there; once it asks it is pending, and
/// six digits on both screens let it in.
#[test]
fn a_stranger_sees_nothing_and_is_let_in_by_six_digits() {
    let lab = lab!(3, "a_stranger_sees_nothing_and_is_let_in_by_six_digits");
    let nodes = daemons(&lab, LARDER);
    nodes[0].ok(&["init", "secretshop"]);
    let code = nodes[0].invite(1);
    nodes[1].ok(&["join", &code, "--alias", "hiddenname"]);
    let (stranger, member) = (nodes[2].id(), nodes[0].id());
    let seen = until(PATIENCE, "the stranger to see a member", || row(&nodes[2], &member));
    assert_eq!(seen["state"], "seen");
    let all = nodes[2].ok(&["nodes", "--wide"]) + &nodes[2].ok(&["nodes", "--json"]);
    assert!(!all.contains("secretshop") && !all.contains("hiddenname"), "{all}");
    assert_eq!(state(&nodes[0], &stranger), "seen");
    // It asks, and no longer waits for an answer than it takes to be heard.
    let asked = nodes[2].larder(&["join", "--alias", "till", "--timeout", "4"]);
    assert_eq!(asked.code, 6, "{}", asked.err);
    assert!(asked.err.contains("Digits: "), "{}", asked.err);
    let pending = until(PATIENCE, "it to be pending", || {
        let pending = nodes[0].json(&["pending"])["pending"].as_array().unwrap().clone();
        pending.into_iter().find(|row| row["digits"].is_string())
    });
    assert_eq!((&pending["id"], &pending["alias"]), (&stranger.clone().into(), &"till".into()));
    assert_eq!(state(&nodes[0], &stranger), "pending");
    let digits = pending["digits"].as_str().unwrap();
    assert!(asked.err.contains(digits), "{} {digits}", asked.err);
    let wrong = format!("{:06}", (digits.parse::<u32>().unwrap() + 1) % 1_000_000);
    assert_eq!(nodes[0].larder(&["approve", "till", "--role", "node", "--digits", &wrong]).code, 5);
    nodes[0].ok(&["approve", "till", "--role", "node", "--digits", digits]);
    // Its own operator compares too.
    assert!(nodes[2].json(&["groups"])["groups"].as_array().unwrap().is_empty());
    let joined = nodes[2].larder(&["join", "--alias", "till", "--digits", digits, "--timeout", "20"]);
    assert_eq!(joined.code, 0, "{}", joined.err);
    assert!(joined.err.contains("This node is in group `secretshop` as node"), "{}", joined.err);
    assert_eq!(state(&nodes[0], &stranger), "up");
    converge(&nodes);
}

/// A member that was granted on one side of a cut meets members of the other side first, and a reader writes nothing.
#[test]
fn roles_hold_whoever_passes_changes_on() {
    let lab = lab!(3, "roles_hold_whoever_passes_changes_on");
    let nodes = cluster(&lab, LARDER);
    nodes[0].ok(&["role", "n1", "node"]);
    until(PATIENCE, "n1 to know", || {
        (nodes[1].larder(&["set", "config/db", "path=db", "keys.x=1"]).code == 5).then_some(())
    });
    nodes[0].ok(&["role", "n1", "reader"]);
    let id = nodes[1].id();
    until(PATIENCE, "n2 to know", || (row(&nodes[2], &id)?["role"] == "reader").then_some(()));
    nodes[0].ok(&["role", "n1", "operator"]);
    until(PATIENCE, "n1 to write again", || {
        (nodes[1].larder(&["set", "config/db", "path=db", "keys.x=1"]).code == 0).then_some(())
    });
    converge(&nodes);
    assert_eq!(value(&nodes[2], "keys.x"), "1");
    assert_eq!(nodes[1].larder(&["role", "n2", "admin"]).code, 5);
    assert_eq!(nodes[0].larder(&["role", "n0", "operator"]).code, 5, "the last admin stays one");
    assert_eq!(nodes[0].larder(&["leave"]).code, 5);
}

/// `remove` to "refused everywhere reachable", on a network of thirty.
#[test]
#[ignore = "thirty daemons in one machine: a figure to take on a quiet one, `cargo test thirty_hear -- --ignored --nocapture`"]
fn thirty_hear_of_a_removal() {
    let lab = lab!(30, "thirty_hear_of_a_removal");
    let nodes = cluster(&lab, LARDER);
    let removed = nodes[29].id();
    let begun = Instant::now();
    nodes[0].ok(&["remove", "n29"]);
    let answered = begun.elapsed();
    // All are asked at once: one after the other, the asking would take longer than the news.
    let heard: Vec<Duration> = std::thread::scope(|scope| {
        let ask = |node| {
            until(PATIENCE, "the news", || (state(node, &removed) == "removed").then_some(()));
            begun.elapsed()
        };
        let asking: Vec<_> = nodes.iter().map(|node| scope.spawn(move || ask(node))).collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let last = heard.iter().max().unwrap();
    println!("`remove` answered after {answered:?}; the last of thirty showed it after {last:?}");
    converge(&nodes[..29]);
    assert_eq!(nodes[29].larder(&["set", "config/db", "path=db", "keys.x=1"]).code, 5);
}
