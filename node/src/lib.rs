//! Larder: the daemon, its local API, and the commands that use the API.
//!
//! A command parses its flags, sends one HTTP request to the daemon over a Unix socket, and prints the
//! answer. The daemon's owner task hands the request to `larder_core::node::Node`, carries out the effects
//! that come back, and answers once the rows are durable. The reconciler then brings the host to what the
//! group wants.
//!
//! | module                                    | contents                                                 |
//! |-------------------------------------------|----------------------------------------------------------|
//! | [`cli`]                                   | the commands, one file each                              |
//! | [`client`]                                | the HTTP client of the commands                          |
//! | [`dto`]                                   | the JSON bodies of the API, which `--json` prints        |
//! | [`api`]                                   | the HTTP server on the Unix socket                       |
//! | [`daemon`]                                | the owner task, the reconciler and the event bus         |
//! | [`store`]                                 | the tables on the disk, and the thread that writes them  |
//! | [`backup`]                                | backup and restore of a data directory                   |
//! | [`provider`]                              | one provider for each resource kind                      |
//! | [`data_dir`], [`identity`], [`settings`]  | the data directory, the node's key, the settings file    |
//! | [`output`], [`time`]                      | text for the terminal                                    |
//! | [`error`], [`limits`]                     | errors with their exit codes, and every bound of this cra|

pub mod api;
pub mod backup;
pub mod cli;
pub mod client;
pub mod daemon;
pub mod data_dir;
pub mod dto;
pub mod error;
pub mod identity;
pub mod limits;
pub mod output;
pub mod provider;
pub mod settings;
pub mod store;
pub mod time;

pub use cli::main;
