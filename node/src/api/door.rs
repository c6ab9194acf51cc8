//! The socket: opened for its owner (and a group, if the operator names one), closed with the daemon.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::http::request::Parts;
use axum::serve::IncomingStream;
use rustix::fs::Mode;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Api, router};
use crate::daemon::{Handle, News, told_to_stop};
use crate::failure::Failure;
use crate::place::Place;

/// The open door.
#[derive(Debug)]
pub struct Door {
    path: PathBuf,
    listener: Option<UnixListener>,
    task: Option<JoinHandle<()>>,
}

impl Door {
    /// Opens the socket. One that a killed daemon left behind is replaced; one that answers is not.
    pub fn open(place: &Place, group: Option<&str>) -> Result<Self, Failure> {
        let path = place.socket.clone();
        let fail = |what: &str, error: io::Error| {
            Failure::failed(format!("cannot {what} the socket {}: {error}", path.display()))
                .hint("name another with --socket or LARDER_SOCKET")
        };
        match UnixStream::connect(&path) {
            Ok(_) => {
                return Err(Failure::failed(format!("another daemon answers at {}", path.display()))
                    .hint("stop it first, or name another socket with --socket"));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(&path).map_err(|error| fail("replace", error))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fail("look at", error)),
        }
        // From its first moment nobody else can open it.
        let before = rustix::process::umask(Mode::RWXG | Mode::RWXO);
        let listener = UnixListener::bind(&path);
        rustix::process::umask(before);
        let listener = listener.map_err(|error| fail("open", error))?;
        set_access(&path, group)?;
        Ok(Self { path, listener: Some(listener), task: None })
    }

    /// Answers requests until the daemon stops.
    #[must_use]
    pub fn serve(
        mut self,
        handle: Handle,
        place: Place,
        news: News,
        mut stop: watch::Receiver<bool>,
    ) -> Self {
        let Some(listener) = self.listener.take() else { return self };
        let app = router(Api { handle, place: Arc::new(place), news });
        let app = app.into_make_service_with_connect_info::<User>();
        let stopped = async move { told_to_stop(&mut stop).await };
        self.task = Some(tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stopped).await {
                tracing::error!(%error, "the local socket ended");
            }
        }));
        self
    }

    /// Closes it: the path is free again.
    pub fn close(self) {
        drop(std::fs::remove_file(&self.path));
    }
}

fn set_access(path: &Path, group: Option<&str>) -> Result<(), Failure> {
    let fail = |error: io::Error| Failure::failed(format!("cannot protect {}: {error}", path.display()));
    let mode = match group {
        None => 0o600,
        Some(name) => {
            let found = nix::unistd::Group::from_name(name).ok().flatten();
            let group = found.ok_or_else(|| Failure::usage(format!("this system has no group `{name}`")))?;
            std::os::unix::fs::chown(path, None, Some(group.gid.as_raw())).map_err(fail)?;
            0o660
        }
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(fail)
}

/// Who opened the socket, as the system says.
#[derive(Clone, Debug, Default)]
pub struct User(pub String);

impl Connected<IncomingStream<'_, UnixListener>> for User {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let Ok(peer) = stream.io().peer_cred() else { return Self::default() };
        Self::of(peer.uid())
    }
}

impl User {
    /// Who runs this process.
    pub fn here() -> Self {
        Self::of(rustix::process::geteuid().as_raw())
    }

    fn of(uid: u32) -> Self {
        let known = nix::unistd::User::from_uid(uid.into()).ok().flatten();
        Self(known.map_or_else(|| uid.to_string(), |user| user.name))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for User {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let info = parts.extensions.get::<ConnectInfo<Self>>();
        Ok(info.map(|info| info.0.clone()).unwrap_or_default())
    }
}
