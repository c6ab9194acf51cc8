//! A world of nodes in one thread, with a clock of its own: the same plan makes the same history, to the last
//! byte.
//!
//! The world drives nothing but `larder-core` and the store's port: machines, and the rows they store.
//! Everything between them (wires, disks, clocks) is played, and misbehaves by plan and by lot.
//! `docs/testing.md` says what is played, what must hold, and what is not checked.
//!
//! | room      | holds                                                                    |
//! |-----------|--------------------------------------------------------------------------|
//! | `dice`    | independent streams of chance from one seed                              |
//! | `plan`    | everything that is decided before a run, as plain data                   |
//! | `draw`    | a plan drawn from a seed: groups, faults, workload, steps                |
//! | `play`    | one run from plan to verdict, in phases                                  |
//! | `act`     | what each act of a plan does to the world                                |
//! | `churn`   | acts that change who is in a group, set machines back, and lie           |
//! | `world`   | the event queue, the nodes, their lives and links                        |
//! | `wire`    | who can reach whom, and the streams between                              |
//! | `disk`    | rows that are durable, and batches that are not yet                      |
//! | `check`   | the invariants                                                           |
//! | `stored`  | what a node has stored, read from its rows alone                         |
//! | `journal` | the journal, as one who watches reads it                                 |
//! | `lost`    | what was acknowledged and is not lost                                    |
//! | `oracle`  | a naive reader of a history, to compare with                             |
//! | [`trust`] | who counts and what of theirs, written apart from the product            |
//! | `marks`   | rare situations that must have been reached                              |
//! | `trace`   | the hash over everything that happened, and its last lines               |
//! | `shrink`  | the smallest plan that still fails                                       |
//! | [`canary`]| the product with a planted defect, which must be caught                  |

pub mod acceptance_oracle;
pub mod canary;
mod coverage;
mod disk;
mod durability;
mod history_oracle;
mod invariants;
mod journal;
mod membership_faults;
mod network;
mod ops;
mod plan;
mod plan_generator;
pub mod rng;
mod runner;
mod shrink;
mod stored_state;
mod trace;
mod world;

pub use coverage::{Coverage, SITUATIONS};
pub use invariants::Invariant;
pub use plan::{DamageExtent, Faults, GroupPlan, NetworkCut, Plan, PlanRole, PlannedOp, SECOND_US, Step};
pub use plan_generator::{FIRST_SMALL_SEED, generate_plan, generate_plan_from_bytes};
pub use runner::{RunFailure, RunOutcome, run_plan, run_plan_logged};
pub use shrink::shrink_plan;
