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

pub mod back;
mod backup;
mod blame;
pub mod doc;
mod doctor;
mod door;
mod edit;
pub mod entry;
pub mod govern;
pub mod groups;
mod history;
pub mod members;
pub mod names;
mod nodediff;
mod quarantine;
pub mod replace;
mod resources;
pub mod standing;
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

pub use door::{Door, User};

use crate::daemon::{Handle, News};
use crate::failure::{Exit, Failure};
use crate::limits;
use crate::place::Place;
use crate::view::{Tagged, View};

/// What every request can reach.
#[derive(Clone, Debug)]
pub struct Api {
    /// The machine.
    pub handle: Handle,
    /// This node's paths.
    pub place: Arc<Place>,
    /// What those who watch wait for.
    pub news: News,
}

/// An answer.
type Reply<V> = Result<Shown<V>, Failure>;

/// A view on its way out.
#[derive(Debug)]
pub struct Shown<V>(pub V);

impl<V: View> IntoResponse for Shown<V> {
    fn into_response(self) -> Response {
        respond(StatusCode::OK, &self.0)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self.exit {
            Exit::Usage => StatusCode::BAD_REQUEST,
            Exit::NotFound => StatusCode::NOT_FOUND,
            Exit::Refused => StatusCode::CONFLICT,
            Exit::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
            Exit::Partial => StatusCode::ACCEPTED,
            Exit::Failed | Exit::Differs => StatusCode::INTERNAL_SERVER_ERROR,
        };
        respond(status, &self)
    }
}

fn respond<V: View>(status: StatusCode, view: &V) -> Response {
    match serde_json::to_vec(&Tagged::new(view)) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// A JSON body; what is wrong with one is said like everything else.
#[derive(Debug, FromRequest)]
#[from_request(via(axum::Json), rejection(Failure))]
pub struct Body<T>(pub T);

/// Query parameters, likewise.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Failure))]
pub struct Query<T>(pub T);

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        Self::usage(format!("the request's body: {}", rejection.body_text()))
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        Self::usage(format!("the request's parameters: {}", rejection.body_text()))
    }
}

fn router(api: Api) -> Router {
    Router::new()
        .route("/v1/paths", get(groups::paths))
        .route("/v1/groups", get(groups::list).post(groups::create))
        .route("/v1/invites", get(members::invites).post(members::invite))
        .route("/v1/invites/{id}", delete(members::revoke))
        .route("/v1/join", post(members::join))
        .route("/v1/ask", get(entry::asking).post(entry::ask).delete(entry::stop))
        .route("/v1/agree", post(entry::agree))
        .route("/v1/pending", get(entry::pending))
        .route("/v1/deny", post(entry::deny))
        .route("/v1/govern", post(govern::govern))
        .route("/v1/replace", post(replace::replace))
        .route("/v1/quarantine", get(quarantine::list))
        .route("/v1/doctor", get(doctor::doctor))
        .route("/v1/nodes", get(members::nodes))
        .route("/v1/ping", post(members::ping))
        .route("/v1/write", post(writes::write))
        .route("/v1/plan", post(writes::plan))
        .route("/v1/back", post(back::back))
        .route("/v1/tags", get(back::tags))
        .route("/v1/edit", get(edit::edit))
        .route("/v1/list", get(resources::list))
        .route("/v1/get", get(resources::get))
        .route("/v1/export", get(resources::export))
        .route("/v1/conflicts", get(resources::conflicts))
        .route("/v1/status", get(standing::status))
        .route("/v1/heads", get(standing::heads))
        .route("/v1/sync", get(standing::sync).post(standing::steer))
        .route("/v1/log", get(history::log))
        .route("/v1/show", get(history::show))
        .route("/v1/diff", get(history::diff))
        .route("/v1/diff/nodes", get(nodediff::nodes))
        .route("/v1/doc", get(doc::export))
        .route("/v1/backup", get(backup::rows))
        .route("/v1/doc/authors", get(doc::authors))
        .route("/v1/doc/plan", post(doc::plan).layer(DefaultBodyLimit::max(limits::DOC_PLAN_BYTES)))
        .route("/v1/watch", get(watch::watch))
        .route("/v1/blame", get(blame::blame))
        .route("/v1/verify", get(verify::verify))
        .fallback(|| async { Failure::not_found("no such path in this version of the local API") })
        .layer(DefaultBodyLimit::max(limits::REQUEST_BYTES))
        .with_state(api)
}
