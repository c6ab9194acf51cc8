//! Starting a daemon, in the order in which it can fail: data directory, key, store, machine, network, door.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use larder_core::id::{GroupId, NodeId, Secret};
use larder_core::machine::{Effect, Request};
use larder_core::wire::code::Code;
use larder_net::{Events, Multiaddr, Net};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::changes::Changes;
use super::driver::{Clock, Driver};
use super::handle::Handle;
use super::keeper::Keeper;
use super::news::News;
use super::opening::{Kept, Opened, Opening, start_writer};
use super::rotate;
use crate::api::Door;
use crate::failure::Failure;
use crate::identity;
use crate::place::Place;
use crate::provider::{Providers, Roots};
use crate::settings::Settings;

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

impl Daemon {
    /// Starts a daemon. What fails leaves nothing running.
    pub async fn start(options: Options) -> Result<Self, Failure> {
        let Options { place, settings, join } = options;
        place.make()?;
        rotate::finish(&place)?;
        let secret = identity::load_or_make(&place)?;
        let me = secret.node();
        let clock = Clock::start();
        let opening = Opening { place: place.clone(), secret: secret.clone(), clock };
        let Opened { machine, first, kept, runs, store } = opening.open()?;
        let providers = providers(&place, &settings)?;
        let (net, events) = network(secret, &settings, &kept)?;
        let door = Door::open(&place, settings.socket_group.as_deref())?;

        // Where the store lies is written only after what follows from its being elsewhere, see below.
        let reader = store.reader();
        let (writer, stored) = start_writer(store, &place, &[])?;
        let (handle, asked) = Handle::new();
        let changes = Arc::<Changes>::default();
        let (stop, stopping) = watch::channel(false);
        let news = News::new(reader, stopping.clone());
        let driver = Driver {
            machine,
            net,
            events,
            writer,
            outcomes: stored,
            asked,
            changes: Arc::clone(&changes),
            news: news.clone(),
            keep_port: settings.listen.is_none(),
            book: kept.book,
            callers: BTreeMap::new(),
            clock,
            addresses: Vec::new(),
            links: BTreeSet::new(),
            opening,
            broken: None,
        };
        let keeper = Keeper::new(handle.clone(), providers, runs);
        let keeper = tokio::spawn(keeper.run(changes, stopping.clone()));
        let driver = tokio::spawn(run(driver, first, stopping.clone()));
        handle.store(kept.mark).await?;
        let door = door.serve(handle.clone(), place.clone(), news, stopping);
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
