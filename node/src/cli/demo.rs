//! `demo`: the whole story with three real daemons on this machine, in a temporary directory.
//!
//! Everything that is shown is the output of the real commands; nothing outside the directory is touched, and nothing is
//! left of it. The daemons listen on loopback only and know each other by `--peer`, so the LAN hears nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::{Context, Outcome, say, talk};
use crate::failure::Failure;
use crate::limits;
use crate::render::{Pen, Style};

pub(super) fn run(context: &Context) -> Outcome {
    context.only_now("demo")?;
    // The daemons share the terminal's process group: Ctrl-C ends them, this waits for that and cleans up.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    let pen = context.pen;
    runtime.block_on(async {
        let stage = Stage::build(pen)?;
        let broken = stage.broken.clone();
        let play = tokio::task::spawn_blocking(move || {
            let mut stage = stage;
            let outcome = story(&mut stage);
            drop(stage);
            outcome
        });
        tokio::pin!(play);
        let interrupted = tokio::select! {
            outcome = &mut play => return finish(outcome),
            _ = tokio::signal::ctrl_c() => Failure::failed("interrupted"),
        };
        broken.store(true, std::sync::atomic::Ordering::Relaxed);
        drop(play.await);
        Err(interrupted)
    })
}

fn finish(outcome: Result<Result<(), Failure>, tokio::task::JoinError>) -> Outcome {
    match outcome {
        Ok(outcome) => outcome.map(|()| None),
        Err(error) => Err(Failure::failed(format!("the demo broke off: {error}"))),
    }
}

/// One machine of the story.
struct Host {
    name: &'static str,
    data: PathBuf,
    daemon: Child,
}

/// Three machines in one directory.
struct Stage {
    dir: PathBuf,
    binary: PathBuf,
    pen: Pen,
    hosts: Vec<Host>,
    broken: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        for host in &mut self.hosts {
            // One that has ended already is what is wanted.
            drop(host.daemon.kill());
            drop(host.daemon.wait());
        }
        drop(fs::remove_dir_all(&self.dir));
    }
}

impl Stage {
    fn build(pen: Pen) -> Result<Self, Failure> {
        let fail = |error: std::io::Error| Failure::failed(format!("cannot set up the demo: {error}"));
        let binary = std::env::current_exe().map_err(fail)?;
        let unique = crate::identity::random()?;
        let name =
            format!("larder-demo-{}", data_encoding::HEXLOWER.encode(unique.get(..6).unwrap_or_default()));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir(&dir).map_err(fail)?;
        Ok(Self { dir, binary, pen, hosts: Vec::new(), broken: std::sync::Arc::default() })
    }

    /// Starts one machine's daemon, and answers once it can be asked.
    fn start(&mut self, name: &'static str, peer: Option<&str>) -> Result<(), Failure> {
        let fail = |error: std::io::Error| Failure::failed(format!("cannot start a daemon: {error}"));
        let data = self.dir.join(name);
        fs::create_dir(&data).map_err(fail)?;
        let log = fs::File::create(self.dir.join(format!("{name}.log"))).map_err(fail)?;
        let mut command = Command::new(&self.binary);
        command.args(["daemon", "--listen", "/ip4/127.0.0.1/tcp/0", "--no-mdns", "--data"]).arg(&data);
        if let Some(peer) = peer {
            command.args(["--peer", peer]);
        }
        clear(&mut command);
        let daemon = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().map_err(fail)?;
        self.hosts.push(Host { name, data, daemon });
        self.until("a daemon that answers", |stage| Ok(!stage.address(name)?.is_empty()))
    }

    fn host(&self, name: &str) -> Result<&Host, Failure> {
        self.hosts
            .iter()
            .find(|host| host.name == name)
            .ok_or_else(|| Failure::failed("no such host in the demo"))
    }

    /// Runs a command on a machine, and answers what it printed.
    fn ask(&self, name: &str, args: &[&str]) -> Result<String, Failure> {
        let mut command = self.command(name, args)?;
        let output = command.output().map_err(|error| Failure::failed(error.to_string()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Failure::failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }

    /// Runs a command on a machine for all to see.
    fn show(&self, name: &str, args: &[&str]) -> Result<(), Failure> {
        let line: Vec<String> = args
            .iter()
            .map(|arg| if arg.contains(' ') { format!("'{arg}'") } else { (*arg).to_owned() })
            .collect();
        let prompt = self.pen.paint(Style::Dim, &format!("{name}$"));
        say(&format!("{prompt} {}\n", self.pen.paint(Style::Bold, &format!("larder {}", line.join(" ")))))?;
        let mut command = self.command(name, args)?;
        if self.pen.colors {
            command.args(["--color", "always"]);
        }
        let status = command.status().map_err(|error| Failure::failed(error.to_string()))?;
        say("\n")?;
        if status.success() { Ok(()) } else { Err(Failure::failed("a command of the demo failed")) }
    }

    fn command(&self, name: &str, args: &[&str]) -> Result<Command, Failure> {
        let mut command = Command::new(&self.binary);
        clear(&mut command);
        command.args(args).arg("--data").arg(&self.host(name)?.data).stdin(Stdio::null());
        Ok(command)
    }

    /// The nodes that a machine sees; none while it cannot be asked.
    fn nodes(&self, name: &str) -> Result<Vec<crate::view::NodeRow>, Failure> {
        let Ok(text) = self.ask(name, &["nodes", "--json"]) else { return Ok(Vec::new()) };
        let nodes = serde_json::from_str::<crate::view::Nodes>(&text);
        nodes.map(|nodes| nodes.nodes).map_err(|error| Failure::failed(error.to_string()))
    }

    /// Where a machine listens; empty while it does not.
    fn address(&self, name: &str) -> Result<String, Failure> {
        let own = self.nodes(name)?.into_iter().find(|node| node.is_self);
        Ok(own.and_then(|node| node.addrs.into_iter().next()).unwrap_or_default())
    }

    fn read(&self, name: &str) -> Result<String, Failure> {
        Ok(fs::read_to_string(self.file(name)?).unwrap_or_default())
    }

    fn file(&self, name: &str) -> Result<PathBuf, Failure> {
        Ok(self.host(name)?.data.join("files/shop.properties"))
    }

    /// Waits for something to come true.
    fn until(&self, what: &str, done: impl Fn(&Self) -> Result<bool, Failure>) -> Result<(), Failure> {
        let begun = Instant::now();
        while !done(self)? {
            if self.broken.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(Failure::failed("interrupted"));
            }
            if begun.elapsed() > limits::DEMO_STEP {
                return Err(Failure::failed(format!("waited in vain for {what}")));
            }
            std::thread::sleep(limits::DEMO_POLL);
        }
        Ok(())
    }

    fn same_everywhere(&self) -> Result<bool, Failure> {
        let digest = |host: &Host| -> Result<Option<String>, Failure> {
            let heads = self.ask(host.name, &["heads", "--json"])?;
            let heads: serde_json::Value =
                serde_json::from_str(&heads).map_err(|error| Failure::failed(error.to_string()))?;
            Ok(heads.get("digest").and_then(|digest| digest.as_str()).map(str::to_owned))
        };
        let all = self.hosts.iter().map(digest).collect::<Result<Vec<_>, _>>()?;
        Ok(all.windows(2).all(|pair| matches!(pair, [a, b] if a == b)))
    }

    fn title(&self, text: &str) -> Result<(), Failure> {
        say(&format!("{}\n\n", self.pen.paint(Style::Care, &format!("# {text}"))))
    }
}

/// The operator's own settings have no say in the demo.
fn clear(command: &mut Command) {
    for name in ["LARDER_DATA", "LARDER_SOCKET", "LARDER_GROUP"] {
        command.env_remove(name);
    }
}

fn story(stage: &mut Stage) -> Result<(), Failure> {
    stage.title("Three machines form a group. Nobody is its manager.")?;
    stage.start("shop", None)?;
    let peer = stage.address("shop")?;
    stage.start("ship", Some(&peer))?;
    stage.start("lab", Some(&peer))?;
    stage.show("shop", &["init", "demo"])?;
    let code = stage.ask("shop", &["invite", "--uses", "2"])?;
    for host in ["ship", "lab"] {
        stage.show(host, &["join", code.trim(), "--alias", host])?;
    }
    let me = stage.ask("shop", &["nodes", "--json"])?;
    let me: crate::view::Nodes =
        serde_json::from_str(&me).map_err(|error| Failure::failed(error.to_string()))?;
    let me = me.nodes.into_iter().find(|node| node.is_self).map(|node| node.id).unwrap_or_default();
    drop(stage.ask("shop", &["alias", &me, "shop"])?);
    stage.until("three linked nodes", |stage| stage.same_everywhere())?;
    stage
        .until("all addresses", |stage| Ok(stage.nodes("shop")?.iter().all(|node| !node.addrs.is_empty())))?;
    stage.show("shop", &["nodes"])?;

    stage.title("A configuration is put under Larder's care: it appears on all three.")?;
    let set = [
        "set",
        "config/shop",
        "path=shop.properties",
        "keys.url=http://old",
        "keys.tax=19",
        "-m",
        "first version",
    ];
    stage.show("shop", &set)?;
    stage.until("the file on all three", |stage| {
        Ok(stage.read("ship")?.contains("tax=19")
            && stage.read("lab")?.contains("tax=19")
            && stage.read("shop")?.contains("tax=19"))
    })?;
    cat(stage, "lab")?;

    stage.title("The lab is cut off. Both sides go on working.")?;
    stage.show("lab", &["sync", "pause"])?;
    stage.show("shop", &["set", "config/shop", "keys.url=http://shop", "keys.tax=21", "-m", "new tax"])?;
    stage
        .show("lab", &["set", "config/shop", "keys.url=http://lab", "keys.color=red", "-m", "lab server"])?;
    stage.until("the cut side's file", |stage| Ok(stage.read("lab")?.contains("color=red")))?;

    stage.title("The lab comes back. What does not clash is merged; what does is kept, both sides of it.")?;
    stage.show("lab", &["sync", "resume"])?;
    stage.until("equal digests", |stage| {
        Ok(stage.same_everywhere()?
            && stage.read("ship")?.contains("color=red")
            && stage.read("lab")?.contains("tax=21"))
    })?;
    cat(stage, "ship")?;
    stage.show("ship", &["conflicts"])?;

    stage.title("Somebody settles it, anywhere.")?;
    stage.show(
        "ship",
        &["resolve", "config/shop", "keys.url", "--value", "http://both", "-m", "talked it over"],
    )?;
    stage.until("the settled value", |stage| {
        Ok(["shop", "ship", "lab"]
            .iter()
            .map(|host| stage.read(host))
            .collect::<Result<Vec<_>, _>>()?
            .iter()
            .all(|text| text.contains("http://both"))
            && stage.same_everywhere()?)
    })?;
    stage.show("lab", &["log", "--graph"])?;
    stage.until("everybody's report", |stage| Ok(stage.ask("lab", &["status", "--exit-code"]).is_ok()))?;
    stage.show("lab", &["status"])?;
    talk("That was all. The daemons are stopped and their files are gone.");
    Ok(())
}

fn cat(stage: &Stage, name: &str) -> Result<(), Failure> {
    let path = stage.file(name)?;
    let shown = path.strip_prefix(&stage.dir).map(Path::to_path_buf).unwrap_or(path);
    let prompt = stage.pen.paint(Style::Dim, &format!("{name}$"));
    say(&format!(
        "{prompt} {}\n{}\n",
        stage.pen.paint(Style::Bold, &format!("cat {}", shown.display())),
        stage.read(name)?
    ))
}
