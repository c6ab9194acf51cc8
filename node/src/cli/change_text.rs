//! The one-line summary of a change, as `log` and `watch` print it.

use crate::dto::{FieldOp, TouchedResource};
use crate::output::{escape, short_id};

/// Summarises the fields that a change touches, at most three resources with four fields each.
pub(super) fn summarize_touches(touches: &[TouchedResource]) -> String {
    let summarize_touch = |touch: &TouchedResource| {
        let name = match touch.resource.strip_prefix("node/") {
            Some(id) => format!("node/{}", short_id(id)),
            None => escape(&touch.resource),
        };
        match (&touch.op, touch.fields.as_slice()) {
            (FieldOp::Remove, _) => format!("{name} removed"),
            (_, []) => name,
            (op, fields) => {
                let parts: Vec<String> = fields.iter().take(4).map(|field| escape(field)).collect();
                let more = if fields.len() > 4 { ", ..." } else { "" };
                let op = if *op == FieldOp::Unset { " unset" } else { "" };
                format!("{name}{op} {}{more}", parts.join(", "))
            }
        }
    };
    let parts: Vec<String> = touches.iter().take(3).map(summarize_touch).collect();
    let more = touches.len().saturating_sub(3);
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    parts.join("; ") + &rest
}
