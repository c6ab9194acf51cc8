//! The driver: the one task that owns the swarm and all state of the network.
//!
//! `Driver::run` waits for the first of these: a swarm event, a link task's message, a beacon, a command of
//! the daemon, a restored carrier, or the next deadline. It passes the input to the part that it concerns,
//! runs what is due, carries out what the parts request of the swarm, and waits again. It never waits for a
//! link or for the daemon.
//!
//! | part | its state |
//! |---|---|
//! | `members` | the members of all groups |
//! | `discovery` | the addresses of this node and of others, the beacons |
//! | `dialer` | dials in progress and planned |
//! | `peers` | connections, links and guest streams |

mod commands;
mod dialing;
mod shutdown;
mod swarm_events;

use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use libp2p::PeerId;
use libp2p::swarm::{Config as SwarmConfig, Swarm};
use tokio::sync::mpsc;

use crate::admission::AdmissionBehaviour;
use crate::behaviour::Behaviour;
use crate::command_slot::CommandSlot;
use crate::config::{Config, StartError};
use crate::dialer::Dialer;
use crate::discovery::Discovery;
use crate::discovery::address_book::AddressBook;
use crate::discovery::beacon_socket::ReceivedBeacon;
use crate::discovery::beacons::Beacons;
use crate::discovery::link_state::LinkStateWatcher;
use crate::discovery::mdns::{self, MdnsLimiter};
use crate::effects::{DriverContext, DriverEffects, SwarmAction};
use crate::event::DiscoverySource;
use crate::event_channel::{EventReceiver, EventSender, event_channel};
use crate::limit_stats::SharedLimitStats;
use crate::link::link_task::LinkMsg;
use crate::link::stream::StreamBehaviour;
use crate::listen::Listeners;
use crate::members::MemberSet;
use crate::peer_table::PeerTable;
use crate::shared_state::SharedState;
use crate::transport::build_transport;
use crate::{key, limits};

use self::shutdown::ShutdownState;

/// The longest sleep of the driver when nothing is planned.
const MAX_SLEEP: Duration = Duration::from_secs(3600);

/// The parts of the network, and their inputs.
pub(crate) struct Driver {
    swarm: Swarm<Behaviour>,
    commands: Arc<CommandSlot>,
    link_msgs: mpsc::Receiver<LinkMsg>,
    received_beacons: mpsc::Receiver<ReceivedBeacon>,
    link_state: LinkStateWatcher,
    event_sender: EventSender,
    effects: DriverEffects,

    members: MemberSet,
    discovery: Discovery,
    dialer: Dialer,
    peers: PeerTable,
    mdns_limiter: MdnsLimiter,
    limit_stats: SharedLimitStats,
    shutdown: ShutdownState,
}

impl Driver {
    /// Opens the listeners and builds a driver; [`run`](Self::run) then runs it.
    pub(crate) fn new(shared: &SharedState, config: Config) -> Result<(Self, EventReceiver), StartError> {
        let (local_node, limit_stats) = (shared.local_node, shared.limit_stats.clone());
        let mut swarm = new_swarm(&config, limit_stats.clone())?;
        let listeners = Listeners::open(&mut swarm, &config)?;
        let (event_sender, events) = event_channel();
        let (beacons, received_beacons) =
            Beacons::new(config.is_multicast_enabled, local_node, limit_stats.clone());
        let (peers, link_msgs) = PeerTable::new(
            Arc::clone(&shared.connection_counts),
            limit_stats.clone(),
            shared.link_registry.clone(),
            event_sender.clone(),
        );
        let address_book = AddressBook::new(limit_stats.clone());
        let mut driver = Self {
            swarm,
            commands: Arc::clone(&shared.commands),
            link_msgs,
            received_beacons,
            link_state: LinkStateWatcher::new(),
            event_sender,
            effects: DriverEffects::default(),
            members: MemberSet::new(local_node),
            discovery: Discovery::new(local_node, listeners, address_book, beacons),
            dialer: Dialer::default(),
            peers,
            mdns_limiter: MdnsLimiter::default(),
            limit_stats,
            shutdown: ShutdownState::Running,
        };
        let now = Instant::now();
        driver.add_static_peers(&config.static_peers, now)?;
        for (node, addrs) in &config.known_addresses {
            driver.learn_addresses(*node, addrs, now);
        }
        Ok((driver, events))
    }

    /// Runs until the daemon calls shutdown or drops its event receiver.
    pub(crate) async fn run(mut self) {
        while !self.shutdown.is_finished() {
            let has_backlog = !self.effects.events.is_empty();
            let deadline = tokio::time::Instant::from_std(self.next_deadline(Instant::now()));
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm_event(event, Instant::now()),
                Some(link_msg) = self.link_msgs.recv() => self.on_link_msg(&link_msg, Instant::now()),
                Some(received) = self.received_beacons.recv() => {
                    let ReceivedBeacon { node, socket } = received;
                    self.on_discovered(node, socket, DiscoverySource::Beacon, Instant::now());
                }
                () = self.commands.wait_changed() => self.run_commands(Instant::now()),
                () = self.link_state.carrier_restored() => self.on_carrier_restored(Instant::now()),
                _ = self.event_sender.send_next(|| self.effects.events.pop()), if has_backlog => {}
                () = self.event_sender.receiver_dropped() => return,
                () = tokio::time::sleep_until(deadline) => {}
            }
            self.run_due(Instant::now());
        }
        while let Some(event) = self.effects.events.pop() {
            if self.event_sender.send(event).await.is_err() {
                return;
            }
        }
    }

    /// The peers, and what they need of the other parts.
    fn peers_with_context(&mut self, now: Instant) -> (&mut PeerTable, DriverContext<'_>) {
        let ctx = DriverContext { members: &self.members, effects: &mut self.effects, now };
        (&mut self.peers, ctx)
    }

    fn on_link_msg(&mut self, link_msg: &LinkMsg, now: Instant) {
        let is_stopping = self.shutdown.is_shutting_down();
        let (peers, mut ctx) = self.peers_with_context(now);
        if peers.on_link_msg(link_msg, is_stopping, &mut ctx)
            && let Some(dial) = self.dialer.get_mut(link_msg.peer)
        {
            dial.on_link_up();
        }
    }

    fn on_carrier_restored(&mut self, now: Instant) {
        tracing::info!("an interface regained its carrier");
        self.discovery.beacons.on_carrier_restored(now);
        self.dial_missing_members(now);
    }

    /// The time at which the driver has something to do.
    fn next_deadline(&self, now: Instant) -> Instant {
        let deadline = if self.shutdown.is_shutting_down() {
            self.shutdown.deadline()
        } else {
            let deadlines = [
                self.discovery.listeners.report_at(),
                self.discovery.beacons.next_at(),
                self.dialer.next_deadline(),
                self.peers.next_deadline(&self.members),
                self.mdns_limiter.resumes_at(),
            ];
            deadlines.into_iter().flatten().min()
        };
        deadline.unwrap_or(now + MAX_SLEEP).min(now + MAX_SLEEP)
    }

    /// Runs everything that is due, and carries out what the parts requested.
    fn run_due(&mut self, now: Instant) {
        if self.shutdown.is_shutting_down() {
            let has_connections = !self.peers.connections.is_empty();
            if self.shutdown.advance(self.peers.has_running_tasks(), has_connections, now) {
                let nodes = self.peers.connections.nodes();
                nodes.for_each(|node| self.effects.act(SwarmAction::Disconnect(node)));
            }
            return self.carry_out_actions(now);
        }
        let missing_members = self.peers.connections.missing_members(self.members.all().len(), now);
        self.discovery.beacons.send_if_due(missing_members, now);
        let is_report_due = self.discovery.listeners.take_due_report(now);
        self.report_addresses_if(is_report_due, now);
        let local_peer_id = *self.swarm.local_peer_id();
        self.mdns_limiter.resume_if_due(&mut self.swarm.behaviour_mut().mdns, local_peer_id, now);
        self.run_due_dials(now);
        let (peers, mut ctx) = self.peers_with_context(now);
        peers.run_due(&mut ctx);
        while let Some(node) = self.peers.guests.pop_waiting() {
            self.open_guest_stream(node, now);
        }
        self.peers.guests.end_silent(now);
        self.dialer.retain(|node| self.members.contains(node) || !self.peers.is_unused(node));
        self.peers.forget_unused(&self.members);
        self.carry_out_actions(now);
    }
}

fn new_swarm(config: &Config, limit_stats: SharedLimitStats) -> Result<Swarm<Behaviour>, StartError> {
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
