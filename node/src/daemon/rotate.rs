//! A new key for a node, while no daemon runs: every group hears that the next key stands where this one
//! stood.
//!
//! ```text
//! node.key.next   the next key, on the disk before anything names it
//! store.redb      in one commit: in every group the grant to the next key and the end of this one's,
//!                 and the id of the node that owns the store
//! groups.kept     the records once more
//! node.key        <- node.key.next
//! ```
//!
//! Whatever stops this in between, the store tells whether it was done: [`finish`] ends it, or takes it back.

use std::fs;
use std::io;

use larder_core::id::{GroupId, NodeId, SecretKey};
use larder_core::node::{
    AdminOp, AdminRequest, Effect, Input, MembershipStatus, Node, Request, RequestError, RequestId, Response,
    offline,
};
use larder_core::record::Role;
use larder_core::resource::view::NodeLabels;
use larder_core::store::{Row, Table};

use super::open::{OpenArgs, OpenedNode};
use super::owner::ProcessClock;
use crate::backup::restore::daemon_running_error;
use crate::data_dir::{DataDir, create_secret_file, read_text_file};
use crate::dto::RotateResult;
use crate::error::{CliError, ExitKind};
use crate::identity;
use crate::store::{MembershipBackup, Store, damaged_store_error};

/// Gives the node at `place` a new key. `user` and `words` say who did it, and why.
pub fn rotate_key(data_dir: &DataDir, user: &str, message: &str) -> Result<RotateResult, CliError> {
    let store_path = data_dir.store_file();
    if !store_path.exists() || !data_dir.key_file().exists() {
        return Err(CliError::not_found(format!("there is no node in {}", data_dir.path.display()))
            .with_hint("name its data directory with --data"));
    }
    if Store::is_in_use(&store_path) {
        return Err(daemon_running_error(&data_dir.path).with_hint("stop it, rotate, and start it again"));
    }
    finish_rotation(data_dir)?;
    let secret = identity::load_or_create_key(data_dir)?;
    let (old, next_secret) = (secret.node_id(), SecretKey::from_bytes(&identity::random_seed()?));
    let clock = ProcessClock::start_now();
    let opened = OpenArgs { data_dir: data_dir.clone(), secret, clock }.open()?;
    let OpenedNode { machine: node, first: initial_effects, kept: daemon_rows, store, .. } = opened;
    let mut runner = OfflineRunner { node, clock, rows: daemon_rows.identity_rows };
    runner.run_effects(initial_effects);
    let groups = runner.rotate_in_groups(old, next_secret.node_id(), user, message)?;
    runner.rows.push(Row::put(Table::Meta, b"node".to_vec(), next_secret.node_id().0.to_vec()));

    let cannot_write = |target: &str, error: &dyn std::fmt::Display| {
        CliError::failed(format!("cannot write {target}: {error}"))
            .with_hint("nothing was changed; the data directory must be writable, and have room")
    };
    let next_key_file = data_dir.next_key_file();
    create_secret_file(&next_key_file, identity::format_key(&next_secret))
        .map_err(|error| cannot_write(&next_key_file.display().to_string(), &error))?;
    store.commit(&runner.rows).map_err(|error| cannot_write("the store", &error))?;
    // From here on it is done, and only has to be ended.
    MembershipBackup::new(data_dir.membership_backup_file())
        .update(&store)
        .map_err(|error| unfinished_rotation(&error))?;
    drop(store);
    install_next_key(data_dir).map_err(|error| unfinished_rotation(&error))?;
    Ok(RotateResult { old: old.to_string(), new: next_secret.node_id().to_string(), groups })
}

/// Ends what a rotation began that did not come to its end; if nothing was done yet, takes it back.
pub(super) fn finish_rotation(data_dir: &DataDir) -> Result<(), CliError> {
    let (next_key_file, store_path) = (data_dir.next_key_file(), data_dir.store_file());
    let text = match read_text_file(&next_key_file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(CliError::failed(format!("cannot read {}: {error}", next_key_file.display())));
        }
    };
    // A store that does not open does not tell whose it is: then both keys stay where they are.
    let Some(store) = store_path.exists().then(|| Store::open(&store_path).ok()).flatten() else {
        return Ok(());
    };
    let owner = store
        .get(Table::Meta, b"node")
        .map_err(|error| damaged_store_error(&store_path, &error.to_string()))?;
    let next_id = identity::parse_key(&text).map(|secret| secret.node_id());
    let is_committed = next_id.is_some_and(|next| owner.as_deref() == Some(&next.0[..]));
    let result = if is_committed { install_next_key(data_dir) } else { fs::remove_file(&next_key_file) };
    result.map_err(|error| unfinished_rotation(&error))
}

fn install_next_key(data_dir: &DataDir) -> io::Result<()> {
    fs::rename(data_dir.next_key_file(), data_dir.key_file())?;
    fs::File::open(&data_dir.path)?.sync_all()
}

fn unfinished_rotation(error: &dyn std::fmt::Display) -> CliError {
    CliError::failed(format!("the node has a new key, which is not in place yet: {error}"))
        .with_hint("free or repair the disk; the next start of the daemon puts it in place")
}

/// The machine without a network, and what it wants stored.
struct OfflineRunner {
    node: Node,
    clock: ProcessClock,
    rows: Vec<Row>,
}

impl OfflineRunner {
    /// Keeps the rows of effects for one commit at the end. Returns the response among the effects.
    fn run_effects(&mut self, effects: Vec<Effect>) -> Option<Result<Response, RequestError>> {
        let (rows, now) = (&mut self.rows, self.clock.now());
        let others = offline::carry_out(&mut self.node, now, effects, |batch| rows.extend(batch));
        others.into_iter().find_map(|effect| match effect {
            Effect::Respond { response, .. } => Some(response),
            // No peer is connected, and no provider runs.
            _ => None,
        })
    }

    /// Hands over every membership, or none; answers with the names of the groups.
    fn rotate_in_groups(
        &mut self,
        old: NodeId,
        next_id: NodeId,
        user: &str,
        message: &str,
    ) -> Result<Vec<String>, CliError> {
        let mut groups: Vec<(GroupId, String, NodeLabels)> = Vec::new();
        for state in self.node.groups() {
            let members = state.group.members();
            if MembershipStatus::for_key(members, &old) != MembershipStatus::Member {
                continue;
            }
            let name = state.group.name().to_owned();
            match members.role_of(&old) {
                Some(Role::Admin) => {}
                role => return Err(not_admin_error(&name, role)),
            }
            let desired = state.group.desired().map(|desired| desired.state().clone()).unwrap_or_default();
            groups.push((state.group.id(), name, NodeLabels::read(&desired, members, &old)));
        }
        for (nth, (group, _, labels)) in (1..).zip(&groups) {
            let op = AdminOp::RotateKey {
                new_key: next_id,
                alias: labels.alias.clone().unwrap_or_default(),
                labels: labels.labels.clone().into_iter().collect(),
            };
            let request = AdminRequest {
                group: (*group).into(),
                op,
                user: user.to_owned(),
                message: message.to_owned(),
            };
            let input = Input::Request { request_id: RequestId(nth), request: Request::Admin(request) };
            let effects = self.node.handle(self.clock.now(), input);
            match self.run_effects(effects) {
                Some(result) => drop(result?),
                None => return Err(CliError::failed("a group gave no answer; please report this")),
            }
        }
        Ok(groups.into_iter().map(|(_, name, _)| name).collect())
    }
}

fn not_admin_error(group: &str, role: Option<Role>) -> CliError {
    let role = role.map_or_else(|| "no member".to_owned(), |role| role.to_string());
    CliError::new(
        ExitKind::Refused,
        "role",
        format!("this node is {role} in {group}, and only an admin can hand its membership to another key"),
    )
    .with_hint(
        "an admin can make it one for that (`larder role NODE admin`) and take it back afterwards; \
         or let the machine join anew with an empty data directory, and remove the old node",
    )
}
