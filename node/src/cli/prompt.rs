//! Questions to the operator, on a terminal only.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::error::CliError;

/// True if standard input and standard error are a terminal.
pub(super) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks a yes-or-no question. End of input means no.
pub(super) fn confirm(question: &str, default: bool) -> bool {
    let mut err = io::stderr().lock();
    let choice = if default { "[Y/n]" } else { "[y/N]" };
    drop(write!(err, "{question} {choice} ").and_then(|()| err.flush()));
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line) {
        Ok(0) | Err(_) => false,
        Ok(_) => match line.trim().to_lowercase().as_str() {
            "" => default,
            answer => answer == "y" || answer == "yes",
        },
    }
}

/// Asks for a line of text.
pub(super) fn prompt_line(prompt: &str) -> Result<String, CliError> {
    let mut err = io::stderr().lock();
    drop(write!(err, "{prompt}").and_then(|()| err.flush()));
    let mut line = String::new();
    let read_result = io::stdin().lock().read_line(&mut line);
    read_result.map_err(|error| CliError::failed(format!("cannot read the answer: {error}")))?;
    Ok(line.trim().to_owned())
}
