//! `resolve`: by a side, by another value, or in the operator's editor.

use std::path::Path;

use clap::Args;
use larder_core::resource::edit::{Edit, Resolution};
use larder_core::resource::literal::{self, Literal};
use larder_core::resource::spelling;
use larder_core::value::Value;

use super::context::{CommandContext, CommandResult};
use super::editor::EditFile;
use super::prompt::{confirm, is_interactive};
use super::write_request::{EditorOutcome, MessageArgs, post_change, print_edited, send_edits};
use super::{assignment, conflict_file};
use crate::api::params::parse_resource;
use crate::api::writes::WriteBody;
use crate::dto::{self, ConflictEntry, WriteResult};
use crate::error::{CliError, ExitKind};

/// Arguments of `resolve`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  larder resolve config/ntp keys.server --take A
  larder resolve config/ntp keys.server --value ntp4.example.net
  larder resolve file/motd content --value @motd.txt")]
pub(super) struct ResolveArgs {
    /// The resource, as KIND/NAME
    resource: String,
    /// The field in conflict
    field: String,
    /// Take the value with this tag (see `larder conflicts`) [default: edit all sides]
    #[arg(long, value_name = "TAG", conflicts_with = "value")]
    take: Option<String>,
    /// Set this value; @FILE reads it from a file
    #[arg(long, value_name = "VALUE")]
    value: Option<String>,
    /// Refuse if the conflict no longer has this id
    #[arg(long, value_name = "CONFLICT")]
    id: Option<String>,
    #[command(flatten)]
    message_args: MessageArgs,
}

pub(super) fn resolve(context: &CommandContext, args: ResolveArgs) -> CommandResult {
    let flags = match (&args.take, &args.value) {
        (None, None) => return resolve_in_editor(context, args),
        (Some(tag), _) => format!("--take {tag}"),
        (None, _) => "--value ...".to_owned(),
    };
    let command = format!("resolve {} {} {flags}", args.resource, args.field);
    let resolution = match (args.take, &args.value) {
        (_, Some(value)) => Resolution::UseValue(Literal::Scalar(assignment::read_value(value)?)),
        (tag, None) => Resolution::UseSide(tag.unwrap_or_default()),
    };
    let resource = parse_resource(&args.resource)?;
    let edit = Edit::Resolve { resource, field: args.field, resolution, id: args.id };
    send_edits(context, vec![edit], args.message_args, command)
}

fn resolve_in_editor(context: &CommandContext, args: ResolveArgs) -> CommandResult {
    if !is_interactive() {
        return Err(CliError::usage("there is no terminal for an editor")
            .with_hint("use --take TAG or --value VALUE; `larder conflicts` shows the values"));
    }
    let conflict = find_conflict(context, &args)?;
    let name = format!("{} {}", conflict.resource, conflict.field);
    let conflict_file = conflict_file::ConflictFile::new(&conflict);
    let text = conflict_file.text();
    let edit_file =
        EditFile::new(&name, if conflict_file.is_toml() { ".toml" } else { ".txt" }, text.clone())?;
    let path = edit_file.path().to_owned();
    let outcome = edit_file.edit_until_accepted(|saved| {
        let is_unchanged = saved == text;
        if is_unchanged
            && !(conflict_file.is_clean_merge() && confirm("Use the merged text as it is?", false))
        {
            let hint = format!("`larder resolve {name} --take TAG` takes one side.");
            return Ok(EditorOutcome::NotWritten(format!(
                "Nothing was changed; nothing was resolved. {hint}"
            )));
        }
        match parse_saved(&conflict_file, saved, &path)? {
            None => Ok(EditorOutcome::NotWritten("The value is empty; nothing was resolved.".to_owned())),
            Some(value) => write_resolution(context, &args, &conflict, value).map(EditorOutcome::Written),
        }
    })?;
    print_edited(context, outcome)
}

/// The conflict that the arguments name.
fn find_conflict(context: &CommandContext, args: &ResolveArgs) -> Result<ConflictEntry, CliError> {
    let found: dto::ConflictList = context.client.get(&context.group_path(&["conflicts"]), &[])?;
    let field =
        spelling::parse_path(&parse_resource(&args.resource)?, &args.field).map(|path| path.to_string());
    let field =
        field.map_err(|error| CliError::not_found(error.to_string()).with_hint("see `larder conflicts`"))?;
    let mut conflicts = found.conflicts.into_iter();
    let conflict =
        conflicts.find(|candidate| candidate.resource == args.resource && candidate.field == field);
    let conflict = conflict.ok_or_else(|| {
        CliError::not_found(format!("no conflict in `{field}` of {}", args.resource))
            .with_hint("see `larder conflicts`")
    })?;
    match &args.id {
        Some(id) if !conflict.id.starts_with(&id.to_ascii_lowercase()) => Err(CliError::new(
            ExitKind::Refused,
            "conflict-moved",
            format!("the conflict in `{field}` of {} no longer has the id {id}", args.resource),
        )
        .with_hint("see `larder conflicts`")),
        _ => Ok(conflict),
    }
}

/// The saved value. `None` if it is empty.
fn parse_saved(
    conflict_file: &conflict_file::ConflictFile,
    saved: &str,
    path: &Path,
) -> Result<Option<Literal>, CliError> {
    let value_error = |line: usize, message: &str| {
        CliError::new(ExitKind::Usage, "value", format!("{}:{line}:1: {message}", path.display()))
    };
    let (text, first_line) = conflict_file.extract_value(saved).ok_or_else(|| {
        value_error(1, "the line with >8 is missing, which separates the remarks from the value")
    })?;
    if let Some(marker_line) = conflict_file.find_marker(text) {
        return Err(value_error(first_line + marker_line, "a conflict marker is left here"));
    }
    if text.trim().is_empty() {
        return Ok(None);
    }
    if conflict_file.is_toml() {
        let value = literal::parse(text).map_err(|error| value_error(first_line, &error.to_string()))?;
        return Ok(Some(value));
    }
    Ok(Some(Literal::Scalar(Value::from(text))))
}

/// Resolves the conflict that was shown, and no other.
fn write_resolution(
    context: &CommandContext,
    args: &ResolveArgs,
    conflict: &ConflictEntry,
    value: Literal,
) -> Result<WriteResult, CliError> {
    let (resource, field) = (conflict.resource.clone(), conflict.field.clone());
    let command = format!("resolve {resource} {field} --value ...");
    let (resource, resolution) = (parse_resource(&resource)?, Resolution::UseValue(value));
    let edit = Edit::Resolve { resource, field, resolution, id: Some(conflict.id.clone()) };
    let message = args.message_args.text();
    post_change(context, &WriteBody { edits: vec![edit], message, command, ..WriteBody::default() })
}
