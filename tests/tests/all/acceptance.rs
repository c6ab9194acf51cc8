//! Who is in, and what of theirs counts: small worlds tried whole, in every order, against an oracle of its
//! own.
//!
//! What is tried by default takes seconds. `LARDER_SCOPE=whole` tries everything that a comment below calls
//! whole; in the release profile that takes minutes.

mod histories;
mod records;

/// True if everything is to be tried.
fn is_exhaustive() -> bool {
    std::env::var("LARDER_SCOPE").is_ok_and(|scope| scope == "whole")
}

/// Calls `look` with every order of `0..count`; stops when it says no.
fn for_each_order(count: usize, visit: &mut impl FnMut(&[usize])) {
    fn permute(order: &mut Vec<usize>, at: usize, visit: &mut impl FnMut(&[usize])) {
        if at == order.len() {
            return visit(order);
        }
        for other in at..order.len() {
            order.swap(at, other);
            permute(order, at + 1, visit);
            order.swap(at, other);
        }
    }
    permute(&mut (0..count).collect(), 0, visit);
}

/// All tests of membership and acceptance.
pub(crate) fn tests() -> Vec<crate::harness::Test> {
    [histories::tests(), records::tests()].into_iter().flatten().collect()
}
