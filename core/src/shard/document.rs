//! The Automerge document of one shard: accepted changes only, each made by the composer.
//!
//! Everything that calls Automerge is here, and every call that could meet a defect in it is fenced: a panic or an
//! error isolates this shard and is reported as a bug. It never makes a change invalid, since all nodes must agree on
//! what is valid whatever their version of Automerge.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{Automerge, Change, ChangeHash, ReadDoc, SaveOptions};

use super::root::Root;
use super::state::Visible;
use crate::delta::OpRef;
use crate::delta::compose::value_of;
use crate::id::{Actor, ChangeId};
use crate::limits;

const PAST: &str = "a panic while an earlier state was read";
const NO_VALUE: &str = "a value that no change can put";

/// Why a shard was isolated: a defect in Automerge or in this program, never the fault of a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the document of shard {shard} is isolated after a defect: {what}; its changes are safe, please report this"
)]
pub struct Isolated {
    /// The shard's name.
    pub shard: String,
    /// What happened.
    pub what: String,
}

/// One shard's Automerge document, with the accepted changes that it has not been given yet.
#[derive(Clone, Debug)]
pub struct Document {
    inner: Automerge,
    pending: Vec<Change>,
    /// Bytes of values when the document was last loaded or copied: what each later splice may waste.
    loaded_bytes: usize,
    /// Splices since then.
    splices: usize,
    isolated: Option<Isolated>,
    /// While it is rebuilt: the document as it was, with what was accepted since. It has more than the history has, and
    /// answers for all that the history has.
    before: Option<Automerge>,
}

impl Document {
    /// The document that holds just a shard's root, once it is flushed.
    pub fn new(root: &Root) -> Self {
        let pending = vec![root.change().clone()];
        Self { inner: Automerge::new(), pending, loaded_bytes: 0, splices: 0, isolated: None, before: None }
    }

    /// Reads a document that [`Document::save`] wrote. `None` if the bytes are not that: rebuild it from its changes.
    pub fn load(bytes: &[u8], value_bytes: usize) -> Option<Self> {
        let inner = catch_unwind(AssertUnwindSafe(|| Automerge::load(bytes).ok())).ok()??;
        let pending = Vec::new();
        Some(Self { inner, pending, loaded_bytes: value_bytes, splices: 0, isolated: None, before: None })
    }

    /// The document's bytes. They differ between replicas of equal content: compare heads, never bytes.
    pub fn save(&self) -> Vec<u8> {
        self.inner.save_with_options(SaveOptions { deflate: true, retain_orphans: false })
    }

    /// Takes in an accepted change; it is applied with others at the next [`Document::flush`].
    pub fn push(&mut self, change: Change) {
        if let Some(before) = &mut self.before {
            let taken = catch_unwind(AssertUnwindSafe(|| before.apply_changes([change.clone()])));
            if !matches!(taken, Ok(Ok(()))) {
                // It takes the place of one that was taken out: only the document that comes can hold it.
                self.before = None;
            }
        }
        self.pending.push(change);
    }

    /// Applies what is pending, all at once; while the document is rebuilt, a slice of it.
    pub fn flush(&mut self, root: &Root) {
        let slice = if self.before.is_some() { limits::REBUILD_SLICE } else { usize::MAX };
        self.apply(root, slice);
    }

    /// Applies all that is pending.
    pub(super) fn finish(&mut self, root: &Root) {
        self.apply(root, usize::MAX);
    }

    /// True while it is rebuilt.
    pub fn is_rebuilding(&self) -> bool {
        self.before.is_some()
    }

    /// Begins anew with all changes but these; the document as it was answers until it is done.
    pub(super) fn rebuild_without(&mut self, lost: &BTreeSet<ChangeId>) {
        let mut all = self.changes_after(&[]);
        all.retain(|change| !lost.contains(&ChangeId(change.hash().0)));
        self.pending = all;
        self.before = Some(std::mem::replace(&mut self.inner, Automerge::new()));
        self.splices = 0;
    }

    fn apply(&mut self, root: &Root, most: usize) {
        if self.pending.is_empty() || self.isolated.is_some() {
            return;
        }
        let rest = self.pending.split_off(most.min(self.pending.len()));
        let pending = std::mem::replace(&mut self.pending, rest);
        if self.pending.is_empty() {
            self.before = None;
        }
        let inner = &mut self.inner;
        let outcome = catch_unwind(AssertUnwindSafe(|| inner.apply_changes(pending)));
        let what = match outcome {
            Ok(Ok(())) => return self.trim(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "a panic while changes were applied".to_owned(),
        };
        self.isolate(defect(root, what));
    }

    /// Automerge 0.12 keeps the full capacity of a value slab when it splits one; a copy has none to spare.
    fn trim(&mut self) {
        self.splices += 1;
        if self.splices.saturating_mul(self.loaded_bytes) > limits::SLACK_BYTES {
            self.inner = self.inner.clone();
            self.splices = 0;
        }
    }

    /// True if changes wait for [`Document::flush`].
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Why the shard is isolated, if it is.
    pub fn isolated(&self) -> Option<&Isolated> {
        self.isolated.as_ref()
    }

    /// The document that answers questions about the past.
    fn past(&self) -> &Automerge {
        self.before.as_ref().unwrap_or(&self.inner)
    }

    /// The heads, sorted; not to be asked for while it is rebuilt.
    pub fn heads(&self) -> Vec<ChangeId> {
        let mut heads: Vec<_> = self.inner.get_heads().iter().map(|hash| ChangeId(hash.0)).collect();
        heads.sort_unstable();
        heads
    }

    /// The values of `key` that are visible at `heads`, the winner last; what is wrong, if they cannot be read.
    pub fn visible_at(&self, root: &Root, key: &str, heads: &[ChangeId]) -> Result<Vec<Visible>, Isolated> {
        if let Some(isolated) = &self.isolated {
            return Err(isolated.clone());
        }
        let heads: Vec<_> = heads.iter().map(|id| ChangeHash(id.0)).collect();
        let all = catch_unwind(AssertUnwindSafe(|| self.past().get_all_at(root.bucket(key), key, &heads)));
        let read = match all {
            Ok(Ok(all)) => all.iter().map(|(value, id)| visible_of(value, id)).collect::<Option<Vec<_>>>(),
            Ok(Err(error)) => return Err(defect(root, error.to_string())),
            Err(_) => return Err(defect(root, PAST.to_owned())),
        };
        let mut visible = read.ok_or_else(|| defect(root, NO_VALUE.to_owned()))?;
        visible.sort_by_key(|value: &Visible| value.op);
        Ok(visible)
    }

    /// [`Document::visible_at`] of many keys at once: goes through all that was ever put, which takes the longer the more
    /// that is, and hardly longer for many keys than for one. Keys that had no value are left out.
    pub(super) fn visible_in_bulk(
        &self,
        root: &Root,
        keys: &BTreeSet<&str>,
        heads: &[ChangeId],
    ) -> Result<Vec<(String, Vec<Visible>)>, Isolated> {
        if let Some(isolated) = &self.isolated {
            return Err(isolated.clone());
        }
        let hashes: Vec<_> = heads.iter().map(|id| ChangeHash(id.0)).collect();
        let read = || {
            let mut found = Vec::with_capacity(keys.len());
            for bucket in root.buckets() {
                for item in self.past().map_range_at(&bucket, .., &hashes) {
                    if !keys.contains(&*item.key) {
                        continue;
                    }
                    let (key, is_conflict) = (item.key.clone().into_owned(), item.conflict);
                    let visible = match is_conflict {
                        true => self.visible_at(root, &key, heads)?,
                        false => vec![
                            visible_of(&item.value.clone().into_value(), &item.id())
                                .ok_or_else(|| defect(root, NO_VALUE.to_owned()))?,
                        ],
                    };
                    found.push((key, visible));
                }
            }
            Ok(found)
        };
        catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(defect(root, PAST.to_owned())))
    }

    /// Gives the document up.
    pub(super) fn isolate(&mut self, isolated: Isolated) {
        self.inner = Automerge::new();
        self.before = None;
        self.isolated = Some(isolated);
    }

    pub(super) fn isolate_for(&mut self, root: &Root, what: &str) {
        self.isolate(defect(root, what.to_owned()));
    }

    /// Every key with its visible values, as Automerge has them now.
    pub fn read_all(&self, root: &Root) -> Option<Vec<(String, Vec<Visible>)>> {
        catch_unwind(AssertUnwindSafe(|| {
            let mut out = Vec::new();
            for bucket in root.buckets() {
                let keys: Vec<String> = self.inner.keys(&bucket).collect();
                for key in keys {
                    let all = self.inner.get_all(&bucket, key.as_str()).ok()?;
                    out.push((key, all.iter().filter_map(|(value, id)| visible_of(value, id)).collect()));
                }
            }
            Some(out)
        }))
        .ok()
        .flatten()
    }

    /// What the document knows of its changes without their contents, each after its dependencies.
    pub(super) fn metadata(&self) -> Vec<Meta> {
        let read = || {
            let all = self.inner.get_changes_meta(&[]);
            all.into_iter().filter_map(Meta::of).collect::<Vec<_>>()
        };
        catch_unwind(AssertUnwindSafe(read)).unwrap_or_default()
    }

    /// The change `id`.
    pub fn change(&self, id: &ChangeId) -> Option<Change> {
        catch_unwind(AssertUnwindSafe(|| self.past().get_change_by_hash(&ChangeHash(id.0)))).ok().flatten()
    }

    /// All changes that are not among `heads` and their ancestors, each after its dependencies.
    pub fn changes_after(&self, heads: &[ChangeId]) -> Vec<Change> {
        let heads: Vec<_> = heads.iter().map(|id| ChangeHash(id.0)).collect();
        catch_unwind(AssertUnwindSafe(|| self.past().get_changes(&heads))).unwrap_or_default()
    }
}

/// A change without its contents.
pub(super) struct Meta {
    pub(super) id: ChangeId,
    pub(super) actor: Actor,
    pub(super) seq: u64,
    pub(super) start_op: u64,
    pub(super) max_op: u64,
    pub(super) time: i64,
    pub(super) deps: Vec<ChangeId>,
}

impl Meta {
    fn of(meta: automerge::ChangeMetadata<'_>) -> Option<Self> {
        Some(Self {
            id: ChangeId(meta.hash.0),
            actor: Actor::from_slice(meta.actor.to_bytes())?,
            seq: meta.seq,
            start_op: meta.start_op,
            max_op: meta.max_op,
            time: meta.timestamp,
            deps: meta.deps.iter().map(|hash| ChangeId(hash.0)).collect(),
        })
    }
}

fn defect(root: &Root, what: String) -> Isolated {
    Isolated { shard: root.shard().to_string(), what }
}

fn visible_of(value: &automerge::Value<'_>, id: &automerge::ObjId) -> Option<Visible> {
    let automerge::ObjId::Id(counter, actor, _) = id else { return None };
    let actor = Actor::from_slice(actor.to_bytes())?;
    let automerge::Value::Scalar(scalar) = value else { return None };
    Some(Visible { op: OpRef { counter: *counter, actor }, value: value_of(scalar)? })
}
