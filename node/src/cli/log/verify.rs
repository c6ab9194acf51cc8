//! `log --verify`: checks stored changes and records.

use std::fmt::Write as _;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::cli::context::{CommandContext, CommandResult, print_stderr};
use crate::cli::progress::ProgressLine;
use crate::dto::{HasSchema, TaskProgress, VerifyReport};
use crate::error::{CliError, ExitKind};
use crate::output::{Style, Styler, escape, pluralize};

/// The first field of every line of the answer.
#[derive(Deserialize)]
struct SchemaHeader {
    schema: String,
}

/// Lets the daemon check its store. The exit code is 1 if a signature or hash is wrong.
pub(super) fn verify(context: &CommandContext) -> CommandResult {
    let mut progress_line = ProgressLine::new(context);
    let mut report: Option<VerifyReport> = None;
    let mut on_line = |line: &[u8]| {
        let header: SchemaHeader = parse_line(line)?;
        match header.schema.as_str() {
            TaskProgress::SCHEMA => {
                let progress: TaskProgress = parse_line(line)?;
                progress_line.update(|| format!("verified {} of {} changes", progress.done, progress.total));
            }
            VerifyReport::SCHEMA => report = Some(parse_line(line)?),
            _ => return Err(parse_line::<CliError>(line)?),
        }
        Ok(report.is_none())
    };
    let follow_result =
        context.client.follow_lines(&context.group_path(&["verification"]), &[], &mut on_line);
    progress_line.clear();
    follow_result?;
    let report = report.ok_or_else(|| CliError::failed("the daemon ended before the check was complete"))?;
    context.print(&report, |report| render_verify(context.styler, report))?;
    let is_intact = report.failed.is_empty();
    if !is_intact && !context.json {
        print_stderr(
            "The store is damaged or was tampered with. Other members have intact copies. \
             See \"When the store is damaged\" in the operations manual.",
        );
    }
    Ok((!is_intact).then_some(ExitKind::Failed))
}

fn parse_line<T: DeserializeOwned>(line: &[u8]) -> Result<T, CliError> {
    serde_json::from_slice(line)
        .map_err(|error| CliError::failed(format!("the daemon sent an invalid answer: {error}")))
}

fn render_verify(styler: Styler, report: &VerifyReport) -> String {
    let mut out = String::new();
    for failed in &report.failed {
        let id = styler.paint(Style::Id, &escape(&failed.id));
        let _ = writeln!(out, "{id}\n    {}", styler.paint(Style::Bad, &escape(&failed.reason)));
    }
    if report.more > 0 {
        let _ = writeln!(out, "and {} more", report.more);
    }
    let count_of = |number: u64, thing: &str| pluralize(usize::try_from(number).unwrap_or(usize::MAX), thing);
    let totals = format!(
        "{} and {}",
        count_of(report.changes, "change"),
        count_of(report.records, "membership record")
    );
    let failed = report.more.saturating_add(report.failed.len() as u64);
    let _ = match failed {
        0 => writeln!(out, "{totals}: {}", styler.paint(Style::Good, "all signatures are valid")),
        failed => {
            let failed = styler.paint(Style::Bad, &count_of(failed, "failure"));
            writeln!(out, "{totals}: {failed}")
        }
    };
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dto::VerifyFailure;

    #[test]
    fn failures_are_listed_before_the_totals() {
        let styler = Styler::PLAIN;
        let mut report = VerifyReport { changes: 1, records: 2, ..VerifyReport::default() };
        let good = "1 change and 2 membership records: all signatures are valid\n";
        assert_eq!(render_verify(styler, &report), good);
        report.failed.push(VerifyFailure { id: "ab".into(), reason: "bad\u{7}".into() });
        report.more = 3;
        assert_eq!(
            render_verify(styler, &report),
            "ab\n    bad\\u{7}\nand 3 more\n1 change and 2 membership records: 4 failures\n"
        );
    }
}
