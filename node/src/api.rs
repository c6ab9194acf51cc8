//! The local API: HTTP over a Unix socket. A user who can open the socket can do all that the node can.
//!
//! | path                                   | methods           | what it is                               |
//! |----------------------------------------|-------------------|------------------------------------------|
//! | `/v1/paths`                            | GET               | the paths of this node's files           |
//! | `/v1/doctor`                           | GET               | findings about this node, with advice    |
//! | `/v1/backup`                           | GET               | the rows of the store                    |
//! | `/v1/kept`, `/v1/kept/{id}`            | GET               | contents that Larder replaced here       |
//! | `/v1/kept/{id}/restoration`            | POST              | writes such contents back                |
//! | `/v1/joins`                            | POST              | joins a group by an invite code          |
//! | `/v1/pairing`                          | GET, POST, DELETE | this node's join request, without a code |
//! | `/v1/pairing/digits`                   | PUT               | confirms the digits of that request      |
//! | `/v1/groups`                           | GET, POST         | the groups of this node                  |
//! | `/v1/groups/{group}`                   | DELETE            | ends the group for all members           |
//! | `.../membership`                       | DELETE            | leaves the group                         |
//! | `.../recovery`                         | POST              | makes this node an admin by recovery key |
//! | `.../members`                          | GET               | members, and other discovered nodes      |
//! | `.../members/{node}`                   | DELETE            | removes a member                         |
//! | `.../members/{node}/role`              | PUT               | a member's role                          |
//! | `.../members/{node}/observed`          | DELETE            | the status reports of a former member    |
//! | `.../members/{node}/ping`              | POST              | the round trip to a member               |
//! | `.../members/{node}/replacement`       | POST              | this node replaces that one              |
//! | `.../invites`, `.../invites/{invite}`  | GET, POST; DELETE | the invites that were made here          |
//! | `.../join-requests`                    | GET               | nodes that wait to be admitted           |
//! | `.../join-requests/{node}`             | DELETE            | rejects a join request                   |
//! | `.../join-requests/{node}/approval`    | POST              | admits a node                            |
//! | `.../quarantine`                       | GET               | unaccepted changes, with reasons         |
//! | `.../quarantine/{readmit,rewrite}`     | POST              | accepts them, or writes them again       |
//! | `.../changes`                          | GET, POST         | the log; writes one change               |
//! | `.../changes/{id}`                     | GET               | one change; `KIND/NAME`: the newest of it |
//! | `.../plan`                             | POST              | what a write would change                |
//! | `.../reverts`                          | POST              | undo, revert or restore, as one change   |
//! | `.../tags`                             | GET               | names of points of the history           |
//! | `.../resources`                        | GET               | the resources of the desired state       |
//! | `.../resources/{kind}/{name}`          | GET               | the fields of one resource               |
//! | `.../resources/{kind}/{name}/blame`    | GET               | who wrote each field                     |
//! | `.../resources/{kind}/{name}/editable` | GET               | its manifest, or a template              |
//! | `.../manifest`                         | GET               | resources as a manifest                  |
//! | `.../status`, `.../conflicts`          | GET               | resource states; unresolved conflicts    |
//! | `.../diff`, `.../drift`                | GET               | differences of points, and of nodes      |
//! | `.../heads`                            | GET               | digest and heads                         |
//! | `.../sync`                             | GET, POST, PUT    | the state of sync; sync now; pause       |
//! | `.../document`                         | GET               | the document as one Automerge file       |
//! | `.../document/authors`                 | GET               | the nodes behind its Automerge actors    |
//! | `.../document/plan`                    | POST              | what that file's values would change     |
//! | `.../events`                           | GET               | events, one a line, until the caller ends |
//! | `.../verification`                     | GET               | verifies the whole store, one line a step |
//!
//! `...` stands for `/v1/groups/{group}`; `{group}` is a name, a prefix of the id, or `-` for the only group
//! of this node. Every response is one JSON document of a [`crate::dto`] type, except for the two streams of
//! lines and the two files. Every error is a `larder.error/1`.

pub mod admin;
mod backup;
mod blame;
pub mod doc;
mod doctor;
mod edit;
pub mod groups;
mod history;
pub mod join_requests;
pub mod kept;
mod listener;
mod manifest_template;
pub mod members;
mod node_diff;
pub mod params;
mod quarantine;
mod record_summary;
pub mod replace;
mod resources;
pub mod revert;
pub mod status;
mod verify;
mod warnings;
mod watch;
pub mod writes;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use larder_core::node::{Node, Request, RequestError, Response as NodeResponse};

pub use listener::{RequestUser, SocketListener};

use crate::daemon::{DaemonHandle, EventBus};
use crate::data_dir::DataDir;
use crate::dto::{HasSchema, WithSchema};
use crate::error::{CliError, ExitKind};
use crate::limits;
use crate::provider::Providers;

/// The parts of the daemon that request handlers use.
#[derive(Clone, Debug)]
pub struct ApiContext {
    /// The handle of the owner task.
    pub handle: DaemonHandle,
    /// The paths of this node's files.
    pub data_dir: Arc<DataDir>,
    /// The providers of this host.
    pub providers: Arc<Providers>,
    /// The event bus, from which `watch` reads.
    pub event_bus: EventBus,
}

impl ApiContext {
    /// Has the node carry out a request, and waits for its answer. Dropping the future cancels the request.
    async fn request(&self, request: Request) -> Result<NodeResponse, CliError> {
        match self.handle.request_node(request).await? {
            Ok(response) => Ok(response),
            Err(error) => Err(self.handle.query(move |local_node| request_error(local_node, error)).await?),
        }
    }
}

/// The error of a request, in words for the operator.
fn request_error(local_node: &Node, error: RequestError) -> CliError {
    match error {
        RequestError::MembershipEnded(group) => warnings::membership_error(local_node, &group),
        other => other.into(),
    }
}

fn unexpected_response() -> CliError {
    CliError::failed("the node gave the response of another request; please report this")
}

/// The result of a handler.
type ApiResult<V> = Result<JsonResponse<V>, CliError>;

/// A JSON response.
#[derive(Debug)]
pub struct JsonResponse<V>(pub V);

impl<V: HasSchema> IntoResponse for JsonResponse<V> {
    fn into_response(self) -> Response {
        json_response(StatusCode::OK, &self.0)
    }
}

impl IntoResponse for CliError {
    fn into_response(self) -> Response {
        let status = match self.exit {
            ExitKind::Usage => StatusCode::BAD_REQUEST,
            ExitKind::NotFound => StatusCode::NOT_FOUND,
            ExitKind::Refused => StatusCode::CONFLICT,
            ExitKind::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
            ExitKind::Partial => StatusCode::ACCEPTED,
            ExitKind::Failed | ExitKind::Differs => StatusCode::INTERNAL_SERVER_ERROR,
        };
        json_response(status, &self)
    }
}

fn json_response<V: HasSchema>(status: StatusCode, value: &V) -> Response {
    match serde_json::to_vec(&WithSchema::new(value)) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// The JSON body of a request. An invalid body is a `larder.error/1`.
#[derive(Debug, FromRequest)]
#[from_request(via(axum::Json), rejection(CliError))]
pub struct RequestBody<T>(pub T);

/// The query parameters of a request. Invalid parameters are a `larder.error/1`.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(CliError))]
pub struct QueryParams<T>(pub T);

impl From<JsonRejection> for CliError {
    fn from(rejection: JsonRejection) -> Self {
        let text = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => format!(
                "the request is longer than the {} bytes that the daemon reads; write it in several steps",
                limits::MAX_REQUEST_BYTES
            ),
            _ => format!("the body of the request is not valid: {}", rejection.body_text()),
        };
        Self::usage(text)
    }
}

impl From<QueryRejection> for CliError {
    fn from(rejection: QueryRejection) -> Self {
        Self::usage(format!("the parameters of the request are not valid: {}", rejection.body_text()))
    }
}

fn router(api: ApiContext) -> Router {
    Router::new()
        .route("/v1/paths", get(groups::get_paths))
        .route("/v1/doctor", get(doctor::doctor))
        .route("/v1/backup", get(backup::dump_store))
        .route("/v1/kept", get(kept::list_kept))
        .route("/v1/kept/{id}", get(kept::get_kept))
        .route("/v1/kept/{id}/restoration", post(kept::restore_kept))
        .route("/v1/joins", post(members::join_group))
        .route(
            "/v1/pairing",
            get(join_requests::pairing_status)
                .post(join_requests::start_pairing)
                .delete(join_requests::cancel_pairing),
        )
        .route("/v1/pairing/digits", put(join_requests::confirm_pairing))
        .route("/v1/groups", get(groups::list_groups).post(groups::post_group))
        .route("/v1/groups/{group}", delete(admin::delete_group))
        .nest("/v1/groups/{group}", membership_routes().merge(history_routes()).merge(resource_routes()))
        .fallback(|| async { CliError::not_found("no such path in this version of the local API") })
        .layer(DefaultBodyLimit::max(limits::MAX_REQUEST_BYTES))
        .with_state(api)
}

fn membership_routes() -> Router<ApiContext> {
    Router::new()
        .route("/membership", delete(admin::leave_group))
        .route("/recovery", post(admin::recover_group))
        .route("/members", get(members::list_nodes))
        .route("/members/{node}", delete(admin::remove_member))
        .route("/members/{node}/role", put(admin::put_role))
        .route("/members/{node}/observed", delete(admin::forget_member))
        .route("/members/{node}/ping", post(members::ping_node))
        .route("/members/{node}/replacement", post(replace::replace_node))
        .route("/invites", get(members::list_invites).post(members::post_invite))
        .route("/invites/{invite}", delete(members::revoke_invite))
        .route("/join-requests", get(join_requests::list_join_requests))
        .route("/join-requests/{node}", delete(join_requests::reject_join))
        .route("/join-requests/{node}/approval", post(admin::approve_join))
        .route("/quarantine", get(quarantine::list_quarantine))
        .route("/quarantine/readmit", post(admin::readmit_changes))
        .route("/quarantine/rewrite", post(admin::rewrite_changes))
}

fn history_routes() -> Router<ApiContext> {
    Router::new()
        .route("/changes", get(history::get_log).post(writes::post_change))
        .route("/changes/{id}", get(history::get_change))
        .route("/plan", post(writes::plan_change))
        .route("/reverts", post(revert::post_revert))
        .route("/tags", get(revert::list_tags))
        .route("/diff", get(history::get_diff))
        .route("/heads", get(status::get_heads))
        .route("/sync", get(status::get_sync).post(status::sync_now).put(status::put_sync))
        .route("/document", get(doc::export))
        .route("/document/authors", get(doc::authors))
        .route("/document/plan", post(doc::plan).layer(DefaultBodyLimit::max(limits::MAX_DOC_PLAN_BYTES)))
        .route("/events", get(watch::watch_group))
        .route("/verification", get(verify::verify_group))
}

fn resource_routes() -> Router<ApiContext> {
    Router::new()
        .route("/resources", get(resources::list_resources))
        .route("/resources/{kind}/{name}", get(resources::get_resource))
        .route("/resources/{kind}/{name}/blame", get(blame::blame))
        .route("/resources/{kind}/{name}/editable", get(edit::edit_buffer))
        .route("/manifest", get(resources::export_manifest))
        .route("/conflicts", get(resources::list_conflicts))
        .route("/status", get(status::get_status))
        .route("/drift", get(node_diff::diff_nodes))
}
