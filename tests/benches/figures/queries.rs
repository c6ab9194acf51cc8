//! Queries of a long history, each compared with its time limit.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use larder::store::Store;
use larder_core::group::{ChangeNote, Group};
use larder_core::history::{self, LogQuery};
use larder_core::id::{ChangeId, Incarnation, SecretKey};
use larder_core::record::{RecordSet, create_genesis};
use larder_core::resource::ResourceName;
use larder_core::resource::view::ResourceView;
use larder_core::shard::root::ShardName;
use larder_core::store::{GroupRow, LAYOUT_VERSION, Row, Table, key, verify};
use larder_core::value::Value;

use crate::{TRIALS, median, ms};

const RESOURCE_COUNT: u64 = 1_000;
const FIELDS_PER_RESOURCE: u64 = 12;
/// One change in this many writes a new version of the text, with one different line.
const TEXT_CHANGE_INTERVAL: u64 = 1_000;
const TEXT_LINES: u64 = 200;

/// The number of writes in a commit. It is large because the disk is not measured here.
const WRITES_PER_COMMIT: u64 = 10_000;

/// The key and value of the change with this number.
fn put_of_change(n: u64) -> (String, Value) {
    if n % TEXT_CHANGE_INTERVAL == TEXT_CHANGE_INTERVAL / 2 {
        let version = n / TEXT_CHANGE_INTERVAL;
        // The newest version up to this one that changed the line.
        let version_that_wrote = |line: u64| (version + TEXT_LINES - line) / TEXT_LINES * TEXT_LINES + line;
        let lines = (0..TEXT_LINES).map(|line| format!("line {line} {}\n", version_that_wrote(line)));
        return ("file/motd content".to_owned(), Value::Str(lines.collect()));
    }
    let resource = if n.is_multiple_of(100) { 0 } else { n % RESOURCE_COUNT };
    (format!("config/r{resource} keys.k{}", n / 7 % FIELDS_PER_RESOURCE), Value::Int(n.cast_signed()))
}

/// Builds and stores a group with changes of a thousand resources. One resource changes ten times as often as
/// the others.
fn build_group(changes: u64, store: &Store) -> Group {
    let secret = SecretKey::from_bytes(&[1; 32]);
    let genesis = create_genesis(&secret, "bench", [1; 16], SecretKey::from_bytes(&[9; 32]).node_id());
    let mut group = Group::new(RecordSet::from_genesis(genesis).expect("a Genesis"));
    let started = Instant::now();
    let mut rows: Vec<Row> = group.initial_rows();
    let row = GroupRow {
        version: LAYOUT_VERSION,
        genesis: group.records().genesis(),
        paused: false,
        refetching: false,
    };
    rows.push(Row::put_encoded(Table::Groups, key::for_group(group.id()), &row));
    for n in 0..changes {
        let (key, value) = put_of_change(n);
        let command = format!("set {}=...", key.replacen(' ', ".", 1));
        let puts = BTreeMap::from([(key, value)]);
        let note = ChangeNote {
            message: format!("for reason {n}"),
            user: "root".to_owned(),
            command,
            time: 1_760_000_000 + n.cast_signed(),
        };
        let incarnation = Incarnation([1; 16]);
        rows.extend(
            group.write(&secret, ShardName::Desired, puts, &note, incarnation).expect("a write").ingest.rows,
        );
        if n % WRITES_PER_COMMIT == WRITES_PER_COMMIT - 1 || n == changes - 1 {
            store.commit(&rows).expect("a disk that works");
            rows.clear();
        }
    }
    group.flush_documents();
    println!("  {changes} changes were written in {:.1} s", started.elapsed().as_secs_f64());
    group
}

/// The time limit of a query, in milliseconds, for a history of a hundred thousand changes.
const MAX_QUERY_MS: f64 = 100.0;
const MAX_RESOURCE_QUERY_MS: f64 = 50.0;

fn measure_query(group: &Group, label: &str, limit_ms: f64, mut query: impl FnMut(&Group) -> usize) {
    let mut times = Vec::new();
    let mut answered = 0;
    for _ in 0..TRIALS {
        let started = Instant::now();
        answered = query(group);
        times.push(started.elapsed());
    }
    assert!(answered > 0, "{label}: there is an answer");
    let time: Duration = median(&mut times);
    let share_of_limit = ms(time) / limit_ms;
    println!("  {label:<44} {:9.2} ms   {share_of_limit:5.2} of its limit   {answered} answered", ms(time));
}

fn measure_history(changes: u64, limit_factor: f64) {
    let path = std::env::temp_dir().join(format!("larder-asked-{}.redb", std::process::id()));
    let store = Store::open(&path).expect("a new store");
    let group = build_group(changes, &store);
    // Like the daemon, this opens the table once for each query.
    let log = |group: &Group, query: &LogQuery| {
        let rows = store.reader().open_table(Table::Changes);
        history::log(group, query, &|key| rows.as_ref()?.get(key)).len()
    };
    let blame = |group: &Group, resource: &ResourceName| {
        let rows = store.reader().open_table(Table::Changes);
        let heads = group.desired().map(|desired| desired.graph().heads()).unwrap_or_default();
        history::blame(group, resource, None, &heads, &|key| rows.as_ref()?.get(key))
    };
    let desired = group.desired().expect("a desired state");
    let heads_at_percent = |percent: u64| -> Vec<ChangeId> {
        let index = usize::try_from(changes * percent / 100).expect("a small number");
        vec![desired.graph().iter().nth(index).expect("a change").id]
    };
    let resource: ResourceName = "config/r7".parse().expect("a name");
    let frequent_resource: ResourceName = "config/r0".parse().expect("a name");
    let limit = limit_factor * MAX_QUERY_MS;
    let newest = |n| LogQuery { limit: Some(n), ..LogQuery::default() };
    measure_query(&group, "log -n 20", limit, |group| log(group, &newest(20)));
    measure_query(&group, "log, the whole: the first page", limit, |group| log(group, &newest(1000)));
    measure_query(&group, "log config/r7", limit_factor * MAX_RESOURCE_QUERY_MS, |group| {
        log(group, &LogQuery { resource: Some(resource.clone()), ..LogQuery::default() })
    });
    measure_query(&group, "log config/r0 -n 20", limit_factor * MAX_RESOURCE_QUERY_MS, |group| {
        log(group, &LogQuery { resource: Some(frequent_resource.clone()), ..newest(20) })
    });
    // The command requests this many entries at once.
    measure_query(&group, "log config/r0: the first page", limit_factor * MAX_RESOURCE_QUERY_MS, |group| {
        log(group, &LogQuery { resource: Some(frequent_resource.clone()), ..newest(500) })
    });
    measure_query(&group, "blame config/r7", limit, |group| blame(group, &resource).len());
    let text: ResourceName = "file/motd".parse().expect("a name");
    measure_query(&group, "blame of a text, by line", limit, |group| {
        blame(group, &text).iter().map(|field| field.lines.len()).sum()
    });
    measure_query(&group, "get config/r7 --at the middle", limit, |_| {
        let state = history::state_at_with_prefix(desired, &heads_at_percent(50), &resource.key_prefix());
        ResourceView::read(&state, &resource).map_or(0, |view| view.set_values().len())
    });
    measure_query(&group, "the whole state at the middle", limit, |_| {
        history::state_at(desired, &heads_at_percent(50)).len()
    });
    measure_query(&group, "diff of 40 % and 60 %", limit, |_| {
        history::diff(desired, &heads_at_percent(40), &heads_at_percent(60), None).len()
    });
    measure_query(&group, "diff of 99 % and now", limit, |_| {
        history::diff(desired, &heads_at_percent(99), &desired.graph().heads(), None).len()
    });
    measure_query(&group, "heads at a time", limit, |_| {
        history::heads_at_time(desired, 1_760_000_000 + (changes / 2).cast_signed()).len()
    });
    measure_verification(&group, &store);
    drop(store);
    std::fs::remove_file(path).expect("the store is removed");
}

/// Measures `log --verify` relative to opening the store.
fn measure_verification(group: &Group, store: &Store) {
    let snapshot = store.snapshot().expect("a store that can be read");
    let begun = Instant::now();
    let opened = Group::load(&snapshot, group.id(), group.records().genesis()).expect("a good store");
    let opening = begun.elapsed();
    let begun = Instant::now();
    let found = verify::verify_group(&snapshot, group.id(), &mut |_| ()).expect("a store that can be read");
    let took = begun.elapsed();
    assert!(
        found.failures.is_empty() && found.changes == opened.shard_states().change_count(),
        "everything verifies"
    );
    println!(
        "  log --verify: {} changes in {:.1} s, {:.1} times opening the store",
        found.changes,
        took.as_secs_f64(),
        took.as_secs_f64() / opening.as_secs_f64()
    );
}

pub(crate) fn measure_100_000_changes() {
    measure_history(100_000, 1.0);
}

pub(crate) fn measure_1_000_000_changes() {
    measure_history(1_000_000, 3.0);
}
