//! Contents that Larder replaced or removed on this host but had not written.

use axum::extract::{Path, State};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::{ApiContext, ApiResult, JsonResponse, RequestBody};
use crate::dto::{JsonTime, KeptContents, KeptList, KeptVersion, RestoredKept};
use crate::error::{CliError, ExitKind};
use crate::limits;
use crate::provider::{KeptEntry, Providers};

/// Body of `POST /v1/kept/{id}/restoration`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RestoreKeptBody {
    /// The path to write to, as a resource would name it. The path where the contents were, if missing.
    pub path: Option<String>,
}

pub(super) async fn list_kept(State(api): State<ApiContext>) -> ApiResult<KeptList> {
    let kept = api.providers.kept_files().list().into_iter().map(kept_version).collect();
    Ok(JsonResponse(KeptList {
        kept,
        max_bytes: limits::MAX_KEPT_BYTES,
        max_seconds: limits::MAX_KEPT_SECONDS,
    }))
}

pub(super) async fn get_kept(
    State(api): State<ApiContext>,
    Path(id): Path<String>,
) -> ApiResult<KeptContents> {
    run_blocking(move || {
        let entry = find_kept(&api.providers, &id)?;
        let contents = api.providers.kept_files().read(&entry);
        let contents = contents.map_err(|error| CliError::failed(format!("cannot read {id}: {error}")))?;
        let version = kept_version(entry);
        Ok(JsonResponse(KeptContents { version, base64: BASE64.encode(&contents) }))
    })
    .await
}

pub(super) async fn restore_kept(
    State(api): State<ApiContext>,
    Path(id): Path<String>,
    RequestBody(body): RequestBody<RestoreKeptBody>,
) -> ApiResult<RestoredKept> {
    run_blocking(move || {
        let entry = find_kept(&api.providers, &id)?;
        let path = body.path.unwrap_or_else(|| entry.path.clone());
        let restored = api.providers.restore_kept(&entry, &path);
        let replaced = restored.map_err(|error| {
            CliError::new(ExitKind::Refused, "refused", error.to_string())
                .with_hint("name another path below a root, or print the contents with `larder kept show`")
        })?;
        Ok(JsonResponse(RestoredKept { id: entry.id, path, replaced }))
    })
    .await
}

async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CliError> + Send + 'static,
) -> Result<T, CliError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| CliError::failed(format!("a task of the daemon failed: {error}")))?
}

fn find_kept(providers: &Providers, id: &str) -> Result<KeptEntry, CliError> {
    let mut found = providers.kept_files().find(id);
    match (found.pop(), found.len()) {
        (Some(entry), 0) => Ok(entry),
        (Some(_), more) => {
            Err(CliError::not_found(format!("{} kept contents begin with {id}; give more digits", more + 1)))
        }
        (None, _) => Err(CliError::not_found(format!("no kept contents have the id {id}"))
            .with_hint("`larder kept` lists them")),
    }
}

fn kept_version(entry: KeptEntry) -> KeptVersion {
    KeptVersion {
        id: entry.id,
        path: entry.path,
        time: JsonTime(entry.time),
        reason: entry.reason,
        resource: entry.resource,
        size: entry.size,
        mode: format!("{:04o}", entry.mode),
    }
}
