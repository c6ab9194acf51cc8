//! The core of Larder: identities, membership, the replicated document, synchronisation, conflicts and
//! history.
//!
//! The core is one state machine, [`node::Node`]. The caller hands in an [`Input`](node::Input) with the time
//! and gets back the [`Effect`](node::Effect)s to carry out. The core reads no clock, file or socket and has
//! no source of randomness of its own, and it iterates only ordered collections. The same inputs therefore
//! always have the same effects, byte by byte. The daemon (crate `larder`) carries effects out with a real
//! disk and a real network; the simulator (crate `larder-tests`) replaces both.
//!
//! # Modules
//!
//! | module          | contains                                                                            |
//! |-----------------|-------------------------------------------------------------------------------------|
//! | [`id`]          | ids of nodes, groups, records, changes, shards and chains; hashes and signatures    |
//! | [`limits`]      | every bound: those that are part of the format, and those that a node may choose    |
//! | [`limit_stats`] | counters of the limits that were reached                                            |
//! | [`rate_limiter`] | token buckets by key                                                               |
//! | [`backoff`]     | the growing delay between attempts that fail                                        |
//! | [`record`]      | signed membership records, the set of them, and the membership that follows from it |
//! | [`value`]       | the scalar values of a document                                                     |
//! | [`delta`]       | changes in canonical form, their Automerge encoding, and batches in columns         |
//! | [`shard`]       | one Automerge document with its root, history graph, chains and validation          |
//! | [`acceptance`]  | the pure function that decides which valid changes count                            |
//! | [`group`]       | one group in memory; it ingests, writes, serves and loads records and changes       |
//! | [`resource`]    | the meaning of the values: kinds, fields, lists, selectors, conflicts and plans     |
//! | [`history`]     | queries about the past: log, diff, blame, the state at a point, and reverts         |
//! | [`wire`]        | the frames that nodes exchange, presence messages and invite codes                  |
//! | [`store`]       | the rows that a node stores, and the checks and repairs of them                     |
//! | [`node`]        | a whole node: `handle(now, input) -> effects`                                       |
//!
//! # Data flow
//!
//! Changes enter a group in two ways, and both pass the same validation:
//!
//! * *A local write.* [`resource`] turns the requested edits into puts. [`group`] encodes the change,
//!   validates it, signs it and applies it. When its rows are durable, the node answers the request, sends
//!   the change to its neighbours and reports that the desired state changed.
//! * *A received frame.* [`wire`] decodes it. [`group`] encodes and validates the changes in it and applies
//!   those that count. When their rows are durable, the node passes them on and reports that the desired
//!   state changed.
//!
//! # The loop
//!
//! A node that creates a group, writes a resource, and is opened again from its rows:
//!
//! ```
//! use larder_core::group::ChangeNote;
//! use larder_core::id::SecretKey;
//! use larder_core::node::{
//!     ClockReading, Effect, Input, MonoTime, Node, NodeConfig, Request, RequestId, Response, WriteRequest,
//! };
//! use larder_core::resource::edit::{Edit, FieldEdit};
//! use larder_core::resource::literal::Literal;
//! use larder_core::resource::view::ResourceView;
//! use larder_core::store::MemoryStore;
//!
//! /// Hands in one input and carries out its effects and theirs, until none is left. Returns the responses.
//! fn drive(node: &mut Node, store: &mut MemoryStore, now: ClockReading, input: Input) -> Vec<Response> {
//!     let mut responses = Vec::new();
//!     let mut effects = node.handle(now, input);
//!     while !effects.is_empty() {
//!         let mut next = Vec::new();
//!         for effect in effects {
//!             match effect {
//!                 // Store all rows or none, then report it: the response waits for that.
//!                 Effect::Store { batch_id, rows } => {
//!                     store.write(&rows);
//!                     next.extend(node.handle(now, Input::Stored { batch_id }));
//!                 }
//!                 Effect::Respond { response, .. } => responses.push(response.expect("a valid request")),
//!                 // A daemon also sends frames, opens links and guest streams, and wakes its reconciler.
//!                 _ => {}
//!             }
//!         }
//!         effects = next;
//!     }
//!     responses
//! }
//!
//! // A real node draws the key and the seed from the system's random source.
//! let config = || NodeConfig {
//!     secret: SecretKey::from_bytes(&[1; 32]),
//!     rng_seed: [2; 32],
//!     software: "example 1".to_owned(),
//!     host_name: "till-1".to_owned(),
//!     store_was_copied: false,
//! };
//! let now = ClockReading { mono: MonoTime(0), unix_secs: 1_700_000_000 };
//! let mut store = MemoryStore::default();
//! let (mut node, _) = Node::open(config(), now, &store)?;
//!
//! // Create a group.
//! let request = Request::CreateGroup { name: "shop".to_owned() };
//! let input = Input::Request { request_id: RequestId(1), request };
//! let responses = drive(&mut node, &mut store, now, input);
//! let [Response::GroupCreated { group, .. }] = responses[..] else { panic!("a group") };
//!
//! // Write a resource: set the field keys.url of config/db.
//! let url = Literal::Scalar("postgres://db.shop".into());
//! let edit = Edit::Set {
//!     resource: "config/db".parse()?,
//!     fields: vec![("keys.url".parse()?, FieldEdit::Assign(url.clone()))],
//!     replace: false,
//! };
//! let message = "the new database".to_owned();
//! let request = Request::Write(WriteRequest {
//!     group: group.into(),
//!     edits: vec![edit],
//!     expected_heads: None,
//!     note: ChangeNote { message, user: "root".to_owned(), ..ChangeNote::default() },
//!     allow_unknown: false,
//! });
//! let input = Input::Request { request_id: RequestId(2), request };
//! let responses = drive(&mut node, &mut store, now, input);
//! assert!(matches!(responses[..], [Response::Written(Some(_))]), "the change is durable now");
//!
//! // Read it back, from this node and from one that is opened from the stored rows.
//! let (reopened, _) = Node::open(config(), now, &store)?;
//! for node in [&node, &reopened] {
//!     let desired = node.group(&group).and_then(|state| state.group.desired()).expect("a member");
//!     let view = ResourceView::read(desired.state(), &"config/db".parse()?).expect("a resource");
//!     assert_eq!(view.value("keys.url"), Some(url.clone()));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(test, allow(clippy::cast_possible_truncation))]

pub mod acceptance;
pub mod backoff;
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
pub mod rate_limiter;
pub mod record;
pub mod resource;
pub mod shard;
pub mod store;
#[cfg(any(test, feature = "test-support"))]
pub mod test_support;
pub mod typed_name;
pub mod value;
pub mod wire;
