//! `log --verify`.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _, stderr};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Context, Outcome, talk};
use crate::failure::{Exit, Failure};
use crate::render::{Pen, Style, clean, count};
use crate::view::{Progress, Verify, View};

/// What a line of the answer is.
#[derive(Deserialize)]
struct Head {
    schema: String,
}

/// Has all that is stored looked at; exits with 1 if anything is not as it was signed.
pub(super) fn verify(context: &Context) -> Outcome {
    context.only_now("log --verify")?;
    let shows = !context.json && stderr().is_terminal();
    let mut found: Option<Verify> = None;
    let mut take = |line: &[u8]| {
        let head: Head = read(line)?;
        match head.schema.as_str() {
            Progress::SCHEMA => show(shows, &read(line)?),
            Verify::SCHEMA => found = Some(read(line)?),
            _ => return Err(read::<Failure>(line)?),
        }
        Ok(found.is_none())
    };
    let followed = context.client.follow("/v1/verify", &[context.group()], &mut take);
    if shows {
        wipe();
    }
    followed?;
    let found = found.ok_or_else(|| Failure::failed("the daemon went away before it was done"))?;
    context.print(&found, |found| draw(context.pen, found))?;
    let good = found.failed.is_empty();
    if !good && !context.json {
        talk(
            "This store is damaged, or somebody wrote into it. Other members have what their authors signed: see \
             \"When the store is damaged\" in the operations manual.",
        );
    }
    Ok((!good).then_some(Exit::Failed))
}

fn read<T: DeserializeOwned>(line: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(line)
        .map_err(|error| Failure::failed(format!("the daemon's answer cannot be read: {error}")))
}

fn show(shows: bool, progress: &Progress) {
    if shows {
        let mut err = stderr().lock();
        // There is nobody else to tell.
        drop(write!(err, "\r\u{1b}[Kverified {} of {} changes", progress.done, progress.of));
        drop(err.flush());
    }
}

fn wipe() {
    let mut err = stderr().lock();
    drop(write!(err, "\r\u{1b}[K"));
    drop(err.flush());
}

fn draw(pen: Pen, found: &Verify) -> String {
    let mut out = String::new();
    for failed in &found.failed {
        let id = pen.paint(Style::Id, &clean(&failed.id));
        let _ = writeln!(out, "{id}\n    {}", pen.paint(Style::Bad, &clean(&failed.why)));
    }
    if found.more > 0 {
        let _ = writeln!(out, "and {} more", found.more);
    }
    let number = |number: u64, thing: &str| count(usize::try_from(number).unwrap_or(usize::MAX), thing);
    let all =
        format!("{} and {}", number(found.changes, "change"), number(found.records, "membership record"));
    let failed = found.more.saturating_add(found.failed.len() as u64);
    let _ = match failed {
        0 => writeln!(out, "{all}: {}", pen.paint(Style::Good, "every one as its author signed it")),
        failed => {
            let failed = pen.paint(Style::Bad, &number(failed, "failure"));
            writeln!(out, "{all}: {failed}")
        }
    };
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::VerifyFailed;

    #[test]
    fn what_fails_is_named_before_it_is_counted() {
        let pen = Pen { colors: false };
        let mut found = Verify { changes: 1, records: 2, ..Verify::default() };
        let good = "1 change and 2 membership records: every one as its author signed it\n";
        assert_eq!(draw(pen, &found), good);
        found.failed.push(VerifyFailed { id: "ab".into(), why: "bad\u{7}".into() });
        found.more = 3;
        assert_eq!(
            draw(pen, &found),
            "ab\n    bad\\u{7}\nand 3 more\n1 change and 2 membership records: 4 failures\n"
        );
    }
}
