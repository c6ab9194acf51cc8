//! The fold: who is a member, with which role, as a pure function of the set of records.
//!
//! It goes from Genesis down the tree of grants, so it always ends, and the order of arrival never matters. In format
//! version 1 as it stands every grant in the set counts: [`super::Records`] admits only what an admin issued. Revoked
//! invites are collected; revoked grants are not acted on yet, and [`Members::unsupported`] names them so that the
//! node can say so.

use std::collections::{BTreeMap, BTreeSet};

use super::{Body, Records, Revoke, Revoked, Role};
use crate::id::{GrantId, InviteId, NodeId, RecordId};

/// What one grant amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The grant.
    pub grant: GrantId,
    /// Whom it was given to.
    pub key: NodeId,
    /// What it allows.
    pub role: Role,
    /// How far below Genesis it stands.
    pub depth: usize,
    /// Its place in its issuer's chain.
    pub seq: u64,
    /// The alias asked for at `join`.
    pub alias: String,
    /// The labels asked for at `join`.
    pub labels: Vec<(String, String)>,
    /// The invite it used up.
    pub invite: Option<InviteId>,
}

/// Who is a member, with which role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    grants: BTreeMap<GrantId, Standing>,
    by_key: BTreeMap<NodeId, Vec<GrantId>>,
    revoked_invites: BTreeSet<InviteId>,
    unsupported: Vec<RecordId>,
}

impl Members {
    /// Folds a set of records.
    pub fn fold(records: &Records) -> Self {
        let mut members = Self::default();
        for signed in records.iter() {
            let record = signed.record();
            match &record.body {
                Body::Genesis(genesis) => members.stand(Standing {
                    grant: signed.id(),
                    key: genesis.founder,
                    role: Role::Admin,
                    depth: 0,
                    seq: 0,
                    alias: String::new(),
                    labels: Vec::new(),
                    invite: None,
                }),
                Body::Grant(grant) => {
                    let Some(line) = records.line(&signed.id()) else { continue };
                    members.stand(Standing {
                        grant: signed.id(),
                        key: grant.key,
                        role: grant.role,
                        depth: line.len() - 1,
                        seq: record.seq,
                        alias: grant.alias.clone(),
                        labels: grant.labels.clone(),
                        invite: grant.invite,
                    });
                }
                Body::Revoke(Revoke { what: Revoked::Invite(invite), .. }) => {
                    members.revoked_invites.insert(*invite);
                }
                Body::Revoke(_) | Body::Admit(_) | Body::Forget(_) | Body::Unknown { .. } => {
                    members.unsupported.push(signed.id());
                }
            }
        }
        members.order();
        members
    }

    fn stand(&mut self, standing: Standing) {
        self.by_key.entry(standing.key).or_default().push(standing.grant);
        self.grants.insert(standing.grant, standing);
    }

    /// Oldest grant first: nearest to Genesis, then earliest in its issuer's chain, then by id.
    fn order(&mut self) {
        let grants = &self.grants;
        for of_key in self.by_key.values_mut() {
            of_key.sort_by_key(|id| (grants.get(id).map(|standing| (standing.depth, standing.seq)), *id));
        }
    }

    /// What the grant `id` amounts to; `None` if it does not count.
    pub fn grant(&self, id: &GrantId) -> Option<&Standing> {
        self.grants.get(id)
    }

    /// All counting grants, by id.
    pub fn grants(&self) -> impl Iterator<Item = &Standing> {
        self.grants.values()
    }

    /// All members, by key.
    pub fn keys(&self) -> impl Iterator<Item = NodeId> {
        self.by_key.keys().copied()
    }

    /// True if `key` holds a live grant.
    pub fn contains(&self, key: &NodeId) -> bool {
        self.by_key.contains_key(key)
    }

    /// The live grants of `key`, oldest first.
    pub fn of(&self, key: &NodeId) -> impl Iterator<Item = &Standing> {
        self.by_key.get(key).into_iter().flatten().filter_map(|id| self.grants.get(id))
    }

    /// The highest role that `key` has.
    pub fn role(&self, key: &NodeId) -> Option<Role> {
        self.of(key).map(|standing| standing.role).max()
    }

    /// The oldest live grant under which `key` may do what `allows` asks for.
    pub fn grant_for(&self, key: &NodeId, allows: fn(Role) -> bool) -> Option<GrantId> {
        self.of(key).find(|standing| allows(standing.role)).map(|standing| standing.grant)
    }

    /// True if somebody revoked this invite.
    pub fn is_revoked(&self, invite: &InviteId) -> bool {
        self.revoked_invites.contains(invite)
    }

    /// Records that are kept and passed on, but whose meaning this version does not apply.
    pub fn unsupported(&self) -> &[RecordId] {
        &self.unsupported
    }
}
