//! The local door: HTTP over a Unix socket, one request a command. Whoever may open the socket may do everything that
//! this node may.
//!
//! | path                      | methods          | answers                                              |
//! |---------------------------|------------------|------------------------------------------------------|
//! | `/v1/paths`               | GET              | where this node keeps its things                     |
//! | `/v1/groups`              | GET, POST        | the groups; founds one                               |
//! | `/v1/invites`             | GET, POST        | the invites made here; makes one                     |
//! | `/v1/invites/{id}`        | DELETE           | revokes one                                          |
//! | `/v1/join`                | POST             | joins by a code                                      |
//! | `/v1/ask`                 | GET, POST, DELETE | asks to be let in without a code                    |
//! | `/v1/agree`               | POST             | this node's operator compared the digits             |
//! | `/v1/pending`, `/v1/deny` | GET, POST        | who asks to be let in                                |
//! | `/v1/govern`              | POST             | who is in a group, and what of theirs counts         |
//! | `/v1/replace`             | POST             | this node in another's place                         |
//! | `/v1/quarantine`          | GET              | what is valid and not part of the document           |
//! | `/v1/doctor`              | GET              | what is wrong with this node, and what to do         |
//! | `/v1/nodes`               | GET              | members, and who is seen                             |
//! | `/v1/ping`                | POST             | measures the way to a neighbour                      |
//! | `/v1/write`               | POST             | one atomic change of the desired state               |
//! | `/v1/plan`                | POST             | what that would change                               |
//! | `/v1/back`                | POST             | undoes, reverts or restores, as one change           |
//! | `/v1/tags`                | GET              | the names of points of the past                      |
//! | `/v1/edit`                | GET              | a resource for an editor, or a template of one       |
//! | `/v1/list`, `/v1/get`, `/v1/export` | GET    | the desired state, now or at a point of the past     |
//! | `/v1/status`, `/v1/conflicts` | GET          | how it stands                                        |
//! | `/v1/log`, `/v1/show`, `/v1/diff` | GET      | how it came to be so                                 |
//! | `/v1/doc`, `/v1/doc/authors` | GET          | the document as one Automerge file; who its actors are |
//! | `/v1/doc/plan`            | POST             | what the values of such a file would change          |
//! | `/v1/backup`              | GET              | the store, row by row                                |
//! | `/v1/watch`               | GET              | what happens, line by line, until the caller hangs up |
//! | `/v1/diff/nodes`          | GET              | what nodes run against what is wanted                |
//! | `/v1/blame`               | GET              | who wrote what stands                                |
//! | `/v1/verify`              | GET              | whether all that is stored is as it was signed, in lines |
//! | `/v1/heads`, `/v1/sync`   | GET, POST        | who has what; sync now, pause, resume                |
//!
//! Every answer is one JSON document of a [`crate::view`], but for `/v1/watch` and `/v1/verify`, which are one a line; every refusal is a
//! `larder.error/1`.

pub mod admin;
mod backup;
mod blame;
pub mod doc;
mod doctor;
mod edit;
pub mod groups;
mod history;
pub mod join_requests;
mod listener;
mod manifest_template;
pub mod members;
pub mod name_lookup;
mod node_diff;
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
use axum::routing::{delete, get, post};

pub use listener::{RequestUser, SocketListener};

use crate::daemon::{DaemonHandle, EventBus};
use crate::data_dir::DataDir;
use crate::dto::{HasSchema, WithSchema};
use crate::error::{CliError, ExitKind};
use crate::limits;

/// What every request can reach.
#[derive(Clone, Debug)]
pub struct ApiContext {
    /// The machine.
    pub handle: DaemonHandle,
    /// This node's paths.
    pub data_dir: Arc<DataDir>,
    /// What those who watch wait for.
    pub event_bus: EventBus,
}

/// An answer.
type ApiResult<V> = Result<JsonResponse<V>, CliError>;

/// A view on its way out.
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

/// A JSON body; what is wrong with one is said like everything else.
#[derive(Debug, FromRequest)]
#[from_request(via(axum::Json), rejection(CliError))]
pub struct RequestBody<T>(pub T);

/// Query parameters, likewise.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(CliError))]
pub struct QueryParams<T>(pub T);

impl From<JsonRejection> for CliError {
    fn from(rejection: JsonRejection) -> Self {
        Self::usage(format!("the request's body: {}", rejection.body_text()))
    }
}

impl From<QueryRejection> for CliError {
    fn from(rejection: QueryRejection) -> Self {
        Self::usage(format!("the request's parameters: {}", rejection.body_text()))
    }
}

fn router(api: ApiContext) -> Router {
    Router::new()
        .route("/v1/paths", get(groups::get_paths))
        .route("/v1/groups", get(groups::list_groups).post(groups::post_group))
        .route("/v1/invites", get(members::list_invites).post(members::post_invite))
        .route("/v1/invites/{id}", delete(members::revoke_invite))
        .route("/v1/join", post(members::join_group))
        .route(
            "/v1/ask",
            get(join_requests::pairing_status)
                .post(join_requests::start_pairing)
                .delete(join_requests::cancel_pairing),
        )
        .route("/v1/agree", post(join_requests::confirm_pairing))
        .route("/v1/pending", get(join_requests::list_pending))
        .route("/v1/deny", post(join_requests::deny_join))
        .route("/v1/govern", post(admin::run_admin_op))
        .route("/v1/replace", post(replace::replace_node))
        .route("/v1/quarantine", get(quarantine::list_quarantine))
        .route("/v1/doctor", get(doctor::doctor))
        .route("/v1/nodes", get(members::list_nodes))
        .route("/v1/ping", post(members::ping_node))
        .route("/v1/write", post(writes::write_desired))
        .route("/v1/plan", post(writes::plan_write))
        .route("/v1/back", post(revert::revert))
        .route("/v1/tags", get(revert::list_tags))
        .route("/v1/edit", get(edit::edit_buffer))
        .route("/v1/list", get(resources::list_resources))
        .route("/v1/get", get(resources::get_resource))
        .route("/v1/export", get(resources::export_manifest))
        .route("/v1/conflicts", get(resources::list_conflicts))
        .route("/v1/status", get(status::get_status))
        .route("/v1/heads", get(status::get_heads))
        .route("/v1/sync", get(status::get_sync).post(status::control_sync))
        .route("/v1/log", get(history::get_log))
        .route("/v1/show", get(history::get_change))
        .route("/v1/diff", get(history::get_diff))
        .route("/v1/diff/nodes", get(node_diff::diff_nodes))
        .route("/v1/doc", get(doc::export))
        .route("/v1/backup", get(backup::dump_store))
        .route("/v1/doc/authors", get(doc::authors))
        .route("/v1/doc/plan", post(doc::plan).layer(DefaultBodyLimit::max(limits::MAX_DOC_PLAN_BYTES)))
        .route("/v1/watch", get(watch::watch_group))
        .route("/v1/blame", get(blame::blame))
        .route("/v1/verify", get(verify::verify_group))
        .fallback(|| async { CliError::not_found("no such path in this version of the local API") })
        .layer(DefaultBodyLimit::max(limits::MAX_REQUEST_BYTES))
        .with_state(api)
}
