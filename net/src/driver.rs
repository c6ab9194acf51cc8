//! The one task that owns the swarm.
//!
//! It waits for whatever comes first (the swarm, a link's note, a beacon, a wish of the daemon, a carrier, a moment
//! that was planned), changes its state, and goes on; it never waits for a link or for the daemon.

mod clock;
mod dialing;
mod ending;
mod links;
mod members;
mod swarm;
mod visits;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use larder_core::id::NodeId;
use libp2p::swarm::{Config as SwarmConfig, Swarm};
use libp2p::{Multiaddr, PeerId};
use std::num::NonZeroU8;
use tokio::sync::mpsc;

use crate::address;
use crate::behaviour::Behaviour;
use crate::config::{Config, StartError};
use crate::discovery::air::{Air, Heard};
use crate::discovery::book::Book;
use crate::discovery::carrier::Carriers;
use crate::discovery::mdns::{self, Watch};
use crate::discovery::pace::Pace;
use crate::discovery::statics::Statics;
use crate::event::Event;
use crate::feed::{Events, Feed, feed};
use crate::gate::Gate;
use crate::gate::budget::Budget;
use crate::link::pump::Note;
use crate::link::registry::Registry;
use crate::link::stream::Streams;
use crate::listen::Listeners;
use crate::mailbox::Mailbox;
use crate::net::{Census, Net};
use crate::outbox::Outbox;
use crate::peer::Peer;
use crate::tally::Tally;
use crate::transport::transport;
use crate::{key, limits};

use self::ending::Ending;

/// The state of the whole network.
pub(crate) struct Driver {
    us: NodeId,
    swarm: Swarm<Behaviour>,
    listeners: Listeners,
    multicast: bool,
    /// When to believe that there is nothing but loopback.
    alone_at: Option<Instant>,

    mailbox: Arc<Mailbox>,
    registry: Registry,
    census: Census,
    tally: Tally,
    feed: Feed,
    outbox: Outbox,

    notes: mpsc::Receiver<Note>,
    noter: mpsc::Sender<Note>,
    last_link: u64,

    air: Air,
    heard: mpsc::Receiver<Heard>,
    pace: Pace,
    carriers: Carriers,
    watch: Watch,
    book: Book,
    statics: Statics,

    members: BTreeSet<NodeId>,
    peers: BTreeMap<NodeId, Peer>,
    /// Whom to visit as soon as fewer visits are under way.
    to_visit: VecDeque<NodeId>,
    visit_keys: Budget<NodeId>,
    visit_sources: Budget<IpAddr>,
    ending: Ending,
}

impl Driver {
    /// Listens, and is ready to [`run`](Self::run).
    pub(crate) fn new(net: &Net, config: Config) -> Result<(Self, Events), StartError> {
        let us = net.node();
        let mut swarm = swarm(&config, net.tally.clone())?;
        let listeners = Listeners::open(&mut swarm, &config)?;
        let (feed, events) = feed();
        let (noter, notes) = mpsc::channel(limits::NOTES);
        let (air, heard) = Air::new(us, net.tally.clone());
        let mut driver = Self {
            us,
            swarm,
            listeners,
            multicast: config.multicast,
            alone_at: None,
            mailbox: Arc::clone(&net.mailbox),
            registry: net.registry.clone(),
            census: Arc::clone(&net.census),
            tally: net.tally.clone(),
            feed,
            outbox: Outbox::default(),
            notes,
            noter,
            last_link: 0,
            air,
            heard,
            pace: Pace::new(),
            carriers: Carriers::new(),
            watch: Watch::default(),
            book: Book::new(net.tally.clone()),
            statics: Statics::default(),
            members: BTreeSet::new(),
            peers: BTreeMap::new(),
            to_visit: VecDeque::new(),
            visit_keys: Budget::default(),
            visit_sources: Budget::default(),
            ending: Ending::No,
        };
        let now = Instant::now();
        driver.set_static_peers(&config.peers, now)?;
        for (node, addrs) in &config.book {
            driver.learn(*node, addrs, now);
        }
        Ok((driver, events))
    }

    /// Runs until the daemon says stop or is gone.
    pub(crate) async fn run(mut self) {
        while !self.ending.is_over() {
            let due = tokio::time::Instant::from_std(self.due(Instant::now()));
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm(event, Instant::now()),
                Some(note) = self.notes.recv() => self.on_note(note, Instant::now()),
                Some(heard) = self.heard.recv() => self.on_beacon(heard, Instant::now()),
                () = self.mailbox.changed() => self.on_wishes(Instant::now()),
                () = self.carriers.returned() => self.on_carrier(Instant::now()),
                _ = self.feed.tell_next(|| self.outbox.pop()), if !self.outbox.is_empty() => {}
                () = self.feed.deaf() => return,
                () = tokio::time::sleep_until(due) => {}
            }
            self.on_time(Instant::now());
        }
        while let Some(event) = self.outbox.pop() {
            if self.feed.tell(event).await.is_err() {
                return;
            }
        }
    }

    /// We listen elsewhere than before; it may be that what is reachable `changed`.
    fn on_listening(&mut self, changed: bool, now: Instant) {
        if !changed {
            return;
        }
        if self.listeners.is_alone() {
            self.alone_at = Some(now + limits::ALONE);
        } else {
            self.tell_listening(now);
        }
    }

    /// Says where others may reach us, and moves the beacon there.
    fn tell_listening(&mut self, now: Instant) {
        self.alone_at = None;
        let reachable = self.listeners.reachable().to_vec();
        let addrs: Vec<Multiaddr> = reachable.iter().copied().map(address::plain).collect();
        tracing::debug!(?addrs, "listening");
        self.outbox.push(Event::Listening { addrs });
        if !self.multicast {
            return;
        }
        if self.air.set(&reachable) {
            self.pace.start(now);
            self.hurry(now);
        }
        if self.air.is_empty() {
            self.pace.stop();
        }
    }

    fn on_carrier(&mut self, now: Instant) {
        tracing::info!("an interface has its carrier back");
        if !self.air.is_empty() {
            self.pace.start(now);
        }
        self.hurry(now);
    }

    fn is_member(&self, node: NodeId) -> bool {
        self.members.contains(&node)
    }

    fn leads(&self, node: NodeId) -> bool {
        key::leads(self.us, node)
    }
}

/// Up to `most`, at random.
fn jitter(most: Duration) -> Duration {
    most.mul_f64(rand::random::<f64>())
}

fn swarm(config: &Config, tally: Tally) -> Result<Swarm<Behaviour>, StartError> {
    let keypair = key::keypair(&config.secret).map_err(|error| StartError::Key(error.to_string()))?;
    let transport = transport(&keypair).map_err(|error| StartError::Key(error.to_string()))?;
    let us = PeerId::from(keypair.public());
    let behaviour = Behaviour {
        gate: Gate::new(tally),
        mdns: mdns::mdns(config.multicast, us),
        streams: Streams::default(),
    };
    let swarm_config = SwarmConfig::with_tokio_executor()
        .with_idle_connection_timeout(limits::IDLE)
        .with_max_negotiating_inbound_streams(limits::STREAMS_NEGOTIATING)
        .with_dial_concurrency_factor(
            NonZeroU8::new(u8::try_from(limits::ADDRESSES).unwrap_or(u8::MAX)).unwrap_or(NonZeroU8::MIN),
        );
    Ok(Swarm::new(transport, behaviour, us, swarm_config))
}
