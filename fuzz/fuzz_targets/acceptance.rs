//! See [`larder_fuzz::trust::acceptance`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::trust::acceptance(data));
