//! `demo`: three real daemons on this host show a merge and a conflict.
//!
//! The output is that of the real commands. All files are in one temporary directory, which the demo
//! removes. The daemons listen on loopback only and know each other by `--peer`, so they send nothing
//! to the LAN.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::context::{CommandContext, CommandResult, print_stderr, print_stdout};
use crate::error::CliError;
use crate::limits;
use crate::output::{Style, Styler};

pub(super) fn demo(context: &CommandContext) -> CommandResult {
    // Ctrl-C reaches the daemons too, as they are in the same process group. The demo then cleans up.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::failed(format!("cannot start: {error}")))?;
    let styler = context.styler;
    runtime.block_on(async {
        let cluster = DemoCluster::create(styler)?;
        let interrupt_flag = cluster.is_interrupted.clone();
        let story_task = tokio::task::spawn_blocking(move || {
            let mut cluster = cluster;
            let outcome = run_story(&mut cluster);
            drop(cluster);
            outcome
        });
        tokio::pin!(story_task);
        let interrupted = tokio::select! {
            outcome = &mut story_task => return finish_story(outcome),
            _ = tokio::signal::ctrl_c() => CliError::failed("interrupted"),
        };
        interrupt_flag.store(true, std::sync::atomic::Ordering::Relaxed);
        drop(story_task.await);
        Err(interrupted)
    })
}

fn finish_story(outcome: Result<Result<(), CliError>, tokio::task::JoinError>) -> CommandResult {
    match outcome {
        Ok(outcome) => outcome.map(|()| None),
        Err(error) => Err(CliError::failed(format!("the demo stopped: {error}"))),
    }
}

/// A node of the demo.
struct DemoHost {
    name: &'static str,
    data: PathBuf,
    daemon: Child,
}

/// The nodes of the demo and their common directory.
struct DemoCluster {
    dir: PathBuf,
    binary: PathBuf,
    styler: Styler,
    hosts: Vec<DemoHost>,
    is_interrupted: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Drop for DemoCluster {
    fn drop(&mut self) {
        for host in &mut self.hosts {
            // The daemon may have ended already.
            drop(host.daemon.kill());
            drop(host.daemon.wait());
        }
        drop(fs::remove_dir_all(&self.dir));
    }
}

impl DemoCluster {
    fn create(styler: Styler) -> Result<Self, CliError> {
        let setup_error =
            |error: std::io::Error| CliError::failed(format!("cannot set up the demo: {error}"));
        let binary = std::env::current_exe().map_err(setup_error)?;
        let unique = crate::identity::random_seed()?;
        let name =
            format!("larder-demo-{}", data_encoding::HEXLOWER.encode(unique.get(..6).unwrap_or_default()));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir(&dir).map_err(setup_error)?;
        Ok(Self { dir, binary, styler, hosts: Vec::new(), is_interrupted: std::sync::Arc::default() })
    }

    /// Starts the daemon of a node, and waits until it answers.
    fn start_host(&mut self, name: &'static str, peer: Option<&str>) -> Result<(), CliError> {
        let start_error = |error: std::io::Error| CliError::failed(format!("cannot start a daemon: {error}"));
        let data = self.dir.join(name);
        fs::create_dir(&data).map_err(start_error)?;
        let log = fs::File::create(self.dir.join(format!("{name}.log"))).map_err(start_error)?;
        let mut command = Command::new(&self.binary);
        command.args(["daemon", "--listen", "/ip4/127.0.0.1/tcp/0", "--no-mdns", "--data"]).arg(&data);
        if let Some(peer) = peer {
            command.args(["--peer", peer]);
        }
        clear_larder_env(&mut command);
        let daemon =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().map_err(start_error)?;
        self.hosts.push(DemoHost { name, data, daemon });
        self.wait_until("the daemon", |cluster| Ok(!cluster.listen_address(name)?.is_empty()))
    }

    fn find_host(&self, name: &str) -> Result<&DemoHost, CliError> {
        self.hosts
            .iter()
            .find(|host| host.name == name)
            .ok_or_else(|| CliError::failed("no such host in the demo"))
    }

    /// Runs a command on a node, and returns its output.
    fn run_captured(&self, name: &str, args: &[&str]) -> Result<String, CliError> {
        let mut command = self.build_command(name, args)?;
        let output = command.output().map_err(|error| CliError::failed(error.to_string()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(CliError::failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }

    /// Prints a command, and runs it on a node with its output on the terminal.
    fn run_visibly(&self, name: &str, args: &[&str]) -> Result<(), CliError> {
        let words: Vec<String> = args
            .iter()
            .map(|arg| if arg.contains(' ') { format!("'{arg}'") } else { (*arg).to_owned() })
            .collect();
        let prompt = self.styler.paint(Style::Dim, &format!("{name}$"));
        print_stdout(&format!(
            "{prompt} {}\n",
            self.styler.paint(Style::Bold, &format!("larder {}", words.join(" ")))
        ))?;
        let mut command = self.build_command(name, args)?;
        if self.styler.is_colored {
            command.args(["--color", "always"]);
        }
        let status = command.status().map_err(|error| CliError::failed(error.to_string()))?;
        print_stdout("\n")?;
        if status.success() { Ok(()) } else { Err(CliError::failed("a command of the demo failed")) }
    }

    fn build_command(&self, name: &str, args: &[&str]) -> Result<Command, CliError> {
        let mut command = Command::new(&self.binary);
        clear_larder_env(&mut command);
        command.args(args).arg("--data").arg(&self.find_host(name)?.data).stdin(Stdio::null());
        Ok(command)
    }

    /// The nodes that a node lists. Empty while its daemon does not answer.
    fn list_nodes(&self, name: &str) -> Result<Vec<crate::dto::NodeEntry>, CliError> {
        let Ok(text) = self.run_captured(name, &["nodes", "--json"]) else { return Ok(Vec::new()) };
        let nodes = serde_json::from_str::<crate::dto::NodeList>(&text);
        nodes.map(|nodes| nodes.nodes).map_err(|error| CliError::failed(error.to_string()))
    }

    /// The address that a node listens on. Empty while its daemon does not answer.
    fn listen_address(&self, name: &str) -> Result<String, CliError> {
        let own_row = self.list_nodes(name)?.into_iter().find(|node| node.is_self);
        Ok(own_row.and_then(|node| node.addrs.into_iter().next()).unwrap_or_default())
    }

    fn read_config_file(&self, name: &str) -> Result<String, CliError> {
        Ok(fs::read_to_string(self.config_file_path(name)?).unwrap_or_default())
    }

    fn config_file_path(&self, name: &str) -> Result<PathBuf, CliError> {
        Ok(self.find_host(name)?.data.join("files/shop.properties"))
    }

    /// Waits until `is_done` returns true.
    fn wait_until(
        &self,
        awaited: &str,
        is_done: impl Fn(&Self) -> Result<bool, CliError>,
    ) -> Result<(), CliError> {
        let started_at = Instant::now();
        while !is_done(self)? {
            if self.is_interrupted.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(CliError::failed("interrupted"));
            }
            if started_at.elapsed() > limits::DEMO_STEP_TIMEOUT {
                return Err(CliError::failed(format!("timed out while waiting for {awaited}")));
            }
            std::thread::sleep(limits::DEMO_POLL_INTERVAL);
        }
        Ok(())
    }

    fn has_equal_digests(&self) -> Result<bool, CliError> {
        let fetch_digest = |host: &DemoHost| -> Result<Option<String>, CliError> {
            let heads = self.run_captured(host.name, &["heads", "--json"])?;
            let heads: serde_json::Value =
                serde_json::from_str(&heads).map_err(|error| CliError::failed(error.to_string()))?;
            Ok(heads.get("digest").and_then(|digest| digest.as_str()).map(str::to_owned))
        };
        let digests = self.hosts.iter().map(fetch_digest).collect::<Result<Vec<_>, _>>()?;
        Ok(digests.windows(2).all(|pair| matches!(pair, [a, b] if a == b)))
    }

    fn print_title(&self, text: &str) -> Result<(), CliError> {
        print_stdout(&format!("{}\n\n", self.styler.paint(Style::Warning, &format!("# {text}"))))
    }
}

/// Removes the operator's own settings from the environment.
fn clear_larder_env(command: &mut Command) {
    for name in ["LARDER_DATA", "LARDER_SOCKET", "LARDER_GROUP"] {
        command.env_remove(name);
    }
}

fn run_story(cluster: &mut DemoCluster) -> Result<(), CliError> {
    form_group(cluster)?;
    edit_both_sides_of_a_cut(cluster)?;
    heal_and_resolve(cluster)
}

fn form_group(cluster: &mut DemoCluster) -> Result<(), CliError> {
    cluster.print_title("Three nodes form a group. There is no manager.")?;
    cluster.start_host("shop", None)?;
    let peer = cluster.listen_address("shop")?;
    cluster.start_host("ship", Some(&peer))?;
    cluster.start_host("lab", Some(&peer))?;
    cluster.run_visibly("shop", &["init", "demo"])?;
    let code = cluster.run_captured("shop", &["invite", "--uses", "2"])?;
    for host in ["ship", "lab"] {
        cluster.run_visibly(host, &["join", code.trim(), "--alias", host])?;
    }
    let nodes_json = cluster.run_captured("shop", &["nodes", "--json"])?;
    let nodes: crate::dto::NodeList =
        serde_json::from_str(&nodes_json).map_err(|error| CliError::failed(error.to_string()))?;
    let own_id = nodes.nodes.into_iter().find(|node| node.is_self).map(|node| node.id).unwrap_or_default();
    drop(cluster.run_captured("shop", &["alias", &own_id, "shop"])?);
    cluster.wait_until("three linked nodes", |cluster| cluster.has_equal_digests())?;
    cluster.wait_until("all addresses", |cluster| {
        Ok(cluster.list_nodes("shop")?.iter().all(|node| !node.addrs.is_empty()))
    })?;
    cluster.run_visibly("shop", &["nodes"])?;

    cluster.print_title("Larder manages a configuration file. It appears on all three nodes.")?;
    let set_args = [
        "set",
        "config/shop",
        "path=shop.properties",
        "keys.url=http://old",
        "keys.tax=19",
        "-m",
        "first version",
    ];
    cluster.run_visibly("shop", &set_args)?;
    cluster.wait_until("the file on all three", |cluster| {
        Ok(cluster.read_config_file("ship")?.contains("tax=19")
            && cluster.read_config_file("lab")?.contains("tax=19")
            && cluster.read_config_file("shop")?.contains("tax=19"))
    })?;
    show_config_file(cluster, "lab")
}

fn edit_both_sides_of_a_cut(cluster: &mut DemoCluster) -> Result<(), CliError> {
    cluster.print_title("The lab is disconnected. Both sides continue to work.")?;
    cluster.run_visibly("lab", &["sync", "pause"])?;
    cluster.run_visibly(
        "shop",
        &["set", "config/shop", "keys.url=http://shop", "keys.tax=21", "-m", "new tax"],
    )?;
    cluster.run_visibly(
        "lab",
        &["set", "config/shop", "keys.url=http://lab", "keys.color=red", "-m", "lab server"],
    )?;
    cluster.wait_until("the file on the disconnected node", |cluster| {
        Ok(cluster.read_config_file("lab")?.contains("color=red"))
    })
}

fn heal_and_resolve(cluster: &mut DemoCluster) -> Result<(), CliError> {
    cluster.print_title(
        "The lab reconnects. Different keys are merged. Two values for one key are kept as a conflict.",
    )?;
    cluster.run_visibly("lab", &["sync", "resume"])?;
    cluster.wait_until("equal digests", |cluster| {
        Ok(cluster.has_equal_digests()?
            && cluster.read_config_file("ship")?.contains("color=red")
            && cluster.read_config_file("lab")?.contains("tax=21"))
    })?;
    show_config_file(cluster, "ship")?;
    cluster.run_visibly("ship", &["conflicts"])?;

    cluster.print_title("Any node can resolve the conflict.")?;
    cluster.run_visibly(
        "ship",
        &["resolve", "config/shop", "keys.url", "--value", "http://both", "-m", "talked it over"],
    )?;
    cluster.wait_until("the resolved value", |cluster| {
        Ok(["shop", "ship", "lab"]
            .iter()
            .map(|host| cluster.read_config_file(host))
            .collect::<Result<Vec<_>, _>>()?
            .iter()
            .all(|text| text.contains("http://both"))
            && cluster.has_equal_digests()?)
    })?;
    cluster.run_visibly("lab", &["log", "--graph"])?;
    cluster.wait_until("the status of all nodes", |cluster| {
        Ok(cluster.run_captured("lab", &["status", "--exit-code"]).is_ok())
    })?;
    cluster.run_visibly("lab", &["status"])?;
    print_stderr("The demo is complete. Its daemons are stopped and its files are removed.");
    Ok(())
}

fn show_config_file(cluster: &DemoCluster, name: &str) -> Result<(), CliError> {
    let path = cluster.config_file_path(name)?;
    let shown_path = path.strip_prefix(&cluster.dir).map(Path::to_path_buf).unwrap_or(path);
    let prompt = cluster.styler.paint(Style::Dim, &format!("{name}$"));
    print_stdout(&format!(
        "{prompt} {}\n{}\n",
        cluster.styler.paint(Style::Bold, &format!("cat {}", shown_path.display())),
        cluster.read_config_file(name)?
    ))
}
