//! `doctor`: checks this node.

use super::context::{CommandContext, CommandResult};
use crate::dto::{CheckState, DoctorReport};
use crate::error::ExitKind;
use crate::output::{Style, Table, plain_cell, styled_cell};

/// Prints the checks. The exit code is 1 if one of them failed.
pub(super) fn doctor(context: &CommandContext) -> CommandResult {
    let report: DoctorReport = context.client.get("/v1/doctor", &[])?;
    context.print(&report, |report| render_doctor(context, report))?;
    Ok(report.checks.iter().any(|check| check.state == CheckState::Bad).then_some(ExitKind::Failed))
}

fn render_doctor(context: &CommandContext, report: &DoctorReport) -> String {
    let mut table = Table::new(&["GROUP", "ABOUT", "STATE", "FOUND", "WHAT TO DO"]);
    for check in &report.checks {
        let style = match check.state {
            CheckState::Good => Style::Good,
            CheckState::Bad => Style::Bad,
            CheckState::Care | CheckState::Unknown(_) => Style::Warning,
        };
        table.push_row(vec![
            plain_cell(check.group.as_deref().unwrap_or_default()),
            plain_cell(&check.topic),
            styled_cell(check.state.as_str(), style),
            plain_cell(&check.text),
            plain_cell(check.hint.as_deref().unwrap_or_default()),
        ]);
    }
    table.render(context.styler)
}
