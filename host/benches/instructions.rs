//! How many instructions a write of 2000 samples costs, counted and not timed: the same on a busy machine.
//!
//! `cargo bench --bench instructions` runs each case under callgrind and compares with `instructions.baseline`, the
//! numbers that were last agreed on. More than 3% off in either direction fails: who changes the cost says so, by
//! changing the file in the same commit (`-- --write` does it). Setting up does not count; what plugins do counts where
//! every series is new.

#![allow(clippy::expect_used)] // What cannot be set up has nothing to count.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use bytes::Bytes;

mod setup;

use gauntlet::model::Protocol;
use setup::{COUNTED, Churn, DROPPED, EDITED, Gateway, KEPT, as_v2, compiler, recorded};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CASES: [&str; 6] = ["kept", "kept_2.0", "as_sent_2.0", "dropped", "edited", "cold"];
/// Enough that whatever happens once in a while (a table that grows) is spread.
const WRITES: usize = 40;
const TOLERANCE: f64 = 0.03;

fn main() -> ExitCode {
    if let Some(exit) = compiler() {
        return exit;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, case] = &arguments[..]
        && flag == "--count"
    {
        count(case);
        return ExitCode::SUCCESS;
    }
    std::fs::copy(std::env::current_exe().expect("this program"), counted()).expect("a copy of this program");
    // Compiles the plugins for valgrind's processor, so that nothing is compiled while instructions are counted.
    let warm_up = valgrind()
        .args(["--tool=none", "--quiet"])
        .arg(counted())
        .args(["--count", "kept"])
        .output();
    let warm_up = warm_up.expect(NO_VALGRIND);
    assert!(warm_up.status.success(), "{}", String::from_utf8_lossy(&warm_up.stderr));
    let counted: BTreeMap<&str, u64> = CASES.iter().map(|case| (*case, under_callgrind(case))).collect();
    if arguments.iter().any(|argument| argument == "--write") {
        let lines: String = counted.iter().map(|(case, n)| format!("{case} {n}\n")).collect();
        std::fs::write(baseline(), lines).expect("the baseline file");
    }
    compare(&counted)
}

fn baseline() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.baseline")
}

fn compare(counted: &BTreeMap<&str, u64>) -> ExitCode {
    let agreed = std::fs::read_to_string(baseline()).unwrap_or_default();
    let agreed: BTreeMap<&str, f64> = agreed
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(case, n)| Some((case, n.parse().ok()?)))
        .collect();
    let mut off = false;
    for (case, n) in counted {
        let change = agreed
            .get(case)
            .map_or(f64::INFINITY, |agreed| *n as f64 / agreed - 1.0);
        let verdict = if change.abs() > TOLERANCE { "OFF" } else { "ok" };
        off |= change.abs() > TOLERANCE;
        println!(
            "{case:11} {n:>9} instructions per write, {:+.1}% {verdict}",
            change * 100.0
        );
    }
    if off {
        eprintln!(
            "more than 3% off: `cargo bench -p gauntlet --bench instructions -- --write`, and say why in the commit"
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

const NO_VALGRIND: &str = "valgrind is missing: scripts/provision instructions installs it";

fn valgrind() -> Command {
    Command::new("valgrind")
}

/// This program under the name that says that it is counted.
fn counted() -> PathBuf {
    let this = std::env::current_exe().expect("this program");
    this.with_file_name(COUNTED)
}

/// Instructions per write.
fn under_callgrind(case: &str) -> u64 {
    let output = valgrind()
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--collect-atstart=no",
        ])
        .arg("--toggle-collect=*instructions::measured*")
        // Work on a plugin thread goes on while the write waits for it, so it has a toggle of its own, which counts
        // what plugins do when they are set up as well: little beside what they do for writes that are always new.
        .args((case == "cold").then_some("--toggle-collect=*sandbox::threads::Job>::step*"))
        .arg(counted())
        .args(["--count", case])
        .output()
        .expect(NO_VALGRIND);
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().rev().find_map(|line| line.split_once("Collected : "));
    let (_, number) = collected.unwrap_or_else(|| panic!("callgrind counted nothing:\n{text}"));
    number.trim().parse::<u64>().expect("a number") / WRITES as u64
}

fn count(case: &str) {
    let bodies = recorded();
    let policies = match case {
        "dropped" => DROPPED,
        "edited" => EDITED,
        _ => KEPT,
    };
    let gateway = match case {
        "as_sent_2.0" => Gateway::before(Protocol::V2, policies),
        _ => Gateway::new(policies),
    };
    let writes: Vec<Bytes> = match case {
        "cold" => {
            let mut churn = Churn::new(&bodies[0]);
            (0..WRITES + 4).map(|_| churn.next()).collect()
        }
        "kept_2.0" | "as_sent_2.0" => bodies.iter().map(as_v2).cycle().take(WRITES + 4).collect(),
        _ => bodies.iter().cycle().take(WRITES + 4).cloned().collect(),
    };
    // The first writes find nothing in the memo and no buffer to use again.
    let (warm_up, counted) = writes.split_at(4);
    let protocol = match case {
        "kept_2.0" | "as_sent_2.0" => Protocol::V2,
        _ => Protocol::V1,
    };
    for body in warm_up {
        gateway.runtime.block_on(gateway.process_as(protocol, body));
    }
    for body in counted {
        measured(&gateway, protocol, body);
    }
}

#[inline(never)]
fn measured(gateway: &Gateway, protocol: Protocol, body: &Bytes) {
    black_box(gateway.runtime.block_on(gateway.process_as(protocol, black_box(body))));
}
