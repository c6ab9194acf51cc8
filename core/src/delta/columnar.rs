//! Batches: ranges of history in columns. A reconnecting peer gets what it lacks in batches.
//!
//! A batch is a list of changes of one shard in causal order, each after its dependencies, with the proof of
//! every chain in it. Encoded one by one, a change would take some 200 bytes. Sorted by column, most of a
//! history is small differences and repeats, and zstd compresses it to about one byte a change.
//!
//! ```text
//! batch   = segments [ grant [32] | incarnation [16] | after varint | base [32] ]  first seq is after + 1
//!         | chains [ [16] ]          other chains that puts refer to
//!         | count varint             the number of changes
//!         | ten columns, each bytes, read side by side:
//!   segment per change: index into `segments`
//!   deps    per change: how many dependencies besides the author's previous change;
//!           for each: 0 and a hash in `hashes`, or n: the change n positions back in this batch
//!   hashes  [32] each
//!   op+time per change: start_op - (max_op of the change before + 1), zigzag; time - time before, zigzag
//!   message per change: 0 and a text in `texts`, or n: the n-th text so far
//!   puts    per change: how many; per put: key (as messages), how many preds
//!   values  per put: a value, as in a delta
//!   preds   per pred: start_op - counter, zigzag; index into the chains of `segments` followed by `chains`
//!   texts   strings, messages and keys mixed, in order of first use
//!   proofs  per segment: the signatures [ [64] ] of the 64th changes in it, and the end proof
//! sent    = zstd of batch
//! ```
//!
//! Every decoded change is checked like any other change, so a batch needs no canonical form.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::encoded_change::EncodedChange;
use super::{Delta, OpRef, Put, Value};
use crate::id::{ChainId, ChangeId, GrantId, Incarnation, Sig};
use crate::limits;
use crate::shard::chain::EndProof;
use crate::shard::root::ShardRoot;

/// The proof of one segment of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentProof {
    /// The signatures of the segment's 64th changes, in order.
    pub checkpoints: Vec<Sig>,
    /// The end proof of the segment's last change.
    pub end_proof: EndProof,
}

/// The header of one segment of a batch: which part of which chain it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentHeader {
    /// The grant that the chain is written under.
    pub grant: GrantId,
    /// The incarnation of the grant.
    pub incarnation: Incarnation,
    /// The sequence number before the segment's first change.
    pub after: u64,
    /// The id of the change with that number; zero if there is none.
    pub base_id: ChangeId,
}

/// A decoded batch.
#[derive(Clone, Debug)]
pub struct ChangeBatch {
    /// The segments, each with its proof.
    pub segments: Vec<(SegmentHeader, SegmentProof)>,
    /// The changes of all segments, in causal order.
    pub changes: Vec<EncodedChange>,
}

/// Bytes that are not a batch. The sender is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bytes that are not a batch of changes")]
pub struct BatchDecodeError;

#[derive(Default, Serialize, Deserialize)]
struct BatchColumns {
    segments: Vec<SegmentHeader>,
    other_chains: Vec<ChainId>,
    count: u64,
    segment_indexes: Vec<u8>,
    deps: Vec<u8>,
    hashes: Vec<u8>,
    op_times: Vec<u8>,
    messages: Vec<u8>,
    puts: Vec<u8>,
    values: Vec<u8>,
    preds: Vec<u8>,
    texts: Vec<u8>,
    proofs: Vec<u8>,
}

/// The estimated bytes of a change in a batch, without its parts.
const CHANGE_OVERHEAD_BYTES: usize = 48;
/// The estimated bytes of a dependency in a batch.
const DEP_BYTES: usize = 33;
/// The estimated bytes of a predecessor in a batch.
const PRED_BYTES: usize = 20;

/// Roughly the bytes that a change takes in a batch, before compression.
pub fn size_estimate(delta: &Delta) -> usize {
    let puts: usize = delta
        .puts
        .iter()
        .map(|put| put.key.len() + put.value.size_estimate() + PRED_BYTES * put.preds.len())
        .sum();
    CHANGE_OVERHEAD_BYTES + DEP_BYTES * delta.deps.len() + delta.message.len() + puts
}

/// A change to be encoded: the index of its segment, its id and its delta.
pub type IndexedDelta<'a> = (usize, ChangeId, &'a Delta);

/// Encodes a batch of these segments and changes.
pub fn encode(
    root: &ShardRoot,
    segments: &[(SegmentHeader, SegmentProof)],
    changes: &[IndexedDelta<'_>],
) -> Vec<u8> {
    let mut encoder = BatchEncoder::new(root, segments);
    for (segment_index, id, delta) in changes {
        encoder.push_change(*segment_index, *id, delta);
    }
    let raw = postcard::to_allocvec(&encoder.columns).unwrap_or_default();
    zstd::bulk::compress(&raw, ZSTD_LEVEL).unwrap_or_default()
}

/// The zstd level of batches: zstd's default. A higher level costs more time than the smaller size saves.
const ZSTD_LEVEL: i32 = 3;

/// Decodes a batch of the shard that `root` begins.
pub fn decode(root: &ShardRoot, sent: &[u8]) -> Result<ChangeBatch, BatchDecodeError> {
    let raw = zstd::bulk::decompress(sent, limits::MAX_FRAME_BYTES).map_err(|_| BatchDecodeError)?;
    let (columns, rest) = postcard::take_from_bytes::<BatchColumns>(&raw).map_err(|_| BatchDecodeError)?;
    if !rest.is_empty() || columns.count > limits::MAX_BATCH_CHANGES as u64 || columns.segments.is_empty() {
        return Err(BatchDecodeError);
    }
    if columns.segments.iter().any(|header| (header.after == 0) != (header.base_id == ChangeId::ZERO)) {
        return Err(BatchDecodeError);
    }
    // The end proof of a segment covers all of its changes. Two segments of one chain could not both be
    // proved.
    let segment_keys: BTreeSet<_> =
        columns.segments.iter().map(|header| (header.grant, header.incarnation)).collect();
    if segment_keys.len() != columns.segments.len() {
        return Err(BatchDecodeError);
    }
    BatchDecoder::new(root, &columns).decode_all().ok_or(BatchDecodeError)
}

fn push_value<T: Serialize>(column: &mut Vec<u8>, value: &T) {
    column.extend(postcard::to_allocvec(value).unwrap_or_default());
}

/// The chains of the segments. Puts refer to them by index.
fn chain_ids_of(root: &ShardRoot, segments: &[SegmentHeader]) -> Vec<ChainId> {
    segments
        .iter()
        .map(|header| ChainId::derive(root.group(), root.shard_id(), header.grant, header.incarnation))
        .collect()
}

struct BatchEncoder {
    columns: BatchColumns,
    /// The last change so far of each segment.
    last_ids: Vec<ChangeId>,
    chain_refs: BTreeMap<ChainId, u64>,
    index_by_id: BTreeMap<ChangeId, u64>,
    text_refs: BTreeMap<String, u64>,
    last_op_and_time: (u64, i64),
}

impl BatchEncoder {
    fn new(root: &ShardRoot, segments: &[(SegmentHeader, SegmentProof)]) -> Self {
        let mut columns = BatchColumns {
            segments: segments.iter().map(|(header, _)| header.clone()).collect(),
            ..BatchColumns::default()
        };
        for (_, proof) in segments {
            push_value(&mut columns.proofs, proof);
        }
        let chain_refs = chain_ids_of(root, &columns.segments).into_iter().zip(0..).collect();
        let last_ids = columns.segments.iter().map(|header| header.base_id).collect();
        Self {
            columns,
            last_ids,
            chain_refs,
            index_by_id: BTreeMap::new(),
            text_refs: BTreeMap::new(),
            last_op_and_time: (0, 0),
        }
    }

    fn push_change(&mut self, segment_index: usize, id: ChangeId, delta: &Delta) {
        push_value(&mut self.columns.segment_indexes, &segment_index);
        self.push_deps(segment_index, delta);
        let (next_op, time) = self.last_op_and_time;
        push_value(&mut self.columns.op_times, &delta.start_op.wrapping_sub(next_op).cast_signed());
        push_value(&mut self.columns.op_times, &delta.time.wrapping_sub(time));
        self.last_op_and_time = (delta.max_op() + 1, delta.time);
        let message = self.text_ref(&delta.message);
        push_value(&mut self.columns.messages, &message);
        push_value(&mut self.columns.puts, &delta.puts.len());
        for put in &delta.puts {
            self.push_put(delta.start_op, put);
        }
        self.index_by_id.insert(id, self.columns.count);
        self.columns.count += 1;
        if let Some(last_id) = self.last_ids.get_mut(segment_index) {
            *last_id = id;
        }
    }

    fn push_put(&mut self, start_op: u64, put: &Put) {
        let key = self.text_ref(&put.key);
        push_value(&mut self.columns.puts, &key);
        push_value(&mut self.columns.puts, &put.preds.len());
        push_value(&mut self.columns.values, &put.value);
        for pred in &put.preds {
            let chain_id = self.chain_ref(pred.chain_id);
            push_value(&mut self.columns.preds, &start_op.wrapping_sub(pred.counter).cast_signed());
            push_value(&mut self.columns.preds, &chain_id);
        }
    }

    fn push_deps(&mut self, segment_index: usize, delta: &Delta) {
        let previous = self.last_ids.get(segment_index).copied().unwrap_or(ChangeId::ZERO);
        let others: Vec<_> = delta.deps.iter().filter(|dep| **dep != previous).collect();
        push_value(&mut self.columns.deps, &others.len());
        for dep in others {
            match self.index_by_id.get(dep) {
                Some(nth_of_dep) => push_value(&mut self.columns.deps, &(self.columns.count - nth_of_dep)),
                None => {
                    push_value(&mut self.columns.deps, &0u64);
                    self.columns.hashes.extend(dep.0);
                }
            }
        }
    }

    fn text_ref(&mut self, text: &str) -> u64 {
        if let Some(text_ref) = self.text_refs.get(text) {
            return *text_ref;
        }
        let text_ref = self.text_refs.len() as u64 + 1;
        self.text_refs.insert(text.to_owned(), text_ref);
        push_value(&mut self.columns.texts, &text);
        0
    }

    fn chain_ref(&mut self, chain_id: ChainId) -> u64 {
        if let Some(chain_ref) = self.chain_refs.get(&chain_id) {
            return *chain_ref;
        }
        let chain_ref = (self.columns.segments.len() + self.columns.other_chains.len()) as u64;
        self.chain_refs.insert(chain_id, chain_ref);
        self.columns.other_chains.push(chain_id);
        chain_ref
    }
}

/// One column, read from the front.
struct ColumnReader<'a>(&'a [u8]);

impl<'a> ColumnReader<'a> {
    fn read<T: Deserialize<'a>>(&mut self) -> Option<T> {
        let (value, rest) = postcard::take_from_bytes(self.0).ok()?;
        self.0 = rest;
        Some(value)
    }

    fn read_len(&mut self, limit: usize) -> Option<usize> {
        self.read::<u64>().and_then(|len| usize::try_from(len).ok()).filter(|len| *len <= limit)
    }
}

struct BatchDecoder<'a> {
    root: &'a ShardRoot,
    batch: &'a BatchColumns,
    chain_ids: Vec<ChainId>,
    /// The number and id of the last change so far of each segment.
    last_seq_and_ids: Vec<(u64, ChangeId)>,
    texts: Vec<&'a str>,
    last_op_and_time: (u64, i64),
    changes: Vec<EncodedChange>,
    /// The bytes that may still be decoded. A few bytes can refer to one text many times, so every copy is
    /// counted before it is made.
    budget_bytes: usize,
    columns: ColumnReaders<'a>,
}

struct ColumnReaders<'a> {
    segment_indexes: ColumnReader<'a>,
    deps: ColumnReader<'a>,
    hashes: ColumnReader<'a>,
    op_times: ColumnReader<'a>,
    messages: ColumnReader<'a>,
    puts: ColumnReader<'a>,
    values: ColumnReader<'a>,
    preds: ColumnReader<'a>,
    texts: ColumnReader<'a>,
    proofs: ColumnReader<'a>,
}

impl<'a> BatchDecoder<'a> {
    fn new(root: &'a ShardRoot, batch: &'a BatchColumns) -> Self {
        let mut chain_ids = chain_ids_of(root, &batch.segments);
        chain_ids.extend(&batch.other_chains);
        let columns = ColumnReaders {
            segment_indexes: ColumnReader(&batch.segment_indexes),
            deps: ColumnReader(&batch.deps),
            hashes: ColumnReader(&batch.hashes),
            op_times: ColumnReader(&batch.op_times),
            messages: ColumnReader(&batch.messages),
            puts: ColumnReader(&batch.puts),
            values: ColumnReader(&batch.values),
            preds: ColumnReader(&batch.preds),
            texts: ColumnReader(&batch.texts),
            proofs: ColumnReader(&batch.proofs),
        };
        let last_seq_and_ids = batch.segments.iter().map(|header| (header.after, header.base_id)).collect();
        let (texts, changes, budget_bytes) = (Vec::new(), Vec::new(), limits::MAX_DECODED_BATCH_BYTES);
        Self {
            root,
            batch,
            chain_ids,
            last_seq_and_ids,
            texts,
            last_op_and_time: (0, 0),
            changes,
            budget_bytes,
            columns,
        }
    }

    fn decode_all(mut self) -> Option<ChangeBatch> {
        for _ in 0..self.batch.count {
            let change = self.read_change()?;
            self.changes.push(change);
        }
        let mut segments = Vec::with_capacity(self.batch.segments.len());
        for header in &self.batch.segments {
            let proof: SegmentProof = self.columns.proofs.read()?;
            segments.push((header.clone(), proof));
        }
        Some(ChangeBatch { segments, changes: self.changes })
    }

    /// Counts bytes that are about to be decoded, as [`size_estimate`] does. `None` if the budget is spent.
    fn spend_budget(&mut self, bytes: usize) -> Option<()> {
        self.budget_bytes = self.budget_bytes.checked_sub(bytes)?;
        Some(())
    }

    fn read_change(&mut self) -> Option<EncodedChange> {
        let segment_index = self.columns.segment_indexes.read_len(self.batch.segments.len())?;
        let header = self.batch.segments.get(segment_index)?;
        let (seq, previous) = *self.last_seq_and_ids.get(segment_index)?;
        let mut deps = self.read_deps()?;
        deps.extend((seq > 0).then_some(previous));
        deps.sort_unstable();
        self.spend_budget(CHANGE_OVERHEAD_BYTES + DEP_BYTES * deps.len())?;
        let (next_op, time) = self.last_op_and_time;
        let start_op = next_op.wrapping_add(self.columns.op_times.read::<i64>()?.cast_unsigned());
        let time = time.wrapping_add(self.columns.op_times.read::<i64>()?);
        let message_ref = self.columns.messages.read()?;
        let message = self.read_text(message_ref, limits::MAX_MESSAGE_BYTES)?;
        let count = self.columns.puts.read_len(limits::MAX_PUTS_PER_CHANGE)?;
        let puts = (0..count).map(|_| self.read_put(start_op)).collect::<Option<Vec<_>>>()?;
        let (grant, incarnation, shard_id) = (header.grant, header.incarnation, self.root.shard_id());
        let seq = seq.checked_add(1)?;
        let delta = Delta { shard_id, grant, incarnation, seq, deps, start_op, time, message, puts };
        let encoded = EncodedChange::new(self.root, delta).ok()?;
        self.last_op_and_time = (encoded.delta().max_op() + 1, time);
        *self.last_seq_and_ids.get_mut(segment_index)? = (seq, encoded.id());
        Some(encoded)
    }

    fn read_deps(&mut self) -> Option<Vec<ChangeId>> {
        let count = self.columns.deps.read_len(limits::MAX_DEPS_PER_CHANGE)?;
        (0..count)
            .map(|_| match self.columns.deps.read::<u64>()? {
                0 => {
                    let (hash, rest) = self.columns.hashes.0.split_at_checked(32)?;
                    self.columns.hashes.0 = rest;
                    ChangeId::from_slice(hash)
                }
                distance => {
                    let index = self.changes.len().checked_sub(usize::try_from(distance).ok()?)?;
                    self.changes.get(index).map(EncodedChange::id)
                }
            })
            .collect()
    }

    fn read_put(&mut self, start_op: u64) -> Option<Put> {
        let key_ref = self.columns.puts.read()?;
        let key = self.read_text(key_ref, limits::MAX_KEY_BYTES)?;
        let count = self.columns.puts.read_len(limits::MAX_PREDS_PER_PUT)?;
        let value: Value = self.columns.values.read()?;
        self.spend_budget(value.size_estimate() + PRED_BYTES * count)?;
        let mut preds = Vec::with_capacity(count);
        for _ in 0..count {
            let counter = start_op.wrapping_sub(self.columns.preds.read::<i64>()?.cast_unsigned());
            let chain_ref = usize::try_from(self.columns.preds.read::<u64>()?).ok()?;
            preds.push(OpRef { counter, chain_id: *self.chain_ids.get(chain_ref)? });
        }
        Some(Put { key, value, preds })
    }

    /// A copy of a text of at most `limit` bytes.
    fn read_text(&mut self, text_ref: u64, limit: usize) -> Option<String> {
        let text: &'a str = match text_ref.checked_sub(1) {
            Some(index) => self.texts.get(usize::try_from(index).ok()?).copied()?,
            None => {
                let text = self.columns.texts.read()?;
                self.texts.push(text);
                text
            }
        };
        if text.len() > limit {
            return None;
        }
        self.spend_budget(text.len())?;
        Some(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{GroupId, RecordId};
    use crate::shard::root::ShardName;

    /// One change that puts its keys as `keys` says, in a batch before compression.
    fn columns_with_keys(keys: &[(u64, Option<&str>)], message: &str) -> BatchColumns {
        let header = SegmentHeader {
            grant: RecordId([1; 32]),
            incarnation: Incarnation([1; 16]),
            after: 0,
            base_id: ChangeId::ZERO,
        };
        let mut columns = BatchColumns { segments: vec![header], count: 1, ..BatchColumns::default() };
        push_value(&mut columns.segment_indexes, &0u64);
        push_value(&mut columns.deps, &0u64);
        push_value(&mut columns.op_times, &258i64);
        push_value(&mut columns.op_times, &0i64);
        push_value(&mut columns.messages, &0u64);
        push_value(&mut columns.texts, &message);
        push_value(&mut columns.puts, &keys.len());
        for (text_ref, text) in keys {
            text.iter().for_each(|text| push_value(&mut columns.texts, text));
            push_value(&mut columns.puts, text_ref);
            push_value(&mut columns.puts, &0u64);
            push_value(&mut columns.values, &Value::Null);
        }
        columns
    }

    /// The part of its budget that a decoder used for one change.
    fn budget_spent_on(columns: &BatchColumns) -> usize {
        let root = ShardRoot::derive(GroupId([1; 16]), ShardName::Desired);
        let mut decoder = BatchDecoder::new(&root, columns);
        let before = decoder.budget_bytes;
        assert!(decoder.read_change().is_none());
        before - decoder.budget_bytes
    }

    #[test]
    fn over_long_keys_and_messages_are_rejected_before_they_are_copied() {
        let long = "k".repeat(1 << 20);
        let mut keys = vec![(2, None); 1500];
        keys[0] = (0, Some(long.as_str()));
        assert!(
            budget_spent_on(&columns_with_keys(&keys, "")) <= CHANGE_OVERHEAD_BYTES + DEP_BYTES,
            "the first is rejected"
        );
        assert!(budget_spent_on(&columns_with_keys(&[], &long)) <= CHANGE_OVERHEAD_BYTES + DEP_BYTES);
    }

    #[test]
    fn every_copied_key_is_charged_to_the_budget_before_the_copy() {
        let key = "k".repeat(limits::MAX_KEY_BYTES);
        let mut keys = vec![(2, None); limits::MAX_PUTS_PER_CHANGE];
        keys[0] = (0, Some(key.as_str()));
        let spent_bytes = budget_spent_on(&columns_with_keys(&keys, ""));
        let budget_bytes = limits::MAX_DECODED_BATCH_BYTES;
        assert!(
            spent_bytes <= budget_bytes && spent_bytes + 2 * limits::MAX_KEY_BYTES > budget_bytes,
            "it stops where the room ends: {spent_bytes}"
        );
    }
}
