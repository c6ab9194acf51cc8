//! Presence: who lives, where, and whether it has what we have.

use std::collections::BTreeMap;

use super::effect::{Effect, Notice};
use super::input::{LinkId, Moment};
use super::membership::{Context, Heard, Membership};
use crate::id::NodeId;
use crate::limits;
use crate::wire::link::{Frame, Told};
use crate::wire::presence::Presence;

/// What a node says of itself in every group.
#[derive(Clone, Debug, Default)]
pub(super) struct Self_ {
    pub(super) boot: u64,
    pub(super) software: String,
    pub(super) host: String,
    pub(super) addresses: Vec<String>,
}

/// Boots of one node that are remembered as over.
const BOOTS: usize = 8;

impl Membership {
    /// Tells all neighbours that this node lives, if it is time to.
    pub(super) fn tell_presence(&mut self, cx: &mut Context<'_>, about: &Self_) {
        if self.paused || cx.now.mono < self.presence_due {
            return;
        }
        self.presence_due = cx.now.mono.plus_ms(limits::PRESENCE_MS);
        if self.sessions.is_empty() {
            return;
        }
        self.told += 1;
        let mut links: Vec<[u8; 8]> = self.sessions.values().map(|session| session.peer.hint()).collect();
        links.sort_unstable();
        links.truncate(limits::PRESENCE_LINKS);
        // What is in memory after storage failed may not be durable: nobody may take it for that.
        let (digest, changes) = match cx.outbox.has_failed() {
            true => (crate::id::Digest::ZERO, 0),
            false => (self.digest(), self.group.changes()),
        };
        let presence = Presence {
            group: self.group.id(),
            node: cx.me,
            boot: about.boot,
            count: self.told,
            software: about.software.clone(),
            host: about.host.clone(),
            addresses: about.addresses.iter().take(limits::ADDRESSES).cloned().collect(),
            links,
            digest,
            changes,
        };
        let (presence, signature) = presence.sign(cx.secret);
        let frame = Frame::Presence(Told { group: self.group.id(), presence, signature });
        let mine = self.digest();
        for (link, session) in &mut self.sessions {
            session.told = Some(mine);
            cx.send(*link, &frame);
        }
    }

    /// A link with a member stands: it lives, whatever it says.
    pub(super) fn hear_link(&mut self, cx: &mut Context<'_>, peer: NodeId) {
        let heard = self.heard.entry(peer).or_insert_with(|| Heard {
            presence: None,
            at: cx.now.mono,
            wall: cx.now.wall,
            over: Vec::new(),
            told: Moment::default(),
            up: false,
        });
        (heard.at, heard.wall) = (cx.now.mono, cx.now.wall);
        if !heard.up {
            heard.up = true;
            let group = self.group.id();
            cx.notice(Notice::Neighbour { group, peer, up: true });
        }
    }

    pub(super) fn on_presence(&mut self, cx: &mut Context<'_>, link: LinkId, told: &Told) {
        let Some(presence) = Presence::read(&told.presence) else { return };
        let node = presence.node;
        let teller = self.sessions.get(&link).map(|session| session.peer);
        let ours = presence.group == self.group.id() && node != cx.me && self.group.members().contains(&node);
        // Who is at the other end of a link was proved when it came up; of others only a signature proves the word.
        let proved =
            |presence: &Presence| teller == Some(node) || presence.is_signed(&told.presence, &told.signature);
        // What is old is passed over before its signature is looked at: that is most of what comes twice.
        if !ours || !self.is_news(cx, &presence) || !proved(&presence) {
            return;
        }
        self.leave_boot(&presence);
        self.hear_link(cx, node);
        cx.outbox.push(Effect::Learn { peer: node, addresses: presence.addresses.clone() });
        let others: Vec<_> = self
            .sessions
            .iter()
            .filter(|(other, session)| **other != link && session.peer != node)
            .filter(|(_, session)| !self.is_linked(teller, session.peer))
            .map(|(other, _)| *other)
            .collect();
        for other in others.into_iter().filter(|other| !cx.is_choked(*other)).collect::<Vec<_>>() {
            cx.send(other, &Frame::Presence(told.clone()));
        }
        let digest = presence.digest;
        if let Some(heard) = self.heard.get_mut(&node) {
            heard.presence = Some(presence);
            heard.told = cx.now.mono;
        }
        if teller == Some(node) {
            self.compare_presence(cx, link, digest);
        }
    }

    /// True if it is newer than what is known of that node. A boot that was followed by another is over.
    fn is_news(&self, cx: &Context<'_>, presence: &Presence) -> bool {
        let Some(heard) = self.heard.get(&presence.node) else { return true };
        let Some(known) = &heard.presence else { return true };
        if known.boot == presence.boot {
            let spaced = cx.now.mono.ms_since(heard.told) >= limits::PRESENCE_LEAST_MS;
            return presence.count > known.count && spaced;
        }
        !heard.over.contains(&presence.boot)
    }

    /// A node speaks that was started anew: what is told of its earlier boot is old from now on.
    fn leave_boot(&mut self, presence: &Presence) {
        let Some(heard) = self.heard.get_mut(&presence.node) else { return };
        let before = heard.presence.as_ref().map(|known| known.boot);
        heard.over.extend(before.filter(|boot| *boot != presence.boot));
        if heard.over.len() > BOOTS {
            heard.over.remove(0);
        }
    }

    fn compare_presence(&mut self, cx: &mut Context<'_>, link: LinkId, digest: crate::id::Digest) {
        let (mine, now) = (self.digest(), cx.now.mono);
        let Some(session) = self.sessions.get_mut(&link) else { return };
        session.heard = Some(digest);
        if digest == mine {
            return self.on_equal(cx, link);
        }
        session.differs.get_or_insert((now, digest));
    }

    /// Neighbours that have differed for a while, with nothing under way to mend it, are compared with again.
    pub(super) fn repair(&mut self, cx: &mut Context<'_>) {
        let (now, mine) = (cx.now.mono, self.digest());
        let mut again = Vec::new();
        for (link, session) in &mut self.sessions {
            if session.repair_due().is_none_or(|due| due > now) {
                continue;
            }
            session.differs = None;
            if session.heard != Some(mine) {
                again.push(*link);
            }
        }
        for link in again {
            self.tell_digest(cx, link);
        }
    }

    /// Members that have not been heard for too long are away.
    pub(super) fn age(&mut self, cx: &mut Context<'_>) {
        let linked: BTreeMap<NodeId, ()> = self.sessions.values().map(|session| (session.peer, ())).collect();
        let (now, group) = (cx.now.mono, self.group.id());
        let mut gone = Vec::new();
        for (node, heard) in &mut self.heard {
            if heard.up && !linked.contains_key(node) && now.ms_since(heard.at) >= limits::AWAY_MS {
                heard.up = false;
                gone.push(*node);
            }
        }
        for peer in gone {
            cx.notice(Notice::Neighbour { group, peer, up: false });
        }
    }
}
