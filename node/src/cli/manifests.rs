//! Manifest files as arguments, as `validate`, `plan` and `apply` take them.

use std::path::Path;

use clap::Args;
use larder_core::resource::edit::{Edit, FieldEdit};
use larder_core::resource::manifest::{self, ManifestEntry};

use crate::data_dir::{read_text, read_text_file};
use crate::error::{CliError, ExitKind};

/// Arguments of `validate`.
#[derive(Debug, Args)]
pub(super) struct ManifestArgs {
    /// Manifest files; `-` reads standard input
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<String>,
    /// Accept kinds and fields that this version does not know
    #[arg(long)]
    pub(super) allow_unknown: bool,
}

/// Reads all manifests. An error in one of them fails all.
pub(super) fn read_manifests(args: &ManifestArgs) -> Result<Vec<ManifestEntry>, CliError> {
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
                    format!("{file_label}: {} is in more than one of these files", entry.resource),
                ));
            }
            entries.push(entry);
        }
    }
    manifest::check_size(&entries)
        .map_err(|error| CliError::new(ExitKind::Usage, "manifest", error.to_string()))?;
    Ok(entries)
}

pub(super) fn manifest_edits(entries: Vec<ManifestEntry>, replace: bool) -> Vec<Edit> {
    let set_entry = |entry: ManifestEntry| {
        let fields = entry.fields.into_iter().map(|(path, value)| (path, FieldEdit::Assign(value)));
        Edit::Set { resource: entry.resource, fields: fields.collect(), replace }
    };
    entries.into_iter().map(set_entry).collect()
}
