//! Writes that were acknowledged are there, whatever happened.

use std::sync::atomic::{AtomicBool, Ordering};

use larder_tests::lab::until;
use larder_tests::node::{Node, PATIENCE, cluster, converge};

use super::{LARDER, lab};

/// kill -9 at any moment: what was answered with a change is in the log.
#[test]
fn every_acknowledged_write_outlives_kill_9() {
    let lab = lab!(2, "every_acknowledged_write_outlives_kill_9");
    let mut nodes = cluster(&lab, LARDER);
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..4 {
        let writer = nodes[0].twin();
        let stop = AtomicBool::new(false);
        let written = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..2)
                .map(|lane| {
                    let (writer, stop) = (&writer, &stop);
                    scope.spawn(move || write_until(writer, stop, round, lane))
                })
                .collect();
            let wanted = 40 + round * 17;
            until(PATIENCE, "some writes", || {
                let count = writer.larder(&["heads"]);
                let _ = count;
                let log = writer.json(&["groups"])["groups"][0]["changes"].as_u64()?;
                (log >= wanted + acknowledged.len() as u64).then_some(())
            });
            nodes[0].kill();
            stop.store(true, Ordering::Relaxed);
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(!written.is_empty());
        acknowledged.extend(written);
        nodes[0].start(&["daemon"]);
        let log = nodes[0].json(&["log", "-n", "0"]);
        let known: Vec<&str> =
            log["changes"].as_array().unwrap().iter().map(|change| change["id"].as_str().unwrap()).collect();
        for change in &acknowledged {
            assert!(known.contains(&change.as_str()), "round {round}: {change} was acknowledged and is gone");
        }
    }
    converge(&nodes);
    let heads = nodes[1].json(&["log", "-n", "0"])["changes"].as_array().unwrap().len();
    assert!(heads >= acknowledged.len());
}

fn write_until(node: &Node<'_>, stop: &AtomicBool, round: u64, lane: usize) -> Vec<String> {
    let mut done = Vec::new();
    for nth in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let ran = node.larder(&["set", "config/w", &format!("keys.l{lane}=r{round}n{nth}"), "--json"]);
        if ran.code != 0 {
            break;
        }
        let answer: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        done.push(answer["change"].as_str().unwrap().to_owned());
    }
    done
}

#[test]
fn the_socket_is_its_owners_and_commands_are_one_request_each() {
    use std::os::unix::fs::PermissionsExt;
    let lab = lab!(1, "the_socket_is_its_owners_and_commands_are_one_request_each");
    let mut nodes = cluster(&lab, LARDER);
    let socket = nodes[0].data.join("larder.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        std::fs::metadata(nodes[0].data.join("node.key")).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let second = nodes[0].larder(&["daemon"]);
    assert_eq!(second.code, 1);
    assert!(second.err.contains("another daemon"), "{}", second.err);
    // A socket that a killed daemon left is replaced.
    nodes[0].kill();
    assert!(socket.exists());
    assert_eq!(nodes[0].larder(&["paths"]).code, 3);
    nodes[0].start(&["daemon"]);
    assert_eq!(nodes[0].larder(&["paths"]).code, 0);
}
