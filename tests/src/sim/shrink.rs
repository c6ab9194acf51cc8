//! Shrinks a failing plan to a small plan that still violates the same invariant. Steps are removed as in
//! Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input" (2002); everything else one by
//! one.

use super::invariants::Invariant;
use super::plan::{Faults, Plan};
use super::runner::{RunFailure, run_plan};

/// The largest number of runs for shrinking one plan.
const MAX_RUNS: usize = 3000;

/// The result of shrinking a plan.
#[derive(Clone, Debug)]
pub struct ShrinkResult {
    /// The smallest plan that was found.
    pub plan: Plan,
    /// The failure of that plan.
    pub failure: RunFailure,
    /// The number of runs that the search took.
    pub runs: usize,
}

/// Shrinks a plan that fails; `None` if it does not fail.
pub fn shrink_plan(plan: &Plan) -> Option<ShrinkResult> {
    let failure = run_failure(plan)?;
    let mut plan = plan.clone();
    // Steps after the failure have no part in it.
    let cut = Plan { steps: plan.steps.iter().take(failure.steps).cloned().collect(), ..plan.clone() };
    let mut search = ShrinkSearch { invariant: failure.invariant, failure, runs: 1 };
    search.try_smaller(&mut plan, cut);
    loop {
        let before = plan.clone();
        search.remove_steps(&mut plan);
        search.disable_faults(&mut plan);
        search.remove_nodes(&mut plan);
        search.shorten_pauses(&mut plan);
        if plan == before || search.runs >= MAX_RUNS {
            return Some(ShrinkResult { plan, failure: search.failure, runs: search.runs });
        }
    }
}

/// The failure of a plan, if there is one. A panic counts as a failure.
fn run_failure(plan: &Plan) -> Option<RunFailure> {
    match std::panic::catch_unwind(|| run_plan(plan)) {
        Ok(outcome) => outcome.err(),
        Err(_) => Some(RunFailure {
            invariant: Invariant::Sound,
            detail: "a panic".to_owned(),
            last_events: Vec::new(),
            steps: plan.steps.len(),
        }),
    }
}

struct ShrinkSearch {
    invariant: Invariant,
    failure: RunFailure,
    runs: usize,
}

impl ShrinkSearch {
    /// Replaces `plan` by `smaller` if `smaller` violates the same invariant.
    fn try_smaller(&mut self, plan: &mut Plan, smaller: Plan) -> bool {
        if self.runs >= MAX_RUNS || smaller == *plan {
            return false;
        }
        self.runs += 1;
        match run_failure(&smaller) {
            Some(failure) if failure.invariant == self.invariant => {
                self.failure = failure;
                *plan = smaller;
                true
            }
            _ => false,
        }
    }

    fn remove_steps(&mut self, plan: &mut Plan) {
        let mut chunk = plan.steps.len().div_ceil(2).max(1);
        while !plan.steps.is_empty() {
            let mut at = 0;
            while at < plan.steps.len() {
                let mut steps = plan.steps.clone();
                let gone: u64 = steps.drain(at..(at + chunk).min(steps.len())).map(|step| step.after).sum();
                // The later steps keep their times.
                if let Some(next) = steps.get_mut(at) {
                    next.after += gone;
                }
                if !self.try_smaller(plan, Plan { steps, ..plan.clone() }) {
                    at += chunk;
                }
            }
            if chunk == 1 {
                break;
            }
            chunk = chunk.div_ceil(2);
        }
    }

    fn disable_faults(&mut self, plan: &mut Plan) {
        let without: [fn(&mut Faults); 9] = [
            |faults| faults.resets = 0,
            |faults| faults.clogs = 0,
            |faults| faults.duplicates = 0,
            |faults| faults.reorders = 0,
            |faults| faults.replays = 0,
            |faults| faults.drift = 0,
            |faults| faults.later.clear(),
            |faults| faults.delay = 500,
            |faults| faults.commit = 100,
        ];
        for change in without {
            let mut faults = plan.faults.clone();
            change(&mut faults);
            self.try_smaller(plan, Plan { faults, ..plan.clone() });
        }
    }

    fn remove_nodes(&mut self, plan: &mut Plan) {
        let groups = plan.groups.len();
        if groups > 1 {
            let mut less = plan.clone();
            less.groups.pop();
            self.try_smaller(plan, less);
        }
        for at in 0..plan.groups.len() {
            let mut member = plan.groups[at].members.len();
            while member > 1 {
                member -= 1;
                let mut less = plan.clone();
                less.groups[at].members.remove(member);
                self.try_smaller(plan, less);
            }
        }
        while plan.nodes > 2 {
            let last = plan.nodes - 1;
            let mut less = Plan { nodes: last, ..plan.clone() };
            less.steps.retain(|step| step.node != last);
            let founds = plan.groups.iter().any(|group| group.members[0].0 == last);
            less.groups.iter_mut().for_each(|group| group.members.retain(|(node, _)| *node != last));
            less.faults.later.retain(|node| *node != last);
            if founds || !self.try_smaller(plan, less) {
                break;
            }
        }
    }

    fn shorten_pauses(&mut self, plan: &mut Plan) {
        for at in 0..plan.steps.len() {
            for after in [0, plan.steps[at].after / 2] {
                let mut less = plan.clone();
                less.steps[at].after = after;
                if self.try_smaller(plan, less) {
                    break;
                }
            }
        }
    }
}
