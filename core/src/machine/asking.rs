//! Joining without a code: a machine asks every node that it sees, operators on both sides compare six digits, and an
//! admin lets it in. See [`crate::wire::ask`].

use std::collections::BTreeMap;

use super::Machine;
use super::effect::{Answer, Declined};
use super::input::{Caller, LinkId, Moment};
use crate::id::{Digest, GroupId, NodeId};
use crate::limits;
use crate::record::{Role, SignedRecord};
use crate::wire::Blobs;
use crate::wire::ask::{self, Ask};
use crate::wire::visit::{Denial, JoinAnswer, VisitFrame};

/// This node asks to be let in somewhere.
#[derive(Clone, Debug)]
pub struct Seeking {
    alias: String,
    labels: Vec<(String, String)>,
    since: Moment,
    meetings: BTreeMap<NodeId, Meeting>,
    /// The member whose digits the operator found to be right.
    agreed: Option<NodeId>,
    /// The group that let it in.
    pub entered: Option<GroupId>,
}

/// What a joiner knows of one member that could let it in.
#[derive(Clone, Debug)]
struct Meeting {
    mine: [u8; 16],
    theirs: Option<[u8; 16]>,
    denied: bool,
    /// A grant that came, and waits until the digits are found to be right.
    granted: Vec<SignedRecord>,
    whole: bool,
}

impl Seeking {
    /// The members that showed the request to their operators, with the digits that these must see, and whether they
    /// said no.
    pub fn meetings(&self, me: &NodeId) -> impl Iterator<Item = (NodeId, u32, bool)> {
        self.meetings.iter().filter_map(move |(member, meeting)| {
            let theirs = meeting.theirs.as_ref()?;
            Some((*member, ask::digits(me, member, (&meeting.mine, theirs)), meeting.denied))
        })
    }
}

/// Somebody asks this node to be let in.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What it would like to be called.
    pub alias: String,
    /// The labels it would like.
    pub labels: Vec<(String, String)>,
    /// When it asked first, in seconds since 1970.
    pub since: i64,
    commit: Digest,
    mine: [u8; 16],
    theirs: Option<[u8; 16]>,
    at: Moment,
    denied: bool,
}

impl Machine {
    /// The machines that ask to be let in, with the digits that their operators must see, once these are known.
    pub fn asks(&self) -> impl Iterator<Item = (NodeId, &Asked, Option<u32>)> {
        let open =
            self.asks.iter().filter(|(joiner, asked)| !asked.denied && !self.admitted.contains(*joiner));
        open.map(|(joiner, asked)| {
            let theirs = asked.theirs.as_ref();
            let digits = theirs.map(|theirs| ask::digits(joiner, &self.me, (theirs, &asked.mine)));
            (*joiner, asked, digits)
        })
    }

    /// This node's own asking, if it does.
    pub fn seeking(&self) -> Option<&Seeking> {
        self.seeking.as_ref()
    }

    pub(super) fn seek(&mut self, caller: Caller, alias: String, labels: Vec<(String, String)>) {
        // Whoever asks once more is still the same, and so are its digits.
        let before = self.seeking.take().filter(|seeking| seeking.entered.is_none());
        let (meetings, agreed) = before.map(|seeking| (seeking.meetings, seeking.agreed)).unwrap_or_default();
        self.seeking = Some(Seeking { alias, labels, since: self.now.mono, meetings, agreed, entered: None });
        self.outbox.answer(caller, Ok(Answer::Done));
        self.rounds.restart();
        self.ask_around();
    }

    pub(super) fn stop_seeking(&mut self, caller: Caller) {
        self.seeking = None;
        self.outbox.answer(caller, Ok(Answer::Done));
    }

    /// The operator of this node, which asks, found a member's digits to be right.
    pub(super) fn agree(&mut self, caller: Caller, digits: u32) {
        let me = self.me;
        let found = self
            .seeking
            .as_ref()
            .and_then(|seeking| seeking.meetings(&me).find(|(_, shown, denied)| *shown == digits && !denied));
        let (Some((member, _, _)), Some(seeking)) = (found, self.seeking.as_mut()) else {
            return self.decline(caller, Declined::Digits);
        };
        seeking.agreed = Some(member);
        self.outbox.answer(caller, Ok(Answer::Done));
        self.enter_if_agreed();
    }

    /// Gives up once nobody let it in for too long.
    pub(super) fn stop_seeking_in_time(&mut self) {
        let now = self.now.mono;
        if self.seeking.as_ref().is_some_and(|seeking| now.ms_since(seeking.since) >= limits::ASK_MS) {
            self.seeking = None;
        }
    }

    /// Asks a node on a visit that stands. False if there is nothing to ask for, or it was asked.
    pub(super) fn ask(&mut self, link: LinkId, peer: NodeId) -> bool {
        let fresh = self.chance.nonce();
        let Some(seeking) = self.seeking.as_mut().filter(|seeking| seeking.entered.is_none()) else {
            return false;
        };
        let Some(visit) = self.visits.get_mut(&link).filter(|visit| visit.opened && !visit.sought) else {
            return false;
        };
        visit.sought = true;
        let meeting = seeking.meetings.entry(peer).or_insert_with(|| Meeting {
            mine: fresh,
            theirs: None,
            denied: false,
            granted: Vec::new(),
            whole: false,
        });
        (meeting.granted, meeting.whole) = (Vec::new(), false);
        let commit = ask::commit(&self.me, &meeting.mine);
        let ask = Ask { commit, alias: seeking.alias.clone(), labels: seeking.labels.clone() };
        self.say(link, &VisitFrame::Ask(ask));
        true
    }

    pub(super) fn on_heard(&mut self, link: LinkId, peer: NodeId, chance: [u8; 16]) -> Result<(), String> {
        let meeting = self.seeking.as_mut().and_then(|seeking| seeking.meetings.get_mut(&peer));
        let Some(meeting) = meeting else { return Ok(()) };
        if *meeting.theirs.get_or_insert(chance) != chance {
            return Err("a member that changed its half of the digits".to_owned());
        }
        let mine = meeting.mine;
        self.say(link, &VisitFrame::Reveal(mine));
        Ok(())
    }

    /// An answer on a visit on which this node asked without a code.
    pub(super) fn on_asked_answer(&mut self, peer: NodeId, answer: &JoinAnswer) -> Result<(), String> {
        let meeting = self.seeking.as_mut().and_then(|seeking| seeking.meetings.get_mut(&peer));
        let Some(meeting) = meeting else { return Ok(()) };
        match answer {
            JoinAnswer::Granted { records, last } => {
                take_part(meeting, records)?;
                meeting.whole = *last;
                self.enter_if_agreed();
            }
            JoinAnswer::Refused(_) => meeting.denied = true,
            JoinAnswer::Waiting { .. } => {}
        }
        Ok(())
    }

    /// Enters the group whose member this node's operator trusts, once its grant is here.
    fn enter_if_agreed(&mut self) {
        let Some(seeking) = self.seeking.as_mut().filter(|seeking| seeking.entered.is_none()) else { return };
        let Some(member) = seeking.agreed else { return };
        let Some(meeting) = seeking.meetings.get_mut(&member).filter(|meeting| meeting.whole) else { return };
        let records = std::mem::take(&mut meeting.granted);
        meeting.whole = false;
        let Some(group) = records.iter().find_map(SignedRecord::founds) else { return };
        let Some(line) = super::joining::read_line(group, records) else { return };
        let granter = crate::record::Members::fold(&line).contains(&member);
        if granter
            && self.enter(line) == Ok(true)
            && let Some(seeking) = &mut self.seeking
        {
            seeking.entered = Some(group);
        }
    }

    /// True if this node may let others in somewhere.
    fn may_admit(&self) -> bool {
        let is_admin = |role: Role| role == Role::Admin;
        self.groups.values().any(|of| of.group.members().grant_for(&self.me, is_admin).is_some())
    }

    pub(super) fn on_ask(&mut self, link: LinkId, peer: NodeId, ask: Ask) {
        if !self.may_admit() {
            return self.say(link, &VisitFrame::NotHere);
        }
        self.forget_asks();
        let (fresh, now) = (self.chance.nonce(), self.now);
        let full = self.asks.len() >= limits::ASKS && !self.asks.contains_key(&peer);
        if full {
            self.bounds.hit("machines that ask to be let in", limits::ASKS);
            return self.say(link, &VisitFrame::NotHere);
        }
        if let Some(visit) = self.visits.get_mut(&link) {
            visit.sought = true;
        }
        let Ask { commit, alias, labels } = ask;
        let new = Asked {
            alias,
            labels,
            since: now.wall,
            commit,
            mine: fresh,
            theirs: None,
            at: now.mono,
            denied: false,
        };
        let asked = self.asks.entry(peer).or_insert_with(|| new.clone());
        if asked.commit != commit {
            *asked = new;
        }
        asked.at = now.mono;
        if asked.denied {
            return self.say(link, &VisitFrame::Answer(JoinAnswer::Refused(Denial::Declined)));
        }
        let mine = asked.mine;
        self.say(link, &VisitFrame::Heard(mine));
    }

    pub(super) fn on_reveal(&mut self, link: LinkId, peer: NodeId, chance: [u8; 16]) -> Result<(), String> {
        let Some(asked) = self.asks.get_mut(&peer) else { return Ok(()) };
        if asked.commit != ask::commit(&peer, &chance) {
            return Err("a machine that changed its half of the digits".to_owned());
        }
        asked.theirs = Some(chance);
        self.grant_asked(link, peer);
        Ok(())
    }

    /// Tells a machine that asked and was let in meanwhile.
    fn grant_asked(&mut self, link: LinkId, peer: NodeId) {
        let answers = self.groups.values().find_map(|of| of.granted_to(&peer)).unwrap_or_default();
        for answer in answers {
            self.say(link, &VisitFrame::Answer(answer));
        }
    }

    /// Tells it on all visits on which it asks.
    pub(super) fn grant_asked_now(&mut self, peer: NodeId) {
        let open =
            self.visits.iter().filter(|(_, visit)| visit.peer == peer && visit.sought && !visit.opened);
        for link in open.map(|(link, _)| *link).collect::<Vec<_>>() {
            self.grant_asked(link, peer);
        }
    }

    /// What a machine that asked would like, if its digits are these.
    pub(super) fn asked_with(
        &self,
        joiner: &NodeId,
        digits: Option<u32>,
    ) -> Result<(String, Vec<(String, String)>), Declined> {
        let (_, asked, shown) = self.asks().find(|(asks, _, _)| asks == joiner).ok_or(Declined::NoAsk)?;
        match (shown, digits) {
            (Some(shown), Some(digits)) if shown == digits => Ok((asked.alias.clone(), asked.labels.clone())),
            _ => Err(Declined::Digits),
        }
    }

    pub(super) fn deny(&mut self, caller: Caller, joiner: NodeId) {
        let waiting: Vec<GroupId> = self
            .groups
            .values()
            .filter(|of| of.asking.contains_key(&joiner))
            .map(|of| of.group.id())
            .collect();
        for group in &waiting {
            if let Some((of, mut cx)) = self.split(*group) {
                of.refuse_waiting(&mut cx, &joiner, Denial::Declined);
            }
        }
        match self.asks.get_mut(&joiner) {
            Some(asked) => asked.denied = true,
            None if waiting.is_empty() => return self.decline(caller, Declined::NoAsk),
            None => {}
        }
        self.outbox.answer(caller, Ok(Answer::Done));
    }

    /// Forgets those that do not ask any more.
    pub(super) fn forget_asks(&mut self) {
        let now = self.now.mono;
        self.asks.retain(|_, asked| now.ms_since(asked.at) < limits::ASK_MS);
    }
}

fn take_part(meeting: &mut Meeting, records: &Blobs) -> Result<(), String> {
    super::joining::collect(&mut meeting.granted, records)
}
