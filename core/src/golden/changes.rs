//! Deltas, their Automerge changes, and the chains that sign them.

use super::fixture::{self, founder, group};
use super::golden_file::GoldenFile;
use crate::delta::automerge_codec;
use crate::delta::encoded_change::EncodedChange;
use crate::delta::{Delta, SignedDelta};
use crate::id::{ChainId, ChangeId, Sig};
use crate::limits;
use crate::shard::chain::{self, EndProof, first_chain_hash, next_chain_hash};

#[test]
fn changes_encode_to_the_pinned_bytes() {
    let mut golden = GoldenFile::open(
        "changes",
        "A short history of a desired shard. For each change: the delta as it is sent and stored, its\n\
         Automerge change, the hash of that change, and the delta with its author's signature as a push\n\
         contains it.",
    );
    let root = fixture::desired_root();
    for written in fixture::history().changes {
        let (name, composed) = (written.name, written.composed);
        let delta = golden.check(&format!("{name}.delta"), composed.bytes());
        let hash = golden.check(&format!("{name}.hash"), composed.id());
        let (delta_written, change) = composed.into_parts();
        golden.check(&format!("{name}.change"), change.raw_bytes());
        let read = Delta::decode(&delta).unwrap();
        assert_eq!(read, delta_written, "{name}");
        assert_eq!(read.encode(), delta, "{name}");
        let again = EncodedChange::new(&root, read).unwrap();
        assert_eq!(again.id().as_ref(), hash, "{name}");
        let author = (again.delta().grant, again.delta().incarnation);
        assert_eq!(
            automerge_codec::decode_change(&change, root.shard_id(), author),
            Some(delta_written),
            "{name}"
        );
        let signed = postcard::to_allocvec(&written.signed).unwrap();
        let signed = golden.check(&format!("{name}.signed"), signed);
        assert_eq!(postcard::from_bytes::<SignedDelta>(&signed).unwrap(), written.signed);
    }
    golden.finish();
}

#[test]
fn chain_hashes_and_signatures_match_the_pinned_bytes() {
    let mut golden = GoldenFile::open(
        "chains",
        "Chains: the running hash over an author's changes, signatures of it, and end proofs. The changes\n\
         are invented: the hash of change n is the byte n, 32 times.",
    );
    let (group, shard) = (group(), fixture::desired_root().shard_id());
    let writer = fixture::first_writer();
    let chain_id = ChainId::derive(group, shard, writer.grant, writer.incarnation);
    let id = |seq: u64| ChangeId([seq as u8; 32]);
    let mut chain_hashes = vec![first_chain_hash(group, shard, chain_id)];
    for seq in 1..=limits::CHECKPOINT_INTERVAL {
        chain_hashes.push(next_chain_hash(&chain_hashes[chain_hashes.len() - 1], id(seq)));
    }
    for seq in [0, 1, 2, limits::CHECKPOINT_INTERVAL] {
        golden.check(&format!("link.{seq}"), chain_hashes[seq as usize]);
    }
    let author = founder().node_id();
    for seq in [1, limits::CHECKPOINT_INTERVAL] {
        let chain_hash = &chain_hashes[seq as usize];
        let signature = chain::sign_chain(&founder(), group, shard, seq, chain_hash);
        let pinned = Sig::from_slice(&golden.check(&format!("signature.{seq}"), signature.0)).unwrap();
        assert!(chain::verify_chain(&author, group, shard, seq, chain_hash, &pinned));
    }
    for (name, seq, upto) in [("own", 1, 1), ("ahead", 62, 64)] {
        let signature = chain::sign_chain(&founder(), group, shard, upto, &chain_hashes[upto as usize]);
        let end_proof = EndProof { ids_ahead: (seq + 1..=upto).map(id).collect(), signature };
        let bytes = golden.check(&format!("end-proof.{name}"), postcard::to_allocvec(&end_proof).unwrap());
        let pinned: EndProof = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(pinned, end_proof);
        assert!(chain::is_chain_proved(&author, (group, shard), seq, &chain_hashes[seq as usize], &pinned));
    }
    golden.finish();
}

#[test]
fn every_value_type_reads_back_as_written() {
    let history = fixture::history();
    for (key, value) in fixture::all_values() {
        let winner = history.shard.state().get(key).last().map(|visible| visible.value.clone());
        assert_eq!(winner, Some(value), "{key}");
    }
}
