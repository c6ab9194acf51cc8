//! `edit`: a resource in the operator's editor; what differs afterwards is one change.

use std::path::Path;

use clap::Args;
use larder_core::resource::manifest::{self, Entry};
use larder_core::resource::{FieldPath, ResourceName, literal::Literal};

use super::editor::Sheet;
use super::write::{Why, show_written};
use super::{Context, Outcome, talk};
use crate::api::writes::{Field, FieldChange, Say, Write};
use crate::failure::{Exit, Failure};
use crate::limits;
use crate::view::{Editable, Plain, Written};

/// Flags of `edit`.
#[derive(Debug, Args)]
pub(super) struct Edit {
    /// KIND/NAME; one that is not there is made
    resource: String,
    /// Take fields that this version does not know
    #[arg(long)]
    allow_unknown: bool,
    #[command(flatten)]
    why: Why,
}

/// What stands above the manifest of a resource that is there,
const ABOVE: &str = "\
# Saving writes what you changed, as one change; a field that you take out is unset.
# Leave it as it is to write nothing.

";
/// and above a template.
const ABOVE_NEW: &str = "\
# This is not there yet. Take the # off the fields that it is to have; saving makes it, as one change.
# Leave it as it is to write nothing.

";

pub(super) fn edit(context: &Context, args: Edit) -> Outcome {
    context.only_now("edit")?;
    let read: Editable = read(context, &args.resource)?;
    let before = manifest::parse(&read.manifest, true)
        .map_err(|error| Failure::failed(format!("the daemon's manifest cannot be read: {error}")))?;
    // What a newer node wrote is there already, and may stay.
    let lenient = args.allow_unknown || manifest::parse(&read.manifest, false).is_err();
    let resource: ResourceName =
        read.resource.parse().map_err(|error| Failure::failed(format!("the daemon's answer: {error}")))?;
    let text = format!("{}{}", if read.exists { ABOVE } else { ABOVE_NEW }, read.manifest);
    let sheet = Sheet::new(&read.resource, ".toml", text.clone())?;
    let file = sheet.path().to_owned();
    let before = before.into_iter().next().map(|entry| entry.fields).unwrap_or_default();
    let ended = sheet.edit_until(|saved| {
        if saved == text {
            return Ok(Ended::Nothing("Nothing was changed, and nothing was written.".to_owned()));
        }
        let after = understand(saved, &resource, lenient, &file)?;
        if after.is_empty() {
            let remove =
                if read.exists { format!(" `larder rm {resource}` removes it.") } else { String::new() };
            return Ok(Ended::Nothing(format!("No field is left; nothing was written.{remove}")));
        }
        match differences(&before, after) {
            fields if fields.is_empty() => {
                Ok(Ended::Nothing("Nothing differs; nothing was written.".to_owned()))
            }
            fields => write(context, &args, &read, fields).map(Ended::Written),
        }
    })?;
    match ended {
        Ended::Written(written) => show_written(context, &written),
        Ended::Nothing(why) => show_nothing(context, &why),
    }
}

/// What came of it.
enum Ended {
    Written(Written),
    Nothing(String),
}

/// Ends with an answer that says that nothing was written.
pub(super) fn show_nothing(context: &Context, why: &str) -> Outcome {
    if !context.json {
        talk(why);
        return Ok(None);
    }
    show_written(context, &Written { change: None })
}

fn read(context: &Context, resource: &str) -> Result<Editable, Failure> {
    context.client.get("/v1/edit", &[context.group(), ("resource", Some(resource))])
}

/// The fields that the edited manifest gives the resource.
fn understand(
    text: &str,
    resource: &ResourceName,
    lenient: bool,
    file: &Path,
) -> Result<Vec<(FieldPath, Literal)>, Failure> {
    let mistake = |text: String| Failure::new(Exit::Usage, "manifest", text);
    let file = file.display();
    let entries = manifest::parse(text, lenient).map_err(|error| mistake(format!("{file}:{error}")))?;
    let (own, others): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().partition(|entry| entry.resource == *resource);
    match others.first() {
        Some(other) => {
            Err(mistake(format!("{file}: {} is another resource than {resource}", other.resource)))
        }
        None => Ok(own.into_iter().next().map(|entry| entry.fields).unwrap_or_default()),
    }
}

/// What has to be done to the fields as they were.
fn differences(before: &[(FieldPath, Literal)], after: Vec<(FieldPath, Literal)>) -> Vec<Field> {
    let gone = before.iter().filter(|(path, _)| !after.iter().any(|(kept, _)| kept == path));
    let mut fields: Vec<Field> =
        gone.map(|(path, _)| Field { field: path.to_string(), change: FieldChange::Unset(()) }).collect();
    let new = after.into_iter().filter(|field| !before.contains(field));
    fields.extend(
        new.map(|(path, value)| Field { field: path.to_string(), change: FieldChange::Assign(Plain(value)) }),
    );
    fields
}

/// Writes the difference, if the resource is as it was read. That the group wrote to another one meanwhile is no
/// reason to refuse: then it is tried at the new heads.
fn write(context: &Context, args: &Edit, read_: &Editable, fields: Vec<Field>) -> Result<Written, Failure> {
    let edit =
        Say::Set { resource: read_.resource.clone(), fields, replace: false, node: None, existing: false };
    let mut write = Write {
        group: context.group.clone(),
        edits: vec![edit],
        base: Some(read_.heads.clone()),
        message: args.why.message.clone(),
        command: format!("edit {}", read_.resource),
        lenient: true,
    };
    let moved = || {
        Failure::new(
            Exit::Refused,
            "base-moved",
            format!("{} was changed by others while you edited it; nothing was written", read_.resource),
        )
        .hint(format!("see `larder show {0}`, then edit it again, or apply your file", read_.resource))
    };
    for _ in 0..limits::EDIT_TRIES {
        match context.client.post("/v1/write", &write) {
            Err(failure) if failure.code == "base-moved" => {}
            answered => return answered,
        }
        match read(context, &read_.resource) {
            Ok(now) if now.revision == read_.revision => write.base = Some(now.heads),
            Ok(_) => return Err(moved()),
            Err(failure) if failure.code == "conflict" => return Err(moved()),
            Err(failure) => return Err(failure),
        }
    }
    Err(moved())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<(FieldPath, Literal)> {
        manifest::parse(text, false).unwrap().remove(0).fields
    }

    #[test]
    fn only_what_differs_is_written() {
        let before = fields("[config.a]\npath = \"a\"\nkeys.x = 1\nkeys.y = 2\nkeys.l = [1, 2]\n");
        let after = fields("[config.a]\nkeys.y = \"2\"\npath = \"a\"\nkeys.z = true\nkeys.l = [1, 2]\n");
        let done: Vec<String> = differences(&before, after)
            .into_iter()
            .map(|field| format!("{} {:?}", field.field, field.change))
            .collect();
        assert_eq!(
            done,
            [
                "keys.x Unset(())",
                "keys.y Assign(Plain(Scalar(Str(\"2\"))))",
                "keys.z Assign(Plain(Scalar(Bool(true))))",
            ]
        );
        assert!(differences(&before, before.clone()).is_empty());
    }
}
