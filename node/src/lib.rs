//! Larder: the daemon, its local API, and the commands that ask it.
//!
//! | room                       | holds                                                                          |
//! |----------------------------|--------------------------------------------------------------------------------|
//! | [`cli`]                    | one file a command: flags in, one request, text out                            |
//! | [`client`]                 | that request                                                                   |
//! | [`view`]                   | what travels between the two, and what `--json` prints                         |
//! | [`api`]                    | the local door: HTTP over a Unix socket                                        |
//! | [`daemon`]                 | the machine with everything around it                                          |
//! | [`store`]                  | tables on the disk, and the thread that writes them                            |
//! | [`backup`]                 | a node's data as a directory of its own, and back                              |
//! | [`provider`]               | what brings files and configuration to what is wanted                          |
//! | [`place`], [`identity`], [`settings`] | where a node keeps its things, who it is, how it is set up          |
//! | [`render`], [`time`]       | text for people                                                                |
//! | [`failure`], [`limits`]    | how things go wrong, and every bound                                           |

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
