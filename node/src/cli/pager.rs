//! Shows long answers in a pager, on a terminal.

use std::env::{self, VarError};
use std::io::{IsTerminal as _, Write as _, stdout};
use std::process::{Child, ChildStdin, Command, Stdio};

use tokio::signal::unix::{SignalKind, signal};

use super::standard_streams::print_stdout;
use crate::error::CliError;

/// The pager if no variable names one. It exits if the text fits on the screen, keeps colours, and
/// leaves the text on the screen.
const DEFAULT_PAGER: &str = "less -FRX";

/// Shows a text in the pager. Without a terminal or a pager it prints the text.
pub(super) fn page_text(text: &str) -> Result<(), CliError> {
    let mut remaining = Some(text.to_owned()).filter(|text| !text.is_empty());
    page_chunks(&mut || Ok(remaining.take()))
}

/// Does the same for a text that arrives in chunks. It stops when the reader quits the pager.
pub(super) fn page_chunks(
    next_chunk: &mut dyn FnMut() -> Result<Option<String>, CliError>,
) -> Result<(), CliError> {
    let Some(first_chunk) = next_chunk()? else { return Ok(()) };
    let is_terminal = stdout().is_terminal();
    let pager_words =
        if is_terminal { pager_command(env::var("LARDER_PAGER"), env::var("PAGER")) } else { None };
    let Some(mut child) = pager_words.and_then(spawn_pager) else {
        print_stdout(&first_chunk)?;
        while let Some(chunk) = next_chunk()? {
            print_stdout(&chunk)?;
        }
        return Ok(());
    };
    ignore_interrupts();
    let feed_result = child.stdin.take().map_or(Ok(()), |stdin| feed_pager(stdin, first_chunk, next_chunk));
    let wait_result = child.wait().map(drop);
    feed_result
        .and(wait_result.map_err(|error| CliError::failed(format!("cannot wait for the pager: {error}"))))
}

fn feed_pager(
    mut stdin: ChildStdin,
    first_chunk: String,
    next_chunk: &mut dyn FnMut() -> Result<Option<String>, CliError>,
) -> Result<(), CliError> {
    let mut pending = Some(first_chunk);
    while let Some(chunk) = pending {
        // The reader has quit the pager.
        if stdin.write_all(chunk.as_bytes()).is_err() {
            return Ok(());
        }
        pending = next_chunk()?;
    }
    Ok(())
}

/// Leaves Ctrl-C to the pager. A tokio signal handler, once installed, keeps SIGINT from ending this process.
fn ignore_interrupts() {
    if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
        let _guard = runtime.enter();
        drop(signal(SignalKind::interrupt()));
    }
}

/// The pager and its arguments. The first variable that is set decides. An empty one or `cat` turns
/// paging off.
fn pager_command(
    larder_pager: Result<String, VarError>,
    pager: Result<String, VarError>,
) -> Option<Vec<String>> {
    let command = larder_pager.or(pager).unwrap_or_else(|_| DEFAULT_PAGER.to_owned());
    let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    (!words.is_empty() && words != ["cat"]).then_some(words)
}

fn spawn_pager(pager_words: Vec<String>) -> Option<Child> {
    let (program, args) = pager_words.split_first()?;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped());
    if env::var_os("LESS").is_none() {
        // Without `-R`, `less` shows colours as escape sequences.
        command.env("LESS", "FRX");
    }
    command.spawn().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen_pager(larder_pager: Option<&str>, pager: Option<&str>) -> Option<String> {
        let env_value = |text: Option<&str>| text.map(str::to_owned).ok_or(VarError::NotPresent);
        pager_command(env_value(larder_pager), env_value(pager)).map(|words| words.join(" "))
    }

    #[test]
    fn larder_pager_goes_before_pager_and_cat_turns_paging_off() {
        assert_eq!(chosen_pager(None, None).as_deref(), Some(DEFAULT_PAGER));
        assert_eq!(chosen_pager(None, Some("more")).as_deref(), Some("more"));
        assert_eq!(chosen_pager(Some("most  -w"), Some("more")).as_deref(), Some("most -w"));
        for off in ["", " ", "cat"] {
            assert_eq!(chosen_pager(Some(off), Some("more")), None, "{off:?}");
            assert_eq!(chosen_pager(None, Some(off)), None, "{off:?}");
        }
    }

    #[test]
    fn a_pager_that_does_not_exist_is_not_started() {
        assert!(spawn_pager(vec!["/no/such/pager".to_owned()]).is_none());
    }
}
