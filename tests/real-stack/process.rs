//! One process of the stack: started, logged, killed by its own id.
//!
//! Takes a command line and a folder for the log; gives a handle that can be stopped in the ways an operator's or
//! a machine's failure stops it, and started again with the same command line. Never leaves a process behind: the
//! handle's drop kills it, and the kernel does where this program itself is killed.

use std::fs::OpenOptions;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::wait;

/// How long a process may take to leave when asked politely.
const LEAVE: Duration = Duration::from_secs(20);

/// A running (or stopped) program of the stack.
pub struct Process {
    name: String,
    argv: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Starts `argv` with its output appended to `<logs>/<name>.log`.
    pub fn start(name: &str, logs: &Path, argv: Vec<String>) -> Result<Self> {
        let mut process = Self::start_later(name, logs, argv);
        process.start_again()?;
        Ok(process)
    }

    /// A process that [`Self::start_again`] will start for the first time.
    pub fn start_later(name: &str, logs: &Path, argv: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            argv,
            log: logs.join(format!("{name}.log")),
            child: None,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts the same command line again after [`Self::kill`] or [`Self::terminate`].
    pub fn start_again(&mut self) -> Result<()> {
        if self.child.is_some() {
            bail!("{} is already running", self.name);
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("opening {}", self.log.display()))?;
        // setpriv sets the parent-death signal and then becomes the program: the pid is the program's own, and a
        // SIGKILL of this process takes the whole stack with it. (`pre_exec` would need `unsafe`.)
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(&self.argv)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {} (setpriv is in util-linux)", self.name))?;
        self.child = Some(child);
        Ok(())
    }

    /// Fails where the process has ended by itself; its last words are in the error.
    pub fn expect_alive(&mut self) -> Result<()> {
        let Some(child) = self.child.as_mut() else {
            return Ok(());
        };
        match child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself ({status}); {}", self.name, self.last_words()),
        }
    }

    /// SIGKILL: the machine is gone.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().with_context(|| format!("killing {}", self.name))?;
            child.wait()?;
        }
        Ok(())
    }

    /// SIGTERM, and waits for the process to leave.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal("TERM")?;
        let Some(child) = self.child.as_mut() else {
            bail!("{} is not running", self.name)
        };
        let status = wait::until(&format!("{} leaves after SIGTERM", self.name), LEAVE, || {
            Ok(child.try_wait()?)
        })?;
        self.child = None;
        Ok(status)
    }

    /// Sends a signal by name, `HUP` or `TERM`.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let Some(child) = self.child.as_ref() else {
            bail!("{} is not running", self.name)
        };
        let script = format!("kill -{signal} {}", child.id());
        let status = Command::new("sh").args(["-c", &script]).status()?;
        if !status.success() {
            bail!("`{script}` for {}: {status}", self.name);
        }
        Ok(())
    }

    /// The end of the log, for an error message.
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(6)..].join("\n    ");
        format!("{} ends with\n    {tail}", self.log.display())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing to report to: the process may have ended already, which is what is wanted.
        let _ = self.kill();
    }
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
