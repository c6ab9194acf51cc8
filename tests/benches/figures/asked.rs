//! Questions to a long history, each compared with what it is to be answered in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use larder::store::Store;
use larder_core::group::{Group, Note};
use larder_core::history::{self, Query};
use larder_core::id::{ChangeId, Incarnation, Secret};
use larder_core::record::{Records, found};
use larder_core::resource::ResourceName;
use larder_core::resource::view::ResourceView;
use larder_core::shard::root::ShardName;
use larder_core::store::{GroupRow, LAYOUT, Row, Table, key, verify};
use larder_core::value::Value;

use crate::{TRIALS, median, ms};

const RESOURCES: u64 = 1_000;
const FIELDS: u64 = 12;
/// Of so many changes one writes the text, another line of it each time.
const TEXT: u64 = 1_000;
const LINES: u64 = 200;

/// How many writes go into one commit: it is not the disk that is measured.
const COMMIT: u64 = 10_000;

/// What the change of this place writes.
fn put(n: u64) -> (String, Value) {
    if n % TEXT == TEXT / 2 {
        let version = n / TEXT;
        // The newest version up to this one that wrote the line.
        let by = |line: u64| (version + LINES - line) / LINES * LINES + line;
        let lines = (0..LINES).map(|line| format!("line {line} {}\n", by(line)));
        return ("file/motd content".to_owned(), Value::Str(lines.collect()));
    }
    let resource = if n.is_multiple_of(100) { 0 } else { n % RESOURCES };
    (format!("config/r{resource} keys.k{}", n / 7 % FIELDS), Value::Int(n.cast_signed()))
}

/// A group in which a thousand resources were written to, one of them ten times as often as the others, in a store.
fn scene(changes: u64, store: &Store) -> Group {
    let secret = Secret::from_bytes(&[1; 32]);
    let genesis = found(&secret, "bench", [1; 16], Secret::from_bytes(&[9; 32]).node());
    let mut group = Group::new(Records::begin(genesis).expect("a Genesis"));
    let begun = Instant::now();
    let mut rows: Vec<Row> = group.rows();
    let row =
        GroupRow { version: LAYOUT, genesis: group.records().genesis(), paused: false, refetching: false };
    rows.push(Row::put_layout(Table::Groups, key::group(group.id()), &row));
    for n in 0..changes {
        let (key, value) = put(n);
        let command = format!("set {}=...", key.replacen(' ', ".", 1));
        let puts = BTreeMap::from([(key, value)]);
        let note = Note {
            words: format!("for reason {n}"),
            user: "root".to_owned(),
            command,
            time: 1_760_000_000 + n.cast_signed(),
        };
        let fresh = Incarnation([1; 16]);
        rows.extend(
            group.write(&secret, ShardName::Desired, puts, &note, fresh).expect("a write").taken.rows,
        );
        if n % COMMIT == COMMIT - 1 || n == changes - 1 {
            store.commit(&rows).expect("a disk that works");
            rows.clear();
        }
    }
    group.flush();
    println!("  {changes} changes were written in {:.1} s", begun.elapsed().as_secs_f64());
    group
}

/// What is to be answered within how many milliseconds, in a history of a hundred thousand changes.
const LIMIT_MS: f64 = 100.0;
const LIMIT_RESOURCE_MS: f64 = 50.0;

fn ask(group: &Group, what: &str, limit_ms: f64, mut question: impl FnMut(&Group) -> usize) {
    let mut times = Vec::new();
    let mut answered = 0;
    for _ in 0..TRIALS {
        let begun = Instant::now();
        answered = question(group);
        times.push(begun.elapsed());
    }
    assert!(answered > 0, "{what}: there is an answer");
    let time: Duration = median(&mut times);
    let of_limit = ms(time) / limit_ms;
    println!("  {what:<44} {:9.2} ms   {of_limit:5.2} of its limit   {answered} answered", ms(time));
}

fn of(changes: u64, times: f64) {
    let path = std::env::temp_dir().join(format!("larder-asked-{}.redb", std::process::id()));
    let store = Store::open(&path).expect("a new store");
    let group = scene(changes, &store);
    // As the daemon does, once for a question.
    let log = |group: &Group, query: &Query| {
        let rows = store.reader().table(Table::Changes);
        history::log(group, query, &|key| rows.as_ref()?.get(key)).len()
    };
    let blame = |group: &Group, of: &ResourceName| {
        let rows = store.reader().table(Table::Changes);
        let heads = group.desired().map(|desired| desired.graph().heads()).unwrap_or_default();
        history::blame(group, of, None, &heads, &|key| rows.as_ref()?.get(key))
    };
    let desired = group.desired().expect("a desired state");
    let at = |part: u64| -> Vec<ChangeId> {
        let place = usize::try_from(changes * part / 100).expect("a small number");
        vec![desired.graph().iter().nth(place).expect("a change").id]
    };
    let resource: ResourceName = "config/r7".parse().expect("a name");
    let often: ResourceName = "config/r0".parse().expect("a name");
    let limit = times * LIMIT_MS;
    let newest = |n| Query { limit: Some(n), ..Query::default() };
    ask(&group, "log -n 20", limit, |group| log(group, &newest(20)));
    ask(&group, "log, the whole: the first page", limit, |group| log(group, &newest(1000)));
    ask(&group, "log config/r7", times * LIMIT_RESOURCE_MS, |group| {
        log(group, &Query { resource: Some(resource.clone()), ..Query::default() })
    });
    ask(&group, "log config/r0 -n 20", times * LIMIT_RESOURCE_MS, |group| {
        log(group, &Query { resource: Some(often.clone()), ..newest(20) })
    });
    // As many as the command asks for at once.
    ask(&group, "log config/r0: the first page", times * LIMIT_RESOURCE_MS, |group| {
        log(group, &Query { resource: Some(often.clone()), ..newest(500) })
    });
    ask(&group, "blame config/r7", limit, |group| blame(group, &resource).len());
    let text: ResourceName = "file/motd".parse().expect("a name");
    ask(&group, "blame of a text, by line", limit, |group| {
        blame(group, &text).iter().map(|field| field.lines.len()).sum()
    });
    ask(&group, "get config/r7 --at the middle", limit, |_| {
        let state = history::part_at(desired, &at(50), &resource.prefix());
        ResourceView::read(&state, &resource).map_or(0, |view| view.values().len())
    });
    ask(&group, "the whole state at the middle", limit, |_| history::state_at(desired, &at(50)).len());
    ask(&group, "diff of 40 % and 60 %", limit, |_| history::diff(desired, &at(40), &at(60), None).len());
    ask(&group, "diff of 99 % and now", limit, |_| {
        history::diff(desired, &at(99), &desired.graph().heads(), None).len()
    });
    ask(&group, "heads at a time", limit, |_| {
        history::heads_at_time(desired, 1_760_000_000 + (changes / 2).cast_signed()).len()
    });
    verified(&group, &store);
    drop(store);
    std::fs::remove_file(path).expect("the store is removed");
}

/// `log --verify`, compared with opening the store.
fn verified(group: &Group, store: &Store) {
    let snapshot = store.snapshot().expect("a store that can be read");
    let begun = Instant::now();
    let opened = Group::load(&snapshot, group.id(), group.records().genesis()).expect("a good store");
    let opening = begun.elapsed();
    let begun = Instant::now();
    let found = verify::verify(&snapshot, group.id(), &mut |_| ()).expect("a store that can be read");
    let took = begun.elapsed();
    assert!(found.failed.is_empty() && found.changes == opened.changes(), "everything verifies");
    println!(
        "  log --verify: {} changes in {:.1} s, {:.1} times opening the store",
        found.changes,
        took.as_secs_f64(),
        took.as_secs_f64() / opening.as_secs_f64()
    );
}

pub(crate) fn a_hundred_thousand() {
    of(100_000, 1.0);
}

pub(crate) fn a_million() {
    of(1_000_000, 3.0);
}
