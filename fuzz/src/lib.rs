//! What Larder's fuzz targets try, as functions of bytes. A target under `fuzz_targets` is one line that calls one.
//!
//! | room            | holds                                                                                    |
//! |-----------------|------------------------------------------------------------------------------------------|
//! | [`codecs`]      | frames, deltas, windows, codes: what is read is written back as it was                   |
//! | [`texts`]       | manifests, settings, arguments                                                           |
//! | [`records`]     | signed records in any order: one set, one fold                                           |
//! | [`trust`]       | who counts, and what of theirs: as the oracle says                                       |
//! | [`handshake`]   | joining, with somebody in between                                                        |
//! | [`rows`]        | rows of a damaged store: what proves itself is saved, and nothing is invented            |
//! | [`fuzz_store_file`]  | the store's file, with bytes changed                                                     |
//! | [`fuzz_node_inputs`] | a whole node that is told anything: it stays sound, and answers a write afterwards       |
//! | [`fuzz_sim`]   | a world of nodes that is played as the bytes say                                         |
//! | [`script`]      | bytes as decisions                                                                       |
//! | [`scene`]       | a group of five with a history, known to all of these                                    |

pub mod codecs;
pub mod damaged_rows;
pub mod decisions;
pub mod fixture;
pub mod join_handshake;
pub mod membership;
pub mod node_inputs;
pub mod records;
pub mod sim_bytes;
pub mod store_file;
pub mod text_parsers;
