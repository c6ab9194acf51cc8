//! Who is in, and what of theirs counts: small worlds tried whole, in every order, against an oracle of its own.
//!
//! What is tried by default takes seconds. `LARDER_SCOPE=whole` tries everything that a comment below calls whole; in the
//! release profile that takes minutes.

mod histories;
mod records;

/// True if everything is to be tried.
fn whole() -> bool {
    std::env::var("LARDER_SCOPE").is_ok_and(|scope| scope == "whole")
}

/// Calls `look` with every order of `0..count`; stops when it says no.
fn orders(count: usize, look: &mut impl FnMut(&[usize])) {
    fn go(order: &mut Vec<usize>, at: usize, look: &mut impl FnMut(&[usize])) {
        if at == order.len() {
            return look(order);
        }
        for other in at..order.len() {
            order.swap(at, other);
            go(order, at + 1, look);
            order.swap(at, other);
        }
    }
    go(&mut (0..count).collect(), 0, look);
}

/// Repeatable chance.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % below.max(1)
    }
}
