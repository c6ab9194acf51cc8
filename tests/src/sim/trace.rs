//! The trace of a run: one hash over every input and effect, and on request its last lines.

use std::collections::VecDeque;

use larder_core::id::hash16;
use larder_core::node::{Effect, Input};

/// Lines kept for a report.
const MAX_LINES: usize = 60;
/// So many bytes are hashed at once.
const HASH_BLOCK_BYTES: usize = 64 << 10;

/// What happened so far.
#[derive(Clone, Debug, Default)]
pub(super) struct EventTrace {
    /// Hash over everything but what follows.
    hash: [u8; 16],
    /// What is not hashed yet.
    unhashed: Vec<u8>,
    /// The last lines, if they are kept.
    lines: Option<VecDeque<String>>,
    /// True to print each line at once.
    print_lines: bool,
}

impl EventTrace {
    /// A trace that keeps its last lines, or prints them all.
    pub(super) fn with_lines(loud: bool) -> Self {
        Self { lines: Some(VecDeque::new()), print_lines: loud, ..Self::default() }
    }

    fn hash_parts(&mut self, now: u64, parts: &[&[u8]]) {
        self.unhashed.extend(now.to_be_bytes());
        for part in parts {
            self.unhashed.extend(part.len().to_be_bytes());
            self.unhashed.extend(*part);
        }
        if self.unhashed.len() >= HASH_BLOCK_BYTES {
            self.hash = self.hash();
            self.unhashed.clear();
        }
    }

    /// The hash over everything so far.
    pub(super) fn hash(&self) -> [u8; 16] {
        hash16("larder sim trace", &[&self.hash, &self.unhashed])
    }

    fn log_line(&mut self, now: u64, line: impl FnOnce() -> String) {
        let Some(lines) = &mut self.lines else { return };
        let line = format!("{:>14.6} {}", now as f64 / 1e6, line());
        if self.print_lines {
            eprintln!("{line}");
        }
        if lines.len() == MAX_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// Something happened to the world.
    pub(super) fn record_event(&mut self, now: u64, what: &str) {
        self.hash_parts(now, &[what.as_bytes()]);
        self.log_line(now, || what.to_owned());
    }

    /// A node is told something.
    pub(super) fn record_input(&mut self, now: u64, node: usize, input: &Input) {
        let node_bytes = node.to_be_bytes();
        match input {
            Input::FrameReceived { link, bytes } => {
                self.hash_parts(now, &[&node_bytes, b"frame", &link.0.to_be_bytes(), bytes])
            }
            Input::BytesSent { link, bytes } => {
                self.hash_parts(now, &[&node_bytes, b"sent", &link.0.to_be_bytes(), &bytes.to_be_bytes()]);
            }
            Input::Tick => self.hash_parts(now, &[&node_bytes, b"tick"]),
            // Said often, and dear to print.
            Input::NodeDiscovered { peer, .. } => self.hash_parts(now, &[&node_bytes, b"seen", &peer.0]),
            Input::Stored { token } => {
                self.hash_parts(now, &[&node_bytes, b"stored", &token.0.to_be_bytes()])
            }
            other => self.hash_parts(now, &[&node_bytes, format!("{other:?}").as_bytes()]),
        }
        if !matches!(input, Input::Tick | Input::BytesSent { .. }) {
            self.log_line(now, || match input {
                Input::FrameReceived { link, bytes } => {
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
    pub(super) fn record_effect(&mut self, now: u64, node: usize, effect: &Effect) {
        let node_bytes = node.to_be_bytes();
        match effect {
            Effect::Send { link, bytes } => {
                self.hash_parts(now, &[&node_bytes, b"send", &link.0.to_be_bytes(), bytes])
            }
            Effect::Store { batch: token, rows } => {
                let token = token.0.to_be_bytes();
                let mut parts: Vec<&[u8]> = vec![&node_bytes, b"store", &token];
                for row in rows {
                    parts.extend([
                        row.table.name().as_bytes(),
                        &row.key,
                        row.value.as_deref().unwrap_or_default(),
                    ]);
                }
                self.hash_parts(now, &parts);
            }
            Effect::OpenGuestStream { peer } => self.hash_parts(now, &[&node_bytes, b"visit", &peer.0]),
            Effect::LearnAddresses { peer, .. } => self.hash_parts(now, &[&node_bytes, b"learn", &peer.0]),
            Effect::SetMembers(members) => {
                let mut parts: Vec<&[u8]> = vec![&node_bytes, b"members"];
                parts.extend(members.iter().map(|member| member.0.as_slice()));
                self.hash_parts(now, &parts);
            }
            other => self.hash_parts(now, &[&node_bytes, format!("{other:?}").as_bytes()]),
        }
        self.log_line(now, || match effect {
            Effect::Send { link, bytes } => {
                format!("{node} -> frame of kind {:?}, {} bytes, link {}", bytes.first(), bytes.len(), link.0)
            }
            Effect::Store { batch: token, rows } => format!("{node} -> store {} rows, {token:?}", rows.len()),
            other => format!("{node} -> {other:?}"),
        });
    }

    /// The last lines.
    pub(super) fn last_lines(&self) -> Vec<String> {
        self.lines.iter().flatten().cloned().collect()
    }
}
