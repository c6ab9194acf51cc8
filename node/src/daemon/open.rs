//! Opens the store, the node that its rows describe, and the daemon's own rows. The daemon does this when it
//! starts, and again after its disk failed.

use std::collections::BTreeMap;

use larder_core::id::{GroupId, NodeId, SecretKey};
use larder_core::node::{Effect, Node, NodeConfig};
use larder_core::resource::plan::AppliedFields;
use larder_core::store::LoadError;
use larder_core::store::{Row, RowReader, Table, decode_layout};

use super::clock::ProcessClock;
use super::reconciler::Reconciler;
use crate::data_dir::DataDir;
use crate::error::CliError;
use crate::identity;
use crate::store::recover::{self, RecoveryReport};
use crate::store::{Store, damaged_store_error};

/// The software and version that peers see.
const SOFTWARE_VERSION: &str = concat!("larder ", env!("CARGO_PKG_VERSION"));
/// The version of the store as a whole: its tables, and their meaning together.
const STORE_FORMAT: u8 = 1;

/// The arguments to open a node.
pub(super) struct OpenArgs {
    pub(super) data_dir: DataDir,
    pub(super) secret: SecretKey,
    pub(super) clock: ProcessClock,
}

/// A node that was opened from its store.
pub(super) struct OpenedNode {
    pub(super) node: Node,
    pub(super) initial_effects: Vec<Effect>,
    pub(super) daemon_rows: DaemonRows,
    pub(super) applied: BTreeMap<GroupId, AppliedFields>,
    pub(super) store: Store,
}

/// The daemon's own rows of the store.
pub(super) struct DaemonRows {
    pub(super) last_port: Option<u16>,
    pub(super) addresses_by_node: BTreeMap<NodeId, Vec<String>>,
    /// True if the store was copied or moved since it was last open.
    store_was_copied: bool,
    /// The rows that identify the store. They are written after the effects of `store_was_copied`, so that a
    /// crash in between does not hide a copy.
    pub(super) identity_rows: Vec<Row>,
}

impl OpenArgs {
    /// Opens the node. A damaged store is moved away and replaced by what could be saved of it.
    pub(super) fn open(&self) -> Result<OpenedNode, CliError> {
        let (store, report) = recover::open_or_recover(&self.data_dir, &self.secret)?;
        if let Some(report) = &report {
            log_recovery(report);
        }
        match self.load_node(store)? {
            Ok(opened) => Ok(opened),
            // The pages of the store are intact, but its rows are not valid.
            Err(reason) if report.is_none() => {
                let (store, report) = recover::replace_damaged(&self.data_dir, &reason, &self.secret)?;
                log_recovery(&report);
                self.load_node(store)?
                    .map_err(|reason| damaged_store_error(&self.data_dir.store_file(), &reason))
            }
            Err(reason) => Err(damaged_store_error(&self.data_dir.store_file(), &reason)),
        }
    }

    /// Loads the node from the store; `Ok(Err)` if the rows are damaged.
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
        Ok(Ok(OpenedNode { node, initial_effects, daemon_rows, applied, store }))
    }
}

/// Logs what was damaged, and what was saved.
fn log_recovery(report: &RecoveryReport) {
    let moved_to = report
        .moved_to
        .as_ref()
        .map_or_else(|| "nowhere: the file was missing".to_owned(), |path| path.display().to_string());
    tracing::error!(
        why = report.reason,
        moved_to,
        "the store is damaged; a new store holds what could be saved"
    );
    for (group, changes, is_incomplete) in &report.groups {
        match is_incomplete {
            true => {
                tracing::error!(group = %group.short(), saved = changes, "the rest of this group will \
                    be fetched from its members")
            }
            false => {
                tracing::warn!(group = %group.short(), saved = changes, "this group was saved completely")
            }
        }
    }
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
                "a newer version of Larder wrote {} (format {format}; this version reads {STORE_FORMAT})",
                data_dir.store_file().display()
            ))
            .with_hint("run the newer version; nothing was changed"));
        }
        if get_meta("node")?.is_some_and(|node| node != own_id.0) {
            return Err(CliError::failed(format!(
                "the store {} and the key {} belong to different nodes",
                data_dir.store_file().display(),
                data_dir.key_file().display()
            ))
            .with_hint("restore the key that belongs to the store, or start with an empty data directory"));
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
