//! The trace of a run: a hash over every input and effect and, if requested, the last lines as text.

use std::collections::VecDeque;

use larder_core::id::hash16;
use larder_core::node::{Effect, Input};

/// The number of lines kept for a report.
const MAX_LINES: usize = 60;
/// The number of bytes that are hashed at once.
const HASH_BLOCK_BYTES: usize = 64 << 10;

/// The events of a run up to now.
#[derive(Clone, Debug, Default)]
pub(super) struct EventTrace {
    /// The hash over all events before `unhashed`.
    hash: [u8; 16],
    unhashed: Vec<u8>,
    /// The last lines, if they are kept.
    lines: Option<VecDeque<String>>,
    print_lines: bool,
}

impl EventTrace {
    /// Creates a trace that keeps its last lines; with `loud` it also prints all lines.
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

    /// The hash over all events up to now.
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

    /// Records an event of the world outside of the nodes.
    pub(super) fn record_event(&mut self, now: u64, what: &str) {
        self.hash_parts(now, &[what.as_bytes()]);
        self.log_line(now, || what.to_owned());
    }

    /// Records an input to a node.
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
            // This input is frequent, and expensive to print.
            Input::NodeDiscovered { peer, .. } => self.hash_parts(now, &[&node_bytes, b"seen", &peer.0]),
            Input::Stored { batch_id } => {
                self.hash_parts(now, &[&node_bytes, b"stored", &batch_id.0.to_be_bytes()])
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

    /// Records an effect of a node.
    pub(super) fn record_effect(&mut self, now: u64, node: usize, effect: &Effect) {
        let node_bytes = node.to_be_bytes();
        match effect {
            Effect::Send { link, bytes } => {
                self.hash_parts(now, &[&node_bytes, b"send", &link.0.to_be_bytes(), bytes])
            }
            Effect::Store { batch_id, rows } => {
                let batch_id = batch_id.0.to_be_bytes();
                let mut parts: Vec<&[u8]> = vec![&node_bytes, b"store", &batch_id];
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
            Effect::Store { batch_id, rows } => format!("{node} -> store {} rows, {batch_id:?}", rows.len()),
            other => format!("{node} -> {other:?}"),
        });
    }

    pub(super) fn last_lines(&self) -> Vec<String> {
        self.lines.iter().flatten().cloned().collect()
    }
}
