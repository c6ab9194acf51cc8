//! A file below a root. Reads and writes never leave the root, whatever symbolic links there are.
//!
//! A write goes to a staging file next to the target, which is synced and then renamed. A reader sees either
//! the old file or the new one.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, File, MetadataExt as _, OpenOptions, OpenOptionsExt as _, PermissionsExt as _};
use larder_core::id::hash16;

use super::{ApplyError, WriteRoots};
use crate::limits;

/// The mode of a new file if the resource names none.
const DEFAULT_MODE: u32 = 0o644;

/// The path of a file below a root.
#[derive(Debug)]
pub(super) struct TargetFile<'a> {
    root: &'a Dir,
    relative_path: PathBuf,
    display_path: String,
    roots_text: String,
}

/// The file at the path.
#[derive(Clone, Debug)]
pub(super) struct ExistingFile {
    pub(super) contents: Vec<u8>,
    pub(super) mode: u32,
    owner_ids: (u32, u32),
}

impl<'a> TargetFile<'a> {
    pub(super) fn locate(roots: &'a WriteRoots, path: &str) -> Result<Self, ApplyError> {
        let (root, rest) = roots.locate(path)?;
        Ok(Self {
            root,
            relative_path: rest,
            display_path: path.to_owned(),
            roots_text: roots.display_list(),
        })
    }

    /// Returns the path as the resource names it.
    pub(super) fn display_path(&self) -> &str {
        &self.display_path
    }

    fn to_apply_error(&self, error: io::Error) -> ApplyError {
        // cap-std reports in this way that the path would leave the root.
        let leaves_root = error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none();
        if leaves_root {
            return ApplyError::Policy(format!(
                "{} leads outside the roots ({})",
                self.display_path, self.roots_text
            ));
        }
        ApplyError::Io(self.display_path.clone(), error)
    }

    /// Reads the file; `None` if there is none. A directory, link or device at the path is an error.
    pub(super) fn read(&self) -> Result<Option<ExistingFile>, ApplyError> {
        let meta = match self.root.symlink_metadata(&self.relative_path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.to_apply_error(error)),
        };
        if !meta.is_file() {
            let file_type = match () {
                () if meta.is_dir() => "a directory",
                () if meta.is_symlink() => "a symbolic link",
                () => "not a regular file",
            };
            return Err(ApplyError::BadSpec(format!(
                "{} is {file_type}; Larder does not replace it",
                self.display_path
            )));
        }
        let mut options = OpenOptions::new();
        // If another program replaced the file by a pipe, opening it must not block.
        options
            .read(true)
            .custom_flags((rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW).bits().cast_signed());
        let mut contents = Vec::new();
        let read = self
            .root
            .open_with(&self.relative_path, &options)
            .and_then(|file| file.take(limits::MAX_FILE_BYTES + 1).read_to_end(&mut contents));
        read.map_err(|error| self.to_apply_error(error))?;
        if contents.len() as u64 > limits::MAX_FILE_BYTES {
            return Err(ApplyError::BadSpec(format!(
                "{} is longer than {} bytes",
                self.display_path,
                limits::MAX_FILE_BYTES
            )));
        }
        Ok(Some(ExistingFile { contents, mode: meta.mode() & 0o7777, owner_ids: (meta.uid(), meta.gid()) }))
    }

    /// Writes the file, completely or not at all. It keeps the owner of the existing file, and its mode if
    /// `mode` is `None`. It does not touch a file that is already right.
    pub(super) fn write(
        &self,
        contents: &[u8],
        mode: Option<u32>,
        existing: Option<&ExistingFile>,
    ) -> Result<(), ApplyError> {
        let mode = mode.or(existing.map(|found| found.mode)).unwrap_or(DEFAULT_MODE);
        self.remove_staging_file()?;
        if existing.is_some_and(|found| found.contents == contents && found.mode == mode) {
            return Ok(());
        }
        self.write_and_rename(contents, mode, existing).map_err(|error| {
            // The first error matters, not that of the clean-up.
            drop(self.remove_staging_file());
            self.to_apply_error(error)
        })
    }

    fn write_and_rename(
        &self,
        contents: &[u8],
        mode: u32,
        existing: Option<&ExistingFile>,
    ) -> io::Result<()> {
        if let Some(parent) = self.parent_dir() {
            self.root.create_dir_all(parent)?;
        }
        let staging_path = self.staging_path();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file: File = self.root.open_with(&staging_path, &options)?;
        file.write_all(contents)?;
        if let Some(found) = existing {
            let (owner, group) = found.owner_ids;
            let metadata = file.metadata()?;
            if (metadata.uid(), metadata.gid()) != (owner, group) {
                let (owner, group) = (rustix::fs::Uid::from_raw(owner), rustix::fs::Gid::from_raw(group));
                rustix::fs::fchown(&file, Some(owner), Some(group))?;
            }
        }
        file.set_permissions(cap_std::fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        self.root.rename(&staging_path, self.root, &self.relative_path)?;
        self.sync_parent_dir()
    }

    /// Removes the file, if there is one.
    pub(super) fn remove(&self) -> Result<(), ApplyError> {
        self.remove_staging_file()?;
        if self.read()?.is_none() {
            return Ok(());
        }
        let removed = self.root.remove_file(&self.relative_path).and_then(|()| self.sync_parent_dir());
        removed.map_err(|error| self.to_apply_error(error))
    }

    /// Removes the staging file of an interrupted write.
    fn remove_staging_file(&self) -> Result<(), ApplyError> {
        match self.root.remove_file(self.staging_path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.to_apply_error(error)),
            Ok(()) => Ok(()),
        }
    }

    /// Returns the path of the staging file: hidden, short, and always the same for one target.
    fn staging_path(&self) -> PathBuf {
        let name = self.relative_path.file_name().unwrap_or_default();
        let hash = hash16("larder 1 staged", &[name.as_encoded_bytes()]);
        self.relative_path.with_file_name(format!(".larder-{}.new", data_encoding::HEXLOWER.encode(&hash)))
    }

    #[cfg(test)]
    pub(super) fn staging_name(&self) -> String {
        self.staging_path().display().to_string()
    }

    fn parent_dir(&self) -> Option<&Path> {
        self.relative_path.parent().filter(|parent| !parent.as_os_str().is_empty())
    }

    fn sync_parent_dir(&self) -> io::Result<()> {
        let dir = self.root.open(self.parent_dir().unwrap_or(Path::new(".")))?;
        dir.sync_all()
    }
}
