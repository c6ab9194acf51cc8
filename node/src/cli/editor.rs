//! A text in the operator's own editor. What somebody typed is thrown away by nobody else: where it could not be
//! written, its file stays, and is named.

use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::context::print_stderr;
use super::prompt::{confirm, is_interactive};
use crate::data_dir::read_text_file;
use crate::error::{CliError, ExitKind};
use crate::limits;

/// A file to be edited, for its owner alone. Dropping it leaves it where it is.
pub(super) struct EditFile {
    path: PathBuf,
    original_text: String,
    editor: String,
}

impl EditFile {
    /// Lays `text` out in a new file whose name says what it is about.
    pub(super) fn new(subject: &str, extension: &str, text: String) -> Result<Self, CliError> {
        let write_error = |path: &Path, error: io::Error| {
            CliError::failed(format!("cannot write {}: {error}", path.display()))
                .with_hint("TMPDIR names another directory for such files")
        };
        let file_subject: String = subject
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
            .collect();
        let editor = find_editor()?;
        let dir = std::env::temp_dir();
        for nth in 0..limits::MAX_EDIT_FILES {
            let path = dir.join(format!("larder-{file_subject}-{}-{nth}{extension}", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(mut file) => {
                    file.write_all(text.as_bytes()).map_err(|error| write_error(&path, error))?;
                    return Ok(Self { path, original_text: text, editor });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(write_error(&path, error)),
            }
        }
        Err(CliError::failed(format!("no name is free for a file to edit in {}", dir.display())))
    }

    /// Lets the operator edit it until `take` takes what was saved. Of a mistake it is said where it is, and it can be
    /// mended where there is somebody to ask; whatever else fails is the end. The file is removed if `take` took it.
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

    /// Runs the editor, and answers what was saved.
    fn run_editor(&self) -> Result<String, CliError> {
        let editor = &self.editor;
        let mut command = Command::new("sh");
        // As everywhere, the variable may hold arguments.
        command.arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(&self.path);
        if !io::stdout().is_terminal() {
            // Standard output is for the answer.
            command.stdout(Stdio::from(io::stderr()));
        }
        let run_result = command.status();
        let status = run_result.map_err(|error| {
            self.with_kept_file_hint(CliError::failed(format!("cannot run an editor: {error}")))
        })?;
        if !status.success() {
            let message = format!("the editor `{editor}` ended with {status}; nothing was written");
            let failure = CliError::failed(message).with_hint("VISUAL or EDITOR names another editor");
            // One that could not even be started left nothing worth keeping.
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

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn delete(&self) {
        // One that cannot be removed is in nobody's way.
        drop(fs::remove_file(&self.path));
    }

    fn delete_for(&self, failure: CliError) -> CliError {
        self.delete();
        failure
    }

    /// Says in a failure where the edited text is.
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
        None => Err(CliError::usage("there is no terminal to edit on").with_hint(
            "name an editor that needs none in EDITOR; or use `larder set`, or `larder apply FILE`",
        )),
    }
}
