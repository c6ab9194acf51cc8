//! A whole node as a state machine: inputs in, effects out.
//!
//! ```text
//! let (mut machine, effects) = Machine::open(config, now, &store)?;    // what was stored, read once
//! loop {
//!     carry out the effects, in order
//!     wait for an input, or until machine.next_wake()
//!     effects = machine.handle(now, input)
//! }
//! ```
//!
//! The contract:
//!
//! * `now.mono` never goes back; `now.wall` may do what it likes.
//! * Effects are carried out in order. `Store` batches become durable in order of token, each all or none, and each is
//!   confirmed by `Stored` (one confirmation may stand for many) or refuted, with all after it, by `StoreFailed`. From
//!   then on the machine declines every request, takes no other input and sends nothing: it is to be opened anew.
//! * `LinkUp` comes before any frame of a link, `LinkDown` after the last. At most one member link per peer is up at any
//!   time. Frames on one link arrive whole and in order, or the link goes down.
//! * Every `Request` is answered once, unless its caller hangs up before.
//!
//! Nothing that follows from a change leaves the node before the change is durable: effects wait in an outbox for all
//! batches issued before them. Once a batch failed, nothing is written, taken in or told any more, until the node is
//! opened again.

mod asking;
mod chance;
mod compare;
mod effect;
mod fetch;
mod govern;
mod hosting;
mod input;
mod joining;
mod membership;
mod nodes;
mod observing;
mod outbox;
mod presence;
mod rounds;
mod session;
mod spread;
mod standing;
mod streams;
#[cfg(test)]
mod tests;
mod writing;

use std::collections::{BTreeMap, BTreeSet};

pub use crate::bounds::{Bound, Bounds};
pub use asking::{Asked, Seeking};
pub use effect::{Answer, Declined, Effect, Notice};
pub use input::{Act, Caller, Govern, Input, LinkId, LinkKind, Moment, Now, Request, Token, WriteRequest};
pub use joining::Joining;
pub use membership::{Heard, Membership};
pub use nodes::{NodeState, NodeView, Seen};
pub use session::Session;
pub use standing::{EndedBy, Standing};

use crate::group::{Group, LoadError};
use crate::id::{GroupId, NodeId, Secret};
use crate::limits;
use crate::store::{GroupRow, JoinRow, Rows, Table, versioned};
use crate::wire::code::Code;
use chance::Chance;
use membership::{Context, Link};
use outbox::Outbox;
use presence::Self_;
use rounds::Rounds;
use streams::{Pinging, Visit};

/// What a node is, apart from what it has stored.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its key.
    pub secret: Secret,
    /// 256 bits of chance, fresh at every start: all that the machine draws follows from it.
    pub seed: [u8; 32],
    /// Its software and version, for people.
    pub software: String,
    /// Its host name, which is only a label.
    pub host: String,
    /// True if the store may be a copy or an old one: every chain is then left, and a new incarnation begun.
    pub reborn: bool,
}

/// A whole node.
#[derive(Clone, Debug)]
pub struct Machine {
    me: NodeId,
    secret: Secret,
    chance: Chance,
    now: Now,
    about: Self_,
    groups: BTreeMap<GroupId, Membership>,
    joins: BTreeMap<GroupId, Joining>,
    /// This node asks to be let in without a code.
    seeking: Option<Seeking>,
    rounds: Rounds,
    /// Others that ask this one.
    asks: BTreeMap<NodeId, Asked>,
    bounds: Bounds,
    links: BTreeMap<LinkId, Link>,
    visits: BTreeMap<LinkId, Visit>,
    seen: BTreeMap<NodeId, Seen>,
    /// Members that are near and yet not linked: when each is to be shown who this node is.
    unproved: BTreeMap<NodeId, Moment>,
    pings: BTreeMap<u64, Pinging>,
    /// The members that were told last.
    admitted: BTreeSet<NodeId>,
    /// What that followed from: which reading of each group's records, and whether it was told that this node left.
    folded: BTreeMap<GroupId, (u64, bool)>,
    outbox: Outbox,
}

impl Machine {
    /// The node that these rows describe. Answers it with the first effects to carry out.
    pub fn open<R: Rows>(config: Config, now: Now, store: &R) -> Result<(Self, Vec<Effect>), LoadError> {
        let read = |table| store.rows(table, &[]).map_err(|error| LoadError::Read(error.to_string()));
        let damaged = |what: &str| LoadError::Damaged(what.to_owned());
        let mut chance = Chance::new(config.seed);
        let boot = chance.number();
        let about = Self_ { boot, software: config.software, host: config.host, addresses: Vec::new() };
        let mut machine = Self {
            me: config.secret.node(),
            secret: config.secret,
            chance,
            now,
            about,
            groups: BTreeMap::new(),
            joins: BTreeMap::new(),
            seeking: None,
            rounds: Rounds::default(),
            asks: BTreeMap::new(),
            bounds: Bounds::default(),
            links: BTreeMap::new(),
            visits: BTreeMap::new(),
            seen: BTreeMap::new(),
            unproved: BTreeMap::new(),
            pings: BTreeMap::new(),
            admitted: BTreeSet::new(),
            folded: BTreeMap::new(),
            outbox: Outbox::default(),
        };
        for (key, value) in read(Table::Groups)? {
            let id = GroupId::from_slice(&key).ok_or_else(|| damaged("a row of `groups`"))?;
            let row: GroupRow = versioned(Table::Groups, &value)?;
            let mut group = Group::load(store, id, row.genesis)?;
            if config.reborn {
                machine.outbox.store(group.forget_lives());
                machine.outbox.push(Effect::Notice(Notice::Reborn { group: id }));
            }
            machine.outbox.store(group.take_mended());
            let mut of = Membership::new(group, now);
            of.paused = row.paused;
            of.reborn = config.reborn;
            of.refetching = row.refetching;
            of.load_invites(store)?;
            machine.groups.insert(id, of);
            machine.outbox.push(Effect::Changed { group: id });
        }
        for (_, value) in read(Table::Joins)? {
            let row: JoinRow = versioned(Table::Joins, &value)?;
            let code = Code::from_bytes(&row.code).ok_or_else(|| damaged("a row of `joins`"))?;
            machine.join(None, code, row.alias, row.labels);
        }
        machine.settle();
        let effects = machine.outbox.take();
        Ok((machine, effects))
    }

    /// Takes in what happened; answers what is to be done.
    pub fn handle(&mut self, now: Now, input: Input) -> Vec<Effect> {
        self.now = Now { mono: self.now.mono.max(now.mono), wall: now.wall };
        if self.outbox.failed().is_some() {
            // Neither taken in nor given away: what is here and not on the disk must not be built upon.
            if let Input::Request { caller, request } = input {
                self.request(caller, request);
            }
            return self.outbox.take();
        }
        match input {
            Input::Tick => self.tick(),
            Input::Seen { peer, addresses } => self.on_seen(peer, addresses),
            Input::LinkUp { link, peer, kind, opened } => self.on_link_up(link, peer, kind, opened),
            Input::LinkDown { link } => self.on_link_down(link),
            Input::Frame { link, bytes } => self.on_frame(link, &bytes),
            Input::Sent { link, bytes } => self.on_sent(link, bytes),
            Input::Refused { peer } => {
                self.on_refused(peer);
                self.outbox.push(Effect::Visit { peer });
            }
            Input::VisitFailed { .. } => {}
            Input::Reached { of, most, hits } => self.bounds.hits(of, most, hits),
            Input::Stored { token } => self.outbox.stored(token),
            Input::StoreFailed { why } => {
                self.outbox.fail(&why);
                self.outbox.push(Effect::Notice(Notice::Storage { why }));
            }
            Input::Addresses(addresses) => self.on_addresses(addresses),
            Input::Observed { group, reports } => self.observe(group, reports),
            Input::Request { caller, request } => self.request(caller, request),
            Input::Hangup { caller } => self.hangup(caller),
        }
        self.settle();
        self.outbox.take()
    }

    fn request(&mut self, caller: Caller, request: Request) {
        if let Some(why) = self.outbox.failed() {
            let why = why.to_owned();
            return self.decline(caller, Declined::Storage(why));
        }
        if self.outbox.is_full() {
            return self.decline(caller, Declined::Busy);
        }
        match request {
            Request::Found { name } => self.found(caller, &name),
            Request::Write(write) => self.write(caller, write),
            Request::PutBack { group, back, note } => self.put_back(caller, group, &back, note),
            Request::Invite { group, role, uses, expires } => self.invite(caller, group, role, uses, expires),
            Request::RevokeInvite { group, invite } => self.revoke_invite(caller, group, invite),
            Request::Join { code, alias, labels } => self.join(Some(caller), code, alias, labels),
            Request::Ping { node } => self.ping(caller, node),
            Request::Sync { group } => {
                let Some((of, mut cx)) = self.split(group) else {
                    return self.decline(caller, Declined::NoGroup);
                };
                of.tell_all(&mut cx);
                self.outbox.answer(caller, Ok(Answer::Done));
            }
            Request::Pause { group, paused } => self.pause(caller, group, paused),
            Request::Govern(govern) => self.govern(caller, govern),
            Request::Ask { alias, labels } => self.seek(caller, alias, labels),
            Request::Agree { digits } => self.agree(caller, digits),
            Request::StopAsking => self.stop_seeking(caller),
            Request::Deny { node } => self.deny(caller, node),
        }
    }

    fn decline(&mut self, caller: Caller, why: Declined) {
        self.outbox.answer(caller, Err(why));
    }

    fn hangup(&mut self, caller: Caller) {
        for joining in self.joins.values_mut() {
            joining.caller = joining.caller.filter(|waits| *waits != caller);
        }
        self.pings.retain(|_, ping| ping.caller != caller);
    }

    /// What time alone brings about.
    fn tick(&mut self) {
        let now = self.now.mono;
        for of in self.groups.keys().copied().collect::<Vec<_>>() {
            let told = self.groups.get(&of).is_some_and(|of| !of.paused && now >= of.presence_due);
            let about = told.then(|| self.about.clone());
            let Some((of, mut cx)) = self.split(of) else { continue };
            of.expire_wants(&mut cx);
            of.repair(&mut cx);
            of.age(&mut cx);
            of.catch_up(&mut cx);
            of.forget_carries(&cx);
            if now >= of.presence_due && !cx.outbox.has_failed() {
                let rows = of.group.snapshots();
                cx.outbox.store(rows);
            }
            if let Some(about) = about {
                of.tell_presence(&mut cx, &about);
            }
        }
        self.write_observed();
        self.keep_alive();
        self.ask_around();
        self.prove_to_members();
        self.close_old_visits();
        self.forget_asks();
    }

    /// What has to be true after every input.
    fn settle(&mut self) {
        for of in self.groups.values_mut() {
            of.group.flush();
            self.outbox.extend(of.note_isolated());
        }
        let folds = || self.groups.iter().map(|(id, of)| (*id, (of.group.folds(), of.told_leaving)));
        if !folds().eq(self.folded.iter().map(|(id, folded)| (*id, *folded))) {
            self.folded = folds().collect();
            self.admit_members();
        }
        self.finish_joins();
    }

    /// Who is a member of some group may have changed: tells whom to keep links with, and syncs every group over the
    /// links that stand already.
    fn admit_members(&mut self) {
        for group in self.groups.keys().copied().collect::<Vec<_>>() {
            if let Some((of, mut cx)) = self.split(group) {
                of.close_with_strangers(&mut cx);
            }
        }
        let linked = self.groups.values().filter(|of| of.keeps_links(&self.me));
        let members: BTreeSet<NodeId> =
            linked.flat_map(|of| of.group.members().keys()).filter(|key| *key != self.me).collect();
        if members != self.admitted {
            self.admitted = members.clone();
            self.outbox.push(Effect::Members(members));
        }
        self.open_sessions();
    }

    /// When [`Input::Tick`] is due, at the latest.
    pub fn next_wake(&self) -> Moment {
        let mut wake = self.now.mono.plus_ms(limits::TICK_MS);
        for of in self.groups.values() {
            if !of.paused {
                wake = wake.min(of.presence_due);
                wake = of.sessions.values().filter_map(Session::repair_due).fold(wake, Moment::min);
            }
            wake = of.observing.due.map_or(wake, |due| wake.min(due));
            if of.group.is_rebuilding() {
                // Slice after slice; inputs are taken in between them.
                wake = self.now.mono;
            }
        }
        wake.max(self.now.mono)
    }

    fn split(&mut self, group: GroupId) -> Option<(&mut Membership, Context<'_>)> {
        let of = self.groups.get_mut(&group)?;
        let (now, me) = (self.now, self.me);
        Some((
            of,
            Context {
                now,
                me,
                secret: &self.secret,
                outbox: &mut self.outbox,
                links: &mut self.links,
                bounds: &mut self.bounds,
            },
        ))
    }

    /// Who this node is.
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// True if that node is a member of any group of this one.
    pub fn is_member(&self, node: &NodeId) -> bool {
        self.admitted.contains(node)
    }

    /// The groups this node is in, by id.
    pub fn groups(&self) -> impl Iterator<Item = &Membership> {
        self.groups.values()
    }

    /// One of them.
    pub fn group(&self, id: &GroupId) -> Option<&Membership> {
        self.groups.get(id)
    }

    /// One of them, to ask for what is computed when asked for.
    pub fn group_mut(&mut self, id: &GroupId) -> Option<&mut Membership> {
        self.groups.get_mut(id)
    }

    /// The joins under way.
    pub fn joins(&self) -> impl Iterator<Item = (&GroupId, &Joining)> {
        self.joins.iter()
    }

    /// Bounds that were reached since the daemon started.
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// True if everything that is in memory is durable.
    pub fn is_durable(&self) -> bool {
        self.outbox.is_durable()
    }

    /// Why nothing can be stored any more, if that is so.
    pub fn storage_failure(&self) -> Option<&str> {
        self.outbox.failed()
    }
}
