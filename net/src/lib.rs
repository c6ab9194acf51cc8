//! The network of a Larder node: discovers nodes on the LAN, keeps a link with each member, and limits all
//! others.
//!
//! The crate knows keys, addresses and frames. It knows nothing of groups: the daemon passes the set of
//! members and the frames to send, and receives events.
//!
//! ```no_run
//! # use larder_core::id::{NodeId, SecretKey};
//! # use larder_net::{Config, NetEvent, start};
//! # async fn daemon(secret: SecretKey, member: NodeId) -> Result<(), larder_net::StartError> {
//! let (net, mut events) = start(Config::new(secret))?;
//! net.set_members([member].into());
//! while let Some(event) = events.recv().await {
//!     match event {
//!         NetEvent::LinkUp { link, .. } => drop(net.send_frame(link, b"hello".to_vec())),
//!         NetEvent::FrameReceived { link, bytes } => drop(net.send_frame(link, bytes)),
//!         _ => {}
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! # The loop
//!
//! One task, the `driver`, owns the libp2p swarm and all state. `Driver::run` repeats three steps:
//!
//! 1. It waits for the first of: a swarm event, a message of a link task, a beacon, a command, a restored
//!    carrier, room for an event, the next deadline.
//! 2. It passes that one input to the part that it concerns. A part changes its state, plans deadlines and
//!    requests actions of the swarm; it never waits.
//! 3. It runs everything that is due: a beacon, a dial, a relink, an expired guest stream, a shutdown stage.
//!    Then it carries out the requested actions.
//!
//! Each open link has a task of its own. The task moves frames between its stream, its send queue and the
//! event channel, so a slow link delays no other. When the daemon is slow, link tasks stop reading and TCP
//! slows down their peers.
//!
//! # From discovery to link
//!
//! Of each pair the node with the lower key is the *leader*: it dials, chooses which of two connections
//! stays, and opens the link. The other node, the follower, answers beacons so that the leader discovers it.
//! It dials after a head start of the leader, in case the leader does not know its address.
//!
//! 1. A beacon, mDNS, the operator or a member names an address; `discovery` stores it in the address book.
//! 2. The driver dials a missing member; `dialer` plans attempts with backoff.
//! 3. `admission` limits the connection by address before the handshake and by key after it.
//! 4. The leader requests a stream (`link::stream`); the hello accepts it, holds it or refuses it.
//! 5. The link task sends [`NetEvent::LinkUp`], then frames, then [`NetEvent::LinkDown`] with a
//!    [`DownReason`].
//!
//! # Modules
//!
//! | module                                | content                                                        |
//! |---------------------------------------|----------------------------------------------------------------|
//! | [`limits`]                            | all limits, with their reasons                                 |
//! | `config`, `event`, `handle`           | the public interface                                           |
//! | `shared_state`, `command_slot`        | what handle and driver share; commands to the driver           |
//! | `event_channel`, `event_backlog`      | events to the daemon                                           |
//! | `driver`                              | the loop: it passes each input to the parts below              |
//! | `effects`                             | what the parts request of the driver                           |
//! | `members`                             | the members, and which node of a pair leads                    |
//! | `discovery`, `listen`                 | beacon, mDNS, address book, carriers; the own addresses        |
//! | `dialer`, `dial`                      | when to dial which node; pure                                  |
//! | `peer_table`                          | the connections and streams of all peers                       |
//! | `connections`, `guest_streams`        | two parts of it: established connections, guest streams; pure  |
//! | `link`                                | streams, hello, frames, send queues, link table, link tasks    |
//! | `admission`                           | limits of connections, rate limits                             |
//! | `transport`                           | ports and sockets                                              |
//! | `address`, `key`, `jitter`            | conversions of addresses and keys; random delays               |
//! | `limit_stats`                         | counts of reached limits                                       |

mod address;
mod admission;
mod behaviour;
mod command_slot;
mod config;
mod connections;
mod dial;
mod dialer;
mod discovery;
mod driver;
mod effects;
mod event;
mod event_backlog;
mod event_channel;
mod guest_streams;
mod handle;
mod jitter;
mod key;
mod limit_stats;
pub mod limits;
mod link;
mod listen;
mod members;
mod peer_table;
mod shared_state;
mod transport;

pub use config::{Config, StartError};
pub use discovery::mdns::check_mdns_port;
pub use event::{DiscoverySource, DownReason, GuestStreamError, LinkId, LinkKind, LinkRefusal, NetEvent};
pub use event_channel::EventReceiver;
pub use handle::{NetHandle, SendFrameError, start};
pub use libp2p::Multiaddr;
