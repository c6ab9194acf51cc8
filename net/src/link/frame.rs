//! Frames on a stream.
//!
//! ```text
//! +----------------+---------------------+
//! | length, u32 BE | payload, `length` B |     length 0: goodbye, the sender has closed the link on purpose
//! +----------------+---------------------+
//! ```
//!
//! The length is a claim of the other side: it is checked against the limit of the link's kind before anything is
//! allocated, and memory then grows with the bytes that really arrive.

use std::io;
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

use crate::event::DownReason;
use crate::limits;

/// What stands before the payload.
pub(crate) const HEAD: usize = 4;

/// The goodbye.
pub(crate) const GOODBYE: [u8; HEAD] = [0; HEAD];

/// Appends `payload` as a frame to `out`.
pub(crate) fn encode(payload: &[u8], out: &mut Vec<u8>) {
    // No frame of this size gets past `Net::send`.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend(length.to_be_bytes());
    out.extend(payload);
}

/// Reads one frame of at most `max` bytes. An error is the reason for which the link is over.
///
/// `silence` is the longest wait for the next bytes, not for the whole frame.
pub(crate) async fn read(
    from: &mut (impl AsyncRead + Unpin),
    max: usize,
    silence: Duration,
) -> Result<Vec<u8>, DownReason> {
    let mut head = [0; HEAD];
    let mut filled = 0;
    while let Some(rest) = head.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled += some(from.read(rest), silence).await?;
    }
    let claim = u32::from_be_bytes(head);
    let length = usize::try_from(claim).unwrap_or(usize::MAX);
    if length == 0 {
        return Err(DownReason::ByPeer);
    }
    if length > max {
        return Err(DownReason::TooLong(claim));
    }
    let mut payload = Vec::with_capacity(length.min(limits::GROW));
    let mut filled = 0;
    while filled < length {
        if filled == payload.len() {
            payload.resize(length.min(filled + limits::GROW), 0);
        }
        let rest = payload.get_mut(filled..).unwrap_or_default();
        filled += some(from.read(rest), silence).await?;
    }
    Ok(payload)
}

/// At least one byte, or the reason why there will be none.
async fn some(read: impl Future<Output = io::Result<usize>>, silence: Duration) -> Result<usize, DownReason> {
    match timeout(silence, read).await {
        Err(_) => Err(DownReason::Silent),
        Ok(Ok(0) | Err(_)) => Err(DownReason::Lost),
        Ok(Ok(count)) => Ok(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::io::Cursor;

    const LONG: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn frames_come_back_in_order() {
        let mut wire = Vec::new();
        let large = vec![7; 3 * limits::GROW + 1];
        encode(b"one", &mut wire);
        encode(&large, &mut wire);
        wire.extend(GOODBYE);
        let mut wire = Cursor::new(wire);
        assert_eq!(read(&mut wire, limits::FRAME, LONG).await.unwrap(), b"one");
        assert_eq!(read(&mut wire, limits::FRAME, LONG).await.unwrap(), large);
        assert_eq!(read(&mut wire, limits::FRAME, LONG).await, Err(DownReason::ByPeer));
        assert_eq!(read(&mut wire, limits::FRAME, LONG).await, Err(DownReason::Lost));
    }

    #[tokio::test]
    async fn a_claim_over_the_limit_is_refused_before_any_byte() {
        let mut wire = Cursor::new(u32::MAX.to_be_bytes());
        assert_eq!(read(&mut wire, limits::FRAME, LONG).await, Err(DownReason::TooLong(u32::MAX)));
        let mut wire = Cursor::new([0, 0, 0, 9]);
        assert_eq!(read(&mut wire, 8, LONG).await, Err(DownReason::TooLong(9)));
    }

    #[tokio::test]
    async fn a_cut_frame_is_a_loss() {
        let mut wire = Cursor::new([0, 0, 0, 9, 1, 2]);
        assert_eq!(read(&mut wire, 9, LONG).await, Err(DownReason::Lost));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_noticed_within_a_frame_too() {
        let mut wire = Cursor::new([0, 0, 0, 9, 1]).chain(Never);
        assert_eq!(read(&mut wire, 9, LONG).await, Err(DownReason::Silent));
    }

    struct Never;

    impl AsyncRead for Never {
        fn poll_read(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            _: &mut [u8],
        ) -> std::task::Poll<io::Result<usize>> {
            std::task::Poll::Pending
        }
    }
}
