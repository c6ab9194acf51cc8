//! `resolve`: by one of the sides, by another value, or in the operator's editor.

use std::path::Path;

use clap::Args;
use larder_core::resource::FieldPath;
use larder_core::resource::literal::{self, Literal};
use larder_core::value::Value;

use super::edit::show_nothing;
use super::editor::{Sheet, agrees, is_attended};
use super::write::{Why, send, show_written};
use super::{Context, Outcome, fields, sides};
use crate::api::writes::{Say, Write};
use crate::failure::{Exit, Failure};
use crate::view::{self, Conflict, Plain, Written};

/// Flags of `resolve`.
#[derive(Debug, Args)]
pub(super) struct Resolve {
    /// KIND/NAME
    resource: String,
    /// The field in conflict
    field: String,
    /// The side whose value it gets, as `conflicts` names it [default, on a terminal: an editor shows all sides]
    #[arg(long, value_name = "TAG", conflicts_with = "value")]
    take: Option<String>,
    /// Another value; @FILE is read from that file
    #[arg(long, value_name = "VALUE")]
    value: Option<String>,
    /// Refuse if the conflict is not this one any more
    #[arg(long, value_name = "CONFLICT")]
    id: Option<String>,
    #[command(flatten)]
    why: Why,
}

pub(super) fn resolve(context: &Context, args: Resolve) -> Outcome {
    let how = match (&args.take, &args.value) {
        (None, None) => return in_editor(context, args),
        (Some(tag), _) => format!("--take {tag}"),
        (None, _) => "--value ...".to_owned(),
    };
    let command = format!("resolve {} {} {how}", args.resource, args.field);
    let value = args.value.as_deref().map(fields::read).transpose()?;
    let value = value.map(|value| Plain(Literal::Scalar(value)));
    let edit =
        Say::Resolve { resource: args.resource, field: args.field, take: args.take, value, id: args.id };
    send(context, vec![edit], args.why, command)
}

/// What was made of the conflict.
enum Ended {
    Written(Written),
    Nothing(String),
}

fn in_editor(context: &Context, args: Resolve) -> Outcome {
    context.only_now("resolve")?;
    if !is_attended() {
        return Err(Failure::usage("how to settle it is not said, and there is no terminal to ask on")
            .hint("give --take TAG or --value VALUE; `larder conflicts` shows the sides"));
    }
    let conflict = find(context, &args)?;
    let name = format!("{} {}", conflict.resource, conflict.field);
    let page = sides::Page::of(&conflict);
    let text = page.text();
    let sheet = Sheet::new(&name, if page.is_typed() { ".toml" } else { ".txt" }, text.clone())?;
    let file = sheet.path().to_owned();
    let ended = sheet.edit_until(|saved| {
        let same = saved == text;
        if same && !(page.is_merged() && agrees("Take the merged text as it is?", false)) {
            let hint = format!("`larder resolve {name} --take TAG` takes a side as it is.");
            return Ok(Ended::Nothing(format!("Nothing was changed, and nothing was settled. {hint}")));
        }
        match read(&page, saved, &file)? {
            None => Ok(Ended::Nothing("The value is empty; nothing was settled.".to_owned())),
            Some(value) => write(context, &args, &conflict, value).map(Ended::Written),
        }
    })?;
    match ended {
        Ended::Written(written) => show_written(context, &written),
        Ended::Nothing(why) => show_nothing(context, &why),
    }
}

/// The conflict that is meant.
fn find(context: &Context, args: &Resolve) -> Result<Conflict, Failure> {
    let found: view::Conflicts = context.client.get("/v1/conflicts", &[context.group()])?;
    let field = args.field.parse::<FieldPath>().map(|path| path.to_string());
    let field =
        field.map_err(|error| Failure::not_found(error.to_string()).hint("see `larder conflicts`"))?;
    let mut all = found.conflicts.into_iter();
    let conflict = all.find(|one| one.resource == args.resource && one.field == field);
    let conflict = conflict.ok_or_else(|| {
        Failure::not_found(format!("no conflict in `{field}` of {}", args.resource))
            .hint("see `larder conflicts`")
    })?;
    match &args.id {
        Some(id) if !conflict.id.starts_with(&id.to_ascii_lowercase()) => Err(Failure::new(
            Exit::Refused,
            "conflict-moved",
            format!("the conflict in `{field}` of {} is not {id} any more", args.resource),
        )
        .hint("see `larder conflicts`")),
        _ => Ok(conflict),
    }
}

/// The value that was saved; nothing, where that is empty.
fn read(page: &sides::Page, saved: &str, file: &Path) -> Result<Option<Plain>, Failure> {
    let mistake = |line: usize, what: &str| {
        Failure::new(Exit::Usage, "value", format!("{}:{line}:1: {what}", file.display()))
    };
    let (text, first) = page.value_in(saved).ok_or_else(|| {
        mistake(1, "the line with >8 is gone: without it nobody can tell the remarks from the value")
    })?;
    if let Some(at) = page.marker_in(text) {
        return Err(mistake(first + at, "a mark of the merge is left here"));
    }
    if text.trim().is_empty() {
        return Ok(None);
    }
    if page.is_typed() {
        let value = literal::parse(text).map_err(|error| mistake(first, &error.to_string()))?;
        return Ok(Some(Plain(value)));
    }
    Ok(Some(Plain(Literal::Scalar(Value::from(text)))))
}

/// Settles exactly the conflict that was shown.
fn write(context: &Context, args: &Resolve, conflict: &Conflict, value: Plain) -> Result<Written, Failure> {
    let (resource, field) = (conflict.resource.clone(), conflict.field.clone());
    let command = format!("resolve {resource} {field} --value ...");
    let edit =
        Say::Resolve { resource, field, take: None, value: Some(value), id: Some(conflict.id.clone()) };
    let message = args.why.message.clone();
    let write =
        Write { group: context.group.clone(), edits: vec![edit], message, command, ..Write::default() };
    context.client.post("/v1/write", &write)
}
