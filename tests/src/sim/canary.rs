//! Canaries: the product with one planted defect each, which the simulator must catch; and the product with other
//! limits, in which everything must hold as ever.
//!
//! A planted defect is a text put in place of another in a copy of `core`. The product itself knows nothing of it, so
//! there is nothing to switch on by mistake; and a defect whose place is gone is told of, to be planted anew.

use std::io;
use std::path::{Path, PathBuf};

/// A text of a file, and what is put in its place.
pub struct Edit {
    file: &'static str,
    old: &'static str,
    new: &'static str,
}

/// One altered product.
pub struct Canary {
    /// What it is called.
    pub name: &'static str,
    /// What is wrong with it.
    pub what: &'static str,
    /// True if everything must hold all the same.
    pub sound: bool,
    edits: &'static [Edit],
}

const fn edit(file: &'static str, old: &'static str, new: &'static str) -> Edit {
    Edit { file, old, new }
}

const fn defect(name: &'static str, what: &'static str, edits: &'static [Edit]) -> Canary {
    Canary { name, what, sound: false, edits }
}

/// All of them.
pub const CANARIES: &[Canary] = &[
    defect(
        "early",
        "sends and answers before what they follow from is durable",
        &[edit(
            "core/src/machine/outbox.rs",
            "(_, effect) if self.durable >= self.issued => self.ready.push(effect),",
            "(_, effect) if self.durable <= self.issued => self.ready.push(effect),",
        )],
    ),
    defect(
        "unstored",
        "does not store what neighbours bring",
        &[edit("core/src/machine/spread.rs", "        cx.outbox.store(taken.rows);\n", "")],
    ),
    defect(
        "uncovered",
        "does not store what proves the end of a chain",
        &[edit(
            "core/src/group/admit.rs",
            "        taken.covered.insert((epoch, actor));\n        chain.set_cover(cover);\n",
            "        chain.set_cover(cover);\n",
        )],
    ),
    defect(
        "after-failure",
        "goes on as ever after the disk failed",
        &[edit(
            "core/src/machine/outbox.rs",
            "        self.failed = Some(why.to_owned());\n",
            "        let _ = why;\n",
        )],
    ),
    defect(
        "no-dependencies",
        "lets in a change before those it builds on",
        &[edit("core/src/shard/gate.rs", "        if !on.is_empty() {", "        if on.len() > 1 {")],
    ),
    defect(
        "twice",
        "takes a change that it has for another in its place",
        &[edit("core/src/shard/gate.rs", "if self.graph.contains(&id) {", "if self.graph.is_empty() {")],
    ),
    defect(
        "asked-once",
        "never asks again for what it asked of a neighbour that is gone",
        &[
            edit(
                "core/src/machine/fetch.rs",
                "|(_, (_, due))| *due <= now",
                "|(_, (_, due))| *due <= now && due.0 == 1",
            ),
            edit(
                "core/src/machine/compare.rs",
                "        self.in_flight.retain(|_, (of, _)| *of != link);\n",
                "",
            ),
        ],
    ),
    defect(
        "waiting-is-seen",
        "counts a change that has to wait as one that it has",
        &[edit(
            "core/src/group/admit.rs",
            "let forgotten = self.orphans.keep(Orphan { composed, signature }, *on);",
            "let (_, forgotten) = ((Orphan { composed, signature }, on), 0);\n                        self.refused.note(Refusal::Change(id), String::new());",
        )],
    ),
    defect(
        "foreign-shard",
        "writes what it has to the founder's shard, and takes such changes from others",
        &[
            edit(
                "core/src/group/author.rs",
                "ShardName::Observed(grant) };\n        let epoch",
                "ShardName::Observed(self.records.genesis()) };\n        let epoch",
            ),
            edit(
                "core/src/group/admit.rs",
                "grant == delta.grant && role.writes_observed()",
                "grant == grant && role.writes_observed()",
            ),
        ],
    ),
    defect(
        "everybody",
        "syncs every group over every link",
        &[edit(
            "core/src/machine/streams.rs",
            "match (of.group.members().contains(peer), live) {",
            "match (of.group.members().grants().count() > 0, live) {",
        )],
    ),
    defect(
        "short-tail",
        "leaves out every fifth change of a chain when it starts",
        &[edit(
            "core/src/group/load.rs",
            "Ok(composed) => tail.push(composed),",
            "Ok(composed) if composed.delta().seq % 5 == 0 => {}\n                Ok(composed) => tail.push(composed),",
        )],
    ),
    defect(
        "unset-is-equal",
        "takes a field that one side unset for one without a conflict",
        &[edit(
            "core/src/resource/view.rs",
            "matches!(pair, [a, b] if a.value != b.value)",
            "matches!(pair, [a, b] if a.value != b.value && !a.value.is_null() && !b.value.is_null())",
        )],
    ),
    defect(
        "silent-removal",
        "lets a removal win over an edit without a word",
        &[edit(
            "core/src/resource/conflict.rs",
            "out.extend(edit_remove(shard, view));",
            "let _ = edit_remove(shard, view);",
        )],
    ),
    defect(
        "last-writer",
        "lets the newest value replace all others, whoever knew of whom",
        &[edit(
            "core/src/shard/state.rs",
            "visible.retain(|old| put.preds.binary_search(&old.op).is_err());",
            "visible.retain(|old| old.op > op);",
        )],
    ),
    defect(
        "chatter",
        "compares with all neighbours at every tick",
        &[edit(
            "core/src/machine.rs",
            "            of.repair(&mut cx);\n",
            "            of.repair(&mut cx);\n            of.tell_all(&mut cx);\n",
        )],
    ),
    defect(
        "no-frontier",
        "lets everything count that a removed member ever wrote",
        &[edit(
            "core/src/accept.rs",
            "is_below(at, valid.actor, ending.changes.get(&valid.actor)));",
            "is_below(at, valid.actor, ending.changes.get(&valid.actor)) || valid.seq > 0);",
        )],
    ),
    defect(
        "no-evidence",
        "does not keep what a frontier names",
        &[edit(
            "core/src/accept.rs",
            "closed[at] || members.named().contains(&index.id(at))",
            "closed[at] || members.named().contains(&ChangeId::ZERO)",
        )],
    ),
    defect(
        "first-come",
        "lets of a fork stay what came first",
        &[edit(
            "core/src/group/settle.rs",
            "        if !lost.is_empty() {\n            self.retract(epoch, &lost, taken);",
            "        if lost.len() > 1_000_000 {\n            self.retract(epoch, &lost, taken);",
        )],
    ),
    defect(
        "same-seq",
        "goes on in a chain of its own that another branch of is known",
        &[
            edit(
                "core/src/group/author.rs",
                "tip.is_some_and(|tip| tip.seq == own.seq && tip.id == own.id)",
                "tip.is_some_and(|tip| tip.seq <= own.seq)",
            ),
            edit(
                "core/src/group/author.rs",
                "is_some_and(|aside| aside.has_chain(&actor))",
                "is_some_and(|aside| aside.has_chain(&actor) && own.seq == 0)",
            ),
        ],
    ),
    defect(
        "offers-quarantine",
        "passes on what it has in quarantine",
        &[edit(
            "core/src/group/aside.rs",
            "let mut kept: Vec<&Beside> = self.iter().filter(|beside| beside.kept).collect();",
            "let mut kept: Vec<&Beside> = self.iter().collect();",
        )],
    ),
    defect(
        "serves-removed",
        "goes on with neighbours that are no members any more",
        &[edit(
            "core/src/machine/standing.rs",
            ".filter(|(_, session)| !live || !members.contains(&session.peer))",
            ".filter(|(_, session)| !live && !members.contains(&session.peer))",
        )],
    ),
    Canary {
        name: "small-limits",
        what: "has room for next to nothing: windows, waiting changes, positions and snapshots are small",
        sound: true,
        edits: &[
            edit(
                "core/src/limits.rs",
                "pub const ORPHAN_BYTES: usize = 16 << 20;",
                "pub const ORPHAN_BYTES: usize = 1 << 10;",
            ),
            edit(
                "core/src/limits.rs",
                "pub const WINDOW_CHANGES: usize = 8192;",
                "pub const WINDOW_CHANGES: usize = 60;",
            ),
            edit(
                "core/src/limits.rs",
                "pub const SERVE_CHANGES: usize = 32_768;",
                "pub const SERVE_CHANGES: usize = 90;",
            ),
            edit(
                "core/src/limits.rs",
                "pub const SNAPSHOT_CHANGES: usize = 1024;",
                "pub const SNAPSHOT_CHANGES: usize = 6;",
            ),
            edit(
                "core/src/limits.rs",
                "pub const AUTHOR_BURST: usize = 4_096;",
                "pub const AUTHOR_BURST: usize = 3;",
            ),
            edit(
                "core/src/limits.rs",
                "pub const AUTHOR_PUSHES: u64 = 1_000;",
                "pub const AUTHOR_PUSHES: u64 = 2;",
            ),
            edit(
                "core/src/limits.rs",
                "pub const REBUILD_SLICE: usize = 1024;",
                "pub const REBUILD_SLICE: usize = 4;",
            ),
            edit(
                "core/src/limits.rs",
                "pub const ASIDE_GATHER: usize = 256;",
                "pub const ASIDE_GATHER: usize = 2;",
            ),
            edit(
                "core/src/limits.rs",
                "pub const WANT_CHAINS: usize = 4096;",
                "pub const WANT_CHAINS: usize = 2;",
            ),
            edit(
                "core/src/limits.rs",
                "pub const LINK_PENDING_BYTES: usize = 2 << 20;",
                "pub const LINK_PENDING_BYTES: usize = 2 << 10;",
            ),
        ],
    },
];

impl Canary {
    /// Alters a copy of the product that lies in `root`.
    pub fn plant(&self, root: &Path) -> io::Result<()> {
        for edit in self.edits {
            let path = root.join(edit.file);
            let text = std::fs::read_to_string(&path)?;
            if text.matches(edit.old).count() != 1 {
                let words =
                    format!("{}: `{}` is not there once; plant the canary anew", edit.file, edit.old.trim());
                return Err(io::Error::other(words));
            }
            std::fs::write(&path, text.replace(edit.old, edit.new))?;
        }
        Ok(())
    }
}

/// Writes a workspace of nothing but `core` and the simulator to `to`, as links to the sources in `from` but for `core`,
/// which is a copy.
pub fn lay_out(from: &Path, to: &Path) -> io::Result<()> {
    let _ = std::fs::remove_dir_all(to);
    copy_all(&from.join("core"), &to.join("core"))?;
    let manifest = std::fs::read_to_string(from.join("Cargo.toml"))?;
    let members = manifest.lines().find(|line| line.starts_with("members")).unwrap_or_default();
    let manifest = manifest
        .replace(members, "members = [\"core\", \"sim\"]")
        .replace("default-members = [\"node\"]", "default-members = [\"sim\"]");
    std::fs::write(to.join("Cargo.toml"), manifest)?;
    std::fs::copy(from.join("Cargo.lock"), to.join("Cargo.lock"))?;
    let (sim, sources) = (to.join("sim"), from.join("tests"));
    std::fs::create_dir_all(sim.join("src"))?;
    std::fs::write(sim.join("Cargo.toml"), MANIFEST)?;
    std::fs::write(sim.join("src/lib.rs"), "pub mod sim;\n")?;
    for (source, link) in
        [("src/sim.rs", "src/sim.rs"), ("src/sim", "src/sim"), ("bin/sim.rs", "src/main.rs")]
    {
        std::os::unix::fs::symlink(sources.join(source), sim.join(link))?;
    }
    Ok(())
}

/// The simulator as a package that needs nothing but `core`.
const MANIFEST: &str = r#"[package]
name = "larder-tests"
version.workspace = true
edition.workspace = true
publish.workspace = true

[[bin]]
name = "larder-sim"
path = "src/main.rs"

[dependencies]
larder-core.workspace = true
clap.workspace = true
serde.workspace = true
serde_json.workspace = true
"#;

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
