#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| otpost_fuzz::infobip::holds(input));
