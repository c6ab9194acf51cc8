//! The one byte with which a stream is accepted.
//!
//! | byte | says                                                                                            |
//! |------|-------------------------------------------------------------------------------------------------|
//! | `+`  | welcome: frames may follow, in both directions                                                  |
//! | `-`  | not yet: I do not count you as a member; hold the line, a `+` may follow (member links only)    |
//!
//! The opener's side is answered by the protocol negotiation, so a `+` proves both directions. An end of the stream
//! in place of a byte is a no.

use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::limits;

const WELCOME: u8 = b'+';
const NOT_YET: u8 = b'-';

/// Which part this side has in the hello.
pub(crate) enum Greeting {
    /// We opened the stream.
    Open,
    /// We accept it.
    Accept,
    /// We hold it back until told that the key is a member's.
    Park(oneshot::Receiver<()>),
}

/// The stream is of no use.
#[derive(Debug)]
pub(crate) struct NoHello;

/// Goes through the hello; `on_hold` is called (and waited for) when the other side says "not yet".
pub(crate) async fn greet<S, F>(
    stream: &mut S,
    greeting: Greeting,
    on_hold: impl FnOnce() -> F,
) -> Result<(), NoHello>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = ()>,
{
    match greeting {
        Greeting::Accept => say(stream, WELCOME).await,
        Greeting::Park(admitted) => {
            say(stream, NOT_YET).await?;
            match timeout(limits::PARKED, admitted).await {
                Ok(Ok(())) => say(stream, WELCOME).await,
                _ => Err(NoHello),
            }
        }
        Greeting::Open => match hear(stream, limits::HELLO).await? {
            WELCOME => Ok(()),
            NOT_YET => {
                on_hold().await;
                match hear(stream, limits::PARKED + limits::HELLO).await? {
                    WELCOME => Ok(()),
                    _ => Err(NoHello),
                }
            }
            _ => Err(NoHello),
        },
    }
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), byte: u8) -> Result<(), NoHello> {
    let said = async {
        stream.write_all(&[byte]).await?;
        stream.flush().await
    };
    timeout(limits::HELLO, said).await.map_err(|_| NoHello)?.map_err(|_| NoHello)
}

async fn hear(stream: &mut (impl AsyncRead + Unpin), wait: Duration) -> Result<u8, NoHello> {
    let mut byte = [0];
    timeout(wait, stream.read_exact(&mut byte)).await.map_err(|_| NoHello)?.map_err(|_| NoHello)?;
    let [byte] = byte;
    Ok(byte)
}
