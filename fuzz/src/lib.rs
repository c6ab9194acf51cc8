//! What Larder's fuzz targets try, as functions of bytes. A target under `fuzz_targets` is one line that calls one.
//!
//! | room            | holds                                                                                    |
//! |-----------------|------------------------------------------------------------------------------------------|
//! | [`codecs`]      | frames, deltas, windows, codes: what is read is written back as it was                   |
//! | [`records`]     | signed records in any order: one set, one fold                                           |
//! | [`node_inputs`] | a whole node that is told anything: it stays sound, and answers a write afterwards       |
//! | [`script`]      | bytes as decisions                                                                       |
//! | [`scene`]       | a group of five with a history, known to all of these                                    |

pub mod codecs;
pub mod node_inputs;
pub mod records;
pub mod scene;
pub mod script;
