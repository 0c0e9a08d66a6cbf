//! Compiling plugins, in a child process that can be killed.
//!
//! Takes a component's bytes, gives machine code. A megabyte of hostile WebAssembly takes most of a minute or a
//! gigabyte to compile, and no limit inside the process would stop it; so the same binary is started again as
//! `gauntlet compile`, under limits of processor time and address space that it sets itself before it reads a
//! byte, and under a wall clock that the parent watches. One child at a time, whose memory is held for it; where the system
//! has none all the same, it is the first to be killed. The child has no environment, and its output counts only if it
//! exits well.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdout, Command};

use super::artefact::{Artefact, MAX_ARTEFACT};
use super::outline;
use super::quota::{NoRoom, Quota};
use super::target;
use crate::memory::{Full, Held};
use crate::model::plain;

/// Largest plugin, in bytes. Python's, the largest known, has 18 MB.
pub const MAX_PLUGIN: usize = 64 << 20;
/// Longest complaint of the child kept, in bytes.
const MAX_COMPLAINT: usize = 2048;
/// Files the child may hold open: three pipes and what the dynamic linker and the thread pool want for a moment.
const MAX_FILES: u64 = 64;
/// The child yields to everything else on the machine.
const NICE: i32 = 10;
/// And is the first to be killed where memory runs out.
const KILL_FIRST: &str = "1000";
/// Each takes memory of its own: on a machine with many processors they would be most of it.
const MAX_THREADS: usize = 4;
/// By how much the room for machine code grows, in bytes.
const CODE_STEP: usize = 4 << 20;

const PROCESSOR_SECONDS: &str = "--processor-seconds";
const MEMORY_BYTES: &str = "--memory-bytes";
/// Makes code that counts its instructions.
pub(super) const COUNT: &str = "--count-instructions";
const DENY_WASI: &str = "--deny-wasi";
/// How the child ends where the plugin breaks the contract.
const BREAKS_CONTRACT: u8 = 3;

/// How the compiling child is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiler {
    pub program: PathBuf,
    pub args: Vec<OsString>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    #[error("has {0} bytes, more than the {MAX_PLUGIN} a plugin may have")]
    TooLarge(usize),
    #[error("is a core WebAssembly module, not a component: `gauntlet plugin build` makes one of it")]
    CoreModule,
    #[error("is not WebAssembly")]
    NotWasm,
    /// What it imports or exports.
    #[error("{0}")]
    Contract(String),
    #[error("does not compile: {0}")]
    Refused(String),
    #[error("takes more to compile than the {} s of processor time that `sandbox.compile_timeout` allows a plugin of its size", .0.as_secs_f64())]
    TooSlow(Duration),
    /// Others had the processors.
    #[error(
        "could not be compiled within {} s because the machine is too busy, and is tried again when the configuration is \
         read the next time; `sandbox.compile_timeout` is half of that",
        .0.as_secs_f64()
    )]
    TooBusy(Duration),
    #[error("takes more memory to compile than the {0} bytes that `sandbox.compile_memory_limit` allows")]
    TooMuchMemory(u64),
    #[error("takes more memory to compile than the {0} bytes that `memory_limit` leaves for it at best")]
    TooMuchOfLimit(u64),
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    #[error("cannot be compiled now: {0}, which its machine code would be")]
    NoRoomForCode(Full),
    #[error("compiles to more than {MAX_ARTEFACT} bytes")]
    ArtefactTooLarge,
    #[error("the compiling process died: {0}")]
    Died(String),
    #[error("the compiling process could not be run: {0}")]
    NotRun(String),
}

/// Compiles `wasm` in a child process, if it keeps to the contract. `wasi`: whether stock toolchains' imports are linked.
/// Dropping the future kills the child.
///
/// # Errors
/// Says what is wrong with the plugin, or which bound it broke.
pub async fn compile(compiler: &Compiler, mut quota: Quota, wasi: bool, wasm: &[u8]) -> Result<Artefact, CompileError> {
    precheck(wasm)?;
    let mut child = Command::new(&compiler.program)
        .args(&compiler.args)
        .arg(PROCESSOR_SECONDS)
        .arg(quota.processor.as_secs().max(1).to_string())
        .arg(MEMORY_BYTES)
        .arg(quota.memory.to_string())
        .args((!wasi).then_some(DENY_WASI))
        .env_clear()
        // mimalloc reserves address space by the gigabyte, which is what the child has least of.
        .env("MIMALLOC_ARENA_RESERVE", "65536")
        .env("RAYON_NUM_THREADS", threads().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| CompileError::NotRun(error.to_string()))?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(CompileError::NotRun("no pipes".to_owned()));
    };
    let feed = async move {
        // A child that dies early says why on its standard error.
        let _ = stdin.write_all(wasm).await;
        drop(stdin);
    };
    let mut complaint = Vec::new();
    let held = &mut quota.code;
    let talk = async {
        let mut stderr = stderr.take(MAX_COMPLAINT as u64);
        let read = async { tokio::join!(read_code(stdout, held), stderr.read_to_end(&mut complaint)) };
        let (_, (code, complained)) = tokio::join!(feed, read);
        let not_run = |error: std::io::Error| CompileError::NotRun(error.to_string());
        complained.map_err(not_run)?;
        Ok((code?, child.wait().await.map_err(not_run)?))
    };
    let talked = tokio::time::timeout(quota.wall, talk).await;
    match talked.unwrap_or(Err(CompileError::TooBusy(quota.wall))) {
        Ok((code, status)) if status.success() => Ok(Artefact::from_child(code, quota.code)),
        Ok((_, status)) => Err(died(status, &complaint, &quota)),
        Err(error) => {
            // What is held for it is given back when it is gone.
            let _ = child.kill().await;
            Err(error)
        }
    }
}

/// Each its own part of the work, as far as there are processors.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| processors.get().min(MAX_THREADS))
}

/// To the end of what the child says; what it takes is held.
async fn read_code(mut stdout: ChildStdout, held: &mut Held) -> Result<Vec<u8>, CompileError> {
    let mut code = Vec::new();
    loop {
        if code.len() == code.capacity() {
            held.grow(CODE_STEP as u64).map_err(CompileError::NoRoomForCode)?;
            code.reserve_exact(CODE_STEP);
        }
        let read = stdout.read_buf(&mut code).await;
        if read.map_err(|error| CompileError::NotRun(error.to_string()))? == 0 {
            return Ok(code);
        }
        if code.len() as u64 > MAX_ARTEFACT {
            return Err(CompileError::ArtefactTooLarge);
        }
    }
}

/// Tells apart what a child process need not be started for.
fn precheck(wasm: &[u8]) -> Result<(), CompileError> {
    if wasm.len() > MAX_PLUGIN {
        return Err(CompileError::TooLarge(wasm.len()));
    }
    match wasm.get(..8) {
        Some([0, b'a', b's', b'm', _, 0, 1, 0]) => Ok(()),
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => Err(CompileError::CoreModule),
        _ => Err(CompileError::NotWasm),
    }
}

fn died(status: ExitStatus, complaint: &[u8], quota: &Quota) -> CompileError {
    use std::os::unix::process::ExitStatusExt;
    let complaint = plain(String::from_utf8_lossy(complaint).trim(), MAX_COMPLAINT);
    if status.code() == Some(BREAKS_CONTRACT.into()) {
        return CompileError::Contract(complaint);
    }
    let Some(signal) = status.signal() else {
        return match out_of_memory(&complaint) {
            true => CompileError::TooMuchMemory(quota.memory),
            false => CompileError::Refused(complaint),
        };
    };
    match Signal::from_named_raw(signal) {
        Some(Signal::XCPU) => CompileError::TooSlow(quota.processor),
        // The limit's second threshold, or the system's memory is gone; nobody else kills it.
        Some(Signal::KILL) => CompileError::Died("killed".to_owned()),
        // Allocation failures abort, and a stack that cannot grow faults.
        Some(Signal::ABORT | Signal::SEGV | Signal::BUS) if out_of_memory(&complaint) => {
            CompileError::TooMuchMemory(quota.memory)
        }
        _ => CompileError::Died(format!("signal {signal}: {complaint}")),
    }
}

/// How the standard library, wasmtime and `mmap` say it, and valgrind, under which instructions are counted.
fn out_of_memory(complaint: &str) -> bool {
    [
        "memory allocation of",
        "out of memory",
        "out_of_memory",
        "Cannot allocate memory",
        "failed to allocate",
    ]
    .iter()
    .any(|words| complaint.contains(words))
}

/// `gauntlet compile`: a component on standard input, machine code on standard output, complaints on standard
/// error.
pub fn child_main() -> ExitCode {
    match child() {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            let _ = writeln!(std::io::stderr(), "{}", complaint.text);
            ExitCode::from(complaint.code)
        }
    }
}

/// Why the child has no machine code to give.
struct Complaint {
    code: u8,
    text: String,
}

impl From<String> for Complaint {
    fn from(text: String) -> Self {
        Self { code: 1, text }
    }
}

fn child() -> Result<(), Complaint> {
    // Not being allowed to is no reason not to compile.
    let _ = std::fs::write("/proc/self/oom_score_adj", KILL_FIRST);
    let seconds = argument(PROCESSOR_SECONDS)?;
    let memory = argument(MEMORY_BYTES)?;
    let limits = [
        (Resource::Cpu, seconds),
        (Resource::As, memory),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Nofile, MAX_FILES),
    ];
    for (resource, most) in limits {
        // Were both bounds of the processor's one, the kernel would send KILL, which does not say why.
        let grace = u64::from(resource == Resource::Cpu);
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most.saturating_add(grace)),
        };
        setrlimit(resource, limit).map_err(|error| format!("cannot set {resource:?}: {error}"))?;
    }
    let _ = rustix::process::nice(NICE);
    let mut wasm = Vec::new();
    std::io::stdin()
        .lock()
        .take(MAX_PLUGIN as u64 + 1)
        .read_to_end(&mut wasm)
        .map_err(|error| format!("cannot read the plugin: {error}"))?;
    precheck(&wasm).map_err(|error| error.to_string())?;
    let wasi = std::env::args_os().all(|argument| argument != DENY_WASI);
    // Before it is compiled, which may take half a minute.
    outline::check(&wasm, wasi).map_err(|error| Complaint {
        code: BREAKS_CONTRACT,
        text: error.to_string(),
    })?;
    let counts = std::env::args_os().any(|argument| argument == COUNT);
    let code = target::compiling(counts)
        .and_then(|engine| engine.precompile_component(&wasm))
        .map_err(|error| format!("{error:#}"))?;
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(&code)
        .and_then(|()| stdout.flush())
        .map_err(|error| format!("cannot write: {error}"))?;
    Ok(())
}

/// The number behind `name` on the command line. Without its limits the child must not run.
fn argument(name: &str) -> Result<u64, String> {
    let mut arguments = std::env::args_os().skip_while(|argument| argument != name).skip(1);
    arguments
        .next()
        .and_then(|value| value.to_str()?.parse().ok())
        .ok_or_else(|| format!("{name} is missing; `compile` is started by gauntlet itself"))
}
