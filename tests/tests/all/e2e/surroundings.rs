//! A daemon runs on while what surrounds it fails: the reader of its log, its socket file, the file with its
//! invite code.

use std::fs::File;
use std::process::Stdio;

use larder_tests::lab::{Lab, wait_until};
use larder_tests::node::{TestNode, WAIT_LIMIT, start_daemons, wait_until_converged};

use super::LARDER;

tests! {
    a_daemon_runs_on_when_its_log_cannot_be_written,
    a_used_invite_code_is_not_needed_at_the_next_start,
    a_removed_socket_file_comes_back,
}

/// Standard error is a pipe without a reader, a pipe that is never read, or a full disk.
fn a_daemon_runs_on_when_its_log_cannot_be_written() {
    let dir = std::env::temp_dir().join(format!("larder-log-{}", std::process::id()));
    let (unread_pipe, unread) = std::io::pipe().unwrap();
    let (closed_pipe, unwritable) = std::io::pipe().unwrap();
    drop(closed_pipe);
    let full_disk = File::options().write(true).open("/dev/full").unwrap();
    let logs: [(&str, Stdio); 3] =
        [("closed", unwritable.into()), ("unread", unread.into()), ("full", full_disk.into())];
    for (name, stderr) in logs {
        let mut node = TestNode::without_host(&dir, name, LARDER);
        // At this level a pipe that is not read is full within a few requests.
        node.env.push(("LARDER_LOG".to_owned(), "trace,libp2p=trace".to_owned()));
        node.start_with_stderr(&["up", "shop", "--no-mdns"], stderr);
        for nth in 0..100 {
            node.run_ok(&["set", "file/a", "path=a", &format!("content={nth}")]);
        }
        wait_until(WAIT_LIMIT, "the last contents", || (node.read_file("a") == "99").then_some(()));
        node.stop();
    }
    drop(unread_pipe);
    drop(std::fs::remove_dir_all(dir));
}

/// The file with an invite code is a secret that is used once: an operator deletes it.
fn a_used_invite_code_is_not_needed_at_the_next_start() {
    let lab = Lab::require(2);
    let mut nodes = start_daemons(&lab, LARDER);
    nodes[0].run_ok(&["init", "shop"]);
    let code_file = nodes[1].data_dir.join("code");
    std::fs::write(&code_file, nodes[0].create_invite(1)).unwrap();
    let join = format!("--join=@{}", code_file.display());
    nodes[1].stop();
    nodes[1].start(&["daemon", &join]);
    wait_until(WAIT_LIMIT, "the member", || {
        let groups = nodes[1].run_json(&["groups"]);
        (groups["groups"][0]["name"] == "shop").then_some(())
    });
    wait_until_converged(&nodes);

    std::fs::remove_file(&code_file).unwrap();
    nodes[1].stop();
    nodes[1].start(&["daemon", &join]);
    nodes[0].run_ok(&["set", "config/a", "path=a", "keys.x=1"]);
    wait_until_converged(&nodes);

    // A node without a group needs the code: it does not start without it.
    let stranger = TestNode::without_host(lab.log_dir(), "stranger", LARDER);
    let refused = stranger.run_larder(&["daemon", "--no-mdns", &join]);
    assert_eq!(refused.exit_code, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("cannot read"), "{}", refused.stderr);
}

fn a_removed_socket_file_comes_back() {
    let dir = std::env::temp_dir().join(format!("larder-socket-{}", std::process::id()));
    let mut node = TestNode::without_host(&dir, "socket", LARDER);
    node.start(&["up", "shop", "--no-mdns"]);
    let paths = node.run_json(&["paths"]);
    let socket = std::path::PathBuf::from(paths["socket"].as_str().expect("a socket"));
    std::fs::remove_file(&socket).unwrap();
    assert_eq!(node.run_larder(&["status"]).exit_code, 3);
    wait_until(WAIT_LIMIT, "the socket", || (node.run_larder(&["status"]).exit_code == 0).then_some(()));
    let mode = std::os::unix::fs::PermissionsExt::mode(&socket.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    node.stop();
    assert!(!socket.exists(), "the daemon removes its socket when it stops");
    drop(std::fs::remove_dir_all(dir));
}
