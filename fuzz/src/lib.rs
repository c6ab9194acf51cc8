//! Larder's fuzz targets as functions of bytes. Each file below `fuzz_targets` calls one of them.
//!
//! | module             | contents                                                                          |
//! |--------------------|-----------------------------------------------------------------------------------|
//! | [`codecs`]         | frames, deltas, batches, invite codes: what is decoded encodes to the same bytes  |
//! | [`text_parsers`]   | manifests, settings, arguments                                                    |
//! | [`records`]        | signed records in any order, which must evaluate to one membership                |
//! | [`membership`]     | membership and acceptance, compared with the oracle                               |
//! | [`join_handshake`] | a join with a peer in between that alters frames                                  |
//! | [`damaged_rows`]   | rows of a damaged store, of which nothing may be invented                         |
//! | [`store_file`]     | the store's file with changed bytes                                               |
//! | [`node_inputs`]    | one node that gets any inputs, stays sound, and answers a write afterwards        |
//! | [`sim`]            | a world of the simulator that the bytes describe                                  |
//! | [`seeds`]          | seeds that follow from real encodings and texts                                   |
//! | [`decisions`]      | the bytes of an input as decisions                                                |
//! | [`fixture`]        | a group of five members with a history, which the targets share                   |

pub mod codecs;
pub mod damaged_rows;
pub mod decisions;
pub mod fixture;
pub mod join_handshake;
pub mod membership;
pub mod node_inputs;
pub mod records;
pub mod seeds;
pub mod sim;
pub mod store_file;
pub mod text_parsers;

/// A fuzz target. It must not panic, whatever the bytes are.
pub type FuzzTarget = fn(&[u8]);

/// All targets, by the name of their file below `fuzz_targets`.
pub const TARGETS: [(&str, FuzzTarget); 15] = [
    ("acceptance", membership::fuzz_acceptance),
    ("args", text_parsers::fuzz_args),
    ("damaged_rows", damaged_rows::fuzz_rows),
    ("delta", codecs::fuzz_delta),
    ("frame", codecs::fuzz_frame),
    ("invite_code", codecs::fuzz_invite_code),
    ("join_handshake", join_handshake::fuzz_join_handshake),
    ("manifest", text_parsers::fuzz_manifest),
    ("membership", membership::fuzz_membership),
    ("node_inputs", node_inputs::fuzz_node_inputs),
    ("record", records::fuzz_records),
    ("settings", text_parsers::fuzz_settings),
    ("signed_record", membership::fuzz_signed_record),
    ("sim", sim::fuzz_sim),
    ("store_file", store_file::fuzz_store_file),
];
