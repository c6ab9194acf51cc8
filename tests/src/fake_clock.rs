//! Wrong wall clocks for processes, which a test can change while they run, by libfaketime. The monotonic
//! clock stays correct.

use std::path::{Path, PathBuf};

use crate::requirement::{MissingRequirement, require};

/// The wall clock of one node's processes.
pub struct FakeClock {
    file: PathBuf,
    library: PathBuf,
}

impl FakeClock {
    /// Creates a correct clock, whose offset is stored in a file in `dir`. If libfaketime is not installed,
    /// the test ends as not run.
    pub fn require(dir: &Path, name: &str) -> Self {
        let library = require(find_libfaketime());
        let clock = Self { file: dir.join(format!("{name}.clock")), library };
        clock.set_offset("+0");
        clock
    }

    /// Sets the offset from the correct time, for example `+1d` or `-2h`.
    pub fn set_offset(&self, offset: &str) {
        // The file is replaced atomically, because the library may read it at any moment.
        let staged = self.file.with_extension("new");
        let written = std::fs::write(&staged, format!("{offset}\n"));
        let placed = written.and_then(|()| std::fs::rename(&staged, &self.file));
        placed.unwrap_or_else(|error| panic!("{}: {error}", self.file.display()));
    }

    /// The environment variables that make a process use this clock.
    pub fn env(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let pairs = [
            ("LD_PRELOAD", text(&self.library)),
            ("FAKETIME_TIMESTAMP_FILE", text(&self.file)),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

fn find_libfaketime() -> Result<PathBuf, MissingRequirement> {
    let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
    let folders = [format!("/usr/lib/{triple}"), "/usr/lib".to_owned(), "/usr/local/lib".to_owned()];
    let mut names = folders.iter().map(|folder| PathBuf::from(folder).join("faketime/libfaketime.so.1"));
    names.find(|path| path.exists()).ok_or_else(|| MissingRequirement {
        what: "libfaketime",
        reason: format!("it is in none of {}", folders.join(", ")),
        remedy: "Install it (Debian: `apt-get install faketime`).",
    })
}
