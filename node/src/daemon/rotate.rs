//! `rotate`: gives a node a new key while no daemon runs. In every group, the next key takes over the grant.
//!
//! ```text
//! node.key.next   the next key, written before anything refers to it
//! store.redb      one commit: in every group the grant of the next key and the end of the old grant,
//!                 and the id of the node that owns the store
//! groups.kept     the second copy of the records
//! node.key        <- node.key.next
//! ```
//!
//! After an interruption the store shows whether the commit was made. [`finish_rotation`] then completes the
//! rotation, or undoes it.

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

use super::clock::ProcessClock;
use super::open::{OpenArgs, OpenedNode};
use crate::backup::restore::daemon_running_error;
use crate::data_dir::{DataDir, create_secret_file, read_text_file};
use crate::dto::RotateResult;
use crate::error::{CliError, ExitKind};
use crate::identity;
use crate::store::{MembershipBackup, Store, damaged_store_error};

/// Gives the node in `data_dir` a new key. `user` and `message` become the author and reason of the records.
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
    let OpenedNode { node, initial_effects, daemon_rows, store, .. } = opened;
    let mut runner = OfflineRunner { node, clock, rows: daemon_rows.identity_rows };
    runner.run_effects(initial_effects);
    let groups = runner.rotate_in_groups(old, next_secret.node_id(), user, message)?;
    runner.rows.push(Row::put(Table::Meta, b"node".to_vec(), next_secret.node_id().0.to_vec()));

    let cannot_write = |target: &str, error: &dyn std::fmt::Display| {
        CliError::failed(format!("cannot write {target}: {error}")).with_hint(
            "nothing was changed; make the data directory writable, and free some space on its disk",
        )
    };
    let next_key_file = data_dir.next_key_file();
    create_secret_file(&next_key_file, identity::format_key(&next_secret))
        .map_err(|error| cannot_write(&next_key_file.display().to_string(), &error))?;
    store.commit(&runner.rows).map_err(|error| cannot_write("the store", &error))?;
    // The rotation is committed. `finish_rotation` completes it if one of the next steps fails.
    MembershipBackup::new(data_dir.membership_backup_file())
        .update(&store)
        .map_err(|error| unfinished_rotation(&error))?;
    drop(store);
    install_next_key(data_dir).map_err(|error| unfinished_rotation(&error))?;
    Ok(RotateResult { old: old.to_string(), new: next_secret.node_id().to_string(), groups })
}

/// Completes an interrupted rotation, or undoes it if it was not committed.
pub(super) fn finish_rotation(data_dir: &DataDir) -> Result<(), CliError> {
    let (next_key_file, store_path) = (data_dir.next_key_file(), data_dir.store_file());
    let text = match read_text_file(&next_key_file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(CliError::failed(format!("cannot read {}: {error}", next_key_file.display())));
        }
    };
    // A store that cannot be opened does not show its owner. Both keys then stay.
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
    CliError::failed(format!("the node has a new key, but the key file could not be replaced: {error}"))
        .with_hint("free or repair the disk; the next start of the daemon replaces the key file")
}

/// A node without a network, with the rows to store.
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

    /// Rotates the key in all groups, or in none. Returns the names of the groups.
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
                None => return Err(CliError::failed("the node did not answer; please report this")),
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
        format!("this node is {role} in group {group}; only an admin can rotate its key"),
    )
    .with_hint(
        "ask an admin to run `larder role NODE admin` before, and to restore the role afterwards; \
         or join with an empty data directory, and remove the old node",
    )
}
