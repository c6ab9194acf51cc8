//! Text in the operator's editor. If an edit cannot be written, its file stays and the error names it.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::context::print_stderr;
use super::prompt::{confirm, is_interactive};
use crate::data_dir::read_text_file;
use crate::error::{CliError, ExitKind};

/// A file that the operator edits. Only its owner can read it. It stays when this value is dropped.
pub(super) struct EditFile {
    path: PathBuf,
    original_text: String,
    editor: String,
}

impl EditFile {
    /// Writes `text` to a new file. `subject` becomes a part of its name.
    pub(super) fn new(subject: &str, extension: &str, text: String) -> Result<Self, CliError> {
        let is_safe = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let file_subject: String = subject.chars().map(|c| if is_safe(c) { c } else { '-' }).collect();
        let editor = find_editor()?;
        let create_file = || {
            let prefix = format!("larder-{file_subject}-");
            let mut file = tempfile::Builder::new().prefix(&prefix).suffix(extension).tempfile()?;
            file.write_all(text.as_bytes())?;
            Ok(file.keep()?.1)
        };
        let path = create_file().map_err(|error: io::Error| {
            CliError::failed(format!("cannot write a file to edit: {error}"))
                .with_hint("use another directory with TMPDIR")
        })?;
        Ok(Self { path, original_text: text, editor })
    }

    /// Runs the editor until `accept` takes the saved text, then deletes the file. After a usage error the
    /// operator may edit the file again. Any other error ends the command and keeps the file.
    pub(super) fn edit_until_accepted<T>(
        self,
        mut accept: impl FnMut(&str) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        loop {
            match accept(&self.run_editor()?) {
                Ok(accepted) => {
                    self.delete();
                    return Ok(accepted);
                }
                Err(failure) if failure.exit == ExitKind::Usage && is_interactive() => {
                    print_stderr(&failure.text);
                    if !confirm("Edit it again?", true) {
                        return Err(self.with_kept_file_hint(failure));
                    }
                }
                Err(failure) => return Err(self.with_kept_file_hint(failure)),
            }
        }
    }

    /// Runs the editor, and returns the saved text.
    fn run_editor(&self) -> Result<String, CliError> {
        let editor = &self.editor;
        let mut command = Command::new("sh");
        // The variable may contain arguments.
        command.arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(&self.path);
        if !io::stdout().is_terminal() {
            // Standard output is reserved for the answer of the command.
            command.stdout(Stdio::from(io::stderr()));
        }
        let run_result = command.status();
        let status = run_result.map_err(|error| {
            self.with_kept_file_hint(CliError::failed(format!("cannot run an editor: {error}")))
        })?;
        if !status.success() {
            let message = format!("the editor `{editor}` ended with {status}; nothing was written");
            let failure = CliError::failed(message).with_hint("choose another editor with VISUAL or EDITOR");
            // An editor that did not start has changed nothing.
            let is_untouched = self.read_saved().is_ok_and(|text| text == self.original_text);
            return Err(if is_untouched {
                self.delete_for(failure)
            } else {
                self.with_kept_file_hint(failure)
            });
        }
        self.read_saved().map_err(|failure| self.with_kept_file_hint(failure))
    }

    fn read_saved(&self) -> Result<String, CliError> {
        read_text_file(&self.path)
            .map_err(|error| CliError::usage(format!("cannot read {}: {error}", self.path.display())))
    }

    /// The path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn delete(&self) {
        // A file that cannot be removed does no harm.
        drop(fs::remove_file(&self.path));
    }

    fn delete_for(&self, failure: CliError) -> CliError {
        self.delete();
        failure
    }

    /// Adds the path of the edited file to the hint of an error.
    fn with_kept_file_hint(&self, failure: CliError) -> CliError {
        let note = format!("what you edited is in {}", self.path.display());
        let hint = failure.hint.as_ref().map_or_else(|| note.clone(), |hint| format!("{hint}; {note}"));
        failure.with_hint(hint)
    }
}

fn find_editor() -> Result<String, CliError> {
    let candidates = ["VISUAL", "EDITOR"].iter().filter_map(|name| std::env::var(name).ok());
    match candidates.into_iter().find(|editor| !editor.trim().is_empty()) {
        Some(editor) => Ok(editor),
        None if is_interactive() => Ok("vi".to_owned()),
        None => Err(CliError::usage("there is no terminal for an editor").with_hint(
            "set EDITOR to an editor that needs none, or use `larder set` or `larder apply FILE`",
        )),
    }
}
