//! What each act of a plan does to the world.

use larder_core::group::Note;
use larder_core::id::GroupId;
use larder_core::machine::{Input, Request, WriteRequest};
use larder_core::resource::conflict::conflicts;
use larder_core::resource::edit::{Edit, FieldEdit, Settle};
use larder_core::resource::literal::Literal;
use larder_core::resource::observed::{Condition, Observed};
use larder_core::resource::view::resources;
use larder_core::resource::{FieldPath, ResourceName};
use larder_core::shard::Shard;
use larder_core::value::Value;

use super::plan::{Act, Cut};
use super::play::Play;

const LIST: &str = "keys.list";

impl Play<'_> {
    pub(super) fn act(&mut self, node: usize, act: &Act) {
        match act {
            Act::Set { group, resource, key, value } => {
                let edit = FieldEdit::Assign(Literal::Scalar(Value::from(value.as_str())));
                self.set(node, *group, *resource, &format!("keys.k{key}"), edit);
            }
            Act::Unset { group, resource, key } => {
                self.set(node, *group, *resource, &format!("keys.k{key}"), FieldEdit::Unset);
            }
            Act::Add { group, resource, value } => self.add(node, *group, *resource, value),
            Act::Take { group, resource } => self.take(node, *group, *resource),
            Act::Remove { group, resource } => {
                self.write(node, *group, vec![Edit::Remove(name(*resource))], false)
            }
            Act::Later { group, value } => self.later(node, *group, value),
            Act::Backlog { group, count, bytes } => self.backlog(node, *group, *count, *bytes),
            Act::Settle { group, pick } => self.settle(node, *group, *pick),
            Act::Observe { group, resource, applied, revision } => {
                self.observe(node, *group, *resource, *applied, *revision);
            }
            Act::Pause { group, paused } => {
                let request = Request::Pause { group: self.group(*group), paused: *paused };
                self.world.ask(node, request);
            }
            Act::Join { group, part } => {
                if self.join(node, *group, *part).is_some() {
                    self.world.marks.reach("late-join");
                }
            }
            _ if act.churns() => self.churn(node, act),
            _ => self.trouble(node, act),
        }
    }

    fn trouble(&mut self, node: usize, act: &Act) {
        match act {
            Act::Cut { cut } => self.cut_by(cut),
            Act::Mend => self.mend(),
            Act::Crash { pause, kept } => self.world.crash(node, *pause, *kept),
            Act::Die { effects, pause } => self.world.die(node, *effects, *pause),
            Act::Freeze { pause } => self.world.freeze(node, *pause),
            Act::Disk { full, pause } => self.world.fail_disk(node, *full, *pause),
            Act::Damage { hits, seed, pause } => self.world.damage(node, *hits, *seed, *pause),
            Act::Clock { by } => {
                let of = &mut self.world.nodes[node];
                of.clock = of.clock.saturating_add(*by);
            }
            Act::Rest => self.rest(),
            _ => {}
        }
    }

    fn cut_by(&mut self, cut: &Cut) {
        let nodes = self.plan.nodes;
        self.world.marks.reach(match cut {
            Cut::Sides { one_way: true, .. } => "cut-one-way",
            Cut::Sides { .. } => "cut-sides",
            Cut::Alone { .. } => "cut-alone",
            Cut::Bridge { .. } => "cut-bridge",
            Cut::Ring { .. } => "cut-ring",
        });
        self.cut(|a, b| cut.parts(nodes, a, b));
    }

    pub(super) fn group(&self, at: usize) -> GroupId {
        self.groups[at % self.groups.len()]
    }

    pub(super) fn desired(&self, node: usize, group: usize) -> Option<&Shard> {
        self.world.nodes[node].machine.as_ref()?.group(&self.group(group))?.group.desired()
    }

    fn request(&self, group: usize, edits: Vec<Edit>, lenient: bool) -> Request {
        let note =
            Note { words: String::new(), user: "sim".to_owned(), command: "write".to_owned(), time: 0 };
        Request::Write(WriteRequest { group: self.group(group), edits, base: None, note, lenient })
    }

    fn write(&mut self, node: usize, group: usize, edits: Vec<Edit>, lenient: bool) {
        let request = self.request(group, edits, lenient);
        self.world.ask(node, request);
    }

    fn set(&mut self, node: usize, group: usize, resource: u8, field: &str, edit: FieldEdit) {
        self.mark_recreated(node, group, resource);
        self.write(node, group, vec![set(name(resource), field, edit)], false);
    }

    fn mark_recreated(&mut self, node: usize, group: usize, resource: u8) {
        let removed = self.desired(node, group).is_some_and(|desired| {
            resources(desired.state()).iter().any(|view| view.name == name(resource) && view.is_removed())
        });
        if removed {
            self.world.marks.reach("recreated");
        }
    }

    fn add(&mut self, node: usize, group: usize, resource: u8, value: &str) {
        let edit = set(name(resource), LIST, FieldEdit::Add(Value::from(value)));
        let request = self.request(group, vec![edit], false);
        self.world.ask_for(node, request, Some((resource, value.to_owned())));
    }

    fn take(&mut self, node: usize, group: usize, resource: u8) {
        let list = self.desired(node, group).and_then(|desired| {
            let all = resources(desired.state());
            let view = all.iter().find(|view| view.name == name(resource))?;
            view.fields.get(LIST)?.list().into_iter().next()
        });
        if let Some(first) = list {
            self.write(node, group, vec![set(name(resource), LIST, FieldEdit::Take(first))], false);
        }
    }

    /// A kind that nobody knows, and a field that nobody knows of a kind that all do.
    fn later(&mut self, node: usize, group: usize, value: &str) {
        self.world.marks.reach("later-kind");
        let assign = || FieldEdit::Assign(Literal::Scalar(Value::from(value)));
        let widget: ResourceName = "widget/w".parse().expect("a good name");
        let edits = vec![set(widget, "shape.of", assign()), set(name(0), "later", assign())];
        self.write(node, group, edits, true);
    }

    /// Many writes, as if they had been made while nobody was near.
    fn backlog(&mut self, node: usize, group: usize, count: u32, bytes: u32) {
        for nth in 0..count {
            let value = format!("{nth}{}", "x".repeat(bytes as usize));
            let edit = FieldEdit::Assign(Literal::Scalar(Value::from(value.as_str())));
            let resource = u8::try_from(nth % 4).unwrap_or(0);
            self.write(node, group, vec![set(name(resource), &format!("keys.b{}", nth % 16), edit)], false);
        }
    }

    /// Settles a conflict, if the node sees one.
    fn settle(&mut self, node: usize, group: usize, pick: u64) {
        let found = self.desired(node, group).map(conflicts).unwrap_or_default();
        self.mark_conflicts(&found);
        let at = |len: usize, pick: u64| usize::try_from(pick % len.max(1) as u64).unwrap_or(0);
        let Some(conflict) = found.get(at(found.len(), pick)) else { return };
        if self.settled.insert(conflict.id, node).is_some_and(|before| before != node) {
            self.world.marks.reach("settled-twice");
        }
        let side = &conflict.sides[at(conflict.sides.len(), pick / 16)];
        let edit = Edit::Resolve {
            resource: conflict.resource.clone(),
            field: conflict.field.clone(),
            settle: Settle::Take(side.tag.clone()),
            id: Some(conflict.id),
        };
        self.write(node, group, vec![edit], true);
    }

    fn observe(&mut self, node: usize, group: usize, resource: u8, applied: bool, revision: u64) {
        let observed = Observed {
            condition: if applied { Condition::Applied } else { Condition::Failed },
            change: String::new(),
            revision: format!("{revision:016x}"),
            since: 0,
            code: 0,
            message: String::new(),
        };
        let reports = vec![(name(resource), observed)];
        self.world.input(node, Input::Observed { group: self.group(group), reports });
    }
}

fn name(resource: u8) -> ResourceName {
    format!("config/r{resource}").parse().expect("a good name")
}

fn set(resource: ResourceName, field: &str, edit: FieldEdit) -> Edit {
    let field: FieldPath = field.parse().expect("a good path");
    Edit::Set { resource, fields: vec![(field, edit)], replace: false }
}
