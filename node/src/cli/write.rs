//! Writing commands: each is one atomic change.

use std::path::Path;

use clap::Args;
use larder_core::resource::literal::Literal;
use larder_core::resource::manifest::{self, Entry};

use super::edits::draw_edits;
use super::{Context, Outcome, fields, say, talk};
use crate::api::writes::{Field, FieldChange, Say, Write};
use crate::failure::{Exit, Failure};
use crate::place::{read_text, text_of};
use crate::render::{Style, count, short};
use crate::view::{self, Plain, Written};

/// Flags of every writing command.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Why {
    /// Why, for the history
    #[arg(short, long, value_name = "WORDS", default_value = "")]
    pub(super) message: String,
}

/// Flags of `validate`.
#[derive(Debug, Args)]
pub(super) struct Validate {
    /// Manifests; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Take kinds and fields that this version does not know
    #[arg(long)]
    allow_unknown: bool,
}

/// Flags of `plan`.
#[derive(Debug, Args)]
pub(super) struct Plan {
    #[command(flatten)]
    what: Validate,
    /// Fields that are not named are unset
    #[arg(long)]
    replace: bool,
    /// Exit with 10 if anything would change
    #[arg(long)]
    exit_code: bool,
}

/// Flags of `apply`.
#[derive(Debug, Args)]
pub(super) struct Apply {
    #[command(flatten)]
    what: Validate,
    /// Fields that are not named are unset
    #[arg(long)]
    replace: bool,
    /// Refuse if the desired state is not at these heads any more (see `plan`, `heads`)
    #[arg(long, value_name = "CHANGE", value_delimiter = ',')]
    base: Vec<String>,
    #[command(flatten)]
    why: Why,
}

/// Flags of `set`.
#[derive(Debug, Args)]
pub(super) struct Set {
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
    why: Why,
}

/// Flags of `unset`.
#[derive(Debug, Args)]
pub(super) struct Unset {
    /// KIND/NAME
    resource: String,
    /// The fields
    #[arg(required = true, value_name = "FIELD")]
    fields: Vec<String>,
    /// For this node only
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    #[command(flatten)]
    why: Why,
}

/// Flags of `rm`.
#[derive(Debug, Args)]
pub(super) struct Rm {
    /// KIND/NAME
    #[arg(required = true, value_name = "RESOURCE")]
    resources: Vec<String>,
    #[command(flatten)]
    why: Why,
}

/// Sends one change, and prints what came of it.
pub(super) fn send(context: &Context, edits: Vec<Say>, why: Why, command: String) -> Outcome {
    let write = Write { edits, message: why.message, command, ..Write::default() };
    post(context, write)
}

fn post(context: &Context, mut write: Write) -> Outcome {
    context.only_now("a writing command")?;
    write.group = context.group.clone();
    let written: Written = context.client.post("/v1/write", &write)?;
    show_written(context, &written)
}

/// Prints what came of a write.
pub(super) fn show_written(context: &Context, written: &Written) -> Outcome {
    let pen = context.pen;
    context.print(written, |written| match &written.change {
        Some(change) => format!("{}\n", pen.paint(Style::Id, &short(change))),
        None => String::new(),
    })?;
    if !context.json && written.change.is_none() {
        talk("Nothing differs; nothing was written.");
    }
    Ok(None)
}

/// Reads manifests, all of them or none.
fn read_all(args: &Validate) -> Result<Vec<Entry>, Failure> {
    let mut entries: Vec<Entry> = Vec::new();
    for file in &args.files {
        let name = if file == "-" { "standard input" } else { file };
        let text = match file.as_str() {
            "-" => text_of(std::io::stdin()),
            path => read_text(Path::new(path)),
        };
        let text = text.map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
        let found = manifest::parse(&text, args.allow_unknown)
            .map_err(|error| Failure::new(Exit::Usage, "manifest", format!("{name}:{error}")))?;
        for entry in found {
            if entries.iter().any(|earlier| earlier.resource == entry.resource) {
                return Err(Failure::new(
                    Exit::Usage,
                    "manifest",
                    format!("{name}: {} stands in more than one of these files", entry.resource),
                ));
            }
            entries.push(entry);
        }
    }
    Ok(entries)
}

pub(super) fn validate(context: &Context, args: &Validate) -> Outcome {
    context.only_now("validate")?;
    let entries = read_all(args)?;
    if context.json {
        return context.print(&view::Done {}, |_| String::new()).map(|()| None);
    }
    talk(&format!("{}, no mistakes.", count(entries.len(), "resource")));
    Ok(None)
}

fn say_all(entries: Vec<Entry>, replace: bool) -> Vec<Say> {
    let field = |(path, value): (larder_core::resource::FieldPath, Literal)| Field {
        field: path.to_string(),
        change: FieldChange::Assign(Plain(value)),
    };
    let set = |entry: Entry| Say::Set {
        resource: entry.resource.to_string(),
        fields: entry.fields.into_iter().map(field).collect(),
        replace,
        node: None,
        existing: false,
    };
    entries.into_iter().map(set).collect()
}

pub(super) fn plan(context: &Context, args: Plan) -> Outcome {
    context.only_now("plan")?;
    let edits = say_all(read_all(&args.what)?, args.replace);
    let write =
        Write { group: context.group.clone(), edits, lenient: args.what.allow_unknown, ..Write::default() };
    let plan: view::Plan = context.client.post("/v1/plan", &write)?;
    context.print(&plan, |plan| draw_edits(context.pen, &plan.edits, true))?;
    if !context.json && plan.edits.is_empty() {
        talk("Nothing would change.");
    }
    Ok((args.exit_code && !plan.edits.is_empty()).then_some(Exit::Differs))
}

pub(super) fn apply(context: &Context, args: Apply) -> Outcome {
    let edits = say_all(read_all(&args.what)?, args.replace);
    if edits.is_empty() {
        talk("These manifests name no resource; nothing was written.");
    }
    let base = (!args.base.is_empty()).then_some(args.base);
    let flag = if args.replace { " --replace" } else { "" };
    let command = format!("apply{flag} {}", args.what.files.join(" "));
    let lenient = args.what.allow_unknown;
    post(context, Write { edits, base, message: args.why.message, command, lenient, group: None })
}

pub(super) fn set(context: &Context, args: Set) -> Outcome {
    let mut all = args.fields.iter().map(|field| fields::parse(field)).collect::<Result<Vec<_>, _>>()?;
    let mut command = format!("set {}", args.resource);
    for field in &args.fields {
        command.push_str(&format!(" {}", fields::cut(field)));
    }
    let mut edits = Vec::new();
    if let Some(select) = &args.select {
        let change = FieldChange::Assign(Plain(Literal::Scalar(select.as_str().into())));
        let field = Field { field: "select".to_owned(), change };
        command.push_str(&format!(" --select {select}"));
        if args.node.is_none() {
            all.push(field);
        } else {
            edits.push(plain_set(args.resource.clone(), vec![field], None, false));
        }
    }
    if let Some(node) = &args.node {
        command.push_str(&format!(" --node {node}"));
    }
    edits.push(plain_set(args.resource, all, args.node, false));
    post(
        context,
        Write { edits, message: args.why.message, command, lenient: args.allow_unknown, ..Write::default() },
    )
}

fn plain_set(resource: String, fields: Vec<Field>, node: Option<String>, existing: bool) -> Say {
    Say::Set { resource, fields, replace: false, node, existing }
}

pub(super) fn unset(context: &Context, args: Unset) -> Outcome {
    let field = |field: &String| Field { field: field.clone(), change: FieldChange::Unset(()) };
    let command = format!("unset {} {}", args.resource, args.fields.join(" "));
    let fields = args.fields.iter().map(field).collect();
    let edits = vec![plain_set(args.resource, fields, args.node, true)];
    // A field that a newer version wrote may be unset by this one.
    post(context, Write { edits, message: args.why.message, command, lenient: true, ..Write::default() })
}

pub(super) fn rm(context: &Context, args: Rm) -> Outcome {
    let command = format!("rm {}", args.resources.join(" "));
    send(context, args.resources.into_iter().map(Say::Remove).collect(), args.why, command)
}

/// Nothing to print but a text.
pub(super) fn raw(text: &str) -> Outcome {
    say(text).map(|()| None)
}
