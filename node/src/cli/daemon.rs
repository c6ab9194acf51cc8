//! `daemon`: runs the daemon as a service.

use std::path::PathBuf;

use clap::Args;
use larder_net::Multiaddr;
use tokio::signal::unix::{SignalKind, signal};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

use super::context::{CommandContext, CommandResult};
use crate::daemon::{Daemon, DaemonOptions};
use crate::data_dir::read_text_file;
use crate::error::CliError;
use crate::limits::LOG_QUEUE_LINES;
use crate::output::Styler;
use crate::settings::Settings;

/// Arguments of `daemon`, which `up` also takes.
#[derive(Debug, Args)]
pub(super) struct DaemonArgs {
    /// Address to listen on (repeatable) [default: all interfaces, port 7440 or a free port]
    #[arg(long, value_name = "MULTIADDR")]
    listen: Vec<Multiaddr>,
    /// Address of another node, such as /ip4/192.0.2.7/tcp/7440 (repeatable)
    #[arg(long, value_name = "MULTIADDR")]
    peer: Vec<Multiaddr>,
    /// Disable multicast discovery (mDNS and beacon)
    #[arg(long)]
    no_mdns: bool,
    /// Directory that providers may write to (repeatable) [default: files/ in the data directory]
    #[arg(long, value_name = "DIR")]
    root: Vec<PathBuf>,
    /// Settings file [default: larder.toml in the data directory]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Invite code, or file with one, to join a group at the first start
    #[arg(long, value_name = "CODE|@FILE")]
    join: Option<String>,
}

impl DaemonArgs {
    pub(super) fn into_options(self, context: &CommandContext) -> Result<DaemonOptions, CliError> {
        let non_empty = |list: Vec<Multiaddr>| (!list.is_empty()).then_some(list);
        let current_dir = std::env::current_dir().unwrap_or_default();
        let roots: Vec<PathBuf> = self.root.iter().map(|root| current_dir.join(root)).collect();
        let flags = Settings {
            listen: non_empty(self.listen),
            peers: non_empty(self.peer),
            mdns: self.no_mdns.then_some(false),
            roots: (!roots.is_empty()).then_some(roots),
            socket_group: None,
            log: None,
            file: None,
        };
        let settings = flags.or_defaults(Settings::load(self.config.as_deref(), &context.data_dir)?);
        let join_code = self.join.as_deref().map(read_invite_code);
        Ok(DaemonOptions { data_dir: context.data_dir.clone(), settings, join_code })
    }
}

fn read_invite_code(text: &str) -> Result<larder_core::wire::invite_code::InviteCode, CliError> {
    let text = match text.strip_prefix('@') {
        Some(path) => read_text_file(path.as_ref())
            .map_err(|error| CliError::usage(format!("cannot read {path}: {error}")))?,
        None => text.to_owned(),
    };
    text.parse()
        .map_err(|error: larder_core::wire::invite_code::InviteCodeError| CliError::usage(error.to_string()))
}

pub(super) fn daemon(context: &CommandContext, args: DaemonArgs) -> CommandResult {
    let options = args.into_options(context)?;
    run_daemon(options, async |_| Ok(()))
}

/// Runs a daemon until a signal stops it. Calls `on_start` once it runs.
pub(super) fn run_daemon(
    options: DaemonOptions,
    on_start: impl AsyncFnOnce(&Daemon) -> Result<(), CliError>,
) -> CommandResult {
    let _log_flusher = log_to_stderr(options.settings.log.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| CliError::failed(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(async {
        let signal_error =
            |error: std::io::Error| CliError::failed(format!("cannot install a signal handler: {error}"));
        let mut terminate = signal(SignalKind::terminate()).map_err(signal_error)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(signal_error)?;
        let mut daemon = Daemon::start(options).await?;
        if let Err(failure) = on_start(&daemon).await {
            daemon.stop().await;
            return Err(failure);
        }
        let has_failed = tokio::select! {
            _ = terminate.recv() => false,
            _ = interrupt.recv() => false,
            () = daemon.wait_until_ended() => true,
        };
        daemon.stop().await;
        match has_failed {
            true => Err(CliError::failed(
                "a task of the daemon ended unexpectedly; see its log, and please report this",
            )),
            false => Ok(None),
        }
    })
}

/// Logs to standard error. The level comes from `LARDER_LOG`, or else from the settings, or else is `info`.
///
/// A thread of its own writes the lines. A reader that stops reading, a full disk or a closed pipe costs
/// lines, and never stops the daemon. The returned guard writes the last lines when it is dropped.
fn log_to_stderr(configured_level: Option<&str>) -> Result<WorkerGuard, CliError> {
    let level = std::env::var("LARDER_LOG").ok();
    let level = level.as_deref().or(configured_level).unwrap_or("info");
    // Libraries log details at `info` that operators cannot use.
    let directives = if level.contains('=') {
        level.to_owned()
    } else {
        format!("warn,larder={level},larder_net={level},libp2p=error,libp2p_mdns=off")
    };
    let filter: Targets = directives.parse().map_err(|error| {
        CliError::usage(format!("`{level}` is not a log level: {error}"))
            .with_hint("use error, warn, info, debug or trace")
    })?;
    let (writer, flusher) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LOG_QUEUE_LINES)
        .finish(std::io::stderr());
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(Styler::for_stderr().is_colored)
        // The layer would report a failed write on standard error, and panic when that fails too.
        .log_internal_errors(false);
    // A second daemon in the same process keeps the subscriber of the first one.
    drop(tracing_subscriber::registry().with(layer).with(filter).try_init());
    Ok(flusher)
}
