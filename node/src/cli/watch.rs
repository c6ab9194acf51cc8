//! `watch`: events as they happen. It continues after the daemon restarts.

use std::io::Write as _;
use std::time::{Duration, Instant};

use clap::Args;

use super::change_text::summarize_touches;
use super::context::{CommandContext, CommandResult, print_stderr};
use crate::client::FollowEnd;
use crate::dto::{EventKind, EventOp, WatchEvent};
use crate::error::{CliError, ExitKind};
use crate::limits;
use crate::output::{Style, escape, node_name, node_ref_name, pluralize, short_id};
use crate::time;

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// Print only events of this KIND or KIND/NAME
    path: Option<String>,
    /// Start after the event, change or record with this id [default: now]
    #[arg(long, value_name = "ID")]
    since: Option<String>,
    /// Exit after N events
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// Time to wait for a stopped daemon before exiting with 3
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration)]
    #[arg(default_value = limits::WATCH_RECONNECT_TIMEOUT)]
    timeout: Duration,
}

/// The state of the stream, kept over reconnections.
struct WatchClient {
    last_id: Option<String>,
    remaining: Option<u64>,
    /// True once the first event has arrived.
    has_started: bool,
    /// True while the daemon does not answer.
    is_disconnected: bool,
}

pub(super) fn watch(context: &CommandContext, args: &WatchArgs) -> CommandResult {
    let timeout = args.timeout;
    let mut client = WatchClient {
        last_id: args.since.clone(),
        remaining: args.count,
        has_started: false,
        is_disconnected: false,
    };
    let mut gone_since: Option<Instant> = None;
    while client.remaining != Some(0) {
        let since = client.last_id.clone();
        let query = [("since", since.as_deref()), ("path", args.path.as_deref())];
        let result = context.client.follow_lines(&context.group_path(&["events"]), &query, &mut |line| {
            client.on_line(context, line)
        });
        match result {
            Ok(FollowEnd::CallerStopped) => break,
            Ok(FollowEnd::DaemonGone) => gone_since = None,
            Err(failure) if failure.exit != ExitKind::Unreachable || !client.has_started => {
                return Err(failure);
            }
            Err(_) => {}
        }
        let unreachable_since = gone_since.get_or_insert_with(Instant::now);
        if unreachable_since.elapsed() >= timeout {
            return Err(daemon_gone_error(&client, timeout));
        }
        if !std::mem::replace(&mut client.is_disconnected, true) && !context.json {
            print_stderr(&format!(
                "The daemon stopped. Waiting up to {} s for it to restart.",
                timeout.as_secs()
            ));
        }
        std::thread::sleep(limits::WATCH_RECONNECT_INTERVAL.min(timeout));
    }
    Ok(None)
}

fn daemon_gone_error(client: &WatchClient, timeout: Duration) -> CliError {
    let since = client.last_id.as_deref().unwrap_or_default();
    let text = format!("the daemon stopped and did not restart within {} s", timeout.as_secs());
    CliError::new(ExitKind::Unreachable, "gone", text)
        .with_hint(format!("when it runs again, continue with `larder watch --since {since}`"))
}

impl WatchClient {
    /// Prints an event. Returns false when the command is to end.
    fn on_line(&mut self, context: &CommandContext, line: &[u8]) -> Result<bool, CliError> {
        let event: WatchEvent = serde_json::from_slice(line).map_err(|error| {
            CliError::failed(format!("the daemon sent an invalid event: {error}"))
                .with_hint("restart the daemon after an upgrade, so that both have the same version")
        })?;
        let is_event = event.kind != EventKind::Stream;
        let has_reader = match context.json {
            true => write_stdout(&[line, b"\n"].concat())?,
            false if event.op == EventOp::Start => {
                self.print_start(context, &event);
                true
            }
            false => write_stdout(format!("{}\n", render_event(context, &event)).as_bytes())?,
        };
        self.has_started = true;
        self.is_disconnected = false;
        self.last_id = Some(event.id);
        if is_event {
            self.remaining = self.remaining.map(|left| left.saturating_sub(1));
        }
        Ok(has_reader && self.remaining != Some(0))
    }

    fn print_start(&self, context: &CommandContext, event: &WatchEvent) {
        let (group, since) = (escape(&event.text), context.styler.paint(Style::Id, &short_id(&event.id)));
        match (self.is_disconnected, &self.last_id) {
            (true, _) => print_stderr("The daemon runs again. Continuing without a gap."),
            (false, Some(_)) => print_stderr(&format!("Watching {group} after {since}.")),
            (false, None) => {
                print_stderr(&format!(
                    "Watching {group} from now on. Start here again with `--since {since}`."
                ));
            }
        }
    }
}

/// Writes to standard output. Returns false if the reader has closed it.
fn write_stdout(text: &[u8]) -> Result<bool, CliError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::failed(format!("cannot write to standard output: {error}"))),
    }
}

/// One line: time, kind, change, and a description.
fn render_event(context: &CommandContext, event: &WatchEvent) -> String {
    let styler = context.styler;
    let time = event.time.map_or_else(|| " ".repeat(19), |time| time::local(time.0));
    let change = event.change.as_deref().map_or_else(|| " ".repeat(7), short_id);
    let kind = styler.paint(event_style(event), &format!("{:8}", escape(event.kind.as_str())));
    let (time, change) = (styler.paint(Style::Dim, &time), styler.paint(Style::Id, &change));
    format!("{time}  {kind}  {change}  {}", describe_event(event)).trim_end().to_owned()
}

fn event_style(event: &WatchEvent) -> Style {
    match (&event.kind, &event.op) {
        (EventKind::Apply, EventOp::Failed | EventOp::Blocked | EventOp::Unsupported)
        | (EventKind::Stream, _) => Style::Bad,
        (EventKind::Conflict, EventOp::Settled)
        | (EventKind::Apply, EventOp::Applied)
        | (EventKind::Net, EventOp::Up | EventOp::Linked)
        | (EventKind::Sync, _) => Style::Good,
        (EventKind::Conflict | EventKind::Hold | EventKind::Drift | EventKind::Net, _)
        | (_, EventOp::Retracted) => Style::Warning,
        _ => Style::Bold,
    }
}

fn describe_event(event: &WatchEvent) -> String {
    let node = || node_ref_name(event.node.as_ref());
    let resource = event.resource.as_deref().map(escape).unwrap_or_default();
    let touched_or = |nothing: &str| match event.touches.as_slice() {
        [] => nothing.to_owned(),
        touches => summarize_touches(touches),
    };
    let with_reason =
        |text: &str| if text.is_empty() { String::new() } else { format!(": {}", escape(text)) };
    let op = escape(event.op.as_str());
    match (&event.kind, &event.op) {
        (EventKind::Change, EventOp::Accepted) => {
            let message = event.text.lines().next().map(escape).filter(|line| !line.is_empty());
            let message = message.map(|line| format!("  \"{line}\"")).unwrap_or_default();
            format!("{}  {}{message}", event_author(event), touched_or("(no field)"))
        }
        (EventKind::Change, _) => format!("{}  {}  no longer counts", node(), touched_or("a change")),
        (EventKind::Member, _) => format!("{}  {}", event_author(event), escape(&event.text)),
        (EventKind::Apply | EventKind::Hold | EventKind::Drift, _) => {
            format!("{}  {resource} {op}{}", node(), with_reason(&event.text))
        }
        (EventKind::Conflict, event_op) => {
            let field = event.field.as_deref().map(escape).unwrap_or_default();
            let (what, advice) = match event_op {
                EventOp::Appeared => ("in conflict", ": see `larder conflicts`"),
                EventOp::Settled => ("no longer in conflict", ""),
                _ => (op.as_str(), ": see `larder conflicts`"),
            };
            format!("{resource} {field} {what}{advice}")
        }
        (EventKind::Net, _) => format!("{} {op}", node()),
        (EventKind::Sync, EventOp::InSync) => format!("in sync with {}", node()),
        (EventKind::Sync, _) => "this copy is complete again".to_owned(),
        (EventKind::Stream, _) => {
            let lost_count = event.lost.unwrap_or_default();
            format!(
                "{} lost because the output was too slow; no change is missing",
                pluralize(usize::try_from(lost_count).unwrap_or(usize::MAX), "transient event")
            )
        }
        (EventKind::Unknown(_), _) => format!("{op} {resource}{}", with_reason(&event.text)),
    }
}

fn event_author(event: &WatchEvent) -> String {
    let node = event
        .node
        .as_ref()
        .map_or_else(|| "(recovery key)".to_owned(), |node| node_name(&node.id, node.alias.as_deref()));
    if event.user.is_empty() { node } else { format!("{}@{node}", escape(&event.user)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dto::{FieldOp, NodeRef, TouchedResource};

    fn event(kind: &str, op: &str) -> WatchEvent {
        let node = Some(NodeRef { id: "abcdefghijk".to_owned(), alias: Some("ship\u{1b}[31m".to_owned()) });
        WatchEvent { node, ..WatchEvent::new(kind.to_owned().into(), op.to_owned().into()) }
    }

    #[test]
    fn an_event_is_one_escaped_line() {
        let touch = TouchedResource {
            resource: "config/a".to_owned(),
            fields: vec!["keys.x\n".to_owned()],
            op: FieldOp::Set,
        };
        let change = WatchEvent {
            user: "root\r".to_owned(),
            text: "why\u{7}\nand more".to_owned(),
            touches: vec![touch],
            ..event("change", "accepted")
        };
        let ship = "ship\\u{1b}[31m";
        assert_eq!(describe_event(&change), format!("root\\r@{ship}  config/a keys.x\\n  \"why\\u{{7}}\""));
        let held = WatchEvent {
            resource: Some("config/a".to_owned()),
            text: "in conflict\n: keys.x".to_owned(),
            ..event("hold", "held")
        };
        assert_eq!(describe_event(&held), format!("{ship}  config/a held: in conflict\\n: keys.x"));
        assert_eq!(describe_event(&event("net", "away")), format!("{ship} away"));
        let lost = WatchEvent { lost: Some(2), ..event("stream", "lost") };
        assert!(describe_event(&lost).starts_with("2 transient events lost"));
        for (kind, op) in [("new\n", "kind"), ("change", "retracted"), ("conflict", "x\n"), ("apply", "x\n")]
        {
            assert!(!describe_event(&event(kind, op)).contains('\n'), "{kind}");
        }
    }
}
