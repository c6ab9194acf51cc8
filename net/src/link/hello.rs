//! The hello: the one byte with which a stream is accepted.
//!
//! | byte | meaning                                                                                         |
//! |------|-------------------------------------------------------------------------------------------------|
//! | `+`  | welcome: frames may follow, in both directions                                                  |
//! | `-`  | not yet: the opener is not known as a member; a `+` may follow (links only)                     |
//!
//! The protocol negotiation answers the acceptor, so a `+` proves both directions. If the stream ends
//! instead, the acceptor refused it.

use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::limits;

const WELCOME_BYTE: u8 = b'+';
const NOT_YET_BYTE: u8 = b'-';

/// The role of this side in the hello.
pub(crate) enum HelloRole {
    /// This node opened the stream.
    Opener,
    /// This node accepts the stream.
    Acceptor,
    /// This node holds the stream until the peer is known as a member.
    HoldBack(oneshot::Receiver<()>),
}

/// The hello failed; the stream cannot be used.
#[derive(Debug)]
pub(crate) struct HelloFailed;

/// Runs the hello. Awaits `on_hold` when the other side sends "not yet".
pub(crate) async fn run_hello<S, F>(
    stream: &mut S,
    hello_role: HelloRole,
    on_hold: impl FnOnce() -> F,
) -> Result<(), HelloFailed>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = ()>,
{
    match hello_role {
        HelloRole::Acceptor => write_byte(stream, WELCOME_BYTE).await,
        HelloRole::HoldBack(released) => {
            write_byte(stream, NOT_YET_BYTE).await?;
            match timeout(limits::HELD_LINK_TIMEOUT, released).await {
                Ok(Ok(())) => write_byte(stream, WELCOME_BYTE).await,
                _ => Err(HelloFailed),
            }
        }
        HelloRole::Opener => match read_byte(stream, limits::HELLO_TIMEOUT).await? {
            WELCOME_BYTE => Ok(()),
            NOT_YET_BYTE => {
                on_hold().await;
                match read_byte(stream, limits::HELD_LINK_TIMEOUT + limits::HELLO_TIMEOUT).await? {
                    WELCOME_BYTE => Ok(()),
                    _ => Err(HelloFailed),
                }
            }
            _ => Err(HelloFailed),
        },
    }
}

async fn write_byte(stream: &mut (impl AsyncWrite + Unpin), byte: u8) -> Result<(), HelloFailed> {
    let write_future = async {
        stream.write_all(&[byte]).await?;
        stream.flush().await
    };
    timeout(limits::HELLO_TIMEOUT, write_future).await.map_err(|_| HelloFailed)?.map_err(|_| HelloFailed)
}

async fn read_byte(stream: &mut (impl AsyncRead + Unpin), time_limit: Duration) -> Result<u8, HelloFailed> {
    let mut byte = [0];
    timeout(time_limit, stream.read_exact(&mut byte))
        .await
        .map_err(|_| HelloFailed)?
        .map_err(|_| HelloFailed)?;
    let [byte] = byte;
    Ok(byte)
}
