//! What every TCP socket is told, so that the kernel notices a loss by itself.
//!
//! libp2p's ping notices after 12 to 51 s and closes nothing; a kept connection carries data again only 7 s after a
//! 20 s cut. With these options an idle cut is noticed in 2 to 3 s and costs no user-space work: kernels ask kernels.

use std::io;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::limits;

/// Sets the options of a dialled or accepted socket.
pub(crate) fn set_loss_detection_options(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&tcp_keepalive())?;
    // Data that waits to be acknowledged is covered by this alone, and keepalive too ends after it.
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "fuchsia"))]
    socket.set_tcp_user_timeout(Some(limits::TCP_USER_TIMEOUT))?;
    Ok(())
}

fn tcp_keepalive() -> TcpKeepalive {
    let keepalive = TcpKeepalive::new().with_time(limits::TCP_KEEPALIVE_INTERVAL);
    #[cfg(not(any(target_os = "openbsd", target_os = "haiku")))]
    let keepalive = keepalive.with_interval(limits::TCP_KEEPALIVE_INTERVAL);
    #[cfg(not(any(target_os = "openbsd", target_os = "haiku", target_os = "windows")))]
    let keepalive = keepalive.with_retries(limits::TCP_KEEPALIVE_RETRIES);
    keepalive
}
