//! A component of any bytes, read before it is compiled: taken or refused in words that fit a line, and what is taken is a
//! policy by its exports.
#![no_main]

use gauntlet::sandbox::{Surface, check_outline};
use libfuzzer_sys::fuzz_target;
use wasmparser::{Validator, WasmFeatures};

fuzz_target!(|data: &[u8]| {
    // Types that double from one to the next take gigabytes: the process that reads them in earnest is bounded.
    if data.len() > 32 << 10 {
        return;
    }
    let surface = Surface::read(data);
    for wasi in [true, false] {
        match check_outline(data, wasi) {
            Err(error) => {
                let told = error.to_string();
                assert!(told.len() < 1024 && !told.contains(char::is_control), "{told}");
            }
            Ok(())
                if Validator::new_with_features(WasmFeatures::all())
                    .validate_all(data)
                    .is_ok() =>
            {
                // A module is for compiling to refuse.
                let Ok(surface) = &surface else { return };
                let has = |name: &str| surface.exports.iter().any(|export| export == name);
                assert!(has("configure") && (has("relabel") || has("admit")), "{surface:?}");
            }
            // For compiling to refuse as well.
            Ok(()) => {}
        }
    }
    if let Ok(surface) = surface {
        let all = [&surface.imports, &surface.exports, &surface.ignored];
        assert!(all.iter().all(|names| names.len() <= 256));
        let mut names = all.into_iter().flatten();
        assert!(names.all(|name| name.len() <= 256 && !name.contains(char::is_control)));
    }
});
