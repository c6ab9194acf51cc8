//! A deterministic simulator of `larder-core`: many nodes in one thread, with a virtual clock. The same plan
//! gives the same history, byte for byte.
//!
//! The simulator runs the core's nodes and stores their rows. It simulates the networks, disks and clocks
//! between them, and injects the faults that the plan and the random numbers decide. `docs/testing.md` says
//! what is simulated, what must hold, and what is not checked.
//!
//! | module              | contents                                                                        |
//! |---------------------|---------------------------------------------------------------------------------|
//! | `plan`              | everything that is decided before a run, as plain data                          |
//! | `plan_generator`    | makes a plan from a seed: groups, faults, workload, steps                       |
//! | `runner`            | one run from plan to verdict, in phases                                         |
//! | `ops`               | what each operation of a plan does to the world                                 |
//! | `membership_faults` | operations that change the membership, roll hosts back, or forge                |
//! | `world`             | the event queue, the nodes with their lives and links                           |
//! | `network`           | who can reach whom, and the streams between them                                |
//! | `invariants`        | the invariants, and what must hold for a group after a heal                     |
//! | `node_checks`       | what must hold on one node at any time                                          |
//! | `convergence`       | what the members of a group show, and whether all show the same                 |
//! | `stored_state`      | what a node has stored, read from its rows alone                                |
//! | `durability`        | what was acknowledged and must not be lost                                      |
//! | `history_oracle`    | a naive reader of a history, to compare with                                    |
//! | [`acceptance_oracle`] | membership and acceptance, written apart from the product                     |
//! | `coverage`          | rare situations that a run must have reached                                    |
//! | `trace`             | the hash over all events, and the last of them                                  |
//! | `shrink`            | finds the smallest plan that still fails                                        |
//! | [`canary`]          | the product with a planted defect, which the simulator must catch               |

pub mod acceptance_oracle;
pub mod canary;
mod convergence;
mod coverage;
mod durability;
mod history_oracle;
mod invariants;
mod membership_faults;
mod network;
mod node_checks;
mod ops;
mod plan;
mod plan_generator;
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
