//! Limits how many changes of one author are accepted as pushes. What exceeds the limit is fetched in batches
//! instead.

use std::collections::BTreeMap;

use super::input::MonoTime;
use crate::id::NodeId;
use crate::limits;

/// One token bucket for each author. There are no more authors than keys that ever held a grant.
#[derive(Clone, Debug, Default)]
pub(super) struct PushLimiter(BTreeMap<NodeId, TokenBucket>);

/// How many more changes of one author may be pushed now.
#[derive(Clone, Copy, Debug)]
struct TokenBucket {
    tokens: u64,
    refilled_at: MonoTime,
}

impl PushLimiter {
    /// Takes a token of that author. False if none is left.
    pub(super) fn try_take(&mut self, author: NodeId, now: MonoTime) -> bool {
        let burst = limits::MAX_AUTHOR_PUSH_BURST as u64;
        let bucket = self.0.entry(author).or_insert(TokenBucket { tokens: burst, refilled_at: now });
        let elapsed_ms = now.ms_since(bucket.refilled_at);
        let earned = elapsed_ms.saturating_mul(limits::MAX_AUTHOR_PUSHES_PER_SECOND) / 1000;
        if earned > 0 {
            let tokens = bucket.tokens.saturating_add(earned).min(burst);
            *bucket = TokenBucket { tokens, refilled_at: now };
        }
        let is_allowed = bucket.tokens > 0;
        bucket.tokens = bucket.tokens.saturating_sub(1);
        is_allowed
    }
}
