//! Canaries: variants of the product. Most have one deliberate defect, which the simulator must catch; some
//! have other limits, with which every invariant must still hold.
//!
//! A canary is a text patch of a copy of `core`. The product contains no switch for it. If the text to
//! replace is no longer in the sources, applying the canary fails with an error.

use std::io;
use std::path::{Path, PathBuf};

/// A text in a source file and its replacement.
pub struct TextPatch {
    file: &'static str,
    old: &'static str,
    new: &'static str,
}

/// One variant of the product.
pub struct Canary {
    /// The name of the canary.
    pub name: &'static str,
    /// The defect, or the difference, in one sentence.
    pub description: &'static str,
    /// True if every invariant must hold with this patch.
    pub must_hold: bool,
    patches: &'static [TextPatch],
}

const fn patch(file: &'static str, old: &'static str, new: &'static str) -> TextPatch {
    TextPatch { file, old, new }
}

const fn planted_defect(name: &'static str, what: &'static str, edits: &'static [TextPatch]) -> Canary {
    Canary { name, description: what, must_hold: false, patches: edits }
}

/// Every canary, in the order in which they run.
pub const CANARIES: &[Canary] = &[
    planted_defect(
        "early",
        "sends and answers before what they follow from is durable",
        &[patch(
            "core/src/node/outbox.rs",
            "(_, effect) if self.last_durable >= self.last_issued => self.ready.push(effect),",
            "(_, effect) if self.last_durable <= self.last_issued => self.ready.push(effect),",
        )],
    ),
    planted_defect(
        "unstored",
        "does not store what neighbours bring",
        &[patch("core/src/node/broadcast.rs", "        self.ctx.outbox.store_batch(outcome.rows);\n", "")],
    ),
    planted_defect(
        "uncovered",
        "does not store what proves the end of a chain",
        &[patch(
            "core/src/group/ingest.rs",
            "        self.reproved_chains.insert((shard_id, chain_id));\n",
            "",
        )],
    ),
    planted_defect(
        "after-failure",
        "goes on as ever after the disk failed",
        &[patch(
            "core/src/node/outbox.rs",
            "        self.failure = Some(reason.to_owned());\n",
            "        let _ = reason;\n",
        )],
    ),
    planted_defect(
        "no-dependencies",
        "lets in a change before those it builds on",
        &[patch(
            "core/src/shard/validate.rs",
            "        if !missing.is_empty() {",
            "        if missing.len() > 1 {",
        )],
    ),
    planted_defect(
        "twice",
        "takes a change that it has for another in its place",
        &[patch("core/src/shard/validate.rs", "if self.graph.contains(&id) {", "if self.graph.is_empty() {")],
    ),
    planted_defect(
        "asked-once",
        "never asks again for what it asked of a neighbour that is gone",
        &[
            patch(
                "core/src/node/requested_ranges.rs",
                "range.due <= now",
                "range.due <= now && range.due.0 == 1",
            ),
            patch(
                "core/src/node/anti_entropy.rs",
                "        self.state.requested_ranges.remove_link(link);\n",
                "",
            ),
        ],
    ),
    planted_defect(
        "waiting-is-seen",
        "counts a change that has to wait as one that it has",
        &[patch(
            "core/src/group/ingest.rs",
            "let evicted_count = self.orphans.insert(Orphan { encoded, signature }, *missing_dep);",
            "let (_, evicted_count) = ((Orphan { encoded, signature }, missing_dep), 0);\n            \
             self.rejected.record(RejectedId::Change(id), String::new());",
        )],
    ),
    planted_defect(
        "foreign-shard",
        "writes what it has to the founder's shard, and takes such changes from others",
        &[
            patch(
                "core/src/group/write.rs",
                "{ shard_name } else { ShardName::Observed(grant) };",
                "{ shard_name } else { ShardName::Observed(group.records().genesis()) };",
            ),
            patch(
                "core/src/group/ingest.rs",
                "grant == delta.grant && role.can_write_observed()",
                "grant == grant && role.can_write_observed()",
            ),
        ],
    ),
    planted_defect(
        "everybody",
        "syncs every group over every link",
        &[patch(
            "core/src/node/links.rs",
            "match (state.group.members().is_member(peer), self_is_member) {",
            "match (state.group.members().grants().count() > 0, self_is_member) {",
        )],
    ),
    planted_defect(
        "short-tail",
        "leaves out every fifth change of a chain when it starts",
        &[patch(
            "core/src/group/load.rs",
            "Ok(encoded) => changes.push(encoded),",
            "Ok(encoded) if encoded.delta().seq % 5 == 0 => {}\n                Ok(encoded) => \
             changes.push(encoded),",
        )],
    ),
    planted_defect(
        "unset-is-equal",
        "takes a field that one side unset for one without a conflict",
        &[patch(
            "core/src/resource/view.rs",
            "matches!(pair, [a, b] if a.value != b.value)",
            "matches!(pair, [a, b] if a.value != b.value && !a.value.is_null() && !b.value.is_null())",
        )],
    ),
    planted_defect(
        "silent-removal",
        "lets a removal win over an edit without a word",
        &[patch(
            "core/src/resource/conflict.rs",
            "found.extend(find_edit_remove_conflict(shard, view));",
            "let _ = find_edit_remove_conflict(shard, view);",
        )],
    ),
    planted_defect(
        "last-writer",
        "lets the newest value replace all others, whoever knew of whom",
        &[patch(
            "core/src/shard/state.rs",
            "visible.retain(|old| put.preds.binary_search(&old.op).is_err());",
            "visible.retain(|old| old.op > op);",
        )],
    ),
    planted_defect(
        "chatter",
        "compares with all neighbours whenever it sends presence",
        &[patch(
            "core/src/node/timers.rs",
            "Timer::Presence(_) => state.send_presence(&mut ctx, &local_info),",
            "Timer::Presence(_) => {\n                state.send_digest_to_all(&mut ctx);\n                \
             state.send_presence(&mut ctx, &local_info)\n            }",
        )],
    ),
    planted_defect(
        "no-frontier",
        "lets everything count that a removed member ever wrote",
        &[patch(
            "core/src/acceptance.rs",
            "is_below(at, candidate.chain_id, revocation.frontier.get(&candidate.chain_id))",
            "is_below(at, candidate.chain_id, revocation.frontier.get(&candidate.chain_id)) || \
             candidate.seq > 0",
        )],
    ),
    planted_defect(
        "no-evidence",
        "does not keep what a frontier names",
        &[patch(
            "core/src/acceptance.rs",
            "closed[at] || members.frontier_changes().contains(&index.id(at))",
            "closed[at] || members.frontier_changes().contains(&ChangeId::ZERO)",
        )],
    ),
    planted_defect(
        "first-come",
        "lets of a fork stay what came first",
        &[patch(
            "core/src/group/reaccept.rs",
            "        if !retracted_ids.is_empty() {",
            "        if retracted_ids.len() > 1_000_000 {",
        )],
    ),
    planted_defect(
        "same-seq",
        "goes on in a chain of its own that another branch of is known",
        &[
            patch(
                "core/src/group/write.rs",
                "tip.is_some_and(|tip| tip.seq == own_tip.seq && tip.id == own_tip.id)",
                "tip.is_some_and(|tip| tip.seq <= own_tip.seq)",
            ),
            patch(
                "core/src/group/write.rs",
                "if state.unaccepted.contains_chain(&chain_id) {",
                "if state.unaccepted.contains_chain(&chain_id) && own_tip.seq == 0 {",
            ),
        ],
    ),
    planted_defect(
        "offers-quarantine",
        "passes on what it has in quarantine",
        &[patch(
            "core/src/group/unaccepted.rs",
            "self.iter().filter(|change| change.is_replicated).collect();",
            "self.iter().collect();",
        )],
    ),
    planted_defect(
        "serves-removed",
        "goes on with neighbours that are no members any more",
        &[patch(
            "core/src/node/membership_status.rs",
            ".filter(|(_, session)| !self_is_member || !members.is_member(&session.peer))",
            ".filter(|(_, session)| !self_is_member && !members.is_member(&session.peer))",
        )],
    ),
    Canary {
        name: "small-limits",
        description: "has room for next to nothing: windows, waiting changes, positions and snapshots are \
            small",
        must_hold: true,
        patches: &[
            patch(
                "core/src/limits/local.rs",
                "pub const MAX_ORPHAN_BYTES: usize = 16 << 20;",
                "pub const MAX_ORPHAN_BYTES: usize = 1 << 10;",
            ),
            patch(
                "core/src/limits/local.rs",
                "pub const MAX_BATCH_CHANGES: usize = 8192;",
                "pub const MAX_BATCH_CHANGES: usize = 60;",
            ),
            patch(
                "core/src/limits/local.rs",
                "pub const MAX_SERVE_CHANGES: usize = 32_768;",
                "pub const MAX_SERVE_CHANGES: usize = 90;",
            ),
            patch(
                "core/src/limits/local.rs",
                "pub const SNAPSHOT_AFTER_CHANGES: usize = 1024;",
                "pub const SNAPSHOT_AFTER_CHANGES: usize = 6;",
            ),
            patch(
                "core/src/limits/local.rs",
                "pub const MAX_AUTHOR_PUSH_BURST: u32 = 4_096;",
                "pub const MAX_AUTHOR_PUSH_BURST: u32 = 3;",
            ),
            patch(
                "core/src/limits/local.rs",
                "pub const MAX_AUTHOR_PUSHES_PER_SECOND: u32 = 1_000;",
                "pub const MAX_AUTHOR_PUSHES_PER_SECOND: u32 = 2;",
            ),
            patch(
                "core/src/limits/local.rs",
                "pub const REBUILD_SLICE_CHANGES: usize = 1024;",
                "pub const REBUILD_SLICE_CHANGES: usize = 4;",
            ),
            patch(
                "core/src/limits/local.rs",
                "pub const MAX_UNACCEPTED_PER_BATCH: usize = 256;",
                "pub const MAX_UNACCEPTED_PER_BATCH: usize = 2;",
            ),
            patch(
                "core/src/limits/local.rs",
                "pub const MAX_REQUESTED_CHAINS: usize = 4096;",
                "pub const MAX_REQUESTED_CHAINS: usize = 2;",
            ),
            patch(
                "core/src/limits/local.rs",
                "pub const MAX_LINK_PENDING_BYTES: usize = 2 << 20;",
                "pub const MAX_LINK_PENDING_BYTES: usize = 2 << 10;",
            ),
        ],
    },
];

impl Canary {
    /// Patches the copy of the product below `root`.
    pub fn apply(&self, root: &Path) -> io::Result<()> {
        for edit in self.patches {
            let path = root.join(edit.file);
            let text = std::fs::read_to_string(&path)?;
            if text.matches(edit.old).count() != 1 {
                let message =
                    format!("{}: `{}` is not there once; plant the canary anew", edit.file, edit.old.trim());
                return Err(io::Error::other(message));
            }
            std::fs::write(&path, text.replace(edit.old, edit.new))?;
        }
        Ok(())
    }
}

/// Creates a workspace in `to` that consists of a copy of `core` and of the simulator, whose sources are
/// links into `from`.
pub fn create_workspace(from: &Path, to: &Path) -> io::Result<()> {
    let _ = std::fs::remove_dir_all(to);
    copy_dir(&from.join("core"), &to.join("core"))?;
    let manifest = std::fs::read_to_string(from.join("Cargo.toml"))?;
    let members = manifest.lines().find(|line| line.starts_with("members")).unwrap_or_default();
    let manifest = manifest
        .replace(members, "members = [\"core\", \"sim\"]")
        .replace("default-members = [\"node\"]", "default-members = [\"sim\"]");
    std::fs::write(to.join("Cargo.toml"), manifest)?;
    std::fs::copy(from.join("Cargo.lock"), to.join("Cargo.lock"))?;
    let (sim, sources) = (to.join("sim"), from.join("tests"));
    std::fs::create_dir_all(sim.join("src"))?;
    std::fs::write(sim.join("Cargo.toml"), SIM_MANIFEST)?;
    std::fs::write(sim.join("src/lib.rs"), SIM_CRATE_ROOT)?;
    for (source, link) in
        [("src/sim.rs", "src/sim.rs"), ("src/sim", "src/sim"), ("bin/sim.rs", "src/main.rs")]
    {
        std::os::unix::fs::symlink(sources.join(source), sim.join(link))?;
    }
    Ok(())
}

/// The manifest of a package that holds the simulator alone; it depends on no other crate of the workspace
/// but `core`.
const SIM_MANIFEST: &str = r#"[package]
name = "larder-tests"
version.workspace = true
edition.workspace = true
publish.workspace = true

[[bin]]
name = "larder-sim"
path = "src/main.rs"

[dependencies]
larder-core = { workspace = true, features = ["test-support"] }
clap.workspace = true
serde.workspace = true
serde_json.workspace = true
"#;

const SIM_CRATE_ROOT: &str = "pub mod sim;\npub use larder_core::test_support::rng;\n";

fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
