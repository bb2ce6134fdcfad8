//! One target under libFuzzer; `TRINE_FUZZ_TARGET` names it. Built and started by `fuzz`.
#![no_main]
use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("TRINE_FUZZ_TARGET").unwrap_or_default();
    trine_fuzz::target(&name).unwrap_or_else(|| panic!("TRINE_FUZZ_TARGET={name:?} names no target")).run
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
