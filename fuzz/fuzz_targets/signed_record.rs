//! See [`larder_fuzz::trust::signed_record`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::trust::signed_record(data));
