//! Batches of history in columns. The columns are pinned. Their compressed form must only stay readable,
//! because another version of zstd may compress them to other bytes.

use super::fixture::{self, FixtureHistory};
use super::golden_file::GoldenFile;
use crate::delta::columnar::{self, SegmentHeader, SegmentProof};
use crate::delta::encoded_change::EncodedChange;
use crate::id::{ChangeId, Sig};
use crate::limits;
use crate::shard::chain::EndProof;

fn decompress(compressed: &[u8]) -> Vec<u8> {
    zstd::bulk::decompress(compressed, limits::MAX_FRAME_BYTES).unwrap()
}

/// A batch of the fixture's history after its first `skip` changes.
fn encode_batch(history: &FixtureHistory, skip: usize) -> (Vec<(SegmentHeader, SegmentProof)>, Vec<u8>) {
    let root = history.shard.root();
    let (before, changes) = history.changes.split_at(skip);
    let mut chains: Vec<(SegmentHeader, SegmentProof)> = Vec::new();
    let mut indexed = Vec::new();
    for written in changes {
        let delta = written.composed.delta();
        let known_chain = chains.iter().position(|(header, _)| header.incarnation == delta.incarnation);
        let chain_index = known_chain.unwrap_or_else(|| {
            let previous =
                before.iter().rev().find(|old| old.composed.delta().incarnation == delta.incarnation);
            let base = previous.map_or(ChangeId::ZERO, |previous| previous.composed.id());
            let header = SegmentHeader {
                grant: delta.grant,
                incarnation: delta.incarnation,
                after: delta.seq - 1,
                base_id: base,
            };
            let end_proof = EndProof { ids_ahead: vec![], signature: written.signed.signature };
            chains.push((header, SegmentProof { checkpoints: vec![], end_proof }));
            chains.len() - 1
        });
        chains[chain_index].1.end_proof.signature = written.signed.signature;
        indexed.push((chain_index, written.composed.id(), delta));
    }
    let compressed = columnar::encode(root, &chains, &indexed);
    (chains, compressed)
}

#[test]
fn batches_match_the_pinned_columns() {
    let mut golden = GoldenFile::open(
        "batches",
        "Batches of the history in changes.txt. `columns` is the layout. `sent` is its compressed form: it\n\
         must stay readable, but may be compressed to other bytes. `head` and `proof` are the part of a\n\
         batch for one chain.",
    );
    let history = fixture::history();
    let root = history.shard.root();
    for (name, skip) in [("whole", 0), ("rest", 3)] {
        let (chains, compressed) = encode_batch(&history, skip);
        golden.check(&format!("{name}.columns"), decompress(&compressed));
        let pinned = golden.check_readable(&format!("{name}.sent"), &compressed);
        assert_eq!(
            decompress(&pinned),
            decompress(&compressed),
            "{name}: the packed form holds the pinned columns"
        );
        let read = columnar::decode(root, &pinned).unwrap();
        assert_eq!(read.segments, chains);
        let ids: Vec<_> = read.changes.iter().map(EncodedChange::id).collect();
        let expected: Vec<_> = history.changes[skip..].iter().map(|written| written.composed.id()).collect();
        assert_eq!(ids, expected, "{name}");
    }
    check_headers(&mut golden);
    golden.finish();
}

/// The part of a batch for one long chain: checkpoints, and the hashes up to the signature of the end proof.
fn check_headers(golden: &mut GoldenFile) {
    let writer = fixture::first_writer();
    let header = SegmentHeader {
        grant: writer.grant,
        incarnation: writer.incarnation,
        after: 130,
        base_id: ChangeId([1; 32]),
    };
    let end_proof =
        EndProof { ids_ahead: vec![ChangeId([2; 32]), ChangeId([3; 32])], signature: Sig([4; 64]) };
    let proof = SegmentProof { checkpoints: vec![Sig([5; 64]), Sig([6; 64])], end_proof };
    let bytes = golden.check("head", postcard::to_allocvec(&header).unwrap());
    assert_eq!(postcard::from_bytes::<SegmentHeader>(&bytes).unwrap(), header);
    let bytes = golden.check("proof", postcard::to_allocvec(&proof).unwrap());
    assert_eq!(postcard::from_bytes::<SegmentProof>(&bytes).unwrap(), proof);
}
