//! Ranges of history in columns: how a reconnecting neighbour is brought up to date.
//!
//! A *window* is a list of changes of one shard in causal order, each after everything it depends on, together with
//! what proves the end of every chain in it. Told change by change it would take some 200 bytes each; sorted by column,
//! most of a history is small differences and repeats, and zstd leaves about one byte a change.
//!
//! ```text
//! window  = chains [ grant [32] | incarnation [16] | after varint | base [32] ]   each once; first seq is after + 1
//!         | actors [ [16] ]          other chains that puts refer to
//!         | count varint             changes
//!         | ten columns, each bytes, read side by side:
//!   place   per change: index into `chains`
//!   deps    per change: how many dependencies beyond the predecessor; for each: 0 and a hash in `hashes`,
//!           or n: the change n places back in this window
//!   hashes  [32] each
//!   clock   per change: start_op - (max_op of the change before + 1), zigzag; time - time before, zigzag
//!   message per change: 0 and a text in `texts`, or n: the n-th text so far
//!   puts    per change: how many; per put: key (as messages), how many preds
//!   values  per put: a value, as in a delta
//!   preds   per pred: start_op - counter, zigzag; index into `chains` followed by `actors`
//!   texts   strings, messages and keys mixed, in order of first use
//!   proofs  per chain: marks [ signature [64] ] of the 64th changes in it, and the cover of its end
//! sent    = zstd of window
//! ```
//!
//! What comes out is checked and composed change by change like any other, so a window needs no canonical form.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::compose::Composed;
use super::{Delta, OpRef, Put, Value};
use crate::id::{Actor, ChangeId, GrantId, Incarnation, Sig};
use crate::limits;
use crate::shard::chain::Cover;
use crate::shard::root::Root;

/// What proves the end of one chain in a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Signatures at the 64th changes that the window holds of the chain, in order.
    pub marks: Vec<Sig>,
    /// What proves the last change that the window holds of it.
    pub cover: Cover,
}

/// One chain of a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The grant written under.
    pub grant: GrantId,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// The seq before the first one here.
    pub after: u64,
    /// The change of that seq; zero if there is none.
    pub base: ChangeId,
}

/// A window that was read.
#[derive(Clone, Debug)]
pub struct Window {
    /// Its chains, each with what proves it.
    pub chains: Vec<(Head, Proof)>,
    /// Its changes in causal order.
    pub changes: Vec<Composed>,
}

/// Bytes that are not a window. The fault is the sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bytes that are not a window of history")]
pub struct BadWindow;

#[derive(Default, Serialize, Deserialize)]
struct Sheet {
    chains: Vec<Head>,
    actors: Vec<Actor>,
    count: u64,
    place: Vec<u8>,
    deps: Vec<u8>,
    hashes: Vec<u8>,
    clock: Vec<u8>,
    message: Vec<u8>,
    puts: Vec<u8>,
    values: Vec<u8>,
    preds: Vec<u8>,
    texts: Vec<u8>,
    proofs: Vec<u8>,
}

/// What a change weighs besides what it holds, in bytes.
const CHANGE_WEIGHT: usize = 48;
/// What a dependency weighs.
const DEP_WEIGHT: usize = 33;
/// What a predecessor weighs.
const PRED_WEIGHT: usize = 20;

/// About how many bytes a change takes in a window, before compression.
pub fn weight(delta: &Delta) -> usize {
    let puts: usize =
        delta.puts.iter().map(|put| put.key.len() + put.value.weight() + PRED_WEIGHT * put.preds.len()).sum();
    CHANGE_WEIGHT + DEP_WEIGHT * delta.deps.len() + delta.message.len() + puts
}

/// A change to be written: the index of its chain, its hash and its content.
pub type Placed<'a> = (usize, ChangeId, &'a Delta);

/// Writes a window of these chains and changes.
pub fn encode(root: &Root, chains: &[(Head, Proof)], changes: &[Placed<'_>]) -> Vec<u8> {
    let mut writer = Writer::new(root, chains);
    for (place, id, delta) in changes {
        writer.change(*place, *id, delta);
    }
    let raw = postcard::to_allocvec(&writer.sheet).unwrap_or_default();
    zstd::bulk::compress(&raw, COMPRESSION).unwrap_or_default()
}

/// zstd's own default: what the columns leave to gain beyond it costs more time than it saves.
const COMPRESSION: i32 = 3;

/// Reads a window of the epoch that `root` begins.
pub fn decode(root: &Root, sent: &[u8]) -> Result<Window, BadWindow> {
    let raw = zstd::bulk::decompress(sent, limits::FRAME_BYTES).map_err(|_| BadWindow)?;
    let (sheet, rest) = postcard::take_from_bytes::<Sheet>(&raw).map_err(|_| BadWindow)?;
    if !rest.is_empty() || sheet.count > limits::WINDOW_CHANGES as u64 || sheet.chains.is_empty() {
        return Err(BadWindow);
    }
    if sheet.chains.iter().any(|head| (head.after == 0) != (head.base == ChangeId::ZERO)) {
        return Err(BadWindow);
    }
    // What proves a chain proves all of it that is here; told as two, neither would be proved.
    let named: BTreeSet<_> = sheet.chains.iter().map(|head| (head.grant, head.incarnation)).collect();
    if named.len() != sheet.chains.len() {
        return Err(BadWindow);
    }
    Reader::new(root, &sheet).read().ok_or(BadWindow)
}

fn push<T: Serialize>(column: &mut Vec<u8>, value: &T) {
    column.extend(postcard::to_allocvec(value).unwrap_or_default());
}

/// The actors that puts refer to by number: those of the window's chains, then the others.
fn actors_of(root: &Root, chains: &[Head]) -> Vec<Actor> {
    chains.iter().map(|head| Actor::of(root.group(), root.epoch(), head.grant, head.incarnation)).collect()
}

struct Writer {
    sheet: Sheet,
    /// Per chain: the change before the next one.
    last: Vec<ChangeId>,
    actors: BTreeMap<Actor, u64>,
    placed: BTreeMap<ChangeId, u64>,
    texts: BTreeMap<String, u64>,
    clock: (u64, i64),
}

impl Writer {
    fn new(root: &Root, chains: &[(Head, Proof)]) -> Self {
        let mut sheet =
            Sheet { chains: chains.iter().map(|(head, _)| head.clone()).collect(), ..Sheet::default() };
        for (_, proof) in chains {
            push(&mut sheet.proofs, proof);
        }
        let actors = actors_of(root, &sheet.chains).into_iter().zip(0..).collect();
        let last = sheet.chains.iter().map(|head| head.base).collect();
        Self { sheet, last, actors, placed: BTreeMap::new(), texts: BTreeMap::new(), clock: (0, 0) }
    }

    fn change(&mut self, place: usize, id: ChangeId, delta: &Delta) {
        push(&mut self.sheet.place, &place);
        self.deps(place, delta);
        let (next_op, time) = self.clock;
        push(&mut self.sheet.clock, &delta.start_op.wrapping_sub(next_op).cast_signed());
        push(&mut self.sheet.clock, &delta.time.wrapping_sub(time));
        self.clock = (delta.max_op() + 1, delta.time);
        let message = self.text(&delta.message);
        push(&mut self.sheet.message, &message);
        push(&mut self.sheet.puts, &delta.puts.len());
        for put in &delta.puts {
            self.put(delta.start_op, put);
        }
        self.placed.insert(id, self.sheet.count);
        self.sheet.count += 1;
        if let Some(last) = self.last.get_mut(place) {
            *last = id;
        }
    }

    fn put(&mut self, start_op: u64, put: &Put) {
        let key = self.text(&put.key);
        push(&mut self.sheet.puts, &key);
        push(&mut self.sheet.puts, &put.preds.len());
        push(&mut self.sheet.values, &put.value);
        for pred in &put.preds {
            let actor = self.actor(pred.actor);
            push(&mut self.sheet.preds, &start_op.wrapping_sub(pred.counter).cast_signed());
            push(&mut self.sheet.preds, &actor);
        }
    }

    fn deps(&mut self, place: usize, delta: &Delta) {
        let previous = self.last.get(place).copied().unwrap_or(ChangeId::ZERO);
        let others: Vec<_> = delta.deps.iter().filter(|dep| **dep != previous).collect();
        push(&mut self.sheet.deps, &others.len());
        for dep in others {
            match self.placed.get(dep) {
                Some(placed) => push(&mut self.sheet.deps, &(self.sheet.count - placed)),
                None => {
                    push(&mut self.sheet.deps, &0u64);
                    self.sheet.hashes.extend(dep.0);
                }
            }
        }
    }

    fn text(&mut self, text: &str) -> u64 {
        if let Some(nth) = self.texts.get(text) {
            return *nth;
        }
        let nth = self.texts.len() as u64 + 1;
        self.texts.insert(text.to_owned(), nth);
        push(&mut self.sheet.texts, &text);
        0
    }

    fn actor(&mut self, actor: Actor) -> u64 {
        if let Some(nth) = self.actors.get(&actor) {
            return *nth;
        }
        let nth = (self.sheet.chains.len() + self.sheet.actors.len()) as u64;
        self.actors.insert(actor, nth);
        self.sheet.actors.push(actor);
        nth
    }
}

/// One column, read from the front.
struct Column<'a>(&'a [u8]);

impl<'a> Column<'a> {
    fn next<T: Deserialize<'a>>(&mut self) -> Option<T> {
        let (value, rest) = postcard::take_from_bytes(self.0).ok()?;
        self.0 = rest;
        Some(value)
    }

    fn next_len(&mut self, most: usize) -> Option<usize> {
        self.next::<u64>().and_then(|len| usize::try_from(len).ok()).filter(|len| *len <= most)
    }
}

struct Reader<'a> {
    root: &'a Root,
    sheet: &'a Sheet,
    actors: Vec<Actor>,
    /// Per chain: the seq and hash of its newest change so far.
    last: Vec<(u64, ChangeId)>,
    texts: Vec<&'a str>,
    clock: (u64, i64),
    changes: Vec<Composed>,
    /// Bytes that may still be unfolded. Texts are told once and used often: what a few bytes unfold to is counted
    /// before it is copied.
    room: usize,
    columns: Columns<'a>,
}

struct Columns<'a> {
    place: Column<'a>,
    deps: Column<'a>,
    hashes: Column<'a>,
    clock: Column<'a>,
    message: Column<'a>,
    puts: Column<'a>,
    values: Column<'a>,
    preds: Column<'a>,
    texts: Column<'a>,
    proofs: Column<'a>,
}

impl<'a> Reader<'a> {
    fn new(root: &'a Root, sheet: &'a Sheet) -> Self {
        let mut actors = actors_of(root, &sheet.chains);
        actors.extend(&sheet.actors);
        let columns = Columns {
            place: Column(&sheet.place),
            deps: Column(&sheet.deps),
            hashes: Column(&sheet.hashes),
            clock: Column(&sheet.clock),
            message: Column(&sheet.message),
            puts: Column(&sheet.puts),
            values: Column(&sheet.values),
            preds: Column(&sheet.preds),
            texts: Column(&sheet.texts),
            proofs: Column(&sheet.proofs),
        };
        let last = sheet.chains.iter().map(|head| (head.after, head.base)).collect();
        let (texts, changes, room) = (Vec::new(), Vec::new(), limits::WINDOW_READ_BYTES);
        Self { root, sheet, actors, last, texts, clock: (0, 0), changes, room, columns }
    }

    fn read(mut self) -> Option<Window> {
        for _ in 0..self.sheet.count {
            let change = self.change()?;
            self.changes.push(change);
        }
        let mut chains = Vec::with_capacity(self.sheet.chains.len());
        for head in &self.sheet.chains {
            let proof: Proof = self.columns.proofs.next()?;
            chains.push((head.clone(), proof));
        }
        Some(Window { chains, changes: self.changes })
    }

    /// Counts bytes about to be unfolded, as [`weight`] does.
    fn spend(&mut self, bytes: usize) -> Option<()> {
        self.room = self.room.checked_sub(bytes)?;
        Some(())
    }

    fn change(&mut self) -> Option<Composed> {
        let place = self.columns.place.next_len(self.sheet.chains.len())?;
        let head = self.sheet.chains.get(place)?;
        let (seq, previous) = *self.last.get(place)?;
        let mut deps = self.deps()?;
        deps.extend((seq > 0).then_some(previous));
        deps.sort_unstable();
        self.spend(CHANGE_WEIGHT + DEP_WEIGHT * deps.len())?;
        let (next_op, time) = self.clock;
        let start_op = next_op.wrapping_add(self.columns.clock.next::<i64>()?.cast_unsigned());
        let time = time.wrapping_add(self.columns.clock.next::<i64>()?);
        let nth = self.columns.message.next()?;
        let message = self.text(nth, limits::MESSAGE_BYTES)?;
        let count = self.columns.puts.next_len(limits::PUTS)?;
        let puts = (0..count).map(|_| self.put(start_op)).collect::<Option<Vec<_>>>()?;
        let (grant, incarnation, epoch) = (head.grant, head.incarnation, self.root.epoch());
        let seq = seq.checked_add(1)?;
        let delta = Delta { epoch, grant, incarnation, seq, deps, start_op, time, message, puts };
        let composed = Composed::new(self.root, delta).ok()?;
        self.clock = (composed.delta().max_op() + 1, time);
        *self.last.get_mut(place)? = (seq, composed.id());
        Some(composed)
    }

    fn deps(&mut self) -> Option<Vec<ChangeId>> {
        let count = self.columns.deps.next_len(limits::DEPS)?;
        (0..count)
            .map(|_| match self.columns.deps.next::<u64>()? {
                0 => {
                    let (hash, rest) = self.columns.hashes.0.split_at_checked(32)?;
                    self.columns.hashes.0 = rest;
                    ChangeId::from_slice(hash)
                }
                back => {
                    let at = self.changes.len().checked_sub(usize::try_from(back).ok()?)?;
                    self.changes.get(at).map(Composed::id)
                }
            })
            .collect()
    }

    fn put(&mut self, start_op: u64) -> Option<Put> {
        let nth = self.columns.puts.next()?;
        let key = self.text(nth, limits::KEY_BYTES)?;
        let count = self.columns.puts.next_len(limits::PREDS)?;
        let value: Value = self.columns.values.next()?;
        self.spend(value.weight() + PRED_WEIGHT * count)?;
        let mut preds = Vec::with_capacity(count);
        for _ in 0..count {
            let counter = start_op.wrapping_sub(self.columns.preds.next::<i64>()?.cast_unsigned());
            let nth = usize::try_from(self.columns.preds.next::<u64>()?).ok()?;
            preds.push(OpRef { counter, actor: *self.actors.get(nth)? });
        }
        Some(Put { key, value, preds })
    }

    /// A copy of a text of at most `most` bytes.
    fn text(&mut self, nth: u64, most: usize) -> Option<String> {
        let text: &'a str = match nth.checked_sub(1) {
            Some(index) => self.texts.get(usize::try_from(index).ok()?).copied()?,
            None => {
                let text = self.columns.texts.next()?;
                self.texts.push(text);
                text
            }
        };
        if text.len() > most {
            return None;
        }
        self.spend(text.len())?;
        Some(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{GroupId, RecordId};
    use crate::shard::root::ShardName;

    /// One change that puts its keys as `keys` says, in a window before compression.
    fn sheet(keys: &[(u64, Option<&str>)], message: &str) -> Sheet {
        let head = Head {
            grant: RecordId([1; 32]),
            incarnation: Incarnation([1; 16]),
            after: 0,
            base: ChangeId::ZERO,
        };
        let mut sheet = Sheet { chains: vec![head], count: 1, ..Sheet::default() };
        push(&mut sheet.place, &0u64);
        push(&mut sheet.deps, &0u64);
        push(&mut sheet.clock, &258i64);
        push(&mut sheet.clock, &0i64);
        push(&mut sheet.message, &0u64);
        push(&mut sheet.texts, &message);
        push(&mut sheet.puts, &keys.len());
        for (nth, text) in keys {
            text.iter().for_each(|text| push(&mut sheet.texts, text));
            push(&mut sheet.puts, nth);
            push(&mut sheet.puts, &0u64);
            push(&mut sheet.values, &Value::Null);
        }
        sheet
    }

    /// How much of its room a reader used, and how many texts it copied into a change.
    fn spent(sheet: &Sheet) -> usize {
        let root = Root::derive(GroupId([1; 16]), ShardName::Desired);
        let mut reader = Reader::new(&root, sheet);
        let before = reader.room;
        assert!(reader.change().is_none());
        before - reader.room
    }

    #[test]
    fn no_text_is_copied_beyond_what_a_key_or_message_may_have() {
        let long = "k".repeat(1 << 20);
        let mut keys = vec![(2, None); 1500];
        keys[0] = (0, Some(long.as_str()));
        assert!(spent(&sheet(&keys, "")) <= CHANGE_WEIGHT + DEP_WEIGHT, "the first is refused");
        assert!(spent(&sheet(&[], &long)) <= CHANGE_WEIGHT + DEP_WEIGHT);
    }

    #[test]
    fn every_copy_is_counted_before_it_is_made() {
        let key = "k".repeat(limits::KEY_BYTES);
        let mut keys = vec![(2, None); limits::PUTS];
        keys[0] = (0, Some(key.as_str()));
        let used = spent(&sheet(&keys, ""));
        let room = limits::WINDOW_READ_BYTES;
        assert!(used <= room && used + 2 * limits::KEY_BYTES > room, "it stops where the room ends: {used}");
    }
}
