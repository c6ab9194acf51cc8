//! `get`: the fields of a resource.

use std::fmt::Write as _;

use clap::Args;
use larder_core::resource::literal::Literal;
use larder_core::value::Value;

use super::context::{CommandContext, CommandResult, print_raw, print_stderr};
use super::history_point::AtArgs;
use crate::dto::{JsonValue, ResourceValues};
use crate::output::{Style, escape, format_value, format_value_short};

/// Arguments of `get`.
#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// The resource, as KIND/NAME
    resource: String,
    /// A field, or the beginning of the path of several fields, such as keys
    field: Option<String>,
    #[command(flatten)]
    at_args: AtArgs,
}

pub(super) fn get(context: &CommandContext, args: &GetArgs) -> CommandResult {
    let query = [args.at_args.query_param(), ("field", args.field.as_deref())];
    let resource: ResourceValues =
        context.client.get(&context.resource_path(&args.resource, &[])?, &query)?;
    args.at_args.report(context, resource.at.as_deref());
    // Scripts get the bare value of a single field.
    if let (false, Some(_), 1, Some((path, single))) =
        (context.json, &args.field, resource.fields.len(), resource.fields.iter().next())
        && args.field.as_ref().is_some_and(|field| field == path || !path.starts_with(&format!("{field}.")))
    {
        if resource.conflicted.contains(path) {
            print_stderr(&format!(
                "warning: `{path}` is in conflict; this is the winning value (see `larder conflicts`)"
            ));
        }
        return print_raw_value(single);
    }
    context.print(&resource, |resource| render_resource(context, resource))?;
    Ok(None)
}

fn print_raw_value(value: &JsonValue) -> CommandResult {
    match &value.0 {
        Literal::Scalar(Value::Str(text)) => {
            let newline = if text.ends_with('\n') { "" } else { "\n" };
            // A value must not control the terminal. Files and pipes get it as it is.
            if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
                return print_raw(&text.lines().map(|line| escape(line) + "\n").collect::<String>());
            }
            print_raw(&format!("{text}{newline}"))
        }
        _ => print_raw(&format!("{}\n", format_value(Some(value)))),
    }
}

fn render_resource(context: &CommandContext, resource: &ResourceValues) -> String {
    let mut out = String::new();
    let width = resource.fields.keys().map(|path| path.chars().count()).max().unwrap_or(0);
    for (path, plain) in &resource.fields {
        let conflict_mark = if resource.conflicted.contains(path) {
            context.styler.paint(Style::Warning, "  (in conflict)")
        } else {
            String::new()
        };
        let _ = writeln!(out, "{:width$} = {}{conflict_mark}", escape(path), format_value_short(Some(plain)));
    }
    for path in resource.conflicted.iter().filter(|path| !resource.fields.contains_key(*path)) {
        let conflict_mark = context.styler.paint(Style::Warning, "  (in conflict)");
        let _ = writeln!(out, "{:width$} = (unset){conflict_mark}", escape(path));
    }
    out
}
