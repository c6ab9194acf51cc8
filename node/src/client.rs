//! One request to the daemon at the socket.

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::UnixStream;

use crate::failure::{Exit, Failure};
use crate::limits;
use crate::view::View;

/// A way to ask the daemon.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the daemon at `socket`.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// True if something answers there.
    pub fn is_running(&self) -> bool {
        std::os::unix::net::UnixStream::connect(&self.socket).is_ok()
    }

    /// Asks for a view.
    pub fn get<V: View>(&self, path: &str, query: &[(&str, Option<&str>)]) -> Result<V, Failure> {
        self.ask(Method::GET, &with_query(path, query), Vec::new(), limits::ANSWER)
    }

    /// Asks for something to be done.
    pub fn post<V: View>(&self, path: &str, body: &impl Serialize) -> Result<V, Failure> {
        self.post_within(path, body, limits::ANSWER)
    }

    /// The same, of something longer than one change can be, up to [`limits::DOC_PLAN_BYTES`].
    pub fn post_long<V: View>(&self, path: &str, body: &impl Serialize) -> Result<V, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::failed(error.to_string()))?;
        if body.len() > limits::DOC_PLAN_BYTES {
            return Err(Failure::usage(format!(
                "this is more than can be asked at once ({} bytes)",
                body.len()
            )));
        }
        self.ask(Method::POST, path, body, limits::ANSWER)
    }

    /// Takes in an answer that is no view, piece by piece as it comes. Answers its length.
    pub fn download(
        &self,
        path: &str,
        query: &[(&str, Option<&str>)],
        into: &mut dyn std::io::Write,
    ) -> Result<u64, Failure> {
        runtime()?.block_on(async {
            let path = with_query(path, query);
            let mut body = self.stream(&path).await?;
            let mut length = 0;
            while let Some(frame) = within(limits::ANSWER, async { Ok(body.frame().await) }).await? {
                let Ok(data) = frame.map_err(|error| broken_off(&error))?.into_data() else { continue };
                into.write_all(&data).map_err(|error| Failure::failed(format!("cannot write: {error}")))?;
                length += data.len() as u64;
            }
            into.flush().map_err(|error| Failure::failed(format!("cannot write: {error}")))?;
            Ok(length)
        })
    }

    /// The same, of something that may take long.
    pub fn post_within<V: View>(
        &self,
        path: &str,
        body: &impl Serialize,
        wait: Duration,
    ) -> Result<V, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::failed(error.to_string()))?;
        if body.len() > limits::REQUEST_BYTES {
            return Err(Failure::usage(format!(
                "this is more than one change can hold ({} bytes); split it, or keep large contents as artifacts",
                body.len()
            )));
        }
        self.ask(Method::POST, path, body, wait)
    }

    /// Asks for something to be taken away.
    pub fn delete<V: View>(&self, path: &str, query: &[(&str, Option<&str>)]) -> Result<V, Failure> {
        self.ask(Method::DELETE, &with_query(path, query), Vec::new(), limits::ANSWER)
    }

    /// Asks for lines, and calls `each` with every one until it answers false. Returns then, and when the daemon ends the
    /// answer or goes away.
    pub fn follow(
        &self,
        path: &str,
        query: &[(&str, Option<&str>)],
        each: &mut dyn FnMut(&[u8]) -> Result<bool, Failure>,
    ) -> Result<Followed, Failure> {
        runtime()?.block_on(async {
            let path = with_query(path, query);
            let (mut body, mut rest) = (self.stream(&path).await?, Vec::new());
            while let Some(Ok(frame)) = body.frame().await {
                frame.data_ref().into_iter().for_each(|data| rest.extend_from_slice(data));
                while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    if !each(line.trim_ascii_end())? {
                        return Ok(Followed::Enough);
                    }
                }
                if rest.len() > limits::EVENT_BYTES {
                    return Err(Failure::failed("the daemon's answer has a line that is too long"));
                }
            }
            Ok(Followed::Gone)
        })
    }

    fn ask<V: View>(&self, method: Method, path: &str, body: Vec<u8>, wait: Duration) -> Result<V, Failure> {
        let (status, body) = runtime()?.block_on(within(wait, self.exchange(method, path, body)))?;
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(strange);
        }
        Err(serde_json::from_slice::<Failure>(&body).unwrap_or_else(strange))
    }

    /// An answer that comes bit by bit.
    async fn stream(&self, path: &str) -> Result<Incoming, Failure> {
        let response = within(limits::ANSWER, self.send(Method::GET, path, Vec::new())).await?;
        if response.status() == StatusCode::OK {
            return Ok(response.into_body());
        }
        let body = collect(response.into_body()).await?;
        Err(serde_json::from_slice::<Failure>(&body).unwrap_or_else(strange))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let response = self.send(method, path, body).await?;
        Ok((response.status(), collect(response.into_body()).await?))
    }

    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Response<Incoming>, Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(&error))?;
        let lost = |error: hyper::Error| {
            Failure::new(Exit::Unreachable, "unreachable", format!("the daemon hung up: {error}"))
                .hint("its log says why")
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        tokio::spawn(async move { drop(connection.await) });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "larder")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Failure::failed(error.to_string()))?;
        sender.send_request(request).await.map_err(lost)
    }

    fn unreachable(&self, error: &std::io::Error) -> Failure {
        let socket = self.socket.display();
        let failure = Failure::new(
            Exit::Unreachable,
            "unreachable",
            match error.kind() {
                std::io::ErrorKind::PermissionDenied => format!("you may not use the socket {socket}"),
                _ => format!("no daemon answers at {socket}"),
            },
        );
        failure.hint(match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                "run as the daemon's user, or let it name a group with `socket_group` in its settings"
            }
            _ => "start one with `larder up`, or name another with --data or --socket",
        })
    }
}

/// How following ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// The caller had enough.
    Enough,
    /// The daemon ended it, or is gone.
    Gone,
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))
}

async fn within<T>(wait: Duration, what: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let hangs = || {
        let text = format!("the daemon did not answer within {} s", wait.as_secs());
        Failure::new(Exit::Unreachable, "hangs", text)
    };
    tokio::time::timeout(wait, what).await.map_err(|_| hangs())?
}

async fn collect(body: Incoming) -> Result<Bytes, Failure> {
    let most = usize::try_from(limits::ANSWER_BYTES).unwrap_or(usize::MAX);
    let body = Limited::new(body, most).collect().await;
    Ok(body.map_err(|error| broken_off(&error))?.to_bytes())
}

fn strange(error: serde_json::Error) -> Failure {
    Failure::failed(format!("the daemon's answer cannot be read: {error}"))
        .hint("is it of another version? Restart it after an upgrade")
}

fn broken_off(error: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format!("the daemon's answer broke off: {error}"))
}

fn with_query(path: &str, query: &[(&str, Option<&str>)]) -> String {
    let mut out = path.to_owned();
    for (nth, (name, value)) in query.iter().filter_map(|(name, value)| Some((name, (*value)?))).enumerate() {
        out.push(if nth == 0 { '?' } else { '&' });
        out.push_str(name);
        out.push('=');
        encode(value, &mut out);
    }
    out
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
pub(crate) fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}
