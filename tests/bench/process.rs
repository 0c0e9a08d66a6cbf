//! One child process: its start, its log, its CPU time and memory, its end.
//!
//! Takes a command line, gives a handle that stops the process when it goes, also in a panic. CPU time is the
//! kernel's, never a clock around the code, and has the children's in it. Never leaves a process behind.

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// From start to the first accepted connection or log line; 10,000 tenants on a busy machine take the longest.
const READY: Duration = Duration::from_secs(180);
/// From TERM to the end; then KILL.
const END: Duration = Duration::from_secs(10);

pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // TERM first: nginx's master takes its worker with it only then.
        let _ = Command::new("kill").arg(self.pid().to_string()).status();
        let deadline = Instant::now() + END;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts `command` with its output in a file of `folder`.
    ///
    /// # Panics
    /// Where it cannot be started, with `hint`: who installs it.
    pub fn start(name: &str, folder: &Path, mut command: Command, hint: &str) -> Self {
        let log = folder.join(format!("{}.log", slug(name)));
        let file = File::create(&log).expect("a log file");
        let again = file.try_clone().expect("a second handle");
        let program = command.get_program().to_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(again)
            .spawn()
            .unwrap_or_else(|e| panic!("{name}: cannot start {}: {e}; {hint}", program.display()));
        Self {
            name: name.to_owned(),
            child,
            log,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `found` finds something in the log.
    ///
    /// # Panics
    /// Where the process ends first, or time runs out.
    pub fn wait_for<T>(&mut self, what: &str, mut found: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + READY;
        loop {
            let log = String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned();
            if let Some(found) = found(&log) {
                return found;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("{} ended ({status}) before {what}:\n{}", self.name, tail(&log));
            }
            assert!(
                Instant::now() < deadline,
                "{}: no sign of {what} in {READY:?}:\n{}",
                self.name,
                tail(&log)
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until something listens at `address`.
    pub fn wait_for_port(&mut self, address: SocketAddr) {
        self.wait_for("listening", |_| TcpStream::connect(address).ok().map(drop));
    }

    pub fn log(&self) -> String {
        tail(&String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()))
    }

    /// CPU time so far.
    pub fn cpu(&self) -> Cpu {
        Cpu::of(self.pid())
    }

    /// Resident memory in bytes (`VmRSS`).
    pub fn rss(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running process");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap_or_else(|| panic!("{} has no VmRSS: it has ended\n{}", self.name, self.log()));
        let kilobytes = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
        kilobytes * 1024
    }
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

/// A port that nobody listens on.
pub fn free_address() -> SocketAddr {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    free.local_addr().expect("its address")
}

/// A name as a file name.
pub fn slug(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect()
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
