//! A process that a test started.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::POLL_INTERVAL;
use crate::poll::poll;

/// Its output goes to a log file, its input comes from the test. Killed when dropped: by its own handle, and
/// before it is reaped, so that no other process can be meant.
pub struct Process {
    child: Child,
    log_path: PathBuf,
}

impl Process {
    /// Starts `command`; output is appended to `log`.
    pub fn start(mut command: Command, log: &Path) -> Self {
        let open = || File::options().create(true).append(true).open(log);
        let out = open().unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let err = out.try_clone().unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        command.stdin(Stdio::piped()).stdout(out).stderr(err);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, log_path: log.to_owned() }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file with its output.
    pub fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// Writes a line to its input.
    pub fn write_line(&mut self, line: &str) {
        if let Some(stdin) = &mut self.child.stdin {
            // A process that has just ended reads nothing; the test sees that elsewhere.
            let _ = writeln!(stdin, "{line}");
        }
    }

    /// Ends it the polite way (SIGTERM); kills it if that takes longer than `patience`.
    pub fn stop(&mut self, time_limit: Duration) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        let ended = poll(time_limit, POLL_INTERVAL, || self.exit_status());
        if ended.is_none() {
            self.kill();
        }
        ended
    }

    /// Ends it as a power cut would, but for the kernel's goodbyes (SIGKILL).
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops it in its tracks, or lets it go on (SIGSTOP, SIGCONT).
    pub fn set_frozen(&self, frozen: bool) {
        self.signal(if frozen { Signal::STOP } else { Signal::CONT });
    }

    /// Its exit status, if it has ended.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Resident memory in bytes; 0 if it has ended.
    pub fn resident_bytes(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) * 1024
    }

    /// How many files, sockets and pipes it holds open.
    pub fn open_file_count(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }

    /// Time that it ran on a core so far.
    pub fn cpu_time(&self) -> Duration {
        let text = std::fs::read_to_string(format!("/proc/{}/schedstat", self.pid())).unwrap_or_default();
        let nanos = text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0);
        Duration::from_nanos(nanos)
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
