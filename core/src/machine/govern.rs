//! Governing a group: who is in it, with which role, and what of theirs counts. Every act is one or more records, which
//! go at once to whoever can be reached and to all others when they are met.

use std::collections::BTreeMap;

use super::Machine;
use super::effect::{Answer, Declined};
use super::input::{Act, Caller, Govern};
use super::membership::{Context, Membership};
use crate::group::Note;
use crate::id::{ChangeId, GrantId, Incarnation, NodeId, RecordId, Secret};
use crate::limits;
use crate::record::{
    Admit, Body, Forget, Frontiers, Grant, Record, Remark, Revoke, Revoked, Role, Signer, Standing,
};
use crate::shard::root::ShardName;

/// By which right a record is issued: under which grant, with which key.
#[derive(Clone, Copy)]
pub(super) struct Right<'a> {
    grant: GrantId,
    signer: Signer,
    secret: &'a Secret,
}

impl Machine {
    pub(super) fn govern(&mut self, caller: Caller, govern: Govern) {
        let answer = self.try_govern(govern);
        self.outbox.answer(caller, answer);
    }

    fn try_govern(&mut self, govern: Govern) -> Result<Answer, Declined> {
        let Govern { group, act, user, words } = govern;
        let remark = remark(self.now.wall, &user, &words);
        let approved = match &act {
            Act::Approve { node, digits, .. } => self.what_it_asked(group, node, *digits)?,
            _ => (String::new(), Vec::new()),
        };
        let fresh = self.chance.incarnation();
        let (of, mut cx) = self.split(group).ok_or(Declined::NoGroup)?;
        if of.refetching {
            return Err(Declined::Refetching);
        }
        match act {
            Act::Remove { node, keep_through } => of.remove(&mut cx, node, keep_through, &remark)?,
            Act::Role { node, role } => of.change_role(&mut cx, node, role, &remark)?,
            Act::Leave { force } => of.leave(&mut cx, force, &remark)?,
            Act::Rekey { key, alias, labels } => of.rekey(&mut cx, key, (alias, labels), &remark)?,
            Act::Dissolve { recovery } => of.dissolve(&mut cx, recovery.as_ref(), &remark)?,
            Act::Forget { node } => of.forget_node(&mut cx, node, &remark)?,
            Act::Recover { key } => of.recover(&mut cx, &key, &remark)?,
            Act::Readmit { changes } => of.readmit(&mut cx, &changes, &remark)?,
            Act::Rewrite { changes, note } => {
                return of.rewrite(&mut cx, &changes, &note, fresh).map(Answer::Written);
            }
            Act::Approve { node, role, .. } => {
                of.approve(&mut cx, node, role, approved, &remark)?;
                self.grant_asked_now(node);
            }
        }
        Ok(Answer::Done)
    }

    /// What somebody asked for who waits: by a code whose issuer is away, or without one.
    fn what_it_asked(
        &self,
        group: crate::id::GroupId,
        node: &NodeId,
        digits: Option<u32>,
    ) -> Result<(String, Vec<(String, String)>), Declined> {
        let of = self.groups.get(&group).ok_or(Declined::NoGroup)?;
        match of.asking.get(node) {
            Some(request) => Ok((request.terms.alias.clone(), request.terms.labels.clone())),
            None => self.asked_with(node, digits),
        }
    }
}

impl Membership {
    /// This node's right as an admin.
    fn admin<'a>(&self, cx: &Context<'a>) -> Result<Right<'a>, Declined> {
        let grant = self.group.members().grant_for(&cx.me, |role| role == Role::Admin);
        let grant = grant.ok_or(Declined::NotAdmin)?;
        Ok(Right { grant, signer: Signer::Holder, secret: cx.secret })
    }

    /// Its right to end that grant: any admin's, or of an admin's grant only that of one above it.
    fn admin_above<'a>(&self, cx: &Context<'a>, ended: &Standing) -> Result<Right<'a>, Declined> {
        if ended.role != Role::Admin {
            return self.admin(cx);
        }
        let line = self.group.records().line(&ended.grant).unwrap_or_default();
        let members = self.group.members();
        let above = |standing: &&Standing| {
            standing.role == Role::Admin && line.iter().skip(1).any(|grant| *grant == standing.grant)
        };
        let grant = members.of(&cx.me).find(above).map(|standing| standing.grant);
        let grant = grant.ok_or_else(|| self.admin(cx).err().unwrap_or(Declined::NotAbove))?;
        Ok(Right { grant, signer: Signer::Holder, secret: cx.secret })
    }

    /// The right of whoever has the recovery key.
    fn recovery<'a>(&self, key: &'a Secret) -> Result<Right<'a>, Declined> {
        let genesis = self.group.records().genesis();
        let of_group = match self.group.records().get(&genesis).map(|genesis| &genesis.record().body) {
            Some(Body::Genesis(genesis)) => genesis.recovery == key.node(),
            _ => false,
        };
        let right = Right { grant: genesis, signer: Signer::Recovery, secret: key };
        if of_group { Ok(right) } else { Err(Declined::RecoveryKey) }
    }

    /// Issues a record, and tells it.
    pub(super) fn issue(
        &mut self,
        cx: &mut Context<'_>,
        right: Right<'_>,
        body: Body,
        remark: &Remark,
    ) -> Result<RecordId, Declined> {
        let (seq, prev) = match self.group.records().newest((right.grant, right.signer)) {
            Some((seq, id)) => (seq + 1, id),
            None => (1, RecordId::ZERO),
        };
        let record = Record {
            group: self.group.id(),
            grant: right.grant,
            signer: right.signer,
            seq,
            prev,
            body,
            remark: Some(remark.clone()),
        };
        if Record::decode(&record.encode()).is_err() {
            return Err(Declined::Terms);
        }
        let signed = record.sign(right.secret);
        let id = signed.id();
        let recorded = self.group.record([signed]);
        let refused = recorded.fault.is_some();
        self.recorded(cx, recorded, None);
        let is_held = self.group.records().get(&id).is_some();
        if refused || !is_held { Err(Declined::Full("membership records")) } else { Ok(id) }
    }

    /// Issues under this node's own admin grant.
    pub(super) fn issue_as_admin(
        &mut self,
        cx: &mut Context<'_>,
        body: Body,
        remark: &Remark,
    ) -> Result<RecordId, Declined> {
        let right = self.admin(cx)?;
        self.issue(cx, right, body, remark)
    }

    fn remove(
        &mut self,
        cx: &mut Context<'_>,
        node: NodeId,
        keep_through: Option<ChangeId>,
        remark: &Remark,
    ) -> Result<(), Declined> {
        if node == cx.me {
            return Err(Declined::Oneself);
        }
        let grants: Vec<Standing> = self.group.members().of(&node).cloned().collect();
        if grants.is_empty() {
            return Err(Declined::NoMember);
        }
        // All or nothing: a key with a grant left would stay a member.
        let rights = grants.iter().map(|grant| self.admin_above(cx, grant)).collect::<Result<Vec<_>, _>>()?;
        let behind = keep_through.and_then(|change| self.group.grant_behind(&change));
        if keep_through.is_some() && grants.iter().all(|grant| Some(grant.grant) != behind) {
            return Err(Declined::NotTheirs);
        }
        let frontiers = |grant: &Standing| match keep_through {
            Some(change) => self.group.frontiers_through(&grant.grant, &change).unwrap_or_default(),
            None => self.group.frontiers(&grant.grant),
        };
        let kept: Vec<Frontiers> = grants.iter().map(frontiers).collect();
        for ((grant, right), frontiers) in grants.iter().zip(rights).zip(kept) {
            self.revoke(cx, right, grant.grant, frontiers, remark)?;
        }
        Ok(())
    }

    fn revoke(
        &mut self,
        cx: &mut Context<'_>,
        right: Right<'_>,
        grant: GrantId,
        frontiers: Frontiers,
        remark: &Remark,
    ) -> Result<(), Declined> {
        let body = Body::Revoke(Revoke { what: Revoked::Grant(grant), frontiers });
        self.issue(cx, right, body, remark).map(drop)
    }

    /// A promotion is one more grant; a demotion also ends those above it.
    fn change_role(
        &mut self,
        cx: &mut Context<'_>,
        node: NodeId,
        role: Role,
        remark: &Remark,
    ) -> Result<(), Declined> {
        let grants: Vec<Standing> = self.group.members().of(&node).cloned().collect();
        let Some(first) = grants.first() else { return Err(Declined::NoMember) };
        let highest = grants.iter().map(|grant| grant.role).max();
        if highest == Some(role) {
            return Err(Declined::SameRole(role));
        }
        let over: Vec<&Standing> = grants.iter().filter(|grant| grant.role > role).collect();
        if node == cx.me && highest == Some(Role::Admin) && self.is_last_admin(cx) {
            return Err(Declined::LastAdmin);
        }
        let right = self.admin(cx)?;
        for grant in over.iter().filter(|_| node != cx.me) {
            self.admin_above(cx, grant)?;
        }
        if grants.iter().all(|grant| grant.role != role) {
            let body = Body::Grant(Grant {
                key: node,
                role,
                alias: first.alias.clone(),
                labels: first.labels.clone(),
                invite: None,
            });
            self.issue(cx, right, body, remark)?;
        }
        for grant in over {
            let right = match node == cx.me {
                true => Right { grant: grant.grant, signer: Signer::Holder, secret: cx.secret },
                false => self.admin_above(cx, grant)?,
            };
            let frontiers = self.group.frontiers(&grant.grant);
            self.revoke(cx, right, grant.grant, frontiers, remark)?;
        }
        Ok(())
    }

    fn is_last_admin(&self, cx: &Context<'_>) -> bool {
        let members = self.group.members();
        members.keys().all(|key| key == cx.me || members.role(&key) != Some(Role::Admin))
    }

    /// Ends this node's own grants. Its changes all count, as far as they are here.
    fn leave(&mut self, cx: &mut Context<'_>, force: bool, remark: &Remark) -> Result<(), Declined> {
        let grants: Vec<GrantId> = self.group.members().of(&cx.me).map(|grant| grant.grant).collect();
        if grants.is_empty() {
            return Err(Declined::NoMember);
        }
        let alone = self.group.members().keys().all(|key| key == cx.me);
        let is_admin = self.group.members().role(&cx.me) == Some(Role::Admin);
        if !force && !alone && is_admin && self.is_last_admin(cx) {
            return Err(Declined::LastAdmin);
        }
        for grant in grants {
            let right = Right { grant, signer: Signer::Holder, secret: cx.secret };
            let frontiers = Frontiers { record: None, ..self.group.frontiers(&grant) };
            self.revoke(cx, right, grant, frontiers, remark)?;
        }
        Ok(())
    }

    /// Grants what this node has to another key, and ends its own grants. The new grant stands below the old one, so all
    /// that this node granted goes on to count, and whoever may end the old may end the new.
    fn rekey(
        &mut self,
        cx: &mut Context<'_>,
        key: NodeId,
        (alias, labels): (String, Vec<(String, String)>),
        remark: &Remark,
    ) -> Result<(), Declined> {
        let body = Body::Grant(Grant { key, role: Role::Admin, alias, labels, invite: None });
        self.issue_as_admin(cx, body, remark)?;
        self.leave(cx, true, remark)
    }

    fn dissolve(
        &mut self,
        cx: &mut Context<'_>,
        recovery: Option<&Secret>,
        remark: &Remark,
    ) -> Result<(), Declined> {
        let genesis = self.group.records().genesis();
        let mine = self.group.members().of(&cx.me).any(|grant| grant.grant == genesis);
        let right = match recovery {
            Some(key) => self.recovery(key)?,
            None if mine => Right { grant: genesis, signer: Signer::Holder, secret: cx.secret },
            None => return Err(Declined::NotFounder),
        };
        self.issue(cx, right, Body::Dissolve, remark).map(drop)
    }

    /// Drops what a former member observed.
    fn forget_node(&mut self, cx: &mut Context<'_>, node: NodeId, remark: &Remark) -> Result<(), Declined> {
        if self.group.members().contains(&node) {
            return Err(Declined::StillMember);
        }
        let forgotten = |grant: &GrantId| self.group.members().is_forgotten(grant);
        let grants: Vec<GrantId> = self
            .group
            .members()
            .ended_of(&node)
            .map(|standing| standing.grant)
            .filter(|grant| !forgotten(grant))
            .collect();
        if grants.is_empty() {
            return Err(Declined::NoMember);
        }
        for grant in grants {
            let shard = ShardName::Observed(grant).to_string();
            self.issue_as_admin(cx, Body::Forget(Forget { shard }), remark)?;
        }
        Ok(())
    }

    /// Makes this node an admin by the recovery key.
    fn recover(&mut self, cx: &mut Context<'_>, key: &Secret, remark: &Remark) -> Result<(), Declined> {
        let right = self.recovery(key)?;
        if self.group.members().role(&cx.me) == Some(Role::Admin) {
            return Err(Declined::SameRole(Role::Admin));
        }
        let of_me = self.group.members().of(&cx.me).next();
        let (alias, labels) = of_me.map(|of| (of.alias.clone(), of.labels.clone())).unwrap_or_default();
        let body = Body::Grant(Grant { key: cx.me, role: Role::Admin, alias, labels, invite: None });
        self.issue(cx, right, body, remark).map(drop)
    }

    /// Brings changes in that do not count, with what they build on.
    fn readmit(
        &mut self,
        cx: &mut Context<'_>,
        changes: &[ChangeId],
        remark: &Remark,
    ) -> Result<(), Declined> {
        let mut frontiers = Frontiers::default();
        for change in changes {
            let beside = self.group.asides().find_map(|(_, aside)| aside.get(change));
            let beside = beside.ok_or(Declined::NotAside)?;
            frontiers.changes.push((beside.actor, beside.delta().seq, *change));
        }
        frontiers.changes.sort_unstable();
        if frontiers.changes.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0)) {
            return Err(Declined::OneChain);
        }
        self.issue_as_admin(cx, Body::Admit(Admit { frontiers }), remark).map(drop)
    }

    /// Writes what changes say that are kept aside once more, as a change of this node's own.
    fn rewrite(
        &mut self,
        cx: &mut Context<'_>,
        changes: &[ChangeId],
        note: &Note,
        fresh: Incarnation,
    ) -> Result<Option<ChangeId>, Declined> {
        let desired = self.group.desired().ok_or(Declined::NoGroup)?;
        let aside = self.group.aside(&desired.root().epoch()).ok_or(Declined::NotAside)?;
        let mut puts = BTreeMap::new();
        for change in changes {
            let beside = aside.get(change).ok_or(Declined::NotAside)?;
            puts.extend(beside.delta().puts.iter().map(|put| (put.key.clone(), put.value.clone())));
        }
        puts.retain(|key, value| {
            let visible = desired.state().get(key);
            !matches!(visible, [one] if one.value == *value)
        });
        let note = Note { time: cx.now.wall, ..note.clone() };
        let written = self.group.write(cx.secret, ShardName::Desired, puts, &note, fresh)?;
        let id = written.id;
        self.wrote(cx, written);
        Ok(id)
    }

    fn approve(
        &mut self,
        cx: &mut Context<'_>,
        node: NodeId,
        role: Role,
        asked: (String, Vec<(String, String)>),
        remark: &Remark,
    ) -> Result<(), Declined> {
        let (alias, labels) = asked;
        let invite = self.asking.get(&node).map(|request| request.terms.invite);
        let body = Body::Grant(Grant { key: node, role, alias, labels, invite });
        self.issue_as_admin(cx, body, remark)?;
        self.grant_waiting(cx, &node);
        Ok(())
    }
}

/// What goes with a record. What is too long is cut.
pub(super) fn remark(time: i64, user: &str, words: &str) -> Remark {
    let cut = |text: &str| {
        let end = (0..=limits::REMARK_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
    };
    Remark { time: time.clamp(0, limits::MAX_TIME), user: cut(user), words: cut(words) }
}
