//! A new key for a node, while no daemon runs: every group hears that the next key stands where this one stood.
//!
//! ```text
//! node.key.next   the next key, on the disk before anything names it
//! store.redb      in one commit: in every group the grant to the next key and the end of this one's, and whose store it is
//! groups.kept     the records once more
//! node.key        <- node.key.next
//! ```
//!
//! Whatever stops this in between, the store tells whether it was done: [`finish`] ends it, or takes it back.

use std::fs;
use std::io;

use larder_core::id::{GroupId, NodeId, Secret};
use larder_core::machine::{
    Act, Answer, Caller, Declined, Effect, Govern, Input, Machine, Request, Standing,
};
use larder_core::record::Role;
use larder_core::resource::view::NodeLabels;
use larder_core::store::{Row, Table};

use super::driver::Clock;
use super::opening::{Opened, Opening};
use crate::backup::restore::in_use;
use crate::failure::{Exit, Failure};
use crate::identity;
use crate::place::{Place, read_text, write_secret};
use crate::store::{Roster, Store, damaged};
use crate::view::Rotated;

/// Gives the node at `place` a new key. `user` and `words` say who did it, and why.
pub fn rotate(place: &Place, user: &str, words: &str) -> Result<Rotated, Failure> {
    let path = place.store();
    if !path.exists() || !place.key().exists() {
        return Err(Failure::not_found(format!("there is no node in {}", place.data.display()))
            .hint("name its data directory with --data"));
    }
    if Store::is_in_use(&path) {
        return Err(in_use(&place.data).hint("stop it, rotate, and start it again"));
    }
    finish(place)?;
    let secret = identity::load_or_make(place)?;
    let (old, next) = (secret.node(), Secret::from_bytes(&identity::random()?));
    let clock = Clock::start();
    let opened = Opening { place: place.clone(), secret, clock }.open()?;
    let Opened { machine, first, kept, store, .. } = opened;
    let mut handing = Handing { machine, clock, rows: kept.mark };
    handing.take(first);
    let groups = handing.hand_over(old, next.node(), user, words)?;
    handing.rows.push(Row::put(Table::Meta, b"node".to_vec(), next.node().0.to_vec()));

    let cannot = |what: &str, error: &dyn std::fmt::Display| {
        Failure::failed(format!("cannot write {what}: {error}"))
            .hint("nothing was changed; the data directory must be writable, and have room")
    };
    let staged = place.next_key();
    write_secret(&staged, &identity::print(&next))
        .map_err(|error| cannot(&staged.display().to_string(), &error))?;
    store.commit(&handing.rows).map_err(|error| cannot("the store", &error))?;
    // From here on it is done, and only has to be ended.
    Roster::at(place.roster()).keep(&store).map_err(|error| unfinished(&error))?;
    drop(store);
    take_over(place).map_err(|error| unfinished(&error))?;
    Ok(Rotated { old: old.to_string(), new: next.node().to_string(), groups })
}

/// Ends what a rotation began that did not come to its end; if nothing was done yet, takes it back.
pub(super) fn finish(place: &Place) -> Result<(), Failure> {
    let (staged, path) = (place.next_key(), place.store());
    let text = match read_text(&staged) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Failure::failed(format!("cannot read {}: {error}", staged.display()))),
    };
    // A store that does not open does not tell whose it is: then both keys stay where they are.
    let Some(store) = path.exists().then(|| Store::open(&path).ok()).flatten() else { return Ok(()) };
    let owner = store.get(Table::Meta, b"node").map_err(|error| damaged(&path, &error.to_string()))?;
    let next = identity::parse(&text).map(|secret| secret.node());
    let done = next.is_some_and(|next| owner.as_deref() == Some(&next.0[..]));
    let ended = if done { take_over(place) } else { fs::remove_file(&staged) };
    ended.map_err(|error| unfinished(&error))
}

fn take_over(place: &Place) -> io::Result<()> {
    fs::rename(place.next_key(), place.key())?;
    fs::File::open(&place.data)?.sync_all()
}

fn unfinished(error: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format!("the node has a new key, which is not in place yet: {error}"))
        .hint("free or repair the disk; the next start of the daemon puts it in place")
}

/// The machine without a network, and what it wants stored.
struct Handing {
    machine: Machine,
    clock: Clock,
    rows: Vec<Row>,
}

impl Handing {
    /// Takes what is to be stored of effects, and says to the machine that it is; the answer, if one comes of it.
    fn take(&mut self, effects: Vec<Effect>) -> Option<Result<Answer, Declined>> {
        let (mut todo, mut answered) = (effects, None);
        while !todo.is_empty() {
            let mut next = Vec::new();
            for effect in todo {
                match effect {
                    Effect::Store { token, rows } => {
                        self.rows.extend(rows);
                        // It is: all rows of a rotation go into one commit, or none.
                        next.extend(self.machine.handle(self.clock.now(), Input::Stored { token }));
                    }
                    Effect::Answer { answer, .. } => answered = Some(answer),
                    // Nobody is connected, and providers do not run.
                    _ => {}
                }
            }
            todo = next;
        }
        answered
    }

    /// Hands over every membership, or none; answers with the names of the groups.
    fn hand_over(
        &mut self,
        old: NodeId,
        next: NodeId,
        user: &str,
        words: &str,
    ) -> Result<Vec<String>, Failure> {
        let mut groups: Vec<(GroupId, String, NodeLabels)> = Vec::new();
        for of in self.machine.groups() {
            let members = of.group.members();
            if Standing::of(members, &old) != Standing::Member {
                continue;
            }
            let name = of.group.name().to_owned();
            match members.role(&old) {
                Some(Role::Admin) => {}
                role => return Err(no_admin(&name, role)),
            }
            let desired = of.group.desired().map(|desired| desired.state().clone()).unwrap_or_default();
            groups.push((of.group.id(), name, NodeLabels::read(&desired, members, &old)));
        }
        for (nth, (group, _, called)) in (1..).zip(&groups) {
            let act = Act::Rekey {
                key: next,
                alias: called.alias.clone().unwrap_or_default(),
                labels: called.labels.clone().into_iter().collect(),
            };
            let govern = Govern { group: *group, act, user: user.to_owned(), words: words.to_owned() };
            let input = Input::Request { caller: Caller(nth), request: Request::Govern(govern) };
            let effects = self.machine.handle(self.clock.now(), input);
            match self.take(effects) {
                Some(answer) => drop(answer?),
                None => return Err(Failure::failed("a group gave no answer; please report this")),
            }
        }
        Ok(groups.into_iter().map(|(_, name, _)| name).collect())
    }
}

fn no_admin(group: &str, role: Option<Role>) -> Failure {
    let role = role.map_or_else(|| "no member".to_owned(), |role| role.to_string());
    Failure::new(
        Exit::Refused,
        "role",
        format!("this node is {role} in {group}, and only an admin can hand its membership to another key"),
    )
    .hint(
        "an admin can make it one for that (`larder role NODE admin`) and take it back afterwards; \
         or let the machine join anew with an empty data directory, and remove the old node",
    )
}
