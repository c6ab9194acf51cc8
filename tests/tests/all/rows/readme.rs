//! The three machines of the README, word for word as a first-time reader types them.

use std::process::{Command, Stdio};

use larder_tests::lab::{Host, Lab, Process, until};
use larder_tests::node::PATIENCE;

use super::{LARDER, lab};

const README: &str = include_str!("../../../../README.md");

/// What is typed on which machine, in order. Where the README lets the reader choose, one choice was made.
const TYPED: &[(&str, &[usize])] = &[
    ("larder up shop", &[0]),
    ("larder up", &[1, 2]),
    ("larder join larder1-0c5vtp2-...", &[1, 2]),
    (
        "larder set config/ntp path=ntp.properties format=properties keys.server=ntp1.example.net keys.minpoll=6",
        &[1],
    ),
    ("larder status", &[1]),
    (
        "larder set config/ntp keys.server=ntp2.example.net -m \"ntp1 is retired\"       # on a connected machine",
        &[0],
    ),
    (
        "larder set config/ntp keys.server=ntp3.example.net keys.minpoll=4             # on the one that is cut off",
        &[2],
    ),
    ("larder conflicts", &[1]),
    ("larder resolve config/ntp keys.server --take A", &[1]),
    ("larder log --graph", &[1]),
    ("larder blame config/ntp", &[2]),
    ("larder diff --since \"1h ago\"", &[2]),
    ("larder tag before-friday", &[2]),
    ("larder set config/ntp keys.server=ntp9.example.net -m \"try the new one\"", &[2]),
    ("larder undo", &[2]),
    ("larder restore --at before-friday config/ntp --dry-run", &[2]),
];

/// The lines to type of a chapter.
fn typed_in(chapter: &str) -> Vec<&'static str> {
    let (_, text) = README.split_once(chapter).expect("the chapter");
    let (text, _) = text.split_once("\n## ").expect("an end of the chapter");
    text.split("```").skip(1).step_by(2).flat_map(|block| block.lines().skip(1)).collect()
}

/// A person at a machine that has Larder installed and nothing set.
struct Person<'a> {
    host: &'a Host,
    home: std::path::PathBuf,
    daemon: Option<Process>,
}

impl<'a> Person<'a> {
    fn at(lab: &'a Lab, index: usize) -> Self {
        let home = lab.logs().join(format!("home-{index}"));
        std::fs::create_dir_all(home.join("bin")).unwrap();
        std::os::unix::fs::symlink(LARDER, home.join("bin/larder")).unwrap();
        Self { host: lab.host(index), home, daemon: None }
    }

    /// A shell on the machine. Root's daemon keeps its things below `/var/lib`, of which every machine has its own.
    fn shell(&self, line: &str) -> Command {
        let mut command = self.host.command("unshare");
        let path = format!("{}:{}", self.home.join("bin").display(), std::env::var("PATH").unwrap());
        let own = format!("mount --bind \"$HOME\" /var/lib && {line}");
        command.args(["--mount", "--", "sh", "-c", &own]);
        command.env_clear().env("HOME", &self.home).env("PATH", path).env("TZ", "UTC");
        command
    }

    /// Types a line; answers what appears on the screen.
    fn types(&self, line: &str) -> (i32, String) {
        let output = self.shell(line).stdin(Stdio::null()).output().unwrap();
        let screen = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&screen).into_owned())
    }

    fn does(&self, line: &str) -> String {
        let (code, screen) = self.types(line);
        assert_eq!(code, 0, "{line}: {screen}");
        screen
    }

    /// Leaves a daemon running in another terminal, and waits until it answers.
    fn leaves_running(&mut self, line: &str) {
        let log = self.home.join("screen");
        self.daemon = Some(Process::start(self.shell(&format!("exec {line}")), &log));
        until(PATIENCE, "the daemon to answer", || (self.types("larder groups").0 == 0).then_some(()));
    }

    fn screen(&self) -> String {
        std::fs::read_to_string(self.home.join("screen")).unwrap_or_default()
    }

    /// The file that the README speaks of.
    fn file(&self) -> String {
        let paths = self.does("larder paths --json");
        let paths: serde_json::Value = serde_json::from_str(&paths).unwrap();
        let data = paths["data"].as_str().expect("a data directory");
        self.types(&format!("cat {data}/files/ntp.properties")).1
    }

    fn sees(&self, line: &str, what: &str) {
        until(PATIENCE, &format!("`{what}` from `{line}`"), || {
            self.types(line).1.contains(what).then_some(())
        });
    }
}

#[test]
fn the_walk_through_of_the_readme_works_as_it_is_printed() {
    let lines: Vec<&str> = TYPED.iter().map(|(line, _)| *line).collect();
    assert_eq!(typed_in("\n## Three machines\n"), lines, "the README and what is tried here are one");
    let lab = lab!(3, "the_walk_through_of_the_readme_works_as_it_is_printed");
    let mut people: Vec<Person<'_>> = (0..3).map(|index| Person::at(&lab, index)).collect();
    let mut invitation = String::new();
    for (nth, (line, machines)) in TYPED.iter().enumerate() {
        let mut screen = String::new();
        for &machine in *machines {
            match nth {
                0 | 1 => people[machine].leaves_running(line),
                2 => screen = people[machine].does(&invitation),
                _ => screen = people[machine].does(line),
            }
        }
        match nth {
            0 => invitation = line_to_paste(&people[0]),
            2 => people.iter().for_each(sees_three),
            4 => {
                until(PATIENCE, "the file on all three", || all_have(&people, "server=ntp1").then_some(()));
                assert!(all_have(&people, "minpoll=6"));
                drop(people[2].does("larder sync pause"));
            }
            6 => parts_and_meets(&people),
            8 => settles(&people),
            9 => assert!(screen.contains("ntp1 is retired"), "why it was done: {screen}"),
            13 => {
                until(PATIENCE, "the new one everywhere", || all_have(&people, "server=ntp9").then_some(()))
            }
            14 => until(PATIENCE, "the old one again", || {
                people.iter().all(|person| !person.file().contains("server=ntp9")).then_some(())
            }),
            15 => assert!(screen.contains("All is so already"), "undone, so nothing differs: {screen}"),
            _ => {}
        }
    }
}

/// What the first machine prints for the others.
fn line_to_paste(first: &Person<'_>) -> String {
    let code = until(PATIENCE, "a line to paste", || {
        let screen = first.screen();
        screen.split("larder join ").nth(1).and_then(|rest| Some(rest.split_whitespace().next()?.to_owned()))
    });
    format!("larder join {code}")
}

fn sees_three(person: &Person<'_>) {
    until(PATIENCE, "all three on each", || {
        let nodes: serde_json::Value = serde_json::from_str(&person.does("larder nodes --json")).unwrap();
        let up = |node: &&serde_json::Value| node["state"] == "up";
        (nodes["nodes"].as_array().unwrap().iter().filter(up).count() == 3).then_some(())
    });
}

fn all_have(people: &[Person<'_>], text: &str) -> bool {
    people.iter().all(|person| person.file().contains(text))
}

/// Each side applies what it was told; when they meet, what does not clash merges, and what does stays as it runs.
fn parts_and_meets(people: &[Person<'_>]) {
    let here = |at: usize, text: &str| people[at].file().contains(text);
    until(PATIENCE, "each side to apply what it was told", || {
        let left = here(0, "server=ntp2") && here(1, "server=ntp2") && here(0, "minpoll=6");
        (left && here(2, "server=ntp3") && here(2, "minpoll=4")).then_some(())
    });
    drop(people[2].does("larder sync resume"));
    until(PATIENCE, "minpoll to be 4 everywhere", || all_have(people, "minpoll=4").then_some(()));
    assert!(here(0, "server=ntp2") && here(2, "server=ntp3"));
    people[1].sees("larder conflicts", "ntp3.example.net");
}

fn settles(people: &[Person<'_>]) {
    until(PATIENCE, "one value on every machine", || {
        let server = |person: &Person<'_>| {
            person.file().lines().find(|line| line.starts_with("server=")).map(str::to_owned)
        };
        let servers: Vec<Option<String>> = people.iter().map(server).collect();
        servers.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
    });
    people.iter().for_each(|person| person.sees("larder conflicts", "No conflicts."));
}
