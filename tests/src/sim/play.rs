//! One run from seed to verdict.

use larder_core::group::Note;
use larder_core::id::GroupId;
use larder_core::machine::{Answer, Caller, Input, Request, WriteRequest};
use larder_core::record::Role;
use larder_core::resource::conflict::conflicts;
use larder_core::resource::draft::{Edit, FieldEdit, Settle};
use larder_core::resource::literal::Literal;
use larder_core::resource::observed::{Condition, Observed};
use larder_core::resource::{FieldPath, ResourceName};
use larder_core::value::Value;

use super::check::{converged, describe, verify};
use super::dice::Dice;
use super::world::{Faults, World};

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Hash over every input and effect.
    pub trace: [u8; 16],
    /// Inputs handled.
    pub inputs: u64,
    /// Writes acknowledged.
    pub acknowledged: usize,
    /// Conflicts left at the end.
    pub conflicts: usize,
    /// Virtual microseconds from the heal to equality.
    pub healed: u64,
}

const SECOND: u64 = 1_000_000;
/// After a heal, everything must be equal within this.
const HEAL: u64 = 60 * SECOND;

struct Play {
    world: World,
    dice: Dice,
    group: GroupId,
    members: Vec<usize>,
    written: u64,
    /// Which sorts of trouble this run has: each is off in half of all runs.
    cuts: bool,
    one_way: bool,
    crashes: bool,
    clocks: bool,
}

/// Plays the world of `seed`; an error says what did not hold.
pub fn play(seed: u64) -> Result<Outcome, String> {
    let mut dice = Dice::new(seed, "play");
    let count = usize::try_from(dice.between(2, 5)).unwrap_or(2);
    let faults = Faults {
        delay: [500, 5_000, 200_000][dice.index(3)],
        commit: [100, 3_000, 100_000][dice.index(3)],
        resets: [0, 2, 20][dice.index(3)],
    };
    let coin = |dice: &mut Dice| dice.roll(2) == 0;
    let mut play = Play {
        world: World::new(seed, count, faults),
        group: GroupId::ZERO,
        members: vec![0],
        written: 0,
        cuts: coin(&mut dice),
        one_way: coin(&mut dice),
        crashes: coin(&mut dice),
        clocks: coin(&mut dice),
        dice,
    };
    play.gather()?;
    play.trouble();
    play.heal()
}

impl Play {
    fn wait(&mut self, caller: Caller, what: &str) -> Result<Answer, String> {
        let until = self.world.now + 120 * SECOND;
        self.world.run(until, |world| world.answers.contains_key(&caller));
        match self.world.answers.remove(&caller) {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => Err(format!("{what}: {error}")),
            None => Err(format!("{what}: no answer")),
        }
    }

    /// The founder invites everybody, with different roles.
    fn gather(&mut self) -> Result<(), String> {
        let caller = self.world.ask(0, Request::Found { name: "sim".to_owned() });
        let Answer::Founded { group, .. } = self.wait(caller, "found")? else {
            return Err("found".to_owned());
        };
        self.group = group;
        for node in 1..self.world.nodes.len() {
            let role = [Role::Operator, Role::Operator, Role::Admin, Role::Node][self.dice.index(4)];
            let issuer = self.admin();
            let expires = i64::MAX;
            let caller = self.world.ask(issuer, Request::Invite { group, role, uses: 1, expires });
            let Answer::Invited(code) = self.wait(caller, "invite")? else { return Err("invite".to_owned()) };
            let request = Request::Join { code, alias: format!("n{node}"), labels: Vec::new() };
            let caller = self.world.ask(node, request);
            let Answer::Joined(_) = self.wait(caller, "join")? else { return Err("join".to_owned()) };
            self.members.push(node);
        }
        Ok(())
    }

    fn admin(&mut self) -> usize {
        let admins: Vec<usize> =
            self.members.iter().copied().filter(|node| self.role(*node) == Some(Role::Admin)).collect();
        admins[self.dice.index(admins.len())]
    }

    fn role(&self, node: usize) -> Option<Role> {
        let of = &self.world.nodes[node];
        of.machine.as_ref()?.group(&self.group)?.group.members().role(&of.secret.node())
    }

    fn trouble(&mut self) {
        let steps = self.dice.between(20, 120);
        for _ in 0..steps {
            let pause = [0, 1_000, 50_000, SECOND, 20 * SECOND][self.dice.index(5)];
            let until = self.world.now + self.dice.roll(pause + 1);
            self.world.run(until, |_| false);
            let node = self.members[self.dice.index(self.members.len())];
            match self.dice.roll(12) {
                0 if self.cuts => self.cut(),
                1 if self.cuts => self.world.wire.cut.clear(),
                2 if self.crashes => {
                    let pause = self.dice.between(1, 10 * SECOND);
                    self.world.crash(node, pause);
                }
                3 if self.clocks => {
                    let day = i64::try_from(self.dice.roll(172_800)).unwrap_or(0);
                    self.world.nodes[node].clock = day - 86_400;
                }
                4 => self.observe(node),
                5 => self.settle(node),
                6 => {
                    let (group, paused) = (self.group, self.dice.roll(3) == 0);
                    self.world.ask(node, Request::Pause { group, paused });
                }
                _ => self.write(node),
            }
        }
    }

    /// A partition: a random half against the rest, in both directions or in one.
    fn cut(&mut self) {
        let side: Vec<bool> = self.world.nodes.iter().map(|_| self.dice.roll(2) == 0).collect();
        for a in 0..side.len() {
            for b in 0..side.len() {
                if side[a] != side[b] && (!self.one_way || side[a]) {
                    self.world.cut(a, b, true);
                }
            }
        }
    }

    fn write(&mut self, node: usize) {
        self.written += 1;
        let (resource, value) = (self.dice.roll(4), format!("{}-{node}", self.written));
        let resource: ResourceName = format!("config/r{resource}").parse().expect("a good name");
        let field = |name: &str| name.parse::<FieldPath>().expect("a good path");
        let key = field(&format!("keys.k{}", self.dice.roll(4)));
        let edit = match self.dice.roll(8) {
            0 => Edit::Remove(resource),
            1 => Edit::Set {
                resource,
                fields: vec![(field("keys.list"), FieldEdit::Add(Value::from(value)))],
                replace: false,
            },
            2 => Edit::Set { resource, fields: vec![(key, FieldEdit::Unset)], replace: false },
            _ => {
                let value = FieldEdit::Assign(Literal::Scalar(Value::from(value)));
                Edit::Set { resource, fields: vec![(key, value)], replace: false }
            }
        };
        self.request(node, vec![edit]);
    }

    fn request(&mut self, node: usize, edits: Vec<Edit>) {
        let note =
            Note { words: String::new(), user: "sim".to_owned(), command: "write".to_owned(), time: 0 };
        let write = WriteRequest { group: self.group, edits, base: None, note, lenient: false };
        self.world.ask(node, Request::Write(write));
    }

    /// Settles a conflict, if the node sees one.
    fn settle(&mut self, node: usize) {
        let of = self.world.nodes[node].machine.as_ref().and_then(|machine| machine.group(&self.group));
        let found = of.and_then(|of| of.group.desired()).map(conflicts).unwrap_or_default();
        if found.is_empty() {
            return;
        }
        let conflict = &found[self.dice.index(found.len())];
        let side = &conflict.sides[self.dice.index(conflict.sides.len())];
        let edit = Edit::Resolve {
            resource: conflict.resource.clone(),
            field: conflict.field.clone(),
            settle: Settle::Take(side.tag.clone()),
            id: Some(conflict.id),
        };
        self.request(node, vec![edit]);
    }

    fn observe(&mut self, node: usize) {
        let resource: ResourceName = format!("config/r{}", self.dice.roll(4)).parse().expect("a good name");
        let observed = Observed {
            condition: [Condition::Applied, Condition::Failed][self.dice.index(2)].clone(),
            change: String::new(),
            revision: format!("{:016x}", self.dice.bits()),
            since: 0,
            code: 0,
            message: String::new(),
        };
        let (group, reports) = (self.group, vec![(resource, observed)]);
        self.world.input(node, Input::Observed { group, reports });
    }

    /// Everything works again; all must become equal, stay so, and come back from disk so.
    fn heal(mut self) -> Result<Outcome, String> {
        self.world.wire.cut.clear();
        self.world.faults.resets = 0;
        let (group, members) = (self.group, self.members.clone());
        // Whoever is down comes up by itself within ten seconds.
        let up = self.world.now + 11 * SECOND;
        self.world.run(up, |_| false);
        for node in &members {
            self.world.ask(*node, Request::Pause { group, paused: false });
        }
        let from = self.world.now;
        let equal = self.world.run(from + HEAL, |world| converged(world, &members, group));
        if !equal {
            let state = describe(&self.world, &members, group);
            return Err(format!("not equal within the bound after the heal\n{state}"));
        }
        let healed = self.world.now - from;
        // Observed state that was still being gathered is written now.
        let settle = self.world.now + 10 * SECOND;
        self.world.run(settle, |_| false);
        verify(&mut self.world, &members, group)?;
        let (trace, inputs) = (self.world.trace, self.world.inputs);
        for node in &members {
            self.world.crash(*node, 1);
        }
        let restarted = self.world.now + SECOND;
        self.world.run(restarted, |_| false);
        if !converged(&mut self.world, &members, group) {
            return Err("not equal after a cold restart".to_owned());
        }
        verify(&mut self.world, &members, group)?;
        let of = self.world.nodes[0].machine.as_ref().and_then(|machine| machine.group(&group));
        let left = of.and_then(|of| of.group.desired()).map_or(0, |desired| conflicts(desired).len());
        let acknowledged = self.world.acknowledged.len();
        Ok(Outcome { trace, inputs, acknowledged, conflicts: left, healed })
    }
}
