//! Starting a daemon, in the order in which it can fail: data directory, key, store, machine, network, door.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use larder_core::id::{GroupId, NodeId, Secret};
use larder_core::machine::{Config, Effect, Machine, Request};
use larder_core::store::{Row, Rows, Table, layout};
use larder_core::wire::code::Code;
use larder_net::{Events, Multiaddr, Net};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::changes::Changes;
use super::driver::{Clock, Driver};
use super::handle::Handle;
use super::keeper::Keeper;
use crate::api::Door;
use crate::failure::Failure;
use crate::identity;
use crate::place::Place;
use crate::provider::{Providers, Roots};
use crate::settings::Settings;
use crate::store::{Store, Writer, damaged};

/// What a daemon is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it keeps its things.
    pub place: Place,
    /// Flags and settings file, together.
    pub settings: Settings,
    /// A code to join by, unless the node is in that group already.
    pub join: Option<Code>,
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    /// A way to ask it.
    pub handle: Handle,
    /// Who it is.
    pub me: NodeId,
    place: Place,
    stop: watch::Sender<bool>,
    driver: JoinHandle<()>,
    keeper: JoinHandle<()>,
    door: Door,
}

/// Software and version, as it is told to others.
const SOFTWARE: &str = concat!("larder ", env!("CARGO_PKG_VERSION"));

/// What is read from the store besides what the machine reads.
struct Kept {
    port: Option<u16>,
    book: BTreeMap<NodeId, Vec<String>>,
    /// True if the store is not where it was made.
    reborn: bool,
    /// Where it is, to be written once what follows from that is durable.
    mark: Vec<Row>,
}

impl Daemon {
    /// Starts a daemon. What fails leaves nothing running.
    pub async fn start(options: Options) -> Result<Self, Failure> {
        let Options { place, settings, join } = options;
        place.make()?;
        let secret = identity::load_or_make(&place)?;
        let me = secret.node();
        let store = Store::open(&place.store())?;
        let kept = Kept::read(&store, &place, me)?;
        let clock = Clock::start();
        let config = Config {
            secret: secret.clone(),
            seed: identity::random()?,
            software: SOFTWARE.to_owned(),
            host: host(),
            reborn: kept.reborn,
        };
        let opened = Machine::open(config, clock.now(), &store);
        let (machine, first) = opened.map_err(|error| damaged(&place.store(), &error.to_string()))?;
        let runs = Keeper::read_runs(&store).map_err(|error| damaged(&place.store(), &error.to_string()))?;
        let providers = providers(&place, &settings)?;
        let (net, events) = network(secret, &settings, &kept)?;
        let door = Door::open(&place, settings.socket_group.as_deref())?;

        let (outcomes, stored) = mpsc::unbounded_channel();
        let writer = Writer::start(store, outcomes)
            .map_err(|error| Failure::failed(format!("cannot start a thread: {error}")))?;
        let (handle, asked) = Handle::new();
        let changes = Arc::<Changes>::default();
        let (stop, stopping) = watch::channel(false);
        let driver = Driver {
            machine,
            net,
            events,
            writer,
            outcomes: stored,
            asked,
            changes: Arc::clone(&changes),
            keep_port: settings.listen.is_none(),
            book: kept.book,
            callers: BTreeMap::new(),
            clock,
        };
        let keeper = Keeper::new(handle.clone(), providers, runs);
        let keeper = tokio::spawn(keeper.run(changes, stopping.clone()));
        let driver = tokio::spawn(run(driver, first, stopping.clone()));
        handle.store(kept.mark).await?;
        let door = door.serve(handle.clone(), place.clone(), stopping);
        let daemon = Self { handle, me, place, stop, driver, keeper, door };
        if let Some(code) = join {
            daemon.join(code);
        }
        Ok(daemon)
    }

    /// Founds a group, and writes its recovery key beside the node's.
    pub async fn found(&self, name: &str) -> Result<(GroupId, PathBuf), Failure> {
        crate::api::groups::found(&self.handle, &self.place, name).await
    }

    /// Begins to join; the daemon goes on trying until it is in or refused.
    fn join(&self, code: Code) {
        let handle = self.handle.clone();
        tokio::spawn(async move {
            let group = code.group;
            match handle.look(move |machine| machine.group(&group).is_some()).await {
                Ok(false) => {}
                Ok(true) | Err(_) => return,
            }
            let request = Request::Join { code, alias: String::new(), labels: Vec::new() };
            match handle.request(request).await {
                Ok(_) => tracing::info!(group = %group.short(), "joined"),
                Err(failure) => tracing::error!(group = %group.short(), why = failure.text, "cannot join"),
            }
        });
    }

    /// Waits until the daemon ends by itself, which it does only if one of its parts does.
    pub async fn ended(&mut self) {
        tokio::select! {
            _ = &mut self.driver => {}
            _ = &mut self.keeper => {}
        }
    }

    /// Stops it: goodbyes are said and everything is on the disk when this returns.
    pub async fn stop(self) {
        // Nobody listens if all parts have ended already.
        let _ = self.stop.send(true);
        self.door.close();
        let wait = |task: JoinHandle<()>| tokio::time::timeout(3 * crate::limits::GOODBYE, task);
        if !self.keeper.is_finished() {
            drop(wait(self.keeper).await);
        }
        if !self.driver.is_finished() {
            drop(wait(self.driver).await);
        }
    }
}

async fn run(driver: Driver, first: Vec<Effect>, stopping: watch::Receiver<bool>) {
    driver.run(first, stopping).await;
}

impl Kept {
    fn read(store: &Store, place: &Place, me: NodeId) -> Result<Self, Failure> {
        let bad = |error: &dyn std::fmt::Display| damaged(&place.store(), &error.to_string());
        let get = |name: &str| store.get(Table::Meta, name.as_bytes()).map_err(|error| bad(&error));
        if get("node")?.is_some_and(|node| node != me.0) {
            return Err(Failure::failed(format!(
                "{} belongs to another node than {}",
                place.store().display(),
                place.key().display()
            ))
            .hint("put back the key that belongs to it, or begin anew in an empty data directory"));
        }
        let here = identity::mark(place).map_err(|error| bad(&error))?;
        let reborn = get("mark")?.is_some_and(|made| made != here);
        let mark = vec![
            Row::put(Table::Meta, b"node".to_vec(), me.0.to_vec()),
            Row::put(Table::Meta, b"mark".to_vec(), here.to_vec()),
        ];
        let port = get("port")?.and_then(|port| port.try_into().ok()).map(u16::from_be_bytes);
        let mut book = BTreeMap::new();
        for (node, addresses) in store.rows(Table::Addresses, &[]).map_err(|error| bad(&error))? {
            if let (Some(node), Some(addresses)) = (node.try_into().ok().map(NodeId), layout(&addresses)) {
                book.insert(node, addresses);
            }
        }
        Ok(Self { port, book, reborn, mark })
    }
}

fn host() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    host.chars().filter(|c| !c.is_control()).take(larder_core::limits::NAME_BYTES).collect()
}

fn providers(place: &Place, settings: &Settings) -> Result<Providers, Failure> {
    let files = [place.files()];
    let roots = match &settings.roots {
        Some(named) => Roots::named(named),
        None => Roots::made(&files),
    };
    let roots = roots.map_err(|error| {
        Failure::usage(format!("a root cannot be used: {error}")).hint("a root is a directory that exists")
    })?;
    Ok(Providers::new(roots, &place.previous()))
}

fn network(secret: Secret, settings: &Settings, kept: &Kept) -> Result<(Net, Events), Failure> {
    let mut config = larder_net::Config::new(secret);
    config.listen = settings.listen.clone().unwrap_or_default();
    config.port = kept.port.unwrap_or(config.port);
    config.peers = settings.peers.clone().unwrap_or_default();
    config.multicast = settings.mdns.unwrap_or(true);
    let parse = |addresses: &Vec<String>| {
        addresses.iter().filter_map(|address| address.parse::<Multiaddr>().ok()).collect()
    };
    config.book = kept.book.iter().map(|(node, addresses)| (*node, parse(addresses))).collect();
    larder_net::start(config).map_err(|error| Failure::failed(error.to_string()))
}
