//! See [`larder_fuzz::join_handshake::fuzz_join_handshake`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::join_handshake::fuzz_join_handshake(data));
