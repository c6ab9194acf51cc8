//! Applies each operation of a plan to the world.

use larder_core::group::ChangeNote;
use larder_core::id::GroupId;
use larder_core::node::{Input, Request, WriteRequest};
use larder_core::resource::conflict::conflicts;
use larder_core::resource::edit::{Edit, FieldEdit, Resolution};
use larder_core::resource::literal::Literal;
use larder_core::resource::observed::{ObservedState, ResourceState};
use larder_core::resource::view::resources;
use larder_core::resource::{FieldPath, ResourceName};
use larder_core::shard::Shard;
use larder_core::value::Value;

use super::plan::{NetworkCut, PlannedOp};
use super::runner::Runner;

const LIST_FIELD: &str = "keys.list";

impl Runner<'_> {
    pub(super) fn apply_op(&mut self, node: usize, op: &PlannedOp) {
        match op {
            PlannedOp::Set { group, resource, key, value } => {
                let edit = FieldEdit::Assign(Literal::Scalar(Value::from(value.as_str())));
                self.set_field(node, *group, *resource, &format!("keys.k{key}"), edit);
            }
            PlannedOp::Unset { group, resource, key } => {
                self.set_field(node, *group, *resource, &format!("keys.k{key}"), FieldEdit::Unset);
            }
            PlannedOp::Add { group, resource, value } => self.add_list_item(node, *group, *resource, value),
            PlannedOp::Take { group, resource } => self.remove_list_item(node, *group, *resource),
            PlannedOp::Remove { group, resource } => {
                self.request_write(node, *group, vec![Edit::Remove(resource_name(*resource))], false)
            }
            PlannedOp::SetUnknown { group, value } => self.set_unknown_schema(node, *group, value),
            PlannedOp::Backlog { group, count, bytes } => self.write_backlog(node, *group, *count, *bytes),
            PlannedOp::Resolve { group, pick } => self.resolve_conflict(node, *group, *pick),
            PlannedOp::Observe { group, resource, applied, revision } => {
                self.observe(node, *group, *resource, *applied, *revision);
            }
            PlannedOp::Pause { group, paused } => {
                let request = Request::SetPaused { group: self.group(*group).into(), paused: *paused };
                self.world.send_request(node, request);
            }
            PlannedOp::Join { group, part } => {
                if self.join_group(node, *group, *part).is_some() {
                    self.world.coverage.record("late-join");
                }
            }
            _ if op.changes_membership() => self.apply_membership_fault(node, op),
            _ => self.apply_fault(node, op),
        }
    }

    fn apply_fault(&mut self, node: usize, op: &PlannedOp) {
        match op {
            PlannedOp::Cut { cut } => self.apply_cut(cut),
            PlannedOp::HealCuts => self.heal_cuts(),
            PlannedOp::Crash { pause, kept } => self.world.crash_node(node, *pause, *kept),
            PlannedOp::CrashMidway { effects, pause } => {
                self.world.crash_after_effects(node, *effects, *pause)
            }
            PlannedOp::Freeze { pause } => self.world.freeze_node(node, *pause),
            PlannedOp::Disk { full, pause } => self.world.start_disk_failure(node, *full, *pause),
            PlannedOp::Damage { hits, seed, pause } => self.world.damage_store(node, *hits, *seed, *pause),
            PlannedOp::Clock { by } => {
                let sim_node = &mut self.world.nodes[node];
                sim_node.clock_offset = sim_node.clock_offset.saturating_add(*by);
            }
            PlannedOp::Idle => self.idle(),
            _ => {}
        }
    }

    fn apply_cut(&mut self, cut: &NetworkCut) {
        let nodes = self.plan.nodes;
        self.world.coverage.record(match cut {
            NetworkCut::Sides { one_way: true, .. } => "cut-one-way",
            NetworkCut::Sides { .. } => "cut-sides",
            NetworkCut::Alone { .. } => "cut-alone",
            NetworkCut::Bridge { .. } => "cut-bridge",
            NetworkCut::Ring { .. } => "cut-ring",
        });
        self.cut_directions(|a, b| cut.separates(nodes, a, b));
    }

    pub(super) fn group(&self, index: usize) -> GroupId {
        self.groups[index % self.groups.len()]
    }

    pub(super) fn desired(&self, node: usize, group: usize) -> Option<&Shard> {
        self.world.nodes[node].core_node.as_ref()?.group(&self.group(group))?.group.desired()
    }

    fn request(&self, group: usize, edits: Vec<Edit>, lenient: bool) -> Request {
        let note = ChangeNote {
            message: String::new(),
            user: "sim".to_owned(),
            command: "write".to_owned(),
            time: 0,
        };
        Request::Write(WriteRequest {
            group: self.group(group).into(),
            edits,
            expected_heads: None,
            note,
            allow_unknown: lenient,
        })
    }

    fn request_write(&mut self, node: usize, group: usize, edits: Vec<Edit>, lenient: bool) {
        let request = self.request(group, edits, lenient);
        self.world.send_request(node, request);
    }

    fn set_field(&mut self, node: usize, group: usize, resource: u8, field: &str, edit: FieldEdit) {
        self.mark_recreated(node, group, resource);
        self.request_write(node, group, vec![set_edit(resource_name(resource), field, edit)], false);
    }

    fn mark_recreated(&mut self, node: usize, group: usize, resource: u8) {
        let removed = self.desired(node, group).is_some_and(|desired| {
            resources(desired.state())
                .iter()
                .any(|view| view.name == resource_name(resource) && view.is_removed())
        });
        if removed {
            self.world.coverage.record("recreated");
        }
    }

    fn add_list_item(&mut self, node: usize, group: usize, resource: u8, value: &str) {
        let edit = set_edit(resource_name(resource), LIST_FIELD, FieldEdit::Add(Value::from(value)));
        let request = self.request(group, vec![edit], false);
        self.world.send_request_adding(node, request, Some((resource, value.to_owned())));
    }

    fn remove_list_item(&mut self, node: usize, group: usize, resource: u8) {
        let list = self.desired(node, group).and_then(|desired| {
            let all = resources(desired.state());
            let view = all.iter().find(|view| view.name == resource_name(resource))?;
            view.fields.get(LIST_FIELD)?.list().into_iter().next()
        });
        if let Some(first) = list {
            self.request_write(
                node,
                group,
                vec![set_edit(resource_name(resource), LIST_FIELD, FieldEdit::Remove(first))],
                false,
            );
        }
    }

    /// Writes an unknown kind, and an unknown field of a known kind.
    fn set_unknown_schema(&mut self, node: usize, group: usize, value: &str) {
        self.world.coverage.record("later-kind");
        let assign = || FieldEdit::Assign(Literal::Scalar(Value::from(value)));
        let widget: ResourceName = "widget/w".parse().expect("a good name");
        let edits =
            vec![set_edit(widget, "shape.of", assign()), set_edit(resource_name(0), "later", assign())];
        self.request_write(node, group, edits, true);
    }

    /// Makes many writes at once, like a node that was alone for a long time.
    fn write_backlog(&mut self, node: usize, group: usize, count: u32, bytes: u32) {
        for nth in 0..count {
            let value = format!("{nth}{}", "x".repeat(bytes as usize));
            let edit = FieldEdit::Assign(Literal::Scalar(Value::from(value.as_str())));
            let resource = u8::try_from(nth % 4).unwrap_or(0);
            self.request_write(
                node,
                group,
                vec![set_edit(resource_name(resource), &format!("keys.b{}", nth % 16), edit)],
                false,
            );
        }
    }

    /// Resolves a conflict, if the node sees one.
    fn resolve_conflict(&mut self, node: usize, group: usize, pick: u64) {
        let open_conflicts = self.desired(node, group).map(conflicts).unwrap_or_default();
        self.mark_conflicts(&open_conflicts);
        let index_of = |len: usize, pick: u64| usize::try_from(pick % len.max(1) as u64).unwrap_or(0);
        let Some(conflict) = open_conflicts.get(index_of(open_conflicts.len(), pick)) else { return };
        if self.resolved_on.insert(conflict.id, node).is_some_and(|before| before != node) {
            self.world.coverage.record("settled-twice");
        }
        let side = &conflict.sides[index_of(conflict.sides.len(), pick / 16)];
        let edit = Edit::Resolve {
            resource: conflict.resource.clone(),
            field: conflict.field.clone(),
            resolution: Resolution::UseSide(side.tag.clone()),
            id: Some(conflict.id.to_string()),
        };
        self.request_write(node, group, vec![edit], true);
    }

    fn observe(&mut self, node: usize, group: usize, resource: u8, applied: bool, revision: u64) {
        let observed = ObservedState {
            state: if applied { ResourceState::Applied } else { ResourceState::Failed },
            change: String::new(),
            revision: format!("{revision:016x}"),
            since: 0,
            code: 0,
            message: String::new(),
        };
        let observations = vec![(resource_name(resource), observed)];
        self.world.deliver_input(node, Input::Observations { group: self.group(group), observations });
    }
}

fn resource_name(resource: u8) -> ResourceName {
    format!("config/r{resource}").parse().expect("a good name")
}

fn set_edit(resource: ResourceName, field: &str, edit: FieldEdit) -> Edit {
    let field: FieldPath = field.parse().expect("a good path");
    Edit::Set { resource, fields: vec![(field, edit)], replace: false }
}
