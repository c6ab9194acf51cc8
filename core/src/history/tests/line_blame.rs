//! Tests of line blame against a model in which each line names the write that made it.

use super::*;

const FIELD: &str = "content";

fn motd() -> ResourceName {
    resource_name("file/motd")
}

/// The lines of the field, as `get` prints them.
fn visible_lines(peer: &GroupPeer) -> Vec<String> {
    let value = blame(&peer.group, &motd(), Some(FIELD), &peer.heads(), &no_stored_rows)
        .pop()
        .map(|blame| blame.value);
    match value {
        Some(Literal::Scalar(Value::Str(text))) => text.lines().map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

fn text_literal(lines: &[String]) -> Literal {
    Literal::Scalar(Value::Str(lines.iter().map(|line| format!("{line}\n")).collect()))
}

/// Writes the field with an edit, or with a resolution if it is in conflict.
fn write_lines(peer: &mut GroupPeer, lines: &[String], time: i64) -> ChangeId {
    let is_conflicted = conflicts(peer.shard()).iter().any(|conflict| conflict.resource == motd());
    let edit = if is_conflicted {
        let resolution = Resolution::UseValue(text_literal(lines));
        Draft::Resolve { resource: motd(), field: FIELD.into(), resolution, id: None }
    } else {
        let fields = vec![(FIELD.parse().unwrap(), FieldEdit::Assign(text_literal(lines)))];
        Draft::Set { resource: motd(), fields, replace: false }
    };
    peer.edit(&[edit], time)
}

/// The lines of all sides. All lines that ever existed have one order, so that no line moves.
fn merged_lines(peer: &GroupPeer) -> Vec<String> {
    let visible = peer.shard().state().get("file/motd content");
    let lines = visible.iter().flat_map(|side| side.value.as_str().unwrap_or_default().lines());
    lines.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
}

/// A new line before the line at `at`: its rank among all lines, then its author.
fn new_line(rng: &mut TestRng, lines: &[String], index: usize, write: i64) -> String {
    let rank = |line: Option<&String>| line.map(|line| line[..18].parse::<u64>().unwrap());
    let previous_rank = index.checked_sub(1).and_then(|before| rank(lines.get(before))).unwrap_or(0);
    let next_rank = rank(lines.get(index)).unwrap_or(1 << 59);
    assert!(next_rank - previous_rank > 1, "there is room between two lines");
    format!("{:018}/{write}", previous_rank + 1 + rng.below(next_rank - previous_rank - 1))
}

/// Changes at least one line.
fn edit_random_lines(rng: &mut TestRng, lines: &mut Vec<String>, write: i64) {
    for _ in 0..rng.below(3) {
        let index = rng.below(lines.len() as u64 + 1) as usize;
        match rng.below(2) {
            0 if index < lines.len() => drop(lines.remove(index)),
            _ => lines.insert(index, new_line(rng, lines, index, write)),
        }
    }
    let index = rng.below(lines.len() as u64 + 1) as usize;
    lines.insert(index, new_line(rng, lines, index, write));
}

#[test]
fn blame_attributes_each_line_to_the_change_that_wrote_it() {
    let mut merged = 0;
    for seed in 0..30 {
        let mut rng = TestRng::from_seed(seed);
        let mut peers = peers(2 + rng.below(2) as u8);
        let mut writes: BTreeMap<String, (ChangeId, NodeId, &str)> = BTreeMap::new();
        for step in 0..40_i64 {
            let peer_index = rng.below(peers.len() as u64) as usize;
            if rng.below(3) == 0 {
                let other_index = (peer_index + 1 + rng.below(peers.len() as u64 - 1) as usize) % peers.len();
                let [from, to] = peers.get_disjoint_mut([peer_index, other_index]).unwrap();
                pull(from, to);
                continue;
            }
            let peer = &mut peers[peer_index];
            merged += usize::from(peer.shard().state().get("file/motd content").len() > 1);
            let mut lines = merged_lines(peer);
            edit_random_lines(&mut rng, &mut lines, step);
            let change = write_lines(peer, &lines, 1000 + step);
            writes.insert(step.to_string(), (change, peer.secret.node_id(), peer.user));
            assert_eq!(visible_lines(peer), lines);
            let blamed_fields = blame(&peer.group, &motd(), None, &peer.heads(), &no_stored_rows);
            let field = blamed_fields.iter().find(|blame| blame.field == FIELD).unwrap();
            assert_eq!(field.origin.change, change);
            assert_eq!(field.lines.len(), if lines.len() > 1 { lines.len() } else { 0 });
            for line in &field.lines {
                let nth = line.text.split('/').nth(1).unwrap();
                let (change, node, user) = writes[nth];
                let time = 1000 + nth.parse::<i64>().unwrap();
                let origin = ChangeOrigin { change, node: Some(node), user: user.to_owned(), time };
                assert_eq!((&line.origin, line.may_be_older), (&origin, false), "seed {seed}, {}", line.text);
            }
        }
    }
    assert!(merged > 30, "sides met {merged} times");
}

#[test]
fn lines_written_again_after_an_unset_belong_to_the_new_change() {
    let mut peers = peers(1);
    let peer = &mut peers[0];
    let lines = ["a".to_owned(), "b".to_owned()];
    write_lines(peer, &lines, 1);
    let fields = vec![(FIELD.parse().unwrap(), FieldEdit::Unset)];
    let unset = peer.edit(&[Draft::Set { resource: motd(), fields, replace: false }], 2);
    let rewritten = write_lines(peer, &lines, 3);
    let blamed_fields = blame(&peer.group, &motd(), Some(FIELD), &peer.heads(), &no_stored_rows);
    let changes: Vec<ChangeId> = blamed_fields[0].lines.iter().map(|line| line.origin.change).collect();
    assert_eq!(changes, [rewritten, rewritten]);
    assert_eq!(blame(&peer.group, &motd(), Some(FIELD), &[unset], &no_stored_rows), []);
}
