//! Frames on a stream.
//!
//! ```text
//! +----------------+---------------------+
//! | length, u32 BE | payload, `length` B |     length 0: goodbye, the sender closed the link
//! +----------------+---------------------+
//! ```
//!
//! The length is unverified: it is checked against the limit of the kind before anything is allocated, and
//! memory then grows with the bytes that arrive.

use std::io;
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

use crate::event::DownReason;
use crate::limits;

/// The length of the frame header.
pub(crate) const HEADER_BYTES: usize = 4;

/// The header of length 0 that ends a link.
pub(crate) const GOODBYE: [u8; HEADER_BYTES] = [0; HEADER_BYTES];

/// Appends `payload` as a frame to `buffer`.
pub(crate) fn encode_frame(payload: &[u8], buffer: &mut Vec<u8>) {
    // `NetHandle::send_frame` rejects frames of this size.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    buffer.extend(length.to_be_bytes());
    buffer.extend(payload);
}

/// Reads one frame of at most `max_bytes`. An error is the reason why the link ends.
///
/// `silence` is the longest wait for the next bytes, not for the whole frame.
pub(crate) async fn read_frame(
    stream: &mut (impl AsyncRead + Unpin),
    max_bytes: usize,
    silence: Duration,
) -> Result<Vec<u8>, DownReason> {
    let mut header = [0; HEADER_BYTES];
    let mut header_filled = 0;
    while let Some(unfilled) = header.get_mut(header_filled..).filter(|rest| !rest.is_empty()) {
        header_filled += read_some(stream.read(unfilled), silence).await?;
    }
    let claimed_length = u32::from_be_bytes(header);
    let length = usize::try_from(claimed_length).unwrap_or(usize::MAX);
    if length == 0 {
        return Err(DownReason::ByPeer);
    }
    if length > max_bytes {
        return Err(DownReason::TooLong(claimed_length));
    }
    let mut payload = Vec::with_capacity(length.min(limits::READ_GROWTH_BYTES));
    let mut payload_filled = 0;
    while payload_filled < length {
        if payload_filled == payload.len() {
            payload.resize(length.min(payload_filled + limits::READ_GROWTH_BYTES), 0);
        }
        let unfilled = payload.get_mut(payload_filled..).unwrap_or_default();
        payload_filled += read_some(stream.read(unfilled), silence).await?;
    }
    Ok(payload)
}

/// Reads at least one byte, or returns why there are none.
async fn read_some(
    read_future: impl Future<Output = io::Result<usize>>,
    silence: Duration,
) -> Result<usize, DownReason> {
    match timeout(silence, read_future).await {
        Err(_) => Err(DownReason::Silent),
        Ok(Ok(0) | Err(_)) => Err(DownReason::Lost),
        Ok(Ok(count)) => Ok(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::io::Cursor;

    const SILENCE_TIMEOUT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn frames_are_read_in_the_order_they_were_written() {
        let mut wire = Vec::new();
        let large = vec![7; 3 * limits::READ_GROWTH_BYTES + 1];
        encode_frame(b"one", &mut wire);
        encode_frame(&large, &mut wire);
        wire.extend(GOODBYE);
        let mut wire = Cursor::new(wire);
        assert_eq!(
            read_frame(&mut wire, limits::MAX_MEMBER_FRAME_BYTES, SILENCE_TIMEOUT).await.unwrap(),
            b"one"
        );
        assert_eq!(
            read_frame(&mut wire, limits::MAX_MEMBER_FRAME_BYTES, SILENCE_TIMEOUT).await.unwrap(),
            large
        );
        assert_eq!(
            read_frame(&mut wire, limits::MAX_MEMBER_FRAME_BYTES, SILENCE_TIMEOUT).await,
            Err(DownReason::ByPeer)
        );
        assert_eq!(
            read_frame(&mut wire, limits::MAX_MEMBER_FRAME_BYTES, SILENCE_TIMEOUT).await,
            Err(DownReason::Lost)
        );
    }

    #[tokio::test]
    async fn a_length_over_the_limit_is_rejected_before_the_payload_is_read() {
        let mut wire = Cursor::new(u32::MAX.to_be_bytes());
        assert_eq!(
            read_frame(&mut wire, limits::MAX_MEMBER_FRAME_BYTES, SILENCE_TIMEOUT).await,
            Err(DownReason::TooLong(u32::MAX))
        );
        let mut wire = Cursor::new([0, 0, 0, 9]);
        assert_eq!(read_frame(&mut wire, 8, SILENCE_TIMEOUT).await, Err(DownReason::TooLong(9)));
    }

    #[tokio::test]
    async fn a_truncated_frame_ends_the_link_as_lost() {
        let mut wire = Cursor::new([0, 0, 0, 9, 1, 2]);
        assert_eq!(read_frame(&mut wire, 9, SILENCE_TIMEOUT).await, Err(DownReason::Lost));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_within_a_frame_ends_the_link_as_silent() {
        let mut wire = Cursor::new([0, 0, 0, 9, 1]).chain(NeverReady);
        assert_eq!(read_frame(&mut wire, 9, SILENCE_TIMEOUT).await, Err(DownReason::Silent));
    }

    struct NeverReady;

    impl AsyncRead for NeverReady {
        fn poll_read(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            _: &mut [u8],
        ) -> std::task::Poll<io::Result<usize>> {
            std::task::Poll::Pending
        }
    }
}
