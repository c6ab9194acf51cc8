//! Members that have not heard of each other.

use larder_core::id::NodeId;
use larder_tests::lab::until;
use larder_tests::node::{Node, PATIENCE, converge, daemons};

use super::{LARDER, lab};

/// The whole key, by which nodes are ordered: of a pair, the lower one dials.
fn key(node: &Node<'_>) -> NodeId {
    let text = std::fs::read_to_string(node.data.join("node.key")).unwrap();
    larder::identity::parse(&text).unwrap().node()
}

/// A node that was taken in while another was away meets that one alone. The one that was away has the lower key: it
/// would have to dial, and does not know whom.
#[test]
fn a_member_proves_itself_to_one_that_was_away_when_it_came() {
    let lab = lab!(3, "a_member_proves_itself_to_one_that_was_away_when_it_came");
    let mut nodes = daemons(&lab, LARDER);
    let (away, new) = if key(&nodes[1]) < key(&nodes[2]) { (1, 2) } else { (2, 1) };
    nodes[0].ok(&["init", "shop"]);
    let code = nodes[0].invite(2);
    nodes[away].ok(&["join", &code]);
    lab.split(&[&[0, new], &[away]]);
    nodes[new].ok(&["join", &code]);
    converge(&[nodes[0].twin(), nodes[new].twin()]);
    nodes[0].stop();
    // Begun anew, so that no visit from the time of joining is still under way.
    nodes[new].stop();
    nodes[new].start(&["daemon"]);
    lab.split(&[&[new, away]]);
    nodes[away].ok(&["set", "config/a", "path=a", "keys.x=1"]);
    until(PATIENCE, "the write on the new node", || (nodes[new].file("a") == "x=1\n").then_some(()));
    converge(&[nodes[away].twin(), nodes[new].twin()]);
}
