//! See [`larder_fuzz::node_inputs::fuzz_node_inputs`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::node_inputs::fuzz_node_inputs(data));
