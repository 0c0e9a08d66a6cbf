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

use rustix::process::{Pid, Signal, kill_process};

/// What deploy/kubernetes gives it. Bytes.
pub const LIMIT: u64 = 1 << 30;

/// Where cgroups are and what they call their files.
#[derive(Clone, Copy)]
struct Version {
    root: &'static str,
    limit: &'static str,
    /// And how much of it there may be: version 1 counts memory and swap together.
    swap: (&'static str, u64),
    peak: &'static str,
    /// With a line of how many processes were killed.
    kills: &'static str,
}

const VERSIONS: [Version; 2] = [
    Version {
        root: "/sys/fs/cgroup/memory",
        limit: "memory.limit_in_bytes",
        swap: ("memory.memsw.limit_in_bytes", LIMIT),
        peak: "memory.max_usage_in_bytes",
        kills: "memory.oom_control",
    },
    Version {
        root: "/sys/fs/cgroup",
        limit: "memory.max",
        swap: ("memory.swap.max", 0),
        peak: "memory.peak",
        kills: "memory.events",
    },
];

static NUMBER: AtomicU32 = AtomicU32::new(0);
static TOLD: Once = Once::new();

/// None inside: memory is only watched.
pub struct Cage(Option<Group>);

struct Group {
    folder: PathBuf,
    version: Version,
}

impl Cage {
    pub fn new() -> Self {
        let group = VERSIONS.into_iter().find_map(Group::new);
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
        let group = self.0.as_ref()?;
        group.read(group.version.peak)?.trim().parse().ok()
    }

    /// How many processes the kernel has killed inside. An orchestrator that kills the whole group for one of them
    /// makes no difference between a gateway and a child that compiles for it.
    pub fn kills(&self) -> usize {
        let told = self.0.as_ref().and_then(|group| group.read(group.version.kills));
        let told = told.unwrap_or_default();
        let line = told.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }

    /// Whether the kernel sees to the limit.
    pub fn is_enforced(&self) -> bool {
        self.0.is_some()
    }
}

impl Group {
    fn new(version: Version) -> Option<Self> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = Path::new(version.root).join(format!("gauntlet-attack-{}-{number}", std::process::id()));
        fs::create_dir(&folder).ok()?;
        let group = Self { folder, version };
        fs::write(group.folder.join(version.limit), LIMIT.to_string()).ok()?;
        // Where there is no swap there may be no such file.
        let (swap, most) = version.swap;
        let _ = fs::write(group.folder.join(swap), most.to_string());
        Some(group)
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(file)).ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The gateway has been waited for. A child that it started may outlive it, and the kernel takes its time.
        for _ in 0..100 {
            for pid in self.read("cgroup.procs").unwrap_or_default().lines() {
                if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
                    // It may have ended by itself.
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        eprintln!("{} could not be removed.", self.folder.display());
    }
}
