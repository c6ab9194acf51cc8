//! Who may do what to whom, and how a machine without a code gets in.

use super::*;
use crate::record::Role;
use crate::wire::ask;

fn govern(host: &mut Host, act: Act) -> Result<(), Declined> {
    let govern = Govern { group: scene::group(), act, user: "ann".into(), words: "because".into() };
    let effects = host.ask(Request::Govern(govern));
    let answer = effects.into_iter().find_map(|effect| match effect {
        Effect::Answer { answer, .. } => Some(answer.map(drop)),
        _ => None,
    });
    answer.unwrap()
}

fn role(host: &Host, of: &Secret) -> Option<Role> {
    host.machine.group(&scene::group()).unwrap().group.members().role(&of.node())
}

fn standing(host: &Host, of: &Secret) -> (Standing, Option<EndedBy>) {
    let group = &host.machine.group(&scene::group()).unwrap().group;
    (Standing::of(group.members(), &of.node()), EndedBy::of(group, &of.node()))
}

fn reopened(host: Host, secret: Secret) -> Host {
    Host::open(secret, host.store)
}

#[test]
fn an_admin_removes_an_operator_and_not_the_other_way_round() {
    let (founder, operator) = (scene::founder(), scene::operator());
    let mut host = Host::member(operator.clone());
    let remove = |node: &Secret| Act::Remove { node: node.node(), keep_through: None };
    assert_eq!(govern(&mut host, remove(&founder)), Err(Declined::NotAdmin));
    let mut host = Host::member(founder.clone());
    assert_eq!(govern(&mut host, remove(&stranger())), Err(Declined::NoMember));
    assert_eq!(govern(&mut host, remove(&founder)), Err(Declined::Oneself));
    assert_eq!(govern(&mut host, Act::Forget { node: operator.node() }), Err(Declined::StillMember));
    assert_eq!(govern(&mut host, remove(&operator)), Ok(()));
    assert_eq!(govern(&mut host, remove(&operator)), Err(Declined::NoMember));
    let (stands, ended) = standing(&host, &operator);
    let ended = ended.unwrap();
    assert_eq!((stands, ended.by), (Standing::Removed, Some(founder.node())));
    assert_eq!((ended.remark.user.as_str(), ended.remark.words.as_str()), ("ann", "because"));
    let host = &mut reopened(host, founder);
    assert_eq!(role(host, &operator), None, "as stored");
    let views = |host: &Host| host.machine.members(host.machine.group(&scene::group()).unwrap());
    assert_eq!(
        views(host).iter().map(|view| view.state).collect::<Vec<_>>(),
        [NodeState::Up, NodeState::Removed]
    );
    assert_eq!(govern(host, Act::Forget { node: operator.node() }), Ok(()));
    assert_eq!(views(host).len(), 1);
}

/// Whatever grants a node holds: nothing past the change that is named counts, and nothing else is touched.
#[test]
fn a_removal_keeps_no_more_than_it_was_told() {
    let (founder, operator) = (scene::founder(), scene::operator());
    let mut host = Host::member(founder.clone());
    assert_eq!(govern(&mut host, Act::Role { node: operator.node(), role: Role::Admin }), Ok(()));
    let mut host = reopened(host, operator.clone());
    assert!(host.writes("one") && host.writes("two") && host.writes("three"));
    let mut host = reopened(host, founder);
    let desired = |host: &Host| host.machine.group(&scene::group()).unwrap().group.desired().unwrap().clone();
    let before = desired(&host);
    let chain = before.graph().chains().next().unwrap();
    let second = before.graph().at(chain, 2).unwrap().id;
    let remove = |change| Act::Remove { node: operator.node(), keep_through: Some(change) };
    assert_eq!(govern(&mut host, remove(ChangeId([9; 32]))), Err(Declined::NotTheirs));
    assert_eq!(govern(&mut host, remove(second)), Ok(()));
    let after = desired(&host);
    assert_eq!(after.graph().len(), before.graph().len() - 1);
    assert!(after.graph().contains(&second));
    assert_eq!(standing(&host, &operator).0, Standing::Removed);
}

/// Who asks who this node is gets one long answer, not as many as it likes.
#[test]
fn asking_who_one_is_is_answered_once() {
    let mut host = Host::member(scene::founder());
    host.link(1, &scene::operator(), LinkKind::Member, true);
    host.hear(1, &hello());
    let who = Frame::WhoAreYou(scene::group());
    let lines = |effects: Vec<Effect>| {
        let line = |effect: &Effect| matches!(effect, Effect::Send { bytes, .. } if matches!(Frame::decode(bytes), Ok(Frame::Line(_))));
        effects.iter().filter(|effect| line(effect)).count()
    };
    assert_eq!((lines(host.hear(1, &who)), lines(host.hear(1, &who))), (1, 0));
    host.input(Input::LinkDown { link: LinkId(1) });
    host.link(2, &scene::operator(), LinkKind::Member, true);
    host.hear(2, &hello());
    assert_eq!(lines(host.hear(2, &who)), 1, "a new link may ask anew");
}

#[test]
fn roles_go_up_by_one_more_grant_and_down_by_a_revoke() {
    let (founder, operator) = (scene::founder(), scene::operator());
    let mut host = Host::member(founder.clone());
    let give = |node: &Secret, role| Act::Role { node: node.node(), role };
    assert_eq!(govern(&mut host, give(&operator, Role::Operator)), Err(Declined::SameRole(Role::Operator)));
    assert_eq!(govern(&mut host, give(&operator, Role::Admin)), Ok(()));
    assert_eq!(role(&host, &operator), Some(Role::Admin));
    // The one it made an admin cannot remove it, and it can remove that one.
    let mut host = reopened(host, operator.clone());
    let remove = |node: &Secret| Act::Remove { node: node.node(), keep_through: None };
    assert_eq!(govern(&mut host, remove(&founder)), Err(Declined::NotAbove));
    let mut host = reopened(host, founder.clone());
    assert_eq!(govern(&mut host, give(&operator, Role::Reader)), Ok(()));
    assert_eq!(role(&host, &operator), Some(Role::Reader));
    assert_eq!(govern(&mut host, give(&founder, Role::Node)), Err(Declined::LastAdmin));
    assert_eq!(govern(&mut host, Act::Leave { force: false }), Err(Declined::LastAdmin));
    assert_eq!(govern(&mut host, Act::Leave { force: true }), Ok(()));
    assert_eq!(standing(&host, &founder).0, Standing::Left);
    assert!(!host.writes("x"), "a node that left writes nothing");
    // Nobody is left to let anybody in, but for the recovery key.
    let mut host = reopened(host, operator.clone());
    let wrong = Act::Recover { key: stranger() };
    assert_eq!(govern(&mut host, wrong), Err(Declined::RecoveryKey));
    assert_eq!(govern(&mut host, Act::Recover { key: scene::recovery() }), Ok(()));
    assert_eq!(role(&host, &operator), Some(Role::Admin));
}

/// A key that is given up writes no more, the next one stands where it stood, and what the old one did goes on to count.
#[test]
fn a_membership_is_handed_over_to_another_key() {
    let (founder, operator, next) = (scene::founder(), scene::operator(), stranger());
    let rekey =
        || Act::Rekey { key: next.node(), alias: "plc".into(), labels: vec![("line".into(), "2".into())] };
    let mut host = Host::member(operator.clone());
    assert_eq!(govern(&mut host, rekey()), Err(Declined::NotAdmin), "whose grants would not count");
    assert_eq!(role(&host, &operator), Some(Role::Operator), "and nothing was done");
    let mut host = Host::member(founder.clone());
    assert!(host.writes("before"));
    assert_eq!(govern(&mut host, rekey()), Ok(()));
    assert!(!host.writes("after"), "the old key writes no more");
    let mut host = reopened(host, next.clone());
    assert_eq!((role(&host, &next), role(&host, &founder)), (Some(Role::Admin), None));
    assert_eq!(standing(&host, &founder).0, Standing::Left);
    let group = &host.machine.group(&scene::group()).unwrap().group;
    let terms: Vec<_> =
        group.members().of(&next.node()).map(|of| (of.alias.clone(), of.labels.clone())).collect();
    assert_eq!(terms, [("plc".to_owned(), vec![("line".to_owned(), "2".to_owned())])]);
    assert_eq!(role(&host, &operator), Some(Role::Operator), "whom the old key let in");
    let desired =
        |host: &Host| host.machine.group(&scene::group()).unwrap().group.desired().unwrap().graph().len();
    let before = desired(&host);
    assert!(host.writes("under the new key"));
    assert_eq!(desired(&host), before + 1);
    let remove = Act::Remove { node: operator.node(), keep_through: None };
    assert_eq!(govern(&mut host, remove), Ok(()));
    // What the old key says later is past its end.
    let mut old = reopened(host, founder.clone());
    assert_eq!(
        govern(&mut old, Act::Role { node: founder.node(), role: Role::Admin }),
        Err(Declined::NoMember)
    );
    assert!(!old.writes("too late"));
}

#[test]
fn a_group_is_dissolved_by_its_founder_or_the_recovery_key() {
    let mut host = Host::member(scene::operator());
    assert_eq!(govern(&mut host, Act::Dissolve { recovery: None }), Err(Declined::NotFounder));
    let key = Some(stranger());
    assert_eq!(govern(&mut host, Act::Dissolve { recovery: key }), Err(Declined::RecoveryKey));
    let key = Some(scene::recovery());
    assert_eq!(govern(&mut host, Act::Dissolve { recovery: key }), Ok(()));
    assert_eq!(standing(&host, &scene::operator()).0, Standing::Dissolved);
    assert!(!host.writes("x"));
    let mut host = Host::member(scene::founder());
    assert_eq!(govern(&mut host, Act::Dissolve { recovery: None }), Ok(()));
    assert_eq!(host.machine.group(&scene::group()).unwrap().group.members().keys().count(), 0);
}

/// Whoever is linked hears of its end before the link is given up: nothing else would tell it at once.
#[test]
fn who_is_no_member_any_more_is_told_before_its_link_ends() {
    let remove = Act::Remove { node: scene::operator().node(), keep_through: None };
    for act in [Act::Dissolve { recovery: None }, remove] {
        let (founder, operator) = (scene::founder(), scene::operator());
        let (mut host, mut other) = (Host::member(founder.clone()), Host::member(operator.clone()));
        host.link(1, &operator, LinkKind::Member, true);
        host.hear(1, &hello());
        other.link(1, &founder, LinkKind::Member, false);
        other.hear(1, &hello());
        let govern = Govern { group: scene::group(), act, user: String::new(), words: String::new() };
        let effects = host.ask(Request::Govern(govern));
        let told = |effect: &Effect| match effect {
            Effect::Send { link: LinkId(1), bytes } => match Frame::decode(bytes) {
                Ok(frame @ Frame::Records(_)) => Some(frame),
                _ => None,
            },
            _ => None,
        };
        let records = effects.iter().position(|effect| told(effect).is_some());
        let given_up = effects.iter().position(|effect| matches!(effect, Effect::Members(_)));
        assert!(records.is_some() && records < given_up, "{effects:?}");
        other.hear(1, &told(&effects[records.unwrap()]).unwrap());
        assert!(!other.writes("too late"));
    }
}

/// What a machine that shows its line of grants gets to hear, once these count no more.
#[test]
fn a_removed_node_is_told_so_when_it_shows_its_line() {
    let (founder, operator) = (scene::founder(), scene::operator());
    let mut host = Host::member(founder.clone());
    let mut other = Host::member(operator.clone());
    govern(&mut host, Act::Remove { node: operator.node(), keep_through: None }).unwrap();
    host.link(1, &operator, LinkKind::Visit, false);
    let shown: Vec<VisitFrame> =
        other.link(1, &founder, LinkKind::Visit, true).iter().filter_map(said).collect();
    let told: Vec<VisitFrame> = shown.iter().flat_map(|frame| host.visited(1, frame)).collect();
    assert!(matches!(told[..], [VisitFrame::Removed(_)]), "{told:?}");
    assert!(other.closes(1, &told[0]));
    let (stands, ended) = standing(&other, &operator);
    assert_eq!((stands, ended.unwrap().by), (Standing::Removed, Some(founder.node())));
    assert!(!other.writes("x"));
    // A stranger hears nothing of the kind.
    host.link(2, &stranger(), LinkKind::Visit, false);
    assert_eq!(host.visited(2, &shown[0]), [VisitFrame::NotHere]);
}

/// A machine without a code, and a member.
fn meet() -> (Host, Host) {
    let mut joiner = Host::open(stranger(), Memory::default());
    let mut member = Host::member(scene::founder());
    joiner.ask(Request::Ask { alias: "till".into(), labels: vec![] });
    joiner.input(Input::Seen { peer: scene::founder().node(), addresses: vec![] });
    talk(&mut joiner, &mut member, 1);
    (joiner, member)
}

/// A visit from the first sound to the last.
fn talk(joiner: &mut Host, member: &mut Host, link: u64) {
    member.link(link, &stranger(), LinkKind::Visit, false);
    let mut frames: Vec<_> = joiner
        .link(link, &scene::founder(), LinkKind::Visit, true)
        .iter()
        .filter_map(said)
        .map(|said| (true, said))
        .collect();
    while let Some((to_member, frame)) = frames.pop() {
        let host = if to_member { &mut *member } else { &mut *joiner };
        frames.extend(host.visited(link, &frame).into_iter().map(|said| (!to_member, said)));
    }
}

fn digits(joiner: &Host, member: &Host) -> (u32, u32) {
    let theirs = joiner.machine.seeking().unwrap().meetings(&stranger().node()).next().unwrap().1;
    let (node, asked, ours) = member.machine.asks().next().unwrap();
    assert_eq!((node, asked.alias.as_str()), (stranger().node(), "till"));
    (theirs, ours.unwrap())
}

#[test]
fn six_digits_let_a_machine_in_that_has_no_code() {
    let (mut joiner, mut member) = meet();
    let (theirs, ours) = digits(&joiner, &member);
    assert_eq!(theirs, ours);
    let approve = |digits| Act::Approve { node: stranger().node(), role: Role::Node, digits };
    assert_eq!(govern(&mut member, approve(None)), Err(Declined::Digits));
    assert_eq!(govern(&mut member, approve(Some((ours + 1) % 1_000_000))), Err(Declined::Digits));
    assert_eq!(govern(&mut member, approve(Some(ours))), Ok(()));
    assert_eq!(member.machine.asks().count(), 0);
    talk(&mut joiner, &mut member, 2);
    assert_eq!(joiner.machine.groups().count(), 0, "its own operator has not agreed yet");
    let declined = |effect: &Effect| matches!(effect, Effect::Answer { answer: Err(Declined::Digits), .. });
    let wrong = joiner.ask(Request::Agree { digits: (theirs + 1) % 1_000_000 });
    assert!(wrong.iter().any(declined));
    joiner.ask(Request::Agree { digits: theirs });
    assert_eq!(role(&joiner, &stranger()), Some(Role::Node));
    assert_eq!(joiner.machine.seeking().unwrap().entered, Some(scene::group()));
}

#[test]
fn whoever_asks_is_bound_to_its_half_of_the_digits() {
    let (_, mut member) = meet();
    let commit = ask::commit(&stranger().node(), &[1; 16]);
    member.link(2, &stranger(), LinkKind::Visit, false);
    let asks = VisitFrame::Ask(ask::Ask { commit, alias: String::new(), labels: vec![] });
    assert!(matches!(member.visited(2, &asks)[..], [VisitFrame::Heard(_)]));
    assert!(member.closes(2, &VisitFrame::Reveal([2; 16])), "another chance than the one it was bound to");
    // A member that changes its half is as bad.
    let (mut joiner, _) = meet();
    joiner.link(2, &scene::founder(), LinkKind::Visit, true);
    assert!(joiner.closes(2, &VisitFrame::Heard([9; 16])));
}

#[test]
fn who_asks_is_bounded_and_may_be_denied() {
    let (_, mut member) = meet();
    let denied = member.ask(Request::Deny { node: stranger().node() });
    assert!(denied.iter().any(|effect| matches!(effect, Effect::Answer { answer: Ok(_), .. })));
    assert_eq!(member.machine.asks().count(), 0);
    for n in 0..2 * limits::ASKS as u64 {
        let node = Secret::from_bytes(&[n as u8 + 100; 32]);
        member.link(10 + n, &node, LinkKind::Visit, false);
        let commit = ask::commit(&node.node(), &[1; 16]);
        member.visited(10 + n, &VisitFrame::Ask(ask::Ask { commit, alias: String::new(), labels: vec![] }));
    }
    assert_eq!(member.machine.asks().count(), limits::ASKS - 1, "the denied one has its place");
    assert_eq!(member.machine.bounds().iter().count(), 2, "{:?}", member.machine.bounds());
    // A node that may let nobody in says nothing.
    let mut operator = Host::member(scene::operator());
    operator.link(1, &stranger(), LinkKind::Visit, false);
    let commit = ask::commit(&stranger().node(), &[1; 16]);
    let asks = VisitFrame::Ask(ask::Ask { commit, alias: String::new(), labels: vec![] });
    assert_eq!(operator.visited(1, &asks), [VisitFrame::NotHere]);
}
