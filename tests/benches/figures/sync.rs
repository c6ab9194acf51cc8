//! The sync of two copies of one history. Larder's nodes run in one process without a disk or network, and
//! validate and verify all changes. Automerge's sync protocol syncs the same documents and verifies nothing.

use std::time::{Duration, Instant};

use automerge::Automerge;
use automerge::sync::{State, SyncDoc as _};

use super::node_pair::{NodePair, StoppedPair};
use super::{TRIALS, median, ms};

const LONG_HISTORY_CHANGES: u64 = 100_000;
const COMMON_CHANGES: u64 = 1_000;
const DIVERGED_CHANGES: u64 = 10_000;

/// The bytes, messages and time of one sync.
#[derive(Clone, Copy)]
struct SyncCost {
    bytes: usize,
    messages: usize,
    time: Duration,
}

/// Measures the sync of two equal copies of a long history.
pub(super) fn measure_sync_of_equal_copies() {
    let mut pair = NodePair::with_common_group();
    write_changes(&mut pair, &[0], 0..LONG_HISTORY_CHANGES);
    sync_first_copy(&mut pair);
    let document = pair.document(0);
    let stopped = pair.stopped_state();
    let ours = median_of_trials(|| measure_larder_sync(&stopped).0);
    let load = || [(); 2].map(|()| Automerge::load(&document).expect("a document"));
    let states = sync_states_after_meeting(&mut load());
    let kept_state =
        median_of_trials(|| measure_automerge_sync(&mut load(), states.each_ref().map(reloaded_state)));
    let no_state = median_of_trials(|| measure_automerge_sync(&mut load(), [State::new(), State::new()]));
    print_cost("larder", ours, None);
    print_cost("automerge, sync state kept from before", kept_state, Some(ours));
    print_cost("automerge, no sync state", no_state, Some(ours));
}

/// Measures the sync of two copies that diverged.
pub(super) fn measure_sync_of_diverged_copies() {
    let mut pair = NodePair::with_common_group();
    write_changes(&mut pair, &[0], 0..COMMON_CHANGES);
    sync_first_copy(&mut pair);
    let base = pair.document(0);
    let states =
        sync_states_after_meeting(&mut [(); 2].map(|()| Automerge::load(&base).expect("a document")));
    write_changes(&mut pair, &[0, 1], COMMON_CHANGES..COMMON_CHANGES + DIVERGED_CHANGES);
    let documents = [0, 1].map(|side| pair.document(side));
    let stopped = pair.stopped_state();
    let ours = median_of_trials(|| {
        let (cost, changes) = measure_larder_sync(&stopped);
        assert_eq!(changes, COMMON_CHANGES + 2 * DIVERGED_CHANGES, "everything came");
        cost
    });
    let load = || documents.each_ref().map(|bytes| Automerge::load(bytes).expect("a document"));
    let kept_state =
        median_of_trials(|| measure_automerge_sync(&mut load(), states.each_ref().map(reloaded_state)));
    let no_state = median_of_trials(|| measure_automerge_sync(&mut load(), [State::new(), State::new()]));
    print_cost("larder", ours, None);
    print_cost("automerge, sync state kept from before", kept_state, Some(ours));
    print_cost("automerge, no sync state", no_state, Some(ours));
}

fn write_changes(pair: &mut NodePair, sides: &[usize], range: std::ops::Range<u64>) {
    let begun = Instant::now();
    let count = (range.end - range.start) * sides.len() as u64;
    for nth in range {
        sides.iter().for_each(|side| pair.write(*side, nth));
    }
    println!("  {count} writes, one by one: {:.0} ms", ms(begun.elapsed()));
}

/// Sends the whole history to the second node for the first time.
fn sync_first_copy(pair: &mut NodePair) {
    let begun = Instant::now();
    pair.connect();
    pair.run_until_in_sync();
    let (time, passed) = (begun.elapsed(), pair.traffic);
    println!(
        "  the other node gets {} changes: {} bytes, {:.0} ms",
        pair.change_count(1),
        passed.bytes,
        ms(time)
    );
    pair.disconnect();
}

/// Starts two nodes from their stores and syncs them. Returns the cost, and the number of changes on one node
/// afterwards.
fn measure_larder_sync(kept: &StoppedPair) -> (SyncCost, u64) {
    let mut pair = NodePair::open(kept.clone());
    let begun = Instant::now();
    pair.connect();
    pair.run_until_in_sync();
    let time = begun.elapsed();
    let cost = SyncCost { bytes: pair.traffic.bytes, messages: pair.traffic.frames, time };
    assert!(pair.traffic.waited_ms == 0, "nothing is waited for: {:?}", pair.traffic);
    (cost, pair.change_count(0))
}

/// The sync states of two documents after a sync.
fn sync_states_after_meeting(documents: &mut [Automerge; 2]) -> [State; 2] {
    let mut states = [State::new(), State::new()];
    exchange_messages(documents, &mut states);
    states
}

/// The part of a sync state that survives a reconnect.
fn reloaded_state(state: &State) -> State {
    State::decode(&state.encode()).expect("a state")
}

fn measure_automerge_sync(documents: &mut [Automerge; 2], mut states: [State; 2]) -> SyncCost {
    let begun = Instant::now();
    let (bytes, messages) = exchange_messages(documents, &mut states);
    let cost = SyncCost { bytes, messages, time: begun.elapsed() };
    let [left, right] = documents.each_ref().map(Automerge::get_heads);
    assert_eq!(left, right);
    cost
}

/// Exchanges messages until neither document has one to send. Returns the numbers of bytes and messages.
fn exchange_messages(documents: &mut [Automerge; 2], states: &mut [State; 2]) -> (usize, usize) {
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
fn median_of_trials(mut bench: impl FnMut() -> SyncCost) -> SyncCost {
    let costs: Vec<SyncCost> = (0..TRIALS).map(|_| bench()).collect();
    SyncCost {
        bytes: median(&mut costs.iter().map(|cost| cost.bytes).collect::<Vec<_>>()),
        messages: median(&mut costs.iter().map(|cost| cost.messages).collect::<Vec<_>>()),
        time: median(&mut costs.iter().map(|cost| cost.time).collect::<Vec<_>>()),
    }
}

fn print_cost(name: &str, cost: SyncCost, ours: Option<SyncCost>) {
    let SyncCost { bytes, messages, time } = cost;
    print!("  {name:<40} {bytes:>9} bytes  {messages:>5} messages  {:>10.3} ms", ms(time));
    if let Some(ours) = ours {
        let (bytes_ratio, time_ratio) =
            (bytes as f64 / ours.bytes as f64, time.as_secs_f64() / ours.time.as_secs_f64());
        print!("   {bytes_ratio:.1} times larder's bytes, {time_ratio:.1} times its time");
    }
    println!();
}
