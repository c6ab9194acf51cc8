//! Providers: what brings this machine to what a resource wants, and says how that went.
//!
//! A provider is a plain function of the target, of what this machine ran before, and of the disk. It may be run again
//! at any time: what is already so is not touched. It writes below the [`WriteRoots`] only, which are this machine's own
//! policy and never come from the group.

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

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyOutcome {
    /// How the resource stands here.
    pub state: ResourceState,
    /// An errno, or 0.
    pub errno: i64,
    /// Why, in a few words; never a value.
    pub message: String,
    /// What this machine runs of it from now on.
    pub applied: AppliedState,
}

/// What a machine runs of a resource after a provider was at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppliedState {
    /// What it ran before.
    Unchanged,
    /// These fields.
    Now(FieldValues),
    /// Nothing.
    Nothing,
}

/// Why a resource was not applied. Nothing was changed.
#[derive(Debug, thiserror::Error)]
enum ApplyError {
    /// The operator of this machine forbids it.
    #[error("policy: {0}")]
    Policy(String),
    /// The group's fault: it asks for something that cannot be.
    #[error("{0}")]
    BadSpec(String),
    /// The system's.
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

/// All providers of this machine.
#[derive(Debug)]
pub struct Providers {
    roots: WriteRoots,
    previous_dir: PathBuf,
}

impl Providers {
    /// Providers that write below `roots`, and keep in `previous` what stood where Larder writes for the first time.
    pub fn new(roots: WriteRoots, previous_dir: &Path) -> Self {
        Self { roots, previous_dir: previous_dir.to_owned() }
    }

    /// Brings this machine to `target`. `runs` is what it ran of the resource until now.
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
        // What moved elsewhere leaves nothing behind.
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

    /// Keeps a file's contents as they were before Larder wrote it for the first time.
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
        save().map_err(|error| ApplyError::Io("keeping the previous contents".to_owned(), error))
    }
}

#[cfg(test)]
mod tests;
