//! A text in the operator's own editor. What somebody typed is thrown away by nobody else: where it could not be
//! written, its file stays, and is named.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::talk;
use crate::failure::{Exit, Failure};
use crate::limits;
use crate::place::read_text;

/// A file to be edited, for its owner alone. Dropping it leaves it where it is.
pub(super) struct Sheet {
    path: PathBuf,
    given: String,
    editor: String,
}

/// True if there is somebody to ask.
pub(super) fn is_attended() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks a question that is answered by y or n; an end of input is a no.
pub(super) fn agrees(question: &str, otherwise: bool) -> bool {
    let mut err = io::stderr().lock();
    let choice = if otherwise { "[Y/n]" } else { "[y/N]" };
    drop(write!(err, "{question} {choice} ").and_then(|()| err.flush()));
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line) {
        Ok(0) | Err(_) => false,
        Ok(_) => match line.trim().to_lowercase().as_str() {
            "" => otherwise,
            answer => answer == "y" || answer == "yes",
        },
    }
}

impl Sheet {
    /// Lays `text` out in a new file whose name says what it is about.
    pub(super) fn new(about: &str, ending: &str, text: String) -> Result<Self, Failure> {
        let cannot = |path: &Path, error: io::Error| {
            Failure::failed(format!("cannot write {}: {error}", path.display()))
                .hint("TMPDIR names another directory for such files")
        };
        let about: String = about
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
            .collect();
        let editor = editor()?;
        let folder = std::env::temp_dir();
        for nth in 0..limits::SHEETS {
            let path = folder.join(format!("larder-{about}-{}-{nth}{ending}", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(mut file) => {
                    file.write_all(text.as_bytes()).map_err(|error| cannot(&path, error))?;
                    return Ok(Self { path, given: text, editor });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(cannot(&path, error)),
            }
        }
        Err(Failure::failed(format!("no name is free for a file to edit in {}", folder.display())))
    }

    /// Lets the operator edit it until `take` takes what was saved. Of a mistake it is said where it is, and it can be
    /// mended where there is somebody to ask; whatever else fails is the end. The file is removed if `take` took it.
    pub(super) fn edit_until<T>(
        self,
        mut take: impl FnMut(&str) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        loop {
            match take(&self.edit()?) {
                Ok(taken) => {
                    self.unlink();
                    return Ok(taken);
                }
                Err(failure) if failure.exit == Exit::Usage && is_attended() => {
                    talk(&failure.text);
                    if !agrees("Edit it again?", true) {
                        return Err(self.keep(failure));
                    }
                }
                Err(failure) => return Err(self.keep(failure)),
            }
        }
    }

    /// Runs the editor, and answers what was saved.
    fn edit(&self) -> Result<String, Failure> {
        let editor = &self.editor;
        let mut command = Command::new("sh");
        // As everywhere, the variable may hold arguments.
        command.arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(&self.path);
        if !io::stdout().is_terminal() {
            // Standard output is for the answer.
            command.stdout(Stdio::from(io::stderr()));
        }
        let ended = command.status();
        let status =
            ended.map_err(|error| self.keep(Failure::failed(format!("cannot run an editor: {error}"))))?;
        if !status.success() {
            let why = format!("the editor `{editor}` ended with {status}; nothing was written");
            let failure = Failure::failed(why).hint("VISUAL or EDITOR names another editor");
            // One that could not even be started left nothing worth keeping.
            let untouched = self.read().is_ok_and(|text| text == self.given);
            return Err(if untouched { self.remove_for(failure) } else { self.keep(failure) });
        }
        self.read().map_err(|failure| self.keep(failure))
    }

    fn read(&self) -> Result<String, Failure> {
        read_text(&self.path)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", self.path.display())))
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn unlink(&self) {
        // One that cannot be removed is in nobody's way.
        drop(fs::remove_file(&self.path));
    }

    fn remove_for(&self, failure: Failure) -> Failure {
        self.unlink();
        failure
    }

    /// Says in a failure where the edited text is.
    fn keep(&self, failure: Failure) -> Failure {
        let kept = format!("what you edited is in {}", self.path.display());
        let hint = failure.hint.as_ref().map_or_else(|| kept.clone(), |hint| format!("{hint}; {kept}"));
        failure.hint(hint)
    }
}

fn editor() -> Result<String, Failure> {
    let named = ["VISUAL", "EDITOR"].iter().filter_map(|name| std::env::var(name).ok());
    match named.into_iter().find(|editor| !editor.trim().is_empty()) {
        Some(editor) => Ok(editor),
        None if is_attended() => Ok("vi".to_owned()),
        None => Err(Failure::usage("there is no terminal to edit on")
            .hint("name an editor that needs none in EDITOR; or use `larder set`, or `larder apply FILE`")),
    }
}
