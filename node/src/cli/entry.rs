//! `pending`, `approve`, `deny`, and `join` without a code.

use std::io::{BufRead as _, IsTerminal as _};
use std::time::{Duration, Instant};

use clap::Args;

use super::govern::govern;
use super::write::Why;
use super::{Context, Outcome, talk};
use crate::api::entry::{Agree, Ask, Deny as DenyOf};
use crate::api::govern::Act;
use crate::failure::{Exit, Failure};
use crate::render::{Style, Table, cell, clean, plain, short};
use crate::time;
use crate::view::{Asking, Done, Pending};

/// Flags of `approve`.
#[derive(Debug, Args)]
pub(super) struct Approve {
    /// Id of the machine, or the alias that it asks for
    node: String,
    /// What it may do: admin, operator, node or reader
    #[arg(long)]
    role: String,
    /// The six digits that its screen shows [default: asked for on a terminal]
    #[arg(long, value_name = "N")]
    digits: Option<String>,
    #[command(flatten)]
    why: Why,
}

/// Flags of `deny`.
#[derive(Debug, Args)]
pub(super) struct Deny {
    /// Id of the machine, or the alias that it asks for
    node: String,
}

pub(super) fn pending(context: &Context) -> Outcome {
    context.only_now("pending")?;
    let pending: Pending = context.client.get("/v1/pending", &[context.group()])?;
    context.print(&pending, |pending| draw(context, pending))?;
    if !context.json {
        match pending.pending.is_empty() {
            true => talk("No machine asks to be let in."),
            false => talk(
                "Compare the digits with those on its screen, then: larder approve ID --role ROLE. Or: larder deny ID",
            ),
        }
    }
    Ok(None)
}

fn draw(context: &Context, pending: &Pending) -> String {
    if pending.pending.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["ID", "ALIAS", "DIGITS", "SINCE", "LABELS", "ADDRESS", "STATE"]);
    for row in &pending.pending {
        let labels: Vec<String> = row.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let state = match &row.waiting_for {
            Some(issuer) => format!("came with a code of {issuer}, who is away"),
            None => "asks without a code".to_owned(),
        };
        table.row(vec![
            cell(short(&row.id), Style::Id),
            plain(&row.alias),
            cell(row.digits.as_deref().unwrap_or_default(), Style::Bold),
            plain(row.since.map(|since| time::local(since.0)).unwrap_or_default()),
            plain(labels.join(" ")),
            plain(row.addrs.first().map(String::as_str).unwrap_or_default()),
            cell(state, Style::Dim),
        ]);
    }
    table.draw(context.pen)
}

pub(super) fn approve(context: &Context, args: Approve) -> Outcome {
    context.only_now("approve")?;
    let digits = match args.digits {
        Some(digits) => Some(digits),
        None => ask_for_digits(context, &args.node)?,
    };
    let done = format!("{} is let in as {}.", clean(&args.node), clean(&args.role));
    govern(context, Act::Approve { node: args.node, role: args.role, digits }, args.why, &done)
}

/// On a terminal, what the other screen shows. A machine that came with a code is known by its id alone.
fn ask_for_digits(context: &Context, node: &str) -> Result<Option<String>, Failure> {
    let pending: Pending = context.client.get("/v1/pending", &[context.group()])?;
    let fits = |id: &str, alias: &str| id.starts_with(&node.to_ascii_lowercase()) || alias == node;
    let by_code = pending.pending.iter().any(|row| fits(&row.id, &row.alias) && row.waiting_for.is_some());
    if by_code {
        return Ok(None);
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("a machine that asks without a code is let in by --digits N")
            .hint("N is what `larder join` shows on its screen"));
    }
    read_digits("Digits on the screen of the machine that asks: ").map(Some)
}

fn read_digits(prompt: &str) -> Result<String, Failure> {
    use std::io::Write as _;
    let mut err = std::io::stderr().lock();
    drop(write!(err, "{prompt}").and_then(|()| err.flush()));
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|error| Failure::failed(format!("cannot read the digits: {error}")))?;
    Ok(line.trim().to_owned())
}

pub(super) fn deny(context: &Context, args: Deny) -> Outcome {
    context.only_now("deny")?;
    let deny = DenyOf { group: context.group.clone(), node: args.node };
    let done: Done = context.client.post("/v1/deny", &deny)?;
    context.print(&done, |_| String::new())?;
    Ok(None)
}

/// What `join` without a code was asked for.
pub(super) struct Seek {
    pub(super) ask: Ask,
    pub(super) digits: Option<String>,
    pub(super) within: Duration,
}

/// Asks every node on the network to be let in.
pub(super) fn seek(context: &Context, seek: Seek) -> Outcome {
    let begun = Instant::now();
    let _: Done = context.client.post("/v1/ask", &seek.ask)?;
    let (mut shown, mut agreed, mut seen) = (Vec::new(), false, None::<String>);
    loop {
        let asking: Asking = context.client.get("/v1/ask", &[("seen", seen.as_deref())])?;
        if let Some(joined) = asking.joined {
            context.print(&joined, |joined| format!("{}\n", joined.id))?;
            if !context.json {
                talk(&format!("This node is in group `{}` as {}.", clean(&joined.name), joined.role));
            }
            return Ok(None);
        }
        for heard in &asking.heard {
            let line = (heard.id.clone(), heard.digits.clone(), heard.denied);
            if !shown.contains(&line) {
                tell(heard);
                shown.push(line);
            }
        }
        let open: Vec<_> = asking.heard.iter().filter(|heard| !heard.denied).collect();
        if !agreed && let Some(digits) = compared(seek.digits.as_deref(), &open)? {
            let _: Done = context.client.post("/v1/agree", &Agree { digits })?;
            agreed = true;
        }
        if begun.elapsed() >= seek.within {
            return Err(in_vain(&asking, seek.digits.as_deref(), agreed));
        }
        seen = Some(asking.mark);
    }
}

fn tell(heard: &crate::view::HeardBy) {
    let text = match heard.denied {
        true => format!("{} said no.", short(&heard.id)),
        false => format!(
            "{} heard this node. Digits: {}   There: larder pending, larder approve",
            short(&heard.id),
            heard.digits
        ),
    };
    talk(&text);
}

/// The digits of the other screen, once a member has heard: given with the command, or asked for on a terminal. What this
/// screen shows is never offered as the answer.
fn compared(given: Option<&str>, open: &[&crate::view::HeardBy]) -> Result<Option<String>, Failure> {
    if open.is_empty() {
        return Ok(None);
    }
    if let Some(given) = given {
        let plain: String = given.chars().filter(char::is_ascii_digit).collect();
        return Ok(open.iter().any(|heard| heard.digits == plain).then_some(plain));
    }
    if !std::io::stdin().is_terminal() {
        return Ok(None);
    }
    read_digits("Digits on the screen where this node is let in: ").map(Some)
}

/// Why nobody let it in within its time.
fn in_vain(asking: &Asking, given: Option<&str>, agreed: bool) -> Failure {
    let goes_on =
        "this node goes on asking for ten minutes; see `larder pending` on a member that is an admin";
    if asking.heard.is_empty() {
        return Failure::new(Exit::Partial, "waiting", "no admin was heard on this network").hint(goes_on);
    }
    if asking.heard.iter().all(|heard| heard.denied) {
        return Failure::new(Exit::Refused, "denied", "whoever heard this node said no");
    }
    match (given, agreed) {
        (Some(_), false) => {
            Failure::new(Exit::Refused, "digits", "no member shows the digits that were given")
                .hint("compare both screens again: if both were read right, somebody is in between")
        }
        _ => Failure::new(Exit::Partial, "waiting", "nobody let it in yet").hint(goes_on),
    }
}
