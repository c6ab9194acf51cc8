//! A peer that keeps to the bytes of the protocol and to none of its rules: first as a stranger, then as a member. What
//! it tries is what `docs/threats.md` lists.

mod attacks;
mod sockets;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use larder_core::group::Group;
use larder_core::id::{EpochId, GrantId, NodeId, Secret};
use larder_core::machine::{
    Caller, Config, Effect, Input, LinkId, LinkKind, Machine, Membership, Moment, Now, Request,
};
use larder_core::store::Memory;
use larder_core::wire::code::Code;
use larder_net::{Event, Events, Multiaddr, Net};

pub use attacks::{AS_MEMBER, AS_STRANGER, Attack};

/// A node with the manners of a machine, until it is told otherwise.
pub struct Villain {
    pub(crate) secret: Secret,
    net: Net,
    events: Events,
    machine: Machine,
    store: Memory,
    begun: Instant,
    links: BTreeMap<LinkId, (NodeId, LinkKind)>,
    callers: u64,
    /// Where its victims listen.
    pub(crate) victims: Vec<SocketAddr>,
    /// Connections that it keeps without a word.
    pub(crate) silent: Vec<TcpStream>,
    /// What it was while it was a member: it goes by that when it is none any more.
    past: Option<(Group, EpochId, GrantId)>,
    /// Repeatable chance.
    pub(crate) dice: u64,
}

impl Villain {
    /// A node with a fresh key that is in no group.
    ///
    /// # Panics
    ///
    /// If the network does not start.
    pub fn start(seed: u8, peers: Vec<Multiaddr>) -> Self {
        let secret = Secret::from_bytes(&[seed; 32]);
        let mut config = larder_net::Config::new(secret.clone());
        let victims = peers.iter().filter_map(sockets::address).collect();
        config.peers = peers;
        config.listen = vec!["/ip4/0.0.0.0/tcp/0".parse().expect("an address")];
        let (net, events) = larder_net::start(config).expect("a network");
        let store = Memory::default();
        let about = Config {
            secret: secret.clone(),
            seed: [seed; 32],
            software: "villain".to_owned(),
            host: "villain".to_owned(),
            reborn: false,
        };
        let (machine, first) = Machine::open(about, now(Instant::now()), &store).expect("an empty store");
        let mut villain = Self {
            secret,
            net,
            events,
            machine,
            store,
            begun: Instant::now(),
            links: BTreeMap::new(),
            callers: 0,
            victims,
            silent: Vec::new(),
            past: None,
            dice: u64::from(seed),
        };
        villain.carry_out(first);
        villain
    }

    /// The group it is in, once it is in one.
    pub(crate) fn group(&self) -> Option<&Membership> {
        self.machine.groups().next()
    }

    /// Its group, the epoch of the desired state, and its own grant: as they are, or as they last were.
    pub(crate) fn place(&mut self) -> Option<(Group, EpochId, GrantId)> {
        let now = self.group().and_then(|of| {
            let grant = of.group.members().of(&self.secret.node()).next()?.grant;
            Some((of.group.clone(), of.group.desired()?.root().epoch(), grant))
        });
        self.past = now.or_else(|| self.past.take());
        self.past.clone()
    }

    /// All that it has heard of, as a stranger and as a member.
    pub(crate) fn everybody(&self) -> BTreeSet<NodeId> {
        let seen = self.machine.strangers().into_iter().map(|view| view.id);
        let told = self.past.iter().flat_map(|(group, ..)| group.members().keys());
        told.chain(seen).filter(|node| *node != self.secret.node()).collect()
    }

    /// Takes everybody for a member of whatever it is in itself, and so asks for member links.
    pub(crate) fn claim_all(&mut self) {
        self.net.members(self.everybody());
    }

    /// How many member links it has.
    pub fn linked(&self) -> usize {
        self.links.values().filter(|(_, kind)| *kind == LinkKind::Member).count()
    }

    /// Asks its own machine for something, in all honesty.
    pub fn ask(&mut self, request: Request) {
        self.callers += 1;
        let caller = Caller(self.callers);
        self.input(Input::Request { caller, request });
    }

    /// Joins by a code; true once it is in the group and linked.
    pub async fn join(&mut self, code: Code, within: Duration) -> bool {
        self.ask(Request::Join { code, alias: "villain".to_owned(), labels: Vec::new() });
        let end = Instant::now() + within;
        while Instant::now() < end {
            self.live(Duration::from_millis(50)).await;
            if self.group().is_some() && self.linked() > 0 {
                return true;
            }
        }
        false
    }

    /// Does for a while what an honest node would.
    pub async fn live(&mut self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        loop {
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(event) => self.hear(event),
                    None => return,
                },
                () = tokio::time::sleep(Duration::from_millis(100)) => self.input(Input::Tick),
                () = tokio::time::sleep_until(end) => return,
            }
            if tokio::time::Instant::now() >= end {
                return;
            }
        }
    }

    /// Says something to every neighbour that its machine did not.
    pub(crate) fn say(&mut self, kind: LinkKind, frame: &[u8]) {
        for (link, (_, of)) in &self.links {
            if *of == kind {
                let _ = self.net.send(larder_net::LinkId(link.0), frame.to_vec());
            }
        }
    }

    /// Visits everybody that it has heard of.
    pub(crate) fn visit_all(&mut self) {
        for view in self.machine.strangers() {
            self.net.visit(view.id);
        }
    }

    /// The next number of its chance.
    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % below.max(1)
    }

    fn input(&mut self, input: Input) {
        let effects = self.machine.handle(now(self.begun), input);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Store { token, rows } => {
                    self.store.write(&rows);
                    self.input(Input::Stored { token });
                }
                Effect::Send { link, bytes } => {
                    let _ = self.net.send(larder_net::LinkId(link.0), bytes);
                }
                Effect::Close { link, .. } => self.net.close(larder_net::LinkId(link.0)),
                Effect::Visit { peer } => {
                    self.net.visit(peer);
                }
                Effect::Members(members) => self.net.members(members),
                Effect::Learn { peer, addresses } => {
                    self.net.learn(peer, addresses.iter().filter_map(|addr| addr.parse().ok()).collect());
                }
                Effect::Answer { .. } | Effect::Changed { .. } | Effect::Notice(_) => {}
            }
        }
    }

    fn hear(&mut self, event: Event) {
        let texts = |addrs: &[Multiaddr]| addrs.iter().map(Multiaddr::to_string).collect::<Vec<_>>();
        match event {
            Event::Listening { addrs } => self.input(Input::Addresses(texts(&addrs))),
            Event::Seen { peer, addrs, .. } => self.input(Input::Seen { peer, addresses: texts(&addrs) }),
            Event::LinkUp { link, peer, kind, opened, .. } => {
                let kind = match kind {
                    larder_net::LinkKind::Member => LinkKind::Member,
                    larder_net::LinkKind::Stranger => LinkKind::Visit,
                };
                let link = LinkId(link.0);
                self.links.insert(link, (peer, kind));
                self.input(Input::LinkUp { link, peer, kind, opened });
            }
            Event::LinkDown { link, .. } => {
                self.links.remove(&LinkId(link.0));
                self.input(Input::LinkDown { link: LinkId(link.0) });
            }
            Event::Frame { link, bytes } => self.input(Input::Frame { link: LinkId(link.0), bytes }),
            Event::Sent { link, bytes } => self.input(Input::Sent { link: LinkId(link.0), bytes }),
            Event::Refused { peer, .. } => self.input(Input::Refused { peer }),
            Event::VisitFailed { peer, .. } => self.input(Input::VisitFailed { peer }),
            Event::Address { .. } => {}
        }
    }
}

fn now(begun: Instant) -> Now {
    let mono = Moment(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { mono, wall: i64::try_from(since.as_secs()).unwrap_or(i64::MAX) }
}
