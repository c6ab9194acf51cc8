//! Acknowledged writes survive every kill of the daemon.

use std::sync::atomic::{AtomicBool, Ordering};

use larder_tests::lab::{Lab, wait_until};
use larder_tests::node::{TestNode, WAIT_LIMIT, start_cluster, wait_until_converged};

use super::LARDER;

tests! {
    every_acknowledged_write_survives_kill_9,
    the_socket_is_private_and_a_second_daemon_is_refused,
}

/// The daemon is killed at any moment. Every change that it acknowledged is in the log afterwards.
fn every_acknowledged_write_survives_kill_9() {
    let lab = Lab::require(2);
    let mut nodes = start_cluster(&lab, LARDER);
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..4 {
        let writer = nodes[0].as_client();
        let stop = AtomicBool::new(false);
        let written = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..2)
                .map(|lane| {
                    let (writer, stop) = (&writer, &stop);
                    scope.spawn(move || write_until(writer, stop, round, lane))
                })
                .collect();
            let wanted = 40 + round * 17;
            wait_until(WAIT_LIMIT, "some writes", || {
                let count = writer.run_larder(&["heads"]);
                let _ = count;
                let log = writer.run_json(&["groups"])["groups"][0]["changes"].as_u64()?;
                (log >= wanted + acknowledged.len() as u64).then_some(())
            });
            nodes[0].kill();
            stop.store(true, Ordering::Relaxed);
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(!written.is_empty());
        acknowledged.extend(written);
        nodes[0].start(&["daemon"]);
        let log = nodes[0].run_json(&["log", "-n", "0"]);
        let known: Vec<&str> =
            log["changes"].as_array().unwrap().iter().map(|change| change["id"].as_str().unwrap()).collect();
        for change in &acknowledged {
            assert!(known.contains(&change.as_str()), "round {round}: {change} was acknowledged and is gone");
        }
    }
    wait_until_converged(&nodes);
    let change_count = nodes[1].run_json(&["log", "-n", "0"])["changes"].as_array().unwrap().len();
    assert!(change_count >= acknowledged.len());
}

fn write_until(node: &TestNode<'_>, stop: &AtomicBool, round: u64, lane: usize) -> Vec<String> {
    let mut done = Vec::new();
    for nth in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let ran = node.run_larder(&["set", "config/w", &format!("keys.l{lane}=r{round}n{nth}"), "--json"]);
        if ran.exit_code != 0 {
            break;
        }
        let answer: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        done.push(answer["change"].as_str().unwrap().to_owned());
    }
    done
}

fn the_socket_is_private_and_a_second_daemon_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::require(1);
    let mut nodes = start_cluster(&lab, LARDER);
    let socket = nodes[0].data_dir.join("larder.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        std::fs::metadata(nodes[0].data_dir.join("node.key")).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let second = nodes[0].run_larder(&["daemon"]);
    assert_eq!(second.exit_code, 1);
    assert!(second.stderr.contains("another daemon"), "{}", second.stderr);
    // A new daemon replaces the socket that a killed daemon left.
    nodes[0].kill();
    assert!(socket.exists());
    assert_eq!(nodes[0].run_larder(&["paths"]).exit_code, 3);
    nodes[0].start(&["daemon"]);
    assert_eq!(nodes[0].run_larder(&["paths"]).exit_code, 0);
}
