//! Providers: what brings this machine to what a resource wants, and says how that went.
//!
//! A provider is a plain function of the target, of what this machine ran before, and of the disk. It may be run again
//! at any time: what is already so is not touched. It writes below the [`Roots`] only, which are this machine's own
//! policy and never come from the group.

mod config;
mod file;
mod properties;
mod roots;
mod spot;

use std::io;
use std::path::{Path, PathBuf};

use larder_core::resource::observed::Condition;
use larder_core::resource::target::{Fields, Intent, Target, text};

pub use roots::Roots;

use roots::RootError;
use spot::Spot;

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How the resource stands here.
    pub condition: Condition,
    /// An errno, or 0.
    pub code: i64,
    /// Why, in a few words; never a value.
    pub message: String,
    /// What this machine runs of it from now on.
    pub runs: Runs,
}

/// What a machine runs of a resource after a provider was at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runs {
    /// What it ran before.
    Same,
    /// These fields.
    Now(Fields),
    /// Nothing.
    Nothing,
}

/// Why a resource was not applied. Nothing was changed.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// The operator of this machine forbids it.
    #[error("policy: {0}")]
    Policy(String),
    /// The group's fault: it asks for something that cannot be.
    #[error("{0}")]
    Wish(String),
    /// The system's.
    #[error("{0}: {1}")]
    System(String, io::Error),
}

impl From<RootError> for Refusal {
    fn from(error: RootError) -> Self {
        Self::Policy(error.to_string())
    }
}

impl Refusal {
    fn verdict(&self) -> Verdict {
        let (condition, code) = match self {
            Self::Policy(_) | Self::Wish(_) => (Condition::Blocked, 0),
            Self::System(_, error) => (Condition::Failed, error.raw_os_error().map_or(0, i64::from)),
        };
        Verdict { condition, code, message: self.to_string(), runs: Runs::Same }
    }
}

/// All providers of this machine.
#[derive(Debug)]
pub struct Providers {
    roots: Roots,
    previous: PathBuf,
}

impl Providers {
    /// Providers that write below `roots`, and keep in `previous` what stood where Larder writes for the first time.
    pub fn new(roots: Roots, previous: &Path) -> Self {
        Self { roots, previous: previous.to_owned() }
    }

    /// Brings this machine to `target`. `runs` is what it ran of the resource until now.
    pub fn carry_out(&self, target: &Target, runs: Option<&Fields>) -> Verdict {
        let verdict = |condition, message: &str, runs| Verdict {
            condition,
            code: 0,
            message: message.to_owned(),
            runs,
        };
        match &target.intent {
            Intent::Apply { fields, held } => match self.apply(target, fields, runs) {
                Ok(now) if held.is_empty() => verdict(Condition::Applied, "", Runs::Now(now)),
                Ok(now) => {
                    verdict(Condition::Held, &format!("in conflict: {}", held.join(", ")), Runs::Now(now))
                }
                Err(refusal) => refusal.verdict(),
            },
            Intent::Keep { held } => {
                verdict(Condition::Held, &format!("in conflict: {}", held.join(", ")), Runs::Same)
            }
            Intent::Remove => match runs.map(|runs| self.remove(target.resource.kind(), runs)) {
                None | Some(Ok(())) => verdict(Condition::Applied, "removed", Runs::Nothing),
                Some(Err(refusal)) => refusal.verdict(),
            },
            Intent::Release => verdict(Condition::Released, "no longer meant for this node", Runs::Nothing),
            Intent::Block(why) => verdict(Condition::Blocked, why, Runs::Same),
            Intent::Unsupported(why) => verdict(Condition::Unsupported, why, Runs::Same),
        }
    }

    fn apply(&self, target: &Target, fields: &Fields, runs: Option<&Fields>) -> Result<Fields, Refusal> {
        let kind = target.resource.kind();
        let path = text(fields, "path").ok_or_else(|| Refusal::Wish("incomplete: path".to_owned()))?;
        let spot = Spot::find(&self.roots, path)?;
        let here = runs.filter(|runs| text(runs, "path") == Some(path));
        let now = match kind {
            "file" => file::apply(self, &spot, fields, here)?,
            "config" => config::apply(self, &spot, fields, here)?,
            other => return Err(Refusal::Wish(format!("this version has no provider for kind {other}"))),
        };
        // What moved elsewhere leaves nothing behind.
        if let (Some(runs), None) = (runs, here) {
            self.remove(kind, runs)?;
        }
        Ok(now)
    }

    fn remove(&self, kind: &str, runs: &Fields) -> Result<(), Refusal> {
        let Some(path) = text(runs, "path") else { return Ok(()) };
        let spot = Spot::find(&self.roots, path)?;
        match kind {
            "config" => config::remove(&spot, runs),
            _ => spot.remove(),
        }
    }

    /// Keeps a file's contents as they were before Larder wrote it for the first time.
    fn keep_previous(&self, spot: &Spot<'_>, contents: &[u8]) -> Result<(), Refusal> {
        let name: String = spot.shown().chars().map(|c| if c == '/' { '%' } else { c }).collect();
        let name = name.trim_start_matches('%').to_owned();
        let keep = || -> io::Result<()> {
            std::fs::create_dir_all(&self.previous)?;
            let path = self.previous.join(name);
            if path.exists() { Ok(()) } else { std::fs::write(path, contents) }
        };
        keep().map_err(|error| Refusal::System("keeping the previous contents".to_owned(), error))
    }
}

#[cfg(test)]
mod tests;
