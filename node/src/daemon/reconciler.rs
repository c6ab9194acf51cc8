//! The reconciler: applies the desired state of the groups to this host, a few resources at a time, and
//! reports the state of each.
//!
//! It wakes when the desired state changes, and to retry resources that failed. A resource that hangs
//! occupies one worker only. While a worker applies a resource, the newest target waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use larder_core::backoff::Backoff;
use larder_core::id::{ChangeId, GroupId};
use larder_core::resource::ResourceName;
use larder_core::resource::observed::{CHANGE_PREFIX_HEX_DIGITS, ObservedState, ResourceState};
use larder_core::resource::plan::{AppliedFields, FieldValues, Target, plan_targets};
use larder_core::store::{Row, RowReader, Table, decode_layout, key};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::dirty_groups::DirtyGroups;
use super::handle::{DaemonHandle, DaemonStopping};
use super::stop::stop_requested;
use crate::limits;
use crate::provider::{AppliedState, ApplyOutcome, PathOwner, Providers};
use crate::store::{Store, StoreError};
use crate::time::wall_clock_seconds;

/// One resource of one group.
type ResourceKey = (GroupId, ResourceName);

/// The work on one resource.
struct ResourceTask {
    /// The target to apply next.
    pending_target: Option<Target>,
    /// The target that was applied last.
    last_target: Option<Target>,
    /// True while a worker applies the resource.
    is_running: bool,
    /// True if it was blocked by something on this host.
    is_blocked_by_host: bool,
    /// The delay after the next failure.
    backoff: Backoff,
    /// When a failed resource is applied again.
    retry_at: Option<Instant>,
}

impl Default for ResourceTask {
    fn default() -> Self {
        let backoff = Backoff::new(limits::APPLY_RETRY_DELAY, limits::APPLY_RETRY_MAX_DELAY);
        Self {
            pending_target: None,
            last_target: None,
            is_running: false,
            is_blocked_by_host: false,
            backoff,
            retry_at: None,
        }
    }
}

/// The task that applies the desired state to this host.
pub(super) struct Reconciler {
    handle: DaemonHandle,
    providers: Arc<Providers>,
    applied: BTreeMap<GroupId, AppliedFields>,
    group_names: BTreeMap<GroupId, String>,
    tasks: BTreeMap<ResourceKey, ResourceTask>,
    workers: JoinSet<(ResourceKey, Target, ApplyOutcome)>,
}

impl Reconciler {
    pub(super) fn new(
        handle: DaemonHandle,
        providers: Arc<Providers>,
        mut applied: BTreeMap<GroupId, AppliedFields>,
    ) -> Self {
        // A crash may have come after a provider wrote, and before that was stored.
        for (owner, fields) in providers.owned_at_start() {
            let applied = applied.entry(owner.group).or_default();
            applied.entry(owner.resource.clone()).or_insert_with(|| fields.clone());
        }
        let (tasks, workers, group_names) = (BTreeMap::new(), JoinSet::new(), BTreeMap::new());
        Self { handle, providers, applied, group_names, tasks, workers }
    }

    /// Reads what this host has applied.
    pub(super) fn read_applied(store: &Store) -> Result<BTreeMap<GroupId, AppliedFields>, StoreError> {
        let mut applied: BTreeMap<GroupId, AppliedFields> = BTreeMap::new();
        for (row_key, value) in store.read_rows(Table::Applied, &[])? {
            let Some((group, name)) = row_key.split_at_checked(16) else { continue };
            let name = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
            // A resource whose row cannot be read is applied again.
            if let (Some(group), Some(name), Some(fields)) =
                (GroupId::from_slice(group), name, decode_layout::<FieldValues>(&value))
            {
                applied.entry(group).or_default().insert(name, fields);
            }
        }
        Ok(applied)
    }

    /// Runs until the daemon stops.
    pub(super) async fn run(mut self, dirty_groups: Arc<DirtyGroups>, mut stop: watch::Receiver<bool>) {
        loop {
            let next_retry =
                self.tasks.values().filter(|task| !task.is_running).filter_map(|task| task.retry_at).min();
            let result = tokio::select! {
                biased;
                () = stop_requested(&mut stop) => break,
                Some(finished) = self.workers.join_next() => match finished {
                    Ok((key, target, outcome)) => self.on_applied(key, target, outcome).await,
                    Err(error) => {
                        tracing::error!(%error, "a provider crashed");
                        Ok(())
                    }
                },
                groups = dirty_groups.take_dirty() => self.refresh_targets(groups).await,
                () = sleep_until(next_retry) => {
                    self.requeue_failed();
                    Ok(())
                }
            };
            if result.is_err() {
                break;
            }
            self.start_workers();
        }
        let drain_workers = async { while self.workers.join_next().await.is_some() {} };
        drop(tokio::time::timeout(limits::SHUTDOWN_TIMEOUT, drain_workers).await);
    }

    /// Plans the targets of the groups that changed.
    async fn refresh_targets(&mut self, groups: BTreeSet<GroupId>) -> Result<(), DaemonStopping> {
        for group in groups {
            let applied = self.applied.get(&group).cloned().unwrap_or_default();
            let targets = self.handle.query(move |local_node| {
                let own_id = local_node.own_id();
                // A damaged copy may lack resources, so nothing is applied from it.
                let state = local_node.group(&group).filter(|state| !state.refetching)?;
                let targets = plan_targets(state.group.desired()?, state.group.members(), &own_id, &applied);
                Some((state.group.name().to_owned(), targets))
            });
            let Some((group_name, targets)) = targets.await? else { continue };
            self.group_names.insert(group, group_name);
            for target in targets {
                let task = self.tasks.entry((group, target.resource.clone())).or_default();
                let is_current = !task.is_running && task.last_target.as_ref() == Some(&target);
                task.pending_target = (!is_current).then_some(target);
            }
        }
        Ok(())
    }

    fn requeue_failed(&mut self) {
        let now = Instant::now();
        for task in
            self.tasks.values_mut().filter(|task| task.retry_at.is_some_and(|retry_at| retry_at <= now))
        {
            task.retry_at = None;
            if task.pending_target.is_none() {
                task.pending_target = task.last_target.clone();
            }
        }
    }

    /// Starts workers for the waiting targets.
    fn start_workers(&mut self) {
        for ((group, resource), task) in &mut self.tasks {
            if self.workers.len() >= limits::MAX_APPLY_WORKERS {
                return;
            }
            if task.is_running {
                continue;
            }
            let Some(target) = task.pending_target.take() else { continue };
            task.is_running = true;
            task.retry_at = None;
            let applied = self.applied.get(group).and_then(|runs| runs.get(resource)).cloned();
            let key = (*group, resource.clone());
            let group_name = self.group_names.get(group).cloned().unwrap_or_default();
            let owner = PathOwner { group: *group, group_name, resource: resource.clone() };
            let providers = Arc::clone(&self.providers);
            self.workers.spawn_blocking(move || {
                let apply = std::panic::AssertUnwindSafe(|| {
                    providers.apply_target(&owner, &target, applied.as_ref())
                });
                let outcome = std::panic::catch_unwind(apply).unwrap_or_else(|_| ApplyOutcome {
                    state: ResourceState::Failed,
                    errno: 0,
                    message: "the provider crashed; please report this".to_owned(),
                    applied: AppliedState::Unchanged,
                    is_retried: true,
                });
                (key, target, outcome)
            });
        }
    }

    /// Stores what this host has applied, and reports the state of the resource.
    async fn on_applied(
        &mut self,
        key: ResourceKey,
        target: Target,
        outcome: ApplyOutcome,
    ) -> Result<(), DaemonStopping> {
        let (group, resource) = key.clone();
        let state_name = outcome.state.as_str().to_owned();
        tracing::info!(group = %group.short(), %resource, state = state_name, "applied a resource");
        let task = self.tasks.entry(key).or_default();
        task.is_running = false;
        task.is_blocked_by_host = outcome.is_retried && outcome.state == ResourceState::Blocked;
        if outcome.is_retried {
            task.retry_at = Some(Instant::now() + task.backoff.next_delay());
        } else {
            task.backoff.reset();
            task.retry_at = None;
        }
        let observed = ObservedState {
            state: outcome.state,
            change: target
                .change
                .map(|id: ChangeId| id.to_string().chars().take(CHANGE_PREFIX_HEX_DIGITS).collect())
                .unwrap_or_default(),
            revision: target.revision.clone(),
            since: wall_clock_seconds(),
            code: outcome.errno,
            message: outcome.message,
        };
        task.last_target = Some(target);
        self.retry_blocked_if_freed(group, &resource, &outcome.applied);
        self.record_applied(group, &resource, outcome.applied).await?;
        self.handle.report_observed(group, vec![(resource, observed)]).await
    }

    /// A resource that gave up its path may have been in the way of others.
    fn retry_blocked_if_freed(&mut self, group: GroupId, resource: &ResourceName, new_state: &AppliedState) {
        let path_before = self.applied.get(&group).and_then(|applied| applied.get(resource)?.get("path"));
        let is_freed = match new_state {
            AppliedState::Unchanged => false,
            AppliedState::Now(fields) => path_before.is_some() && path_before != fields.get("path"),
            AppliedState::Nothing => path_before.is_some(),
        };
        let blocked = self.tasks.values_mut().filter(|task| is_freed && task.is_blocked_by_host);
        blocked.for_each(|task| task.retry_at = Some(Instant::now()));
    }

    async fn record_applied(
        &mut self,
        group: GroupId,
        resource: &ResourceName,
        new_state: AppliedState,
    ) -> Result<(), DaemonStopping> {
        let row_key = key::applied(group, &resource.to_string());
        let applied = self.applied.entry(group).or_default();
        match new_state {
            AppliedState::Now(fields) if applied.get(resource) != Some(&fields) => {
                let row = Row::put_encoded(Table::Applied, row_key, &fields);
                applied.insert(resource.clone(), fields);
                self.handle.store_rows(vec![row]).await
            }
            AppliedState::Nothing if applied.remove(resource).is_some() => {
                self.handle.store_rows(vec![Row::remove(Table::Applied, row_key)]).await
            }
            _ => Ok(()),
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => tokio::time::sleep(Duration::from_secs(3600)).await,
    }
}
