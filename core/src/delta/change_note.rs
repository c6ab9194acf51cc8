//! The note of a change: the operator's message, user and command, in the message of the change.

use crate::codec::truncate_utf8;
use crate::limits;

/// What a change says besides its puts: message, author's user and command, time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeNote {
    /// The operator's message: why the change was made.
    pub message: String,
    /// The operator's user name on the host.
    pub user: String,
    /// The command that made the change, without values.
    pub command: String,
    /// The time by this node's clock, in seconds since 1970.
    pub time: i64,
}

impl ChangeNote {
    /// The trailers: user and command, as Git writes them.
    fn trailers(&self) -> String {
        let trailers = [(USER_TRAILER, &self.user), (COMMAND_TRAILER, &self.command)];
        let trailers = trailers.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| {
            let value = truncate_marked(value, limits::MAX_TRAILER_BYTES).replace(['\n', '\r'], " ");
            format!("{name}{value}")
        });
        trailers.collect::<Vec<_>>().join("\n")
    }

    /// Checks that the message need not be cut.
    pub fn check(&self) -> Result<(), MessageTooLong> {
        let limit = limits::MAX_MESSAGE_BYTES - self.trailers().len() - TRAILER_SEPARATOR.len();
        match self.message.len() {
            bytes if bytes > limit => Err(MessageTooLong { bytes, limit }),
            _ => Ok(()),
        }
    }

    /// Encodes message, user and command as a change's message: the operator's message, an empty line, and
    /// trailers as Git writes them. Too long a user or command ends with an ellipsis.
    pub fn encode(&self) -> String {
        let trailers = self.trailers();
        let message_text = truncate_utf8(
            &self.message,
            limits::MAX_MESSAGE_BYTES - trailers.len() - TRAILER_SEPARATOR.len(),
        );
        let needs_no_separator = trailers.is_empty() && split_trailers(message_text) == (message_text, "");
        match (message_text, needs_no_separator) {
            ("", _) => trailers,
            (message_text, true) => message_text.to_owned(),
            // A message that looks like trailers gets an empty trailer paragraph, so that it is not read as
            // trailers.
            (message_text, false) => format!("{message_text}{TRAILER_SEPARATOR}{trailers}"),
        }
    }

    /// Decodes what [`ChangeNote::encode`] wrote.
    pub fn decode(encoded: &str, time: i64) -> Self {
        let (message_text, trailers) = split_trailers(encoded);
        let trailer_value = |trailer_name| {
            trailers.split('\n').find_map(|line| line.strip_prefix(trailer_name)).unwrap_or_default()
        };
        Self {
            message: message_text.to_owned(),
            user: trailer_value(USER_TRAILER).to_owned(),
            command: trailer_value(COMMAND_TRAILER).to_owned(),
            time,
        }
    }
}

/// The error of a message that does not fit in a change or record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message has {bytes} bytes, and there is room for {limit}; write a shorter one")]
pub struct MessageTooLong {
    /// The length of the message.
    pub bytes: usize,
    /// The room for it.
    pub limit: usize,
}

/// The text, or its beginning with an ellipsis if it is longer than `limit` bytes.
pub(crate) fn truncate_marked(text: &str, limit: usize) -> String {
    const ELLIPSIS: &str = "...";
    match text.len() {
        len if len <= limit => text.to_owned(),
        _ => format!("{}{ELLIPSIS}", truncate_utf8(text, limit.saturating_sub(ELLIPSIS.len()))),
    }
}

const USER_TRAILER: &str = "User: ";
const COMMAND_TRAILER: &str = "Command: ";
/// The separator of message and trailers: an empty line.
const TRAILER_SEPARATOR: &str = "\n\n";

/// The operator's message and the trailers of a change's message. Trailers are the last paragraph, if each of
/// its lines is a trailer.
fn split_trailers(encoded: &str) -> (&str, &str) {
    let is_trailer = |line: &str| line.starts_with(USER_TRAILER) || line.starts_with(COMMAND_TRAILER);
    let are_trailers = |text: &str| text.split('\n').all(is_trailer);
    match encoded.rsplit_once(TRAILER_SEPARATOR) {
        Some((message_text, trailers)) if trailers.is_empty() || are_trailers(trailers) => {
            (message_text, trailers)
        }
        None if are_trailers(encoded) => ("", encoded),
        _ => (encoded, ""),
    }
}
