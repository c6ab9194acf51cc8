//! Joining with somebody in between, who drops, doubles, changes and makes up frames: nobody is let in whom no admin let
//! in, and no two screens agree whose machines did not meet.

use std::sync::LazyLock;

use larder_core::machine::{
    Act, Caller, Config, Effect, Govern, Input, LinkId, LinkKind, Machine, Moment, Now, Request,
};
use larder_core::record::Role;
use larder_core::store::Memory;
use larder_core::wire::visit::VisitFrame;

use crate::scene::{self, secret};
use crate::script::Script;

/// A member as it was opened, to be copied: that is dear.
static MEMBER: LazyLock<Side> = LazyLock::new(|| Side::open(scene::FOUNDER, scene::SCENE.store.clone()));
static JOINER: LazyLock<Side> = LazyLock::new(|| Side::open(scene::STRANGER, Memory::default()));

/// One side of the visit.
#[derive(Clone)]
struct Side {
    machine: Machine,
    store: Memory,
    now: Now,
    callers: u64,
}

impl Side {
    fn open(number: u8, store: Memory) -> Self {
        let config = Config {
            secret: secret(number),
            seed: [number; 32],
            software: "fuzz".into(),
            host: "here".into(),
            reborn: false,
        };
        let now = Now { mono: Moment(1_000_000), wall: 1_700_000_000 };
        let (machine, _) = Machine::open(config, now, &store).expect("a good store");
        Self { machine, store, now, callers: 0 }
    }

    /// Hands an input in; answers the frames that come of it once it is durable.
    fn input(&mut self, input: Input) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let mut todo = self.machine.handle(self.now, input);
        while !todo.is_empty() {
            let mut next = Vec::new();
            for effect in todo {
                match effect {
                    Effect::Store { token, rows } => {
                        self.store.write(&rows);
                        next.extend(self.machine.handle(self.now, Input::Stored { token }));
                    }
                    Effect::Send { bytes, .. } => out.push(bytes),
                    _ => {}
                }
            }
            todo = next;
        }
        out
    }

    fn ask(&mut self, request: Request) -> Vec<Vec<u8>> {
        self.callers += 1;
        self.input(Input::Request { caller: Caller(self.callers), request })
    }
}

/// A joiner with or without a code, a member, and what the bytes make of the way between.
pub fn join_handshake(data: &[u8]) {
    let mut script = Script::new(data);
    let (mut member, mut joiner) = (MEMBER.clone(), JOINER.clone());
    let by_code = script.coin();
    let request = match by_code {
        true => Request::Join { code: scene::SCENE.code.clone(), alias: "till".into(), labels: vec![] },
        false => Request::Ask { alias: "till".into(), labels: vec![] },
    };
    joiner.ask(request);
    let (at_member, at_joiner) = (secret(scene::STRANGER).node(), secret(scene::FOUNDER).node());
    joiner.input(Input::Seen { peer: at_joiner, addresses: vec![] });
    let link = LinkId(1);
    member.input(Input::LinkUp { link, peer: at_member, kind: LinkKind::Visit, opened: false });
    let first = joiner.input(Input::LinkUp { link, peer: at_joiner, kind: LinkKind::Visit, opened: true });
    let mut frames: Vec<(bool, Vec<u8>)> = first.into_iter().map(|bytes| (true, bytes)).collect();
    let (mut touched, mut approved) = (false, false);
    for _ in 0..64 {
        if frames.is_empty() {
            break;
        }
        let (to_member, mut bytes) = frames.remove(0);
        touched |= disturb(&mut script, &mut bytes, &mut frames, to_member);
        let side = if to_member { &mut member } else { &mut joiner };
        let answers = side.input(Input::Frame { link, bytes });
        frames.extend(answers.into_iter().map(|bytes| (!to_member, bytes)));
        if !by_code && !approved && script.coin() {
            approved = compare(&mut script, &mut member, &mut joiner, touched, &mut frames);
        }
    }
    let is_in = joiner.machine.group(&scene::group()).is_some();
    let let_in =
        member.machine.group(&scene::group()).is_some_and(|of| of.group.members().contains(&at_member));
    assert!(!is_in || let_in, "in a group that never let it in");
    assert!(by_code || approved || !let_in, "let in though nobody compared");
}

/// What somebody in between does to a frame. True if it did anything.
fn disturb(
    script: &mut Script<'_>,
    bytes: &mut Vec<u8>,
    frames: &mut Vec<(bool, Vec<u8>)>,
    to_member: bool,
) -> bool {
    match script.byte() % 8 {
        0 => {
            let at = script.index(bytes.len().max(1));
            let by = script.byte().max(1);
            bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= by);
        }
        1 => *bytes = script.bytes().to_vec(),
        2 => frames.push((to_member, bytes.clone())),
        3 => frames.insert(0, (to_member, VisitFrame::Heard(script.nonce()).encode())),
        4 => frames.insert(0, (to_member, VisitFrame::Reveal(script.nonce()).encode())),
        _ => return false,
    }
    true
}

/// Operators look at both screens, and go on if these agree.
fn compare(
    script: &mut Script<'_>,
    member: &mut Side,
    joiner: &mut Side,
    touched: bool,
    frames: &mut Vec<(bool, Vec<u8>)>,
) -> bool {
    let me = secret(scene::STRANGER).node();
    let Some(ours) = member.machine.asks().find_map(|(node, _, digits)| digits.filter(|_| node == me)) else {
        return false;
    };
    let theirs =
        joiner.machine.seeking().and_then(|seeking| seeking.meetings(&me).next()).map(|(_, shown, _)| shown);
    if theirs != Some(ours) {
        assert!(touched || theirs.is_none(), "nobody was in between, and the screens differ");
        return false;
    }
    let role = *script.pick(&[Role::Node, Role::Operator, Role::Admin]);
    let act = Act::Approve { node: me, role, digits: Some(ours) };
    let govern = Govern { group: scene::group(), act, user: String::new(), words: String::new() };
    let answers = member.ask(Request::Govern(govern));
    frames.extend(answers.into_iter().map(|bytes| (false, bytes)));
    joiner.ask(Request::Agree { digits: ours });
    true
}
