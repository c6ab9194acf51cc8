//! The keeper: brings this machine to what its groups want, a few resources at a time, and reports how they stand.
//!
//! It is woken by changes of the desired state only, and by its own wish to try again what failed. A resource that hangs
//! holds one worker and nothing else; while it is at work, newer wishes for it wait and the newest is done next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use larder_core::id::{ChangeId, GroupId};
use larder_core::resource::ResourceName;
use larder_core::resource::observed::{CHANGE, Condition, Observed};
use larder_core::resource::target::{Applied, Fields, Target, targets};
use larder_core::store::{Row, Rows, Table, key, layout};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::changes::Changes;
use super::driver::wall;
use super::handle::{Handle, Stopped};
use super::told_to_stop;
use crate::limits;
use crate::provider::{Providers, Runs, Verdict};
use crate::store::{ReadError, Store};

/// One resource of one group.
type Item = (GroupId, ResourceName);

/// What is known of one resource here.
#[derive(Default)]
struct Task {
    /// What is to be done next.
    wanted: Option<Target>,
    /// What was done last.
    done: Option<Target>,
    /// True while a worker is at it.
    busy: bool,
    /// How often it failed in a row, and when it is tried again.
    failures: u32,
    again: Option<Instant>,
}

/// See the module.
pub(super) struct Keeper {
    handle: Handle,
    providers: Arc<Providers>,
    runs: BTreeMap<GroupId, Applied>,
    tasks: BTreeMap<Item, Task>,
    workers: JoinSet<(Item, Target, Verdict)>,
}

impl Keeper {
    pub(super) fn new(handle: Handle, providers: Providers, runs: BTreeMap<GroupId, Applied>) -> Self {
        let (tasks, workers) = (BTreeMap::new(), JoinSet::new());
        Self { handle, providers: Arc::new(providers), runs, tasks, workers }
    }

    /// What this machine runs, as it was written down.
    pub(super) fn read_runs(store: &Store) -> Result<BTreeMap<GroupId, Applied>, ReadError> {
        let mut runs: BTreeMap<GroupId, Applied> = BTreeMap::new();
        for (row, value) in store.rows(Table::Applied, &[])? {
            let Some((group, name)) = row.split_at_checked(16) else { continue };
            let name = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
            // A row that cannot be read is one resource that this machine forgot it runs: it is applied anew.
            if let (Some(group), Some(name), Some(fields)) =
                (GroupId::from_slice(group), name, layout::<Fields>(&value))
            {
                runs.entry(group).or_default().insert(name, fields);
            }
        }
        Ok(runs)
    }

    /// Runs until the daemon stops.
    pub(super) async fn run(mut self, changes: Arc<Changes>, mut stop: watch::Receiver<bool>) {
        loop {
            let again = self.tasks.values().filter(|task| !task.busy).filter_map(|task| task.again).min();
            let outcome = tokio::select! {
                biased;
                () = told_to_stop(&mut stop) => break,
                Some(worked) = self.workers.join_next() => match worked {
                    Ok((item, target, verdict)) => self.finish(item, target, verdict).await,
                    Err(error) => {
                        tracing::error!(%error, "a provider crashed");
                        Ok(())
                    }
                },
                groups = changes.take() => self.look(groups).await,
                () = sleep_until(again) => {
                    self.retry();
                    Ok(())
                }
            };
            if outcome.is_err() {
                break;
            }
            self.begin();
        }
        let wait = async { while self.workers.join_next().await.is_some() {} };
        drop(tokio::time::timeout(limits::GOODBYE, wait).await);
    }

    /// Asks what is wanted in the groups that changed.
    async fn look(&mut self, groups: BTreeSet<GroupId>) -> Result<(), Stopped> {
        for group in groups {
            let runs = self.runs.get(&group).cloned().unwrap_or_default();
            let wanted = self.handle.look(move |machine| {
                let me = machine.me();
                // A copy that was damaged may lack what is wanted: nothing is brought to that.
                let of = machine.group(&group).filter(|of| !of.refetching)?;
                Some(targets(of.group.desired()?, of.group.members(), &me, &runs))
            });
            for target in wanted.await?.unwrap_or_default() {
                let task = self.tasks.entry((group, target.resource.clone())).or_default();
                let same = !task.busy && task.done.as_ref() == Some(&target);
                task.wanted = (!same).then_some(target);
            }
        }
        Ok(())
    }

    fn retry(&mut self) {
        let now = Instant::now();
        for task in self.tasks.values_mut().filter(|task| task.again.is_some_and(|at| at <= now)) {
            task.again = None;
            if task.wanted.is_none() {
                task.wanted = task.done.clone();
            }
        }
    }

    /// Sets free workers to what is wanted.
    fn begin(&mut self) {
        for ((group, resource), task) in &mut self.tasks {
            if self.workers.len() >= limits::WORKERS {
                return;
            }
            if task.busy {
                continue;
            }
            let Some(target) = task.wanted.take() else { continue };
            task.busy = true;
            task.again = None;
            let runs = self.runs.get(group).and_then(|runs| runs.get(resource)).cloned();
            let item = (*group, resource.clone());
            let providers = Arc::clone(&self.providers);
            self.workers.spawn_blocking(move || {
                let work = std::panic::AssertUnwindSafe(|| providers.carry_out(&target, runs.as_ref()));
                let verdict = std::panic::catch_unwind(work).unwrap_or_else(|_| Verdict {
                    condition: Condition::Failed,
                    code: 0,
                    message: "the provider crashed; please report this".to_owned(),
                    runs: Runs::Same,
                });
                (item, target, verdict)
            });
        }
    }

    /// Writes down what this machine runs now, and reports it.
    async fn finish(&mut self, item: Item, target: Target, verdict: Verdict) -> Result<(), Stopped> {
        let (group, resource) = item.clone();
        let word = verdict.condition.word().to_owned();
        tracing::info!(group = %group.short(), %resource, state = word, "looked after");
        let task = self.tasks.entry(item).or_default();
        task.busy = false;
        if verdict.condition == Condition::Failed {
            let wait = limits::RETRY.saturating_mul(1 << task.failures.min(16)).min(limits::RETRY_MOST);
            task.failures = task.failures.saturating_add(1);
            task.again = Some(Instant::now() + wait);
        } else {
            (task.failures, task.again) = (0, None);
        }
        let report = Observed {
            condition: verdict.condition,
            change: target
                .change
                .map(|id: ChangeId| id.to_string().chars().take(CHANGE).collect())
                .unwrap_or_default(),
            revision: target.revision.clone(),
            since: wall(),
            code: verdict.code,
            message: verdict.message,
        };
        task.done = Some(target);
        self.note_runs(group, &resource, verdict.runs).await?;
        self.handle.observed(group, vec![(resource, report)]).await
    }

    async fn note_runs(
        &mut self,
        group: GroupId,
        resource: &ResourceName,
        runs: Runs,
    ) -> Result<(), Stopped> {
        let row = key::applied(group, &resource.to_string());
        let known = self.runs.entry(group).or_default();
        match runs {
            Runs::Now(fields) if known.get(resource) != Some(&fields) => {
                let row = Row::put_layout(Table::Applied, row, &fields);
                known.insert(resource.clone(), fields);
                self.handle.store(vec![row]).await
            }
            Runs::Nothing if known.remove(resource).is_some() => {
                self.handle.store(vec![Row::remove(Table::Applied, row)]).await
            }
            _ => Ok(()),
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => tokio::time::sleep(Duration::from_secs(3600)).await,
    }
}
