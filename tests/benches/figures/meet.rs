//! Two copies of one history meet. What Larder's nodes do is measured in one process without disk and wire, checks and
//! signatures included; Automerge's sync protocol syncs the same two documents, and checks nothing.

use std::time::{Duration, Instant};

use automerge::Automerge;
use automerge::sync::{State, SyncDoc as _};

use super::pair::{Kept, Pair};
use super::{TRIALS, median, ms};

const LONG: u64 = 100_000;
const BASE: u64 = 1_000;
const APART: u64 = 10_000;

/// Bytes, messages and time of one meeting.
#[derive(Clone, Copy)]
struct Cost {
    bytes: usize,
    messages: usize,
    time: Duration,
}

/// Two copies of a long history that are equal meet again.
pub(super) fn with_nothing_new() {
    let mut pair = Pair::founded();
    write(&mut pair, &[0], 0..LONG);
    first_copy(&mut pair);
    let document = pair.document(0);
    let kept = pair.kept();
    let ours = trials(|| larder(&kept).0);
    let load = || [(); 2].map(|()| Automerge::load(&document).expect("a document"));
    let states = met(&mut load());
    let kept_state = trials(|| automerge(&mut load(), states.each_ref().map(again)));
    let no_state = trials(|| automerge(&mut load(), [State::new(), State::new()]));
    tell("larder", ours, None);
    tell("automerge, sync state kept from before", kept_state, Some(ours));
    tell("automerge, no sync state", no_state, Some(ours));
}

/// Two copies that each went on alone meet.
pub(super) fn after_a_long_cut() {
    let mut pair = Pair::founded();
    write(&mut pair, &[0], 0..BASE);
    first_copy(&mut pair);
    let base = pair.document(0);
    let states = met(&mut [(); 2].map(|()| Automerge::load(&base).expect("a document")));
    write(&mut pair, &[0, 1], BASE..BASE + APART);
    let documents = [0, 1].map(|side| pair.document(side));
    let kept = pair.kept();
    let ours = trials(|| {
        let (cost, changes) = larder(&kept);
        assert_eq!(changes, BASE + 2 * APART, "everything came");
        cost
    });
    let load = || documents.each_ref().map(|bytes| Automerge::load(bytes).expect("a document"));
    let kept_state = trials(|| automerge(&mut load(), states.each_ref().map(again)));
    let no_state = trials(|| automerge(&mut load(), [State::new(), State::new()]));
    tell("larder", ours, None);
    tell("automerge, sync state kept from before", kept_state, Some(ours));
    tell("automerge, no sync state", no_state, Some(ours));
}

fn write(pair: &mut Pair, sides: &[usize], range: std::ops::Range<u64>) {
    let begun = Instant::now();
    let count = (range.end - range.start) * sides.len() as u64;
    for nth in range {
        sides.iter().for_each(|side| pair.write(*side, nth));
    }
    println!("  {count} writes, one by one: {:.0} ms", ms(begun.elapsed()));
}

/// The other side gets everything for the first time: told, not compared.
fn first_copy(pair: &mut Pair) {
    let begun = Instant::now();
    pair.plug();
    pair.until_in_sync();
    let (time, passed) = (begun.elapsed(), pair.passed);
    println!("  the other node gets {} changes: {} bytes, {:.0} ms", pair.changes(1), passed.bytes, ms(time));
    pair.unplug();
}

/// Two of Larder's nodes start from their stores and meet; answers also how many changes one has then.
fn larder(kept: &Kept) -> (Cost, u64) {
    let mut pair = Pair::open(kept.clone());
    let begun = Instant::now();
    pair.plug();
    pair.until_in_sync();
    let time = begun.elapsed();
    let cost = Cost { bytes: pair.passed.bytes, messages: pair.passed.frames, time };
    assert!(pair.passed.waited_ms == 0, "nothing is waited for: {:?}", pair.passed);
    (cost, pair.changes(0))
}

/// The states of two documents that have met.
fn met(documents: &mut [Automerge; 2]) -> [State; 2] {
    let mut states = [State::new(), State::new()];
    exchange(documents, &mut states);
    states
}

/// What is left of a sync state when the link is gone.
fn again(state: &State) -> State {
    State::decode(&state.encode()).expect("a state")
}

fn automerge(documents: &mut [Automerge; 2], mut states: [State; 2]) -> Cost {
    let begun = Instant::now();
    let (bytes, messages) = exchange(documents, &mut states);
    let cost = Cost { bytes, messages, time: begun.elapsed() };
    let [left, right] = documents.each_ref().map(Automerge::get_heads);
    assert_eq!(left, right);
    cost
}

/// Lets two documents talk until neither has anything to say; answers bytes and messages.
fn exchange(documents: &mut [Automerge; 2], states: &mut [State; 2]) -> (usize, usize) {
    let (mut bytes, mut messages) = (0, 0);
    loop {
        let said = [0, 1].map(|side| documents[side].generate_sync_message(&mut states[side]));
        if said.iter().all(Option::is_none) {
            return (bytes, messages);
        }
        for (side, message) in said.into_iter().enumerate() {
            let Some(message) = message else { continue };
            let encoded = message.encode();
            bytes += encoded.len();
            messages += 1;
            let message = automerge::sync::Message::decode(&encoded).expect("what was just encoded");
            documents[1 - side]
                .receive_sync_message(&mut states[1 - side], message)
                .expect("a valid message");
        }
    }
}

/// The median of each column.
fn trials(mut bench: impl FnMut() -> Cost) -> Cost {
    let costs: Vec<Cost> = (0..TRIALS).map(|_| bench()).collect();
    Cost {
        bytes: median(&mut costs.iter().map(|cost| cost.bytes).collect::<Vec<_>>()),
        messages: median(&mut costs.iter().map(|cost| cost.messages).collect::<Vec<_>>()),
        time: median(&mut costs.iter().map(|cost| cost.time).collect::<Vec<_>>()),
    }
}

fn tell(who: &str, cost: Cost, ours: Option<Cost>) {
    let Cost { bytes, messages, time } = cost;
    print!("  {who:<40} {bytes:>9} bytes  {messages:>5} messages  {:>10.3} ms", ms(time));
    if let Some(ours) = ours {
        let (of_bytes, of_time) =
            (bytes as f64 / ours.bytes as f64, time.as_secs_f64() / ours.time.as_secs_f64());
        print!("   {of_bytes:.1} times larder's bytes, {of_time:.1} times its time");
    }
    println!();
}
