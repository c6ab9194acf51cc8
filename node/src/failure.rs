//! Why something did not work, as people, scripts and the local API say it.

use larder_core::group::AuthorError;
use larder_core::history::BackError;
use larder_core::machine::Declined;
use larder_core::resource::edit::EditError;
use larder_core::wire::visit::Denial;
use serde::{Deserialize, Serialize};

/// How a command ends. The numbers are a promise to scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", from = "u8")]
pub enum Exit {
    /// It failed.
    Failed,
    /// Bad flag, malformed value or manifest.
    Usage,
    /// The daemon cannot be reached, or is in no group.
    Unreachable,
    /// Something was named that is not here.
    NotFound,
    /// Refused: policy, role, base moved, conflict, or a code that cannot be used.
    Refused,
    /// Recorded, but not done everywhere.
    Partial,
    /// `--exit-code`: there are differences.
    Differs,
}

impl From<Exit> for u8 {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
            Exit::NotFound => 4,
            Exit::Refused => 5,
            Exit::Partial => 6,
            Exit::Differs => 10,
        }
    }
}

impl From<u8> for Exit {
    fn from(code: u8) -> Self {
        match code {
            2 => Self::Usage,
            3 => Self::Unreachable,
            4 => Self::NotFound,
            5 => Self::Refused,
            6 => Self::Partial,
            10 => Self::Differs,
            _ => Self::Failed,
        }
    }
}

/// Schema `larder.error/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// A word for scripts.
    pub code: String,
    /// How the command ends.
    pub exit: Exit,
    /// What happened, and whose fault it is.
    pub text: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(exit: Exit, code: &str, text: impl Into<String>) -> Self {
        Self { code: code.to_owned(), exit, text: text.into(), hint: None }
    }

    /// The same with one.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The caller's fault: a flag or value that does not fit.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", text)
    }

    /// The caller's fault: nothing here is called so.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self::new(Exit::NotFound, "not-found", text)
    }

    /// The caller's fault: more than one thing here is called so.
    pub fn ambiguous(what: &str, text: &str, candidates: &[String]) -> Self {
        let shown: Vec<&str> =
            candidates.iter().take(crate::limits::CANDIDATES).map(String::as_str).collect();
        let more = if candidates.len() > shown.len() { ", ..." } else { "" };
        Self::new(Exit::NotFound, "ambiguous", format!("`{text}` fits more than one {what}"))
            .hint(format!("one of: {}{more}", shown.join(", ")))
    }

    /// The system's fault, mostly.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::new(Exit::Failed, "failed", text)
    }
}

/// What to do about a copy that was damaged.
pub const REFETCHING: &str = "it comes back by itself with the first member that is reached (see `larder sync status`); with no other member, \
                              restore the data directory from a backup";

impl From<Declined> for Failure {
    fn from(why: Declined) -> Self {
        let text = why.to_string();
        let (exit, code, hint) = match &why {
            Declined::NoGroup => (Exit::Unreachable, "no-group", "see `larder groups`"),
            Declined::GroupName => (Exit::Usage, "usage", ""),
            Declined::Edit(error) => return Self::of_edit(error),
            Declined::Back(error) => return Self::of_back(error),
            Declined::Author(error) => return Self::of_author(error),
            Declined::BaseMoved(_) => (Exit::Refused, "base-moved", "see `larder diff`, then try again"),
            Declined::NotAdmin => (Exit::Refused, "role", "ask an admin: `larder nodes` shows who is one"),
            Declined::NotAbove => {
                (Exit::Refused, "role", "see `larder nodes`, and `larder recover --key FILE`")
            }
            Declined::NotFounder => (Exit::Refused, "role", "give the recovery key with --key FILE"),
            Declined::LastAdmin => (
                Exit::Refused,
                "last-admin",
                "make another node admin first with `larder role NODE admin`, or end the group with `larder delete-group`",
            ),
            Declined::NoMember => (Exit::NotFound, "not-found", "see `larder nodes`"),
            Declined::StillMember => (Exit::Refused, "member", "remove it first: `larder remove NODE`"),
            Declined::Oneself => (Exit::Usage, "usage", "see `larder leave`"),
            Declined::SameRole(_) => (Exit::Refused, "same", ""),
            Declined::NotTheirs => (Exit::NotFound, "not-found", "see `larder log`"),
            Declined::RecoveryKey => (Exit::Refused, "recovery-key", "the file is called recovery-GROUP.key"),
            Declined::NotAside => (Exit::NotFound, "not-found", "see `larder quarantine list`"),
            Declined::OneChain => (Exit::Usage, "usage", "see `larder quarantine list`"),
            Declined::NoAsk => (Exit::NotFound, "not-found", "see `larder pending`"),
            Declined::Digits => {
                (Exit::Refused, "digits", "compare both screens again: `larder pending` shows the digits")
            }
            Declined::Terms => (Exit::Refused, "terms", ""),
            Declined::NoInvite => (Exit::NotFound, "not-found", "see `larder invite list`"),
            Declined::Denied(denial) => return Self::of_denial(*denial),
            Declined::Member => (Exit::Refused, "member", "see `larder groups`"),
            Declined::Replaced => (Exit::Refused, "replaced", "see `larder groups`"),
            Declined::NoLink => (Exit::Failed, "no-link", "see `larder nodes`"),
            Declined::Full(_) => (Exit::Refused, "full", ""),
            Declined::Busy => (Exit::Failed, "busy", "try again in a moment"),
            Declined::Storage(_) => (Exit::Failed, "storage", ""),
            Declined::Refetching => (Exit::Failed, "refetching", REFETCHING),
        };
        let failure = Self::new(exit, code, text);
        if hint.is_empty() { failure } else { failure.hint(hint) }
    }
}

impl Failure {
    fn of_edit(error: &EditError) -> Self {
        let text = error.to_string();
        match error {
            EditError::Conflicted(resource, field) => Self::new(Exit::Refused, "conflict", text)
                .hint(format!("settle it: `larder resolve {resource} {field} --take A|B` or `--value ...`")),
            EditError::ConflictMoved(..) => {
                Self::new(Exit::Refused, "conflict-moved", text).hint("see `larder conflicts`")
            }
            EditError::NoResource(_) => Self::not_found(text).hint("see `larder list`"),
            EditError::NoConflict(..) | EditError::NoSide(..) => {
                Self::not_found(text).hint("see `larder conflicts`")
            }
            EditError::Schema(_)
            | EditError::Reserved(_)
            | EditError::NotAList(..)
            | EditError::BadName(_)
            | EditError::BadTag(_)
            | EditError::TooMany => Self::usage(text),
        }
    }

    fn of_back(error: &BackError) -> Self {
        let text = error.to_string();
        match error {
            BackError::Overwritten(_) => Self::new(Exit::Refused, "overwritten", text)
                .hint("revert those changes with it, newest included, or set the fields as they should be"),
            BackError::Conflicted(_) => Self::new(Exit::Refused, "conflict", text)
                .hint("settle it first: see `larder conflicts`, `larder resolve`"),
            BackError::TooMany => Self::usage(text).hint("put back one kind or resource at a time"),
            BackError::Unreadable(_) => Self::failed(text),
        }
    }

    fn of_author(error: &AuthorError) -> Self {
        let text = error.to_string();
        match error {
            AuthorError::Role(_) | AuthorError::Member => {
                Self::new(Exit::Refused, "role", text).hint("an operator or admin may: see `larder nodes`")
            }
            _ => Self::failed(text),
        }
    }

    fn of_denial(denial: Denial) -> Self {
        Self::new(Exit::Refused, "denied", denial.to_string())
            .hint("ask an admin of the group for a new code: `larder invite`")
    }
}
