//! What is measured of a process: when it is there, and its CPU time.
//!
//! Takes a command line, gives the toolkit's handle, which stops the process when it goes, also in a panic. CPU time is
//! the kernel's, never a clock around the code, and has the children's in it.

use std::collections::HashMap;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gauntlet_tests::deadline::until;
pub use gauntlet_tests::process::{Process, free_address};

/// From start to the first accepted connection or log line; 10,000 tenants on a busy machine take the longest.
const READY: Duration = Duration::from_secs(180);
/// Short, because the time to the first connection is measured.
const PAUSE: Duration = Duration::from_millis(5);

/// Starts `command` with its output in a file of `folder`.
///
/// # Panics
/// If it cannot be started, with `hint`: who installs it.
pub fn start(name: &str, folder: &Path, command: Command, hint: &str) -> Process {
    let log = folder.join(format!("{}.log", slug(name)));
    let process = Process::start(name, log, command).unwrap_or_else(|e| panic!("{e:#}; {hint}"));
    // nginx's master takes its worker with it only then.
    process.asked_to_leave()
}

/// Waits until `found` finds something.
///
/// # Panics
/// If the process ends first, or time runs out.
pub fn wait_for<T>(process: &mut Process, what: &str, mut found: impl FnMut(&Process) -> Option<T>) -> T {
    let what = format!("{}: {what}", process.name());
    let found = until(&what, READY, PAUSE, || {
        let found = found(process);
        if found.is_none() {
            process
                .expect_alive()
                .unwrap_or_else(|e| panic!("before {what}: {e:#}"));
        }
        Ok(found)
    });
    found.unwrap_or_else(|e| panic!("{e:#}; {}", process.last_words()))
}

/// Waits until something listens at `address`.
pub fn wait_for_port(process: &mut Process, address: SocketAddr) {
    wait_for(process, "listening", |_| TcpStream::connect(address).ok().map(drop));
}

/// User and system time of a process and its children up to one moment.
pub struct Cpu {
    /// `/proc/<pid>/stat`: has threads in it that ended, in ticks of 10 ms.
    ticks: u64,
    /// `/proc/<pid>/task/<tid>/schedstat`: exact, living threads only.
    threads: HashMap<u32, u64>,
}

impl Cpu {
    pub fn of(pid: u32) -> Self {
        let mut cpu = Self {
            ticks: 0,
            threads: HashMap::new(),
        };
        cpu.add(pid);
        cpu
    }

    fn add(&mut self, pid: u32) {
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            return;
        };
        let after_name = stat.rsplit_once(')').expect("a name").1;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        self.ticks += fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
            return;
        };
        for task in tasks.flatten() {
            // A thread may end between the listing and the reading.
            let Ok(schedstat) = fs::read_to_string(task.path().join("schedstat")) else {
                continue;
            };
            let thread = task.file_name().to_string_lossy().parse().expect("a thread's id");
            let run = schedstat.split_whitespace().next().and_then(|n| n.parse().ok());
            self.threads.insert(thread, run.unwrap_or(0));
            for child in fs::read_to_string(task.path().join("children"))
                .unwrap_or_default()
                .split_whitespace()
            {
                self.add(child.parse().expect("a pid"));
            }
        }
    }

    /// Nanoseconds from `before` to `self`.
    pub fn since(&self, before: &Self) -> f64 {
        let of_thread = |(thread, now): (&u32, &u64)| now - before.threads.get(thread).unwrap_or(&0).min(now);
        let exact = self.threads.iter().map(of_thread).sum::<u64>() as f64;
        // USER_HZ is 100 on every Linux that Rust runs on.
        let coarse = self.ticks.saturating_sub(before.ticks) as f64 * 1e7;
        // Where threads have ended in between, or the kernel keeps no schedstat, the ticks know more.
        if coarse - exact > 5e7 { coarse } else { exact }
    }
}

/// A name as a file name.
pub fn slug(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect()
}
