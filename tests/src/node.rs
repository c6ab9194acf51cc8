//! A real daemon on a host of the lab, and the real command that asks it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Host, Lab, Process, until};

/// How long anything may take before a test says that it does not happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a command did.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its exit code; -1 if a signal ended it.
    pub code: i32,
    /// What it printed,
    pub out: String,
    /// and said.
    pub err: String,
    /// How long it took.
    pub took: Duration,
}

/// One machine: a host of the lab with a data directory, and a daemon while it runs.
pub struct Node<'a> {
    /// Its host; `None` for the machine itself.
    host: Option<&'a Host>,
    /// The data directory.
    pub data: PathBuf,
    binary: PathBuf,
    logs: PathBuf,
    /// The daemon, if it was started.
    pub daemon: Option<Process>,
    /// What its processes find in their environment besides.
    pub env: Vec<(String, String)>,
    name: String,
}

impl<'a> Node<'a> {
    /// A machine with an empty data directory, on host `index`. `binary` is the `larder` to use.
    pub fn on(lab: &'a Lab, index: usize, binary: &str) -> Self {
        Self::new(Some(lab.host(index)), lab.logs(), &format!("n{index}"), binary)
    }

    /// A machine that is no host: for what needs no network.
    pub fn here(dir: &Path, name: &str, binary: &str) -> Self {
        Self::new(None, dir, name, binary)
    }

    fn new(host: Option<&'a Host>, dir: &Path, name: &str, binary: &str) -> Self {
        let data = dir.join(name);
        std::fs::create_dir_all(&data).unwrap_or_else(|error| panic!("{}: {error}", data.display()));
        let (binary, logs, name) = (binary.into(), dir.to_owned(), name.to_owned());
        Self { host, data, binary, logs, daemon: None, env: Vec::new(), name }
    }

    /// A command on this machine, with nothing of the tester's own surroundings in it.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = match self.host {
            Some(host) => host.command(program),
            None => Command::new(program),
        };
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("LARDER_DATA", &self.data).env("TZ", "UTC").env("HOME", &self.data);
        command.envs(self.env.iter().cloned());
        command
    }

    /// The same machine again, to ask it by; it has no daemon to stop.
    pub fn twin(&self) -> Self {
        let (data, binary, logs) = (self.data.clone(), self.binary.clone(), self.logs.clone());
        let (env, name) = (self.env.clone(), self.name.clone());
        Self { host: self.host, data, binary, logs, daemon: None, env, name }
    }

    /// Starts the daemon: `args` begin with `up` or `daemon`. Returns once it answers.
    pub fn start(&mut self, args: &[&str]) {
        self.spawn(args);
        until(PATIENCE, &format!("{} answers", self.name), || {
            if let Some(status) = self.daemon.as_mut().and_then(Process::status) {
                panic!("{} ended with {status}: {}", self.name, self.log());
            }
            (self.larder(&["groups"]).code == 0).then_some(())
        });
    }

    /// Starts it without waiting.
    pub fn spawn(&mut self, args: &[&str]) {
        let mut command = self.command(&self.binary);
        command.args(args);
        let log = self.logs.join(format!("{}.log", self.name));
        self.daemon = Some(Process::start(command, &log));
    }

    /// What the daemon printed and logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.logs.join(format!("{}.log", self.name))).unwrap_or_default()
    }

    /// Kills the daemon (SIGKILL).
    pub fn kill(&mut self) {
        self.daemon.as_mut().expect("a daemon to kill").kill();
    }

    /// Ends it with SIGTERM; answers how long that took.
    pub fn stop(&mut self) -> Duration {
        let begun = Instant::now();
        let status = self.daemon.as_mut().expect("a daemon to stop").stop(PATIENCE);
        let status = status.unwrap_or_else(|| panic!("{} does not stop", self.name));
        assert!(status.success(), "{} ended with {status}: {}", self.name, self.log());
        begun.elapsed()
    }

    /// Runs `larder` with these arguments.
    pub fn larder(&self, args: &[&str]) -> Ran {
        self.larder_with(args, "")
    }

    /// The same with something on its standard input.
    pub fn larder_with(&self, args: &[&str], input: &str) -> Ran {
        use std::io::Write as _;
        let mut command = self.command(&self.binary);
        command.args(args).current_dir(&self.logs);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let begun = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        if let Some(mut stdin) = child.stdin.take() {
            // A command that reads nothing closes its end.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        Ran { code: output.status.code().unwrap_or(-1), out, err, took: begun.elapsed() }
    }

    /// Runs it, and expects it to work; answers what it printed.
    pub fn ok(&self, args: &[&str]) -> String {
        let ran = self.larder(args);
        assert_eq!(ran.code, 0, "{}: larder {}: {}", self.name, args.join(" "), ran.err);
        ran.out
    }

    /// Runs it with `--json`.
    pub fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let text = self.ok(&args);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}: {text}", args.join(" ")))
    }

    /// Its whole node id.
    pub fn id(&self) -> String {
        let nodes = self.json(&["nodes"]);
        let own = nodes["nodes"].as_array().into_iter().flatten().find(|node| node["self"] == true);
        own.and_then(|node| node["id"].as_str()).expect("an own row").to_owned()
    }

    /// Makes an invite code for this many nodes.
    pub fn invite(&self, uses: usize) -> String {
        self.ok(&["invite", "--uses", &uses.to_string()]).trim().to_owned()
    }

    /// The digest of its group.
    pub fn digest(&self) -> String {
        self.json(&["heads"])["digest"].as_str().expect("a digest").to_owned()
    }

    /// A file below the default root; empty if it is not there.
    pub fn file(&self, path: &str) -> String {
        std::fs::read_to_string(self.data.join("files").join(path)).unwrap_or_default()
    }
}

/// Starts a daemon on every host of `lab`, in no group.
pub fn daemons<'a>(lab: &'a Lab, binary: &str) -> Vec<Node<'a>> {
    let mut nodes: Vec<Node<'a>> = (0..lab.hosts().len()).map(|index| Node::on(lab, index, binary)).collect();
    for node in &mut nodes {
        node.start(&["daemon"]);
    }
    nodes
}

/// The same; the first founds a group, the others join it with aliases `n1`, `n2`, ...
pub fn cluster<'a>(lab: &'a Lab, binary: &str) -> Vec<Node<'a>> {
    let nodes = daemons(lab, binary);
    let Some((first, others)) = nodes.split_first() else { return nodes };
    first.ok(&["init", "shop"]);
    let id = first.id();
    first.ok(&["alias", &id, "n0"]);
    if !others.is_empty() {
        let code = first.invite(others.len());
        for (nth, node) in others.iter().enumerate() {
            node.ok(&["join", &code, "--alias", &format!("n{}", nth + 1)]);
        }
    }
    converge(&nodes);
    nodes
}

/// Waits until all have the same digest; answers how long that took.
pub fn converge(nodes: &[Node<'_>]) -> Duration {
    let begun = Instant::now();
    until(PATIENCE, "equal digests", || {
        let digests: Vec<String> = nodes.iter().map(Node::digest).collect();
        digests.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
    });
    begun.elapsed()
}

/// Waits until `node` shows everything it is meant to apply as applied (or whatever else it ends at).
pub fn settle(node: &Node<'_>) {
    until(PATIENCE, "nothing pending", || (node.json(&["status"])["summary"]["pending"] == 0).then_some(()));
}
