//! One network namespace and the process that holds it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use super::missing_lab;
use crate::requirement::MissingRequirement;

/// The way in which this computer allows namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamespaceAccess {
    /// The process is root and may create them directly.
    Root,
    /// Any user may create them inside a user namespace.
    User,
}

impl NamespaceAccess {
    /// Detects the possible way, once for the process.
    pub(super) fn detect() -> Result<Self, MissingRequirement> {
        static FOUND: OnceLock<Option<NamespaceAccess>> = OnceLock::new();
        let works = |args: &[&str]| {
            let mut command = Command::new("unshare");
            command.args(args).args(["--", "ip", "link", "set", "lo", "up"]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        let found = FOUND.get_or_init(|| {
            if works(&["--net"]) {
                Some(Self::Root)
            } else if works(&["--user", "--map-root-user", "--net"]) {
                Some(Self::User)
            } else {
                None
            }
        });
        found.ok_or_else(|| {
            missing_lab("`unshare --net` does not work, as root or in a user namespace".into())
        })
    }
}

/// A network namespace. It ends with its holder, a `cat` that ends when the test closes its input.
pub(super) struct Namespace {
    access: NamespaceAccess,
    holder: Child,
}

impl Namespace {
    /// Creates the first namespace of a lab. Without root, it also creates the user namespace that the others
    /// share.
    pub(super) fn create_first(access: NamespaceAccess, ipv6: bool) -> Result<Self, MissingRequirement> {
        let mut command = Command::new("unshare");
        if access == NamespaceAccess::User {
            command.args(["--user", "--map-root-user"]);
        }
        Self::spawn_holder(access, command, ipv6)
    }

    /// Creates another namespace of the same lab.
    pub(super) fn create_sibling(&self, ipv6: bool) -> Result<Self, MissingRequirement> {
        let unshare = match self.access {
            NamespaceAccess::Root => Command::new("unshare"),
            NamespaceAccess::User => {
                let mut command = Command::new("nsenter");
                command.args(["--target", &self.pid().to_string(), "--user", "--preserve-credentials"]);
                command.args(["--", "unshare"]);
                command
            }
        };
        Self::spawn_holder(self.access, unshare, ipv6)
    }

    fn spawn_holder(
        access: NamespaceAccess,
        mut unshare: Command,
        ipv6: bool,
    ) -> Result<Self, MissingRequirement> {
        let disable_ipv6 =
            "for f in all default; do echo 1 > /proc/sys/net/ipv6/conf/$f/disable_ipv6; done 2>/dev/null; ";
        let script = format!("{}echo ready; exec cat", if ipv6 { "" } else { disable_ipv6 });
        unshare.args(["--net", "--", "sh", "-c", &script]);
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = unshare.spawn().map_err(|error| missing_lab(format!("unshare: {error}")))?;
        let mut line = String::new();
        if let Some(out) = holder.stdout.take() {
            let _ = BufReader::new(out).read_line(&mut line);
        }
        let namespace = Self { access, holder };
        if line.trim() == "ready" {
            Ok(namespace)
        } else {
            Err(missing_lab("a namespace was not made".into()))
        }
    }

    /// The process id of the holder, by which other processes enter the namespace.
    pub(super) fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// A command that enters the namespace and then runs the program that the caller appends. `nsenter`
    /// becomes that program, so it is a direct child of the test.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid().to_string(), "--net"]);
        if self.access == NamespaceAccess::User {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg("--");
        command
    }

    /// Runs a batch of `ip` commands in the namespace.
    pub(super) fn ip(&self, batch: &str) -> Result<(), String> {
        let mut command = self.command();
        command
            .args(["ip", "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("ip: {error}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(batch.as_bytes()).map_err(|error| format!("ip: {error}"))?;
        }
        let output = child.wait_with_output().map_err(|error| format!("ip: {error}"))?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The holder was not reaped before, so its process id belongs to no other process.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
