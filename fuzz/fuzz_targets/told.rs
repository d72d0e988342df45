#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| segsync_fuzz::law::told::any(data));
