//! The log as a graph of lines, in ASCII, as `git log --graph` draws it.
//!
//! A *lane* is a column of two characters that leads down to one entry. Every entry stands in the lane that leads to it,
//! or begins one on the right; below it, its lane goes on to its first parent, and lanes branch off to the others. No two
//! lanes lead to the same entry: those that would are joined at once.

use std::collections::BTreeMap;

/// How one entry is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What stands before the entry's first line, as `| * `.
    pub prefix: String,
    /// What stands before further lines of the same entry, as `| | `.
    pub body: String,
    /// The lines that lead from this entry to the next, as `|\ ` or `|/ `.
    pub after: Vec<String>,
}

/// Draws entries, given newest first as id and what each was built on. A line leads only to what comes later in the
/// list; others end.
pub fn draw(entries: &[(String, Vec<String>)]) -> Vec<Row> {
    let places: BTreeMap<&str, usize> =
        entries.iter().zip(0..).map(|((id, _), at)| (id.as_str(), at)).collect();
    let mut lanes = Lanes::default();
    let mut rows = Vec::with_capacity(entries.len());
    for (at, (_, deps)) in entries.iter().enumerate() {
        let mut parents: Vec<usize> = Vec::new();
        for parent in deps.iter().filter_map(|dep| places.get(dep.as_str()).copied()) {
            if parent > at && !parents.contains(&parent) {
                parents.push(parent);
            }
        }
        rows.push(lanes.row(at, &parents));
    }
    rows
}

/// The lanes between two entries: the place of the entry that each leads to.
#[derive(Default)]
struct Lanes {
    to: Vec<usize>,
    lines: Vec<String>,
}

impl Lanes {
    fn row(&mut self, at: usize, parents: &[usize]) -> Row {
        let lane = self.find(at).unwrap_or_else(|| {
            self.to.push(at);
            self.to.len() - 1
        });
        let mut prefix = Line::default();
        let mut body = Line::default();
        for other in 0..self.to.len() {
            prefix.put(2 * other, if other == lane { '*' } else { '|' });
            if other != lane || !parents.is_empty() {
                body.put(2 * other, '|');
            }
        }
        let (prefix, body) = (prefix.text(self.to.len()), body.text(self.to.len()));
        match parents.split_first() {
            None => self.end(lane),
            Some((first, others)) => self.lead(lane, *first, others),
        }
        Row { prefix, body, after: std::mem::take(&mut self.lines) }
    }

    fn find(&self, at: usize) -> Option<usize> {
        self.to.iter().position(|to| *to == at)
    }

    /// Nothing comes below: the lane closes, and those on its right move up to it.
    fn end(&mut self, lane: usize) {
        if lane + 1 < self.to.len() {
            let mut line = Line::default();
            line.down(0..lane);
            line.left(lane + 1..self.to.len());
            self.lines.push(line.trimmed());
        }
        self.to.remove(lane);
    }

    fn lead(&mut self, lane: usize, first: usize, others: &[usize]) {
        let (known, new): (Vec<usize>, Vec<usize>) = others.iter().partition(|to| self.find(**to).is_some());
        // The last branches off first, and is pushed to the right by those before it.
        new.into_iter().rev().for_each(|to| self.branch(lane, to));
        known.into_iter().for_each(|to| self.reach(lane, to));
        let met = self.find(first);
        if let Some(slot) = self.to.get_mut(lane) {
            *slot = first;
        }
        match met {
            Some(other) if other != lane => self.join(lane.min(other), lane.max(other)),
            _ => {}
        }
    }

    /// A new lane on the right of `lane`.
    fn branch(&mut self, lane: usize, to: usize) {
        let mut line = Line::default();
        line.down(0..lane + 1);
        line.right(lane..self.to.len());
        self.lines.push(line.trimmed());
        self.to.insert(lane + 1, to);
    }

    /// A line from `lane` to another lane, behind those between.
    fn reach(&mut self, lane: usize, to: usize) {
        let Some(other) = self.find(to) else { return };
        let steps: Vec<usize> =
            if other < lane { (other..lane).rev().collect() } else { (lane..other).collect() };
        for gap in steps {
            let mut line = Line::default();
            line.down(0..self.to.len());
            line.put(2 * gap + 1, if other < lane { '/' } else { '\\' });
            self.lines.push(line.trimmed());
        }
    }

    /// The lane `right` ends in the lane `left`, behind those between; those on its right move up.
    fn join(&mut self, left: usize, right: usize) {
        let mut line = Line::default();
        line.down(0..right);
        line.left(right..self.to.len());
        self.lines.push(line.trimmed());
        self.to.remove(right);
        for gap in (left..right - 1).rev() {
            let mut line = Line::default();
            line.down(0..self.to.len());
            line.put(2 * gap + 1, '/');
            self.lines.push(line.trimmed());
        }
    }
}

/// One line being drawn.
#[derive(Default)]
struct Line(Vec<char>);

impl Line {
    fn put(&mut self, column: usize, c: char) {
        if self.0.len() <= column {
            self.0.resize(column + 1, ' ');
        }
        if let Some(slot) = self.0.get_mut(column) {
            *slot = c;
        }
    }

    fn down(&mut self, lanes: std::ops::Range<usize>) {
        lanes.for_each(|lane| self.put(2 * lane, '|'));
    }

    /// These lanes move one to the left.
    fn left(&mut self, lanes: std::ops::Range<usize>) {
        lanes.filter_map(|lane| (2 * lane).checked_sub(1)).for_each(|column| self.put(column, '/'));
    }

    /// These lanes move one to the right, or something branches off them there.
    fn right(&mut self, lanes: std::ops::Range<usize>) {
        lanes.for_each(|lane| self.put(2 * lane + 1, '\\'));
    }

    /// The line, as wide as so many lanes.
    fn text(mut self, lanes: usize) -> String {
        self.0.resize(2 * lanes, ' ');
        self.0.into_iter().collect()
    }

    /// The line with a single space after what is drawn.
    fn trimmed(self) -> String {
        let text: String = self.0.into_iter().collect();
        format!("{} ", text.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws `a:b,c` as an entry `a` built on `b` and `c`.
    fn drawn(spec: &str) -> String {
        let entry = |word: &str| {
            let (id, deps) = word.split_once(':').unwrap();
            (id.to_owned(), deps.split_terminator(',').map(str::to_owned).collect())
        };
        let entries: Vec<(String, Vec<String>)> = spec.split_whitespace().map(entry).collect();
        let mut out = String::new();
        for ((id, _), row) in entries.iter().zip(draw(&entries)) {
            assert_eq!(row.prefix.replace('*', "|").trim_end().len(), row.prefix.len() - 1);
            out += &format!("{}{id}\n", row.prefix);
            for line in row.after {
                assert!(line.is_ascii() && line.ends_with(' ') && !line.ends_with("  "));
                out += &format!("{}\n", line.trim_end());
            }
        }
        out
    }

    #[test]
    fn a_line_is_a_line() {
        assert_eq!(drawn("c:b b:a a:"), "* c\n* b\n* a\n");
    }

    #[test]
    fn sides_part_and_join() {
        assert_eq!(
            drawn("m:a2,b2 a2:a1 b2:b1 a1:base b1:base base:"),
            "* m\n|\\\n* | a2\n| * b2\n* | a1\n| * b1\n|/\n* base\n"
        );
    }

    #[test]
    fn two_heads_stand_side_by_side() {
        assert_eq!(drawn("b:base a:base base:"), "* b\n| * a\n|/\n* base\n");
    }

    #[test]
    fn several_sides_join_in_one_change() {
        assert_eq!(
            drawn("m:a,b,c a:base b:base c:base base:"),
            "* m\n|\\\n|\\ \\\n* | | a\n| * | b\n|/ /\n| * c\n|/\n* base\n"
        );
    }

    #[test]
    fn a_lane_passes_behind_another() {
        assert_eq!(
            drawn("m:a,b,c c:base b:b0 a:base base: b0:"),
            "* m\n|\\\n|\\ \\\n| | * c\n| * | b\n* | | a\n| |/\n|/|\n* | base\n /\n* b0\n"
        );
    }

    #[test]
    fn a_merge_reaches_into_lanes_that_are_there() {
        assert_eq!(drawn("x:base m:a,base a:base base:"), "* x\n| * m\n|/|\n| * a\n|/\n* base\n");
        assert_eq!(
            drawn("x:a m:base,y y:base a:z base: z:"),
            "* x\n| * m\n| |\\\n| | * y\n| |/\n* | a\n| * base\n* z\n"
        );
        assert_eq!(
            drawn("m:a,b n:c,a b:z a:z c:z z:"),
            "* m\n|\\\n| | * n\n| |/|\n|/| |\n| * | b\n* | | a\n|/ /\n| * c\n|/\n* z\n"
        );
        assert_eq!(drawn("m:a,b a:c,b b:z c:z z:"), "* m\n|\\\n* | a\n|\\|\n| * b\n* | c\n|/\n* z\n");
    }

    #[test]
    fn what_ends_closes_its_lane() {
        assert_eq!(drawn("a:gone b:c c:"), "* a\n* b\n* c\n");
        assert_eq!(drawn("m:a,b,c a: b: c:"), "* m\n|\\\n|\\ \\\n* | | a\n / /\n* | b\n /\n* c\n");
        assert_eq!(draw(&[]), vec![]);
    }

    #[test]
    fn further_lines_of_an_entry_have_a_margin() {
        let entry =
            |id: &str, deps: &[&str]| (id.to_owned(), deps.iter().map(|dep| (*dep).to_owned()).collect());
        let rows = draw(&[entry("m", &["a", "b"]), entry("a", &[]), entry("b", &["a", "loose"])]);
        let bodies: Vec<&str> = rows.iter().map(|row| row.body.as_str()).collect();
        assert_eq!(bodies, ["| ", "  | ", "  "]);
    }
}
