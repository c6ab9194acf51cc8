//! Members that do not know of each other's membership.

use larder_core::id::NodeId;
use larder_tests::lab::{Lab, wait_until};
use larder_tests::node::{TestNode, WAIT_LIMIT, start_daemons, wait_until_converged};

use super::LARDER;

tests! {
    a_new_member_proves_itself_to_a_member_that_was_away,
}

/// The full node id. In each pair, the node with the lower id dials.
fn node_id_of(node: &TestNode<'_>) -> NodeId {
    let text = std::fs::read_to_string(node.data_dir.join("node.key")).unwrap();
    larder::identity::parse_key(&text).unwrap().node_id()
}

/// A node joins while another member is disconnected, and then meets only that member. The disconnected
/// member has the lower id: it would have to dial, and does not know the new member.
fn a_new_member_proves_itself_to_a_member_that_was_away() {
    let lab = Lab::require(3);
    let mut nodes = start_daemons(&lab, LARDER);
    let (away, new) = if node_id_of(&nodes[1]) < node_id_of(&nodes[2]) { (1, 2) } else { (2, 1) };
    nodes[0].run_ok(&["init", "shop"]);
    let code = nodes[0].create_invite(2);
    nodes[away].run_ok(&["join", &code]);
    lab.partition(&[&[0, new], &[away]]);
    nodes[new].run_ok(&["join", &code]);
    wait_until_converged(&[nodes[0].as_client(), nodes[new].as_client()]);
    nodes[0].stop();
    // The restart makes sure that no guest stream of the join is still open.
    nodes[new].stop();
    nodes[new].start(&["daemon"]);
    lab.partition(&[&[new, away]]);
    nodes[away].run_ok(&["set", "config/a", "path=a", "keys.x=1"]);
    wait_until(WAIT_LIMIT, "the write on the new node", || {
        (nodes[new].read_file("a") == "x=1\n").then_some(())
    });
    wait_until_converged(&[nodes[away].as_client(), nodes[new].as_client()]);
}
