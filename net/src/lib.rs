//! Larder's network: finds nodes on the LAN, keeps one link with every member, and turns strangers away.
//!
//! It knows keys, addresses and frames, and nothing of groups. The daemon starts it, says who counts as a member, and
//! listens:
//!
//! ```no_run
//! # use larder_core::id::Secret;
//! # use larder_net::{Config, Event, start};
//! # async fn daemon(secret: Secret, friend: larder_core::id::NodeId) -> Result<(), larder_net::StartError> {
//! let (net, mut events) = start(Config::new(secret))?;
//! net.members([friend].into());
//! while let Some(event) = events.recv().await {
//!     match event {
//!         Event::LinkUp { link, .. } => drop(net.send(link, b"hello".to_vec())),
//!         Event::Frame { link, bytes } => drop(net.send(link, bytes)),
//!         _ => {}
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! | room          | holds                                                                                        |
//! |---------------|----------------------------------------------------------------------------------------------|
//! | [`limits`]    | every bound, with its reason                                                                 |
//! | `config`, `event`, `net` | what goes in, what comes out, the handle                                          |
//! | `mailbox`, `feed`, `outbox` | the ways between daemon and driver: none can overflow, none can deadlock       |
//! | `discovery`   | beacon, mDNS, the operator's addresses, the address book, carriers                           |
//! | `transport`, `listen` | sockets that notice a loss by themselves; where we listen                            |
//! | `gate`        | budgets by address before the handshake, by key after it                                     |
//! | `link`        | streams, hello, frames, queues, a task for each link                                         |
//! | `peer`, `dial` | one peer's connections, which one stays, when to dial: pure                                 |
//! | `tally`       | which bounds were reached                                                                    |
//! | `driver`      | the one task that owns the swarm and brings all of this together                             |
//!
//! Of each pair the node with the lower key *leads*: it dials, chooses which of two connections stays, and opens the
//! link. The other answers beacons so that the leader hears of it, and dials only what the leader may not know.

mod address;
mod admission;
mod behaviour;
mod command_slot;
mod config;
mod dial;
mod discovery;
mod driver;
mod event;
mod event_backlog;
mod event_channel;
mod handle;
mod key;
mod limit_stats;
pub mod limits;
mod link;
mod listen;
mod peer;
mod transport;

pub use config::{Config, StartError};
pub use event::{DiscoverySource, DownReason, GuestStreamError, LinkId, LinkKind, LinkRefusal, NetEvent};
pub use event_channel::EventReceiver;
pub use handle::{NetHandle, SendFrameError, start};
pub use libp2p::Multiaddr;
pub use limit_stats::LimitHit;
