//! The checks of `doctor`: findings about this node, with advice.

use std::collections::BTreeSet;

use axum::extract::State;
use larder_core::id::NodeId;
use larder_core::node::{GroupState, Node, NodeState};
use larder_core::resource::path_conflict::all_conflicts;

use super::{ApiContext, ApiResult, JsonResponse, warnings};
use crate::dto::{CheckState, DoctorCheck, DoctorReport};
use crate::error::REFETCH_HINT;
use crate::output::pluralize;

pub(super) async fn doctor(State(api): State<ApiContext>) -> ApiResult<DoctorReport> {
    Ok(JsonResponse(DoctorReport { checks: api.handle.query(|local_node| run_checks(local_node)).await? }))
}

/// The checks so far, and the group of the next ones.
struct CheckList {
    group: Option<String>,
    checks: Vec<DoctorCheck>,
}

impl CheckList {
    fn push_check(&mut self, topic: &str, state: CheckState, text: impl Into<String>, hint: Option<&str>) {
        self.checks.push(DoctorCheck {
            group: self.group.clone(),
            topic: topic.to_owned(),
            state,
            text: text.into(),
            hint: hint.map(str::to_owned),
        });
    }
}

fn run_checks(local_node: &Node) -> Vec<DoctorCheck> {
    let mut check_list = CheckList { group: None, checks: Vec::new() };
    match local_node.store_failure() {
        None => check_list.push_check("store", CheckState::Good, "works", None),
        Some(why) => check_list.push_check(
            "store",
            CheckState::Bad,
            format!("cannot be written: {why}"),
            Some("free or repair the disk; the daemon then continues by itself"),
        ),
    }
    check_network(local_node, &mut check_list);
    for (limit, stats) in local_node.limit_stats().iter() {
        let message = format!("{limit}: the limit of {} was reached, {} times", stats.limit, stats.count);
        check_list.push_check(
            "bound",
            CheckState::Care,
            message,
            Some("set log = \"debug\" to see the causes in the daemon's log"),
        );
    }
    if local_node.groups().count() == 0 {
        let join_hint = "create one with `larder init NAME`, or join one with `larder join`";
        check_list.push_check("group", CheckState::Care, "this node is in no group", Some(join_hint));
    }
    for state in local_node.groups() {
        check_list.group = Some(state.group.name().to_owned());
        check_group(local_node, state, &mut check_list);
    }
    check_list.checks
}

fn check_network(local_node: &Node, check_list: &mut CheckList) {
    let addresses = local_node.own_info().addresses;
    if addresses.is_empty() {
        let network_hint = "connect the host to a network, and read the daemon's log on its standard error";
        check_list.push_check(
            "network",
            CheckState::Bad,
            "this node listens on no address",
            Some(network_hint),
        );
    } else {
        check_list.push_check(
            "network",
            CheckState::Good,
            format!("listens on {}", addresses.join(" ")),
            None,
        );
    }
    if let Err(error) = larder_net::check_mdns_port() {
        let text = format!("UDP port 5353 cannot be used: {error}; discovery by mDNS does not work");
        let hint = "another program holds the port for itself: stop it, or name peers with --peer ADDRESS";
        check_list.push_check("discovery", CheckState::Care, text, Some(hint));
    }
    let has_others = |state: &GroupState| local_node.member_infos(state).iter().any(|view| !view.is_self);
    let non_members = local_node.stranger_infos().into_iter().map(|view| view.id);
    let reachable: BTreeSet<NodeId> = local_node
        .groups()
        .flat_map(|state| reachable_members(local_node, state))
        .chain(non_members)
        .collect();
    let reachable_count = reachable.len();
    if reachable_count == 0 && (local_node.groups().count() == 0 || local_node.groups().any(has_others)) {
        let multicast_hint = "where multicast (UDP port 5353) is blocked, start the daemon with --peer \
            ADDRESS of another node";
        check_list.push_check(
            "neighbours",
            CheckState::Care,
            "no other node was found on this network",
            Some(multicast_hint),
        );
    } else {
        check_list.push_check(
            "neighbours",
            CheckState::Good,
            format!("{} found", pluralize(reachable_count, "other node")),
            None,
        );
    }
}

/// The other members that are reachable.
fn reachable_members(local_node: &Node, state: &GroupState) -> Vec<NodeId> {
    let members = local_node.member_infos(state).into_iter();
    members.filter(|view| !view.is_self && view.state == NodeState::Up).map(|view| view.id).collect()
}

fn check_group(local_node: &Node, state: &GroupState, check_list: &mut CheckList) {
    match warnings::not_member_reason(local_node, state) {
        None => {
            let role = state.group.members().role_of(&local_node.own_id());
            let role = role.map(|role| role.to_string()).unwrap_or_default();
            check_list.push_check("membership", CheckState::Good, format!("member, as {role}"), None);
        }
        Some(text) => check_list.push_check(
            "membership",
            CheckState::Care,
            text,
            Some("join again with `larder join CODE`"),
        ),
    }
    check_document(local_node, state, check_list);
    if state.has_duplicate_key {
        // A restored node is expected to meet its old changes. Other nodes should never meet theirs.
        let severity = if state.store_was_copied { CheckState::Care } else { CheckState::Bad };
        check_list.push_check(
            "copies",
            severity,
            warnings::DUPLICATE_KEY,
            Some(warnings::DUPLICATE_KEY_HINT),
        );
    }
    if state.store_was_copied {
        check_list.push_check(
            "copies",
            CheckState::Care,
            warnings::STORE_WAS_COPIED,
            Some(warnings::STORE_WAS_COPIED_HINT),
        );
    }
    for text in warnings::forked_member_warnings(state) {
        check_list.push_check(
            "copies",
            CheckState::Care,
            text,
            Some("stop the copy; see `larder quarantine list`"),
        );
    }
    let unaccepted_count = warnings::unaccepted_desired_count(state);
    if unaccepted_count > 0 {
        let message = format!("{} without effect", pluralize(unaccepted_count, "unaccepted change"));
        check_list.push_check("quarantine", CheckState::Care, message, Some("see `larder quarantine list`"));
    }
    if !state.group.members().unsupported().is_empty() {
        let message = "there are membership records of a kind that this version does not know";
        check_list.push_check("version", CheckState::Care, message, Some("upgrade this node"));
    }
}

fn check_document(local_node: &Node, state: &GroupState, check_list: &mut CheckList) {
    if state.refetching {
        check_list.push_check("copy", CheckState::Bad, "this node's copy was damaged", Some(REFETCH_HINT));
    }
    for shard_id in state.group.shard_states().faulty_shards() {
        let fault = state.group.shard_by_id(&shard_id).and_then(|shard| shard.document().fault().cloned());
        let message = fault.map(|fault| fault.to_string()).unwrap_or_default();
        check_list.push_check(
            "defect",
            CheckState::Bad,
            message,
            Some("restart the daemon, and report this"),
        );
    }
    if state.group.shard_states().is_rebuilding() {
        check_list.push_check(
            "document",
            CheckState::Care,
            "the document is being rebuilt; this takes seconds",
            None,
        );
    }
    if state.paused && state.group.members().is_member(&local_node.own_id()) {
        check_list.push_check(
            "sync",
            CheckState::Care,
            "synchronisation is paused",
            Some("continue with `larder sync resume`"),
        );
    }
    let conflict_count =
        state.group.desired().map_or(0, |desired| all_conflicts(desired, state.group.members()).len());
    if conflict_count > 0 {
        check_list.push_check(
            "conflicts",
            CheckState::Care,
            pluralize(conflict_count, "conflict"),
            Some("see `larder conflicts`"),
        );
    }
}
