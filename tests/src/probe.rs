//! The probe: a process with only the network of a node (`net/examples/probe.rs`).

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use larder_core::id::{NodeId, SecretKey};
use serde_json::Value;

use crate::lab::{Process, wait_until};

/// The key that a probe derives from its seed.
pub fn secret(seed: u64) -> SecretKey {
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(seed.to_le_bytes()).for_each(|(to, from)| *to = from);
    SecretKey::from_bytes(&bytes)
}

/// The node id of a probe with this seed.
pub fn node(seed: u64) -> NodeId {
    secret(seed).node_id()
}

/// Both seeds, with the leader of the pair (the node with the lower key) first.
pub fn leader_first(one: u64, other: u64) -> (u64, u64) {
    if node(one) < node(other) { (one, other) } else { (other, one) }
}

/// An open member link.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberLink {
    /// The number of the link in that process.
    pub link: u64,
    /// The time when the link opened, in milliseconds of the lab's clock.
    pub up_at_ms: f64,
    /// True if this side dialled.
    pub dialed: bool,
}

/// A running probe and its events.
pub struct Probe {
    /// The process of the probe.
    pub process: Process,
    /// The seed of its key.
    pub seed: u64,
    events: Vec<Value>,
    read_offset: u64,
    partial_line: String,
}

impl Probe {
    /// Starts `command` (a probe's binary, possibly on a host) with this seed and these arguments.
    pub fn start(mut command: Command, seed: u64, args: &[&str], log: &Path) -> Self {
        command.args(["--seed", &seed.to_string()]).args(args);
        let read = std::fs::metadata(log).map_or(0, |meta| meta.len());
        let process = Process::start(command, log);
        Self { process, seed, events: Vec::new(), read_offset: read, partial_line: String::new() }
    }

    /// All events up to now.
    pub fn events(&mut self) -> &[Value] {
        let mut text = String::new();
        if let Ok(mut file) = std::fs::File::open(self.process.log_path()) {
            let _ = file.seek(SeekFrom::Start(self.read_offset));
            let _ = file.read_to_string(&mut text);
        }
        self.read_offset += text.len() as u64;
        self.partial_line.push_str(&text);
        while let Some((line, rest)) = self.partial_line.split_once('\n') {
            match serde_json::from_str(line) {
                Ok(event) => self.events.push(event),
                Err(_) => eprintln!("probe {}: {line}", self.seed),
            }
            self.partial_line = rest.to_owned();
        }
        &self.events
    }

    /// The events with this name.
    pub fn events_named(&mut self, name: &str) -> Vec<Value> {
        self.events().iter().filter(|event| event["ev"] == name).cloned().collect()
    }

    /// Waits for an event that `matches` accepts, beginning with the event number `first_event`.
    pub fn wait_for_event(
        &mut self,
        first_event: usize,
        what: &str,
        matches: impl Fn(&Value) -> bool,
    ) -> Value {
        let what = format!("probe {}: {what}", self.seed);
        wait_until(Duration::from_secs(20), &what, || {
            self.events().iter().skip(first_event).find(|event| matches(event)).cloned()
        })
    }

    /// Waits for an event with this name.
    pub fn wait_for_event_named(&mut self, name: &str) -> Value {
        self.wait_for_event(0, name, |event| event["ev"] == name)
    }

    /// The number of events up to now. A later wait can begin there.
    pub fn event_count(&mut self) -> usize {
        self.events().len()
    }

    /// The open member links, by the peer's seed. Panics if two links with one peer are open at once.
    pub fn member_links(&mut self) -> BTreeMap<u64, MemberLink> {
        let seed = self.seed;
        let mut links: BTreeMap<u64, MemberLink> = BTreeMap::new();
        for event in self.events() {
            let (peer, link) = (event["peer"].as_u64(), event["link"].as_u64().unwrap_or(0));
            match (event["ev"].as_str(), peer) {
                (Some("up"), Some(peer)) if event["kind"] == "Member" => {
                    let since = event["t"].as_f64().unwrap_or(0.0);
                    let dialed = event["dialed"] == true;
                    let before = links.insert(peer, MemberLink { link, up_at_ms: since, dialed });
                    assert_eq!(before, None, "probe {seed}: a second link with {peer} while one was up");
                }
                (Some("down"), Some(peer)) if links.get(&peer).is_some_and(|up| up.link == link) => {
                    links.remove(&peer);
                }
                _ => {}
            }
        }
        links
    }

    /// The number of connections to each peer, by the peer's seed. Peers without a known seed are left out.
    pub fn connections(&mut self) -> BTreeMap<String, u64> {
        let mark = self.event_count();
        self.process.write_line("count");
        let event = self.wait_for_event(mark, "count", |event| event["ev"] == "count");
        let counts = event["connections"].as_object().cloned().unwrap_or_default();
        counts.into_iter().map(|(peer, count)| (peer, count.as_u64().unwrap_or(0))).collect()
    }

    /// The time of the last event with this name about `peer`.
    pub fn last_event_time(&mut self, name: &str, peer: u64) -> Option<f64> {
        self.events()
            .iter()
            .rev()
            .find(|e| e["ev"] == name && e["peer"] == peer)
            .and_then(|e| e["t"].as_f64())
    }
}
