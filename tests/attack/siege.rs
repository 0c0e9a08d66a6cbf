//! One gateway under attack: started in its cage, its memory watched, its death noticed.
//!
//! Takes a setup and a program, gives the gateway and what became of it. Never lets a gateway take more than its share of
//! this machine: where no cgroup holds it, it is killed at the same number.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use gauntlet_tests::{Gateway, Setup};
use rustix::process::{Pid, Signal, kill_process};

use crate::cage::{Cage, LIMIT};
use crate::options::Program;

const LOOK: Duration = Duration::from_millis(50);
pub const MIB: f64 = (1 << 20) as f64;

pub struct Siege {
    pub gateway: Gateway,
    // Behind the gateway, so that the cage is empty when it is removed.
    cage: Cage,
    watch: Arc<Watch>,
}

#[derive(Default)]
struct Watch {
    peak: AtomicU64,
    ends: AtomicBool,
}

impl Siege {
    pub async fn begin(program: &Program, mut setup: Setup) -> Self {
        let cage = Cage::new();
        // What it would find out by itself in a cgroup. The program beside may be too old to be told.
        if !cage.is_enforced() && !program.is_beside {
            setup.put("/memory_limit", LIMIT / 10 * 8);
        }
        let gateway = Gateway::start_program(setup, cage.command(&program.path)).await;
        let watch = Arc::new(Watch::default());
        let (seen, pid, kills) = (Arc::clone(&watch), gateway.pid(), !cage.is_enforced());
        thread::spawn(move || seen.look(pid, kills));
        Self { gateway, cage, watch }
    }

    /// How often it, or a child of it, was killed or ended by itself. Why is shown.
    pub fn deaths(&mut self) -> usize {
        let (death, kills) = (self.gateway.death(), self.cage.kills());
        if death.is_some() || kills > 0 {
            eprintln!("the gateway ended: {death:?}; processes killed by the kernel: {kills}");
        }
        kills.max(usize::from(death.is_some()))
    }

    /// The most memory that was taken, in words.
    pub fn memory(&self) -> String {
        let mib = |bytes: u64| bytes as f64 / MIB;
        let resident = mib(self.watch.peak.load(Ordering::Relaxed));
        match self.cage.peak() {
            Some(peak) => format!(
                "peak {resident:.0} MiB resident, {:.0} of {:.0} in its cgroup",
                mib(peak),
                mib(LIMIT)
            ),
            None => format!("peak {resident:.0} MiB resident"),
        }
    }
}

impl Drop for Siege {
    fn drop(&mut self) {
        self.watch.ends.store(true, Ordering::Relaxed);
    }
}

impl Watch {
    fn look(&self, pid: u32, kills: bool) {
        while !self.ends.load(Ordering::Relaxed) {
            let bytes = resident(pid);
            self.peak.fetch_max(bytes, Ordering::Relaxed);
            if kills && bytes > LIMIT {
                let process = Pid::from_raw(pid as i32).expect("a pid");
                // It may have ended by itself.
                let _ = kill_process(process, Signal::KILL);
                return;
            }
            thread::sleep(LOOK);
        }
    }
}

/// Of a process and its children. Bytes; 0 where it has ended.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let own = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    own.unwrap_or(0) * 1024 + children(pid).into_iter().map(resident).sum::<u64>()
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let of_task = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
    let texts: Vec<String> = tasks.map(of_task).collect();
    texts
        .iter()
        .flat_map(|text| text.split_whitespace())
        .filter_map(|pid| pid.parse().ok())
        .collect()
}
