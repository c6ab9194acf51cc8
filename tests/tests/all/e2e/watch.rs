//! `watch` misses no event and repeats none, although it is killed and resumed at any moment and the daemon
//! restarts.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use larder_tests::lab::{Lab, wait_until};
use larder_tests::node::{TestNode, WAIT_LIMIT, start_cluster, wait_until_applied, wait_until_converged};
use larder_tests::rng::TestRng;
use serde_json::Value;

use super::LARDER;

tests! {
    a_killed_watcher_resumes_without_gap_or_repeat,
    #[ignore = "takes minutes: 1,000 kills; run with `cargo test -p larder-tests --test all -- --ignored \
        --nocapture a_thousand_times`"]
    a_watcher_killed_a_thousand_times_resumes_without_gap_or_repeat,
    a_watcher_sees_every_kind_of_event_and_waits_for_its_daemon,
    watch_fails_on_an_unknown_cursor_and_on_a_daemon_that_stays_away,
    retractions_and_readmissions_are_watched_and_can_be_resumed_from,
    a_path_conflict_is_watched_from_start_to_end,
}

/// A running `larder watch --json`, and the complete lines that it wrote.
struct Watcher {
    child: Child,
    lines: Receiver<String>,
}

impl Watcher {
    fn start(node: &TestNode<'_>, args: &[&str]) -> Self {
        let mut command: Command = node.command(LARDER.as_ref());
        command.args(["watch", "--json"]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a watcher");
        let mut out = BufReader::new(child.stdout.take().expect("its output"));
        let (line_sender, lines) = channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            // An incomplete line was not written. The next watcher resumes after the line before it.
            while out.read_line(&mut line).is_ok_and(|read| read > 0) && line.ends_with('\n') {
                drop(line_sender.send(std::mem::take(&mut line)));
            }
        });
        Self { child, lines }
    }

    /// The next event within `wait`.
    fn next_event(&self, wait: Duration) -> Option<Value> {
        let line = self.lines.recv_timeout(wait).ok()?;
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }

    /// Kills the watcher with SIGKILL. Returns the events that it had written and the test had not read.
    fn kill(mut self) -> Vec<Value> {
        drop(self.child.kill());
        drop(self.child.wait());
        self.lines.iter().map(|line| serde_json::from_str(&line).expect("a whole event")).collect()
    }
}

/// All events up to now, and the id after which the next watcher resumes.
#[derive(Default)]
struct SeenEvents {
    since: Option<String>,
    ids: BTreeSet<String>,
    changes: BTreeSet<String>,
    lines: usize,
}

impl SeenEvents {
    fn record(&mut self, event: &Value) {
        let id = event["id"].as_str().expect("an id").to_owned();
        assert_eq!(event["schema"], "larder.event/1");
        if event["durable"] == true {
            assert!(self.ids.insert(id.clone()), "told twice: {event}");
            assert_ne!(event["op"], "retracted", "{event}");
            self.changes.insert(event["change"].as_str().expect("a change").to_owned());
            self.lines += 1;
        }
        self.since = Some(id);
    }
}

fn log_ids(node: &TestNode<'_>) -> BTreeSet<String> {
    let log = node.run_json(&["log", "--all", "-n", "0"]);
    log["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["id"].as_str().unwrap().to_owned())
        .collect()
}

fn write_until(node: &TestNode<'_>, stop: &AtomicBool, lane: usize) {
    for nth in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        // Writes fail while the daemon is down.
        node.run_larder(&[
            "set",
            &format!("config/lane{lane}"),
            "path=lane",
            &format!("keys.k{}={nth}", nth % 7),
        ]);
    }
}

/// A random number that depends on the arguments only.
fn pseudo_random(nth: u64, bound: u64) -> u64 {
    TestRng::from_seed(nth).below(bound)
}

/// Kills a watcher `kills` times while two nodes write, and sometimes its daemon, too.
fn kill_and_resume(kills: u64) {
    let lab = Lab::require(2);
    let mut nodes = start_cluster(&lab, LARDER);
    nodes.iter().for_each(wait_until_applied);
    wait_until_converged(&nodes);
    let before = log_ids(&nodes[0]);
    let stop = AtomicBool::new(false);
    let mut seen = SeenEvents::default();
    let (writers, begun) = ([nodes[0].as_client(), nodes[1].as_client()], Instant::now());
    let (mut restarts, mut unread_at_kill) = (0, 0);
    std::thread::scope(|scope| {
        let first = Watcher::start(&nodes[0], &[]);
        seen.record(&first.next_event(WAIT_LIMIT).expect("the beginning"));
        for (lane, writer) in writers.iter().enumerate() {
            let stop = &stop;
            scope.spawn(move || write_until(writer, stop, lane));
        }
        first.kill().iter().for_each(|event| seen.record(event));
        for nth in 0..kills {
            let since = seen.since.clone().expect("a point to go on from");
            let watching = Watcher::start(&nodes[0], &["--since", &since]);
            // Most watchers are killed while they write, some before they have written anything.
            let end = Instant::now() + Duration::from_millis(pseudo_random(nth, 60));
            for _ in 0..pseudo_random(nth + 7, 9) {
                let left = end.saturating_duration_since(Instant::now());
                watching.next_event(left).iter().for_each(|event| seen.record(event));
            }
            if pseudo_random(nth, 20) == 7 {
                nodes[0].kill();
                nodes[0].start(&["daemon"]);
                restarts += 1;
            }
            let rest = watching.kill();
            unread_at_kill += usize::from(!rest.is_empty());
            rest.iter().for_each(|event| seen.record(event));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let took = begun.elapsed();
    wait_until_converged(&nodes);
    nodes.iter().for_each(wait_until_applied);
    wait_until_converged(&nodes);
    let after: BTreeSet<String> = log_ids(&nodes[0]).difference(&before).cloned().collect();
    let last = Watcher::start(&nodes[0], &["--since", &seen.since.clone().unwrap()]);
    wait_until(WAIT_LIMIT, "all that is left", || {
        last.next_event(Duration::from_millis(100)).iter().for_each(|event| seen.record(event));
        after.is_subset(&seen.changes).then_some(())
    });
    last.kill().iter().for_each(|event| seen.record(event));
    assert_eq!(seen.changes, after, "every change is told, and nothing else");
    assert!(
        restarts > 0 && unread_at_kill > 0 && after.len() as u64 > kills / 4,
        "{restarts} {unread_at_kill} {}",
        after.len()
    );
    report!(
        "{kills} kills and {restarts} restarts of the daemon in {} s: {} changes and records in {} events, \
         no gap, no \
         repeat; {unread_at_kill} watchers were killed with something written that nobody had read",
        took.as_secs(),
        after.len(),
        seen.lines
    );
}

fn a_killed_watcher_resumes_without_gap_or_repeat() {
    kill_and_resume(40);
}

fn a_watcher_killed_a_thousand_times_resumes_without_gap_or_repeat() {
    kill_and_resume(1000);
}

/// A watcher also sees events of other nodes and of resources, and waits while its daemon restarts.
fn a_watcher_sees_every_kind_of_event_and_waits_for_its_daemon() {
    let lab = Lab::require(2);
    let mut nodes = start_cluster(&lab, LARDER);
    nodes[0].run_ok(&["set", "config/a", "path=a", "keys.x=0", "keys.y=0"]);
    nodes.iter().for_each(wait_until_applied);
    wait_until_converged(&nodes);
    let watching = Watcher::start(&nodes[0], &[]);
    let narrow = Watcher::start(&nodes[0], &["config/a"]);
    let expect = |kind: &str, op: &str| {
        wait_until(WAIT_LIMIT, &format!("{kind} {op}"), || {
            watching
                .next_event(Duration::from_millis(200))
                .filter(|event| event["kind"] == kind && event["op"] == op)
        })
    };
    expect("stream", "start");
    lab.partition(&[&[0], &[1]]);
    assert_eq!(expect("net", "away")["node"]["alias"], "n1");
    nodes[0].run_ok(&["set", "config/a", "keys.x=left", "-m", "by the left"]);
    let change = expect("change", "accepted");
    assert_eq!((&change["text"], &change["node"]["alias"]), (&"by the left".into(), &"n0".into()));
    assert_eq!(change["touches"][0]["resource"], "config/a");
    assert_eq!(expect("apply", "applied")["resource"], "config/a");
    nodes[1].run_ok(&["set", "config/a", "keys.x=right"]);
    lab.heal();
    expect("net", "up");
    let conflict = expect("conflict", "appeared");
    assert_eq!((&conflict["resource"], &conflict["field"]), (&"config/a".into(), &"keys.x".into()));
    assert_eq!(expect("hold", "held")["resource"], "config/a");
    nodes[0].run_ok(&["resolve", "config/a", "keys.x", "--take", "A"]);
    expect("conflict", "settled");
    nodes[0].run_ok(&["set", "config/other", "path=o"]);
    expect("change", "accepted");
    nodes[0].run_ok(&["role", "n1", "node"]);
    expect("member", "granted");
    nodes[0].stop();
    nodes[0].start(&["daemon"]);
    expect("stream", "start");
    nodes[0].run_ok(&["set", "config/a", "keys.x=again"]);
    assert_eq!(expect("change", "accepted")["touches"][0]["resource"], "config/a");
    watching.kill();
    let seen = narrow.kill();
    let about = |event: &Value| event["resource"] == "config/a" || event.to_string().contains("\"config/a\"");
    assert!(seen.iter().all(|event| event["kind"] == "stream" || about(event)), "{seen:?}");
    assert!(seen.iter().any(|event| event["kind"] == "conflict"), "{seen:?}");
}

fn watch_fails_on_an_unknown_cursor_and_on_a_daemon_that_stays_away() {
    let lab = Lab::require(1);
    let mut nodes = start_cluster(&lab, LARDER);
    let first = nodes[0].run_json(&["set", "config/a", "path=a"])["change"].as_str().unwrap().to_owned();
    let second = nodes[0].run_json(&["set", "config/a", "keys.x=1"])["change"].as_str().unwrap().to_owned();
    let text = nodes[0].run_ok(&["watch", "--since", &first[..12], "config/a", "-n", "1"]);
    assert!(text.contains(&second[..7]) && text.contains("config/a keys.x"), "{text}");
    for (args, code) in [
        (["watch", "--since", "0123456789abcdef"].as_slice(), 4),
        (&["watch", "--since", "no such id"], 4),
        (&["watch", "not a kind!"], 4),
        (&["watch", "--timeout", "soon"], 2),
        (&["watch", "--at", "now"], 2),
    ] {
        let ran = nodes[0].run_larder(args);
        assert_eq!(ran.exit_code, code, "{args:?}: {}", ran.stderr);
    }
    let mut watching = Watcher::start(&nodes[0], &["--timeout", "1"]);
    assert!(watching.next_event(WAIT_LIMIT).is_some());
    nodes[0].stop();
    let status = wait_until(WAIT_LIMIT, "its end", || watching.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(3));
    let mut said = String::new();
    watching.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("\"code\":\"gone\"") && said.contains("--since"), "{said}");
    assert_eq!(nodes[0].run_larder(&["watch"]).exit_code, 3);
}

/// A retraction and a readmission are events. A watcher can resume after either of them.
fn retractions_and_readmissions_are_watched_and_can_be_resumed_from() {
    let lab = Lab::require(2);
    let nodes = start_cluster(&lab, LARDER);
    let write =
        |key: &str| nodes[1].run_json(&["set", "config/b", key])["change"].as_str().unwrap().to_owned();
    let (first, second) = (write("path=b"), write("keys.y=1"));
    nodes.iter().for_each(wait_until_applied);
    wait_until_converged(&nodes);
    let watching = Watcher::start(&nodes[0], &["--since", &first]);
    let all = std::cell::RefCell::new(Vec::new());
    let expect = |op: &str, change: &str| {
        wait_until(WAIT_LIMIT, &format!("{op} {change}"), || {
            let event =
                watching.next_event(Duration::from_millis(200)).filter(|event| event["durable"] == true)?;
            all.borrow_mut().push(event["id"].as_str().unwrap().to_owned());
            (event["op"] == op && event["change"] == *change).then_some(event)
        })
    };
    expect("accepted", &second);
    nodes[0].run_ok(&["remove", "n1", "--keep-through", &first]);
    let gone = expect("retracted", &second);
    assert_eq!(gone["id"], format!("{second}.2"));
    assert_eq!(gone["touches"][0]["resource"], "config/b");
    nodes[0].run_ok(&["quarantine", "readmit", &second]);
    assert_eq!(expect("accepted", &second)["id"], format!("{second}.3"));
    watching.kill();
    let all = all.into_inner();
    for (nth, id) in all.iter().enumerate() {
        let again = Watcher::start(&nodes[0], &["--since", id]);
        assert_eq!(again.next_event(WAIT_LIMIT).unwrap()["op"], "start");
        for later in &all[nth + 1..] {
            assert_eq!(again.next_event(WAIT_LIMIT).unwrap()["id"], **later, "after {id}");
        }
        again.kill();
    }
}

fn a_path_conflict_is_watched_from_start_to_end() {
    let lab = Lab::require(1);
    let nodes = start_cluster(&lab, LARDER);
    let node = &nodes[0];
    node.run_ok(&["set", "file/one", "path=here", "content=one"]);
    let watching = Watcher::start(node, &[]);
    assert_eq!(watching.next_event(WAIT_LIMIT).expect("a beginning")["op"], "start");
    let next_conflict_event = |what: &str| {
        wait_until(WAIT_LIMIT, what, || {
            let event = watching.next_event(WAIT_LIMIT).expect("an event");
            (event["kind"] == "conflict").then_some(event)
        })
    };
    node.run_ok(&["set", "file/two", "path=./here", "content=two"]);
    let appeared = next_conflict_event("the claim");
    assert_eq!(
        (&appeared["op"], &appeared["resource"], &appeared["field"]),
        (&"appeared".into(), &"file/one".into(), &"path".into())
    );
    node.run_ok(&["set", "file/two", "path=there"]);
    assert_eq!(next_conflict_event("its end")["op"], "settled");
    watching.kill();
}
