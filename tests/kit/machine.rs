//! What the numbers were measured on.
//!
//! Takes nothing, gives a few words for people. Where the system does not say, neither does this.

use std::fs;
use std::thread;

/// The processor's name, and how many cores of it there are.
pub fn processors() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.unwrap_or("an unnamed processor");
    let cores = thread::available_parallelism().map_or(0, usize::from);
    format!("{}, {cores} cores", model.trim_start_matches(['\t', ':', ' ']))
}
