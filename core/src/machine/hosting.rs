//! Letting others in: invites made here, and what strangers ask of a member.

use std::collections::BTreeSet;

use super::Machine;
use super::effect::{Answer, Declined, Effect, Notice};
use super::govern::remark;
use super::input::{Caller, LinkId};
use super::joining::collect;
use super::membership::{Context, Membership, ReplyTo};
use super::standing::is_due;
use crate::id::{GroupId, InviteId, NodeId, RecordId, Secret};
use crate::limits;
use crate::record::{Body, Frontiers, Grant, Revoke, Revoked, Role, SignedRecord};
use crate::store::{InviteRow, LAYOUT, Row, Table, key};
use crate::wire::code::Code;
use crate::wire::link::{Bundle, Carried, Carry, Frame};
use crate::wire::visit::{Denial, JoinAnswer, JoinRequest, LineProof, Probe, Proof, VisitFrame, portions};

/// What [`limits::WAITING_JOINS`] bounds.
const CARRIES: &str = "requests to join that wait for their issuer";

impl Machine {
    pub(super) fn invite(&mut self, caller: Caller, group: GroupId, role: Role, uses: u32, expires: i64) {
        let secret = self.chance.nonce();
        let (me, now) = (self.me, self.now);
        let Some((of, cx)) = self.split(group) else { return self.decline(caller, Declined::NoGroup) };
        let Some(grant) = of.group.members().grant_for(&me, |role| role == Role::Admin) else {
            cx.outbox.answer(caller, Err(Declined::NotAdmin));
            return;
        };
        if of.invites.len() >= limits::INVITES {
            // Those whose time is over make room.
            let over: Vec<_> =
                of.invites.iter().filter(|(_, row)| row.expires <= now.wall).map(|(id, _)| *id).collect();
            for invite in over {
                of.invites.remove(&invite);
                cx.outbox.store(vec![Row::remove(Table::Invites, key::invite(group, invite))]);
            }
            if of.invites.len() >= limits::INVITES {
                cx.outbox.answer(caller, Err(Declined::Full("invites")));
                return;
            }
        }
        let code = Code::new(group, &me, secret);
        let row = InviteRow { version: LAYOUT, grant, role: role.byte(), uses, created: now.wall, expires };
        cx.outbox.store(vec![Row::put_layout(Table::Invites, key::invite(group, code.invite()), &row)]);
        of.invites.insert(code.invite(), row);
        cx.outbox.answer(caller, Ok(Answer::Invited(code)));
    }

    pub(super) fn revoke_invite(&mut self, caller: Caller, group: GroupId, invite: InviteId) {
        let Some((of, mut cx)) = self.split(group) else { return self.decline(caller, Declined::NoGroup) };
        if !of.invites.contains_key(&invite) || of.group.members().is_revoked(&invite) {
            cx.outbox.answer(caller, Err(Declined::NoInvite));
            return;
        }
        let body = Body::Revoke(Revoke { what: Revoked::Invite(invite), frontiers: Frontiers::default() });
        let remark = remark(cx.now.wall, "", "");
        let answer = of.issue_as_admin(&mut cx, body, &remark).map(|_| Answer::Done);
        cx.outbox.answer(caller, answer);
    }

    pub(super) fn on_probe(&mut self, link: LinkId, peer: NodeId, probe: &Probe) {
        let nonce = self.chance.nonce();
        let found = self.groups.values().find(|of| probe.means(of.group.id(), &peer, &self.me));
        let proof = found.and_then(|of| {
            let grant = of.group.members().of(&self.me).next()?.grant;
            Some((of.group.id(), of.group.records().proof(&grant)?))
        });
        let Some((group, records)) = proof else {
            self.say(link, &VisitFrame::NotHere);
            return;
        };
        if let Some(visit) = self.visits.get_mut(&link) {
            visit.hosting = Some((group, probe.nonce, nonce));
        }
        for (records, last) in portions(records.iter().map(SignedRecord::encode).collect()) {
            self.say(link, &VisitFrame::Proof(Proof { nonce, records, last }));
        }
    }

    pub(super) fn on_join(&mut self, link: LinkId, peer: NodeId, request: JoinRequest) -> Result<(), String> {
        let hosting = self.visits.get(&link).and_then(|visit| visit.hosting);
        let (group, theirs, ours) = hosting.ok_or("a request to join before any probe")?;
        let terms = &request.terms;
        let fits = terms.group == group
            && terms.joiner == peer
            && terms.carrier == self.me
            && terms.nonces == (theirs, ours)
            && request.is_signed();
        if !fits {
            self.say(link, &VisitFrame::Answer(JoinAnswer::Refused(Denial::Signature)));
            return Err("a request to join that was not signed with a code".to_owned());
        }
        let Some((of, mut cx)) = self.split(group) else { return Ok(()) };
        of.host(&mut cx, request, ReplyTo::Visit(link));
        Ok(())
    }

    /// A member that this node had not heard of shows its line of grants.
    pub(super) fn on_line(&mut self, link: LinkId, peer: NodeId, line: &LineProof) -> Result<(), String> {
        if !self.groups.contains_key(&line.group) {
            // Not in that group: keep nothing, and say no more than to any stranger.
            if line.last {
                self.say(link, &VisitFrame::NotHere);
            }
            return Ok(());
        }
        let Some(visit) = self.visits.get_mut(&link) else { return Ok(()) };
        collect(&mut visit.line, &line.records)?;
        if !line.last {
            return Ok(());
        }
        let records = std::mem::take(&mut visit.line);
        let Some((of, mut cx)) = self.split(line.group) else { return Ok(()) };
        let shown: BTreeSet<RecordId> = records.iter().map(SignedRecord::id).collect();
        let recorded = of.group.record(records);
        let fault = recorded.fault;
        of.recorded(&mut cx, recorded, None);
        let (known, live) = (of.group.members().contains(&peer), of.is_live(&cx.me));
        let evidence = match live || !known {
            true => of.group.evidence_of(&peer, &shown),
            // A member that does not know that this node is none any more: it may have been set back since it said so.
            false => of.group.evidence(&cx.me),
        };
        if known && live {
            self.say(link, &VisitFrame::Welcome(line.group));
        } else if evidence.is_empty() {
            self.say(link, &VisitFrame::NotHere);
        } else {
            // It knows the group; what it does not know yet is that it is none of it any more.
            for (records, last) in portions(evidence.iter().map(SignedRecord::encode).collect()) {
                self.say(link, &VisitFrame::Removed(LineProof { group: line.group, records, last }));
            }
        }
        fault.map_or(Ok(()), |fault| Err(fault.to_string()))
    }

    /// A node that was shown a line of grants says that these count no more, and why.
    pub(super) fn on_removed(&mut self, link: LinkId, line: &LineProof) -> Result<(), String> {
        let Some(visit) = self.visits.get_mut(&link) else { return Ok(()) };
        collect(&mut visit.line, &line.records)?;
        if !line.last {
            return Ok(());
        }
        let records = std::mem::take(&mut visit.line);
        let mut fault = None;
        if let Some((of, mut cx)) = self.split(line.group) {
            let recorded = of.group.record(records);
            fault = recorded.fault;
            of.recorded(&mut cx, recorded, None);
        }
        self.argue(link, line.group);
        self.line_answered(link, "a member no more");
        fault.map_or(Ok(()), |fault| Err(fault.to_string()))
    }

    /// A node says that one of the two is no member, and by all that is known here both are: what it said does not count,
    /// and it does not know that. It is told everything, once.
    fn argue(&mut self, link: LinkId, group: GroupId) {
        let Some(visit) = self.visits.get_mut(&link).filter(|visit| !visit.argued) else { return };
        let peer = visit.peer;
        let Some(of) = self.groups.get(&group).filter(|of| of.is_live(&self.me)) else { return };
        let records = of.group.missing_records(&[]);
        let weight: usize = records.iter().map(SignedRecord::weight).sum();
        if !of.group.members().contains(&peer) || weight > limits::ARGUE_BYTES {
            return;
        }
        visit.argued = true;
        visit.shown += 1;
        for (records, last) in portions(records.iter().map(SignedRecord::encode).collect()) {
            self.say(link, &VisitFrame::Line(LineProof { group, records, last }));
        }
    }

    /// A visit to a member that does not know this node: shows it the line of grants in every group that both are in.
    pub(super) fn show_lines(&mut self, link: LinkId, peer: NodeId) {
        let mut frames = Vec::new();
        for of in self.groups.values().filter(|of| of.group.members().contains(&peer)) {
            let Some(grant) = of.group.members().of(&self.me).next() else { continue };
            let records = of.group.records().proof(&grant.grant).unwrap_or_default();
            for (records, last) in portions(records.iter().map(SignedRecord::encode).collect()) {
                frames.push(VisitFrame::Line(LineProof { group: of.group.id(), records, last }));
            }
        }
        let ends = frames.iter().filter(|frame| matches!(frame, VisitFrame::Line(line) if line.last));
        if let Some(visit) = self.visits.get_mut(&link) {
            visit.shown = ends.count();
        }
        for frame in frames {
            self.say(link, &frame);
        }
    }
}

impl Membership {
    /// Sees to a request to join: grants or refuses it here, or carries it to its issuer.
    pub(super) fn host(&mut self, cx: &mut Context<'_>, request: JoinRequest, reply: ReplyTo) {
        if let Some(answers) = self.granted(&request) {
            return self.reply(cx, &request, reply, answers);
        }
        if request.terms.issuer != cx.me.hint() {
            let hops = limits::CARRY_HOPS;
            self.keep_asking(&request);
            if self.carries.len() < limits::WAITING_JOINS {
                self.carries.insert(request.id(), (reply, cx.now.mono));
            } else {
                cx.bounds.hit(CARRIES, limits::WAITING_JOINS);
            }
            let issuer = self.linked_issuer(&request);
            if issuer.is_none() {
                let issuer = self.issuer_name(&request);
                self.reply(cx, &request, reply, vec![JoinAnswer::Waiting { issuer }]);
            }
            return self.carry(cx, request, hops, None);
        }
        let answers = match self.decide(cx, &request) {
            Err(denial) => vec![JoinAnswer::Refused(denial)],
            Ok(()) => self.granted(&request).unwrap_or_default(),
        };
        self.reply(cx, &request, reply, answers);
    }

    fn keep_asking(&mut self, request: &JoinRequest) {
        if self.asking.len() < limits::WAITING_JOINS || self.asking.contains_key(&request.terms.joiner) {
            self.asking.insert(request.terms.joiner, request.clone());
        }
    }

    /// The answer for somebody who is a member already.
    fn granted(&self, request: &JoinRequest) -> Option<Vec<JoinAnswer>> {
        self.granted_to(&request.terms.joiner)
    }

    /// What tells `joiner` that it is a member, if it is one.
    pub(super) fn granted_to(&self, joiner: &NodeId) -> Option<Vec<JoinAnswer>> {
        let standing = self.group.members().of(joiner).last()?;
        let records = self.group.records().proof(&standing.grant)?;
        let records = records.iter().map(SignedRecord::encode).collect();
        Some(
            portions(records)
                .into_iter()
                .map(|(records, last)| JoinAnswer::Granted { records, last })
                .collect(),
        )
    }

    /// Answers somebody who waited for the issuer of a code, and was let in by another admin.
    pub(super) fn grant_waiting(&mut self, cx: &mut Context<'_>, joiner: &NodeId) {
        let Some(request) = self.asking.remove(joiner) else { return };
        let answers = self.granted(&request).unwrap_or_default();
        if let Some((reply, _)) = self.carries.remove(&request.id()) {
            self.reply(cx, &request, reply, answers);
        }
    }

    /// Tells somebody who waits for the issuer of a code that it is not let in.
    pub(super) fn refuse_waiting(&mut self, cx: &mut Context<'_>, joiner: &NodeId, why: Denial) {
        let Some(request) = self.asking.remove(joiner) else { return };
        if let Some((reply, _)) = self.carries.remove(&request.id()) {
            self.reply(cx, &request, reply, vec![JoinAnswer::Refused(why)]);
        }
    }

    /// Machines that wait for the issuer of their code, with what they would like to be called.
    pub fn waiting(&self) -> impl Iterator<Item = (NodeId, &str, &[(String, String)], String)> {
        self.asking.values().map(|request| {
            let terms = &request.terms;
            (terms.joiner, terms.alias.as_str(), terms.labels.as_slice(), self.issuer_name(request))
        })
    }

    fn decide(&mut self, cx: &mut Context<'_>, request: &JoinRequest) -> Result<(), Denial> {
        let terms = &request.terms;
        let invite = self.invites.get(&terms.invite).cloned().ok_or(Denial::Unknown)?;
        if self.group.members().is_revoked(&terms.invite) {
            return Err(Denial::Revoked);
        }
        if cx.now.wall >= invite.expires {
            return Err(Denial::Expired);
        }
        let used =
            self.group.members().grants().filter(|standing| standing.invite == Some(terms.invite)).count();
        if used >= invite.uses as usize {
            return Err(Denial::Used);
        }
        let plain = |text: &str| !text.chars().any(char::is_control);
        let sound = plain(&terms.alias) && terms.labels.iter().all(|(key, value)| plain(key) && plain(value));
        let body = Body::Grant(Grant {
            key: terms.joiner,
            role: Role::from_byte(invite.role),
            alias: terms.alias.clone(),
            labels: terms.labels.clone(),
            invite: Some(terms.invite),
        });
        if !sound {
            return Err(Denial::Terms);
        }
        let remark = remark(cx.now.wall, "", "");
        self.issue_as_admin(cx, body, &remark).map_err(|why| match why {
            Declined::Terms => Denial::Terms,
            _ => Denial::Authority,
        })?;
        self.asking.remove(&terms.joiner);
        let (group, peer) = (self.group.id(), terms.joiner);
        cx.notice(Notice::Admitted { group, peer });
        Ok(())
    }

    fn reply(&mut self, cx: &mut Context<'_>, request: &JoinRequest, to: ReplyTo, answers: Vec<JoinAnswer>) {
        for answer in answers {
            match to {
                ReplyTo::Visit(link) => {
                    let bytes = VisitFrame::Answer(answer).encode();
                    cx.outbox.push(Effect::Send { link, bytes });
                }
                ReplyTo::Link(link) => {
                    let carried = Carried { group: self.group.id(), request: request.id(), answer };
                    cx.send(link, &Frame::Carried(carried));
                }
            }
        }
    }

    fn linked_issuer(&self, request: &JoinRequest) -> Option<LinkId> {
        let issuer = |peer: &NodeId| peer.hint() == request.terms.issuer;
        self.sessions.iter().find(|(_, session)| issuer(&session.peer)).map(|(link, _)| *link)
    }

    fn issuer_name(&self, request: &JoinRequest) -> String {
        let issuer = self.group.members().keys().find(|key| key.hint() == request.terms.issuer);
        issuer.map(|key| key.short()).unwrap_or_default()
    }

    /// Sends a request on its way: straight to its issuer if that is a neighbour, else to all neighbours.
    pub(super) fn carry(
        &mut self,
        cx: &mut Context<'_>,
        request: JoinRequest,
        hops: u8,
        from: Option<LinkId>,
    ) {
        let to: Vec<LinkId> = match self.linked_issuer(&request) {
            Some(link) => vec![link],
            None => self.sessions.keys().copied().filter(|link| Some(*link) != from).collect(),
        };
        let carry = Carry { group: self.group.id(), hops, request };
        for link in to {
            cx.send(link, &Frame::Carry(carry.clone()));
        }
    }

    pub(super) fn on_carry(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        carry: Carry,
    ) -> Result<(), String> {
        let Carry { hops, request, .. } = carry;
        if request.terms.group != self.group.id() || !request.is_signed() {
            return Err("a request to join that was not signed with a code".to_owned());
        }
        let id = request.id();
        if self.carries.contains_key(&id) {
            return Ok(());
        }
        if self.carries.len() >= limits::WAITING_JOINS {
            cx.bounds.hit(CARRIES, limits::WAITING_JOINS);
            return Ok(());
        }
        let answered =
            request.terms.issuer == cx.me.hint() || self.group.members().contains(&request.terms.joiner);
        if answered {
            self.host(cx, request, ReplyTo::Link(link));
            return Ok(());
        }
        self.carries.insert(id, (ReplyTo::Link(link), cx.now.mono));
        if let Some(hops) = hops.min(limits::CARRY_HOPS).checked_sub(1) {
            self.carry(cx, request, hops, Some(link));
        }
        Ok(())
    }

    pub(super) fn on_carried(&mut self, cx: &mut Context<'_>, carried: Carried) {
        let Some((reply, _)) = self.carries.get(&carried.request).copied() else { return };
        let last = match &carried.answer {
            JoinAnswer::Granted { last, .. } => *last,
            JoinAnswer::Refused(_) => true,
            JoinAnswer::Waiting { .. } => false,
        };
        if last {
            self.carries.remove(&carried.request);
            self.asking.retain(|_, request| request.id() != carried.request);
        }
        match reply {
            ReplyTo::Visit(link) => {
                let bytes = VisitFrame::Answer(carried.answer).encode();
                cx.outbox.push(Effect::Send { link, bytes });
            }
            ReplyTo::Link(link) => cx.send(link, &Frame::Carried(carried)),
        }
    }

    /// Answers an asking neighbour with what proves that this node is a member: its line, with all else that counts if that
    /// is little, for something may have come between that the neighbour has not heard of. Once in a while, or when who is a
    /// member changes: to ask costs nothing, to answer does.
    pub(super) fn show_line(&mut self, cx: &mut Context<'_>, link: LinkId) {
        if !is_due(&mut self.shown, link, cx.now.mono) {
            return;
        }
        let Some(standing) = self.group.members().of(&cx.me).next() else { return };
        let mut records = self.group.records().proof(&standing.grant).unwrap_or_default();
        let all = self.group.missing_records(&[]);
        if all.iter().map(SignedRecord::weight).sum::<usize>() <= limits::ARGUE_BYTES {
            records.extend(all);
        }
        let records = records.iter().map(SignedRecord::encode).collect();
        for (records, last) in portions(records) {
            cx.send(link, &Frame::Line(Bundle { group: self.group.id(), records, last }));
        }
    }

    /// Forgets requests that were carried and never answered.
    pub(super) fn forget_carries(&mut self, cx: &Context<'_>) {
        let now = cx.now.mono;
        self.carries.retain(|_, (_, since)| now.ms_since(*since) < limits::CARRY_MS);
    }
}

/// Founds a group: its Genesis record and the private recovery key.
pub(super) fn found(
    founder: &Secret,
    name: &str,
    nonce: [u8; 16],
    recovery: [u8; 32],
) -> (SignedRecord, Secret) {
    let recovery = Secret::from_bytes(&recovery);
    (crate::record::found(founder, name, nonce, recovery.node()), recovery)
}
