//! Long answers on a terminal go through a pager.

use std::env::{self, VarError};
use std::io::{IsTerminal as _, Write as _, stdout};
use std::process::{Child, ChildStdin, Command, Stdio};

use tokio::signal::unix::{SignalKind, signal};

use super::say;
use crate::failure::Failure;

/// What pages where nothing else is named: it ends by itself where all fits on the screen, keeps colours, and leaves what
/// was read where it stands.
const USUAL: &str = "less -FRX";

/// Prints a text: through the pager if this is a terminal, and as it is otherwise or if there is no pager.
pub(super) fn page(text: &str) -> Result<(), Failure> {
    let mut text = Some(text.to_owned()).filter(|text| !text.is_empty());
    page_by(&mut || Ok(text.take()))
}

/// The same of a text that comes bit by bit. A reader that leaves ends it.
pub(super) fn page_by(next: &mut dyn FnMut() -> Result<Option<String>, Failure>) -> Result<(), Failure> {
    let Some(first) = next()? else { return Ok(()) };
    let on_terminal = stdout().is_terminal();
    let words = if on_terminal { words(env::var("LARDER_PAGER"), env::var("PAGER")) } else { None };
    let Some(mut child) = words.and_then(start) else {
        say(&first)?;
        while let Some(text) = next()? {
            say(&text)?;
        }
        return Ok(());
    };
    outlive_interrupts();
    let fed = child.stdin.take().map_or(Ok(()), |stdin| feed(stdin, first, next));
    let waited = child.wait().map(drop);
    fed.and(waited.map_err(|error| Failure::failed(format!("the pager was lost: {error}"))))
}

fn feed(
    mut stdin: ChildStdin,
    first: String,
    next: &mut dyn FnMut() -> Result<Option<String>, Failure>,
) -> Result<(), Failure> {
    let mut text = Some(first);
    while let Some(some) = text {
        // A pager that was left before the end takes no more.
        if stdin.write_all(some.as_bytes()).is_err() {
            return Ok(());
        }
        text = next()?;
    }
    Ok(())
}

/// Ctrl-C is for the pager to hear, which goes on until the reader leaves it. To have listened to a signal once is to
/// live through it from then on.
fn outlive_interrupts() {
    if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
        let _inside = runtime.enter();
        drop(signal(SignalKind::interrupt()));
    }
}

/// The program with its arguments; `None` if nothing is to page. The first variable that is set decides.
fn words(own: Result<String, VarError>, usual: Result<String, VarError>) -> Option<Vec<String>> {
    let wanted = own.or(usual).unwrap_or_else(|_| USUAL.to_owned());
    let words: Vec<String> = wanted.split_whitespace().map(str::to_owned).collect();
    (!words.is_empty() && words != ["cat"]).then_some(words)
}

fn start(words: Vec<String>) -> Option<Child> {
    let (program, args) = words.split_first()?;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped());
    if env::var_os("LESS").is_none() {
        // `PAGER=less` alone would show colours as what they are made of.
        command.env("LESS", "FRX");
    }
    command.spawn().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paged(own: Option<&str>, usual: Option<&str>) -> Option<String> {
        let set = |text: Option<&str>| text.map(str::to_owned).ok_or(VarError::NotPresent);
        words(set(own), set(usual)).map(|words| words.join(" "))
    }

    #[test]
    fn the_first_variable_that_is_set_decides() {
        assert_eq!(paged(None, None).as_deref(), Some(USUAL));
        assert_eq!(paged(None, Some("more")).as_deref(), Some("more"));
        assert_eq!(paged(Some("most  -w"), Some("more")).as_deref(), Some("most -w"));
        for off in ["", " ", "cat"] {
            assert_eq!(paged(Some(off), Some("more")), None, "{off:?}");
            assert_eq!(paged(None, Some(off)), None, "{off:?}");
        }
    }

    #[test]
    fn a_pager_that_is_not_there_pages_nothing() {
        assert!(start(vec!["/no/such/pager".to_owned()]).is_none());
    }
}
