//! Larder's pure heart: who is who, who is a member, what the group wants and has, how copies meet, and what happened.
//!
//! It is a state machine and nothing else: inputs go in, effects come out. It reads no clock, file or socket, draws no
//! chance and iterates in no order but its own, so the same inputs make the same effects, byte by byte. Whatever drives it
//! ([`machine::Node`] says how) decides what a disk and a wire are: the daemon takes real ones, the simulator plays them.
//!
//! # Where things are
//!
//! | room         | holds                                                                                          |
//! |--------------|------------------------------------------------------------------------------------------------|
//! | [`id`]       | who is who: nodes, groups, records, changes, chains, epochs; keys and signatures               |
//! | [`limits`]   | every bound, with its reason; which are frozen and which are local                             |
//! | [`bounds`]   | which of them were reached, for whoever runs the node                                          |
//! | [`record`]   | membership: signed records, the set of them, and what they mean together                       |
//! | [`value`]    | the scalars that a document holds                                                              |
//! | [`delta`]    | a change as we say it, the Automerge change it stands for, and ranges of changes in columns    |
//! | [`shard`]    | one Automerge document: its root, its history, its chains, and the gate in front of it         |
//! | [`accept`]   | which valid changes count, as one pure function                                                |
//! | [`group`]    | one group in memory: records and shards; what is let in, written, served, loaded               |
//! | [`resource`] | what the values mean: kinds, fields, lists, selection, conflicts                               |
//! | `history`    | questions to the past: log, diff, blame, the state at a change                                 |
//! | [`wire`]     | what nodes say to each other: frames, visits, presence, invite codes                           |
//! | [`store`]    | what a node keeps: rows of a few sorted tables                                                 |
//! | [`machine`]  | a whole node: `handle(now, input) -> effects`                                                  |
//!
//! There are two ways through, and no third. *A write*: a request is drawn up into keys, composed, passes the gate, is
//! signed and stored; once durable it is answered, sent to neighbours, and wakes providers. *A frame*: what a neighbour
//! sent is decoded, composed, passes the same gate, is stored; once durable it is passed on and wakes the same providers.
//!
//! # The loop
//!
//! A node on its own that founds a group, writes to it, and comes back from its rows:
//!
//! ```
//! use larder_core::group::Note;
//! use larder_core::id::Secret;
//! use larder_core::machine::{
//!     Answer, Caller, Config, Effect, Input, Machine, Moment, Now, Request, WriteRequest,
//! };
//! use larder_core::resource::edit::{Edit, FieldEdit};
//! use larder_core::resource::literal::Literal;
//! use larder_core::resource::view::ResourceView;
//! use larder_core::store::Memory;
//!
//! /// Hands an input in and carries out what comes of it, until nothing does. Answers what callers were told.
//! fn drive(machine: &mut Machine, store: &mut Memory, now: Now, input: Input) -> Vec<Answer> {
//!     let mut answers = Vec::new();
//!     let mut effects = machine.handle(now, input);
//!     while !effects.is_empty() {
//!         let mut next = Vec::new();
//!         for effect in effects {
//!             match effect {
//!                 // Make the rows durable, all or none, and say so: answers wait for that.
//!                 Effect::Store { token, rows } => {
//!                     store.write(&rows);
//!                     next.extend(machine.handle(now, Input::Stored { token }));
//!                 }
//!                 Effect::Answer { answer, .. } => answers.push(answer.expect("no refusal")),
//!                 // A daemon also sends frames, opens visits and links, and wakes providers.
//!                 _ => {}
//!             }
//!         }
//!         effects = next;
//!     }
//!     answers
//! }
//!
//! // What a node is. Chance comes from outside; these seeds would be drawn from the system.
//! let config = || Config {
//!     secret: Secret::from_bytes(&[1; 32]),
//!     seed: [2; 32],
//!     software: "example 1".to_owned(),
//!     host: "till-1".to_owned(),
//!     reborn: false,
//! };
//! let now = Now { mono: Moment(0), wall: 1_700_000_000 };
//! let mut store = Memory::default();
//! let (mut machine, _) = Machine::open(config(), now, &store)?;
//!
//! // Found a group.
//! let request = Request::Found { name: "shop".to_owned() };
//! let answers = drive(&mut machine, &mut store, now, Input::Request { caller: Caller(1), request });
//! let [Answer::Founded { group, .. }] = answers[..] else { panic!("a group") };
//!
//! // Write a resource: config/db gets keys.url.
//! let url = Literal::Scalar("postgres://db.shop".into());
//! let edit = Edit::Set {
//!     resource: "config/db".parse()?,
//!     fields: vec![("keys.url".parse()?, FieldEdit::Assign(url.clone()))],
//!     replace: false,
//! };
//! let note = Note { words: "the new database".to_owned(), user: "root".to_owned(), ..Note::default() };
//! let request =
//!     Request::Write(WriteRequest { group, edits: vec![edit], base: None, note, lenient: false });
//! let answers = drive(&mut machine, &mut store, now, Input::Request { caller: Caller(2), request });
//! assert!(matches!(answers[..], [Answer::Written(Some(_))]), "it is durable now");
//!
//! // Read it back, from this machine or from one that starts with nothing but the rows.
//! let (again, _) = Machine::open(config(), now, &store)?;
//! for machine in [&machine, &again] {
//!     let desired = machine.group(&group).and_then(|of| of.group.desired()).expect("a member");
//!     let view = ResourceView::read(desired.state(), &"config/db".parse()?).expect("a resource");
//!     assert_eq!(view.value("keys.url"), Some(url.clone()));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(test, allow(clippy::cast_possible_truncation))]

pub mod acceptance;
pub mod codec;
pub mod delta;
#[cfg(test)]
mod golden;
pub mod group;
pub mod history;
pub mod id;
pub mod limit_stats;
pub mod limits;
pub mod node;
pub mod record;
pub mod resource;
pub mod shard;
pub mod store;
pub mod value;
pub mod wire;
