//! A real daemon on a host of the lab, and the real command line that uses it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Host, Lab, Process, wait_until};

/// The longest wait for any condition. After it, the test fails.
pub const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// The result of a command.
#[derive(Clone, Debug)]
pub struct CommandOutput {
    /// The exit code; -1 if a signal ended the command.
    pub exit_code: i32,
    /// The text of the standard output.
    pub stdout: String,
    /// The text of the standard error.
    pub stderr: String,
}

/// One node: a data directory, the host it runs on, and the daemon while it runs.
pub struct TestNode<'a> {
    /// The host in the lab; `None` for the computer itself.
    host: Option<&'a Host>,
    /// The path of the data directory.
    pub data_dir: PathBuf,
    binary: PathBuf,
    log_dir: PathBuf,
    /// The process of the daemon, if it was started.
    pub daemon: Option<Process>,
    /// Additional environment variables of its processes.
    pub env: Vec<(String, String)>,
    name: String,
}

impl<'a> TestNode<'a> {
    /// A node with an empty data directory on host `index`. `binary` is the `larder` to run.
    pub fn on_host(lab: &'a Lab, index: usize, binary: &str) -> Self {
        Self::new(Some(lab.host(index)), lab.log_dir(), &format!("n{index}"), binary)
    }

    /// A node on the computer itself, for tests that need no network.
    pub fn without_host(dir: &Path, name: &str, binary: &str) -> Self {
        Self::new(None, dir, name, binary)
    }

    fn new(host: Option<&'a Host>, dir: &Path, name: &str, binary: &str) -> Self {
        let data = dir.join(name);
        std::fs::create_dir_all(&data).unwrap_or_else(|error| panic!("{}: {error}", data.display()));
        let (binary, logs, name) = (binary.into(), dir.to_owned(), name.to_owned());
        Self { host, data_dir: data, binary, log_dir: logs, daemon: None, env: Vec::new(), name }
    }

    /// A command on this node's host. It inherits nothing of the test's environment except `PATH`.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = match self.host {
            Some(host) => host.command(program),
            None => Command::new(program),
        };
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("LARDER_DATA", &self.data_dir).env("TZ", "UTC").env("HOME", &self.data_dir);
        command.envs(self.env.iter().cloned());
        command
    }

    /// A second handle of the same node, for commands. It does not own the daemon.
    pub fn as_client(&self) -> Self {
        let (data, binary, logs) = (self.data_dir.clone(), self.binary.clone(), self.log_dir.clone());
        let (env, name) = (self.env.clone(), self.name.clone());
        Self { host: self.host, data_dir: data, binary, log_dir: logs, daemon: None, env, name }
    }

    /// Starts the daemon and waits until it answers. `args` begin with `up` or `daemon`.
    pub fn start(&mut self, args: &[&str]) {
        self.start_without_waiting(args);
        self.wait_until_it_answers();
    }

    /// Starts the daemon with its standard error at `stderr`, and waits until it answers.
    pub fn start_with_stderr(&mut self, args: &[&str], stderr: Stdio) {
        let mut command = self.command(&self.binary);
        command.args(args);
        self.daemon = Some(Process::start_with_stderr(command, &self.log_path(), stderr));
        self.wait_until_it_answers();
    }

    /// Starts the daemon with a umask, for example `077`, and waits until it answers.
    pub fn start_with_umask(&mut self, umask: &str, args: &[&str]) {
        let mut command = self.command(Path::new("sh"));
        command.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]).arg(&self.binary).args(args);
        self.daemon = Some(Process::start(command, &self.log_path()));
        self.wait_until_it_answers();
    }

    fn wait_until_it_answers(&mut self) {
        wait_until(WAIT_LIMIT, &format!("{} answers", self.name), || {
            if let Some(status) = self.daemon.as_mut().and_then(Process::exit_status) {
                panic!("{} ended with {status}: {}", self.name, self.read_log());
            }
            (self.run_larder(&["groups"]).exit_code == 0).then_some(())
        });
    }

    /// Starts the daemon without waiting.
    pub fn start_without_waiting(&mut self, args: &[&str]) {
        let mut command = self.command(&self.binary);
        command.args(args);
        self.daemon = Some(Process::start(command, &self.log_path()));
    }

    fn log_path(&self) -> PathBuf {
        self.log_dir.join(format!("{}.log", self.name))
    }

    /// The output and the log of the daemon up to now.
    pub fn read_log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Kills the daemon with SIGKILL.
    pub fn kill(&mut self) {
        self.daemon.as_mut().expect("a daemon to kill").kill();
    }

    /// Stops the daemon with SIGTERM, within [`WAIT_LIMIT`].
    pub fn stop(&mut self) {
        let status = self.daemon.as_mut().expect("a daemon to stop").stop(WAIT_LIMIT);
        let status = status.unwrap_or_else(|| panic!("{} does not stop", self.name));
        assert!(status.success(), "{} ended with {status}: {}", self.name, self.read_log());
    }

    /// Runs `larder` with these arguments.
    pub fn run_larder(&self, args: &[&str]) -> CommandOutput {
        self.run_larder_with_stdin(args, "")
    }

    /// Runs `larder` with these arguments and this standard input.
    pub fn run_larder_with_stdin(&self, args: &[&str], input: &str) -> CommandOutput {
        use std::io::Write as _;
        let mut command = self.command(&self.binary);
        command.args(args).current_dir(&self.log_dir);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        if let Some(mut stdin) = child.stdin.take() {
            // A command that does not read its input closes the pipe.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        CommandOutput { exit_code: output.status.code().unwrap_or(-1), stdout: out, stderr: err }
    }

    /// Runs a command that must succeed. Returns its standard output.
    pub fn run_ok(&self, args: &[&str]) -> String {
        let ran = self.run_larder(args);
        assert_eq!(ran.exit_code, 0, "{}: larder {}: {}", self.name, args.join(" "), ran.stderr);
        ran.stdout
    }

    /// Runs a command with `--json` and parses its output.
    pub fn run_json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let text = self.run_ok(&args);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}: {text}", args.join(" ")))
    }

    /// The full node id.
    pub fn id(&self) -> String {
        let nodes = self.run_json(&["nodes"]);
        let own = nodes["nodes"].as_array().into_iter().flatten().find(|node| node["self"] == true);
        own.and_then(|node| node["id"].as_str()).expect("an own row").to_owned()
    }

    /// Creates an invite code for this number of nodes.
    pub fn create_invite(&self, uses: usize) -> String {
        self.run_ok(&["invite", "--uses", &uses.to_string()]).trim().to_owned()
    }

    /// The digest of the node's group.
    pub fn digest(&self) -> String {
        self.run_json(&["heads"])["digest"].as_str().expect("a digest").to_owned()
    }

    /// The contents of a file below the default root; empty if the file does not exist.
    pub fn read_file(&self, path: &str) -> String {
        std::fs::read_to_string(self.data_dir.join("files").join(path)).unwrap_or_default()
    }
}

/// Starts a daemon on every host of `lab`. The nodes are in no group.
pub fn start_daemons<'a>(lab: &'a Lab, binary: &str) -> Vec<TestNode<'a>> {
    let mut nodes: Vec<TestNode<'a>> =
        (0..lab.hosts().len()).map(|index| TestNode::on_host(lab, index, binary)).collect();
    for node in &mut nodes {
        node.start(&["daemon"]);
    }
    nodes
}

/// Starts a daemon on every host. The first creates a group, and the others join it with the aliases `n1`,
/// `n2`, ...
pub fn start_cluster<'a>(lab: &'a Lab, binary: &str) -> Vec<TestNode<'a>> {
    let nodes = start_daemons(lab, binary);
    let Some((first, others)) = nodes.split_first() else { return nodes };
    first.run_ok(&["init", "shop"]);
    let id = first.id();
    first.run_ok(&["alias", &id, "n0"]);
    if !others.is_empty() {
        let code = first.create_invite(others.len());
        for (nth, node) in others.iter().enumerate() {
            node.run_ok(&["join", &code, "--alias", &format!("n{}", nth + 1)]);
        }
    }
    wait_until_converged(&nodes);
    nodes
}

/// Waits until all nodes have the same digest. Returns the duration.
pub fn wait_until_converged(nodes: &[TestNode<'_>]) -> Duration {
    let begun = Instant::now();
    wait_until(WAIT_LIMIT, "equal digests", || {
        let digests: Vec<String> = nodes.iter().map(TestNode::digest).collect();
        digests.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
    });
    begun.elapsed()
}

/// Waits until no resource of `node` is pending.
pub fn wait_until_applied(node: &TestNode<'_>) {
    wait_until(WAIT_LIMIT, "nothing pending", || {
        (node.run_json(&["status"])["summary"]["pending"] == 0).then_some(())
    });
}
