//! Standard output and standard error.

use std::io::Write as _;

use crate::error::CliError;

/// Writes to standard output. A closed pipe is not an error.
pub(super) fn print_stdout(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error.
pub(super) fn print_stderr(text: &str) {
    let mut err = std::io::stderr().lock();
    // If standard error is closed, there is no other place for the text.
    drop(writeln!(err, "{text}"));
}
