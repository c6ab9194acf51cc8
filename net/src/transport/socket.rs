//! The options of every TCP socket, with which the kernel detects a lost connection.
//!
//! The ping of libp2p detects a loss after 12 to 51 s and closes nothing, and after a 20 s cut a kept
//! connection carries data again only 7 s later. With these options an idle cut is detected in 2 to 3 s
//! without work in user space.

use std::io;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::limits;

/// Sets the options of a dialed or accepted socket.
pub(crate) fn set_loss_detection_options(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&tcp_keepalive())?;
    // This covers unacknowledged data, and it also bounds keepalive.
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
