//! A process that a test started.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::POLL_INTERVAL;
use crate::poll::poll;

/// A child process with its output in a log file and its input from the test.
///
/// It is killed when dropped, before it is reaped, so that its process id cannot belong to another process.
pub struct Process {
    child: Child,
    log_path: PathBuf,
}

impl Process {
    /// Starts `command` and appends its output to `log`.
    pub fn start(mut command: Command, log: &Path) -> Self {
        let open = || File::options().create(true).append(true).open(log);
        let out = open().unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let err = out.try_clone().unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        command.stdin(Stdio::piped()).stdout(out).stderr(err);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, log_path: log.to_owned() }
    }

    /// Starts `command` with its standard error at `stderr`. Its standard output goes to `log`.
    pub fn start_with_stderr(mut command: Command, log: &Path, stderr: Stdio) -> Self {
        let out = File::options().create(true).append(true).open(log);
        let out = out.unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        command.stdin(Stdio::piped()).stdout(out).stderr(stderr);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, log_path: log.to_owned() }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file with the output.
    pub fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// Writes a line to the standard input.
    pub fn write_line(&mut self, line: &str) {
        if let Some(stdin) = &mut self.child.stdin {
            // A process that has just ended reads nothing. The test notices the end elsewhere.
            let _ = writeln!(stdin, "{line}");
        }
    }

    /// Stops the process with SIGTERM, and kills it if it has not ended within `time_limit`.
    pub fn stop(&mut self, time_limit: Duration) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        let ended = poll(time_limit, POLL_INTERVAL, || self.exit_status());
        if ended.is_none() {
            self.kill();
        }
        ended
    }

    /// Kills the process with SIGKILL: it cannot clean up.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Freezes the process (SIGSTOP) or lets it continue (SIGCONT).
    pub fn set_frozen(&self, frozen: bool) {
        self.signal(if frozen { Signal::STOP } else { Signal::CONT });
    }

    /// The exit status, if the process has ended.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The resident memory in bytes; 0 if the process has ended.
    pub fn resident_bytes(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) * 1024
    }

    /// The number of open files, sockets and pipes.
    pub fn open_file_count(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }

    /// The processor time that the process used.
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
