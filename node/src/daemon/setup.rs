//! Starts a daemon: data directory, key, store, node, network, socket. What fails leaves nothing running.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use larder_core::id::{GroupId, NodeId, SecretKey};
use larder_core::node::{Effect, Node, Request};
use larder_core::wire::invite_code::InviteCode;
use larder_net::{EventReceiver, Multiaddr, NetHandle, StartError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::clock::ProcessClock;
use super::dirty_groups::DirtyGroups;
use super::event_bus::EventBus;
use super::handle::DaemonHandle;
use super::open::{DaemonRows, OpenArgs, OpenedNode};
use super::owner::Owner;
use super::reconciler::Reconciler;
use super::rotate;
use crate::api::SocketListener;
use crate::data_dir::DataDir;
use crate::error::CliError;
use crate::identity;
use crate::provider::{Providers, WriteRoots};
use crate::settings::Settings;
use crate::store::StoreWriter;
use crate::time::wall_clock_seconds;

/// The options of a daemon.
#[derive(Clone, Debug)]
pub struct DaemonOptions {
    /// The data directory of the node.
    pub data_dir: DataDir,
    /// The settings, from flags and from the settings file.
    pub settings: Settings,
    /// The invite code of the group to join at the first start, or the error of reading it.
    pub join_code: Option<Result<InviteCode, CliError>>,
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    /// The handle of the owner task.
    pub handle: DaemonHandle,
    /// The id of the node.
    pub node_id: NodeId,
    data_dir: DataDir,
    stop: watch::Sender<bool>,
    owner_task: JoinHandle<()>,
    reconciler_task: JoinHandle<()>,
    listener: SocketListener,
}

impl Daemon {
    /// Starts a daemon.
    pub async fn start(options: DaemonOptions) -> Result<Self, CliError> {
        let DaemonOptions { data_dir, settings, join_code } = options;
        data_dir.create()?;
        rotate::finish_rotation(&data_dir)?;
        let secret = identity::load_or_create_key(&data_dir)?;
        let node_id = secret.node_id();
        let clock = ProcessClock::start_now();
        let open_args = OpenArgs { data_dir: data_dir.clone(), secret: secret.clone(), clock };
        let OpenedNode { node, initial_effects, daemon_rows, applied, store } = open_args.open()?;
        let join_code = usable_join_code(join_code, &node)?;
        let providers = Arc::new(open_providers(&data_dir, &settings)?);
        let (net, events) = start_network(secret, &settings, &daemon_rows)?;
        let listener = SocketListener::open(&data_dir, settings.socket_group.as_deref())?;

        // The identity rows are written below, after the node's first effects.
        let reader = store.reader();
        let (writer, commit_outcomes) = StoreWriter::start(store, &data_dir, &[])?;
        let (handle, commands) = DaemonHandle::new_pair();
        let dirty_groups = Arc::<DirtyGroups>::default();
        let (stop, stopping) = watch::channel(false);
        let event_bus = EventBus::new(reader, stopping.clone());
        let owner = Owner {
            node,
            net,
            net_events: events,
            writer,
            commit_outcomes,
            commands,
            dirty_groups: Arc::clone(&dirty_groups),
            event_bus: event_bus.clone(),
            save_port: settings.listen.is_none(),
            addresses_by_node: daemon_rows.addresses_by_node,
            response_senders: BTreeMap::new(),
            clock,
            listen_addresses: Vec::new(),
            links: BTreeSet::new(),
            open_args,
            outage: None,
        };
        let reconciler = Reconciler::new(handle.clone(), Arc::clone(&providers), applied);
        let reconciler_task = tokio::spawn(reconciler.run(dirty_groups, stopping.clone()));
        let owner_task = tokio::spawn(run_owner(owner, initial_effects, stopping.clone()));
        handle.store_rows(daemon_rows.identity_rows).await?;
        let listener = listener.serve(handle.clone(), data_dir.clone(), providers, event_bus, stopping);
        let daemon = Self { handle, node_id, data_dir, stop, owner_task, reconciler_task, listener };
        if let Some(code) = join_code {
            daemon.join_in_background(code);
        }
        Ok(daemon)
    }

    /// Creates a group, and writes its recovery key into the data directory.
    pub async fn create_group(&self, name: &str) -> Result<(GroupId, PathBuf), CliError> {
        crate::api::groups::create_group(&self.handle, &self.data_dir, name).await
    }

    /// Starts to join a group. The node tries until it is admitted or denied.
    fn join_in_background(&self, code: InviteCode) {
        let handle = self.handle.clone();
        tokio::spawn(async move {
            let group = code.group;
            match handle.query(move |local_node| local_node.group(&group).is_some()).await {
                Ok(false) => {}
                Ok(true) | Err(_) => return,
            }
            let request = Request::Join { code, alias: String::new(), labels: Vec::new() };
            match handle.request_node(request).await {
                Ok(Ok(_)) => tracing::info!(group = %group.short(), "joined the group"),
                Ok(Err(error)) => tracing::error!(group = %group.short(), %error, "cannot join the group"),
                Err(_stopping) => {}
            }
        });
    }

    /// Waits until a task of the daemon ends by itself, which is a defect.
    pub async fn wait_until_ended(&mut self) {
        tokio::select! {
            _ = &mut self.owner_task => {}
            _ = &mut self.reconciler_task => {}
        }
    }

    /// Stops the daemon: closes its links, and returns when all rows are durable.
    pub async fn stop(self) {
        // The receivers are gone if all tasks have ended.
        let _ = self.stop.send(true);
        self.listener.close();
        let join_task =
            |task: JoinHandle<()>| tokio::time::timeout(3 * crate::limits::SHUTDOWN_TIMEOUT, task);
        if !self.reconciler_task.is_finished() {
            drop(join_task(self.reconciler_task).await);
        }
        if !self.owner_task.is_finished() {
            drop(join_task(self.owner_task).await);
        }
    }
}

async fn run_owner(owner: Owner, initial_effects: Vec<Effect>, stopping: watch::Receiver<bool>) {
    owner.run(initial_effects, stopping).await;
}

/// The code to join by. A node that is in a group has used its code, and the file of the code may be gone.
fn usable_join_code(
    join_code: Option<Result<InviteCode, CliError>>,
    node: &Node,
) -> Result<Option<InviteCode>, CliError> {
    match join_code.transpose() {
        Err(error) if node.groups().next().is_some() => {
            tracing::warn!(%error, "--join is ignored: this node is in a group already");
            Ok(None)
        }
        code => code,
    }
}

fn open_providers(data_dir: &DataDir, settings: &Settings) -> Result<Providers, CliError> {
    let roots = match &settings.roots {
        Some(paths) => WriteRoots::named(paths),
        None => WriteRoots::created(&data_dir.files_dir()),
    };
    let roots = roots.map_err(|error| CliError::usage(format!("a root cannot be used: {error}")))?;
    for missing in roots.list_missing() {
        tracing::warn!("a root cannot be opened, so the resources below it are blocked: {missing}");
    }
    Ok(Providers::open(roots, data_dir, settings.file.as_deref(), wall_clock_seconds))
}

/// What to do about an address that cannot be used.
const ADDRESS_HINT: &str = "see --listen and --peer, and `listen` and `peers` in larder.toml";

fn start_network(
    secret: SecretKey,
    settings: &Settings,
    daemon_rows: &DaemonRows,
) -> Result<(NetHandle, EventReceiver), CliError> {
    let mut config = larder_net::Config::new(secret);
    config.listen_addrs = settings.listen.clone().unwrap_or_default();
    config.preferred_port = daemon_rows.last_port.unwrap_or(config.preferred_port);
    config.static_peers = settings.peers.clone().unwrap_or_default();
    config.is_multicast_enabled = settings.mdns.unwrap_or(true);
    if let Some(error) = larder_net::check_mdns_port().err().filter(|_| config.is_multicast_enabled) {
        tracing::warn!(%error, "another program holds UDP port 5353: the beacon finds peers, mDNS does not");
    }
    let parse_addresses = |addresses: &Vec<String>| {
        addresses.iter().filter_map(|address| address.parse::<Multiaddr>().ok()).collect()
    };
    config.known_addresses = daemon_rows
        .addresses_by_node
        .iter()
        .map(|(node, addresses)| (*node, parse_addresses(addresses)))
        .collect();
    larder_net::start(config).map_err(|error| match error {
        StartError::UnsupportedAddress(_) | StartError::TooManyStaticPeers(_) => {
            CliError::usage(error.to_string()).with_hint(ADDRESS_HINT)
        }
        _ => CliError::failed(error.to_string()),
    })
}
