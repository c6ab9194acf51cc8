//! mDNS by libp2p, and what it lacks: a bound on what it remembers.

use std::time::Instant;

use libp2p::PeerId;
use libp2p::mdns;
use libp2p::swarm::behaviour::toggle::Toggle;

use crate::limit_stats::LimitStats;
use crate::limits;

/// mDNS, or nothing where multicast is off or has failed.
pub(crate) type MdnsBehaviour = Toggle<mdns::tokio::Behaviour>;

/// mDNS at libp2p's default interval: a shorter one costs more than one packet a host and still leaves pairs apart.
pub(crate) fn new_mdns_behaviour(is_enabled: bool, local_peer_id: PeerId) -> MdnsBehaviour {
    if !is_enabled {
        return Toggle::from(None);
    }
    let behaviour = mdns::tokio::Behaviour::new(mdns::Config::default(), local_peer_id);
    let behaviour = behaviour.inspect_err(|error| tracing::warn!(%error, "no mDNS; the beacon goes on"));
    Toggle::from(behaviour.ok())
}

/// Keeps mDNS within its bound.
#[derive(Default)]
pub(crate) struct MdnsLimiter {
    paused_until: Option<Instant>,
}

impl MdnsLimiter {
    /// Called after each event of mDNS: switches it off for a while when it holds too much.
    pub(crate) fn pause_if_flooded(
        &mut self,
        mdns: &mut MdnsBehaviour,
        limit_stats: &LimitStats,
        now: Instant,
    ) {
        let record_count = mdns.as_ref().map_or(0, |mdns| mdns.discovered_nodes().len());
        if record_count > limits::MAX_MDNS_RECORDS {
            tracing::warn!(record_count, "somebody floods mDNS; it rests, the beacon goes on");
            limit_stats.record("records of mDNS", limits::MAX_MDNS_RECORDS);
            *mdns = Toggle::from(None);
            self.paused_until = Some(now + limits::MDNS_FLOOD_PAUSE);
        }
    }

    /// When [`MdnsLimiter::resume_if_due`] is due.
    pub(crate) fn resumes_at(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Switches it on again when its rest is over. It hears of our addresses only as they change, so interfaces that
    /// stayed are announced again after the next change: an acceptable price after an attack.
    pub(crate) fn resume_if_due(&mut self, mdns: &mut MdnsBehaviour, local_peer_id: PeerId, now: Instant) {
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
            *mdns = self::new_mdns_behaviour(true, local_peer_id);
        }
    }
}
