//! The processes of the stack: each dies with this program, and each has ports of its own.
//!
//! Takes a command line and a folder for the log; gives the toolkit's handle. Never leaves a process behind: the
//! handle's drop kills it, and the kernel does where this program itself is killed.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
pub use gauntlet_tests::process::Process;

/// Starts `argv` with its output in `<logs>/<name>.log`.
pub fn start(name: &str, logs: &Path, argv: Vec<String>) -> Result<Process> {
    // setpriv sets the parent-death signal and then becomes the program: the pid is the program's own, and a
    // SIGKILL of this process takes the whole stack with it. (`pre_exec` would need `unsafe`.)
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).args(argv);
    Process::start(name, logs.join(format!("{name}.log")), command).context("setpriv is in util-linux")
}

/// Hands out loopback ports that are free now.
///
/// Below the kernel's ephemeral range (32768 and up), so that no outgoing connection takes a port while the
/// process that owns it is down on purpose; asking for port 0 would hand out exactly those.
pub struct Ports {
    next: u16,
}

impl Ports {
    const FIRST: u16 = 12_000;
    const LAST: u16 = 32_000;

    /// Runs started at once begin at different places.
    pub fn new() -> Self {
        let span = u32::from(Self::LAST - Self::FIRST);
        let offset = std::process::id().wrapping_mul(97) % span;
        Self {
            next: Self::FIRST + u16::try_from(offset).unwrap_or(0),
        }
    }

    /// `127.0.0.1:port`.
    pub fn address(&mut self) -> Result<String> {
        for _ in Self::FIRST..Self::LAST {
            let port = self.next;
            self.next = if port + 1 >= Self::LAST { Self::FIRST } else { port + 1 };
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return Ok(format!("127.0.0.1:{port}"));
            }
        }
        bail!("no free port between {} and {}", Self::FIRST, Self::LAST)
    }
}
