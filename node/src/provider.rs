//! Providers: they bring the host to the desired state of one resource, and report the result.
//!
//! A provider is a function of the target, of what this node applied last, and of the disk. It may run again
//! at any time, and does not touch what is already right. It writes below the [`WriteRoots`] only. The roots
//! are a policy of this host and never come from the group.
//!
//! Before a provider replaces or removes contents that Larder did not write there last, it keeps them, see
//! [`KeptFiles`].

mod attributes;
mod config;
mod crash_point;
mod error;
mod file;
mod kept;
mod managed_keys;
mod properties;
mod protected;
mod replace_file;
mod roots;
mod target_file;
mod written;

use std::path::Path;
use std::sync::Arc;

use larder_core::resource::literal::Literal;
use larder_core::resource::observed::ResourceState;
use larder_core::resource::plan::{Action, FieldValues, Target, text_field};
use larder_core::value::Value;

pub use error::ApplyError;
pub use kept::{KeptEntry, KeptFiles};
pub use roots::WriteRoots;
pub use written::PathOwner;

use crate::data_dir::DataDir;
use protected::ProtectedPaths;
use target_file::TargetFile;
use written::WrittenRecords;

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
    /// True if the resource is tried again, because the state depends on this host.
    pub is_retried: bool,
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

/// All providers of this host.
#[derive(Debug)]
pub struct Providers {
    roots: WriteRoots,
    protected: ProtectedPaths,
    kept: Arc<KeptFiles>,
    written: WrittenRecords,
    /// Returns the time in seconds since 1970.
    clock: fn() -> i64,
    owned_at_start: Vec<(PathOwner, FieldValues)>,
}

impl Providers {
    /// Opens the providers of a node. They write below `roots`, and never to the daemon's own files.
    pub fn open(
        roots: WriteRoots,
        data_dir: &DataDir,
        settings_file: Option<&Path>,
        clock: fn() -> i64,
    ) -> Self {
        let (written, owned) = WrittenRecords::open(&data_dir.written_dir());
        let protected = ProtectedPaths::new(data_dir, settings_file);
        let kept = Arc::new(KeptFiles::open(&data_dir.kept_dir()));
        let owned = owned.into_iter().map(|(owner, path)| (owner, only_path(&path)));
        Self { roots, protected, kept, written, clock, owned_at_start: owned.collect() }
    }

    /// The contents that were kept on this host.
    pub fn kept_files(&self) -> Arc<KeptFiles> {
        Arc::clone(&self.kept)
    }

    /// The resources that had a path when the providers were opened, each with that path as its only field. A
    /// crash may have come before the daemon stored that it applied them.
    pub fn owned_at_start(&self) -> &[(PathOwner, FieldValues)] {
        &self.owned_at_start
    }

    /// Brings the host to `target`, a resource of `owner`. `applied` holds the fields that this node applied
    /// last.
    pub fn apply_target(
        &self,
        owner: &PathOwner,
        target: &Target,
        applied: Option<&FieldValues>,
    ) -> ApplyOutcome {
        match &target.action {
            Action::Apply { fields, conflicted } => match self.apply(owner, fields, applied) {
                Ok(note) if conflicted.is_empty() => {
                    outcome(ResourceState::Applied, &note, AppliedState::Now(fields.clone()))
                }
                Ok(_) => outcome(
                    ResourceState::Held,
                    &format!("in conflict: {}", conflicted.join(", ")),
                    AppliedState::Now(fields.clone()),
                ),
                Err(error) => self.failed_apply(owner, fields, applied, &error),
            },
            Action::Keep { conflicted } => outcome(
                ResourceState::Held,
                &format!("in conflict: {}", conflicted.join(", ")),
                AppliedState::Unchanged,
            ),
            Action::Remove => match self.remove(owner, applied) {
                Ok(note) => {
                    outcome(ResourceState::Applied, &join_notes("removed", &note), AppliedState::Nothing)
                }
                Err(error) => error.to_outcome(),
            },
            Action::Release => match self.release(owner, applied) {
                Ok(()) => {
                    outcome(ResourceState::Released, "no longer meant for this node", AppliedState::Nothing)
                }
                Err(error) => error.to_outcome(),
            },
            Action::Forget => {
                if let Err(error) = self.written.disown(owner, None) {
                    tracing::warn!(resource = %owner.resource, %error, "cannot update the written records");
                }
                outcome(ResourceState::Released, "this node left the group", AppliedState::Nothing)
            }
            Action::Block(reason) => outcome(ResourceState::Blocked, reason, AppliedState::Unchanged),
            Action::Unsupported(reason) => {
                outcome(ResourceState::Unsupported, reason, AppliedState::Unchanged)
            }
        }
    }

    fn locate(&self, path: &str) -> Result<TargetFile, ApplyError> {
        TargetFile::locate(&self.roots, &self.protected, path)
    }

    /// Applies fields. Returns what an operator should know about it.
    fn apply(
        &self,
        owner: &PathOwner,
        fields: &FieldValues,
        applied: Option<&FieldValues>,
    ) -> Result<String, ApplyError> {
        let path =
            text_field(fields, "path").ok_or_else(|| ApplyError::BadSpec("incomplete: path".to_owned()))?;
        let mut target = self.locate(path)?;
        self.written
            .claim(&target, owner)
            .map_err(|other| ApplyError::Obstacle(format!("claim: the file belongs to {other}: {path}")))?;
        let note = match self.write_resource(owner, &mut target, fields) {
            Err(error) => {
                self.written.release_claim(&target);
                return Err(error);
            }
            Ok(note) => note,
        };
        let old_path = applied.and_then(|applied| text_field(applied, "path")).filter(|old| *old != path);
        let old_note = match old_path.map(|old_path| self.remove_old_path(owner, &target, old_path)) {
            Some(result) => result?,
            None => String::new(),
        };
        self.disown(owner, Some(&target))?;
        Ok(join_notes(&note, &old_note))
    }

    fn write_resource(
        &self,
        owner: &PathOwner,
        target: &mut TargetFile,
        fields: &FieldValues,
    ) -> Result<String, ApplyError> {
        match owner.resource.kind() {
            "file" => self.write_file(owner, target, file::contents(fields)?, file::mode(fields)?),
            "config" => self.write_config(owner, target, fields),
            other => Err(ApplyError::BadSpec(format!("this version has no provider for kind {other}"))),
        }
    }

    /// Removes what the resource left at its former path, unless that path leads to the same file.
    fn remove_old_path(
        &self,
        owner: &PathOwner,
        target: &TargetFile,
        old_path: &str,
    ) -> Result<String, ApplyError> {
        match self.locate(old_path) {
            Ok(old) if old.is_same_file(target) => Ok(String::new()),
            _ => self.remove_at(owner, old_path),
        }
    }

    /// Removes what a resource put at a path, if this host still lets Larder write there.
    fn remove_at(&self, owner: &PathOwner, path: &str) -> Result<String, ApplyError> {
        match self.locate(path) {
            Ok(target) => self.remove_file_of(owner, target),
            Err(ApplyError::Policy(reason)) => Ok(format!("the former file stays: {reason}")),
            Err(error) => Err(error),
        }
    }

    fn remove(&self, owner: &PathOwner, applied: Option<&FieldValues>) -> Result<String, ApplyError> {
        let note = match applied.and_then(|applied| text_field(applied, "path")) {
            Some(path) => self.remove_at(owner, path)?,
            None => String::new(),
        };
        self.disown(owner, None)?;
        Ok(note)
    }

    /// A file stays as it is; a config gives its keys back.
    fn release(&self, owner: &PathOwner, applied: Option<&FieldValues>) -> Result<(), ApplyError> {
        let path = applied.and_then(|applied| text_field(applied, "path"));
        if let Some(path) = path.filter(|_| owner.resource.kind() == "config") {
            self.remove_at(owner, path)?;
        }
        self.disown(owner, None)
    }

    fn disown(&self, owner: &PathOwner, except: Option<&TargetFile>) -> Result<(), ApplyError> {
        self.written.disown(owner, except).map_err(|error| ApplyError::Io {
            step: "save what was written",
            path: owner.resource.to_string(),
            error,
        })
    }

    /// The outcome of an apply that failed. If it got as far as to record the path, the resource counts as
    /// applied there, so that a removal takes back what was done.
    fn failed_apply(
        &self,
        owner: &PathOwner,
        fields: &FieldValues,
        applied: Option<&FieldValues>,
        error: &ApplyError,
    ) -> ApplyOutcome {
        let failed = error.to_outcome();
        match text_field(fields, "path") {
            Some(path) if applied.is_none() && self.written.is_owner(owner) => {
                ApplyOutcome { applied: AppliedState::Now(only_path(path)), ..failed }
            }
            _ => failed,
        }
    }
}

fn outcome(state: ResourceState, message: &str, applied: AppliedState) -> ApplyOutcome {
    ApplyOutcome { state, errno: 0, message: message.to_owned(), applied, is_retried: false }
}

fn only_path(path: &str) -> FieldValues {
    FieldValues::from([("path".to_owned(), Literal::Scalar(Value::from(path)))])
}

fn join_notes(first: &str, second: &str) -> String {
    [first, second].into_iter().filter(|note| !note.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;
