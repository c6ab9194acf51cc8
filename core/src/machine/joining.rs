//! Joining a group by a code: every node that is seen is asked, without saying for which group, whether it is in it; one
//! that proves so is asked to be let in.

use super::Machine;
use super::effect::{Answer, Declined, Effect, Notice};
use super::input::{Caller, LinkId};
use super::membership::Membership;
use crate::group::Group;
use crate::id::{GroupId, InviteId, NodeId};
use crate::limits;
use crate::record::{Records, SignedRecord};
use crate::store::{JoinRow, LAYOUT, Row, Table, key};
use crate::wire::Blobs;
use crate::wire::code::Code;
use crate::wire::visit::{JoinAnswer, JoinRequest, JoinTerms, Probe, Proof, VisitFrame};

/// A join under way.
#[derive(Clone, Debug)]
pub struct Joining {
    pub(super) code: Code,
    pub(super) alias: String,
    pub(super) labels: Vec<(String, String)>,
    pub(super) caller: Option<Caller>,
    /// True once the grant is here and only the first sync is missing.
    pub granted: bool,
    /// The issuer that a member waits for.
    pub waiting: Option<String>,
}

/// What a joiner has heard of one member so far.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    pub(super) group: GroupId,
    pub(super) nonce: [u8; 16],
    /// Records that come in portions.
    pub(super) records: Vec<SignedRecord>,
    /// The line of grants by which it proved itself.
    pub(super) proved: Option<Records>,
    /// By which invite it was asked to let this node in, once it had proved itself.
    pub(super) invite: Option<InviteId>,
}

impl Machine {
    pub(super) fn join(
        &mut self,
        caller: Option<Caller>,
        code: Code,
        alias: String,
        labels: Vec<(String, String)>,
    ) {
        let group = code.group;
        if self.groups.get(&group).is_some_and(|of| of.is_live(&self.me)) {
            if let Some(caller) = caller {
                self.outbox.answer(caller, Err(Declined::Member));
            }
            return;
        }
        if self.groups.len() + self.joins.len() >= limits::GROUPS && !self.joins.contains_key(&group) {
            if let Some(caller) = caller {
                self.outbox.answer(caller, Err(Declined::Full("groups")));
            }
            return;
        }
        let row =
            JoinRow { version: LAYOUT, code: code.to_bytes(), alias: alias.clone(), labels: labels.clone() };
        self.outbox.store(vec![Row::put_layout(Table::Joins, key::group(group), &row)]);
        let joining = Joining { code, alias, labels, caller, granted: false, waiting: None };
        let earlier = self.joins.insert(group, joining);
        if let Some(caller) = earlier.and_then(|earlier| earlier.caller) {
            self.outbox.answer(caller, Err(Declined::Replaced));
        }
        self.rounds.restart();
        self.ask_around();
    }

    /// A visit to `peer` stands: asks it for the groups that are to be joined, one after the other. False if there is
    /// none left to ask for.
    pub(super) fn probe(&mut self, link: LinkId, peer: NodeId) -> bool {
        let asked = self.visits.get(&link).and_then(|visit| visit.asking.as_ref()).map(|asking| asking.group);
        let next = self.joins.iter().find(|(group, joining)| !joining.granted && Some(**group) > asked);
        let Some((&group, _)) = next else { return self.ask(link, peer) };
        let nonce = self.chance.nonce();
        if let Some(visit) = self.visits.get_mut(&link) {
            visit.asking = Some(Asking { group, nonce, records: Vec::new(), proved: None, invite: None });
        }
        self.say(link, &VisitFrame::Probe(Probe::new(group, &self.me, &peer, nonce)));
        true
    }

    pub(super) fn on_proof(&mut self, link: LinkId, peer: NodeId, proof: &Proof) -> Result<(), String> {
        let Some(visit) = self.visits.get_mut(&link) else { return Ok(()) };
        let Some(asking) = visit.asking.as_mut().filter(|asking| asking.invite.is_none()) else {
            return Err("a proof that nobody asked for".to_owned());
        };
        collect(&mut asking.records, &proof.records)?;
        if !proof.last {
            return Ok(());
        }
        let (group, joiner_nonce) = (asking.group, asking.nonce);
        let told = std::mem::take(&mut asking.records);
        let records = read_line(group, told).ok_or("a line of grants that proves nothing")?;
        if !crate::record::Members::fold(&records).contains(&peer) {
            return Err("a line of grants that leads to somebody else".to_owned());
        }
        let Some(joining) = self.joins.get(&group).filter(|joining| !joining.granted) else { return Ok(()) };
        asking.invite = Some(joining.code.invite());
        asking.proved = Some(records);
        let terms = JoinTerms {
            group,
            invite: joining.code.invite(),
            issuer: joining.code.issuer,
            joiner: self.me,
            carrier: peer,
            nonces: (joiner_nonce, proof.nonce),
            alias: joining.alias.clone(),
            labels: joining.labels.clone(),
        };
        let request = JoinRequest::sign(terms, &joining.code.key(), &self.secret);
        self.say(link, &VisitFrame::Join(request));
        Ok(())
    }

    pub(super) fn on_join_answer(&mut self, link: LinkId, answer: &JoinAnswer) -> Result<(), String> {
        let Some(visit) = self.visits.get_mut(&link) else { return Ok(()) };
        if visit.sought {
            let peer = visit.peer;
            return self.on_asked_answer(peer, answer);
        }
        // Whoever has not proved that it is a member has no say in it: any node on the LAN can be visited.
        let Some(asking) = visit.asking.as_mut().filter(|asking| asking.invite.is_some()) else {
            return Err("an answer that nobody asked for".to_owned());
        };
        let group = asking.group;
        match answer {
            JoinAnswer::Granted { records, last } => {
                collect(&mut asking.records, records)?;
                if *last {
                    let mut line = asking.proved.take().ok_or("a grant that proves nothing")?;
                    for record in std::mem::take(&mut asking.records) {
                        line.place(record);
                    }
                    match self.enter(line)? {
                        true => self.hang_up(link, "joined"),
                        false => self.hang_up(link, "let in by one whose grant does not count"),
                    }
                }
            }
            JoinAnswer::Refused(denial) => {
                // What is granted stays granted; and a join by another code is not meant.
                let asked = asking.invite;
                let is_meant = |joining: &Joining| !joining.granted && Some(joining.code.invite()) == asked;
                if self.joins.get(&group).is_some_and(is_meant)
                    && let Some(joining) = self.joins.remove(&group)
                {
                    self.outbox.store(vec![Row::remove(Table::Joins, key::group(group))]);
                    if let Some(caller) = joining.caller {
                        self.outbox.answer(caller, Err(Declined::Denied(*denial)));
                    }
                }
                self.hang_up(link, "refused");
            }
            JoinAnswer::Waiting { issuer } => {
                if let Some(joining) = self.joins.get_mut(&group).filter(|joining| !joining.granted) {
                    joining.waiting = Some(issuer.clone());
                }
            }
        }
        Ok(())
    }

    /// The grant is here: the group begins on this node. False if it does not count, as this node knows and the member that
    /// issued it does not.
    pub(super) fn enter(&mut self, records: Records) -> Result<bool, String> {
        let id = records.group();
        if let Some((of, mut cx)) = self.split(id) {
            // It was a member once, and is let in again.
            let recorded = of.group.record(records.iter().cloned());
            of.recorded(&mut cx, recorded, None);
            of.told_leaving = false;
            if !of.is_live(&cx.me) {
                return Ok(false);
            }
            cx.outbox.store(vec![Row::remove(Table::Joins, key::group(id))]);
            self.entered(id);
            return Ok(true);
        }
        let group = Group::new(records);
        if !group.members().contains(&self.me) {
            return Err("a grant to somebody else".to_owned());
        }
        let mut membership = Membership::new(group, self.now);
        let mut rows = membership.group.rows();
        rows.push(membership.row());
        rows.push(Row::remove(Table::Joins, key::group(id)));
        self.groups.insert(id, membership);
        self.outbox.store(rows);
        self.entered(id);
        Ok(true)
    }

    fn entered(&mut self, id: GroupId) {
        if let Some(joining) = self.joins.get_mut(&id) {
            joining.granted = true;
            joining.waiting = None;
        }
        self.outbox.push(Effect::Notice(Notice::Entered { group: id }));
        self.outbox.push(Effect::Changed { group: id });
    }

    /// A join is done once the first neighbour was found equal.
    pub(super) fn finish_joins(&mut self) {
        let done: Vec<GroupId> = self
            .joins
            .iter()
            .filter(|(group, joining)| {
                let synced = self.groups.get(group).is_some_and(|of| of.sessions.values().any(|s| s.synced));
                joining.granted && synced
            })
            .map(|(group, _)| *group)
            .collect();
        for group in done {
            if let Some(caller) = self.joins.remove(&group).and_then(|joining| joining.caller) {
                self.outbox.answer(caller, Ok(Answer::Joined(group)));
            }
        }
    }
}

/// Reads records that come in portions.
pub(super) fn collect(into: &mut Vec<SignedRecord>, blobs: &Blobs) -> Result<(), String> {
    let mut weight: usize = into.iter().map(SignedRecord::weight).sum();
    for bytes in blobs {
        let record = SignedRecord::decode(bytes).map_err(|error| error.to_string())?;
        weight += record.weight();
        into.push(record);
        if into.len() > limits::RECORDS || weight > limits::LINE_BYTES {
            return Err("more records than a group may have".to_owned());
        }
    }
    Ok(())
}

/// The set that these records make, Genesis first; `None` if it is not that of `group`.
pub(super) fn read_line(group: GroupId, records: Vec<SignedRecord>) -> Option<Records> {
    let genesis = records.iter().find(|record| record.founds() == Some(group))?;
    let mut set = Records::begin(genesis.clone())?;
    for record in records {
        set.place(record);
    }
    Some(set)
}
