//! mDNS by libp2p, and what it lacks: a bound on what it remembers.

use std::time::Instant;

use libp2p::PeerId;
use libp2p::mdns;
use libp2p::swarm::behaviour::toggle::Toggle;

use crate::limits;
use crate::tally::Tally;

/// mDNS, or nothing where multicast is off or has failed.
pub(crate) type Mdns = Toggle<mdns::tokio::Behaviour>;

/// mDNS at libp2p's default interval: a shorter one costs more than one packet a host and still leaves pairs apart.
pub(crate) fn mdns(on: bool, us: PeerId) -> Mdns {
    if !on {
        return Toggle::from(None);
    }
    let behaviour = mdns::tokio::Behaviour::new(mdns::Config::default(), us);
    let behaviour = behaviour.inspect_err(|error| tracing::warn!(%error, "no mDNS; the beacon goes on"));
    Toggle::from(behaviour.ok())
}

/// Keeps mDNS within its bound.
#[derive(Default)]
pub(crate) struct Watch {
    rest_until: Option<Instant>,
}

impl Watch {
    /// Called after each event of mDNS: switches it off for a while when it holds too much.
    pub(crate) fn check(&mut self, mdns: &mut Mdns, tally: &Tally, now: Instant) {
        let records = mdns.as_ref().map_or(0, |mdns| mdns.discovered_nodes().len());
        if records > limits::MDNS_RECORDS {
            tracing::warn!(records, "somebody floods mDNS; it rests, the beacon goes on");
            tally.note("records of mDNS", limits::MDNS_RECORDS);
            *mdns = Toggle::from(None);
            self.rest_until = Some(now + limits::MDNS_REST);
        }
    }

    /// When [`Watch::wake`] is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.rest_until
    }

    /// Switches it on again when its rest is over. It hears of our addresses only as they change, so interfaces that
    /// stayed are announced again after the next change: an acceptable price after an attack.
    pub(crate) fn wake(&mut self, mdns: &mut Mdns, us: PeerId, now: Instant) {
        if self.rest_until.is_some_and(|until| until <= now) {
            self.rest_until = None;
            *mdns = self::mdns(true, us);
        }
    }
}
