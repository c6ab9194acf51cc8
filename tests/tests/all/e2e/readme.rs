//! The chapter "Three hosts" of the README, command by command.

use std::process::{Command, Stdio};

use larder_tests::lab::{Host, Lab, Process, wait_until};
use larder_tests::node::WAIT_LIMIT;

use super::LARDER;

tests! {
    the_readme_walkthrough_works_as_printed,
}

const README: &str = include_str!("../../../../README.md");

/// The commands in order, each with the hosts on which it is typed.
const TYPED_LINES: &[(&str, &[usize])] = &[
    ("larder up shop", &[0]),
    ("larder up", &[1, 2]),
    ("larder join larder1-0c5vtp2-...", &[1, 2]),
    (
        "larder set config/ntp path=ntp.properties format=properties keys.server=ntp1.example.net \
         keys.minpoll=6",
        &[1],
    ),
    ("larder status", &[1]),
    (
        "larder set config/ntp keys.server=ntp2.example.net -m \"ntp1 is retired\"       # on a connected \
         host",
        &[0],
    ),
    (
        "larder set config/ntp keys.server=ntp3.example.net keys.minpoll=4             # on the \
         disconnected host",
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

/// The commands of a chapter.
fn command_lines_of(chapter: &str) -> Vec<&'static str> {
    let (_, text) = README.split_once(chapter).expect("the chapter");
    let (text, _) = text.split_once("\n## ").expect("an end of the chapter");
    text.split("```").skip(1).step_by(2).flat_map(|block| block.lines().skip(1)).collect()
}

/// A reader of the README at a host with Larder installed and nothing configured.
struct ReaderAtHost<'a> {
    host: &'a Host,
    home: std::path::PathBuf,
    daemon: Option<Process>,
}

impl<'a> ReaderAtHost<'a> {
    fn new(lab: &'a Lab, index: usize) -> Self {
        let home = lab.log_dir().join(format!("home-{index}"));
        std::fs::create_dir_all(home.join("bin")).unwrap();
        std::os::unix::fs::symlink(LARDER, home.join("bin/larder")).unwrap();
        Self { host: lab.host(index), home, daemon: None }
    }

    /// A shell on the host. Root's daemon stores its data below `/var/lib`, so each host gets its own
    /// `/var/lib`.
    fn shell(&self, line: &str) -> Command {
        let mut command = self.host.command("unshare");
        let path = format!("{}:{}", self.home.join("bin").display(), std::env::var("PATH").unwrap());
        let own = format!("mount --bind \"$HOME\" /var/lib && {line}");
        command.args(["--mount", "--", "sh", "-c", &own]);
        command.env_clear().env("HOME", &self.home).env("PATH", path).env("TZ", "UTC");
        command
    }

    /// Runs a command line. Returns its exit code and its output.
    fn run_line(&self, line: &str) -> (i32, String) {
        let output = self.shell(line).stdin(Stdio::null()).output().unwrap();
        let screen = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&screen).into_owned())
    }

    fn run_line_ok(&self, line: &str) -> String {
        let (code, screen) = self.run_line(line);
        assert_eq!(code, 0, "{line}: {screen}");
        screen
    }

    /// Starts a daemon in another terminal and waits until it answers.
    fn start_daemon(&mut self, line: &str) {
        let log = self.home.join("screen");
        self.daemon = Some(Process::start(self.shell(&format!("exec {line}")), &log));
        wait_until(WAIT_LIMIT, "the daemon to answer", || {
            (self.run_line("larder groups").0 == 0).then_some(())
        });
    }

    fn daemon_screen(&self) -> String {
        std::fs::read_to_string(self.home.join("screen")).unwrap_or_default()
    }

    /// The contents of the configuration file of the chapter.
    fn read_config_file(&self) -> String {
        let paths = self.run_line_ok("larder paths --json");
        let paths: serde_json::Value = serde_json::from_str(&paths).unwrap();
        let data = paths["data"].as_str().expect("a data directory");
        self.run_line(&format!("cat {data}/files/ntp.properties")).1
    }

    fn wait_for_output(&self, line: &str, what: &str) {
        wait_until(WAIT_LIMIT, &format!("`{what}` from `{line}`"), || {
            self.run_line(line).1.contains(what).then_some(())
        });
    }
}

fn the_readme_walkthrough_works_as_printed() {
    let lines: Vec<&str> = TYPED_LINES.iter().map(|(line, _)| *line).collect();
    assert_eq!(command_lines_of("\n## Three hosts\n"), lines, "the README and what is tried here are one");
    let lab = Lab::require(3);
    let mut readers: Vec<ReaderAtHost<'_>> = (0..3).map(|index| ReaderAtHost::new(&lab, index)).collect();
    let mut invitation = String::new();
    for (nth, (line, machines)) in TYPED_LINES.iter().enumerate() {
        let mut screen = String::new();
        for &reader_index in *machines {
            match nth {
                0 | 1 => readers[reader_index].start_daemon(line),
                2 => screen = readers[reader_index].run_line_ok(&invitation),
                _ => screen = readers[reader_index].run_line_ok(line),
            }
        }
        match nth {
            0 => invitation = join_line(&readers[0]),
            2 => readers.iter().for_each(wait_for_three_nodes_up),
            4 => {
                wait_until(WAIT_LIMIT, "the file on all three", || {
                    all_have(&readers, "server=ntp1").then_some(())
                });
                assert!(all_have(&readers, "minpoll=6"));
                drop(readers[2].run_line_ok("larder sync pause"));
            }
            6 => assert_partition_merges(&readers),
            8 => assert_conflict_resolved(&readers),
            9 => assert!(screen.contains("ntp1 is retired"), "why it was done: {screen}"),
            13 => wait_until(WAIT_LIMIT, "the new one everywhere", || {
                all_have(&readers, "server=ntp9").then_some(())
            }),
            14 => wait_until(WAIT_LIMIT, "the old one again", || {
                readers.iter().all(|person| !person.read_config_file().contains("server=ntp9")).then_some(())
            }),
            15 => assert!(screen.contains("Nothing differs"), "undone, so nothing differs: {screen}"),
            _ => {}
        }
    }
}

/// The `larder join` line that the first daemon prints.
fn join_line(first: &ReaderAtHost<'_>) -> String {
    let code = wait_until(WAIT_LIMIT, "a line to paste", || {
        let screen = first.daemon_screen();
        screen.split("larder join ").nth(1).and_then(|rest| Some(rest.split_whitespace().next()?.to_owned()))
    });
    format!("larder join {code}")
}

fn wait_for_three_nodes_up(person: &ReaderAtHost<'_>) {
    wait_until(WAIT_LIMIT, "all three on each", || {
        let nodes: serde_json::Value =
            serde_json::from_str(&person.run_line_ok("larder nodes --json")).unwrap();
        let up = |node: &&serde_json::Value| node["state"] == "up";
        (nodes["nodes"].as_array().unwrap().iter().filter(up).count() == 3).then_some(())
    });
}

fn all_have(readers: &[ReaderAtHost<'_>], text: &str) -> bool {
    readers.iter().all(|person| person.read_config_file().contains(text))
}

/// Asserts that each side applies its own write, and that after the heal different keys merge and the key in
/// conflict keeps its applied value.
fn assert_partition_merges(readers: &[ReaderAtHost<'_>]) {
    let has_text = |at: usize, text: &str| readers[at].read_config_file().contains(text);
    wait_until(WAIT_LIMIT, "each side to apply what it was told", || {
        let left = has_text(0, "server=ntp2") && has_text(1, "server=ntp2") && has_text(0, "minpoll=6");
        (left && has_text(2, "server=ntp3") && has_text(2, "minpoll=4")).then_some(())
    });
    drop(readers[2].run_line_ok("larder sync resume"));
    wait_until(WAIT_LIMIT, "minpoll to be 4 everywhere", || all_have(readers, "minpoll=4").then_some(()));
    assert!(has_text(0, "server=ntp2") && has_text(2, "server=ntp3"));
    readers[1].wait_for_output("larder conflicts", "ntp3.example.net");
}

fn assert_conflict_resolved(readers: &[ReaderAtHost<'_>]) {
    wait_until(WAIT_LIMIT, "one value on every machine", || {
        let server = |person: &ReaderAtHost<'_>| {
            person.read_config_file().lines().find(|line| line.starts_with("server=")).map(str::to_owned)
        };
        let servers: Vec<Option<String>> = readers.iter().map(server).collect();
        servers.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
    });
    readers.iter().for_each(|person| person.wait_for_output("larder conflicts", "No conflicts."));
}
