//! Wall clocks of processes, set wrong and stepped while they run, by libfaketime. Time that only goes
//! forward stays what it is.

use std::path::{Path, PathBuf};

use crate::requirement::{MissingRequirement, require};

/// The clock of one node's processes.
pub struct FakeClock {
    file: PathBuf,
    library: PathBuf,
}

impl FakeClock {
    /// A clock that is right, kept in a file in `dir`. Where libfaketime is not installed, the test ends as
    /// not run.
    pub fn require(dir: &Path, name: &str) -> Self {
        let library = require(find_libfaketime());
        let clock = Self { file: dir.join(format!("{name}.clock")), library };
        clock.set_offset("+0");
        clock
    }

    /// Steps it: `+1d` and `-2h` are as far off the right time as they say.
    pub fn set_offset(&self, offset: &str) {
        // Put in place as a whole: the library reads it at any moment.
        let staged = self.file.with_extension("new");
        let written = std::fs::write(&staged, format!("{offset}\n"));
        let placed = written.and_then(|()| std::fs::rename(&staged, &self.file));
        placed.unwrap_or_else(|error| panic!("{}: {error}", self.file.display()));
    }

    /// What a process needs in its environment to go by it.
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
