//! `watch`.

use std::io::Write as _;
use std::time::{Duration, Instant};

use clap::Args;

use super::history::name_touches;
use super::{Context, Outcome, talk};
use crate::client::Followed;
use crate::failure::{Exit, Failure};
use crate::limits;
use crate::render::{Style, clean, count, name, short, who};
use crate::time;
use crate::view::Event;

/// Flags of `watch`.
#[derive(Debug, Args)]
#[command(
    after_help = "Every event has an id; `--since ID` goes on right after it, with no gap and no repeat. A daemon \
    that goes away is waited for, and watching goes on where it was."
)]
pub(super) struct Watch {
    /// Only what touches this: KIND or KIND/NAME
    path: Option<String>,
    /// Go on after the event, change or record with this id [default: from now on]
    #[arg(long, value_name = "ID")]
    since: Option<String>,
    /// End after so many events
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// How long to wait for a daemon that went away, before this ends with exit code 3
    #[arg(long, value_name = "DUR", default_value = limits::WATCH_RETURN)]
    timeout: String,
}

/// What was seen so far.
struct Seen {
    since: Option<String>,
    left: Option<u64>,
    /// True once the stream has begun.
    begun: bool,
    /// True while the daemon is gone.
    away: bool,
}

pub(super) fn watch(context: &Context, args: &Watch) -> Outcome {
    context.only_now("watch")?;
    let timeout = Duration::from_secs(time::parse_duration(&args.timeout)?.unsigned_abs());
    let mut seen = Seen { since: args.since.clone(), left: args.count, begun: false, away: false };
    let mut gone: Option<Instant> = None;
    while seen.left != Some(0) {
        let since = seen.since.clone();
        let query = [context.group(), ("since", since.as_deref()), ("path", args.path.as_deref())];
        let followed = context.client.follow("/v1/watch", &query, &mut |line| seen.take(context, line));
        match followed {
            Ok(Followed::Enough) => break,
            Ok(Followed::Gone) => gone = None,
            Err(failure) if failure.exit != Exit::Unreachable || !seen.begun => return Err(failure),
            Err(_) => {}
        }
        let since = gone.get_or_insert_with(Instant::now);
        if since.elapsed() >= timeout {
            return Err(lost(&seen, timeout));
        }
        if !std::mem::replace(&mut seen.away, true) && !context.json {
            talk(&format!("The daemon went away; waiting for it {} s at the most.", timeout.as_secs()));
        }
        std::thread::sleep(limits::POLL.min(timeout));
    }
    Ok(None)
}

fn lost(seen: &Seen, timeout: Duration) -> Failure {
    let since = seen.since.as_deref().unwrap_or_default();
    let text = format!("the daemon went away and did not come back within {} s", timeout.as_secs());
    Failure::new(Exit::Unreachable, "gone", text)
        .hint(format!("once it runs again, nothing is missed with `larder watch --since {since}`"))
}

impl Seen {
    /// Takes in a line; false once it is enough.
    fn take(&mut self, context: &Context, line: &[u8]) -> Result<bool, Failure> {
        let event: Event = serde_json::from_slice(line).map_err(|error| {
            Failure::failed(format!("an event cannot be read: {error}"))
                .hint("is the daemon of another version? Restart it after an upgrade")
        })?;
        let is_event = event.kind != "stream";
        let going = match context.json {
            true => write(&[line, b"\n"].concat())?,
            false if event.op == "start" => {
                self.greet(context, &event);
                true
            }
            false => write(format!("{}\n", draw(context, &event)).as_bytes())?,
        };
        self.begun = true;
        self.away = false;
        self.since = Some(event.id);
        if is_event {
            self.left = self.left.map(|left| left.saturating_sub(1));
        }
        Ok(going && self.left != Some(0))
    }

    fn greet(&self, context: &Context, event: &Event) {
        let (group, since) = (clean(&event.text), context.pen.paint(Style::Id, &short(&event.id)));
        match (self.away, &self.since) {
            (true, _) => talk("The daemon is back; going on where this was."),
            (false, Some(_)) => talk(&format!("Watching {group}, from after {since} on.")),
            (false, None) => {
                talk(&format!("Watching {group} from now on; `--since {since}` begins here again."));
            }
        }
    }
}

/// Writes to standard output; false if nobody reads it any more.
fn write(text: &[u8]) -> Result<bool, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::failed(format!("cannot write to standard output: {error}"))),
    }
}

/// One line: when, what sort, which change, who, what.
fn draw(context: &Context, event: &Event) -> String {
    let pen = context.pen;
    let time = event.time.map_or_else(|| " ".repeat(19), |time| time::local(time.0));
    let change = event.change.as_deref().map_or_else(|| " ".repeat(7), short);
    let kind = pen.paint(style(event), &format!("{:8}", clean(&event.kind)));
    let (time, change) = (pen.paint(Style::Dim, &time), pen.paint(Style::Id, &change));
    format!("{time}  {kind}  {change}  {}", sentence(event)).trim_end().to_owned()
}

fn style(event: &Event) -> Style {
    match (event.kind.as_str(), event.op.as_str()) {
        ("apply", "failed" | "blocked" | "unsupported") | ("stream", _) => Style::Bad,
        ("conflict", "settled") | ("apply", "applied") | ("net", "up" | "linked") | ("sync", _) => {
            Style::Good
        }
        ("conflict" | "hold" | "drift", _) | ("net", _) | (_, "retracted") => Style::Care,
        _ => Style::Bold,
    }
}

fn sentence(event: &Event) -> String {
    let node = || who(event.node.as_ref());
    let resource = event.resource.as_deref().map(clean).unwrap_or_default();
    let touched = |nothing: &str| match event.touches.as_slice() {
        [] => nothing.to_owned(),
        touches => name_touches(touches),
    };
    let because = |text: &str| if text.is_empty() { String::new() } else { format!(": {}", clean(text)) };
    match (event.kind.as_str(), event.op.as_str()) {
        ("change", "accepted") => {
            let words = event.text.lines().next().map(clean).filter(|line| !line.is_empty());
            let words = words.map(|line| format!("  \"{line}\"")).unwrap_or_default();
            format!("{}  {}{words}", by(event), touched("(nothing by itself)"))
        }
        ("change", _) => format!("{}  {}  counts no longer", node(), touched("a change")),
        ("member", _) => format!("{}  {}", by(event), clean(&event.text)),
        ("apply" | "hold" | "drift", op) => {
            format!("{}  {resource} {}{}", node(), clean(op), because(&event.text))
        }
        ("conflict", op) => {
            let field = event.field.as_deref().map(clean).unwrap_or_default();
            let next = if op == "settled" { "" } else { ": see `larder conflicts`" };
            format!(
                "{resource} {field} {}{next}",
                if op == "appeared" { "in conflict".to_owned() } else { clean(op) }
            )
        }
        ("net", op) => format!("{} {}", node(), clean(op)),
        ("sync", "in-sync") => format!("in sync with {}", node()),
        ("sync", _) => "this copy is whole again".to_owned(),
        ("stream", _) => {
            let lost = event.lost.unwrap_or_default();
            format!(
                "{} lost, this terminal was too slow for them; no change is missing",
                count(usize::try_from(lost).unwrap_or(usize::MAX), "passing event")
            )
        }
        (_, op) => format!("{} {resource}{}", clean(op), because(&event.text)),
    }
}

fn by(event: &Event) -> String {
    let node = event
        .node
        .as_ref()
        .map_or_else(|| "(recovery key)".to_owned(), |node| name(&node.id, node.alias.as_deref()));
    if event.user.is_empty() { node } else { format!("{}@{node}", clean(&event.user)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{TouchRow, Who};

    fn event(kind: &str, op: &str) -> Event {
        let node = Some(Who { id: "abcdefghijk".to_owned(), alias: Some("ship\u{1b}[31m".to_owned()) });
        Event { kind: kind.to_owned(), op: op.to_owned(), node, ..Event::default() }
    }

    #[test]
    fn an_event_is_one_line_that_steers_no_terminal() {
        let touch = TouchRow {
            resource: "config/a".to_owned(),
            fields: vec!["keys.x\n".to_owned()],
            op: "set".to_owned(),
        };
        let change = Event {
            user: "root\r".to_owned(),
            text: "why\u{7}\nand more".to_owned(),
            touches: vec![touch],
            ..event("change", "accepted")
        };
        let ship = "ship\\u{1b}[31m";
        assert_eq!(sentence(&change), format!("root\\r@{ship}  config/a keys.x\\n  \"why\\u{{7}}\""));
        let held = Event {
            resource: Some("config/a".to_owned()),
            text: "in conflict\n: keys.x".to_owned(),
            ..event("hold", "held")
        };
        assert_eq!(sentence(&held), format!("{ship}  config/a held: in conflict\\n: keys.x"));
        assert_eq!(sentence(&event("net", "away")), format!("{ship} away"));
        let lost = Event { lost: Some(2), ..event("stream", "lost") };
        assert!(sentence(&lost).starts_with("2 passing events lost"));
        for (kind, op) in [("new\n", "kind"), ("change", "retracted"), ("conflict", "x\n"), ("apply", "x\n")]
        {
            assert!(!sentence(&event(kind, op)).contains('\n'), "{kind}");
        }
    }
}
