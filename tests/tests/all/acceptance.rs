//! Membership and acceptance, tested exhaustively on small cases: every order of arrival must give the same
//! result, and the result must equal that of an independent oracle.
//!
//! The default scope takes seconds. `LARDER_SCOPE=whole` tests the whole scope that a test's comment names,
//! which takes an hour or two in the release profile.

mod histories;
mod records;

/// True if the whole scope is tested.
fn is_exhaustive() -> bool {
    std::env::var("LARDER_SCOPE").is_ok_and(|scope| scope == "whole")
}

/// Calls `visit` with every order of `0..count`.
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

pub(crate) fn tests() -> Vec<crate::harness::Test> {
    [histories::tests(), records::tests()].into_iter().flatten().collect()
}
