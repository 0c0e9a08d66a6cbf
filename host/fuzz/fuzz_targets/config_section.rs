//! One section of any content in a configuration that is otherwise sound: read, or refused with a place and a reason, and
//! the same each time.
#![no_main]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use gauntlet::config::load;
use libfuzzer_sys::fuzz_target;

/// New ones at the end: seeds begin with the place.
const SOUND: [&str; 11] = [
    "remote_write: {listen_address: '127.0.0.1:0', insecure_http: true}",
    "admin: {listen_address: '127.0.0.1:0'}",
    "upstreams: {u: {endpoints: ['http://127.0.0.1:1']}}",
    "plugins: {}",
    "policies: {before: [], after: []}",
    "default_limits: {max_body_size: 32MiB}",
    "sandbox: {threads: 2}",
    "tenants: [{tenant: a, credentials: [{basic_auth: {username: u, password_hash: \
     $2b$04$8SRb6HNbP.FcIBOZtlAfx.VYelTQyaFPvEy1IBprcTAxlBPkThBU6}}]}]",
    "reserved_labels: [r]",
    "over_rate: retry",
    "memory_limit: 1GiB",
];

/// Where the text is, and what it was found to be.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let path = std::env::temp_dir().join(format!("gauntlet-fuzz-{}.yaml", std::process::id()));
    std::fs::write(&path, SOUND.join("\n")).unwrap();
    let sound = load(&path).expect("what is around the section is sound");
    assert!(
        sound.broken.is_empty() && sound.config.tenants.len() == 1,
        "{:?}",
        sound.broken
    );
    path
});

fuzz_target!(|data: &[u8]| {
    let Some((which, section)) = data.split_first() else {
        return;
    };
    let Ok(section) = std::str::from_utf8(section) else {
        return;
    };
    let which = usize::from(*which) % SOUND.len();
    let key = SOUND[which].split(':').next().unwrap();
    let mut text = format!("{key}:\n");
    for line in section.lines() {
        text += &format!("  {line}\n");
    }
    for (_, sound) in SOUND.iter().enumerate().filter(|(place, _)| *place != which) {
        text += &format!("{sound}\n");
    }
    let path = &*FILE;
    std::fs::write(path, text).unwrap();
    let first = said(path);
    for error in &first {
        assert!(!error.contains(char::is_control), "{error:?}");
        assert!(error.len() < 1 << 16, "an error as long as a book");
    }
    assert_eq!(first, said(path));
});

/// All that an operator is told about it. What is refused is refused for a reason.
fn said(path: &Path) -> Vec<String> {
    let loaded = match load(path) {
        Ok(loaded) => loaded,
        Err(errors) => {
            assert!(!errors.is_empty());
            return errors.iter().map(ToString::to_string).collect();
        }
    };
    assert!(loaded.broken.iter().all(|broken| !broken.errors.is_empty()));
    let of_tenants = loaded.broken.iter().flat_map(|broken| &broken.errors);
    let errors = of_tenants.chain(&loaded.plugins).map(ToString::to_string);
    errors.chain(loaded.warnings.iter().cloned()).collect()
}
