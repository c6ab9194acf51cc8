//! The driver: the one task that owns the swarm and all state of the network.
//!
//! `Driver::run` waits for the first of these: a swarm event, a link task's message, a beacon, a command of
//! the daemon, a restored carrier, or the next deadline. It changes its state and waits again. It never waits
//! for a link or for the daemon.

mod commands;
mod dialing;
mod guest_streams;
mod links;
mod shutdown;
mod swarm_events;
mod timers;

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
use crate::admission::AdmissionBehaviour;
use crate::admission::rate_limit::KeyedRateLimiter;
use crate::behaviour::Behaviour;
use crate::command_slot::CommandSlot;
use crate::config::{Config, StartError};
use crate::discovery::address_book::AddressBook;
use crate::discovery::beacon_schedule::BeaconSchedule;
use crate::discovery::beacon_socket::{BeaconSockets, ReceivedBeacon};
use crate::discovery::link_state::LinkStateWatcher;
use crate::discovery::mdns::{self, MdnsLimiter};
use crate::discovery::static_peers::StaticPeers;
use crate::event::NetEvent;
use crate::event_backlog::EventBacklog;
use crate::event_channel::{EventReceiver, EventSender, event_channel};
use crate::handle::{ConnectionCounts, NetHandle};
use crate::limit_stats::LimitStats;
use crate::link::link_task::LinkMsg;
use crate::link::registry::LinkRegistry;
use crate::link::stream::StreamBehaviour;
use crate::listen::Listeners;
use crate::peer::PeerState;
use crate::transport::build_transport;
use crate::{key, limits};

use self::shutdown::ShutdownState;

/// The state of the network.
pub(crate) struct Driver {
    local_node: NodeId,
    swarm: Swarm<Behaviour>,
    listeners: Listeners,
    is_multicast_enabled: bool,
    /// The time at which a loopback-only listener is reported, if no other address appears before.
    report_loopback_at: Option<Instant>,

    commands: Arc<CommandSlot>,
    link_registry: LinkRegistry,
    connection_counts: ConnectionCounts,
    limit_stats: LimitStats,
    event_sender: EventSender,
    event_backlog: EventBacklog,

    link_msgs: mpsc::Receiver<LinkMsg>,
    link_msg_sender: mpsc::Sender<LinkMsg>,
    last_link_id: u64,

    beacon_sockets: BeaconSockets,
    received_beacons: mpsc::Receiver<ReceivedBeacon>,
    beacon_schedule: BeaconSchedule,
    link_state: LinkStateWatcher,
    mdns_limiter: MdnsLimiter,
    address_book: AddressBook,
    static_peers: StaticPeers,

    members: BTreeSet<NodeId>,
    peers: BTreeMap<NodeId, PeerState>,
    /// Nodes to open a guest stream to as soon as fewer outgoing ones are open.
    waiting_guest_streams: VecDeque<NodeId>,
    guest_rate_by_node: KeyedRateLimiter<NodeId>,
    guest_rate_by_source: KeyedRateLimiter<IpAddr>,
    shutdown: ShutdownState,
}

impl Driver {
    /// Opens the listeners and builds a driver; [`run`](Self::run) then runs it.
    pub(crate) fn new(net: &NetHandle, config: Config) -> Result<(Self, EventReceiver), StartError> {
        let local_node = net.local_node();
        let mut swarm = new_swarm(&config, net.limit_stats.clone())?;
        let listeners = Listeners::open(&mut swarm, &config)?;
        let (event_sender, events) = event_channel();
        let (link_msg_sender, link_msgs) = mpsc::channel(limits::LINK_MSG_CHANNEL_CAPACITY);
        let (beacon_sockets, received_beacons) = BeaconSockets::new(local_node, net.limit_stats.clone());
        let mut driver = Self {
            local_node,
            swarm,
            listeners,
            is_multicast_enabled: config.is_multicast_enabled,
            report_loopback_at: None,
            commands: Arc::clone(&net.commands),
            link_registry: net.link_registry.clone(),
            connection_counts: Arc::clone(&net.connection_counts),
            limit_stats: net.limit_stats.clone(),
            event_sender,
            event_backlog: EventBacklog::default(),
            link_msgs,
            link_msg_sender,
            last_link_id: 0,
            beacon_sockets,
            received_beacons,
            beacon_schedule: BeaconSchedule::new(),
            link_state: LinkStateWatcher::new(),
            mdns_limiter: MdnsLimiter::default(),
            address_book: AddressBook::new(net.limit_stats.clone()),
            static_peers: StaticPeers::default(),
            members: BTreeSet::new(),
            peers: BTreeMap::new(),
            waiting_guest_streams: VecDeque::new(),
            guest_rate_by_node: KeyedRateLimiter::default(),
            guest_rate_by_source: KeyedRateLimiter::default(),
            shutdown: ShutdownState::Running,
        };
        let now = Instant::now();
        driver.set_static_peers(&config.static_peers, now)?;
        for (node, addrs) in &config.known_addresses {
            driver.learn_addresses(*node, addrs, now);
        }
        Ok((driver, events))
    }

    /// Runs until the daemon calls shutdown or drops its event receiver.
    pub(crate) async fn run(mut self) {
        while !self.shutdown.is_finished() {
            let has_backlog = !self.event_backlog.is_empty();
            let deadline = tokio::time::Instant::from_std(self.next_deadline(Instant::now()));
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm_event(event, Instant::now()),
                Some(link_msg) = self.link_msgs.recv() => self.on_link_msg(link_msg, Instant::now()),
                Some(received) = self.received_beacons.recv() => self.on_beacon(received, Instant::now()),
                () = self.commands.wait_changed() => self.run_commands(Instant::now()),
                () = self.link_state.carrier_restored() => self.on_carrier_restored(Instant::now()),
                _ = self.event_sender.send_next(|| self.event_backlog.pop()), if has_backlog => {}
                () = self.event_sender.receiver_dropped() => return,
                () = tokio::time::sleep_until(deadline) => {}
            }
            self.run_due(Instant::now());
        }
        while let Some(event) = self.event_backlog.pop() {
            if self.event_sender.send(event).await.is_err() {
                return;
            }
        }
    }

    /// Reacts to a change of the listen addresses. Loopback alone is reported after a delay.
    fn on_listen_change(&mut self, is_reachable_changed: bool, now: Instant) {
        if !is_reachable_changed {
            return;
        }
        if self.listeners.has_only_loopback() {
            self.report_loopback_at = Some(now + limits::LOOPBACK_REPORT_DELAY);
        } else {
            self.report_listening(now);
        }
    }

    /// Reports the reachable addresses and opens beacon sockets for them.
    fn report_listening(&mut self, now: Instant) {
        self.report_loopback_at = None;
        let reachable = self.listeners.reachable().to_vec();
        let addrs: Vec<Multiaddr> = reachable.iter().copied().map(address::to_multiaddr).collect();
        tracing::debug!(?addrs, "listening");
        self.event_backlog.push(NetEvent::Listening { addrs });
        if !self.is_multicast_enabled {
            return;
        }
        if self.beacon_sockets.set_interfaces(&reachable) {
            self.beacon_schedule.start_burst(now);
            self.dial_missing_members(now);
        }
        if self.beacon_sockets.is_empty() {
            self.beacon_schedule.stop();
        }
    }

    fn on_carrier_restored(&mut self, now: Instant) {
        tracing::info!("an interface regained its carrier");
        if !self.beacon_sockets.is_empty() {
            self.beacon_schedule.start_burst(now);
        }
        self.dial_missing_members(now);
    }

    fn is_member(&self, node: NodeId) -> bool {
        self.members.contains(&node)
    }

    fn is_leader_towards(&self, node: NodeId) -> bool {
        key::is_leader(self.local_node, node)
    }
}

/// Returns a random delay up to `limit`.
fn random_delay(limit: Duration) -> Duration {
    limit.mul_f64(rand::random::<f64>())
}

fn new_swarm(config: &Config, limit_stats: LimitStats) -> Result<Swarm<Behaviour>, StartError> {
    let keypair = key::keypair(&config.secret).map_err(|error| StartError::InvalidKey(error.to_string()))?;
    let transport = build_transport(&keypair).map_err(|error| StartError::InvalidKey(error.to_string()))?;
    let local_peer_id = PeerId::from(keypair.public());
    let behaviour = Behaviour {
        admission: AdmissionBehaviour::new(limit_stats),
        mdns: mdns::new_mdns_behaviour(config.is_multicast_enabled, local_peer_id),
        streams: StreamBehaviour::default(),
    };
    let swarm_config = SwarmConfig::with_tokio_executor()
        .with_idle_connection_timeout(limits::IDLE_CONNECTION_TIMEOUT)
        .with_max_negotiating_inbound_streams(limits::MAX_NEGOTIATING_STREAMS)
        .with_dial_concurrency_factor(
            NonZeroU8::new(u8::try_from(limits::MAX_ADDRESSES_PER_NODE).unwrap_or(u8::MAX))
                .unwrap_or(NonZeroU8::MIN),
        );
    Ok(Swarm::new(transport, behaviour, local_peer_id, swarm_config))
}
