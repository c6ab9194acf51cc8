//! The client of the local API: HTTP over the daemon's Unix socket.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use crate::api::params::ONLY_GROUP;
use crate::dto::HasSchema;
use crate::error::{CliError, ExitKind};
use crate::limits;

/// The characters of a path segment that are percent-encoded: all but the unreserved ones of RFC 3986.
const NOT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A client of the daemon's local API.
#[derive(Clone, Debug)]
pub struct ApiClient {
    socket: PathBuf,
}

impl ApiClient {
    /// A client of the daemon at `socket`.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// True if a daemon answers at the socket.
    pub fn is_daemon_running(&self) -> bool {
        std::os::unix::net::UnixStream::connect(&self.socket).is_ok()
    }

    /// Sends a GET request.
    pub fn get<V: HasSchema>(&self, path: &str, query: &[(&str, Option<&str>)]) -> Result<V, CliError> {
        self.send_json(Method::GET, &with_query(path, query), Vec::new(), limits::RESPONSE_TIMEOUT)
    }

    /// Sends a request with a JSON body.
    pub fn send<V: HasSchema>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<V, CliError> {
        self.send_json(method, path, request_body(body)?, limits::RESPONSE_TIMEOUT)
    }

    /// Posts a JSON body.
    pub fn post<V: HasSchema>(&self, path: &str, body: &impl Serialize) -> Result<V, CliError> {
        self.send(Method::POST, path, body)
    }

    /// Posts a JSON body, and waits up to `timeout` for the response.
    pub fn post_with_timeout<V: HasSchema>(
        &self,
        path: &str,
        body: &impl Serialize,
        timeout: Duration,
    ) -> Result<V, CliError> {
        self.send_json(Method::POST, path, request_body(body)?, timeout)
    }

    /// Posts the values of a document, at most [`limits::MAX_DOC_PLAN_BYTES`].
    pub fn post_doc_plan<V: HasSchema>(&self, path: &str, body: &impl Serialize) -> Result<V, CliError> {
        let body = serde_json::to_vec(body).map_err(|error| CliError::failed(error.to_string()))?;
        if body.len() > limits::MAX_DOC_PLAN_BYTES {
            return Err(CliError::usage(format!(
                "the document has more values than one request can hold ({} bytes)",
                body.len()
            )));
        }
        self.send_json(Method::POST, path, body, limits::RESPONSE_TIMEOUT)
    }

    /// Writes the file that the daemon sends to `sink`, chunk by chunk. Returns its length.
    pub fn download(
        &self,
        path: &str,
        query: &[(&str, Option<&str>)],
        sink: &mut dyn std::io::Write,
    ) -> Result<u64, CliError> {
        runtime()?.block_on(async {
            let path = with_query(path, query);
            let mut response_body = self.open_stream(&path).await?;
            let mut bytes_written = 0;
            while let Some(frame) =
                with_timeout(limits::RESPONSE_TIMEOUT, async { Ok(response_body.frame().await) }).await?
            {
                let Ok(data) = frame.map_err(|error| interrupted_response(&error))?.into_data() else {
                    continue;
                };
                sink.write_all(&data).map_err(|error| CliError::failed(format!("cannot write: {error}")))?;
                bytes_written += data.len() as u64;
            }
            sink.flush().map_err(|error| CliError::failed(format!("cannot write: {error}")))?;
            Ok(bytes_written)
        })
    }

    /// Sends a DELETE request.
    pub fn delete<V: HasSchema>(&self, path: &str) -> Result<V, CliError> {
        self.send_json(Method::DELETE, path, Vec::new(), limits::RESPONSE_TIMEOUT)
    }

    /// Calls `on_line` with each line that the daemon sends, until it returns false, or the response ends.
    pub fn follow_lines(
        &self,
        path: &str,
        query: &[(&str, Option<&str>)],
        on_line: &mut dyn FnMut(&[u8]) -> Result<bool, CliError>,
    ) -> Result<FollowEnd, CliError> {
        runtime()?.block_on(async {
            let path = with_query(path, query);
            let (mut body, mut unparsed) = (self.open_stream(&path).await?, Vec::new());
            while let Some(Ok(frame)) = body.frame().await {
                frame.data_ref().into_iter().for_each(|data| unparsed.extend_from_slice(data));
                while let Some(end) = unparsed.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = unparsed.drain(..=end).collect();
                    if !on_line(line.trim_ascii_end())? {
                        return Ok(FollowEnd::CallerStopped);
                    }
                }
                if unparsed.len() > limits::MAX_EVENT_LINE_BYTES {
                    return Err(CliError::failed(
                        "the daemon answered a line that is too long; please report this",
                    ));
                }
            }
            Ok(FollowEnd::DaemonGone)
        })
    }

    fn send_json<V: HasSchema>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<V, CliError> {
        let (status, body) =
            runtime()?.block_on(with_timeout(timeout, self.send_and_collect(method, path, body)))?;
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(unreadable_response);
        }
        Err(serde_json::from_slice::<CliError>(&body).unwrap_or_else(unreadable_response))
    }

    /// Sends a request whose response is a stream.
    async fn open_stream(&self, path: &str) -> Result<Incoming, CliError> {
        let response =
            with_timeout(limits::RESPONSE_TIMEOUT, self.exchange(Method::GET, path, Vec::new())).await?;
        if response.status() == StatusCode::OK {
            return Ok(response.into_body());
        }
        let body = collect_body(response.into_body()).await?;
        Err(serde_json::from_slice::<CliError>(&body).unwrap_or_else(unreadable_response))
    }

    async fn send_and_collect(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), CliError> {
        let response = self.exchange(method, path, body).await?;
        Ok((response.status(), collect_body(response.into_body()).await?))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, CliError> {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable_error(&error))?;
        let connection_lost = |error: hyper::Error| {
            CliError::new(
                ExitKind::Unreachable,
                "unreachable",
                format!("the daemon closed the connection: {error}"),
            )
            .with_hint("see the daemon's log")
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(connection_lost)?;
        tokio::spawn(async move { drop(connection.await) });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "larder")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| CliError::failed(error.to_string()))?;
        sender.send_request(request).await.map_err(connection_lost)
    }

    fn unreachable_error(&self, error: &std::io::Error) -> CliError {
        let socket = self.socket.display();
        let failure = CliError::new(
            ExitKind::Unreachable,
            "unreachable",
            match error.kind() {
                std::io::ErrorKind::PermissionDenied => format!("you may not use the socket {socket}"),
                _ => format!("no daemon answers at {socket}"),
            },
        );
        failure.with_hint(match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                "run as the daemon's user, or let it name a group with `socket_group` in its settings"
            }
            _ => "start one with `larder up`, or name another with --data or --socket",
        })
    }
}

/// The reason why [`ApiClient::follow_lines`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowEnd {
    /// `on_line` returned false.
    CallerStopped,
    /// The response ended, or the daemon is gone.
    DaemonGone,
}

/// The runtime that runs all requests of this process.
static RUNTIME: LazyLock<std::io::Result<Runtime>> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_all().build());

fn runtime() -> Result<&'static Runtime, CliError> {
    RUNTIME.as_ref().map_err(|error| CliError::failed(format!("cannot start the client: {error}")))
}

fn request_body(body: &impl Serialize) -> Result<Vec<u8>, CliError> {
    let body = serde_json::to_vec(body).map_err(|error| CliError::failed(error.to_string()))?;
    if body.len() > limits::MAX_REQUEST_BYTES {
        return Err(CliError::usage(format!(
            "this is more than one change can hold ({} bytes); split it, or keep large contents as artifacts",
            body.len()
        )));
    }
    Ok(body)
}

async fn with_timeout<T>(
    timeout: Duration,
    request: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let timeout_error = || {
        let text = format!("the daemon did not answer within {} s", timeout.as_secs());
        CliError::new(ExitKind::Unreachable, "hangs", text)
    };
    tokio::time::timeout(timeout, request).await.map_err(|_| timeout_error())?
}

async fn collect_body(body: Incoming) -> Result<Bytes, CliError> {
    let limit = usize::try_from(limits::MAX_RESPONSE_BYTES).unwrap_or(usize::MAX);
    let body = Limited::new(body, limit).collect().await;
    Ok(body.map_err(|error| interrupted_response(&error))?.to_bytes())
}

fn unreadable_response(error: serde_json::Error) -> CliError {
    CliError::failed(format!("the answer of the daemon cannot be read: {error}"))
        .with_hint("the daemon may be of another version: restart it after an upgrade")
}

fn interrupted_response(error: &dyn std::fmt::Display) -> CliError {
    CliError::failed(format!("the answer of the daemon broke off: {error}"))
}

/// The path of a resource of the API in a group, with percent-encoded segments. Without a group, it is the
/// node's only group.
pub fn group_path(group: Option<&str>, segments: &[&str]) -> String {
    let mut path = "/v1/groups".to_owned();
    for segment in [group.unwrap_or(ONLY_GROUP)].iter().chain(segments) {
        path.extend(["/"].into_iter().chain(utf8_percent_encode(segment, NOT_UNRESERVED)));
    }
    path
}

fn with_query(path: &str, query: &[(&str, Option<&str>)]) -> String {
    let mut pairs = form_urlencoded::Serializer::new(format!("{path}?"));
    pairs.extend_pairs(query.iter().filter_map(|(name, value)| Some((name, (*value)?))));
    pairs.finish()
}
