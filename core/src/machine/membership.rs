//! One group with everything this node does about it: sessions with neighbours, who was heard, invites, what waits.

use std::collections::BTreeMap;

use super::effect::{Effect, Notice};
use super::input::{LinkId, Moment, Now};
use super::outbox::Outbox;
use super::session::Session;
use crate::bounds::Bounds;
use crate::group::{Group, LoadError, Written};
use crate::id::{Actor, Digest, EpochId, GroupId, InviteId, NodeId, Secret};
use crate::limits;
use crate::resource::ResourceName;
use crate::resource::observed::Observed;
use crate::store::{GroupRow, InviteRow, LAYOUT, Row, Rows, Table, key, versioned};
use crate::wire::link::Frame;
use crate::wire::presence::Presence;
use crate::wire::visit::JoinRequest;

/// A link between members, whatever groups they share.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) peer: NodeId,
    /// True once the other side said hello in a version that both speak.
    pub(super) greeted: bool,
    /// Bytes handed to the link and not yet gone.
    pub(super) pending: usize,
    /// When a frame was sent last.
    pub(super) told: Moment,
}

impl Link {
    pub(super) fn new(peer: NodeId, now: Moment) -> Self {
        Self { peer, greeted: false, pending: 0, told: now }
    }

    /// Notes a frame that is handed to it.
    pub(super) fn carry(&mut self, now: Moment, bytes: usize) {
        self.pending += bytes;
        self.told = now;
    }
}

/// What the parts of a membership need from the machine around it.
pub(super) struct Context<'a> {
    pub(super) now: Now,
    pub(super) me: NodeId,
    pub(super) secret: &'a Secret,
    pub(super) outbox: &'a mut Outbox,
    pub(super) links: &'a mut BTreeMap<LinkId, Link>,
    pub(super) bounds: &'a mut Bounds,
}

impl Context<'_> {
    /// Sends a frame of a group. Once storage failed, only presence is still told.
    pub(super) fn send(&mut self, link: LinkId, frame: &Frame) {
        if self.outbox.has_failed() && !matches!(frame, Frame::Presence(_)) {
            return;
        }
        let bytes = frame.encode();
        if let Some(link) = self.links.get_mut(&link) {
            link.carry(self.now.mono, bytes.len());
        }
        self.outbox.push(Effect::Send { link, bytes });
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        self.outbox.push(Effect::Notice(notice));
    }

    /// True if so much is on its way to a link that what can wait should.
    pub(super) fn is_choked(&self, link: LinkId) -> bool {
        self.room(link).is_none()
    }

    /// How many bytes more may be on their way to a link before it is choked; `None` if it is.
    pub(super) fn room(&self, link: LinkId) -> Option<usize> {
        self.links.get(&link).and_then(|link| limits::LINK_PENDING_BYTES.checked_sub(link.pending))
    }
}

/// What was heard of a member.
#[derive(Clone, Debug)]
pub struct Heard {
    /// What it said last; `None` if it is linked but has not spoken yet.
    pub presence: Option<Presence>,
    /// When, on this node's own clock.
    pub at: Moment,
    /// The same in seconds since 1970.
    pub wall: i64,
    /// Boots that are over: what is told of them is old.
    pub(super) over: Vec<u64>,
    /// When its newest presence came.
    pub(super) told: Moment,
    /// True while it counts as up.
    pub up: bool,
}

/// Where the answer to a carried request goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum ReplyTo {
    Visit(LinkId),
    Link(LinkId),
}

/// What the providers found and is not written yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Observing {
    pub(super) pending: BTreeMap<ResourceName, Observed>,
    pub(super) due: Option<Moment>,
    pub(super) written: Option<Moment>,
}

/// How many more changes of one author may be pushed now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) left: u64,
    pub(super) at: Moment,
}

/// One group, as the machine keeps it.
#[derive(Clone, Debug)]
pub struct Membership {
    /// Its records and document.
    pub group: Group,
    /// True while an operator paused syncing.
    pub paused: bool,
    /// True after damage, until this copy was found equal with that of a member: it may lack anything.
    pub refetching: bool,
    /// Neighbours with whom it is synced.
    pub(super) sessions: BTreeMap<LinkId, Session>,
    /// Members that were heard of since this daemon started.
    pub heard: BTreeMap<NodeId, Heard>,
    /// Parts of chains that were asked for, of whom and until when the answer is due.
    pub(super) in_flight: BTreeMap<(EpochId, Actor), (LinkId, Moment)>,
    /// Invites made here.
    pub invites: BTreeMap<InviteId, InviteRow>,
    /// By author; no more than there are members.
    pub(super) paces: BTreeMap<NodeId, Pace>,
    pub(super) carries: BTreeMap<Digest, (ReplyTo, Moment)>,
    /// Requests of strangers that wait for their issuer.
    pub(super) asking: BTreeMap<NodeId, JoinRequest>,
    pub(super) told: u64,
    pub(super) presence_due: Moment,
    pub(super) observing: Observing,
    /// Links whose peer was asked who it is, and when last.
    pub(super) asked: BTreeMap<LinkId, Moment>,
    /// Links on whose other side this node was asked who it is, and when it said so last.
    pub(super) shown: BTreeMap<LinkId, Moment>,
    /// True once changes came that this node's key wrote and this node does not remember, see [`super::Notice::Twin`].
    pub twin: bool,
    /// True if the store was a copy, or moved or restored, when this node started: it left its chains then.
    pub reborn: bool,
    /// True once a member has heard that this node left.
    pub(super) told_leaving: bool,
    /// Shards that were isolated when last looked.
    isolated: Vec<EpochId>,
    digest: Option<Digest>,
}

impl Membership {
    pub(super) fn new(group: Group, now: Now) -> Self {
        Self {
            group,
            paused: false,
            refetching: false,
            sessions: BTreeMap::new(),
            heard: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            invites: BTreeMap::new(),
            paces: BTreeMap::new(),
            carries: BTreeMap::new(),
            asking: BTreeMap::new(),
            told: 0,
            presence_due: now.mono,
            observing: Observing::default(),
            asked: BTreeMap::new(),
            shown: BTreeMap::new(),
            twin: false,
            reborn: false,
            told_leaving: false,
            isolated: Vec::new(),
            digest: None,
        }
    }

    pub(super) fn id(&self) -> GroupId {
        self.group.id()
    }

    /// The digest of everything here, kept until something changes.
    pub fn digest(&mut self) -> Digest {
        let group = &self.group;
        *self.digest.get_or_insert_with(|| group.digest(&group.isolated()))
    }

    /// Looks for shards that a defect has isolated since the last time: digests leave them out.
    pub(super) fn note_isolated(&mut self) -> Vec<Notice> {
        let group = self.id();
        let now = self.group.isolated();
        if now == self.isolated {
            return Vec::new();
        }
        self.touch();
        let before = std::mem::replace(&mut self.isolated, now);
        let new = self.isolated.iter().filter(|epoch| !before.contains(epoch));
        new.filter_map(|epoch| self.group.shard_of(epoch)?.document().isolated())
            .map(|isolated| Notice::Isolated { group, what: isolated.to_string() })
            .collect()
    }

    /// To be called whenever the group changed.
    pub(super) fn touch(&mut self) {
        self.digest = None;
    }

    pub(super) fn load_invites<R: Rows>(&mut self, store: &R) -> Result<(), LoadError> {
        let rows = store.rows(Table::Invites, &key::group(self.id()));
        for (row, value) in rows.map_err(|error| LoadError::Read(error.to_string()))? {
            let invite = row.split_at_checked(16).and_then(|(_, invite)| InviteId::from_slice(invite));
            let invite = invite.ok_or_else(|| LoadError::Damaged("a row of `invites`".to_owned()))?;
            self.invites.insert(invite, versioned(Table::Invites, &value)?);
        }
        Ok(())
    }

    pub(super) fn row(&self) -> Row {
        let row = GroupRow {
            version: LAYOUT,
            genesis: self.group.records().genesis(),
            paused: self.paused,
            refetching: self.refetching,
        };
        Row::put_layout(Table::Groups, key::group(self.id()), &row)
    }

    /// Makes an own change durable and tells it.
    pub(super) fn wrote(&mut self, cx: &mut Context<'_>, written: Written) {
        self.touch();
        cx.outbox.store(written.taken.rows);
        self.spread(cx, &written.taken.new, None);
    }

    /// The neighbours with whom this group is synced.
    pub fn neighbours(&self) -> impl Iterator<Item = (NodeId, &Session)> {
        self.sessions.values().map(|session| (session.peer, session))
    }
}
