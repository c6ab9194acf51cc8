//! A whole node that receives any inputs: valid, forged and mutated frames of members and non-members;
//! requests; time; and a disk that is slow, fails, or loses unconfirmed batches.
//!
//! The node must not panic. Its effects stay in proportion to its inputs, and every request gets one
//! response. It opens again from whatever rows became durable. At the end it answers a write, keeps it, and
//! opens with an equal state.

mod adversary;
mod callers;
mod guest;
mod node_harness;

use larder_core::group::ChangeNote;
use larder_core::id::{GroupId, InviteId};
use larder_core::node::{Input, LinkId, LinkKind, Request, WriteRequest};
use larder_core::record::Role;
use larder_core::resource::conflict::conflicts;
use larder_core::resource::edit::{Edit, FieldEdit, Resolution};
use larder_core::resource::literal::Literal;
use larder_core::resource::observed::{ObservedState, ResourceState};
use larder_core::resource::{FieldPath, ResourceName};
use larder_core::value::Value;
use larder_core::wire::member::{Hello, MemberFrame};

use crate::decisions::Decisions;
use crate::fixture::{self, FIXTURE, secret_key};
use adversary::AdversaryMember;
use callers::OTHER_CALLERS;
use node_harness::NodeHarness;

/// The largest number of steps of one run.
const MAX_STEPS: usize = 64;

/// Runs the steps that the bytes decide.
pub fn fuzz_node_inputs(data: &[u8]) {
    let mut run = InputRun {
        harness: NodeHarness::open(),
        adversary: AdversaryMember::new(),
        decisions: Decisions::new(data),
    };
    run.open_link(fixture::OPERATOR, LinkKind::Member, true);
    for _ in 0..MAX_STEPS {
        let Some(step) = run.decisions.next_byte() else { break };
        run.run_step(step);
        run.harness.check_queries();
    }
    run.harness.check_final_write();
}

struct InputRun<'a> {
    harness: NodeHarness,
    adversary: AdversaryMember,
    decisions: Decisions<'a>,
}

impl InputRun<'_> {
    fn run_step(&mut self, step: u8) {
        match step % 20 {
            0 => self.pass_time(),
            1 => {
                let kind = if self.decisions.next_bool() { LinkKind::Member } else { LinkKind::Guest };
                let (person, greets) = (*self.decisions.choose(&OTHER_CALLERS), !self.decisions.one_in(4));
                self.open_link(person, kind, greets);
            }
            2 => {
                let link = self.random_link();
                self.harness.close_link(link);
            }
            3 => {
                let (link, bytes) = (self.random_link(), self.decisions.bytes().to_vec());
                self.harness.input(Input::FrameReceived { link, bytes });
            }
            4..=9 => self.send_member_frame(),
            10 | 11 => self.send_guest_frame(),
            12 => {
                let count = 1 + self.decisions.index(8);
                self.harness.confirm_writes(count);
            }
            13 | 14 => self.send_request(),
            15 => self.send_observed_state(),
            16 => self.send_network_event(),
            17 => {
                let store_was_copied = self.decisions.one_in(4);
                let lucky = self.decisions.index(3);
                self.harness.restart(lucky, store_was_copied);
                self.open_link(fixture::OPERATOR, LinkKind::Member, true);
            }
            18 if self.decisions.one_in(8) => self.harness.fail_store(),
            18 => self.harness.abandon_requests(),
            _ => {
                let (link, bytes) =
                    (self.random_link(), usize::try_from(self.decisions.number()).unwrap_or(usize::MAX));
                self.harness.input(Input::BytesSent { link, bytes });
            }
        }
    }

    fn pass_time(&mut self) {
        let ms = *self.decisions.choose(&[0, 1, 100, 500, 1_000, 5_000, 13_000, 61_000]);
        let jump = if self.decisions.one_in(8) { self.decisions.number().cast_signed() } else { 0 };
        self.harness.advance_time(ms, jump);
    }

    fn open_link(&mut self, person: u8, kind: LinkKind, sends_hello: bool) {
        let link = self.harness.link_up(person, kind, self.decisions.next_bool());
        if kind == LinkKind::Member && sends_hello {
            let hello = Hello { newest_version: 1, min_version: 1, software: "fuzz".to_owned() };
            self.harness.input(Input::FrameReceived { link, bytes: MemberFrame::Hello(hello).encode() });
        }
    }

    /// A link that is open, was closed, or never existed.
    fn random_link(&mut self) -> LinkId {
        let links: Vec<LinkId> = self.harness.links().collect();
        if links.is_empty() || self.decisions.one_in(16) {
            return LinkId(self.decisions.number());
        }
        *self.decisions.choose(&links)
    }

    fn send_member_frame(&mut self) {
        let members: Vec<LinkId> = self.harness.links_of(LinkKind::Member).collect();
        if members.is_empty() {
            return self.open_link(fixture::OPERATOR, LinkKind::Member, true);
        }
        let link = *self.decisions.choose(&members);
        let frame = self.adversary.random_frame(&mut self.decisions, &mut self.harness);
        let bytes = maybe_mutate(frame.encode(), &mut self.decisions);
        self.harness.input(Input::FrameReceived { link, bytes });
    }

    fn send_guest_frame(&mut self) {
        let visits: Vec<LinkId> = self.harness.links_of(LinkKind::Guest).collect();
        if visits.is_empty() {
            return self.open_link(fixture::NON_MEMBER, LinkKind::Guest, true);
        }
        let link = *self.decisions.choose(&visits);
        let frame = guest::random_guest_frame(&mut self.decisions, &self.harness, link);
        let bytes = maybe_mutate(frame.encode(), &mut self.decisions);
        self.harness.input(Input::FrameReceived { link, bytes });
    }

    fn send_network_event(&mut self) {
        let peer = secret_key(*self.decisions.choose(&OTHER_CALLERS)).node_id();
        let address = String::from_utf8_lossy(self.decisions.bytes()).into_owned();
        self.harness.input(match self.decisions.next_byte_or_zero() % 4 {
            0 => Input::LinkRefused { peer },
            1 => Input::GuestStreamFailed { peer },
            2 => Input::OwnAddresses(vec![address; 9]),
            _ => Input::NodeDiscovered { peer, addresses: vec![address] },
        });
    }

    fn random_resource(&mut self) -> ResourceName {
        let names = ["config/own", "config/shared", "file/motd", "odd/kind", "node/x"];
        names[self.decisions.index(names.len())].parse().expect("a name")
    }

    fn send_observed_state(&mut self) {
        let observed = ObservedState {
            state: ResourceState::parse(["applied", "failed", "odd"][self.decisions.index(3)]),
            change: String::new(),
            revision: String::new(),
            since: self.decisions.number().cast_signed(),
            code: self.decisions.number().cast_signed(),
            message: String::from_utf8_lossy(self.decisions.bytes()).into_owned(),
        };
        let observations = vec![(self.random_resource(), observed)];
        let group = self.random_group();
        self.harness.input(Input::Observations { group, observations });
    }

    fn random_group(&mut self) -> GroupId {
        match self.decisions.next_byte_or_zero() {
            250.. => GroupId::ZERO,
            230..250 => FIXTURE.foreign_group.0.id(),
            _ => fixture::group(),
        }
    }

    fn send_request(&mut self) {
        let group = self.random_group();
        let request = match self.decisions.next_byte_or_zero() % 12 {
            0 => Request::CreateGroup { name: String::from_utf8_lossy(self.decisions.bytes()).into_owned() },
            1 => Request::CreateInvite {
                group: group.into(),
                role: Role::from_byte(self.decisions.next_byte_or_zero()),
                max_uses: u32::from(self.decisions.next_byte_or_zero()),
                expires_unix_secs: self.decisions.number().cast_signed(),
            },
            2 => {
                let random = InviteId([self.decisions.next_byte_or_zero(); 32]);
                let invite = if self.decisions.next_bool() { FIXTURE.code.invite_id() } else { random };
                Request::RevokeInvite { group: group.into(), invite: invite.to_string() }
            }
            3 => {
                let code = if self.decisions.one_in(4) { &FIXTURE.code } else { &FIXTURE.foreign_group.1 };
                let alias = String::from_utf8_lossy(self.decisions.bytes()).into_owned();
                Request::Join { code: code.clone(), alias, labels: vec![] }
            }
            4 => Request::Ping {
                group: group.into(),
                node: secret_key(*self.decisions.choose(&OTHER_CALLERS)).node_id().into(),
            },
            5 => Request::SyncNow { group: group.into() },
            6 => Request::SetPaused { group: group.into(), paused: self.decisions.next_bool() },
            _ => {
                let edits =
                    (0..1 + self.decisions.next_byte_or_zero() % 3).map(|_| self.random_edit()).collect();
                let note = ChangeNote { message: "w".to_owned(), ..ChangeNote::default() };
                let base = self.decisions.one_in(8).then(|| vec![FIXTURE.root.id().into()]);
                Request::Write(WriteRequest {
                    group: group.into(),
                    edits,
                    expected_heads: base,
                    note,
                    allow_unknown: self.decisions.next_bool(),
                })
            }
        };
        self.harness.send_request(request);
    }

    fn random_edit(&mut self) -> Edit {
        let resource = self.random_resource();
        let value = match self.decisions.next_byte_or_zero() % 6 {
            0 => Value::Bool(true),
            1 => Value::Int(self.decisions.number().cast_signed()),
            2 => Value::Float(f64::from_bits(self.decisions.number())),
            3 => Value::Bytes(self.decisions.bytes().to_vec()),
            _ => Value::Str(String::from_utf8_lossy(self.decisions.bytes()).into_owned()),
        };
        let path = |text: &str| text.parse::<FieldPath>().expect("a path");
        let fields = ["keys.k1", "keys.list", "ensure", "content", "keys", "path"];
        let field = path(fields[self.decisions.index(fields.len())]);
        match self.decisions.next_byte_or_zero() % 8 {
            0 => Edit::Remove(resource),
            1 => self.random_resolution(resource, value),
            2 => Edit::SetAlias(
                secret_key(*self.decisions.choose(&OTHER_CALLERS)).node_id().into(),
                value.as_str().map(str::to_owned),
            ),
            3 => {
                let label =
                    (value.as_str().unwrap_or("k").to_owned(), self.decisions.next_bool().then(String::new));
                Edit::SetLabels(secret_key(fixture::NODE).node_id().into(), vec![label])
            }
            kind => {
                let edit = match kind {
                    4 => FieldEdit::Add(value),
                    5 => FieldEdit::Remove(value),
                    6 => FieldEdit::Unset,
                    _ if self.decisions.next_bool() => {
                        FieldEdit::Assign(Literal::List(vec![value.clone(), value]))
                    }
                    _ => FieldEdit::Assign(Literal::Scalar(value)),
                };
                Edit::Set { resource, fields: vec![(field, edit)], replace: self.decisions.one_in(4) }
            }
        }
    }

    fn random_resolution(&mut self, resource: ResourceName, value: Value) -> Edit {
        let open_conflicts =
            self.harness.group().and_then(|state| state.group.desired()).map(conflicts).unwrap_or_default();
        match open_conflicts.first() {
            Some(conflict) => {
                let side = self.decisions.choose(&conflict.sides).tag.clone();
                let (resource, field) = (conflict.resource.clone(), conflict.field.clone());
                Edit::Resolve {
                    resource,
                    field,
                    resolution: Resolution::UseSide(side),
                    id: Some(conflict.id.to_string()),
                }
            }
            None => {
                let settle = Resolution::UseValue(Literal::Scalar(value));
                Edit::Resolve { resource, field: "keys.k1".to_owned(), resolution: settle, id: None }
            }
        }
    }
}

/// Sometimes changes, truncates or repeats some of the bytes.
fn maybe_mutate(mut bytes: Vec<u8>, decisions: &mut Decisions<'_>) -> Vec<u8> {
    if !decisions.one_in(4) || bytes.is_empty() {
        return bytes;
    }
    for _ in 0..=decisions.next_byte_or_zero() % 4 {
        let at =
            usize::from(u16::from_be_bytes([decisions.next_byte_or_zero(), decisions.next_byte_or_zero()]))
                % bytes.len();
        match decisions.next_byte_or_zero() % 4 {
            0 => bytes.truncate(at.max(1)),
            1 => bytes.extend_from_within(at..),
            2 => bytes[at] = 0xff,
            _ => bytes[at] ^= 1 << (decisions.next_byte_or_zero() % 8),
        }
    }
    bytes
}
