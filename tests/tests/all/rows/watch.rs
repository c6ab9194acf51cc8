//! Watching: killed and resumed, at any moment and across restarts of the daemon, nothing is missed and nothing comes
//! twice.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use larder_tests::lab::until;
use larder_tests::node::{Node, PATIENCE, cluster, converge, settle};
use serde_json::Value;

use super::{LARDER, lab};

/// A `larder watch --json` that runs, and the whole lines that it wrote.
struct Watching {
    child: Child,
    lines: Receiver<String>,
}

impl Watching {
    fn start(node: &Node<'_>, args: &[&str]) -> Self {
        let mut command: Command = node.command(LARDER.as_ref());
        command.args(["watch", "--json"]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a watcher");
        let mut out = BufReader::new(child.stdout.take().expect("its output"));
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            // A line that is not whole was not written: whoever reads it goes on from the one before.
            while out.read_line(&mut line).is_ok_and(|read| read > 0) && line.ends_with('\n') {
                drop(tell.send(std::mem::take(&mut line)));
            }
        });
        Self { child, lines }
    }

    /// The next event within that time.
    fn next(&self, wait: Duration) -> Option<Value> {
        let line = self.lines.recv_timeout(wait).ok()?;
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }

    /// Kills it (SIGKILL); answers what it had written and nobody had read.
    fn kill(mut self) -> Vec<Value> {
        drop(self.child.kill());
        drop(self.child.wait());
        self.lines.iter().map(|line| serde_json::from_str(&line).expect("a whole event")).collect()
    }
}

/// All that was told, and from where to go on.
#[derive(Default)]
struct Told {
    since: Option<String>,
    ids: BTreeSet<String>,
    changes: BTreeSet<String>,
    lines: usize,
}

impl Told {
    fn take(&mut self, event: &Value) {
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

fn log(node: &Node<'_>) -> BTreeSet<String> {
    let log = node.json(&["log", "--all", "-n", "0"]);
    log["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["id"].as_str().unwrap().to_owned())
        .collect()
}

fn write_until(node: &Node<'_>, stop: &AtomicBool, lane: usize) {
    for nth in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        // While the daemon is down nothing is written.
        node.larder(&[
            "set",
            &format!("config/lane{lane}"),
            "path=lane",
            &format!("keys.k{}={nth}", nth % 7),
        ]);
    }
}

/// A number that looks like chance, the same at every run.
fn lot(nth: u64, of: u64) -> u64 {
    let mut z = nth.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 31)) % of
}

/// Kills a watcher so often while two nodes write; every so many times its daemon too.
fn kill_and_resume(kills: u64, name: &str) {
    let lab = lab!(2, name);
    let mut nodes = cluster(&lab, LARDER);
    nodes.iter().for_each(settle);
    converge(&nodes);
    let before = log(&nodes[0]);
    let stop = AtomicBool::new(false);
    let mut told = Told::default();
    let (writers, begun) = ([nodes[0].twin(), nodes[1].twin()], Instant::now());
    let (mut restarts, mut torn) = (0, 0);
    std::thread::scope(|scope| {
        let first = Watching::start(&nodes[0], &[]);
        told.take(&first.next(PATIENCE).expect("the beginning"));
        for (lane, writer) in writers.iter().enumerate() {
            let stop = &stop;
            scope.spawn(move || write_until(writer, stop, lane));
        }
        first.kill().iter().for_each(|event| told.take(event));
        for nth in 0..kills {
            let since = told.since.clone().expect("a point to go on from");
            let watching = Watching::start(&nodes[0], &["--since", &since]);
            // Most are killed while they write; some before they wrote anything.
            let end = Instant::now() + Duration::from_millis(lot(nth, 60));
            for _ in 0..lot(nth + 7, 9) {
                let left = end.saturating_duration_since(Instant::now());
                watching.next(left).iter().for_each(|event| told.take(event));
            }
            if lot(nth, 20) == 7 {
                nodes[0].kill();
                nodes[0].start(&["daemon"]);
                restarts += 1;
            }
            let rest = watching.kill();
            torn += usize::from(!rest.is_empty());
            rest.iter().for_each(|event| told.take(event));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let took = begun.elapsed();
    converge(&nodes);
    nodes.iter().for_each(settle);
    converge(&nodes);
    let after: BTreeSet<String> = log(&nodes[0]).difference(&before).cloned().collect();
    let last = Watching::start(&nodes[0], &["--since", &told.since.clone().unwrap()]);
    until(PATIENCE, "all that is left", || {
        last.next(Duration::from_millis(100)).iter().for_each(|event| told.take(event));
        after.is_subset(&told.changes).then_some(())
    });
    last.kill().iter().for_each(|event| told.take(event));
    assert_eq!(told.changes, after, "every change is told, and nothing else");
    assert!(restarts > 0 && torn > 0 && after.len() as u64 > kills / 4, "{restarts} {torn} {}", after.len());
    eprintln!(
        "{kills} kills and {restarts} restarts of the daemon in {} s: {} changes and records in {} events, no gap, no \
         repeat; {torn} watchers were killed with something written that nobody had read",
        took.as_secs(),
        after.len(),
        told.lines
    );
}

#[test]
fn a_watcher_that_is_killed_goes_on_where_it_was() {
    kill_and_resume(40, "a_watcher_that_is_killed_goes_on_where_it_was");
}

#[test]
#[ignore = "takes minutes: 1,000 kills; run with `cargo test -p larder-tests --test all -- --ignored --nocapture a_thousand_times`"]
fn a_thousand_times_a_watcher_is_killed_and_goes_on() {
    kill_and_resume(1000, "a_thousand_times_a_watcher_is_killed_and_goes_on");
}

/// What happens to other nodes and to resources is told too, and one that stays waits for its daemon.
#[test]
fn everything_that_happens_is_told_and_a_daemon_that_went_away_is_waited_for() {
    let lab = lab!(2, "everything_that_happens_is_told_and_a_daemon_that_went_away_is_waited_for");
    let mut nodes = cluster(&lab, LARDER);
    nodes[0].ok(&["set", "config/a", "path=a", "keys.x=0", "keys.y=0"]);
    nodes.iter().for_each(settle);
    converge(&nodes);
    let watching = Watching::start(&nodes[0], &[]);
    let narrow = Watching::start(&nodes[0], &["config/a"]);
    let expect = |kind: &str, op: &str| {
        until(PATIENCE, &format!("{kind} {op}"), || {
            watching
                .next(Duration::from_millis(200))
                .filter(|event| event["kind"] == kind && event["op"] == op)
        })
    };
    expect("stream", "start");
    lab.split(&[&[0], &[1]]);
    assert_eq!(expect("net", "away")["node"]["alias"], "n1");
    nodes[0].ok(&["set", "config/a", "keys.x=left", "-m", "by the left"]);
    let change = expect("change", "accepted");
    assert_eq!((&change["text"], &change["node"]["alias"]), (&"by the left".into(), &"n0".into()));
    assert_eq!(change["touches"][0]["resource"], "config/a");
    assert_eq!(expect("apply", "applied")["resource"], "config/a");
    nodes[1].ok(&["set", "config/a", "keys.x=right"]);
    lab.heal();
    expect("net", "up");
    let conflict = expect("conflict", "appeared");
    assert_eq!((&conflict["resource"], &conflict["field"]), (&"config/a".into(), &"keys.x".into()));
    assert_eq!(expect("hold", "held")["resource"], "config/a");
    nodes[0].ok(&["resolve", "config/a", "keys.x", "--take", "A"]);
    expect("conflict", "settled");
    nodes[0].ok(&["set", "config/other", "path=o"]);
    expect("change", "accepted");
    nodes[0].ok(&["role", "n1", "node"]);
    expect("member", "granted");
    nodes[0].stop();
    nodes[0].start(&["daemon"]);
    expect("stream", "start");
    nodes[0].ok(&["set", "config/a", "keys.x=again"]);
    assert_eq!(expect("change", "accepted")["touches"][0]["resource"], "config/a");
    watching.kill();
    let seen = narrow.kill();
    let about = |event: &Value| event["resource"] == "config/a" || event.to_string().contains("\"config/a\"");
    assert!(seen.iter().all(|event| event["kind"] == "stream" || about(event)), "{seen:?}");
    assert!(seen.iter().any(|event| event["kind"] == "conflict"), "{seen:?}");
}

#[test]
fn a_point_that_is_not_known_is_refused_and_so_is_a_daemon_that_stays_away() {
    let lab = lab!(1, "a_point_that_is_not_known_is_refused_and_so_is_a_daemon_that_stays_away");
    let mut nodes = cluster(&lab, LARDER);
    let first = nodes[0].json(&["set", "config/a", "path=a"])["change"].as_str().unwrap().to_owned();
    let second = nodes[0].json(&["set", "config/a", "keys.x=1"])["change"].as_str().unwrap().to_owned();
    let text = nodes[0].ok(&["watch", "--since", &first[..12], "config/a", "-n", "1"]);
    assert!(text.contains(&second[..7]) && text.contains("config/a keys.x"), "{text}");
    for (args, code) in [
        (["watch", "--since", "0123456789abcdef"].as_slice(), 4),
        (&["watch", "--since", "no such id"], 4),
        (&["watch", "not a kind!"], 4),
        (&["watch", "--timeout", "soon"], 2),
        (&["watch", "--at", "now"], 2),
    ] {
        let ran = nodes[0].larder(args);
        assert_eq!(ran.code, code, "{args:?}: {}", ran.err);
    }
    let mut watching = Watching::start(&nodes[0], &["--timeout", "1"]);
    assert!(watching.next(PATIENCE).is_some());
    nodes[0].stop();
    let status = until(PATIENCE, "its end", || watching.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(3));
    let mut said = String::new();
    watching.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("\"code\":\"gone\"") && said.contains("--since"), "{said}");
    assert_eq!(nodes[0].larder(&["watch"]).code, 3);
}

/// What is taken back is told, and so is its return; whoever stopped at any of these goes on right after it.
#[test]
fn what_counts_no_longer_is_told_and_so_is_its_return() {
    let lab = lab!(2, "what_counts_no_longer_is_told_and_so_is_its_return");
    let nodes = cluster(&lab, LARDER);
    let write = |key: &str| nodes[1].json(&["set", "config/b", key])["change"].as_str().unwrap().to_owned();
    let (first, second) = (write("path=b"), write("keys.y=1"));
    nodes.iter().for_each(settle);
    converge(&nodes);
    let watching = Watching::start(&nodes[0], &["--since", &first]);
    let all = std::cell::RefCell::new(Vec::new());
    let expect = |op: &str, change: &str| {
        until(PATIENCE, &format!("{op} {change}"), || {
            let event = watching.next(Duration::from_millis(200)).filter(|event| event["durable"] == true)?;
            all.borrow_mut().push(event["id"].as_str().unwrap().to_owned());
            (event["op"] == op && event["change"] == *change).then_some(event)
        })
    };
    expect("accepted", &second);
    nodes[0].ok(&["remove", "n1", "--keep-through", &first]);
    let gone = expect("retracted", &second);
    assert_eq!(gone["id"], format!("{second}.2"));
    assert_eq!(gone["touches"][0]["resource"], "config/b");
    nodes[0].ok(&["quarantine", "readmit", &second]);
    assert_eq!(expect("accepted", &second)["id"], format!("{second}.3"));
    watching.kill();
    let all = all.into_inner();
    for (nth, id) in all.iter().enumerate() {
        let again = Watching::start(&nodes[0], &["--since", id]);
        assert_eq!(again.next(PATIENCE).unwrap()["op"], "start");
        for later in &all[nth + 1..] {
            assert_eq!(again.next(PATIENCE).unwrap()["id"], **later, "after {id}");
        }
        again.kill();
    }
}

#[test]
fn a_path_that_two_resources_want_is_told_and_so_is_its_end() {
    let lab = lab!(1, "a_path_that_two_resources_want_is_told_and_so_is_its_end");
    let nodes = cluster(&lab, LARDER);
    let node = &nodes[0];
    node.ok(&["set", "file/one", "path=here", "content=one"]);
    let watching = Watching::start(node, &[]);
    assert_eq!(watching.next(PATIENCE).expect("a beginning")["op"], "start");
    let clash = |what: &str| {
        until(PATIENCE, what, || {
            let event = watching.next(PATIENCE).expect("an event");
            (event["kind"] == "conflict").then_some(event)
        })
    };
    node.ok(&["set", "file/two", "path=./here", "content=two"]);
    let appeared = clash("the claim");
    assert_eq!(
        (&appeared["op"], &appeared["resource"], &appeared["field"]),
        (&"appeared".into(), &"file/one".into(), &"path".into())
    );
    node.ok(&["set", "file/two", "path=there"]);
    assert_eq!(clash("its end")["op"], "settled");
    watching.kill();
}
