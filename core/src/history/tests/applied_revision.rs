//! Tests of the revision that a node applied.

use super::*;
use crate::resource::observed::{ObservedState, ResourceState};
use crate::resource::view::ResourceView;

/// The node reports a state for the revision of `config/db` that it knows.
fn write_observed(peer: &mut GroupPeer, state: ResourceState, change: ChangeId, since: i64) -> ObservedState {
    let view = ResourceView::read(peer.shard().state(), &resource_name("config/db")).unwrap();
    let (change, revision) = (change.to_string()[..16].to_owned(), view.revision());
    let observed = ObservedState { state, change, revision, since, code: 0, message: String::new() };
    let grant =
        peer.group.members().oldest_grant_allowing(&peer.secret.node_id(), Role::can_write_observed).unwrap();
    let puts = BTreeMap::from([("config/db".to_owned(), observed.encode())]);
    peer.put(ShardName::Observed(grant), puts, since);
    observed
}

fn observed_shard(peer: &GroupPeer) -> &Shard {
    peer.group.observed_shard_of(&peer.secret.node_id()).unwrap()
}

#[test]
fn last_applied_state_is_found_below_later_failures() {
    let mut peers = peers(1);
    let peer = &mut peers[0];
    let first = peer.set(&["keys.a=1"], 100);
    write_observed(peer, ResourceState::Failed, first, 101);
    assert_eq!(last_applied_state(observed_shard(peer), &resource_name("config/db")), None);
    let applied = write_observed(peer, ResourceState::Applied, first, 102);
    let second = peer.set(&["keys.a=2"], 103);
    for since in 104..110 {
        write_observed(peer, ResourceState::Failed, second, since);
    }
    assert_eq!(last_applied_state(observed_shard(peer), &resource_name("config/db")), Some(applied.clone()));
    assert_eq!(last_applied_state(observed_shard(peer), &resource_name("config/web")), None);
    let point = find_observed_point(peer.shard(), &resource_name("config/db"), &applied);
    assert_eq!(point, Some(ObservedPoint { heads: vec![first], is_exact: true }));
    let unknown = ObservedState { change: "0123456789abcdef".into(), ..applied };
    assert_eq!(find_observed_point(peer.shard(), &resource_name("config/db"), &unknown), None);
}

/// A report names one change, and its node may have seen concurrent ones.
#[test]
fn observed_point_includes_concurrent_changes() {
    let mut peers = peers(2);
    let [a, b] = &mut peers[..] else { panic!() };
    a.set(&["keys.n=0"], 90);
    pull(a, b);
    let left = a.set(&["keys.a=1"], 100);
    let right = b.set(&["keys.b=1"], 101);
    pull(b, a);
    let newest = [left, right].into_iter().max_by_key(|id| {
        let entry = a.shard().graph().get(id).unwrap();
        (entry.max_op, a.shard().graph().chain_of(entry).unwrap().id)
    });
    let observed = write_observed(a, ResourceState::Applied, newest.unwrap(), 110);
    a.set(&["keys.a=2"], 120);
    let point = find_observed_point(a.shard(), &resource_name("config/db"), &observed).unwrap();
    let mut both = vec![left, right];
    both.sort();
    assert_eq!(point, ObservedPoint { heads: both, is_exact: true });
    // Without a time that reveals them, the point is the named change.
    let undated = ObservedState { since: 0, ..observed };
    let point = find_observed_point(a.shard(), &resource_name("config/db"), &undated).unwrap();
    assert_eq!(point, ObservedPoint { heads: vec![newest.unwrap()], is_exact: false });
}
