//! Drives a node whose rows are durable as soon as the caller has them: for tools that run without a daemon,
//! and for tests.

use std::collections::VecDeque;

use super::Node;
use super::effect::Effect;
use super::input::{ClockReading, Input};
use crate::store::Row;

/// Hands an input to a node, and all rows that follow to `store`. Returns the other effects, in order.
pub fn handle(node: &mut Node, now: ClockReading, input: Input, store: impl FnMut(Vec<Row>)) -> Vec<Effect> {
    let effects = node.handle(now, input);
    carry_out(node, now, effects, store)
}

/// Hands the rows of `effects`, and all rows that follow, to `store`. Returns the other effects, in order.
pub fn carry_out(
    node: &mut Node,
    now: ClockReading,
    effects: Vec<Effect>,
    mut store: impl FnMut(Vec<Row>),
) -> Vec<Effect> {
    let (mut pending, mut others) = (VecDeque::from(effects), Vec::new());
    while let Some(effect) = pending.pop_front() {
        match effect {
            Effect::Store { batch_id, rows } => {
                store(rows);
                pending.extend(node.handle(now, Input::Stored { batch_id }));
            }
            effect => others.push(effect),
        }
    }
    others
}
