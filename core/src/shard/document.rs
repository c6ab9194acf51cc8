//! The Automerge document of one shard. It holds accepted changes only, each built by Larder itself.
//!
//! All calls to Automerge that could meet a defect of it are here, and each is fenced: a panic or an error
//! isolates this shard and is reported as a bug. It never makes a change invalid, because all nodes must
//! agree on what is valid, whatever their version of Automerge.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{Automerge, Change, ChangeHash, ReadDoc, SaveOptions};

use super::root::ShardRoot;
use super::state::VisibleValue;
use crate::delta::OpRef;
use crate::delta::automerge_codec::value_from_scalar;
use crate::id::{ChainId, ChangeId};
use crate::limits;

/// The description of a fault: Automerge panicked while an earlier state was read.
const PAST_READ_PANIC: &str = "a panic while an earlier state was read";
/// The description of a fault: the document holds a value that no delta can put.
const UNKNOWN_VALUE: &str = "a value that no change can put";

/// Why a shard was isolated: a defect in Automerge or in this program. No peer is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the document of shard {shard_name} is isolated after a defect: {description}; its changes are safe; \
     please report this"
)]
pub struct ShardFault {
    /// The name of the isolated shard.
    pub shard_name: String,
    /// The defect, in words for a bug report.
    pub description: String,
}

/// One shard's Automerge document, with the accepted changes that are not applied to it yet.
#[derive(Clone, Debug)]
pub struct Document {
    automerge: Automerge,
    pending: Vec<Change>,
    /// The bytes of values when the document was last loaded or copied. Each later splice may waste as much.
    loaded_bytes: usize,
    /// The number of splices since then.
    splice_count: usize,
    fault: Option<ShardFault>,
    /// While the document is rebuilt: the old document, with the changes accepted since. It holds all
    /// accepted changes and some retracted ones, and answers in the meantime.
    previous: Option<Automerge>,
}

impl Document {
    /// A document that holds only the shard's root, once it is flushed.
    pub fn new(root: &ShardRoot) -> Self {
        let pending = vec![root.change().clone()];
        Self {
            automerge: Automerge::new(),
            pending,
            loaded_bytes: 0,
            splice_count: 0,
            fault: None,
            previous: None,
        }
    }

    /// Loads a document that [`Document::save`] wrote. `None` if the bytes are damaged: rebuild it from its
    /// changes.
    pub fn load(bytes: &[u8], value_bytes: usize) -> Option<Self> {
        let inner = catch_unwind(AssertUnwindSafe(|| Automerge::load(bytes).ok())).ok()??;
        let pending = Vec::new();
        Some(Self {
            automerge: inner,
            pending,
            loaded_bytes: value_bytes,
            splice_count: 0,
            fault: None,
            previous: None,
        })
    }

    /// The bytes of the document. They differ between nodes with equal content: compare heads, never bytes.
    pub fn save(&self) -> Vec<u8> {
        self.automerge.save_with_options(SaveOptions { deflate: true, retain_orphans: false })
    }

    /// Adds an accepted change. It is applied at the next [`Document::flush`].
    pub fn push(&mut self, change: Change) {
        if let Some(previous) = &mut self.previous {
            let applied = catch_unwind(AssertUnwindSafe(|| previous.apply_changes([change.clone()])));
            if !matches!(applied, Ok(Ok(()))) {
                // The change has the position of a retracted one, so only the new document can hold it.
                self.previous = None;
            }
        }
        self.pending.push(change);
    }

    /// Applies all pending changes at once, or one slice of them while the document is rebuilt.
    pub fn flush(&mut self, root: &ShardRoot) {
        let slice = if self.previous.is_some() { limits::REBUILD_SLICE_CHANGES } else { usize::MAX };
        self.apply_pending(root, slice);
    }

    /// Applies all pending changes, also while the document is rebuilt.
    pub(super) fn flush_all(&mut self, root: &ShardRoot) {
        self.apply_pending(root, usize::MAX);
    }

    /// True while the document is rebuilt.
    pub fn is_rebuilding(&self) -> bool {
        self.previous.is_some()
    }

    /// Begins to rebuild the document without these changes. The old document answers until that is done.
    pub(super) fn rebuild_without(&mut self, retracted: &BTreeSet<ChangeId>) {
        let mut all = self.changes_after(&[]);
        all.retain(|change| !retracted.contains(&ChangeId(change.hash().0)));
        self.pending = all;
        self.previous = Some(std::mem::replace(&mut self.automerge, Automerge::new()));
        self.splice_count = 0;
    }

    fn apply_pending(&mut self, root: &ShardRoot, limit: usize) {
        if self.pending.is_empty() || self.fault.is_some() {
            return;
        }
        let rest = self.pending.split_off(limit.min(self.pending.len()));
        let pending = std::mem::replace(&mut self.pending, rest);
        if self.pending.is_empty() {
            self.previous = None;
        }
        let inner = &mut self.automerge;
        let outcome = catch_unwind(AssertUnwindSafe(|| inner.apply_changes(pending)));
        let description = match outcome {
            Ok(Ok(())) => return self.shrink(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "a panic while changes were applied".to_owned(),
        };
        self.isolate(shard_fault(root, description));
    }

    /// Copies the document if it may waste much memory: Automerge 0.12 keeps the full capacity of a value
    /// slab when it splits one, and a copy has no spare capacity.
    fn shrink(&mut self) {
        self.splice_count += 1;
        if self.splice_count.saturating_mul(self.loaded_bytes) > limits::COMPACT_AFTER_BYTES {
            self.automerge = self.automerge.clone();
            self.splice_count = 0;
        }
    }

    /// True if changes wait for [`Document::flush`].
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The fault that isolated the shard, if any.
    pub fn fault(&self) -> Option<&ShardFault> {
        self.fault.as_ref()
    }

    /// The document that answers questions about the past.
    fn for_reading(&self) -> &Automerge {
        self.previous.as_ref().unwrap_or(&self.automerge)
    }

    /// The heads, sorted. Wrong while the document is rebuilt.
    pub fn heads(&self) -> Vec<ChangeId> {
        let mut heads: Vec<_> = self.automerge.get_heads().iter().map(|hash| ChangeId(hash.0)).collect();
        heads.sort_unstable();
        heads
    }

    /// The values of `key` that are visible at `heads`, the winner last; the fault, if they cannot be read.
    pub fn visible_at(
        &self,
        root: &ShardRoot,
        key: &str,
        heads: &[ChangeId],
    ) -> Result<Vec<VisibleValue>, ShardFault> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let heads: Vec<_> = heads.iter().map(|id| ChangeHash(id.0)).collect();
        let all = catch_unwind(AssertUnwindSafe(|| {
            self.for_reading().get_all_at(root.bucket_object(key), key, &heads)
        }));
        let read = match all {
            Ok(Ok(all)) => {
                all.iter().map(|(value, id)| visible_from_automerge(value, id)).collect::<Option<Vec<_>>>()
            }
            Ok(Err(error)) => return Err(shard_fault(root, error.to_string())),
            Err(_) => return Err(shard_fault(root, PAST_READ_PANIC.to_owned())),
        };
        let mut visible = read.ok_or_else(|| shard_fault(root, UNKNOWN_VALUE.to_owned()))?;
        visible.sort_by_key(|value: &VisibleValue| value.op);
        Ok(visible)
    }

    /// [`Document::visible_at`] for many keys at once, without those that had no value. Walks every put of
    /// the history, so it takes hardly longer for many keys than for one.
    pub(super) fn visible_at_bulk(
        &self,
        root: &ShardRoot,
        keys: &BTreeSet<&str>,
        heads: &[ChangeId],
    ) -> Result<Vec<(String, Vec<VisibleValue>)>, ShardFault> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let hashes: Vec<_> = heads.iter().map(|id| ChangeHash(id.0)).collect();
        let read = || {
            let mut found = Vec::with_capacity(keys.len());
            for bucket in root.bucket_objects() {
                for item in self.for_reading().map_range_at(&bucket, .., &hashes) {
                    if !keys.contains(&*item.key) {
                        continue;
                    }
                    let (key, is_conflict) = (item.key.clone().into_owned(), item.conflict);
                    let visible = match is_conflict {
                        true => self.visible_at(root, &key, heads)?,
                        false => vec![
                            visible_from_automerge(&item.value.clone().into_value(), &item.id())
                                .ok_or_else(|| shard_fault(root, UNKNOWN_VALUE.to_owned()))?,
                        ],
                    };
                    found.push((key, visible));
                }
            }
            Ok(found)
        };
        catch_unwind(AssertUnwindSafe(read))
            .unwrap_or_else(|_| Err(shard_fault(root, PAST_READ_PANIC.to_owned())))
    }

    /// Drops the document after a fault.
    pub(super) fn isolate(&mut self, fault: ShardFault) {
        self.automerge = Automerge::new();
        self.previous = None;
        self.fault = Some(fault);
    }

    pub(super) fn isolate_because(&mut self, root: &ShardRoot, description: &str) {
        self.isolate(shard_fault(root, description.to_owned()));
    }

    /// Every key with its visible values, read from Automerge.
    pub fn read_all(&self, root: &ShardRoot) -> Option<Vec<(String, Vec<VisibleValue>)>> {
        catch_unwind(AssertUnwindSafe(|| {
            let mut out = Vec::new();
            for bucket in root.bucket_objects() {
                let keys: Vec<String> = self.automerge.keys(&bucket).collect();
                for key in keys {
                    let all = self.automerge.get_all(&bucket, key.as_str()).ok()?;
                    out.push((
                        key,
                        all.iter().filter_map(|(value, id)| visible_from_automerge(value, id)).collect(),
                    ));
                }
            }
            Some(out)
        }))
        .ok()
        .flatten()
    }

    /// The metadata of all changes, each after its dependencies.
    pub(super) fn metadata(&self) -> Vec<ChangeMeta> {
        let read = || {
            let all = self.automerge.get_changes_meta(&[]);
            all.into_iter().filter_map(ChangeMeta::from_automerge).collect::<Vec<_>>()
        };
        catch_unwind(AssertUnwindSafe(read)).unwrap_or_default()
    }

    /// The Automerge change with this id.
    pub fn change(&self, id: &ChangeId) -> Option<Change> {
        catch_unwind(AssertUnwindSafe(|| self.for_reading().get_change_by_hash(&ChangeHash(id.0))))
            .ok()
            .flatten()
    }

    /// All changes without `heads` and their ancestors, each after its dependencies.
    pub fn changes_after(&self, heads: &[ChangeId]) -> Vec<Change> {
        let heads: Vec<_> = heads.iter().map(|id| ChangeHash(id.0)).collect();
        catch_unwind(AssertUnwindSafe(|| self.for_reading().get_changes(&heads))).unwrap_or_default()
    }
}

/// The metadata of a change in an Automerge document.
pub(super) struct ChangeMeta {
    pub(super) id: ChangeId,
    pub(super) chain_id: ChainId,
    pub(super) seq: u64,
    pub(super) start_op: u64,
    pub(super) max_op: u64,
    pub(super) time: i64,
    pub(super) message: String,
    pub(super) deps: Vec<ChangeId>,
}

impl ChangeMeta {
    fn from_automerge(meta: automerge::ChangeMetadata<'_>) -> Option<Self> {
        Some(Self {
            id: ChangeId(meta.hash.0),
            chain_id: ChainId::from_slice(meta.actor.to_bytes())?,
            seq: meta.seq,
            start_op: meta.start_op,
            max_op: meta.max_op,
            time: meta.timestamp,
            message: meta.message.as_deref().unwrap_or_default().to_owned(),
            deps: meta.deps.iter().map(|hash| ChangeId(hash.0)).collect(),
        })
    }
}

fn shard_fault(root: &ShardRoot, description: String) -> ShardFault {
    ShardFault { shard_name: root.name().to_string(), description }
}

fn visible_from_automerge(value: &automerge::Value<'_>, id: &automerge::ObjId) -> Option<VisibleValue> {
    let automerge::ObjId::Id(counter, chain_id, _) = id else { return None };
    let chain_id = ChainId::from_slice(chain_id.to_bytes())?;
    let automerge::Value::Scalar(scalar) = value else { return None };
    Some(VisibleValue { op: OpRef { counter: *counter, chain_id }, value: value_from_scalar(scalar)? })
}
