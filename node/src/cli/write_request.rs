//! Writing commands: each is one atomic change.

use std::path::Path;

use clap::Args;
use larder_core::resource::literal::Literal;
use larder_core::resource::manifest::{self, ManifestEntry};

use super::diff_text::render_edits;
use super::{CommandContext, CommandResult, assignment, print_stderr, print_stdout};
use crate::api::writes::{EditSpec, FieldEditSpec, FieldSpec, WriteBody};
use crate::data_dir::{read_text, read_text_file};
use crate::dto::{self, JsonValue, WriteResult};
use crate::error::{CliError, ExitKind};
use crate::output::{Style, pluralize, short_id};

/// Flags of every writing command.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct MessageArgs {
    /// Why, for the history
    #[arg(short, long, value_name = "WORDS", default_value = "")]
    pub(super) message: String,
}

/// Flags of `validate`.
#[derive(Debug, Args)]
pub(super) struct ValidateArgs {
    /// Manifests; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Take kinds and fields that this version does not know
    #[arg(long)]
    allow_unknown: bool,
}

/// Flags of `plan`.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    manifests: ValidateArgs,
    /// Fields that are not named are unset
    #[arg(long)]
    replace: bool,
    /// Exit with 10 if anything would change
    #[arg(long)]
    exit_code: bool,
}

/// Flags of `apply`.
#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    #[command(flatten)]
    manifests: ValidateArgs,
    /// Fields that are not named are unset
    #[arg(long)]
    replace: bool,
    /// Refuse if the desired state is not at these heads any more (see `plan`, `heads`)
    #[arg(long, value_name = "CHANGE", value_delimiter = ',')]
    base: Vec<String>,
    #[command(flatten)]
    message_args: MessageArgs,
}

/// Flags of `set`.
#[derive(Debug, Args)]
pub(super) struct SetArgs {
    /// KIND/NAME
    resource: String,
    /// F=TEXT, F:=LITERAL, F+=ITEM, F-=ITEM; a value @FILE is read from that file
    #[arg(required_unless_present = "select", value_name = "FIELD=VALUE")]
    fields: Vec<String>,
    /// The nodes it is meant for, as role=plc
    #[arg(long, value_name = "EXPR")]
    select: Option<String>,
    /// For this node only
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Take kinds and fields that this version does not know
    #[arg(long)]
    allow_unknown: bool,
    #[command(flatten)]
    message_args: MessageArgs,
}

/// Flags of `unset`.
#[derive(Debug, Args)]
pub(super) struct UnsetArgs {
    /// KIND/NAME
    resource: String,
    /// The fields
    #[arg(required = true, value_name = "FIELD")]
    fields: Vec<String>,
    /// For this node only
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    #[command(flatten)]
    message_args: MessageArgs,
}

/// Flags of `rm`.
#[derive(Debug, Args)]
pub(super) struct RmArgs {
    /// KIND/NAME
    #[arg(required = true, value_name = "RESOURCE")]
    resources: Vec<String>,
    #[command(flatten)]
    message_args: MessageArgs,
}

/// Sends one change, and prints what came of it.
pub(super) fn send_edits(
    context: &CommandContext,
    edits: Vec<EditSpec>,
    message_args: MessageArgs,
    command: String,
) -> CommandResult {
    let write = WriteBody { specs: edits, message: message_args.message, command, ..WriteBody::default() };
    send_write(context, write)
}

fn send_write(context: &CommandContext, mut write: WriteBody) -> CommandResult {
    context.require_present("a writing command")?;
    write.group = context.group.clone();
    let written: WriteResult = context.client.post("/v1/write", &write)?;
    print_written(context, &written)
}

/// Prints what came of a write.
pub(super) fn print_written(context: &CommandContext, written: &WriteResult) -> CommandResult {
    let styler = context.styler;
    context.print(written, |written| match &written.change {
        Some(change) => format!("{}\n", styler.paint(Style::Id, &short_id(change))),
        None => String::new(),
    })?;
    if !context.json && written.change.is_none() {
        print_stderr("Nothing differs; nothing was written.");
    }
    Ok(None)
}

/// Reads manifests, all of them or none.
fn read_manifests(args: &ValidateArgs) -> Result<Vec<ManifestEntry>, CliError> {
    let mut entries: Vec<ManifestEntry> = Vec::new();
    for file in &args.files {
        let file_label = if file == "-" { "standard input" } else { file };
        let text = match file.as_str() {
            "-" => read_text(std::io::stdin()),
            path => read_text_file(Path::new(path)),
        };
        let text = text.map_err(|error| CliError::usage(format!("cannot read {file_label}: {error}")))?;
        let parsed = manifest::parse(&text, args.allow_unknown)
            .map_err(|error| CliError::new(ExitKind::Usage, "manifest", format!("{file_label}:{error}")))?;
        for entry in parsed {
            if entries.iter().any(|earlier| earlier.resource == entry.resource) {
                return Err(CliError::new(
                    ExitKind::Usage,
                    "manifest",
                    format!("{file_label}: {} stands in more than one of these files", entry.resource),
                ));
            }
            entries.push(entry);
        }
    }
    Ok(entries)
}

pub(super) fn validate(context: &CommandContext, args: &ValidateArgs) -> CommandResult {
    context.require_present("validate")?;
    let entries = read_manifests(args)?;
    if context.json {
        return context.print(&dto::Acknowledged {}, |_| String::new()).map(|()| None);
    }
    print_stderr(&format!("{}, no mistakes.", pluralize(entries.len(), "resource")));
    Ok(None)
}

fn manifest_edits(entries: Vec<ManifestEntry>, replace: bool) -> Vec<EditSpec> {
    let assign_field = |(path, value): (larder_core::resource::FieldPath, Literal)| FieldSpec {
        path: path.to_string(),
        edit: FieldEditSpec::Assign(JsonValue(value)),
    };
    let set_entry = |entry: ManifestEntry| EditSpec::Set {
        resource: entry.resource.to_string(),
        fields: entry.fields.into_iter().map(assign_field).collect(),
        unset_others: replace,
        node: None,
        must_exist: false,
    };
    entries.into_iter().map(set_entry).collect()
}

pub(super) fn plan(context: &CommandContext, args: PlanArgs) -> CommandResult {
    context.require_present("plan")?;
    let edits = manifest_edits(read_manifests(&args.manifests)?, args.replace);
    let write = WriteBody {
        group: context.group.clone(),
        specs: edits,
        allow_unknown: args.manifests.allow_unknown,
        ..WriteBody::default()
    };
    let plan: dto::WritePlan = context.client.post("/v1/plan", &write)?;
    context.print(&plan, |plan| render_edits(context.styler, &plan.edits, true))?;
    if !context.json && plan.edits.is_empty() {
        print_stderr("Nothing would change.");
    }
    Ok((args.exit_code && !plan.edits.is_empty()).then_some(ExitKind::Differs))
}

pub(super) fn apply(context: &CommandContext, args: ApplyArgs) -> CommandResult {
    let edits = manifest_edits(read_manifests(&args.manifests)?, args.replace);
    if edits.is_empty() {
        print_stderr("These manifests name no resource; nothing was written.");
    }
    let base = (!args.base.is_empty()).then_some(args.base);
    let flag = if args.replace { " --replace" } else { "" };
    let command = format!("apply{flag} {}", args.manifests.files.join(" "));
    let lenient = args.manifests.allow_unknown;
    send_write(
        context,
        WriteBody {
            specs: edits,
            base,
            message: args.message_args.message,
            command,
            allow_unknown: lenient,
            group: None,
        },
    )
}

pub(super) fn set(context: &CommandContext, args: SetArgs) -> CommandResult {
    let mut field_edits =
        args.fields.iter().map(|field| assignment::parse_assignment(field)).collect::<Result<Vec<_>, _>>()?;
    let mut command = format!("set {}", args.resource);
    for field in &args.fields {
        command.push_str(&format!(" {}", assignment::redact_value(field)));
    }
    let mut edits = Vec::new();
    if let Some(select) = &args.select {
        let change = FieldEditSpec::Assign(JsonValue(Literal::Scalar(select.as_str().into())));
        let field = FieldSpec { path: "select".to_owned(), edit: change };
        command.push_str(&format!(" --select {select}"));
        if args.node.is_none() {
            field_edits.push(field);
        } else {
            edits.push(set_edit(args.resource.clone(), vec![field], None, false));
        }
    }
    if let Some(node) = &args.node {
        command.push_str(&format!(" --node {node}"));
    }
    edits.push(set_edit(args.resource, field_edits, args.node, false));
    send_write(
        context,
        WriteBody {
            specs: edits,
            message: args.message_args.message,
            command,
            allow_unknown: args.allow_unknown,
            ..WriteBody::default()
        },
    )
}

fn set_edit(resource: String, fields: Vec<FieldSpec>, node: Option<String>, must_exist: bool) -> EditSpec {
    EditSpec::Set { resource, fields, unset_others: false, node, must_exist }
}

pub(super) fn unset(context: &CommandContext, args: UnsetArgs) -> CommandResult {
    let unset_field = |field: &String| FieldSpec { path: field.clone(), edit: FieldEditSpec::Unset(()) };
    let command = format!("unset {} {}", args.resource, args.fields.join(" "));
    let fields = args.fields.iter().map(unset_field).collect();
    let edits = vec![set_edit(args.resource, fields, args.node, true)];
    // A field that a newer version wrote may be unset by this one.
    send_write(
        context,
        WriteBody {
            specs: edits,
            message: args.message_args.message,
            command,
            allow_unknown: true,
            ..WriteBody::default()
        },
    )
}

pub(super) fn rm(context: &CommandContext, args: RmArgs) -> CommandResult {
    let command = format!("rm {}", args.resources.join(" "));
    send_edits(
        context,
        args.resources.into_iter().map(EditSpec::Remove).collect(),
        args.message_args,
        command,
    )
}

/// Nothing to print but a text.
pub(super) fn print_raw(text: &str) -> CommandResult {
    print_stdout(text).map(|()| None)
}
