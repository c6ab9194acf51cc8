//! The files of the daemon itself. They are never the target of a resource, whatever the roots are: otherwise
//! a group could write the settings of a host.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, MetadataExt as _};

use crate::data_dir::DataDir;

/// The device and inode of a directory.
pub(super) type DirId = (u64, u64);

/// The directories and files that no resource may write to.
#[derive(Debug)]
pub(super) struct ProtectedPaths {
    /// The directories, each with everything below it.
    dirs: Vec<PathBuf>,
    /// The directory within them that is a root by default.
    files_dir: PathBuf,
    settings_file: Option<PathBuf>,
}

impl ProtectedPaths {
    pub(super) fn new(data_dir: &DataDir, settings_file: Option<&Path>) -> Self {
        Self {
            dirs: vec![data_dir.path.clone(), data_dir.kept_dir(), data_dir.written_dir()],
            files_dir: data_dir.files_dir(),
            settings_file: settings_file.map(Path::to_owned),
        }
    }

    /// True if `dir` is one of the daemon's own directories or below one, by whatever path it was reached.
    pub(super) fn contains_dir(&self, dir: &Dir) -> io::Result<bool> {
        let id_of_path = |path: &PathBuf| fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
        let protected: Vec<DirId> = self.dirs.iter().filter_map(id_of_path).collect();
        let files = id_of_path(&self.files_dir);
        let mut dir = dir.try_clone()?;
        let mut id = dir_id(&dir)?;
        loop {
            if files == Some(id) {
                return Ok(false);
            }
            if protected.contains(&id) {
                return Ok(true);
            }
            let parent = dir.open_parent_dir(ambient_authority())?;
            let parent_id = dir_id(&parent)?;
            if parent_id == id {
                return Ok(false);
            }
            (dir, id) = (parent, parent_id);
        }
    }

    /// True if the path, with links resolved, is that of the settings file.
    pub(super) fn is_settings_file(&self, real_path: &Path) -> bool {
        let settings_file = self.settings_file.as_deref().and_then(|path| path.canonicalize().ok());
        settings_file.is_some_and(|path| path == real_path)
    }
}

/// Returns the device and inode of an open directory.
pub(super) fn dir_id(dir: &Dir) -> io::Result<DirId> {
    let meta = dir.dir_metadata()?;
    Ok((meta.dev(), meta.ino()))
}
