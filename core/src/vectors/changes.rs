//! Deltas, the Automerge changes that they stand for, and the chains that sign them.

use super::golden::Golden;
use super::scene::{self, founder, group};
use crate::delta::compose::{self, Composed};
use crate::delta::{Delta, SignedDelta};
use crate::id::{Actor, ChangeId, Sig};
use crate::limits;
use crate::shard::chain::{self, Cover, first_link, next_link};

#[test]
fn changes_are_composed_as_ever() {
    let mut golden = Golden::open(
        "changes",
        "A short history of a desired shard. Of each change: the delta as it is sent and stored, the Automerge change that\n\
         it is composed to, that change's hash, and the delta with its author's signature as a push carries it.",
    );
    let root = scene::desired();
    for written in scene::story().changes {
        let (name, composed) = (written.name, written.composed);
        let delta = golden.fact(&format!("{name}.delta"), composed.bytes());
        let hash = golden.fact(&format!("{name}.hash"), composed.id());
        let (said, change) = composed.into_parts();
        golden.fact(&format!("{name}.change"), change.raw_bytes());
        let read = Delta::decode(&delta).unwrap();
        assert_eq!(read, said, "{name}");
        assert_eq!(read.encode(), delta, "{name}");
        let again = Composed::new(&root, read).unwrap();
        assert_eq!(again.id().as_ref(), hash, "{name}");
        let author = (again.delta().grant, again.delta().incarnation);
        assert_eq!(compose::decompose(&change, root.epoch(), author), Some(said), "{name}");
        let signed = postcard::to_allocvec(&written.signed).unwrap();
        let signed = golden.fact(&format!("{name}.signed"), signed);
        assert_eq!(postcard::from_bytes::<SignedDelta>(&signed).unwrap(), written.signed);
    }
    golden.close();
}

#[test]
fn chains_are_signed_as_ever() {
    let mut golden = Golden::open(
        "chains",
        "Chains: the running hash over an author's changes, signatures of it, and covers. The changes are made up: the\n\
         hash of change n is the byte n, 32 times.",
    );
    let (group, epoch) = (group(), scene::desired().epoch());
    let writer = scene::first_writer();
    let actor = Actor::of(group, epoch, writer.grant, writer.incarnation);
    let id = |seq: u64| ChangeId([seq as u8; 32]);
    let mut links = vec![first_link(group, epoch, actor)];
    for seq in 1..=limits::SIGNED_EVERY {
        links.push(next_link(&links[links.len() - 1], id(seq)));
    }
    for seq in [0, 1, 2, limits::SIGNED_EVERY] {
        golden.fact(&format!("link.{seq}"), links[seq as usize]);
    }
    let author = founder().node();
    for seq in [1, limits::SIGNED_EVERY] {
        let link = &links[seq as usize];
        let signature = chain::sign(&founder(), group, epoch, seq, link);
        let pinned = Sig::from_slice(&golden.fact(&format!("signature.{seq}"), signature.0)).unwrap();
        assert!(chain::verify(&author, group, epoch, seq, link, &pinned));
    }
    for (name, seq, upto) in [("own", 1, 1), ("ahead", 62, 64)] {
        let signature = chain::sign(&founder(), group, epoch, upto, &links[upto as usize]);
        let cover = Cover { ahead: (seq + 1..=upto).map(id).collect(), signature };
        let bytes = golden.fact(&format!("cover.{name}"), postcard::to_allocvec(&cover).unwrap());
        let pinned: Cover = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(pinned, cover);
        assert!(chain::is_covered(&author, (group, epoch), seq, &links[seq as usize], &pinned));
    }
    golden.close();
}

#[test]
fn every_value_reads_as_written() {
    let story = scene::story();
    for (key, value) in scene::values() {
        let winner = story.shard.state().get(key).last().map(|visible| visible.value.clone());
        assert_eq!(winner, Some(value), "{key}");
    }
}
