//! The roots: the directories that providers may write to. They are settings of this host and never come from
//! the group.
//!
//! A root is opened anew for each resource, so that a root that was mounted over, replaced or created since
//! is the one that the path of the operator shows.

use std::io;
use std::path::{Component, Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::error::ApplyError;

/// Directories below which providers may write.
#[derive(Debug)]
pub struct WriteRoots {
    /// The paths that the operator named, made absolute.
    paths: Vec<PathBuf>,
    /// True if a missing root is created.
    is_created: bool,
}

/// A root, opened.
#[derive(Debug)]
pub(super) struct OpenRoot {
    /// The path of the directory with symbolic links resolved.
    pub(super) real_path: PathBuf,
    pub(super) dir: Dir,
}

impl OpenRoot {
    fn open(path: &Path) -> io::Result<Self> {
        let real_path = path.canonicalize()?;
        let dir = Dir::open_ambient_dir(&real_path, ambient_authority())?;
        Ok(Self { real_path, dir })
    }
}

impl WriteRoots {
    /// Roots that the operator named. While one is missing, the resources below it are blocked.
    pub fn named(paths: &[PathBuf]) -> io::Result<Self> {
        let paths = paths.iter().map(std::path::absolute).collect::<io::Result<_>>()?;
        Ok(Self { paths, is_created: false })
    }

    /// A root that is created if it is missing.
    pub fn created(path: &Path) -> io::Result<Self> {
        Ok(Self { paths: vec![std::path::absolute(path)?], is_created: true })
    }

    /// Returns a message for each root that cannot be opened now.
    pub fn list_missing(&self) -> Vec<String> {
        let open = |path: &PathBuf| self.open(path).err().map(|error| format!("{}: {error}", path.display()));
        self.paths.iter().filter_map(open).collect()
    }

    fn open(&self, path: &Path) -> io::Result<OpenRoot> {
        match OpenRoot::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.is_created => {
                std::fs::create_dir_all(path)?;
                OpenRoot::open(path)
            }
            opened => opened,
        }
    }

    /// Returns the root of `path` and the path below it. A relative path is below the first root. An absolute
    /// path must be inside a root.
    pub(super) fn locate(&self, path: &str) -> Result<(OpenRoot, PathBuf), ApplyError> {
        let requested = Path::new(path);
        if requested.components().any(|part| part == Component::ParentDir) {
            return Err(ApplyError::Policy(format!("the path contains `..`: {path}")));
        }
        let (root_path, relative_path) = self.split_root(requested).ok_or_else(|| {
            ApplyError::Policy(format!("outside the roots: {path} (roots: {})", self.display_list()))
        })?;
        let relative_path: PathBuf =
            relative_path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
        if relative_path.as_os_str().is_empty() {
            return Err(ApplyError::Policy(format!(
                "the path names a root itself, not a file in it: {path}"
            )));
        }
        let root = self.open(root_path).map_err(|error| {
            ApplyError::Obstacle(format!("the root cannot be opened: {error}: {}", root_path.display()))
        })?;
        Ok((root, relative_path))
    }

    /// Splits a path into the root that it is in and the rest.
    fn split_root<'a>(&'a self, requested: &'a Path) -> Option<(&'a Path, PathBuf)> {
        if !requested.is_absolute() {
            return self.paths.first().map(|root| (root.as_path(), requested.to_owned()));
        }
        self.paths.iter().find_map(|root| {
            let rest = requested.strip_prefix(root).map(Path::to_owned).ok();
            let real_rest = || Some(requested.strip_prefix(root.canonicalize().ok()?).ok()?.to_owned());
            Some((root.as_path(), rest.or_else(real_rest)?))
        })
    }

    /// Returns the paths of the roots as text.
    fn display_list(&self) -> String {
        self.paths.iter().map(|root| root.display().to_string()).collect::<Vec<_>>().join(", ")
    }
}
