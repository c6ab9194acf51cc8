//! The signal that stops the daemon's tasks.

use tokio::sync::watch;

/// Returns once the daemon is to stop.
pub(crate) async fn stop_requested(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and so is the daemon.
    drop(stop.wait_for(|stop| *stop).await);
}
