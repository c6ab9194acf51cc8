//! Providers: they bring the host to the desired state of one resource, and report the result.
//!
//! A provider is a function of the target, of the fields that this node applied last, and of the disk. It may
//! run again at any time, and does not touch what is already right. It writes below the [`WriteRoots`] only.
//! The roots are a policy of this host and never come from the group.

mod config;
mod file;
mod properties;
mod roots;
mod target_file;

use std::io;
use std::path::{Path, PathBuf};

use larder_core::resource::observed::ResourceState;
use larder_core::resource::plan::{Action, FieldValues, Target, text_field};

pub use roots::WriteRoots;

use roots::RootError;
use target_file::TargetFile;

/// The result of applying a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyOutcome {
    /// The state of the resource on this host.
    pub state: ResourceState,
    /// The error number of the operating system, or 0.
    pub errno: i64,
    /// The reason for the state, in a few words. It never contains a value of the resource.
    pub message: String,
    /// The fields that this node has applied from now on.
    pub applied: AppliedState,
}

/// The applied fields of a resource after a provider ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppliedState {
    /// The same fields as before.
    Unchanged,
    /// The contained fields.
    Now(FieldValues),
    /// No fields: the resource is no longer on this host.
    Nothing,
}

/// The reason why a resource was not applied. The host was not changed.
#[derive(Debug, thiserror::Error)]
enum ApplyError {
    /// The roots of this host do not allow it.
    #[error("policy: {0}")]
    Policy(String),
    /// The desired state cannot be applied as it is written.
    #[error("{0}")]
    BadSpec(String),
    /// The operating system reported an error, with the path or the action.
    #[error("{0}: {1}")]
    Io(String, io::Error),
}

impl From<RootError> for ApplyError {
    fn from(error: RootError) -> Self {
        Self::Policy(error.to_string())
    }
}

impl ApplyError {
    fn to_outcome(&self) -> ApplyOutcome {
        let (condition, code) = match self {
            Self::Policy(_) | Self::BadSpec(_) => (ResourceState::Blocked, 0),
            Self::Io(_, error) => (ResourceState::Failed, error.raw_os_error().map_or(0, i64::from)),
        };
        ApplyOutcome {
            state: condition,
            errno: code,
            message: self.to_string(),
            applied: AppliedState::Unchanged,
        }
    }
}

/// All providers of this host.
#[derive(Debug)]
pub struct Providers {
    roots: WriteRoots,
    previous_dir: PathBuf,
}

impl Providers {
    /// Creates providers that write below `roots`, and that save a file in `previous_dir` before they first
    /// write to its path.
    pub fn new(roots: WriteRoots, previous_dir: &Path) -> Self {
        Self { roots, previous_dir: previous_dir.to_owned() }
    }

    /// Brings the host to `target`. `applied` holds the fields that this node applied last.
    pub fn apply_target(&self, target: &Target, applied: Option<&FieldValues>) -> ApplyOutcome {
        let outcome = |condition, message: &str, runs| ApplyOutcome {
            state: condition,
            errno: 0,
            message: message.to_owned(),
            applied: runs,
        };
        match &target.action {
            Action::Apply { fields, conflicted: held } => match self.apply(target, fields, applied) {
                Ok(new_fields) if held.is_empty() => {
                    outcome(ResourceState::Applied, "", AppliedState::Now(new_fields))
                }
                Ok(new_fields) => outcome(
                    ResourceState::Held,
                    &format!("in conflict: {}", held.join(", ")),
                    AppliedState::Now(new_fields),
                ),
                Err(refusal) => refusal.to_outcome(),
            },
            Action::Keep { conflicted: held } => outcome(
                ResourceState::Held,
                &format!("in conflict: {}", held.join(", ")),
                AppliedState::Unchanged,
            ),
            Action::Remove => {
                match applied.map(|applied| self.remove_applied(target.resource.kind(), applied)) {
                    None | Some(Ok(())) => outcome(ResourceState::Applied, "removed", AppliedState::Nothing),
                    Some(Err(refusal)) => refusal.to_outcome(),
                }
            }
            Action::Release => {
                outcome(ResourceState::Released, "no longer meant for this node", AppliedState::Nothing)
            }
            Action::Block(reason) => outcome(ResourceState::Blocked, reason, AppliedState::Unchanged),
            Action::Unsupported(reason) => {
                outcome(ResourceState::Unsupported, reason, AppliedState::Unchanged)
            }
        }
    }

    fn apply(
        &self,
        target: &Target,
        fields: &FieldValues,
        applied: Option<&FieldValues>,
    ) -> Result<FieldValues, ApplyError> {
        let kind = target.resource.kind();
        let path =
            text_field(fields, "path").ok_or_else(|| ApplyError::BadSpec("incomplete: path".to_owned()))?;
        let target_file = TargetFile::locate(&self.roots, path)?;
        let applied_here = applied.filter(|applied| text_field(applied, "path") == Some(path));
        let new_fields = match kind {
            "file" => file::apply(self, &target_file, fields, applied_here)?,
            "config" => config::apply(self, &target_file, fields, applied_here)?,
            other => {
                return Err(ApplyError::BadSpec(format!("this version has no provider for kind {other}")));
            }
        };
        // If the path changed, the file at the old path is removed.
        if let (Some(applied), None) = (applied, applied_here) {
            self.remove_applied(kind, applied)?;
        }
        Ok(new_fields)
    }

    fn remove_applied(&self, kind: &str, applied: &FieldValues) -> Result<(), ApplyError> {
        let Some(path) = text_field(applied, "path") else { return Ok(()) };
        let target_file = TargetFile::locate(&self.roots, path)?;
        match kind {
            "config" => config::remove_keys(&target_file, applied),
            _ => target_file.remove(),
        }
    }

    /// Saves the contents of a file before Larder first writes to its path.
    fn save_previous_contents(
        &self,
        target_file: &TargetFile<'_>,
        contents: &[u8],
    ) -> Result<(), ApplyError> {
        let name: String =
            target_file.display_path().chars().map(|c| if c == '/' { '%' } else { c }).collect();
        let name = name.trim_start_matches('%').to_owned();
        let save = || -> io::Result<()> {
            std::fs::create_dir_all(&self.previous_dir)?;
            let path = self.previous_dir.join(name);
            if path.exists() { Ok(()) } else { std::fs::write(path, contents) }
        };
        save().map_err(|error| {
            ApplyError::Io(format!("saving the previous contents of {}", target_file.display_path()), error)
        })
    }
}

#[cfg(test)]
mod tests;
