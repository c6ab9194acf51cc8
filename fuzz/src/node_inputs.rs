//! A whole node that is told anything: frames of members and strangers, valid, forged and mutated; requests; time; a disk
//! that is slow, fails, or forgets what was not confirmed.
//!
//! What must hold: no panic; effects stay in proportion to inputs; every request is answered once; the node comes up again
//! from whatever became durable; and in the end it answers a write, keeps it, and comes up equal.

mod disk;
mod host;
mod people;
mod villain;
mod visitor;

use larder_core::group::Note;
use larder_core::id::{GroupId, InviteId};
use larder_core::machine::{Input, LinkId, LinkKind, Request, WriteRequest};
use larder_core::record::Role;
use larder_core::resource::conflict::conflicts;
use larder_core::resource::edit::{Edit, FieldEdit, Settle};
use larder_core::resource::literal::Literal;
use larder_core::resource::observed::{Condition, Observed};
use larder_core::resource::{FieldPath, ResourceName};
use larder_core::value::Value;
use larder_core::wire::link::{Frame, Hello};

use crate::scene::{self, SCENE, secret};
use crate::script::Script;
use host::Host;
use people::PEOPLE;
use villain::Villain;

/// Steps of one run.
const STEPS: usize = 64;

/// Plays the script that these bytes are.
pub fn node_inputs(data: &[u8]) {
    let mut play = Play { host: Host::open(), villain: Villain::new(), script: Script::new(data) };
    play.meet(scene::OPERATOR, LinkKind::Member, true);
    for _ in 0..STEPS {
        let Some(step) = play.script.draw() else { break };
        play.step(step);
        play.host.look_around();
    }
    play.host.end();
}

struct Play<'a> {
    host: Host,
    villain: Villain,
    script: Script<'a>,
}

impl Play<'_> {
    fn step(&mut self, step: u8) {
        match step % 20 {
            0 => self.pass_time(),
            1 => {
                let kind = if self.script.coin() { LinkKind::Member } else { LinkKind::Visit };
                let (person, greets) = (*self.script.pick(&PEOPLE), !self.script.rarely(4));
                self.meet(person, kind, greets);
            }
            2 => {
                let link = self.link();
                self.host.hang_up(link);
            }
            3 => {
                let (link, bytes) = (self.link(), self.script.bytes().to_vec());
                self.host.tell(Input::Frame { link, bytes });
            }
            4..=9 => self.member_says(),
            10 | 11 => self.visitor_says(),
            12 => {
                let count = 1 + self.script.index(8);
                self.host.confirm(count);
            }
            13 | 14 => self.request(),
            15 => self.observe(),
            16 => self.news(),
            17 => {
                let reborn = self.script.rarely(4);
                let lucky = self.script.index(3);
                self.host.restart(lucky, reborn);
                self.meet(scene::OPERATOR, LinkKind::Member, true);
            }
            18 if self.script.rarely(8) => self.host.fail(),
            18 => self.host.forget_callers(),
            _ => {
                let (link, bytes) =
                    (self.link(), usize::try_from(self.script.number()).unwrap_or(usize::MAX));
                self.host.tell(Input::Sent { link, bytes });
            }
        }
    }

    fn pass_time(&mut self) {
        let ms = *self.script.pick(&[0, 1, 100, 500, 1_000, 5_000, 13_000, 61_000]);
        let jump = if self.script.rarely(8) { self.script.number().cast_signed() } else { 0 };
        self.host.pass(ms, jump);
    }

    fn meet(&mut self, person: u8, kind: LinkKind, greets: bool) {
        let link = self.host.link_up(person, kind, self.script.coin());
        if kind == LinkKind::Member && greets {
            let hello = Hello { version: 1, least: 1, software: "fuzz".to_owned() };
            self.host.tell(Input::Frame { link, bytes: Frame::Hello(hello).encode() });
        }
    }

    /// A link that is there, or was, or never was.
    fn link(&mut self) -> LinkId {
        let links: Vec<LinkId> = self.host.links().collect();
        if links.is_empty() || self.script.rarely(16) {
            return LinkId(self.script.number());
        }
        *self.script.pick(&links)
    }

    fn member_says(&mut self) {
        let members: Vec<LinkId> = self.host.links_of(LinkKind::Member).collect();
        if members.is_empty() {
            return self.meet(scene::OPERATOR, LinkKind::Member, true);
        }
        let link = *self.script.pick(&members);
        let frame = self.villain.says(&mut self.script, &mut self.host);
        let bytes = mutated(frame.encode(), &mut self.script);
        self.host.tell(Input::Frame { link, bytes });
    }

    fn visitor_says(&mut self) {
        let visits: Vec<LinkId> = self.host.links_of(LinkKind::Visit).collect();
        if visits.is_empty() {
            return self.meet(scene::STRANGER, LinkKind::Visit, true);
        }
        let link = *self.script.pick(&visits);
        let frame = visitor::says(&mut self.script, &self.host, link);
        let bytes = mutated(frame.encode(), &mut self.script);
        self.host.tell(Input::Frame { link, bytes });
    }

    fn news(&mut self) {
        let peer = secret(*self.script.pick(&PEOPLE)).node();
        let address = String::from_utf8_lossy(self.script.bytes()).into_owned();
        self.host.tell(match self.script.byte() % 4 {
            0 => Input::Refused { peer },
            1 => Input::VisitFailed { peer },
            2 => Input::Addresses(vec![address; 9]),
            _ => Input::Seen { peer, addresses: vec![address] },
        });
    }

    fn resource(&mut self) -> ResourceName {
        let names = ["config/own", "config/shared", "file/motd", "odd/kind", "node/x"];
        names[self.script.index(names.len())].parse().expect("a name")
    }

    fn observe(&mut self) {
        let observed = Observed {
            condition: Condition::parse(["applied", "failed", "odd"][self.script.index(3)]),
            change: String::new(),
            revision: String::new(),
            since: self.script.number().cast_signed(),
            code: self.script.number().cast_signed(),
            message: String::from_utf8_lossy(self.script.bytes()).into_owned(),
        };
        let reports = vec![(self.resource(), observed)];
        let group = self.group();
        self.host.tell(Input::Observed { group, reports });
    }

    fn group(&mut self) -> GroupId {
        match self.script.byte() {
            250.. => GroupId::ZERO,
            230..250 => SCENE.elsewhere.0.id(),
            _ => scene::group(),
        }
    }

    fn request(&mut self) {
        let group = self.group();
        let request = match self.script.byte() % 12 {
            0 => Request::Found { name: String::from_utf8_lossy(self.script.bytes()).into_owned() },
            1 => Request::Invite {
                group,
                role: Role::from_byte(self.script.byte()),
                uses: u32::from(self.script.byte()),
                expires: self.script.number().cast_signed(),
            },
            2 => {
                let random = InviteId([self.script.byte(); 32]);
                let invite = if self.script.coin() { SCENE.code.invite() } else { random };
                Request::RevokeInvite { group, invite }
            }
            3 => {
                let code = if self.script.rarely(4) { &SCENE.code } else { &SCENE.elsewhere.1 };
                let alias = String::from_utf8_lossy(self.script.bytes()).into_owned();
                Request::Join { code: code.clone(), alias, labels: vec![] }
            }
            4 => Request::Ping { node: secret(*self.script.pick(&PEOPLE)).node() },
            5 => Request::Sync { group },
            6 => Request::Pause { group, paused: self.script.coin() },
            _ => {
                let edits = (0..1 + self.script.byte() % 3).map(|_| self.edit()).collect();
                let note = Note { words: "w".to_owned(), ..Note::default() };
                let base = self.script.rarely(8).then(|| vec![SCENE.root.id()]);
                Request::Write(WriteRequest { group, edits, base, note, lenient: self.script.coin() })
            }
        };
        self.host.ask(request);
    }

    fn edit(&mut self) -> Edit {
        let resource = self.resource();
        let value = match self.script.byte() % 6 {
            0 => Value::Bool(true),
            1 => Value::Int(self.script.number().cast_signed()),
            2 => Value::Float(f64::from_bits(self.script.number())),
            3 => Value::Bytes(self.script.bytes().to_vec()),
            _ => Value::Str(String::from_utf8_lossy(self.script.bytes()).into_owned()),
        };
        let path = |text: &str| text.parse::<FieldPath>().expect("a path");
        let fields = ["keys.k1", "keys.list", "ensure", "content", "keys", "path"];
        let field = path(fields[self.script.index(fields.len())]);
        match self.script.byte() % 8 {
            0 => Edit::Remove(resource),
            1 => self.settle(resource, value),
            2 => Edit::Alias(secret(*self.script.pick(&PEOPLE)).node(), value.as_str().map(str::to_owned)),
            3 => {
                let label = (value.as_str().unwrap_or("k").to_owned(), self.script.coin().then(String::new));
                Edit::Label(secret(scene::NODE).node(), vec![label])
            }
            kind => {
                let edit = match kind {
                    4 => FieldEdit::Add(value),
                    5 => FieldEdit::Take(value),
                    6 => FieldEdit::Unset,
                    _ if self.script.coin() => FieldEdit::Assign(Literal::List(vec![value.clone(), value])),
                    _ => FieldEdit::Assign(Literal::Scalar(value)),
                };
                Edit::Set { resource, fields: vec![(field, edit)], replace: self.script.rarely(4) }
            }
        }
    }

    fn settle(&mut self, resource: ResourceName, value: Value) -> Edit {
        let found = self.host.group().and_then(|of| of.group.desired()).map(conflicts).unwrap_or_default();
        match found.first() {
            Some(conflict) => {
                let side = self.script.pick(&conflict.sides).tag.clone();
                let (resource, field) = (conflict.resource.clone(), conflict.field.clone());
                Edit::Resolve { resource, field, settle: Settle::Take(side), id: Some(conflict.id) }
            }
            None => {
                let settle = Settle::Value(Literal::Scalar(value));
                Edit::Resolve { resource, field: "keys.k1".to_owned(), settle, id: None }
            }
        }
    }
}

/// Bytes with a few of them changed, cut or doubled, once in a while.
fn mutated(mut bytes: Vec<u8>, script: &mut Script<'_>) -> Vec<u8> {
    if !script.rarely(4) || bytes.is_empty() {
        return bytes;
    }
    for _ in 0..=script.byte() % 4 {
        let at = usize::from(u16::from_be_bytes([script.byte(), script.byte()])) % bytes.len();
        match script.byte() % 4 {
            0 => bytes.truncate(at.max(1)),
            1 => bytes.extend_from_within(at..),
            2 => bytes[at] = 0xff,
            _ => bytes[at] ^= 1 << (script.byte() % 8),
        }
    }
    bytes
}
