//! The author of each line of a text.
//!
//! A put replaces the values that its author saw, so the puts of one field form a graph of versions. The
//! search starts with all lines at the newest version. Each line that an earlier version also has is passed
//! to that version; the other lines were written by this one. At a merge, a line is passed to the side that
//! has it and so keeps its author.

use std::collections::BTreeMap;

use similar::{Algorithm, DiffOp, capture_diff_slices};

use crate::delta::OpRef;
use crate::limits;

/// A text and the put that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TextVersion {
    pub(super) op: OpRef,
    pub(super) text: String,
}

/// The put that wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LineAuthor {
    pub(super) op: OpRef,
    /// True if an earlier put may have written the line, because the search reached its limit.
    pub(super) may_be_older: bool,
}

/// The lines of a text with their line endings. A line that gains a line ending is another line.
pub(super) fn split_lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// True if the text has more than one line.
pub(super) fn has_lines(text: &str) -> bool {
    text.lines().nth(1).is_some()
}

/// The author of each line of `newest`. `versions_before` returns the texts that a put replaced, or `None` if
/// they cannot be read. It is called once for each version, until [`limits::MAX_BLAME_LINES`] is reached.
pub(super) fn line_authors(
    newest: TextVersion,
    mut versions_before: impl FnMut(&OpRef) -> Option<Vec<TextVersion>>,
) -> Vec<LineAuthor> {
    let count = split_lines(&newest.text).len();
    let mut authors = vec![LineAuthor { op: newest.op, may_be_older: false }; count];
    let mut pending: BTreeMap<OpRef, PendingVersion> = BTreeMap::new();
    let all = (0..count).map(|line| (line, line)).collect();
    pending.insert(newest.op, PendingVersion { text: newest.text, lines: all });
    let mut budget = limits::MAX_BLAME_LINES;
    // The counter of a put is greater than those of all puts that it replaces. Visiting the greatest first
    // therefore visits each version after all that replaced it.
    while let Some((op, current)) = pending.pop_last() {
        let earlier_versions = if budget == 0 { None } else { versions_before(&op) };
        let may_be_older = earlier_versions.is_none();
        let mut unattributed = current.lines;
        for version in earlier_versions.into_iter().flatten() {
            let predecessor = pending.entry(version.op).or_insert_with(|| PendingVersion::new(version.text));
            budget = budget.saturating_sub(
                limits::BLAME_VERSION_COST_LINES
                    + split_lines(&current.text).len()
                    + split_lines(&predecessor.text).len(),
            );
            unattributed = predecessor.take_common_lines(&current.text, unattributed);
        }
        pending.retain(|_, version| !version.lines.is_empty());
        for (line, _) in unattributed {
            if let Some(slot) = authors.get_mut(line) {
                *slot = LineAuthor { op, may_be_older };
            }
        }
    }
    authors
}

/// A version that may have written lines of the newest version.
struct PendingVersion {
    text: String,
    /// The index of each such line in the newest version, and its index here.
    lines: Vec<(usize, usize)>,
}

impl PendingVersion {
    fn new(text: String) -> Self {
        Self { text, lines: Vec::new() }
    }

    /// Takes the lines of a later version that this one also has, and returns the others.
    fn take_common_lines(&mut self, later: &str, later_lines: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
        let common = common_lines(&self.text, later);
        let mut remaining = Vec::new();
        for (line, index) in later_lines {
            match common.get(&index) {
                Some(own_index) => self.lines.push((line, *own_index)),
                None => remaining.push((line, index)),
            }
        }
        remaining
    }
}

/// The lines of `new` that `old` also has: their index in `new`, and the index in `old`.
fn common_lines(old: &str, new: &str) -> BTreeMap<usize, usize> {
    let equal_range = |op: DiffOp| match op {
        DiffOp::Equal { old_index, new_index, len } => Some((new_index..new_index + len).zip(old_index..)),
        _ => None,
    };
    let ops = capture_diff_slices(Algorithm::Myers, &split_lines(old), &split_lines(new));
    ops.into_iter().filter_map(equal_range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ChainId;

    fn op(counter: u64) -> OpRef {
        OpRef { counter, chain_id: ChainId([1; 16]) }
    }

    /// Blames a list of versions, each with the indexes of those that it replaced. Returns the index of the
    /// version that wrote each line of the last one.
    fn blame_versions(versions: &[(&[u64], &str)]) -> Vec<u64> {
        let version = |nth: u64| TextVersion { op: op(nth), text: versions[nth as usize].1.to_owned() };
        let before =
            |op: &OpRef| Some(versions[op.counter as usize].0.iter().map(|nth| version(*nth)).collect());
        let authors = line_authors(version(versions.len() as u64 - 1), before);
        assert!(authors.iter().all(|author| !author.may_be_older));
        authors.into_iter().map(|writer| writer.op.counter).collect()
    }

    #[test]
    fn unchanged_lines_keep_their_author() {
        assert_eq!(
            blame_versions(&[(&[], "a\nb\nc\n"), (&[0], "a\nB\nc\n"), (&[1], "x\na\nB\nc\n")]),
            [2, 0, 1, 0]
        );
        assert_eq!(blame_versions(&[(&[], "a\nb"), (&[0], "a\nb\n")]), [0, 1], "the last line got an end");
        assert_eq!(blame_versions(&[(&[], "a\nb\n"), (&[0], "")]), []);
        assert_eq!(
            blame_versions(&[(&[], "a\nb\n"), (&[0], "x\n"), (&[1], "a\nb\n")]),
            [2, 2],
            "gone is gone"
        );
    }

    #[test]
    fn merged_lines_keep_their_authors() {
        let base: (&[u64], &str) = (&[], "a\nb\nc\nd\n");
        let sides = [base, (&[0], "A\nb\nc\nd\n"), (&[0], "a\nb\nc\nD\n"), (&[1, 2], "A\nb\nc\nD\nnew\n")];
        assert_eq!(blame_versions(&sides), [1, 0, 0, 2, 3]);
    }

    #[test]
    fn lines_beyond_the_search_limit_are_marked_as_possibly_older() {
        let authors = line_authors(TextVersion { op: op(7), text: "a\nb\n".into() }, |_| None);
        assert_eq!(authors, [LineAuthor { op: op(7), may_be_older: true }; 2]);
        // One line a version is new; the first is as old as all.
        let mut calls = 0;
        let before = |later: &OpRef| {
            calls += 1;
            Some(vec![TextVersion {
                op: op(later.counter - 1),
                text: format!("first\n{}\n", later.counter - 1),
            }])
        };
        let authors =
            line_authors(TextVersion { op: op(1 << 40), text: format!("first\n{}\n", 1_u64 << 40) }, before);
        assert_eq!(authors[1], LineAuthor { op: op(1 << 40), may_be_older: false });
        assert!(authors[0].may_be_older && authors[0].op < op(1 << 40));
        assert!(
            (10..=limits::MAX_BLAME_LINES / limits::BLAME_VERSION_COST_LINES).contains(&calls),
            "{calls}"
        );
    }
}
