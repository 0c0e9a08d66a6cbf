//! One section of any content in a configuration that is otherwise sound: read, or refused with a place and a reason, and
//! the same each time.
#![no_main]

use gauntlet::config::load;
use libfuzzer_sys::fuzz_target;

const SOUND: [&str; 8] = [
    "remote_write: {listen_address: '127.0.0.1:0', insecure_http: true}",
    "admin: {listen_address: '127.0.0.1:0'}",
    "upstreams: {u: {endpoints: ['http://127.0.0.1:1']}}",
    "plugins: {}",
    "policies: {before: [], after: []}",
    "default_limits: {max_body_size: 32MiB}",
    "sandbox: {threads: 2}",
    "tenants: [{tenant: a, credentials: [{basic_auth: {username: u, password_hash: x}}]}]",
];

fuzz_target!(|data: &[u8]| {
    let Some((which, section)) = data.split_first() else { return };
    let Ok(section) = std::str::from_utf8(section) else { return };
    let which = usize::from(*which) % SOUND.len();
    let key = SOUND[which].split(':').next().unwrap();
    let mut text = format!("{key}:\n");
    for line in section.lines() {
        text += &format!("  {line}\n");
    }
    for (_, sound) in SOUND.iter().enumerate().filter(|(place, _)| *place != which) {
        text += &format!("{sound}\n");
    }
    let path = std::env::temp_dir().join(format!("gauntlet-fuzz-{}.yaml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let said = || load(&path).err().map(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>());
    let first = said();
    if let Some(errors) = &first {
        assert!(!errors.is_empty());
        assert!(errors.iter().all(|error| !error.contains('\0')), "{errors:?}");
        assert!(errors.iter().all(|error| error.len() < 1 << 16), "an error as long as a book");
    }
    assert_eq!(first, said());
});
