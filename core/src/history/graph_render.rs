//! The log as a graph of lines, in ASCII, as `git log --graph` draws it.
//!
//! A *lane* is a column of two characters that leads down to one entry. Every entry stands in the lane that leads to it,
//! or begins one on the right; below it, its lane goes on to its first parent, and lanes branch off to the others. No two
//! lanes lead to the same entry: those that would are joined at once.

use std::collections::BTreeMap;

/// How one entry is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphRow {
    /// What stands before the entry's first line, as `| * `.
    pub prefix: String,
    /// What stands before further lines of the same entry, as `| | `.
    pub body: String,
    /// The lines that lead from this entry to the next, as `|\ ` or `|/ `.
    pub after: Vec<String>,
}

/// Draws entries, given newest first as id and what each was built on. A line leads only to what comes later in the
/// list; others end.
pub fn render_graph(entries: &[(String, Vec<String>)]) -> Vec<GraphRow> {
    let indexes: BTreeMap<&str, usize> =
        entries.iter().zip(0..).map(|((id, _), index)| (id.as_str(), index)).collect();
    let mut lanes = Lanes::default();
    let mut rows = Vec::with_capacity(entries.len());
    for (index, (_, deps)) in entries.iter().enumerate() {
        let mut parents: Vec<usize> = Vec::new();
        for parent in deps.iter().filter_map(|dep| indexes.get(dep.as_str()).copied()) {
            if parent > index && !parents.contains(&parent) {
                parents.push(parent);
            }
        }
        rows.push(lanes.next_row(index, &parents));
    }
    rows
}

/// The lanes between two entries: the place of the entry that each leads to.
#[derive(Default)]
struct Lanes {
    targets: Vec<usize>,
    lines: Vec<String>,
}

impl Lanes {
    fn next_row(&mut self, index: usize, parents: &[usize]) -> GraphRow {
        let lane = self.lane_leading_to(index).unwrap_or_else(|| {
            self.targets.push(index);
            self.targets.len() - 1
        });
        let mut prefix = AsciiLine::default();
        let mut body = AsciiLine::default();
        for other in 0..self.targets.len() {
            prefix.set_char(2 * other, if other == lane { '*' } else { '|' });
            if other != lane || !parents.is_empty() {
                body.set_char(2 * other, '|');
            }
        }
        let (prefix, body) = (prefix.padded_text(self.targets.len()), body.padded_text(self.targets.len()));
        match parents.split_first() {
            None => self.close_lane(lane),
            Some((first, others)) => self.connect_parents(lane, *first, others),
        }
        GraphRow { prefix, body, after: std::mem::take(&mut self.lines) }
    }

    fn lane_leading_to(&self, index: usize) -> Option<usize> {
        self.targets.iter().position(|to| *to == index)
    }

    /// Nothing comes below: the lane closes, and those on its right move up to it.
    fn close_lane(&mut self, lane: usize) {
        if lane + 1 < self.targets.len() {
            let mut line = AsciiLine::default();
            line.draw_vertical(0..lane);
            line.draw_left(lane + 1..self.targets.len());
            self.lines.push(line.trimmed_text());
        }
        self.targets.remove(lane);
    }

    fn connect_parents(&mut self, lane: usize, first: usize, others: &[usize]) {
        let (existing, missing): (Vec<usize>, Vec<usize>) =
            others.iter().partition(|to| self.lane_leading_to(**to).is_some());
        // The last branches off first, and is pushed to the right by those before it.
        missing.into_iter().rev().for_each(|target| self.open_lane(lane, target));
        existing.into_iter().for_each(|target| self.connect_to_lane(lane, target));
        let existing_lane = self.lane_leading_to(first);
        if let Some(slot) = self.targets.get_mut(lane) {
            *slot = first;
        }
        match existing_lane {
            Some(other) if other != lane => self.merge_lanes(lane.min(other), lane.max(other)),
            _ => {}
        }
    }

    /// A new lane on the right of `lane`.
    fn open_lane(&mut self, lane: usize, target: usize) {
        let mut line = AsciiLine::default();
        line.draw_vertical(0..lane + 1);
        line.draw_right(lane..self.targets.len());
        self.lines.push(line.trimmed_text());
        self.targets.insert(lane + 1, target);
    }

    /// A line from `lane` to another lane, behind those between.
    fn connect_to_lane(&mut self, lane: usize, target: usize) {
        let Some(other) = self.lane_leading_to(target) else { return };
        let steps: Vec<usize> =
            if other < lane { (other..lane).rev().collect() } else { (lane..other).collect() };
        for gap in steps {
            let mut line = AsciiLine::default();
            line.draw_vertical(0..self.targets.len());
            line.set_char(2 * gap + 1, if other < lane { '/' } else { '\\' });
            self.lines.push(line.trimmed_text());
        }
    }

    /// The lane `right` ends in the lane `left`, behind those between; those on its right move up.
    fn merge_lanes(&mut self, left: usize, right: usize) {
        let mut line = AsciiLine::default();
        line.draw_vertical(0..right);
        line.draw_left(right..self.targets.len());
        self.lines.push(line.trimmed_text());
        self.targets.remove(right);
        for gap in (left..right - 1).rev() {
            let mut line = AsciiLine::default();
            line.draw_vertical(0..self.targets.len());
            line.set_char(2 * gap + 1, '/');
            self.lines.push(line.trimmed_text());
        }
    }
}

/// One line being drawn.
#[derive(Default)]
struct AsciiLine(Vec<char>);

impl AsciiLine {
    fn set_char(&mut self, column: usize, c: char) {
        if self.0.len() <= column {
            self.0.resize(column + 1, ' ');
        }
        if let Some(slot) = self.0.get_mut(column) {
            *slot = c;
        }
    }

    fn draw_vertical(&mut self, lanes: std::ops::Range<usize>) {
        lanes.for_each(|lane| self.set_char(2 * lane, '|'));
    }

    /// These lanes move one to the left.
    fn draw_left(&mut self, lanes: std::ops::Range<usize>) {
        lanes.filter_map(|lane| (2 * lane).checked_sub(1)).for_each(|column| self.set_char(column, '/'));
    }

    /// These lanes move one to the right, or something branches off them there.
    fn draw_right(&mut self, lanes: std::ops::Range<usize>) {
        lanes.for_each(|lane| self.set_char(2 * lane + 1, '\\'));
    }

    /// The line, as wide as so many lanes.
    fn padded_text(mut self, lanes: usize) -> String {
        self.0.resize(2 * lanes, ' ');
        self.0.into_iter().collect()
    }

    /// The line with a single space after what is drawn.
    fn trimmed_text(self) -> String {
        let text: String = self.0.into_iter().collect();
        format!("{} ", text.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws `a:b,c` as an entry `a` built on `b` and `c`.
    fn render(spec: &str) -> String {
        let entry = |word: &str| {
            let (id, deps) = word.split_once(':').unwrap();
            (id.to_owned(), deps.split_terminator(',').map(str::to_owned).collect())
        };
        let entries: Vec<(String, Vec<String>)> = spec.split_whitespace().map(entry).collect();
        let mut out = String::new();
        for ((id, _), row) in entries.iter().zip(render_graph(&entries)) {
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
    fn linear_history_is_one_lane() {
        assert_eq!(render("c:b b:a a:"), "* c\n* b\n* a\n");
    }

    #[test]
    fn fork_and_merge_use_two_lanes() {
        assert_eq!(
            render("m:a2,b2 a2:a1 b2:b1 a1:base b1:base base:"),
            "* m\n|\\\n* | a2\n| * b2\n* | a1\n| * b1\n|/\n* base\n"
        );
    }

    #[test]
    fn two_heads_get_two_lanes() {
        assert_eq!(render("b:base a:base base:"), "* b\n| * a\n|/\n* base\n");
    }

    #[test]
    fn merge_of_three_sides_uses_three_lanes() {
        assert_eq!(
            render("m:a,b,c a:base b:base c:base base:"),
            "* m\n|\\\n|\\ \\\n* | | a\n| * | b\n|/ /\n| * c\n|/\n* base\n"
        );
    }

    #[test]
    fn crossing_lanes_are_drawn_behind_each_other() {
        assert_eq!(
            render("m:a,b,c c:base b:b0 a:base base: b0:"),
            "* m\n|\\\n|\\ \\\n| | * c\n| * | b\n* | | a\n| |/\n|/|\n* | base\n /\n* b0\n"
        );
    }

    #[test]
    fn merge_connects_to_existing_lanes() {
        assert_eq!(render("x:base m:a,base a:base base:"), "* x\n| * m\n|/|\n| * a\n|/\n* base\n");
        assert_eq!(
            render("x:a m:base,y y:base a:z base: z:"),
            "* x\n| * m\n| |\\\n| | * y\n| |/\n* | a\n| * base\n* z\n"
        );
        assert_eq!(
            render("m:a,b n:c,a b:z a:z c:z z:"),
            "* m\n|\\\n| | * n\n| |/|\n|/| |\n| * | b\n* | | a\n|/ /\n| * c\n|/\n* z\n"
        );
        assert_eq!(render("m:a,b a:c,b b:z c:z z:"), "* m\n|\\\n* | a\n|\\|\n| * b\n* | c\n|/\n* z\n");
    }

    #[test]
    fn lane_without_a_parent_is_closed() {
        assert_eq!(render("a:gone b:c c:"), "* a\n* b\n* c\n");
        assert_eq!(render("m:a,b,c a: b: c:"), "* m\n|\\\n|\\ \\\n* | | a\n / /\n* | b\n /\n* c\n");
        assert_eq!(render_graph(&[]), vec![]);
    }

    #[test]
    fn body_prefix_continues_the_open_lanes() {
        let entry =
            |id: &str, deps: &[&str]| (id.to_owned(), deps.iter().map(|dep| (*dep).to_owned()).collect());
        let rows = render_graph(&[entry("m", &["a", "b"]), entry("a", &[]), entry("b", &["a", "loose"])]);
        let bodies: Vec<&str> = rows.iter().map(|row| row.body.as_str()).collect();
        assert_eq!(bodies, ["| ", "  | ", "  "]);
    }
}
