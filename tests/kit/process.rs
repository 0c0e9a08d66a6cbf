//! One process: started with its output in a file, watched, signalled, ended.
//!
//! Takes a command; gives a handle that can be stopped in the ways an operator's or a machine's failure stops it, and
//! started again with the same command line. Never leaves a process behind: dropping the handle ends it.

use std::fs::{self, File, OpenOptions};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::deadline::until;

/// How long a process may take to leave when asked politely.
const LEAVE: Duration = Duration::from_secs(20);
/// Between two looks at whether it has left.
const PAUSE: Duration = Duration::from_millis(20);
/// Lines of a log that are shown with an error.
const LAST_WORDS: usize = 15;

/// A running (or stopped) program.
pub struct Process {
    name: String,
    command: Command,
    log: PathBuf,
    child: Option<Child>,
    /// Whether dropping the handle asks first: some programs take their children with them only then.
    polite: bool,
}

impl Process {
    /// Starts `command` with its output in the file `log`, which is made anew.
    ///
    /// # Errors
    /// If the program or the file cannot be had.
    pub fn start(name: &str, log: PathBuf, mut command: Command) -> Result<Self> {
        File::create(&log).with_context(|| format!("making {}", log.display()))?;
        command.stdin(Stdio::null());
        let mut process = Self {
            name: name.to_owned(),
            command,
            log,
            child: None,
            polite: false,
        };
        process.start_again()?;
        Ok(process)
    }

    /// Asked with SIGTERM and given time before it is killed, where the handle is dropped.
    pub fn asked_to_leave(mut self) -> Self {
        self.polite = true;
        self
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts the same command line again after [`Self::kill`] or [`Self::terminate`]; the log goes on.
    ///
    /// # Errors
    /// If it runs already, or cannot be started.
    pub fn start_again(&mut self) -> Result<()> {
        if self.child.is_some() {
            bail!("{} is already running", self.name);
        }
        let log = OpenOptions::new().append(true).open(&self.log)?;
        self.command.stdout(log.try_clone()?).stderr(log);
        let program = self.command.get_program().to_owned();
        let child = self.command.spawn();
        self.child = Some(child.with_context(|| format!("starting {}: {}", self.name, program.display()))?);
        Ok(())
    }

    /// # Panics
    /// If it was ended through this handle.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a process that was started").id()
    }

    /// How it ended, where it has by itself.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.as_mut().map(Child::try_wait).transpose()?.flatten())
    }

    /// # Errors
    /// If the process has ended by itself; its last words are in the error.
    pub fn expect_alive(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself ({status}); {}", self.name, self.last_words()),
        }
    }

    /// SIGKILL: the machine is gone.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().with_context(|| format!("killing {}", self.name))?;
            child.wait()?;
        }
        Ok(())
    }

    /// SIGTERM, and waits for the process to leave.
    ///
    /// # Errors
    /// If it does not run, or does not leave.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal("TERM")?;
        let what = format!("{} leaves after SIGTERM", self.name);
        let status = until(&what, LEAVE, PAUSE, || self.ended())?;
        self.child = None;
        Ok(status)
    }

    /// Sends a signal by name, `HUP` or `TERM`.
    ///
    /// # Errors
    /// If it does not run.
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

    /// Everything it has written so far, in whole lines.
    pub fn log(&self) -> String {
        let written = fs::read(&self.log).unwrap_or_default();
        let whole = written.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        String::from_utf8_lossy(&written[..whole]).into_owned()
    }

    /// The end of the log, for an error message.
    pub fn last_words(&self) -> String {
        let text = self.log();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n    ");
        format!("{} ends with\n    {tail}", self.log.display())
    }

    /// Where a gateway's listener listens, once it was logged as JSON.
    pub fn listening(&self, listener: &str) -> Option<SocketAddr> {
        let log = self.log();
        let mut events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let event = events.find(|event| event["message"] == "listening" && event["listener"] == listener)?;
        event["address"].as_str()?.parse().ok()
    }

    /// Resident memory in bytes (`VmRSS`).
    ///
    /// # Panics
    /// If it has ended.
    pub fn rss(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let line = line.unwrap_or_else(|| panic!("{} has no VmRSS: it has ended; {}", self.name, self.last_words()));
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody to report to: it may have ended already, which is what is wanted.
        if self.polite && matches!(self.ended(), Ok(None)) {
            let _ = self.terminate();
        }
        let _ = self.kill();
    }
}

/// Starts `argv` with its output in `<logs>/<name>.log`; it dies with this program.
///
/// # Errors
/// If the program or the file cannot be had.
pub fn start_mortal(name: &str, logs: &Path, argv: Vec<String>) -> Result<Process> {
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

impl Default for Ports {
    fn default() -> Self {
        Self::new()
    }
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
    ///
    /// # Errors
    /// If every port is taken.
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

/// A loopback address where nobody listens.
pub fn free_address() -> SocketAddr {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    free.local_addr().expect("its address")
}

/// Where scripts/provision puts what it builds or downloads.
///
/// # Errors
/// If it is not there.
pub fn provisioned(program: &str, version: &str) -> Result<PathBuf> {
    let cache = match std::env::var("XDG_CACHE_HOME") {
        Ok(path) if !path.is_empty() => PathBuf::from(path),
        _ => PathBuf::from(std::env::var("HOME").context("HOME is not set")?).join(".cache"),
    };
    let path = cache.join("gauntlet/bin").join(format!("{program}-{version}"));
    if !path.is_file() {
        bail!("{} is not there; scripts/provision installs it", path.display());
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(folder: &tempfile::TempDir, script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start("a shell", folder.path().join("log"), command).unwrap()
    }

    fn says(process: &Process, text: &str) {
        let log = || Ok((process.log() == text).then_some(()));
        until("the log is written", LEAVE, PAUSE, log).unwrap();
    }

    #[test]
    fn a_process_that_was_ended_starts_again_and_its_log_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = shell(&folder, "echo here; exec tail -f /dev/null");
        says(&process, "here\n");
        process.expect_alive().unwrap();
        process.kill().unwrap();
        process.start_again().unwrap();
        says(&process, "here\nhere\n");
        assert!(process.rss() > 0);
        assert!(!process.terminate().unwrap().success());
        assert!(process.signal("HUP").is_err());
    }

    #[test]
    fn a_process_that_ended_by_itself_is_told_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = shell(&folder, "echo farewell; exit 3");
        until("the end", LEAVE, PAUSE, || process.ended()).unwrap();
        let error = process.expect_alive().unwrap_err().to_string();
        assert!(
            error.contains("exit status: 3") && error.contains("farewell"),
            "{error}"
        );
    }
}
