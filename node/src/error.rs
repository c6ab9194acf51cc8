//! Errors with their exit codes, as commands print them and as the local API sends them.

use larder_core::group::WriteError;
use larder_core::history::RevertError;
use larder_core::node::{LookupError, NameKind, RequestError};
use larder_core::resource::edit::EditError;
use larder_core::wire::guest::JoinDenial;
use serde::{Deserialize, Serialize};

use crate::limits::MAX_CANDIDATES_SHOWN;

/// The exit code of a command. The numbers never change, because scripts use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", from = "u8")]
pub enum ExitKind {
    /// The command failed.
    Failed,
    /// An argument, value or manifest is not valid.
    Usage,
    /// The daemon cannot be reached, or the node is not in the group.
    Unreachable,
    /// There is nothing with the given name.
    NotFound,
    /// The request was refused: role, moved base, conflict, or a code that cannot be used.
    Refused,
    /// The request was accepted, but is not complete.
    Partial,
    /// With `--exit-code`: there are differences.
    Differs,
}

impl From<ExitKind> for u8 {
    fn from(exit: ExitKind) -> Self {
        match exit {
            ExitKind::Failed => 1,
            ExitKind::Usage => 2,
            ExitKind::Unreachable => 3,
            ExitKind::NotFound => 4,
            ExitKind::Refused => 5,
            ExitKind::Partial => 6,
            ExitKind::Differs => 10,
        }
    }
}

impl From<u8> for ExitKind {
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

/// An error of a command or of the local API: `larder.error/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct CliError {
    /// The error code, a word for scripts.
    pub code: String,
    /// The exit code of the command.
    pub exit: ExitKind,
    /// The error in words: what happened, and whose fault it is.
    pub text: String,
    /// The advice: what to do next.
    pub hint: Option<String>,
}

impl CliError {
    /// An error without a hint.
    pub fn new(exit: ExitKind, code: &str, text: impl Into<String>) -> Self {
        Self { code: code.to_owned(), exit, text: text.into(), hint: None }
    }

    /// Adds a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An error of the caller: an argument or value that is not valid.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(ExitKind::Usage, "usage", text)
    }

    /// An error of the caller: a name without a thing.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self::new(ExitKind::NotFound, "not-found", text)
    }

    /// An error of the host or of Larder.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::new(ExitKind::Failed, "failed", text)
    }
}

/// The advice for a damaged copy.
pub const REFETCH_HINT: &str = "the node fetches it again from the first member that it reaches (see \
    `larder sync status`); if there is no other member, restore the data directory from a backup";

/// The advice for the replacement of a node that is up.
const REPLACED_NODE_IS_UP_HINT: &str = "stop its daemon and wait until `larder nodes` shows it as away, or \
    remove it with `larder remove`";

impl From<RequestError> for CliError {
    fn from(request_error: RequestError) -> Self {
        let text = request_error.to_string();
        let (exit, code, hint) = match &request_error {
            RequestError::UnknownGroup => (ExitKind::Unreachable, "no-group", "see `larder groups`"),
            RequestError::Name(error) => return Self::from_lookup_error(error),
            RequestError::MembershipEnded(_) => (
                ExitKind::Refused,
                "no-member",
                "ask an admin for an invite code, and run `larder join CODE`",
            ),
            RequestError::GroupNameTaken(_) => (ExitKind::Refused, "member", "see `larder groups`"),
            RequestError::NothingToUndo => (
                ExitKind::NotFound,
                "not-found",
                "see `larder log`; `larder revert CHANGE` takes back a change of any node",
            ),
            RequestError::EmptyScope(_) => (ExitKind::NotFound, "not-found", "see `larder log`"),
            RequestError::CannotReplaceSelf => (ExitKind::Usage, "usage", ""),
            RequestError::ReplacedNodeIsUp(_) => (ExitKind::Refused, "up", REPLACED_NODE_IS_UP_HINT),
            RequestError::InvalidGroupName => (ExitKind::Usage, "usage", ""),
            RequestError::InvalidEdit(error) => return Self::from_edit_error(error),
            RequestError::Revert(error) => return Self::from_revert_error(error),
            RequestError::Write(error) => return Self::from_write_error(error),
            RequestError::HeadsChanged(_) => {
                (ExitKind::Refused, "base-moved", "see `larder diff`, then try again")
            }
            RequestError::NotAdmin => (ExitKind::Refused, "role", "ask an admin; `larder nodes` lists them"),
            RequestError::NotGrantingAdmin => {
                (ExitKind::Refused, "role", "see `larder nodes`, and `larder recover --key FILE`")
            }
            RequestError::NotFounder => (ExitKind::Refused, "role", "give the recovery key with --key FILE"),
            RequestError::LastAdmin => (
                ExitKind::Refused,
                "last-admin",
                "first make another node admin with `larder role NODE admin`, or delete the group with \
                 `larder delete-group`",
            ),
            RequestError::NotMember => (ExitKind::NotFound, "not-found", "see `larder nodes`"),
            RequestError::StillMember => {
                (ExitKind::Refused, "member", "remove it first: `larder remove NODE`")
            }
            RequestError::CannotRemoveSelf => (ExitKind::Usage, "usage", "see `larder leave`"),
            RequestError::RoleUnchanged(_) => (ExitKind::Refused, "same", ""),
            RequestError::ChangeByOtherNode => (ExitKind::NotFound, "not-found", "see `larder log`"),
            RequestError::WrongRecoveryKey => {
                (ExitKind::Refused, "recovery-key", "use the file recovery-GROUP.key of this group")
            }
            RequestError::NotUnaccepted => (ExitKind::NotFound, "not-found", "see `larder quarantine list`"),
            RequestError::SameChainTwice => (ExitKind::Usage, "usage", "see `larder quarantine list`"),
            RequestError::NoPairingRequest => (ExitKind::NotFound, "not-found", "see `larder pending`"),
            RequestError::WrongDigits => {
                (ExitKind::Refused, "digits", "compare both screens again: `larder pending` shows the digits")
            }
            RequestError::InvalidGrantTerms => (ExitKind::Refused, "terms", ""),
            RequestError::UnknownInvite => (ExitKind::NotFound, "not-found", "see `larder invite list`"),
            RequestError::JoinDenied(denial) => return Self::from_denial(*denial),
            RequestError::AlreadyMember => (ExitKind::Refused, "member", "see `larder groups`"),
            RequestError::JoinReplaced => (ExitKind::Refused, "replaced", "see `larder groups`"),
            RequestError::NotLinked => (ExitKind::Failed, "no-link", "see `larder nodes`"),
            RequestError::LimitReached(_) => (ExitKind::Refused, "full", ""),
            RequestError::TooManyPendingWrites => (ExitKind::Failed, "busy", "try again in a moment"),
            RequestError::StoreFailed(_) => (ExitKind::Failed, "storage", ""),
            RequestError::Refetching => (ExitKind::Failed, "refetching", REFETCH_HINT),
        };
        let failure = Self::new(exit, code, text);
        if hint.is_empty() { failure } else { failure.with_hint(hint) }
    }
}

impl From<LookupError> for CliError {
    fn from(error: LookupError) -> Self {
        Self::from_lookup_error(&error)
    }
}

impl CliError {
    fn from_lookup_error(error: &LookupError) -> Self {
        let text = error.to_string();
        match error {
            LookupError::NoGroup => Self::new(ExitKind::Unreachable, "no-group", text)
                .with_hint("create one with `larder init NAME`, or join one with `larder join CODE`"),
            LookupError::GroupNotNamed(names) => {
                Self::usage(text).with_hint(format!("one of: {}", names.join(", ")))
            }
            LookupError::NotFound(NameKind::Group, name) => {
                let text = format!("this node is in no group `{name}`");
                Self::new(ExitKind::Unreachable, "no-group", text).with_hint("see `larder groups`")
            }
            LookupError::NotFound(kind, _) => Self::not_found(text).with_hint(match kind {
                NameKind::Group => "see `larder groups`",
                NameKind::Node => "see `larder nodes`",
                NameKind::Change => "see `larder log --all`",
                NameKind::HistoryPoint => "see `larder log` and `larder tag`",
                NameKind::UnacceptedChange => "see `larder quarantine list`",
                NameKind::Invite => "see `larder invite list`",
                NameKind::JoinRequest => "see `larder pending`",
            }),
            LookupError::Ambiguous { candidates, .. } => {
                let shown: Vec<&str> =
                    candidates.iter().take(MAX_CANDIDATES_SHOWN).map(String::as_str).collect();
                let more = if candidates.len() > shown.len() { ", ..." } else { "" };
                Self::new(ExitKind::NotFound, "ambiguous", text)
                    .with_hint(format!("one of: {}{more}", shown.join(", ")))
            }
            LookupError::NotDesired(_) => Self::new(ExitKind::Refused, "not-desired", text)
                .with_hint("see `larder show`; `larder role` and `larder remove` change the membership"),
        }
    }

    fn from_edit_error(error: &EditError) -> Self {
        let text = error.to_string();
        match error {
            EditError::Conflicted(field) => Self::new(ExitKind::Refused, "conflict", text)
                .with_hint(format!("resolve it: `larder resolve {field} --take A|B` or `--value ...`")),
            EditError::ConflictChanged(..) => {
                Self::new(ExitKind::Refused, "conflict-moved", text).with_hint("see `larder conflicts`")
            }
            EditError::UnknownResource(_) => Self::not_found(text).with_hint("see `larder list`"),
            EditError::NoConflict(..) | EditError::UnknownSide { .. } => {
                Self::not_found(text).with_hint("see `larder conflicts`")
            }
            EditError::TagExists(..) => Self::new(ExitKind::Refused, "tag-exists", text)
                .with_hint("move it with --force, or choose another name"),
            EditError::UnknownTag(_) => Self::not_found(text).with_hint("see `larder tag`"),
            EditError::UnresolvedName(_) => Self::failed(text),
            EditError::Schema(_)
            | EditError::Path(_)
            | EditError::ReservedResource(_)
            | EditError::NotAList(..)
            | EditError::InvalidLabelText(_)
            | EditError::AliasBeginsId { .. }
            | EditError::InvalidTag(_)
            | EditError::TooManyFields(_)
            | EditError::TooLarge(_) => Self::usage(text),
        }
    }

    fn from_revert_error(error: &RevertError) -> Self {
        let text = error.to_string();
        match error {
            RevertError::Overwritten(_) => Self::new(ExitKind::Refused, "overwritten", text)
                .with_hint("revert the later changes too, or set the fields with `larder set`"),
            RevertError::Conflicted(_) => Self::new(ExitKind::Refused, "conflict", text)
                .with_hint("resolve it first: see `larder conflicts` and `larder resolve`"),
            RevertError::TooManyFields(_) => {
                Self::usage(text).with_hint("restore one kind or resource at a time")
            }
            RevertError::Unreadable(_) => Self::failed(text),
        }
    }

    fn from_write_error(error: &WriteError) -> Self {
        let text = error.to_string();
        match error {
            WriteError::Role(_) | WriteError::NotMember => Self::new(ExitKind::Refused, "role", text)
                .with_hint("ask an operator or admin; `larder nodes` lists them"),
            WriteError::Delta(_) | WriteError::MessageTooLong(_) => Self::usage(text),
            _ => Self::failed(text),
        }
    }

    fn from_denial(denial: JoinDenial) -> Self {
        Self::new(ExitKind::Refused, "denied", denial.to_string())
            .with_hint("ask an admin of the group for a new code, with `larder invite`")
    }
}
