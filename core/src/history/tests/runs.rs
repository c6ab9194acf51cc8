//! What a machine runs, told by what it said.

use super::*;
use crate::resource::observed::{Condition, Observed};
use crate::resource::view::ResourceView;

/// The machine says how it stands with what it knows of `config/db`.
fn tell(peer: &mut Peer, condition: Condition, change: ChangeId, since: i64) -> Observed {
    let view = ResourceView::read(peer.shard().state(), &name("config/db")).unwrap();
    let (change, revision) = (change.to_string()[..16].to_owned(), view.revision());
    let told = Observed { condition, change, revision, since, code: 0, message: String::new() };
    let grant = peer.group.members().grant_for(&peer.secret.node(), Role::writes_observed).unwrap();
    let puts = BTreeMap::from([("config/db".to_owned(), told.encode())]);
    peer.put(ShardName::Observed(grant), puts, since);
    told
}

fn observed(peer: &Peer) -> &Shard {
    peer.group.observed_by(&peer.secret.node()).unwrap()
}

#[test]
fn what_was_applied_last_is_found_below_what_failed_since() {
    let mut peers = peers(1);
    let peer = &mut peers[0];
    let first = peer.set(&["keys.a=1"], 100);
    tell(peer, Condition::Failed, first, 101);
    assert_eq!(last_applied(observed(peer), &name("config/db")), None);
    let applied = tell(peer, Condition::Applied, first, 102);
    let second = peer.set(&["keys.a=2"], 103);
    for since in 104..110 {
        tell(peer, Condition::Failed, second, since);
    }
    assert_eq!(last_applied(observed(peer), &name("config/db")), Some(applied.clone()));
    assert_eq!(last_applied(observed(peer), &name("config/web")), None);
    let seen = seen_at(peer.shard(), &name("config/db"), &applied);
    assert_eq!(seen, Some(Seen { heads: vec![first], exact: true }));
    let unknown = Observed { change: "0123456789abcdef".into(), ..applied };
    assert_eq!(seen_at(peer.shard(), &name("config/db"), &unknown), None);
}

/// A machine names one change and may have seen others beside it.
#[test]
fn what_was_seen_beside_the_newest_change_counts_too() {
    let mut peers = peers(2);
    let [a, b] = &mut peers[..] else { panic!() };
    a.set(&["keys.n=0"], 90);
    pull(a, b);
    let left = a.set(&["keys.a=1"], 100);
    let right = b.set(&["keys.b=1"], 101);
    pull(b, a);
    let newest = [left, right].into_iter().max_by_key(|id| {
        let entry = a.shard().graph().get(id).unwrap();
        (entry.max_op, a.shard().graph().chain_of(entry).unwrap().actor)
    });
    let told = tell(a, Condition::Applied, newest.unwrap(), 110);
    a.set(&["keys.a=2"], 120);
    let seen = seen_at(a.shard(), &name("config/db"), &told).unwrap();
    let mut both = vec![left, right];
    both.sort();
    assert_eq!(seen, Seen { heads: both, exact: true });
    // By a clock that does not know of them, it is as near as the change that it named.
    let vague = Observed { since: 0, ..told };
    let seen = seen_at(a.shard(), &name("config/db"), &vague).unwrap();
    assert_eq!(seen, Seen { heads: vec![newest.unwrap()], exact: false });
}
