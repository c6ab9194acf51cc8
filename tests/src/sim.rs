//! A world of nodes in one thread, with a clock of its own: the same seed makes the same history, to the last byte.
//!
//! The world drives nothing but `larder-core`: machines, and the rows they store. Everything between them (wires, disks,
//! clocks) is played, and misbehaves by lot. Phases of one run:
//!
//! 1. a group is founded and joined, by invite codes, like a real one;
//! 2. operators write while links are cut, one-way or both, and reset, machines crash between any two batches, and
//!    clocks are wrong;
//! 3. everything heals, and within a bound of virtual time all must be equal and quiet;
//! 4. every node is restarted from its disk alone, and must come up equal.
//!
//! | room      | holds                                                            |
//! |-----------|------------------------------------------------------------------|
//! | `dice`    | independent streams of chance from one seed                      |
//! | `wire`    | who can reach whom, what is under way                            |
//! | `disk`    | rows that are durable, and batches that are not yet              |
//! | `world`   | the event queue, the nodes, the trace                            |
//! | `check`   | what must hold                                                   |
//! | `play`    | one run from seed to verdict                                     |

mod check;
mod dice;
mod disk;
mod play;
mod wire;
mod world;

pub use play::{Outcome, play};
