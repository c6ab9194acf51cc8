//! Fetching: what a neighbour has and this node lacks is asked for, window by window; each part of a chain of one
//! neighbour at a time, however many have it.

use std::collections::BTreeMap;

use super::input::LinkId;
use super::membership::{Context, Membership};
use crate::group::Want;
use crate::id::EpochId;
use crate::limits;
use crate::wire::link::{Frame, Wanted, Window};

impl Membership {
    /// Asks a neighbour for what it has and this node lacks, unless it was asked already. With nothing left to ask for,
    /// the round ends with a digest.
    pub(super) fn fetch(&mut self, cx: &mut Context<'_>, link: LinkId) {
        let Some(session) = self.sessions.get(&link) else { return };
        if self.in_flight.values().any(|(of, _)| *of == link) {
            return;
        }
        let mut by_epoch: BTreeMap<EpochId, Vec<Want>> = BTreeMap::new();
        let mut others = false;
        for (epoch, actor, after, upto) in session.ahead(&self.group) {
            if self.in_flight.contains_key(&(epoch, actor)) {
                others = true;
                continue;
            }
            let wants = by_epoch.entry(epoch).or_default();
            // Of a forked chain one branch after the other.
            if wants.len() < limits::WANT_CHAINS && wants.last().is_none_or(|want| want.actor != actor) {
                wants.push(Want { actor, after, upto });
            }
        }
        let Some((epoch, wants)) = by_epoch.pop_first() else {
            if !others && session.fetching {
                if let Some(session) = self.sessions.get_mut(&link) {
                    session.fetching = false;
                }
                self.tell_digest(cx, link);
            }
            return;
        };
        let due = cx.now.mono.plus_ms(limits::WANT_MS);
        for want in &wants {
            self.in_flight.insert((epoch, want.actor), (link, due));
        }
        if let Some(session) = self.sessions.get_mut(&link) {
            session.owed.insert(epoch);
        }
        cx.send(link, &Frame::Want(Wanted { group: self.group.id(), epoch, wants }));
    }

    /// Asks every neighbour for what it has and nobody was asked for.
    pub(super) fn fetch_all(&mut self, cx: &mut Context<'_>) {
        let links: Vec<_> = self.sessions.keys().copied().collect();
        for link in links {
            self.fetch(cx, link);
        }
    }

    pub(super) fn on_want(&mut self, cx: &mut Context<'_>, link: LinkId, wanted: &Wanted) {
        if !self.sessions.contains_key(&link) {
            return;
        }
        let (columns, more) = self.group.window(&wanted.epoch, &wanted.wants).unwrap_or_default();
        cx.send(link, &Frame::Window(Window { group: self.group.id(), epoch: wanted.epoch, more, columns }));
    }

    pub(super) fn on_window(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        window: &Window,
    ) -> Result<(), String> {
        // To read a window is work and memory. One that nobody asked for may be the answer to a session that has since
        // begun anew, so it is nobody's fault; but it is not read.
        if !self.sessions.get_mut(&link).is_some_and(|session| session.owed.remove(&window.epoch)) {
            return Ok(());
        }
        let asked: Vec<_> = self
            .in_flight
            .iter()
            .filter(|((epoch, _), (of, _))| *of == link && *epoch == window.epoch)
            .map(|(place, _)| *place)
            .collect();
        // None, if it comes late and was asked of somebody else by now; it is still good.
        for place in &asked {
            self.in_flight.remove(place);
        }
        let taken = if window.columns.is_empty() {
            crate::group::Taken::default()
        } else {
            self.group.take_window(window.epoch, &window.columns)
        };
        // What nothing came of this neighbour cannot give, and asking again would go on for ever.
        let nothing = taken.brought_nothing();
        let mut stuck: Vec<_> = match taken.stuck.as_slice() {
            [] if nothing => asked,
            stuck => stuck.iter().map(|actor| (window.epoch, *actor)).collect(),
        };
        if let Some(session) = self.sessions.get_mut(&link) {
            for (actor, upto) in &taken.reached {
                if session.go_on(window.epoch, *actor, *upto, nothing) {
                    stuck.retain(|stuck| *stuck != (window.epoch, *actor));
                }
            }
            for (epoch, actor) in &stuck {
                session.lacks(*epoch, *actor);
            }
            for (actor, after) in &taken.parted {
                session.go_back(window.epoch, *actor, *after);
            }
        }
        let refused = taken.refused.clone();
        self.took(cx, taken, Some(link));
        self.fetch_all(cx);
        refused.map_or(Ok(()), Err)
    }

    /// Requests that were not answered in time are asked of others.
    pub(super) fn expire_wants(&mut self, cx: &mut Context<'_>) {
        let now = cx.now.mono;
        let late: Vec<_> = self
            .in_flight
            .iter()
            .filter(|(_, (_, due))| *due <= now)
            .map(|(place, (link, _))| (*place, *link))
            .collect();
        for ((epoch, actor), link) in &late {
            self.in_flight.remove(&(*epoch, *actor));
            if let Some(session) = self.sessions.get_mut(link) {
                session.lacks(*epoch, *actor);
            }
        }
        if !late.is_empty() {
            self.fetch_all(cx);
            self.tell_all(cx);
        }
    }
}
