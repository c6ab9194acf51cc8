//! Who wrote each line of a text.
//!
//! A put replaces the values that its author saw, so the puts of one field are a graph of versions. The newest version
//! begins with all its lines. Each line that an earlier version has too is handed on to that one, and what nobody takes
//! was written here. Where sides met, a line goes to the side that has it, so it keeps its author.

use std::collections::BTreeMap;

use similar::{Algorithm, DiffOp, capture_diff_slices};

use crate::delta::OpRef;
use crate::limits;

/// A text, and the put that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) op: OpRef,
    pub(super) text: String,
}

/// The put that wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Writer {
    pub(super) op: OpRef,
    /// True if it may as well have been an earlier one: nobody looked further.
    pub(super) older: bool,
}

/// The lines of a text, each with what ends it: a line that gets an end is another line.
pub(super) fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// True of a text that is worth to be looked at line by line.
pub(super) fn has_lines(text: &str) -> bool {
    text.lines().nth(1).is_some()
}

/// Who wrote each line of `newest`. `before` answers with the versions that a put replaced, those that were no text left
/// out; `None` if that cannot be told. It is asked once a version, and no more than [`limits::BLAME_LINES`] allows.
pub(super) fn writers(
    newest: Version,
    mut before: impl FnMut(&OpRef) -> Option<Vec<Version>>,
) -> Vec<Writer> {
    let count = lines(&newest.text).len();
    let mut out = vec![Writer { op: newest.op, older: false }; count];
    let mut waiting: BTreeMap<OpRef, Waiting> = BTreeMap::new();
    let all = (0..count).map(|line| (line, line)).collect();
    waiting.insert(newest.op, Waiting { text: newest.text, lines: all });
    let mut left = limits::BLAME_LINES;
    // The counter of a put is above those of all that it replaces: from the greatest down, none comes too late.
    while let Some((op, here)) = waiting.pop_last() {
        let earlier = if left == 0 { None } else { before(&op) };
        let older = earlier.is_none();
        let mut own = here.lines;
        for version in earlier.into_iter().flatten() {
            let known = waiting.entry(version.op).or_insert_with(|| Waiting::new(version.text));
            left = left
                .saturating_sub(limits::BLAME_VERSION + lines(&here.text).len() + lines(&known.text).len());
            own = known.take(&here.text, own);
        }
        waiting.retain(|_, version| !version.lines.is_empty());
        for (line, _) in own {
            if let Some(slot) = out.get_mut(line) {
                *slot = Writer { op, older };
            }
        }
    }
    out
}

/// A version that may have written lines of the newest.
struct Waiting {
    text: String,
    /// Each by its place in the newest version, and here.
    lines: Vec<(usize, usize)>,
}

impl Waiting {
    fn new(text: String) -> Self {
        Self { text, lines: Vec::new() }
    }

    /// Takes over lines of a later version that this one has too; answers with the rest.
    fn take(&mut self, later: &str, theirs: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
        let kept = kept(&self.text, later);
        let mut rest = Vec::new();
        for (line, at) in theirs {
            match kept.get(&at) {
                Some(here) => self.lines.push((line, *here)),
                None => rest.push((line, at)),
            }
        }
        rest
    }
}

/// The lines of `new` that `old` has too: where they are in `new`, and where in `old`.
fn kept(old: &str, new: &str) -> BTreeMap<usize, usize> {
    let same = |op: DiffOp| match op {
        DiffOp::Equal { old_index, new_index, len } => Some((new_index..new_index + len).zip(old_index..)),
        _ => None,
    };
    let ops = capture_diff_slices(Algorithm::Myers, &lines(old), &lines(new));
    ops.into_iter().filter_map(same).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Actor;

    fn op(counter: u64) -> OpRef {
        OpRef { counter, actor: Actor([1; 16]) }
    }

    /// Versions by number, each with the numbers of those it replaced; answers the number that wrote each line of the
    /// last.
    fn blamed(versions: &[(&[u64], &str)]) -> Vec<u64> {
        let version = |nth: u64| Version { op: op(nth), text: versions[nth as usize].1.to_owned() };
        let before =
            |op: &OpRef| Some(versions[op.counter as usize].0.iter().map(|nth| version(*nth)).collect());
        let written = writers(version(versions.len() as u64 - 1), before);
        assert!(written.iter().all(|writer| !writer.older));
        written.into_iter().map(|writer| writer.op.counter).collect()
    }

    #[test]
    fn each_line_stays_with_whoever_wrote_it() {
        assert_eq!(blamed(&[(&[], "a\nb\nc\n"), (&[0], "a\nB\nc\n"), (&[1], "x\na\nB\nc\n")]), [2, 0, 1, 0]);
        assert_eq!(blamed(&[(&[], "a\nb"), (&[0], "a\nb\n")]), [0, 1], "the last line got an end");
        assert_eq!(blamed(&[(&[], "a\nb\n"), (&[0], "")]), []);
        assert_eq!(blamed(&[(&[], "a\nb\n"), (&[0], "x\n"), (&[1], "a\nb\n")]), [2, 2], "gone is gone");
    }

    #[test]
    fn where_sides_meet_their_lines_keep_their_authors() {
        let base: (&[u64], &str) = (&[], "a\nb\nc\nd\n");
        let sides = [base, (&[0], "A\nb\nc\nd\n"), (&[0], "a\nb\nc\nD\n"), (&[1, 2], "A\nb\nc\nD\nnew\n")];
        assert_eq!(blamed(&sides), [1, 0, 0, 2, 3]);
    }

    #[test]
    fn it_says_where_it_stopped_to_look() {
        let nobody = writers(Version { op: op(7), text: "a\nb\n".into() }, |_| None);
        assert_eq!(nobody, [Writer { op: op(7), older: true }; 2]);
        // One line a version is new; the first is as old as all.
        let mut asked = 0;
        let before = |later: &OpRef| {
            asked += 1;
            Some(vec![Version { op: op(later.counter - 1), text: format!("first\n{}\n", later.counter - 1) }])
        };
        let written = writers(Version { op: op(1 << 40), text: format!("first\n{}\n", 1_u64 << 40) }, before);
        assert_eq!(written[1], Writer { op: op(1 << 40), older: false });
        assert!(written[0].older && written[0].op < op(1 << 40));
        assert!((10..=limits::BLAME_LINES / limits::BLAME_VERSION).contains(&asked), "{asked}");
    }
}
