//! A main file of any content: read or refused with a place and a reason, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let path = std::env::temp_dir().join(format!("gauntlet-fuzz-{}.yaml", std::process::id()));
    std::fs::write(&path, data).unwrap();
    if let Err(errors) = gauntlet::config::load(&path) {
        assert!(!errors.is_empty());
        assert!(errors.iter().all(|error| !error.to_string().contains(char::is_control)));
    }
});
