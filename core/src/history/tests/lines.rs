//! Blame line by line, against a model: every line says by itself which write it is of.

use super::*;

const FIELD: &str = "content";

fn motd() -> ResourceName {
    name("file/motd")
}

/// The lines of the field, as `get` would print them.
fn read(peer: &Peer) -> Vec<String> {
    let value =
        blame(&peer.group, &motd(), Some(FIELD), &peer.heads(), &nowhere).pop().map(|blame| blame.value);
    match value {
        Some(Literal::Scalar(Value::Str(text))) => text.lines().map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

fn text(lines: &[String]) -> Literal {
    Literal::Scalar(Value::Str(lines.iter().map(|line| format!("{line}\n")).collect()))
}

/// Writes the field: as an edit or, where sides disagree, as what settles it.
fn write(peer: &mut Peer, lines: &[String], time: i64) -> ChangeId {
    let split = conflicts(peer.shard()).iter().any(|conflict| conflict.resource == motd());
    let edit = if split {
        let settle = Settle::Value(text(lines));
        Draft::Resolve { resource: motd(), field: FIELD.into(), settle, id: None }
    } else {
        let fields = vec![(FIELD.parse().unwrap(), FieldEdit::Assign(text(lines)))];
        Draft::Set { resource: motd(), fields, replace: false }
    };
    peer.edit(&[edit], time)
}

/// The lines of all sides. There is one order of all lines that ever were, so that none ever moves.
fn united(peer: &Peer) -> Vec<String> {
    let visible = peer.shard().state().get("file/motd content");
    let lines = visible.iter().flat_map(|side| side.value.as_str().unwrap_or_default().lines());
    lines.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
}

/// A line of a write, to stand before the line at `at`: its place among all lines, then whose it is.
fn new_line(dice: &mut Dice, lines: &[String], at: usize, write: i64) -> String {
    let place = |line: Option<&String>| line.map(|line| line[..18].parse::<u64>().unwrap());
    let before = at.checked_sub(1).and_then(|before| place(lines.get(before))).unwrap_or(0);
    let after = place(lines.get(at)).unwrap_or(1 << 59);
    assert!(after - before > 1, "there is room between two lines");
    format!("{:018}/{write}", before + 1 + dice.roll(after - before - 1))
}

/// Changes a few lines, one at least.
fn scribble(dice: &mut Dice, lines: &mut Vec<String>, write: i64) {
    for _ in 0..dice.roll(3) {
        let at = dice.roll(lines.len() as u64 + 1) as usize;
        match dice.roll(2) {
            0 if at < lines.len() => drop(lines.remove(at)),
            _ => lines.insert(at, new_line(dice, lines, at, write)),
        }
    }
    let at = dice.roll(lines.len() as u64 + 1) as usize;
    lines.insert(at, new_line(dice, lines, at, write));
}

#[test]
fn each_line_is_blamed_on_the_write_that_it_names() {
    let mut merged = 0;
    for seed in 0..30 {
        let mut dice = Dice(seed);
        let mut peers = peers(2 + dice.roll(2) as u8);
        let mut writes: BTreeMap<String, (ChangeId, NodeId, &str)> = BTreeMap::new();
        for step in 0..40_i64 {
            let at = dice.roll(peers.len() as u64) as usize;
            if dice.roll(3) == 0 {
                let other = (at + 1 + dice.roll(peers.len() as u64 - 1) as usize) % peers.len();
                let [from, to] = peers.get_disjoint_mut([at, other]).unwrap();
                pull(from, to);
                continue;
            }
            let peer = &mut peers[at];
            merged += usize::from(peer.shard().state().get("file/motd content").len() > 1);
            let mut lines = united(peer);
            scribble(&mut dice, &mut lines, step);
            let change = write(peer, &lines, 1000 + step);
            writes.insert(step.to_string(), (change, peer.secret.node(), peer.user));
            assert_eq!(read(peer), lines);
            let found = blame(&peer.group, &motd(), None, &peer.heads(), &nowhere);
            let field = found.iter().find(|blame| blame.field == FIELD).unwrap();
            assert_eq!(field.origin.change, change);
            assert_eq!(field.lines.len(), if lines.len() > 1 { lines.len() } else { 0 });
            for line in &field.lines {
                let nth = line.text.split('/').nth(1).unwrap();
                let (change, node, user) = writes[nth];
                let time = 1000 + nth.parse::<i64>().unwrap();
                let origin = Origin { change, node: Some(node), user: user.to_owned(), time };
                assert_eq!((&line.origin, line.older), (&origin, false), "seed {seed}, {}", line.text);
            }
        }
    }
    assert!(merged > 30, "sides met {merged} times");
}

#[test]
fn a_text_that_was_taken_away_is_written_anew() {
    let mut peers = peers(1);
    let peer = &mut peers[0];
    let lines = ["a".to_owned(), "b".to_owned()];
    write(peer, &lines, 1);
    let fields = vec![(FIELD.parse().unwrap(), FieldEdit::Unset)];
    let gone = peer.edit(&[Draft::Set { resource: motd(), fields, replace: false }], 2);
    let again = write(peer, &lines, 3);
    let found = blame(&peer.group, &motd(), Some(FIELD), &peer.heads(), &nowhere);
    let changes: Vec<ChangeId> = found[0].lines.iter().map(|line| line.origin.change).collect();
    assert_eq!(changes, [again, again]);
    assert_eq!(blame(&peer.group, &motd(), Some(FIELD), &[gone], &nowhere), []);
}
