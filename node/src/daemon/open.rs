//! Opening what a node has on its disk: the store, the machine that follows from it, and what the daemon
//! keeps beside. It is done when the daemon starts, and again when a disk that failed works again.

use std::collections::BTreeMap;

use larder_core::id::{GroupId, NodeId, SecretKey};
use larder_core::node::{Effect, Node, NodeConfig};
use larder_core::resource::plan::AppliedFields;
use larder_core::store::LoadError;
use larder_core::store::{Row, RowReader, Table, decode_layout};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::owner::ProcessClock;
use super::reconciler::Reconciler;
use crate::data_dir::DataDir;
use crate::error::CliError;
use crate::identity;
use crate::store::recover::{self, RecoveryReport};
use crate::store::{CommitOutcome, MembershipBackup, Store, StoreWriter, damaged_store_error};

/// Software and version, as it is told to others.
const SOFTWARE_VERSION: &str = concat!("larder ", env!("CARGO_PKG_VERSION"));
/// The version of the store as a whole: which tables there are, and what they mean together.
const STORE_FORMAT: u8 = 1;

/// What it takes to open a node's store.
pub(super) struct OpenArgs {
    pub(super) data_dir: DataDir,
    pub(super) secret: SecretKey,
    pub(super) clock: ProcessClock,
}

/// A node as its disk has it.
pub(super) struct OpenedNode {
    pub(super) machine: Node,
    /// What the machine wants done first.
    pub(super) first: Vec<Effect>,
    pub(super) kept: DaemonRows,
    pub(super) applied: BTreeMap<GroupId, AppliedFields>,
    pub(super) store: Store,
}

/// What is read from the store besides what the machine reads.
pub(super) struct DaemonRows {
    pub(super) last_port: Option<u16>,
    pub(super) addresses_by_node: BTreeMap<NodeId, Vec<String>>,
    /// True if the store is not where it was made.
    store_was_copied: bool,
    /// Where it is, to be written once what follows from that is durable.
    pub(super) identity_rows: Vec<Row>,
}

impl OpenArgs {
    /// Opens everything. What is damaged is set aside, and the node goes on with what could be saved.
    pub(super) fn open(&self) -> Result<OpenedNode, CliError> {
        let (store, report) = recover::open_or_recover(&self.data_dir, &self.secret)?;
        if let Some(report) = &report {
            log_recovery(report);
        }
        match self.load_node(store)? {
            Ok(opened) => Ok(opened),
            // Every page is as it was written, and yet the rows make no sense.
            Err(reason) if report.is_none() => {
                let (store, report) = recover::replace_damaged(&self.data_dir, &reason, &self.secret)?;
                log_recovery(&report);
                self.load_node(store)?
                    .map_err(|reason| damaged_store_error(&self.data_dir.store_file(), &reason))
            }
            Err(reason) => Err(damaged_store_error(&self.data_dir.store_file(), &reason)),
        }
    }

    /// Reads a node back; `Ok(Err)` where its rows are damaged.
    fn load_node(&self, store: Store) -> Result<Result<OpenedNode, String>, CliError> {
        let daemon_rows = DaemonRows::read(&store, &self.data_dir, self.secret.node_id())?;
        let config = NodeConfig {
            secret: self.secret.clone(),
            rng_seed: identity::random_seed()?,
            software: SOFTWARE_VERSION.to_owned(),
            host_name: host_name(),
            store_was_copied: daemon_rows.store_was_copied,
        };
        let (node, initial_effects) = match Node::open(config, self.clock.now(), &store) {
            Ok(opened) => opened,
            Err(error @ LoadError::Newer { .. }) => {
                return Err(CliError::failed(error.to_string())
                    .with_hint("run the newer version; nothing was changed"));
            }
            Err(error) => return Ok(Err(error.to_string())),
        };
        let applied = match Reconciler::read_applied(&store) {
            Ok(applied) => applied,
            Err(error) => return Ok(Err(error.to_string())),
        };
        Ok(Ok(OpenedNode { machine: node, first: initial_effects, kept: daemon_rows, applied, store }))
    }
}

/// Says what was damaged, and what became of it.
fn log_recovery(report: &RecoveryReport) {
    let moved_to = report
        .moved_to
        .as_ref()
        .map_or_else(|| "nowhere: nothing was left of it".to_owned(), |path| path.display().to_string());
    tracing::error!(
        why = report.reason,
        set_aside = moved_to,
        "the store is damaged; a new one was made of what could be saved"
    );
    for (group, changes, is_incomplete) in &report.groups {
        match is_incomplete {
            true => {
                tracing::error!(group = %group.short(), saved = changes, "the rest of this group is fetched \
                    from its members")
            }
            false => tracing::warn!(group = %group.short(), saved = changes, "all of this group was saved"),
        }
    }
}

/// Starts the thread that writes, and answers with what it is told by. The rows are written first: if even
/// that fails, the disk does not work.
pub(super) fn start_writer(
    store: Store,
    data_dir: &DataDir,
    rows: &[Row],
) -> Result<(StoreWriter, UnboundedReceiver<CommitOutcome>), CliError> {
    let cannot_write = |error: &dyn std::fmt::Display| {
        CliError::failed(format!("the store {} cannot be written: {error}", data_dir.store_file().display()))
            .with_hint("the data directory must be writable, and have room")
    };
    store.commit(rows).map_err(|error| cannot_write(&error))?;
    let membership_backup = MembershipBackup::new(data_dir.membership_backup_file());
    membership_backup.update(&store).map_err(|error| cannot_write(&error))?;
    let (outcomes, outcome_receiver) = unbounded_channel();
    let writer = StoreWriter::start(store, membership_backup, outcomes)
        .map_err(|error| CliError::failed(format!("cannot start a thread: {error}")))?;
    Ok((writer, outcome_receiver))
}

impl DaemonRows {
    fn read(store: &Store, data_dir: &DataDir, own_id: NodeId) -> Result<Self, CliError> {
        let damaged =
            |error: &dyn std::fmt::Display| damaged_store_error(&data_dir.store_file(), &error.to_string());
        let get_meta = |name: &str| store.get(Table::Meta, name.as_bytes()).map_err(|error| damaged(&error));
        if let Some(format) =
            get_meta("format")?.as_deref().and_then(<[u8]>::first).filter(|format| **format > STORE_FORMAT)
        {
            return Err(CliError::failed(format!(
                "a newer version of larder wrote {} (format {format}, and this one knows {STORE_FORMAT})",
                data_dir.store_file().display()
            ))
            .with_hint("run the newer version; nothing was changed"));
        }
        if get_meta("node")?.is_some_and(|node| node != own_id.0) {
            return Err(CliError::failed(format!(
                "{} belongs to another node than {}",
                data_dir.store_file().display(),
                data_dir.key_file().display()
            ))
            .with_hint("put back the key that belongs to it, or begin anew in an empty data directory"));
        }
        let fingerprint = identity::store_fingerprint(data_dir).map_err(|error| damaged(&error))?;
        let store_was_copied = get_meta("mark")?.is_some_and(|stored| !fingerprint.matches(&stored));
        let identity_rows = vec![
            Row::put(Table::Meta, b"format".to_vec(), vec![STORE_FORMAT]),
            Row::put(Table::Meta, b"node".to_vec(), own_id.0.to_vec()),
            Row::put(Table::Meta, b"mark".to_vec(), fingerprint.current.to_vec()),
        ];
        let port = get_meta("port")?.and_then(|port| port.try_into().ok()).map(u16::from_be_bytes);
        let mut addresses_by_node = BTreeMap::new();
        for (node, addresses) in store.read_rows(Table::Addresses, &[]).map_err(|error| damaged(&error))? {
            if let (Some(node), Some(addresses)) =
                (node.try_into().ok().map(NodeId), decode_layout(&addresses))
            {
                addresses_by_node.insert(node, addresses);
            }
        }
        Ok(Self { last_port: port, addresses_by_node, store_was_copied, identity_rows })
    }
}

fn host_name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    host.chars().filter(|c| !c.is_control()).take(larder_core::limits::MAX_NAME_BYTES).collect()
}
