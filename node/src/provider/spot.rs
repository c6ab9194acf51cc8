//! One place for a file, below a root: looked at and written without ever leaving the root, whatever links lie about.
//!
//! A write is staged beside the target, brought to the disk, and renamed: a reader sees the old file or the new one.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, File, MetadataExt as _, OpenOptions, OpenOptionsExt as _, PermissionsExt as _};
use larder_core::id::hash16;

use super::{Refusal, Roots};
use crate::limits;

/// Permissions of a new file where the resource names none.
const NEW_MODE: u32 = 0o644;

/// A place for a file.
#[derive(Debug)]
pub(super) struct Spot<'a> {
    root: &'a Dir,
    rest: PathBuf,
    shown: String,
    roots: String,
}

/// What stands there.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) contents: Vec<u8>,
    pub(super) mode: u32,
    owner: (u32, u32),
}

impl<'a> Spot<'a> {
    pub(super) fn find(roots: &'a Roots, path: &str) -> Result<Self, Refusal> {
        let (root, rest) = roots.find(path)?;
        Ok(Self { root, rest, shown: path.to_owned(), roots: roots.list() })
    }

    /// The path as the resource has it.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    fn refusal(&self, error: io::Error) -> Refusal {
        // cap-std's way to say that links would lead out of the root.
        let escapes = error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none();
        if escapes {
            return Refusal::Policy(format!("{} leads outside the roots ({})", self.shown, self.roots));
        }
        Refusal::System(self.shown.clone(), error)
    }

    /// What stands there: a file's contents, or nothing. Anything else is in the way.
    pub(super) fn read(&self) -> Result<Option<Found>, Refusal> {
        let meta = match self.root.symlink_metadata(&self.rest) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.refusal(error)),
        };
        if !meta.is_file() {
            let what = match () {
                () if meta.is_dir() => "a directory",
                () if meta.is_symlink() => "a symbolic link",
                () => "no regular file",
            };
            return Err(Refusal::Wish(format!("{} is {what}, and is left alone", self.shown)));
        }
        let mut options = OpenOptions::new();
        // Should it have become a pipe since, opening it does not wait for a writer.
        options
            .read(true)
            .custom_flags((rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW).bits().cast_signed());
        let mut contents = Vec::new();
        let read = self
            .root
            .open_with(&self.rest, &options)
            .and_then(|file| file.take(limits::FILE_BYTES + 1).read_to_end(&mut contents));
        read.map_err(|error| self.refusal(error))?;
        if contents.len() as u64 > limits::FILE_BYTES {
            return Err(Refusal::Wish(format!("{} is longer than {} bytes", self.shown, limits::FILE_BYTES)));
        }
        Ok(Some(Found { contents, mode: meta.mode() & 0o7777, owner: (meta.uid(), meta.gid()) }))
    }

    /// Puts a file there, all or nothing. Where no mode is given, it is that of the file that was there; the owner always
    /// is. A file that is so already is not touched.
    pub(super) fn write(
        &self,
        contents: &[u8],
        mode: Option<u32>,
        before: Option<&Found>,
    ) -> Result<(), Refusal> {
        let mode = mode.or(before.map(|found| found.mode)).unwrap_or(NEW_MODE);
        self.unstage()?;
        if before.is_some_and(|found| found.contents == contents && found.mode == mode) {
            return Ok(());
        }
        self.replace(contents, mode, before).map_err(|error| {
            // Half a staged file helps nobody; what matters is why there is one.
            drop(self.unstage());
            self.refusal(error)
        })
    }

    fn replace(&self, contents: &[u8], mode: u32, before: Option<&Found>) -> io::Result<()> {
        if let Some(parent) = self.parent() {
            self.root.create_dir_all(parent)?;
        }
        let staged = self.staged();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file: File = self.root.open_with(&staged, &options)?;
        file.write_all(contents)?;
        if let Some(found) = before {
            let (owner, group) = found.owner;
            let here = file.metadata()?;
            if (here.uid(), here.gid()) != (owner, group) {
                let (owner, group) = (rustix::fs::Uid::from_raw(owner), rustix::fs::Gid::from_raw(group));
                rustix::fs::fchown(&file, Some(owner), Some(group))?;
            }
        }
        file.set_permissions(cap_std::fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        self.root.rename(&staged, self.root, &self.rest)?;
        self.sync_parent()
    }

    /// Takes the file away, if there is one.
    pub(super) fn remove(&self) -> Result<(), Refusal> {
        self.unstage()?;
        if self.read()?.is_none() {
            return Ok(());
        }
        let removed = self.root.remove_file(&self.rest).and_then(|()| self.sync_parent());
        removed.map_err(|error| self.refusal(error))
    }

    /// Takes away what a write that was cut short has left.
    fn unstage(&self) -> Result<(), Refusal> {
        match self.root.remove_file(self.staged()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.refusal(error)),
            Ok(()) => Ok(()),
        }
    }

    /// The staged file's name: hidden, short whatever the target's is, and always the same for one target.
    fn staged(&self) -> PathBuf {
        let name = self.rest.file_name().unwrap_or_default();
        let hash = hash16("larder 1 staged", &[name.as_encoded_bytes()]);
        self.rest.with_file_name(format!(".larder-{}.new", data_encoding::HEXLOWER.encode(&hash)))
    }

    #[cfg(test)]
    pub(super) fn staged_name(&self) -> String {
        self.staged().display().to_string()
    }

    fn parent(&self) -> Option<&Path> {
        self.rest.parent().filter(|parent| !parent.as_os_str().is_empty())
    }

    fn sync_parent(&self) -> io::Result<()> {
        let dir = self.root.open(self.parent().unwrap_or(Path::new(".")))?;
        dir.sync_all()
    }
}
