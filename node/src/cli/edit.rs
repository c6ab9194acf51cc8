//! `edit`: a resource in the operator's editor. The saved differences are one change.

use std::path::Path;

use clap::Args;
use larder_core::resource::edit::{Edit, FieldEdit};
use larder_core::resource::manifest::{self, ManifestEntry};
use larder_core::resource::{FieldPath, ResourceName, literal::Literal};

use super::context::{CommandContext, CommandResult};
use super::editor::EditFile;
use super::write_request::{EditorOutcome, MessageArgs, post_change, print_edited};
use crate::api::writes::WriteBody;
use crate::dto::{EditBuffer, WriteResult};
use crate::error::{CliError, ExitKind};
use crate::limits;

/// Arguments of `edit`.
#[derive(Debug, Args)]
pub(super) struct EditArgs {
    /// The resource, as KIND/NAME; a new one is created
    resource: String,
    /// Accept fields that this version does not know
    #[arg(long)]
    allow_unknown: bool,
    #[command(flatten)]
    message_args: MessageArgs,
}

/// The comment above the manifest of an existing resource.
const EXISTING_HEADER: &str = "\
# Save the file to write your edits as one change. A field that you delete is removed.
# An unchanged file writes nothing.

";
/// The comment above the template of a new resource.
const TEMPLATE_HEADER: &str = "\
# This resource is new. Uncomment the fields that it should have, then save the file to create it.
# An unchanged file writes nothing.

";

pub(super) fn edit(context: &CommandContext, args: EditArgs) -> CommandResult {
    let original: EditBuffer = fetch_editable(context, &args.resource)?;
    let old_entries = manifest::parse(&original.manifest, true)
        .map_err(|error| CliError::failed(format!("the daemon sent an invalid manifest: {error}")))?;
    // Fields that a newer node wrote may stay.
    let allows_unknown = args.allow_unknown || manifest::parse(&original.manifest, false).is_err();
    let resource: ResourceName = original
        .resource
        .parse()
        .map_err(|error| CliError::failed(format!("the daemon sent an invalid resource name: {error}")))?;
    let text =
        format!("{}{}", if original.exists { EXISTING_HEADER } else { TEMPLATE_HEADER }, original.manifest);
    let edit_file = EditFile::new(&original.resource, ".toml", text.clone())?;
    let path = edit_file.path().to_owned();
    let old_fields = old_entries.into_iter().next().map(|entry| entry.fields).unwrap_or_default();
    let outcome = edit_file.edit_until_accepted(|saved| {
        if saved == text {
            return Ok(EditorOutcome::NotWritten("Nothing was changed; nothing was written.".to_owned()));
        }
        let new_fields = parse_edited_fields(saved, &resource, allows_unknown, &path)?;
        if new_fields.is_empty() {
            let remove_advice =
                if original.exists { format!(" `larder rm {resource}` removes it.") } else { String::new() };
            return Ok(EditorOutcome::NotWritten(format!(
                "No field is left; nothing was written.{remove_advice}"
            )));
        }
        match diff_fields(&old_fields, new_fields) {
            fields if fields.is_empty() => {
                Ok(EditorOutcome::NotWritten("Nothing differs; nothing was written.".to_owned()))
            }
            fields => {
                write_edit(context, &args, &original, (resource.clone(), fields)).map(EditorOutcome::Written)
            }
        }
    })?;
    print_edited(context, outcome)
}

fn fetch_editable(context: &CommandContext, resource: &str) -> Result<EditBuffer, CliError> {
    context.client.get(&context.resource_path(resource, &["editable"])?, &[])
}

/// The fields of the resource in the edited manifest.
fn parse_edited_fields(
    text: &str,
    resource: &ResourceName,
    allows_unknown: bool,
    path: &Path,
) -> Result<Vec<(FieldPath, Literal)>, CliError> {
    let manifest_error = |text: String| CliError::new(ExitKind::Usage, "manifest", text);
    let shown_path = path.display();
    let entries = manifest::parse(text, allows_unknown)
        .map_err(|error| manifest_error(format!("{shown_path}:{error}")))?;
    let (own_entries, other_entries): (Vec<ManifestEntry>, Vec<ManifestEntry>) =
        entries.into_iter().partition(|entry| entry.resource == *resource);
    match other_entries.first() {
        Some(other) => Err(manifest_error(format!(
            "{shown_path}: this file is about {resource}, not {}",
            other.resource
        ))),
        None => Ok(own_entries.into_iter().next().map(|entry| entry.fields).unwrap_or_default()),
    }
}

/// The edits that turn the old fields into the new ones.
fn diff_fields(
    old_fields: &[(FieldPath, Literal)],
    new_fields: Vec<(FieldPath, Literal)>,
) -> Vec<(FieldPath, FieldEdit)> {
    let removed = old_fields.iter().filter(|(path, _)| !new_fields.iter().any(|(kept, _)| kept == path));
    let mut fields: Vec<(FieldPath, FieldEdit)> =
        removed.map(|(path, _)| (path.clone(), FieldEdit::Unset)).collect();
    let changed = new_fields.into_iter().filter(|field| !old_fields.contains(field));
    fields.extend(changed.map(|(path, value)| (path, FieldEdit::Assign(value))));
    fields
}

/// Writes the edits unless the resource has changed since it was read. If only other resources have
/// changed, it tries again at the new heads.
fn write_edit(
    context: &CommandContext,
    args: &EditArgs,
    original: &EditBuffer,
    (resource, fields): (ResourceName, Vec<(FieldPath, FieldEdit)>),
) -> Result<WriteResult, CliError> {
    let heads = |buffer: &EditBuffer| Some(buffer.heads.iter().map(|id| id.as_str().into()).collect());
    let mut write = WriteBody {
        edits: vec![Edit::Set { resource, fields, replace: false }],
        expected_heads: heads(original),
        message: args.message_args.text(),
        command: format!("edit {}", original.resource),
        allow_unknown: true,
    };
    let base_moved = || {
        CliError::new(
            ExitKind::Refused,
            "base-moved",
            format!("{} was changed by others while you edited it; nothing was written", original.resource),
        )
        .with_hint(format!("see `larder show {0}`, then edit it again or apply your file", original.resource))
    };
    for _ in 0..limits::MAX_EDIT_TRIES {
        match post_change(context, &write) {
            Err(failure) if failure.code == "base-moved" => {}
            result => return result,
        }
        match fetch_editable(context, &original.resource) {
            Ok(current) if current.revision == original.revision => write.expected_heads = heads(&current),
            Ok(_) => return Err(base_moved()),
            Err(failure) if failure.code == "conflict" => return Err(base_moved()),
            Err(failure) => return Err(failure),
        }
    }
    Err(base_moved())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<(FieldPath, Literal)> {
        manifest::parse(text, false).unwrap().remove(0).fields
    }

    #[test]
    fn only_changed_fields_are_written() {
        let old_fields = fields("[config.a]\npath = \"a\"\nkeys.x = 1\nkeys.y = 2\nkeys.l = [1, 2]\n");
        let new_fields = fields("[config.a]\nkeys.y = \"2\"\npath = \"a\"\nkeys.z = true\nkeys.l = [1, 2]\n");
        let changes: Vec<String> = diff_fields(&old_fields, new_fields)
            .into_iter()
            .map(|(path, edit)| format!("{path} {edit:?}"))
            .collect();
        assert_eq!(
            changes,
            ["keys.x Unset", "keys.y Assign(Scalar(Str(\"2\")))", "keys.z Assign(Scalar(Bool(true)))",]
        );
        assert!(diff_fields(&old_fields, old_fields.clone()).is_empty());
    }
}
