//! The authors of the fields and lines of a resource.

use axum::extract::State;
use larder_core::history;
use larder_core::node::{GroupState, Node};
use larder_core::resource::ResourceName;
use larder_core::resource::spelling;
use larder_core::store::Table;

use super::history::{head_ids, heads_at};
use super::params::{GroupPath, ResourcePath, group_state, node_ref, parse_resource};
use super::resources::FieldQuery;
use super::{ApiContext, ApiResult, JsonResponse, QueryParams};
use crate::dto::{BlameField, BlameLine, BlameReport, ChangeOrigin, JsonTime, JsonValue};
use crate::error::CliError;
use crate::store::StoreReader;

pub(super) async fn blame(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    ResourcePath(resource): ResourcePath,
    QueryParams(params): QueryParams<FieldQuery>,
) -> ApiResult<BlameReport> {
    let reader = api.event_bus.reader();
    let query = move |local_node: &mut Node| {
        read_blame(group_state(local_node, &group)?, &reader, &parse_resource(&resource)?, &params)
    };
    api.handle.query(query).await?.map(JsonResponse)
}

fn read_blame(
    state: &GroupState,
    reader: &StoreReader,
    name: &ResourceName,
    params: &FieldQuery,
) -> Result<BlameReport, CliError> {
    let desired = state.desired_shard()?;
    let normalize_path = |text: &str| {
        let path = spelling::parse_path(name, text).map_err(|error| CliError::not_found(error.to_string()));
        path.map(|path| path.to_string())
    };
    let field = params.field.as_deref().map(normalize_path).transpose()?;
    let at = params.at.as_deref().map(|at| heads_at(desired, at)).transpose()?;
    let heads = at.clone().unwrap_or_else(|| desired.graph().heads());
    let changes = reader.open_table(Table::Changes);
    let read_change = |key: &[u8]| changes.as_ref()?.get(key);
    let fields = history::blame(&state.group, name, field.as_deref(), &heads, &read_change);
    if fields.is_empty() {
        let at_suffix = if at.is_some() { " then" } else { "" };
        return Err(match &params.field {
            Some(field) => CliError::not_found(format!("{name} has no field `{field}`{at_suffix}"))
                .with_hint(format!("see `larder blame {name}`")),
            None => CliError::not_found(format!("no resource {name} here{at_suffix}"))
                .with_hint("see `larder list`"),
        });
    }
    Ok(BlameReport {
        resource: name.to_string(),
        at: at.map(|at| head_ids(desired, &at)),
        fields: fields.into_iter().map(|blamed| blame_field(state, blamed)).collect(),
    })
}

fn blame_field(state: &GroupState, blamed: history::FieldBlame) -> BlameField {
    let blame_line = |line: history::LineBlame| BlameLine {
        text: line.text,
        origin: change_origin(state, line.origin),
        may_be_older: line.may_be_older,
    };
    BlameField {
        field: blamed.field,
        value: JsonValue(blamed.value),
        origin: change_origin(state, blamed.origin),
        lines: blamed.lines.into_iter().map(blame_line).collect(),
    }
}

fn change_origin(state: &GroupState, author: history::ChangeOrigin) -> ChangeOrigin {
    ChangeOrigin {
        change: author.change.to_string(),
        node: author.node.map(|node| node_ref(state, &node)),
        user: author.user,
        time: JsonTime(author.time),
    }
}
