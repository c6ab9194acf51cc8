//! The roots: the directories that providers may write to. They are settings of this host and never come from
//! the group.

use std::io;
use std::path::{Component, Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;

/// Directories below which providers may write.
#[derive(Debug)]
pub struct WriteRoots {
    roots: Vec<WriteRoot>,
}

#[derive(Debug)]
struct WriteRoot {
    /// The path that the operator named, made absolute.
    configured_path: PathBuf,
    /// The same path with symbolic links resolved.
    real_path: PathBuf,
    dir: Dir,
}

/// The reason why Larder may not write to a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RootError {
    #[error("{path} is outside the roots ({roots})")]
    OutsideRoots { path: String, roots: String },
    #[error("{0} contains `..`")]
    ParentDir(String),
    #[error("{0} names a root itself, not a file in it")]
    RootItself(String),
}

impl WriteRoots {
    /// Opens roots that the operator named. Each must exist.
    pub fn open_existing(paths: &[PathBuf]) -> io::Result<Self> {
        let open = |path: &PathBuf| {
            WriteRoot::open(path)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
        };
        Ok(Self { roots: paths.iter().map(open).collect::<io::Result<_>>()? })
    }

    /// Opens roots, and creates those that are missing.
    pub fn open_or_create(paths: &[PathBuf]) -> io::Result<Self> {
        paths.iter().try_for_each(std::fs::create_dir_all)?;
        Self::open_existing(paths)
    }

    /// Returns the root of `path` and the path below it. A relative path is below the first root. An absolute
    /// path must be inside a root.
    pub(super) fn locate(&self, path: &str) -> Result<(&Dir, PathBuf), RootError> {
        let requested = Path::new(path);
        if requested.components().any(|part| part == Component::ParentDir) {
            return Err(RootError::ParentDir(path.to_owned()));
        }
        let location = if requested.is_absolute() {
            self.roots.iter().find_map(|root| Some((&root.dir, root.strip_root(requested)?)))
        } else {
            self.roots.first().map(|root| (&root.dir, requested))
        };
        let (dir, relative_path) = location
            .ok_or_else(|| RootError::OutsideRoots { path: path.to_owned(), roots: self.display_list() })?;
        let relative_path: PathBuf =
            relative_path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
        if relative_path.as_os_str().is_empty() {
            return Err(RootError::RootItself(path.to_owned()));
        }
        Ok((dir, relative_path))
    }

    /// Returns the paths of the roots as text.
    pub(super) fn display_list(&self) -> String {
        self.roots
            .iter()
            .map(|root| root.configured_path.display().to_string())
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl WriteRoot {
    fn open(path: &Path) -> io::Result<Self> {
        let configured_path = std::path::absolute(path)?;
        let real_path = configured_path.canonicalize()?;
        let dir = Dir::open_ambient_dir(&real_path, ambient_authority())?;
        Ok(Self { configured_path, real_path, dir })
    }

    fn strip_root<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        path.strip_prefix(&self.configured_path).or_else(|_| path.strip_prefix(&self.real_path)).ok()
    }
}
