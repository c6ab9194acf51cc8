//! See [`larder_fuzz::trust::group_fold`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::trust::group_fold(data));
