//! `up` and `daemon`: running a node.

use std::path::PathBuf;

use clap::Args;
use larder_net::Multiaddr;
use tokio::signal::unix::{SignalKind, signal};

use super::{Context, Outcome, say, talk};
use crate::api::members::{Invite, invite_now};
use crate::daemon::{Daemon, Options};
use crate::failure::Failure;
use crate::limits;
use crate::place::read_text;
use crate::render::Style;
use crate::settings::Settings;

/// Flags of a running daemon.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// Where to listen (repeatable) [default: all interfaces, port 7440 or else a free one]
    #[arg(long, value_name = "MULTIADDR")]
    listen: Vec<Multiaddr>,
    /// Where another node is (repeatable), as /ip4/192.0.2.7/tcp/7440
    #[arg(long, value_name = "MULTIADDR")]
    peer: Vec<Multiaddr>,
    /// Neither look for others by multicast nor be found so
    #[arg(long)]
    no_mdns: bool,
    /// Where providers may write (repeatable) [default: files/ in the data directory]
    #[arg(long, value_name = "DIR")]
    root: Vec<PathBuf>,
    /// Settings file [default: larder.toml in the data directory]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Join by this code at the first start, or by the one in a file
    #[arg(long, value_name = "CODE|@FILE")]
    join: Option<String>,
}

/// Flags of `up`.
#[derive(Debug, Args)]
pub(super) struct Up {
    /// The group to found if this node does not know it
    #[arg(value_name = "GROUP")]
    name: Option<String>,
    #[command(flatten)]
    run: Run,
}

impl Run {
    fn options(self, context: &Context) -> Result<Options, Failure> {
        let list = |list: Vec<Multiaddr>| (!list.is_empty()).then_some(list);
        let here = std::env::current_dir().unwrap_or_default();
        let roots: Vec<PathBuf> = self.root.iter().map(|root| here.join(root)).collect();
        let flags = Settings {
            listen: list(self.listen),
            peers: list(self.peer),
            mdns: self.no_mdns.then_some(false),
            roots: (!roots.is_empty()).then_some(roots),
            socket_group: None,
            log: None,
        };
        let settings = flags.or(Settings::read(self.config.as_deref(), &context.place)?);
        let join = self.join.as_deref().map(read_code).transpose()?;
        Ok(Options { place: context.place.clone(), settings, join })
    }
}

fn read_code(text: &str) -> Result<larder_core::wire::code::Code, Failure> {
    let text = match text.strip_prefix('@') {
        Some(path) => read_text(path.as_ref())
            .map_err(|error| Failure::usage(format!("cannot read {path}: {error}")))?,
        None => text.to_owned(),
    };
    text.parse().map_err(|error: larder_core::wire::code::CodeError| Failure::usage(error.to_string()))
}

pub(super) fn up(context: &Context, args: Up) -> Outcome {
    let options = args.run.options(context)?;
    serve(context, options, Some(args.name))
}

pub(super) fn daemon(context: &Context, args: Run) -> Outcome {
    let options = args.options(context)?;
    serve(context, options, None)
}

/// Runs a daemon until it is told to stop. `greet`: as `up` does, founding the group if one is named.
fn serve(context: &Context, options: Options, greet: Option<Option<String>>) -> Outcome {
    context.only_now("up")?;
    log_to_stderr(options.settings.log.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let fail = |error: std::io::Error| Failure::failed(format!("cannot hear signals: {error}"));
        let mut terminate = signal(SignalKind::terminate()).map_err(fail)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(fail)?;
        let mut daemon = Daemon::start(options).await?;
        if let Some(name) = greet
            && let Err(failure) = welcome(context, &daemon, name).await
        {
            daemon.stop().await;
            return Err(failure);
        }
        let died = tokio::select! {
            _ = terminate.recv() => false,
            _ = interrupt.recv() => false,
            () = daemon.ended() => true,
        };
        daemon.stop().await;
        match died {
            true => Err(Failure::failed(
                "a part of the daemon ended by itself; its log says why. Please report this",
            )),
            false => Ok(None),
        }
    })
}

/// What `up` prints.
async fn welcome(context: &Context, daemon: &Daemon, name: Option<String>) -> Result<(), Failure> {
    let pen = context.pen;
    let known = daemon
        .handle
        .look(|machine| machine.groups().map(|of| of.group.name().to_owned()).collect::<Vec<_>>())
        .await?;
    say(&format!("node   {}\n", pen.paint(Style::Id, &daemon.me.to_string())))?;
    let Some(name) = name else {
        for group in &known {
            say(&format!("group  {}\n", crate::render::clean(group)))?;
        }
        if known.is_empty() {
            talk(
                "This node is in no group yet. Found one with `larder init NAME`, or join one with `larder join CODE`.",
            );
        }
        return Ok(());
    };
    if known.contains(&name) {
        return say(&format!("group  {}\n", crate::render::clean(&name)));
    }
    let (group, recovery) = daemon.found(&name).await?;
    let invite = Invite {
        group: Some(group.to_string()),
        role: "operator".to_owned(),
        uses: limits::UP_USES,
        seconds: limits::INVITE_SECONDS,
    };
    let invited = invite_now(&daemon.handle, &invite).await?;
    say(&format!("group  {} ({})\n", pen.paint(Style::Bold, &crate::render::clean(&name)), group.short()))?;
    talk(&format!(
        "\nThe recovery key of this group is in {}: move it off this machine.\n\
         On each other machine run `larder up` and paste this line ({} uses, 1 hour):\n",
        recovery.display(),
        limits::UP_USES
    ));
    say(&format!("larder join {}\n", invited.code))
}

/// The log goes to standard error: `LARDER_LOG` first, then the settings, then `info`.
fn log_to_stderr(setting: Option<&str>) -> Result<(), Failure> {
    use tracing_subscriber::EnvFilter;
    let wanted = std::env::var("LARDER_LOG").ok();
    let wanted = wanted.as_deref().or(setting).unwrap_or("info");
    // What libraries say at `info` is of no use to an operator.
    let text = if wanted.contains('=') {
        wanted.to_owned()
    } else {
        format!("warn,larder={wanted},larder_net={wanted},libp2p=error,libp2p_mdns=off")
    };
    let filter = EnvFilter::try_new(&text).map_err(|error| {
        Failure::usage(format!("`{wanted}` is not a log level: {error}"))
            .hint("as error, warn, info, debug or trace")
    })?;
    let colors = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colors);
    // A second daemon in one process keeps the first one's log.
    drop(subscriber.try_init());
    Ok(())
}
