//! The trace of a run: one hash over every input and effect, and on request its last lines.

use std::collections::VecDeque;

use larder_core::id::hash16;
use larder_core::machine::{Effect, Input};

/// Lines kept for a report.
const LINES: usize = 60;
/// So many bytes are hashed at once.
const BLOCK: usize = 64 << 10;

/// What happened so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    /// Hash over everything but what follows.
    hash: [u8; 16],
    /// What is not hashed yet.
    rest: Vec<u8>,
    /// The last lines, if they are kept.
    lines: Option<VecDeque<String>>,
    /// True to print each line at once.
    loud: bool,
}

impl Trace {
    /// A trace that keeps its last lines, or prints them all.
    pub(super) fn telling(loud: bool) -> Self {
        Self { lines: Some(VecDeque::new()), loud, ..Self::default() }
    }

    fn add(&mut self, now: u64, parts: &[&[u8]]) {
        self.rest.extend(now.to_be_bytes());
        for part in parts {
            self.rest.extend(part.len().to_be_bytes());
            self.rest.extend(*part);
        }
        if self.rest.len() >= BLOCK {
            self.hash = self.hash();
            self.rest.clear();
        }
    }

    /// The hash over everything so far.
    pub(super) fn hash(&self) -> [u8; 16] {
        hash16("larder sim trace", &[&self.hash, &self.rest])
    }

    fn tell(&mut self, now: u64, line: impl FnOnce() -> String) {
        let Some(lines) = &mut self.lines else { return };
        let line = format!("{:>14.6} {}", now as f64 / 1e6, line());
        if self.loud {
            eprintln!("{line}");
        }
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// Something happened to the world.
    pub(super) fn note(&mut self, now: u64, what: &str) {
        self.add(now, &[what.as_bytes()]);
        self.tell(now, || what.to_owned());
    }

    /// A node is told something.
    pub(super) fn input(&mut self, now: u64, node: usize, input: &Input) {
        let node_bytes = node.to_be_bytes();
        match input {
            Input::Frame { link, bytes } => {
                self.add(now, &[&node_bytes, b"frame", &link.0.to_be_bytes(), bytes])
            }
            Input::Sent { link, bytes } => {
                self.add(now, &[&node_bytes, b"sent", &link.0.to_be_bytes(), &bytes.to_be_bytes()]);
            }
            Input::Tick => self.add(now, &[&node_bytes, b"tick"]),
            // Said often, and dear to print.
            Input::Seen { peer, .. } => self.add(now, &[&node_bytes, b"seen", &peer.0]),
            Input::Stored { token } => self.add(now, &[&node_bytes, b"stored", &token.0.to_be_bytes()]),
            other => self.add(now, &[&node_bytes, format!("{other:?}").as_bytes()]),
        }
        if !matches!(input, Input::Tick | Input::Sent { .. }) {
            self.tell(now, || match input {
                Input::Frame { link, bytes } => {
                    format!(
                        "{node} <- frame of kind {:?}, {} bytes, link {}",
                        bytes.first(),
                        bytes.len(),
                        link.0
                    )
                }
                other => format!("{node} <- {other:?}"),
            });
        }
    }

    /// A node wants something done.
    pub(super) fn effect(&mut self, now: u64, node: usize, effect: &Effect) {
        let node_bytes = node.to_be_bytes();
        match effect {
            Effect::Send { link, bytes } => {
                self.add(now, &[&node_bytes, b"send", &link.0.to_be_bytes(), bytes])
            }
            Effect::Store { token, rows } => {
                let token = token.0.to_be_bytes();
                let mut parts: Vec<&[u8]> = vec![&node_bytes, b"store", &token];
                for row in rows {
                    parts.extend([
                        row.table.name().as_bytes(),
                        &row.key,
                        row.value.as_deref().unwrap_or_default(),
                    ]);
                }
                self.add(now, &parts);
            }
            Effect::Visit { peer } => self.add(now, &[&node_bytes, b"visit", &peer.0]),
            Effect::Learn { peer, .. } => self.add(now, &[&node_bytes, b"learn", &peer.0]),
            Effect::Members(members) => {
                let mut parts: Vec<&[u8]> = vec![&node_bytes, b"members"];
                parts.extend(members.iter().map(|member| member.0.as_slice()));
                self.add(now, &parts);
            }
            other => self.add(now, &[&node_bytes, format!("{other:?}").as_bytes()]),
        }
        self.tell(now, || match effect {
            Effect::Send { link, bytes } => {
                format!("{node} -> frame of kind {:?}, {} bytes, link {}", bytes.first(), bytes.len(), link.0)
            }
            Effect::Store { token, rows } => format!("{node} -> store {} rows, {token:?}", rows.len()),
            other => format!("{node} -> {other:?}"),
        });
    }

    /// The last lines.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.iter().flatten().cloned().collect()
    }
}
