//! What the tests of several crates share: a random number generator, keys, requests, a node that is driven
//! by hand, and copies of one group. Compiled for tests only, or with the feature `test-support`.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test may panic")]

mod disk;
mod group_peer;
pub mod journal;
pub mod rng;
mod test_node;

pub use disk::TestDisk;
pub use group_peer::{GroupPeer, missing_ranges, pull_all};
pub use rng::TestRng;
pub use test_node::TestNode;

use crate::group::ChangeNote;
use crate::id::{GroupId, NodeId, RecordId, SecretKey};
use crate::node::{NodeConfig, Request, WriteRequest};
use crate::record::{Grant, Record, RecordBody, Role, SignedRecord, Signer, create_genesis};
use crate::resource::edit::{Edit, FieldEdit};
use crate::resource::literal::Literal;
use crate::value::Value;

/// The number of the key that founds a group in [`operator_records`].
pub const FOUNDER: u8 = 1;

/// The key with this number.
pub fn secret_key(number: u8) -> SecretKey {
    SecretKey::from_bytes(&[number; 32])
}

/// The configuration of a node whose random numbers follow from its key.
pub fn node_config(secret: SecretKey) -> NodeConfig {
    NodeConfig {
        rng_seed: secret.node_id().0,
        secret,
        software: "test".to_owned(),
        host_name: "host".to_owned(),
        store_was_copied: false,
    }
}

/// The records of a group: Genesis by [`FOUNDER`], and a grant as an operator for each of `holders`, with the
/// alias and the labels of its node.
pub fn operator_records(
    holders: impl IntoIterator<Item = (NodeId, String, Vec<(String, String)>)>,
) -> Vec<SignedRecord> {
    let genesis = create_genesis(&secret_key(FOUNDER), "shop", [9; 16], secret_key(200).node_id());
    let (group, grant) = (genesis.genesis_group_id().expect("a Genesis record"), genesis.id());
    let mut records = vec![genesis];
    let mut prev = RecordId::ZERO;
    for ((holder, alias, labels), seq) in holders.into_iter().zip(1..) {
        let body = RecordBody::Grant(Grant { holder, role: Role::Operator, alias, labels, invite: None });
        let record = Record { group, grant, signer: Signer::Holder, seq, prev, body, note: None };
        let signed = record.sign(&secret_key(FOUNDER));
        prev = signed.id();
        records.push(signed);
    }
    records
}

/// A request that sets one field of a resource.
pub fn set_request(group: GroupId, resource: &str, field: &str, value: impl Into<Value>) -> Request {
    let value = FieldEdit::Assign(Literal::Scalar(value.into()));
    let fields = vec![(field.parse().expect("a field"), value)];
    let edit = Edit::Set { resource: resource.parse().expect("a resource"), fields, replace: false };
    Request::Write(WriteRequest {
        group: group.into(),
        edits: vec![edit],
        expected_heads: None,
        note: ChangeNote::default(),
        allow_unknown: false,
    })
}
