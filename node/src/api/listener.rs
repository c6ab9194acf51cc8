//! The Unix socket of the local API. Only its owner can open it, and a system group if the settings name one.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::http::request::Parts;
use axum::serve::{IncomingStream, Listener};
use rustix::fs::Mode;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{ApiContext, router};
use crate::daemon::{DaemonHandle, EventBus, stop_requested};
use crate::data_dir::DataDir;
use crate::error::CliError;
use crate::limits::{ACCEPT_RETRY_DELAY, SOCKET_CHECK_INTERVAL};
use crate::provider::Providers;

/// The open socket of the local API.
#[derive(Debug)]
pub struct SocketListener {
    path: PathBuf,
    listener: Option<ApiListener>,
    task: Option<JoinHandle<()>>,
}

impl SocketListener {
    /// Opens the socket. A socket file that a killed daemon left behind is replaced.
    pub fn open(data_dir: &DataDir, socket_group: Option<&str>) -> Result<Self, CliError> {
        let path = data_dir.socket.clone();
        let cannot = |action: &str, error: io::Error| {
            CliError::failed(format!("cannot {action} the socket {}: {error}", path.display()))
                .with_hint("choose another path with --socket or LARDER_SOCKET")
        };
        match UnixStream::connect(&path) {
            Ok(_) => {
                return Err(CliError::failed(format!("another daemon uses the socket {}", path.display()))
                    .with_hint("stop that daemon, or choose another path with --socket"));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(&path).map_err(|error| cannot("replace", error))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(cannot("connect to", error)),
        }
        let socket_group = socket_group.map(str::to_owned);
        let listener = ApiListener::bind(path.clone(), socket_group)?;
        Ok(Self { path, listener: Some(listener), task: None })
    }

    /// Serves requests until the daemon stops.
    #[must_use]
    pub fn serve(
        mut self,
        handle: DaemonHandle,
        data_dir: DataDir,
        providers: Arc<Providers>,
        event_bus: EventBus,
        mut stop: watch::Receiver<bool>,
    ) -> Self {
        let Some(listener) = self.listener.take() else { return self };
        let app = router(ApiContext { handle, data_dir: Arc::new(data_dir), providers, event_bus });
        let app = app.into_make_service_with_connect_info::<RequestUser>();
        let shutdown = async move { stop_requested(&mut stop).await };
        self.task = Some(tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(shutdown).await {
                tracing::error!(%error, "the local socket ended");
            }
        }));
        self
    }

    /// Removes the socket file.
    pub fn close(self) {
        drop(std::fs::remove_file(&self.path));
    }
}

/// Accepts the connections of the local API. It makes the socket file again when something removed it, such
/// as a cleaner of temporary files.
#[derive(Debug)]
struct ApiListener {
    path: PathBuf,
    socket_group: Option<String>,
    listener: UnixListener,
}

impl ApiListener {
    fn bind(path: PathBuf, socket_group: Option<String>) -> Result<Self, CliError> {
        // Only the owner can open the socket from its first moment on.
        let old_umask = rustix::process::umask(Mode::RWXG | Mode::RWXO);
        let listener = UnixListener::bind(&path);
        rustix::process::umask(old_umask);
        let listener = listener.map_err(|error| {
            CliError::failed(format!("cannot open the socket {}: {error}", path.display()))
                .with_hint("choose another path with --socket or LARDER_SOCKET")
        })?;
        set_permissions(&path, socket_group.as_deref())?;
        Ok(Self { path, socket_group, listener })
    }

    /// Binds again if the socket file is gone. Another file in its place stays: it may be the socket of
    /// another daemon.
    fn restore_socket_file(&mut self) {
        if self.path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            match Self::bind(self.path.clone(), self.socket_group.clone()) {
                Ok(listener) => {
                    tracing::warn!(path = %self.path.display(), "the socket file was removed and made again");
                    *self = listener;
                }
                Err(error) => tracing::warn!(%error, "the socket file was removed"),
            }
        }
    }
}

impl Listener for ApiListener {
    type Io = tokio::net::UnixStream;
    type Addr = tokio::net::unix::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok(connection) => return connection,
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection of the local API");
                        tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                    }
                },
                () = tokio::time::sleep(SOCKET_CHECK_INTERVAL) => self.restore_socket_file(),
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

fn set_permissions(path: &Path, group: Option<&str>) -> Result<(), CliError> {
    let cannot_protect = |error: io::Error| {
        CliError::failed(format!("cannot set the permissions of {}: {error}", path.display()))
    };
    let mode = match group {
        None => 0o600,
        Some(name) => {
            let lookup = nix::unistd::Group::from_name(name).ok().flatten();
            let group =
                lookup.ok_or_else(|| CliError::usage(format!("there is no system group `{name}`")))?;
            std::os::unix::fs::chown(path, None, Some(group.gid.as_raw())).map_err(cannot_protect)?;
            0o660
        }
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(cannot_protect)
}

/// The name of the user who sent a request, as the kernel reports it.
#[derive(Clone, Debug, Default)]
pub struct RequestUser(pub String);

impl Connected<IncomingStream<'_, ApiListener>> for RequestUser {
    fn connect_info(stream: IncomingStream<'_, ApiListener>) -> Self {
        let Ok(peer) = stream.io().peer_cred() else { return Self::default() };
        Self::from_uid(peer.uid())
    }
}

impl RequestUser {
    /// The user of this process.
    pub fn current_process() -> Self {
        Self::from_uid(rustix::process::geteuid().as_raw())
    }

    fn from_uid(uid: u32) -> Self {
        let account = nix::unistd::User::from_uid(uid.into()).ok().flatten();
        Self(account.map_or_else(|| uid.to_string(), |user| user.name))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestUser {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let info = parts.extensions.get::<ConnectInfo<Self>>();
        Ok(info.map(|info| info.0.clone()).unwrap_or_default())
    }
}
