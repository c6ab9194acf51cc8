//! Windows of history in columns. zstd may pack the same columns in other bytes tomorrow, so the packed form must only
//! stay readable; the columns themselves are pinned.

use super::golden::Golden;
use super::scene::{self, Story};
use crate::delta::columns::{self, Head, Proof};
use crate::delta::compose::Composed;
use crate::id::{ChangeId, Sig};
use crate::limits;
use crate::shard::chain::Cover;

fn unpack(sent: &[u8]) -> Vec<u8> {
    zstd::bulk::decompress(sent, limits::FRAME_BYTES).unwrap()
}

/// A window of the story past its first `skip` changes.
fn window(story: &Story, skip: usize) -> (Vec<(Head, Proof)>, Vec<u8>) {
    let root = story.shard.root();
    let (before, changes) = story.changes.split_at(skip);
    let mut chains: Vec<(Head, Proof)> = Vec::new();
    let mut placed = Vec::new();
    for written in changes {
        let delta = written.composed.delta();
        let found = chains.iter().position(|(head, _)| head.incarnation == delta.incarnation);
        let place = found.unwrap_or_else(|| {
            let previous =
                before.iter().rev().find(|old| old.composed.delta().incarnation == delta.incarnation);
            let base = previous.map_or(ChangeId::ZERO, |previous| previous.composed.id());
            let head =
                Head { grant: delta.grant, incarnation: delta.incarnation, after: delta.seq - 1, base };
            let cover = Cover { ahead: vec![], signature: written.signed.signature };
            chains.push((head, Proof { marks: vec![], cover }));
            chains.len() - 1
        });
        chains[place].1.cover.signature = written.signed.signature;
        placed.push((place, written.composed.id(), delta));
    }
    let sent = columns::encode(root, &chains, &placed);
    (chains, sent)
}

#[test]
fn windows_are_written_and_read_as_ever() {
    let mut golden = Golden::open(
        "windows",
        "Windows of the history in changes.txt. `columns` is the layout; `sent` is what zstd once made of it: it must be\n\
         read for ever, but may be packed otherwise. `head` and `proof` are what a window says of one chain.",
    );
    let story = scene::story();
    let root = story.shard.root();
    for (name, skip) in [("whole", 0), ("rest", 3)] {
        let (chains, sent) = window(&story, skip);
        golden.fact(&format!("{name}.columns"), unpack(&sent));
        let pinned = golden.readable(&format!("{name}.sent"), &sent);
        assert_eq!(unpack(&pinned), unpack(&sent), "{name}: the packed form holds the pinned columns");
        let read = columns::decode(root, &pinned).unwrap();
        assert_eq!(read.chains, chains);
        let ids: Vec<_> = read.changes.iter().map(Composed::id).collect();
        let told: Vec<_> = story.changes[skip..].iter().map(|written| written.composed.id()).collect();
        assert_eq!(ids, told, "{name}");
    }
    heads(&mut golden);
    golden.close();
}

/// What a window says of one long chain: marks, and hashes ahead to the signature that covers it.
fn heads(golden: &mut Golden) {
    let writer = scene::first_writer();
    let head =
        Head { grant: writer.grant, incarnation: writer.incarnation, after: 130, base: ChangeId([1; 32]) };
    let cover = Cover { ahead: vec![ChangeId([2; 32]), ChangeId([3; 32])], signature: Sig([4; 64]) };
    let proof = Proof { marks: vec![Sig([5; 64]), Sig([6; 64])], cover };
    let bytes = golden.fact("head", postcard::to_allocvec(&head).unwrap());
    assert_eq!(postcard::from_bytes::<Head>(&bytes).unwrap(), head);
    let bytes = golden.fact("proof", postcard::to_allocvec(&proof).unwrap());
    assert_eq!(postcard::from_bytes::<Proof>(&bytes).unwrap(), proof);
}
