//! Comparing: digests, what each side has, and where each stands in the shards that differ.

use std::collections::{BTreeMap, BTreeSet};

use super::effect::{Effect, Notice};
use super::input::LinkId;
use super::membership::{Context, Membership};
use super::session::{Difference, Session};
use crate::group::Recorded;
use crate::id::{Digest, EpochId, NodeId};
use crate::limits;
use crate::record::SignedRecord;
use crate::wire::link::{Bundle, Compare, Frame, Have, Positions};

impl Membership {
    /// Begins a session with a neighbour.
    pub(super) fn open_session(&mut self, cx: &mut Context<'_>, link: LinkId, peer: NodeId) {
        if self.paused || self.sessions.contains_key(&link) {
            return;
        }
        self.sessions.insert(link, Session::new(peer));
        self.hear_link(cx, peer);
        self.tell_digest(cx, link);
        self.presence_due = self.presence_due.min(cx.now.mono.plus_ms(limits::PRESENCE_SETTLE_MS));
        let asking: Vec<_> = self.asking.values().cloned().collect();
        for request in asking {
            self.carry(cx, request, limits::CARRY_HOPS, None);
        }
    }

    pub(super) fn close_session(&mut self, cx: &mut Context<'_>, link: LinkId) {
        self.asked.remove(&link);
        self.shown.remove(&link);
        if self.sessions.remove(&link).is_none() {
            return;
        }
        self.in_flight.retain(|_, (of, _)| *of != link);
        self.presence_due = self.presence_due.min(cx.now.mono.plus_ms(limits::PRESENCE_SETTLE_MS));
        // What was asked of this neighbour is asked of others.
        self.fetch_all(cx);
    }

    pub(super) fn tell_digest(&mut self, cx: &mut Context<'_>, link: LinkId) {
        let digest = self.digest();
        let omitted = self.group.isolated();
        let Some(session) = self.sessions.get_mut(&link) else { return };
        session.told = Some(digest);
        session.differs = None;
        cx.send(link, &Frame::Digest(Compare { group: self.group.id(), digest, omitted }));
    }

    /// Compares with every neighbour now.
    pub(super) fn tell_all(&mut self, cx: &mut Context<'_>) {
        let links: Vec<_> = self.sessions.keys().copied().collect();
        for link in links {
            self.tell_digest(cx, link);
        }
    }

    pub(super) fn on_digest(&mut self, cx: &mut Context<'_>, link: LinkId, theirs: &Compare) {
        if self.is_equal(theirs) {
            return self.on_equal(cx, link);
        }
        let (now, mine) = (cx.now.mono, self.digest());
        let Some(session) = self.sessions.get_mut(&link) else { return };
        session.in_sync = false;
        session.heard = Some(theirs.digest);
        if !session.has_answered(mine, now) {
            self.tell_have(cx, link);
        }
    }

    /// A shard that one side isolated is left out of both digests.
    fn is_equal(&mut self, theirs: &Compare) -> bool {
        let isolated = self.group.isolated();
        if theirs.omitted == isolated {
            return self.digest() == theirs.digest;
        }
        let without: BTreeSet<EpochId> = isolated.into_iter().chain(theirs.omitted.iter().copied()).collect();
        let without: Vec<EpochId> = without.into_iter().collect();
        without == theirs.omitted && self.group.digest(&without) == theirs.digest
    }

    /// This side's digest changed: neighbours that told the same before are equal now.
    pub(super) fn find_equal(&mut self, cx: &mut Context<'_>) {
        if self.sessions.values().all(|session| session.in_sync) {
            return;
        }
        let mine = self.digest();
        let equal: Vec<LinkId> = self
            .sessions
            .iter()
            .filter(|(_, session)| !session.in_sync && session.heard == Some(mine))
            .map(|(link, _)| *link)
            .collect();
        for link in equal {
            self.on_equal(cx, link);
        }
        // And those that learn the same from others need not wait for the next heartbeat.
        self.presence_due = self.presence_due.min(cx.now.mono.plus_ms(limits::SETTLE_MS));
    }

    pub(super) fn on_equal(&mut self, cx: &mut Context<'_>, link: LinkId) {
        let (group, mine) = (self.group.id(), self.digest());
        if self.refetching && self.sessions.contains_key(&link) {
            // Whatever was lost here and is still known anywhere near is here again.
            self.refetching = false;
            cx.outbox.store(vec![self.row()]);
            cx.outbox.push(Effect::Changed { group });
            cx.notice(Notice::Refetched { group });
        }
        let Some(session) = self.sessions.get_mut(&link) else { return };
        let first = !session.synced;
        session.has_all(&self.group);
        session.heard = Some(mine);
        let told = session.told == Some(mine);
        let peer = session.peer;
        if !told {
            self.tell_digest(cx, link);
        }
        if first {
            cx.notice(Notice::InSync { group, peer });
        }
    }

    fn tell_have(&mut self, cx: &mut Context<'_>, link: LinkId) {
        let (now, mine) = (cx.now.mono, self.digest());
        let Some(session) = self.sessions.get_mut(&link) else { return };
        session.answered = Some((now, mine, session.heard));
        let have = Have {
            group: self.group.id(),
            records: Have::tips(&self.group.record_tips()),
            shards: self.group.digests().collect(),
        };
        cx.send(link, &Frame::Have(have));
    }

    pub(super) fn on_have(&mut self, cx: &mut Context<'_>, link: LinkId, theirs: &Have) {
        let mine = self.digest();
        let Some(session) = self.sessions.get(&link) else { return };
        if !session.has_answered(mine, cx.now.mono) {
            self.tell_have(cx, link);
        }
        let lacking = self.group.missing_records(&theirs.record_tips());
        let lacking = lacking.iter().map(|record| Difference::Record(record.id()));
        let isolated = self.group.isolated();
        let mine: BTreeMap<EpochId, Digest> =
            self.group.digests().filter(|(epoch, _)| !isolated.contains(epoch)).collect();
        let theirs: BTreeMap<EpochId, Digest> = theirs.shards.iter().copied().collect();
        let all: BTreeSet<EpochId> = mine.keys().chain(theirs.keys()).copied().collect();
        let differing = all.into_iter().filter(|epoch| mine.get(epoch) != theirs.get(epoch));
        if let Some(session) = self.sessions.get_mut(&link) {
            session.differences = lacking.chain(differing.map(Difference::Shard)).collect();
        }
        self.tell_differences(cx, link);
    }

    /// Sends a neighbour what it lacks, as far as the link takes it; the rest follows once there is room.
    pub(super) fn tell_differences(&mut self, cx: &mut Context<'_>, link: LinkId) {
        let group = self.group.id();
        while !cx.is_choked(link) {
            let Some(session) = self.sessions.get_mut(&link) else { return };
            let mut records = Vec::new();
            while let Some(Difference::Record(id)) = session.differences.front()
                && records.len() < limits::RECORDS_SENT
            {
                records.extend(self.group.records().get(id).cloned());
                session.differences.pop_front();
            }
            if !records.is_empty() {
                self.send_records(cx, link, &records);
            } else if let Some(Difference::Shard(epoch)) = session.differences.pop_front() {
                let chains = self.group.positions(&epoch);
                cx.send(link, &Frame::Positions(Positions { group, epoch, chains }));
            } else {
                return;
            }
        }
    }

    pub(super) fn send_records(&self, cx: &mut Context<'_>, link: LinkId, records: &[SignedRecord]) {
        for portion in records.chunks(limits::RECORDS_SENT) {
            let records = portion.iter().map(SignedRecord::encode).collect();
            cx.send(link, &Frame::Records(Bundle { group: self.group.id(), records, last: true }));
        }
    }

    pub(super) fn on_records(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        bundle: &Bundle,
    ) -> Result<(), String> {
        let mut records = Vec::with_capacity(bundle.records.len());
        for bytes in &bundle.records {
            match SignedRecord::decode(bytes) {
                Ok(record) => records.push(record),
                Err(crate::record::RecordError::Newer(_)) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        let recorded = self.group.record(records);
        let fault = recorded.fault.map(|fault| fault.to_string());
        self.recorded(cx, recorded, Some(link));
        fault.map_or(Ok(()), Err)
    }

    /// New records: make them durable, tell the neighbours, look again at what they mean.
    pub(super) fn recorded(&mut self, cx: &mut Context<'_>, recorded: Recorded, from: Option<LinkId>) {
        let Recorded { new, mut rows, mut taken, .. } = recorded;
        cx.bounds.add(&std::mem::take(&mut taken.full));
        if rows.is_empty() {
            return;
        }
        self.touch();
        // In one batch: what a record says of changes is durable with it, or not at all.
        rows.append(&mut taken.rows);
        cx.outbox.store(rows);
        let others: Vec<_> = self.sessions.keys().copied().filter(|link| Some(*link) != from).collect();
        for link in others {
            self.send_records(cx, link, &new);
        }
        cx.outbox.push(Effect::Changed { group: self.group.id() });
        self.took(cx, taken, from);
    }

    pub(super) fn on_positions(&mut self, cx: &mut Context<'_>, link: LinkId, positions: &Positions) {
        let Some(session) = self.sessions.get_mut(&link) else { return };
        session.stands(positions.epoch, &positions.chains);
        session.fetching = true;
        self.fetch(cx, link);
    }
}
