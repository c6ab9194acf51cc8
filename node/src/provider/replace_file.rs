//! How providers replace and remove files: first they keep what Larder did not write, then they record what
//! they are about to write, then they write.

use super::error::ApplyError;
use super::kept::KeptEntry;
use super::target_file::{ExistingFile, TargetFile};
use super::written::{PathOwner, WrittenRecord};
use super::{Providers, config};
use larder_core::resource::plan::FieldValues;

/// New contents of a file.
struct NewContents<'a> {
    bytes: &'a [u8],
    mode: Option<u32>,
    /// True if every byte comes from the resource.
    is_whole: bool,
    /// True if no line of the existing file remains.
    replaces_whole: bool,
}

impl Providers {
    /// Writes a whole file. Returns what an operator should know about it.
    pub(super) fn write_file(
        &self,
        owner: &PathOwner,
        target: &mut TargetFile,
        bytes: &[u8],
        mode: Option<u32>,
    ) -> Result<String, ApplyError> {
        target.remove_staging_file()?;
        let existing = target.read()?;
        let recorded = self.read_record(target)?;
        let mut record = new_record(&recorded, owner, target, existing.as_ref());
        record.keys = Default::default();
        let new = NewContents { bytes, mode, is_whole: true, replaces_whole: true };
        self.replace(target, existing.as_ref(), &recorded, &mut record, &new)?;
        Ok(record.note)
    }

    /// Sets the keys of a config. Returns what an operator should know about it.
    pub(super) fn write_config(
        &self,
        owner: &PathOwner,
        target: &mut TargetFile,
        fields: &FieldValues,
    ) -> Result<String, ApplyError> {
        target.remove_staging_file()?;
        let existing = target.read()?;
        let recorded = self.read_record(target)?;
        let mut record = new_record(&recorded, owner, target, existing.as_ref());
        let old_bytes = existing.as_ref().map_or(&[][..], |found| &found.contents);
        let edited = config::edit(target, fields, old_bytes, &record.keys)?;
        record.keys = edited.keys;
        let is_whole = edited.is_whole && record.is_created;
        let new = NewContents { bytes: &edited.contents, mode: None, is_whole, replaces_whole: false };
        self.replace(target, existing.as_ref(), &recorded, &mut record, &new)?;
        if record.keys != edited.keys_after {
            record.keys = edited.keys_after;
            self.save_record(target, &record)?;
        }
        Ok(record.note)
    }

    /// Replaces the contents of a file, and records that. It does not touch a file that is already right.
    fn replace(
        &self,
        target: &mut TargetFile,
        existing: Option<&ExistingFile>,
        recorded: &WrittenRecord,
        record: &mut WrittenRecord,
        new: &NewContents<'_>,
    ) -> Result<(), ApplyError> {
        let has_contents = existing.is_some_and(|found| found.contents == new.bytes);
        let has_mode = existing.is_some_and(|found| new.mode.is_none_or(|mode| mode == found.mode));
        if has_contents && has_mode {
            return if record == recorded { Ok(()) } else { self.save_record(target, record) };
        }
        let mut notes = Vec::new();
        if let Some(found) = existing.filter(|_| !has_contents) {
            let owner = record.owner.as_ref();
            notes.extend(self.keep_foreign(target, found, recorded, owner, new.replaces_whole)?);
        }
        if let Some(found) = existing.filter(|found| found.other_links > 0) {
            notes.push(format!("{} other names (hard links) keep the old contents", found.other_links));
        }
        record.note = notes.join("; ");
        if !has_contents {
            record.push_version(new.bytes, new.is_whole);
        }
        self.save_record(target, record)?;
        target.write(new.bytes, new.mode, existing)
    }

    /// Removes what a resource put at a path: the whole file, or its keys. Returns what an operator should
    /// know about it.
    pub(super) fn remove_file_of(
        &self,
        owner: &PathOwner,
        mut target: TargetFile,
    ) -> Result<String, ApplyError> {
        // Without the record, what stands there is not from this resource.
        if self.written.owner_of(&target).is_none_or(|found| !found.is_same(owner)) {
            return Ok(String::new());
        }
        let recorded = self.read_record(&target)?;
        target.remove_staging_file()?;
        let existing = match target.read() {
            // Larder never put a link or a directory there.
            Err(ApplyError::Obstacle(_)) => None,
            read => read?,
        };
        let note = match existing {
            None => String::new(),
            Some(found) if owner.resource.kind() == "config" => {
                self.take_back_keys(owner, &mut target, &found, &recorded)?
            }
            Some(found) => self.remove_whole(owner, &target, &found, &recorded)?,
        };
        self.written.remove(&target).map_err(|error| record_error(&target, error))?;
        Ok(note)
    }

    fn remove_whole(
        &self,
        owner: &PathOwner,
        target: &TargetFile,
        found: &ExistingFile,
        recorded: &WrittenRecord,
    ) -> Result<String, ApplyError> {
        let note = self.keep_foreign(target, found, recorded, Some(owner), true)?;
        target.remove()?;
        Ok(note.unwrap_or_default())
    }

    fn take_back_keys(
        &self,
        owner: &PathOwner,
        target: &mut TargetFile,
        found: &ExistingFile,
        recorded: &WrittenRecord,
    ) -> Result<String, ApplyError> {
        let restored = config::take_back(&found.contents, &recorded.keys);
        if recorded.is_created && restored.trim_ascii().is_empty() {
            return self.remove_whole(owner, target, found, recorded);
        }
        let mut record = recorded.clone();
        let new = NewContents { bytes: &restored, mode: None, is_whole: false, replaces_whole: false };
        self.replace(target, Some(found), recorded, &mut record, &new)?;
        Ok(record.note)
    }

    /// Keeps the contents of a file, unless Larder wrote them last. Returns a note about it.
    fn keep_foreign(
        &self,
        target: &TargetFile,
        found: &ExistingFile,
        recorded: &WrittenRecord,
        owner: Option<&PathOwner>,
        replaces_whole: bool,
    ) -> Result<Option<String>, ApplyError> {
        if recorded.has_written(&found.contents, replaces_whole) {
            return Ok(None);
        }
        let reason = match (recorded.has_versions(), replaces_whole) {
            (true, true) => "a hand edit was replaced",
            (true, false) => "the file had a hand edit",
            (false, _) => "the file was there before",
        };
        let resource = owner.map(ToString::to_string).unwrap_or_default();
        let entry = kept_entry(target, found, reason, &resource, (self.clock)());
        let kept = self.kept.keep(entry, &found.contents).map_err(|error| ApplyError::Io {
            step: "keep the contents that were there",
            path: target.display_path().to_owned(),
            error,
        })?;
        Ok(Some(format!("{reason}; its contents: larder kept show {kept}")))
    }

    /// Writes kept contents to a path that no resource manages. Returns the id of what stood there and is
    /// kept now.
    pub fn restore_kept(&self, entry: &KeptEntry, path: &str) -> Result<Option<String>, ApplyError> {
        let mut target = self.locate(path)?;
        if let Some(owner) = self.written.owner_of(&target) {
            return Err(ApplyError::BadSpec(format!("{owner} would replace the file again: {path}")));
        }
        let failed = |step| move |error| ApplyError::Io { step, path: path.to_owned(), error };
        let contents = self.kept.read(entry).map_err(failed("read the kept contents"))?;
        let existing = target.read()?;
        let replaced = match existing.as_ref().filter(|found| found.contents != contents) {
            Some(found) => {
                let replaced = kept_entry(&target, found, "kept contents were put back", "", (self.clock)());
                Some(self.kept.keep(replaced, &found.contents).map_err(failed("keep what is there"))?)
            }
            None => None,
        };
        target.write(&contents, Some(entry.mode), existing.as_ref())?;
        Ok(replaced)
    }

    fn read_record(&self, target: &TargetFile) -> Result<WrittenRecord, ApplyError> {
        self.written.read(target).map_err(|error| record_error(target, error))
    }

    fn save_record(&self, target: &TargetFile, record: &WrittenRecord) -> Result<(), ApplyError> {
        self.written.save(target, record).map_err(|error| record_error(target, error))
    }
}

fn kept_entry(
    target: &TargetFile,
    found: &ExistingFile,
    reason: &str,
    resource: &str,
    time: i64,
) -> KeptEntry {
    KeptEntry {
        id: String::new(),
        path: target.real_path.display().to_string(),
        time,
        reason: reason.to_owned(),
        resource: resource.to_owned(),
        size: 0,
        mode: found.mode,
    }
}

/// The record of a path after a resource of `owner` was written there.
fn new_record(
    recorded: &WrittenRecord,
    owner: &PathOwner,
    target: &TargetFile,
    existing: Option<&ExistingFile>,
) -> WrittenRecord {
    let mut record = recorded.clone();
    if recorded.owner.as_ref().is_none_or(|former| !former.is_same(owner)) {
        (record.note, record.is_created) = (String::new(), false);
    }
    record.owner = Some(owner.clone());
    record.path = target.display_path().to_owned();
    if existing.is_none() {
        // Nothing is left of what stood there before.
        record.is_created = true;
        record.keys = Default::default();
    }
    record
}

fn record_error(target: &TargetFile, error: std::io::Error) -> ApplyError {
    ApplyError::Io { step: "save what was written", path: target.display_path().to_owned(), error }
}
