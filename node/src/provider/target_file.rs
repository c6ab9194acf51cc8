//! A file below a root. Reads and writes never leave the root, whatever symbolic links there are.
//!
//! A write goes to a staging file next to the target, which is synced and then renamed. A reader sees either
//! the old file or the new one.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;

use cap_std::fs::{
    Dir, DirBuilder, DirBuilderExt as _, File, MetadataExt as _, OpenOptions, OpenOptionsExt as _,
    Permissions, PermissionsExt as _,
};
use larder_core::id::hash16;

use super::WriteRoots;
use super::attributes::copy_attributes;
use super::crash_point::crash_point;
use super::error::ApplyError;
use super::protected::{DirId, ProtectedPaths, dir_id};
use crate::limits;

/// The mode of a new file if the resource names none.
const DEFAULT_MODE: u32 = 0o644;
/// The permissions that a new directory has at least, unless its parent belongs to this user and has fewer.
const DIRECTORY_MODE: u32 = 0o755;

/// A place for a file below a root.
#[derive(Debug)]
pub(super) struct TargetFile {
    /// The deepest directory on the way to the file that exists.
    dir: Dir,
    /// The directories between `dir` and the file, which are missing.
    missing_dirs: Vec<OsString>,
    name: OsString,
    display_path: String,
    /// The path of the file with the symbolic links of its directories resolved.
    pub(super) real_path: PathBuf,
}

/// The file at the path.
#[derive(Debug)]
pub(super) struct ExistingFile {
    pub(super) contents: Vec<u8>,
    pub(super) mode: u32,
    /// The number of other names (hard links) that the file has.
    pub(super) other_links: u64,
    owner_ids: (u32, u32),
    file: File,
}

impl TargetFile {
    /// Finds the place of `path`, as the roots lead to it now.
    pub(super) fn locate(
        roots: &WriteRoots,
        protected: &ProtectedPaths,
        path: &str,
    ) -> Result<Self, ApplyError> {
        let (root, relative_path) = roots.locate(path)?;
        let to_error = |error: io::Error| io_error("open the directory", path, error);
        let name = relative_path.file_name().unwrap_or_default().to_owned();
        let mut existing_dir = relative_path.parent().unwrap_or(&relative_path).to_owned();
        let mut missing_dirs = Vec::new();
        let dir = loop {
            let opened = if existing_dir.as_os_str().is_empty() {
                root.dir.try_clone()
            } else {
                root.dir.open_dir(&existing_dir)
            };
            match opened {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    missing_dirs.insert(0, existing_dir.file_name().unwrap_or_default().to_owned());
                    if !existing_dir.pop() {
                        return Err(to_error(error));
                    }
                }
                opened => break opened.map_err(to_error)?,
            }
        };
        let real_dir = root.real_path.join(&existing_dir).canonicalize().map_err(to_error)?;
        let real_path = missing_dirs.iter().chain([&name]).fold(real_dir, |path, part| path.join(part));
        if protected.contains_dir(&dir).map_err(to_error)? || protected.is_settings_file(&real_path) {
            return Err(ApplyError::Policy(format!("the path leads to the daemon's own files: {path}")));
        }
        Ok(Self { dir, missing_dirs, name, display_path: path.to_owned(), real_path })
    }

    /// Returns the path as the resource names it.
    pub(super) fn display_path(&self) -> &str {
        &self.display_path
    }

    /// Returns the directory and the name of the file, by which one file is recognised under several paths.
    /// `None` while the directory is missing.
    pub(super) fn position(&self) -> Option<(DirId, OsString)> {
        let id = dir_id(&self.dir).ok().filter(|_| self.missing_dirs.is_empty())?;
        Some((id, self.name.clone()))
    }

    /// True if both paths lead to one file.
    pub(super) fn is_same_file(&self, other: &Self) -> bool {
        self.real_path == other.real_path
            || self.position().is_some_and(|position| Some(position) == other.position())
    }

    fn step_error(&self, step: &'static str) -> impl FnOnce(io::Error) -> ApplyError {
        let path = self.display_path.clone();
        move |error| io_error(step, &path, error)
    }

    /// Reads the file; `None` if there is none. A directory, link or device at the path is an error.
    pub(super) fn read(&self) -> Result<Option<ExistingFile>, ApplyError> {
        if !self.missing_dirs.is_empty() {
            return Ok(None);
        }
        let meta = match self.dir.symlink_metadata(&self.name) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read the file", &self.display_path, error)),
        };
        if !meta.is_file() {
            let file_type = match () {
                () if meta.is_dir() => "a directory",
                () if meta.is_symlink() => "a symbolic link",
                () => "not a regular file",
            };
            return Err(ApplyError::Obstacle(format!(
                "the path is {file_type}, which Larder does not replace: {}",
                self.display_path
            )));
        }
        let mut options = OpenOptions::new();
        // If another program replaced the file by a pipe, opening it must not block.
        options
            .read(true)
            .custom_flags((rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW).bits().cast_signed());
        let mut contents = Vec::new();
        let file = self.dir.open_with(&self.name, &options).map_err(self.step_error("open the file"))?;
        let meta = file.metadata().map_err(self.step_error("read the file"))?;
        let read = (&file).take(limits::MAX_FILE_BYTES + 1).read_to_end(&mut contents);
        read.map_err(self.step_error("read the file"))?;
        if contents.len() as u64 > limits::MAX_FILE_BYTES {
            return Err(ApplyError::Obstacle(format!(
                "the file is longer than {} bytes: {}",
                limits::MAX_FILE_BYTES,
                self.display_path
            )));
        }
        Ok(Some(ExistingFile {
            contents,
            mode: meta.mode() & 0o7777,
            other_links: meta.nlink().saturating_sub(1),
            owner_ids: (meta.uid(), meta.gid()),
            file,
        }))
    }

    /// Writes the file, completely or not at all. It keeps the owner and the attributes of the existing file,
    /// and its mode if `mode` is `None`.
    pub(super) fn write(
        &mut self,
        contents: &[u8],
        mode: Option<u32>,
        existing: Option<&ExistingFile>,
    ) -> Result<(), ApplyError> {
        self.create_dirs()?;
        self.remove_staging_file()?;
        let mode = mode.or(existing.map(|found| found.mode)).unwrap_or(DEFAULT_MODE);
        crash_point();
        self.stage(contents, mode, existing).and_then(|()| self.publish()).inspect_err(|_| {
            // The first error matters, not that of the clean-up.
            drop(self.remove_staging_file());
        })
    }

    fn stage(&self, contents: &[u8], mode: u32, existing: Option<&ExistingFile>) -> Result<(), ApplyError> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let create_error = self.step_error("create a file in the directory");
        let mut file: File = self.dir.open_with(self.staging_name(), &options).map_err(create_error)?;
        file.write_all(contents).map_err(self.step_error("write the new contents"))?;
        if let Some(found) = existing {
            let meta = file.metadata().map_err(self.step_error("read the new file"))?;
            if (meta.uid(), meta.gid()) != found.owner_ids {
                let owner = rustix::fs::Uid::from_raw(found.owner_ids.0);
                let group = rustix::fs::Gid::from_raw(found.owner_ids.1);
                rustix::fs::fchown(&file, Some(owner), Some(group))
                    .map_err(|error| self.step_error("keep the owner of the file")(error.into()))?;
            }
            copy_attributes(&found.file, &file)
                .map_err(self.step_error("keep the extended attributes of the file"))?;
        }
        // After the attributes: an access control list changes the mode.
        file.set_permissions(Permissions::from_mode(mode)).map_err(self.step_error("set the mode"))?;
        file.sync_all().map_err(self.step_error("write the new contents"))
    }

    /// Renames the staging file to the target.
    fn publish(&self) -> Result<(), ApplyError> {
        crash_point();
        let renamed = self.dir.rename(self.staging_name(), &self.dir, &self.name);
        renamed.map_err(self.step_error("replace the file"))?;
        crash_point();
        self.sync_dir()
    }

    /// Creates the missing directories. The umask of the daemon does not matter.
    fn create_dirs(&mut self) -> Result<(), ApplyError> {
        for name in std::mem::take(&mut self.missing_dirs) {
            let created = create_dir(&self.dir, &name);
            self.dir = created.map_err(self.step_error("create a directory on the way"))?;
        }
        Ok(())
    }

    /// Removes the file, which must exist.
    pub(super) fn remove(&self) -> Result<(), ApplyError> {
        self.remove_staging_file()?;
        crash_point();
        self.dir.remove_file(&self.name).map_err(self.step_error("remove the file"))?;
        crash_point();
        self.sync_dir()
    }

    /// Removes the staging file of an interrupted write.
    pub(super) fn remove_staging_file(&self) -> Result<(), ApplyError> {
        if !self.missing_dirs.is_empty() {
            return Ok(());
        }
        match self.dir.remove_file(self.staging_name()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove an unfinished file", &self.display_path, error))
            }
            _ => Ok(()),
        }
    }

    /// Returns the name of the staging file: hidden, short, and always the same for one target.
    pub(super) fn staging_name(&self) -> String {
        let hash = hash16("larder 1 staged", &[self.name.as_encoded_bytes()]);
        format!(".larder-{}.new", data_encoding::HEXLOWER.encode(&hash))
    }

    fn sync_dir(&self) -> Result<(), ApplyError> {
        sync(&self.dir).map_err(self.step_error("make the change durable"))
    }
}

fn io_error(step: &'static str, path: &str, error: io::Error) -> ApplyError {
    // cap-std reports in this way that the path would leave the root.
    if error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none() {
        return ApplyError::Obstacle(format!("policy: a link leads outside the roots: {path}"));
    }
    ApplyError::Io { step, path: path.to_owned(), error }
}

fn sync(dir: &Dir) -> io::Result<()> {
    dir.open(".")?.sync_all()
}

/// Creates a directory that services can enter: with the mode of its parent if the parent belongs to this
/// user, but not writable for all users.
fn create_dir(parent: &Dir, name: &OsString) -> io::Result<Dir> {
    let parent_meta = parent.dir_metadata()?;
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    parent.create_dir_with(name, &builder)?;
    let dir = parent.open_dir(name)?;
    let is_own = parent_meta.uid() == dir.dir_metadata()?.uid();
    let inherited = parent_meta.mode() & 0o2775;
    let mode = if is_own { inherited } else { inherited | DIRECTORY_MODE };
    parent.set_permissions(name, Permissions::from_mode(mode))?;
    sync(parent)?;
    Ok(dir)
}
