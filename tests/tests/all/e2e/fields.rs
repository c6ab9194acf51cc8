//! Fields: one spelling for each, and limits that every command names alike.

use std::path::Path;
use std::time::{Duration, Instant};

use larder_tests::lab::{Lab, wait_until};
use larder_tests::node::{TestNode, start_cluster, wait_until_applied};

use super::LARDER;

tests! {
    a_key_is_one_field_however_it_is_spelled,
    validate_plan_and_apply_agree_on_every_limit,
    a_value_or_message_beyond_a_limit_is_refused_with_the_limit,
    ten_thousand_keys_are_applied_within_the_limit_of_time,
    peer_addresses_that_cannot_be_used_are_a_usage_error,
}

fn a_key_is_one_field_however_it_is_spelled() {
    let lab = Lab::require(1);
    let node = &start_cluster(&lab, LARDER)[0];
    let manifest = |port: &str| {
        format!("[config.app]\npath = \"app.properties\"\n[config.app.keys]\n\"server.port\" = \"{port}\"\n")
    };
    let apply =
        |port: &str| assert_eq!(node.run_larder_with_stdin(&["apply", "-"], &manifest(port)).exit_code, 0);
    apply("8080");
    node.run_ok(&["set", "config/app", "keys.server.port=9090"]);
    apply("7070");
    wait_until(Duration::from_secs(10), "the last value in the file", || {
        (node.read_file("app.properties") == "server.port=7070\n").then_some(())
    });
    let values = node.run_json(&["get", "config/app"]);
    let fields: Vec<&String> = values["fields"].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["keys.server.port", "path"]);
    for spelling in ["keys.server.port", "keys.\"server.port\"", "keys.'server'.port"] {
        assert_eq!(node.run_ok(&["get", "config/app", spelling]), "7070\n", "{spelling}");
        assert!(node.run_ok(&["blame", "config/app", spelling]).contains("7070"), "{spelling}");
    }
    assert_eq!(node.run_ok(&["export"]).matches("port").count(), 1);
    node.run_ok(&["unset", "config/app", "keys.\"server.port\""]);
    assert_eq!(node.run_larder(&["get", "config/app", "keys.server.port"]).exit_code, 4);
}

/// Writes a manifest for the node's commands.
fn write_manifest(folder: &Path, name: &str, text: String) {
    std::fs::write(folder.join(name), text).unwrap();
}

fn validate_plan_and_apply_agree_on_every_limit() {
    let lab = Lab::require(1);
    let node = &start_cluster(&lab, LARDER)[0];
    let folder = lab.log_dir();
    let many = (0..10_001).map(|nth| format!("keys.k{nth} = 1\n")).collect::<String>();
    write_manifest(folder, "many.toml", format!("[config.a]\n{many}"));
    let items = (0..10_001).map(|nth| format!("{nth},")).collect::<String>();
    write_manifest(folder, "items.toml", format!("[config.a]\nkeys.list = [{items}]\n"));
    let large = |nth| format!("[file.f{nth}]\npath = \"f{nth}\"\ncontent = \"{}\"\n", "x".repeat(60_000));
    write_manifest(folder, "large.toml", (0..20).map(large).collect::<String>());
    write_manifest(folder, "value.toml", format!("[file.a]\ncontent = \"{}\"\n", "x".repeat(65_537)));
    write_manifest(folder, "key.toml", format!("[config.a]\nkeys.{} = 1\n", "k".repeat(1_100)));
    let before = node.run_ok(&["heads"]);
    for (name, limit) in [
        ("many.toml", "10000"),
        ("items.toml", "10000"),
        ("large.toml", "bytes"),
        ("value.toml", "65536"),
        ("key.toml", "1024"),
    ] {
        let outputs = ["validate", "plan", "apply"].map(|command| node.run_larder(&[command, name]));
        for ran in &outputs {
            assert_eq!(ran.exit_code, 2, "{name}: {}", ran.stderr);
            assert!(ran.stderr.contains(limit), "{name}: {}", ran.stderr);
            assert_eq!(ran.stderr, outputs[0].stderr, "{name}: the same text for each command");
        }
    }
    assert_eq!(node.run_ok(&["heads"]), before, "nothing was written");
}

fn a_value_or_message_beyond_a_limit_is_refused_with_the_limit() {
    let lab = Lab::require(1);
    let node = &start_cluster(&lab, LARDER)[0];
    std::fs::write(lab.log_dir().join("long.conf"), "x".repeat(65_537)).unwrap();
    let ran = node.run_larder(&["set", "file/a", "path=a", "content=@long.conf"]);
    assert_eq!(ran.exit_code, 2);
    for word in ["long.conf", "65537", "65536", "split it"] {
        assert!(ran.stderr.contains(word), "{}", ran.stderr);
    }
    node.run_ok(&["set", "config/a", "path=a", "keys.x=1"]);
    let message = "m".repeat(5_000);
    let before = node.run_ok(&["heads"]);
    for args in [
        ["set", "config/a", "keys.x=2", "-m", &message].as_slice(),
        &["undo", "-m", &message],
        &["label", &node.id(), "site=a", "-m", &message],
        &["role", &node.id(), "operator", "-m", &message],
    ] {
        let ran = node.run_larder(args);
        assert_eq!(ran.exit_code, 2, "{}: {}", args[0], ran.stderr);
        assert!(ran.stderr.contains("5000 bytes"), "{}", ran.stderr);
    }
    assert_eq!(node.run_ok(&["heads"]), before, "nothing was written");
    node.run_ok(&["set", "config/a", "keys.x=2", "-m", &"m".repeat(3_000)]);
}

/// The limit is generous: with the square of the keys, this takes minutes.
fn ten_thousand_keys_are_applied_within_the_limit_of_time() {
    let lab = Lab::require(1);
    let node = &start_cluster(&lab, LARDER)[0];
    let keys = (0..9_999).map(|nth| format!("\"module.{nth}\" = \"value\"\n")).collect::<String>();
    let manifest = format!("[config.a]\npath = \"a.properties\"\n[config.a.keys]\n{keys}");
    let start = Instant::now();
    assert_eq!(node.run_larder_with_stdin(&["apply", "-"], &manifest).exit_code, 0);
    wait_until_applied(node);
    node.run_ok(&["set", "config/a", "keys.module.5000=other"]);
    wait_until_applied(node);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    let text = node.read_file("a.properties");
    assert!(text.contains("module.5000=other\n") && text.lines().count() == 9_999);
}

fn peer_addresses_that_cannot_be_used_are_a_usage_error() {
    let folder = std::env::temp_dir().join(format!("larder-peers-{}", std::process::id()));
    let node = TestNode::without_host(&folder, "peers", LARDER);
    let ran = node.run_larder(&["daemon", "--peer", "/dns4/host.example/tcp/7440"]);
    assert_eq!(ran.exit_code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("/dns4/host.example/tcp/7440 is not an address"), "{}", ran.stderr);
    let peers = (0..70).map(|nth| format!("'/ip4/192.0.2.{nth}/tcp/7440',")).collect::<String>();
    std::fs::write(folder.join("peers.toml"), format!("peers = [{peers}]\n")).unwrap();
    let ran = node.run_larder(&["daemon", "--config", "peers.toml"]);
    assert_eq!(ran.exit_code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("70") && ran.stderr.contains("64"), "{}", ran.stderr);
    drop(std::fs::remove_dir_all(folder));
}
