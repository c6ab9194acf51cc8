//! mDNS of libp2p, with a bound on its memory.

use std::time::Instant;

use libp2p::PeerId;
use libp2p::mdns;
use libp2p::swarm::behaviour::toggle::Toggle;

use crate::limit_stats::LimitStats;
use crate::limits;

/// The mDNS behaviour, or nothing where multicast is disabled or failed.
pub(crate) type MdnsBehaviour = Toggle<mdns::tokio::Behaviour>;

/// Creates mDNS with libp2p's default query interval of five minutes. A shorter interval makes every node
/// answer more often and still leaves pairs apart.
pub(crate) fn new_mdns_behaviour(is_enabled: bool, local_peer_id: PeerId) -> MdnsBehaviour {
    if !is_enabled {
        return Toggle::from(None);
    }
    let behaviour = mdns::tokio::Behaviour::new(mdns::Config::default(), local_peer_id);
    let behaviour =
        behaviour.inspect_err(|error| tracing::warn!(%error, "mDNS failed; discovery uses the beacon only"));
    Toggle::from(behaviour.ok())
}

/// Pauses mDNS when it holds too many records.
#[derive(Default)]
pub(crate) struct MdnsLimiter {
    paused_until: Option<Instant>,
}

impl MdnsLimiter {
    /// Turns mDNS off for a while if it holds too many records. Called after each mDNS event.
    pub(crate) fn pause_if_flooded(
        &mut self,
        mdns: &mut MdnsBehaviour,
        limit_stats: &LimitStats,
        now: Instant,
    ) {
        let record_count = mdns.as_ref().map_or(0, |mdns| mdns.discovered_nodes().len());
        if record_count > limits::MAX_MDNS_RECORDS {
            tracing::warn!(record_count, "mDNS is flooded and paused; discovery uses the beacon");
            limit_stats.record("mDNS records", limits::MAX_MDNS_RECORDS);
            *mdns = Toggle::from(None);
            self.paused_until = Some(now + limits::MDNS_FLOOD_PAUSE);
        }
    }

    /// When mDNS is to be turned on again.
    pub(crate) fn resumes_at(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Turns mDNS on again after the pause. mDNS learns addresses only as they change, so it announces an
    /// interface only after its next change; that is acceptable after an attack.
    pub(crate) fn resume_if_due(&mut self, mdns: &mut MdnsBehaviour, local_peer_id: PeerId, now: Instant) {
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
            *mdns = new_mdns_behaviour(true, local_peer_id);
        }
    }
}
