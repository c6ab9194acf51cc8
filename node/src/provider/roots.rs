//! Where providers may write: this machine's own word, never the group's.

use std::io;
use std::path::{Component, Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;

/// Directories below which providers may write.
#[derive(Debug)]
pub struct Roots {
    roots: Vec<Root>,
}

#[derive(Debug)]
struct Root {
    /// As the operator named it, made absolute.
    named: PathBuf,
    /// The same without symbolic links.
    real: PathBuf,
    dir: Dir,
}

/// Why a path lies nowhere that Larder may write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RootError {
    #[error("{path} is outside the roots ({roots})")]
    Outside { path: String, roots: String },
    #[error("`..` in {0}")]
    Up(String),
    #[error("{0} names a root itself, not a file in it")]
    Bare(String),
}

impl Roots {
    /// Roots that an operator named: each must be there.
    pub fn named(paths: &[PathBuf]) -> io::Result<Self> {
        let open = |path: &PathBuf| {
            Root::open(path)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
        };
        Ok(Self { roots: paths.iter().map(open).collect::<io::Result<_>>()? })
    }

    /// Roots of our own: made where there are none.
    pub fn made(paths: &[PathBuf]) -> io::Result<Self> {
        paths.iter().try_for_each(std::fs::create_dir_all)?;
        Self::named(paths)
    }

    /// The root that `path` lies under, and the rest of the way. A relative path lies under the first root; an absolute
    /// one must lie inside a root, and is never moved to another.
    pub(super) fn find(&self, path: &str) -> Result<(&Dir, PathBuf), RootError> {
        let asked = Path::new(path);
        if asked.components().any(|part| part == Component::ParentDir) {
            return Err(RootError::Up(path.to_owned()));
        }
        let found = if asked.is_absolute() {
            self.roots.iter().find_map(|root| Some((&root.dir, root.below(asked)?)))
        } else {
            self.roots.first().map(|root| (&root.dir, asked))
        };
        let (dir, rest) =
            found.ok_or_else(|| RootError::Outside { path: path.to_owned(), roots: self.list() })?;
        let rest: PathBuf = rest.components().filter(|part| matches!(part, Component::Normal(_))).collect();
        if rest.as_os_str().is_empty() {
            return Err(RootError::Bare(path.to_owned()));
        }
        Ok((dir, rest))
    }

    /// The roots, for people.
    pub(super) fn list(&self) -> String {
        self.roots.iter().map(|root| root.named.display().to_string()).collect::<Vec<_>>().join(", ")
    }
}

impl Root {
    fn open(path: &Path) -> io::Result<Self> {
        let named = std::path::absolute(path)?;
        let real = named.canonicalize()?;
        let dir = Dir::open_ambient_dir(&real, ambient_authority())?;
        Ok(Self { named, real, dir })
    }

    fn below<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        path.strip_prefix(&self.named).or_else(|_| path.strip_prefix(&self.real)).ok()
    }
}
