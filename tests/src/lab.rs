//! A small LAN made of network namespaces, for tests of partitions and reconnection on real sockets.
//!
//! Each host is a namespace with an `eth0` (10.77.x.y/16, no default route). The hosts share a bridge in a
//! namespace of its own, so the lab adds nothing to the network of the computer. A namespace lives as long as
//! its holder: a `cat` whose standard input the test holds. The lab therefore ends with the test, however the
//! test ends. It needs `ip` (iproute2), `unshare` and `nsenter` (util-linux), and root or unprivileged user
//! namespaces.

mod namespace;
mod process;
mod slots;

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

pub use process::Process;

use self::namespace::{Namespace, NamespaceAccess};
use self::slots::LabSlots;
use crate::poll::poll;
use crate::requirement::{MissingRequirement, require};

/// The interval at which conditions are checked.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

fn missing_lab(reason: String) -> MissingRequirement {
    MissingRequirement {
        what: "network namespaces",
        reason,
        remedy: "Run as root, or allow unprivileged user namespaces (`sysctl \
            kernel.unprivileged_userns_clone=1`), \
                 and install iproute2 and util-linux.",
    }
}

/// A host of the lab: a network namespace with an address.
pub struct Host {
    namespace: Namespace,
    addr: Ipv4Addr,
    log_dir: PathBuf,
}

/// A LAN of hosts, numbered from 0.
pub struct Lab {
    // Fields are dropped in this order: the hosts, then their bridge, then the slots.
    hosts: Vec<Host>,
    switch_namespace: Namespace,
    log_dir: PathBuf,
    bridge_count: AtomicUsize,
    _slots: LabSlots,
}

impl Lab {
    /// Creates a LAN of `count` hosts (at most 250), without IPv6. Waits while other labs of this process use
    /// too much of the computer.
    pub fn new(count: usize) -> Result<Self, MissingRequirement> {
        Self::build(count, false)
    }

    /// Creates a LAN as [`Lab::new`] does, with IPv6: link-local addresses, and fd77::N/64.
    pub fn with_ipv6(count: usize) -> Result<Self, MissingRequirement> {
        Self::build(count, true)
    }

    /// Creates a LAN as [`Lab::new`] does. If this computer allows no lab, the test ends as not run.
    pub fn require(count: usize) -> Self {
        require(Self::new(count))
    }

    fn build(count: usize, ipv6: bool) -> Result<Self, MissingRequirement> {
        static LABS: AtomicU64 = AtomicU64::new(0);
        assert!((1..=250).contains(&count), "a lab has 1 to 250 hosts");
        let access = NamespaceAccess::detect()?;
        let slots = LabSlots::acquire(count);
        raise_neighbour_limits(count);
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let log_dir = std::env::temp_dir().join(format!("larder-lab-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&log_dir)
            .map_err(|error| missing_lab(format!("{}: {error}", log_dir.display())))?;
        let switch_namespace = Namespace::create_first(access, false)?;
        let mut hosts = Vec::new();
        for index in 0..count {
            let namespace = switch_namespace.create_sibling(ipv6)?;
            hosts.push(Host { namespace, addr: host_addr(index), log_dir: log_dir.clone() });
        }
        let lab = Self { hosts, switch_namespace, log_dir, bridge_count: AtomicUsize::new(0), _slots: slots };
        lab.connect_hosts(ipv6)?;
        Ok(lab)
    }

    fn connect_hosts(&self, ipv6: bool) -> Result<(), MissingRequirement> {
        let mut batch = bridge_commands("br0");
        for (index, host) in self.hosts.iter().enumerate() {
            let pid = host.namespace.pid();
            let _ = writeln!(batch, "link add p{index} type veth peer name eth0 netns {pid}");
            let _ = writeln!(batch, "link set p{index} master br0 up");
        }
        self.switch_namespace.ip(&batch).map_err(missing_lab)?;
        for (index, host) in self.hosts.iter().enumerate() {
            let mut batch = format!("link set lo up\naddress add {}/16 dev eth0\n", host.addr);
            if ipv6 {
                // No other host has the address, so duplicate detection is not needed.
                let _ = writeln!(batch, "address add fd77::{}/64 dev eth0 nodad", index + 1);
            }
            batch.push_str("link set eth0 up\n");
            host.namespace.ip(&batch).map_err(missing_lab)?;
        }
        Ok(())
    }

    /// All hosts, in the order of their numbers.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The host with the number `index`.
    pub fn host(&self, index: usize) -> &Host {
        self.hosts.get(index).unwrap_or_else(|| panic!("no host {index}"))
    }

    /// The first address of host `index`.
    pub fn addr(&self, index: usize) -> Ipv4Addr {
        self.host(index).addr
    }

    /// Partitions the LAN into these sets. A host in no set is alone. Packets between sets are lost without a
    /// reset or a lost carrier. Returns when the partition is complete, within a few milliseconds for all
    /// hosts.
    pub fn partition(&self, sets: &[&[usize]]) {
        let mut batch = String::new();
        let bridges = self.bridge_count.fetch_max(sets.len(), Ordering::Relaxed);
        for number in bridges + 1..=sets.len() {
            batch.push_str(&bridge_commands(&format!("br{number}")));
        }
        for index in 0..self.hosts.len() {
            match sets.iter().position(|set| set.contains(&index)) {
                Some(set) => drop(writeln!(batch, "link set p{index} master br{}", set + 1)),
                None => drop(writeln!(batch, "link set p{index} nomaster")),
            }
        }
        self.switch_ip(&batch);
    }

    /// Connects all hosts to one bridge again.
    pub fn heal(&self) {
        let mut batch = String::new();
        for index in 0..self.hosts.len() {
            let _ = writeln!(batch, "link set p{index} master br0");
        }
        self.switch_ip(&batch);
    }

    /// Plugs or unplugs the cable of host `index`. The host sees its carrier change.
    pub fn set_cable_plugged(&self, index: usize, plugged: bool) {
        self.switch_ip(&format!("link set p{index} {}\n", if plugged { "up" } else { "down" }));
    }

    /// Replaces the address of host `index` by another one (as CIDR), as DHCP would.
    pub fn change_address(&self, index: usize, cidr: &str) {
        self.host_ip(index, &format!("address flush dev eth0\naddress add {cidr} dev eth0\n"));
    }

    /// Blocks multicast to and from host `index`, until [`Lab::heal`] or [`Lab::partition`].
    ///
    /// The host is moved behind a second bridge, whose link to the first floods no multicast. This needs
    /// neither nft nor tc, and the host sees no change. Removing a route would not work, because a socket
    /// that is bound to an interface sends without one.
    pub fn block_multicast(&self, index: usize) {
        let mut batch = bridge_commands(&format!("m{index}"));
        let _ = writeln!(batch, "link add u{index} type veth peer name d{index}");
        let _ = writeln!(batch, "link set u{index} master m{index} up");
        let _ = writeln!(batch, "link set d{index} master br0 up");
        for port in ["u", "d"] {
            let _ = writeln!(batch, "link set {port}{index} type bridge_slave mcast_flood off");
        }
        let _ = writeln!(batch, "link set p{index} master m{index}");
        self.switch_ip(&batch);
    }

    /// The directory of the processes' log files.
    pub fn log_dir(&self) -> &Path {
        &self.log_dir
    }

    fn switch_ip(&self, batch: &str) {
        self.switch_namespace.ip(batch).unwrap_or_else(|error| panic!("the lab's switch: {error}"));
    }

    fn host_ip(&self, index: usize, batch: &str) {
        self.host(index).namespace.ip(batch).unwrap_or_else(|error| panic!("host {index}: {error}"));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the lab's logs are kept in {}", self.log_dir.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.log_dir);
        }
    }
}

impl Host {
    /// A command that runs `program` on this host.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.namespace.command();
        command.arg(program);
        command
    }

    /// Starts `command`, which [`Host::command`] made. Its output goes to a log file named after `name`.
    pub fn start(&self, name: &str, command: Command) -> Process {
        Process::start(command, &self.log_dir.join(format!("{}-{name}.log", self.addr)))
    }

    /// The first address of the host.
    pub fn addr(&self) -> Ipv4Addr {
        self.addr
    }
}

/// Waits until `condition` returns a value. Panics and names `what` if `deadline` passes first.
pub fn wait_until<T>(deadline: Duration, what: &str, condition: impl FnMut() -> Option<T>) -> T {
    poll(deadline, POLL_INTERVAL, condition).unwrap_or_else(|| panic!("not within {deadline:?}: {what}"))
}

/// The monotonic clock in milliseconds, which all hosts share.
pub fn monotonic_ms() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)).as_secs_f64() * 1000.0
}

fn host_addr(index: usize) -> Ipv4Addr {
    let [.., high, low] = u32::try_from(index + 1).unwrap_or(1).to_be_bytes();
    Ipv4Addr::new(10, 77, high, low)
}

fn bridge_commands(name: &str) -> String {
    format!("link add {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set {name} up\n")
}

/// Raises the limits of the neighbour table, which all namespaces share. A full mesh of thirty hosts exceeds
/// the default of 1024, and dials fail. Only real root may change the limits; without it, large labs may be
/// slow.
fn raise_neighbour_limits(count: usize) {
    if count <= 20 {
        return;
    }
    for (name, least) in [("gc_thresh3", 65_536), ("gc_thresh2", 32_768), ("gc_thresh1", 16_384)] {
        let path = format!("/proc/sys/net/ipv4/neigh/default/{name}");
        let current = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u32>().ok());
        if current.is_some_and(|current| current < least) {
            let _ = std::fs::write(&path, least.to_string());
        }
    }
}
