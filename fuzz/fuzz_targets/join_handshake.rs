//! See [`larder_fuzz::handshake::join_handshake`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::handshake::join_handshake(data));
