//! A cgroup of 1 GiB for a gateway to live in, as in the deployment: the kernel kills what takes more.
//!
//! Takes a command, gives one that begins inside; says how much was taken at most. Where no cgroup can be made it says so
//! once, and whoever looks holds resident memory against the same number. Removed when dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// What deploy/kubernetes gives it. Bytes.
pub const LIMIT: u64 = 1 << 30;

/// By version: where cgroups are, and the files for the limit, swap, the peak.
const VERSIONS: [(&str, &str, &str, &str); 2] = [
    (
        "/sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.memsw.limit_in_bytes",
        "memory.max_usage_in_bytes",
    ),
    ("/sys/fs/cgroup", "memory.max", "memory.swap.max", "memory.peak"),
];

static NUMBER: AtomicU32 = AtomicU32::new(0);
static TOLD: Once = Once::new();

/// None inside: memory is only watched.
pub struct Cage(Option<Group>);

struct Group {
    folder: PathBuf,
    peak: &'static str,
}

impl Cage {
    pub fn new() -> Self {
        let group = VERSIONS.iter().find_map(|version| Group::new(*version));
        if group.is_none() {
            TOLD.call_once(|| eprintln!("No cgroup can be made here: resident memory is held against 1 GiB instead."));
        }
        Self(group)
    }

    /// `program`, which begins its life inside.
    pub fn command(&self, program: &Path) -> Command {
        let Some(Group { folder, .. }) = &self.0 else {
            return Command::new(program);
        };
        let mut command = Command::new("sh");
        let enter = format!("echo $$ > '{}/cgroup.procs' && exec \"$0\" \"$@\"", folder.display());
        command.arg("-c").arg(enter).arg(program);
        command
    }

    /// The most that was ever taken, caches of files included. Bytes.
    pub fn peak(&self) -> Option<u64> {
        let Group { folder, peak } = self.0.as_ref()?;
        fs::read_to_string(folder.join(peak)).ok()?.trim().parse().ok()
    }

    /// Whether the kernel sees to the limit.
    pub fn is_enforced(&self) -> bool {
        self.0.is_some()
    }
}

impl Group {
    fn new((root, limit, swap, peak): (&str, &str, &str, &'static str)) -> Option<Self> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = Path::new(root).join(format!("gauntlet-attack-{}-{number}", std::process::id()));
        fs::create_dir(&folder).ok()?;
        let group = Self { folder, peak };
        fs::write(group.folder.join(limit), LIMIT.to_string()).ok()?;
        // Where there is no swap there is no such file, or nothing to say.
        let _ = fs::write(
            group.folder.join(swap),
            if limit == "memory.max" {
                "0".into()
            } else {
                LIMIT.to_string()
            },
        );
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last process has been waited for, but the kernel may still be about to let go of it.
        for _ in 0..50 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
