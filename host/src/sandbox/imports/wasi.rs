//! The empty world that stock toolchains' `wasi:*` imports get.
//!
//! Takes a linker, gives it `wasi:cli`, `io`, `clocks`, `random` and `filesystem` over a context with nothing in
//! it: no files, sockets, environment or arguments, a stopped clock, numbers that only look random. Never waits
//! for anything: a host call that sleeps is out of reach of every deadline.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliCtxView};
use wasmtime_wasi::clocks::{HostMonotonicClock, HostWallClock, WasiClocks, WasiClocksCtxView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemCtxView};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random, sync};
use wasmtime_wasi::p2::pipe::ClosedInputStream;
use wasmtime_wasi::random::{Deterministic, WasiRandom};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

use super::denied;
use super::log::{Lines, Stdout};

/// The interfaces that are linked, as a component names them.
const INTERFACES: [&str; 5] = [
    "wasi:cli/",
    "wasi:io/",
    "wasi:clocks/",
    "wasi:random/",
    "wasi:filesystem/",
];

/// Whether a plugin that imports this gets something, be it a function that only says no.
pub fn is_linked(name: &str) -> bool {
    INTERFACES.iter().any(|prefix| name.starts_with(prefix)) || denied::has_interface(name)
}

/// Handles (streams, pollables, errors) one instance may hold. A Go or Python guest holds fewer than ten.
const MAX_HANDLES: usize = 256;
/// Most random bytes per call. A language's hash seed is 16 or 32.
const MAX_RANDOM: u64 = 4096;
/// 2024-01-01T00:00:00Z: late enough that no toolchain takes it for an unset clock.
const WALL_CLOCK: Duration = Duration::from_secs(1_704_067_200);
/// Not zero, which some runtimes take for "not started".
const MONOTONIC_CLOCK: u64 = 1_000_000_000;

/// What one instance's WASI calls work on.
pub struct Wasi {
    ctx: WasiCtx,
    table: ResourceTable,
}

impl Wasi {
    pub fn new(lines: &Arc<Mutex<Lines>>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        let ctx = WasiCtxBuilder::new()
            .stdin(ClosedInputStream)
            .stdout(Stdout(lines.clone()))
            .stderr(Stdout(lines.clone()))
            .wall_clock(Stopped)
            .monotonic_clock(Stopped)
            .secure_random(Deterministic::new(seed()))
            .insecure_random(Deterministic::new(seed()))
            .insecure_random_seed(0x6761_756e_746c_6574)
            .max_random_size(MAX_RANDOM)
            .allow_blocking_current_thread(true)
            .build();
        Self { ctx, table }
    }
}

/// The same for every instance: verdicts are remembered, so they must not depend on chance.
fn seed() -> Vec<u8> {
    // A full-period generator modulo 256 (Hull and Dobell): every byte once.
    (0..=255u8)
        .scan(0u8, |x, _| {
            *x = x.wrapping_mul(141).wrapping_add(77);
            Some(*x)
        })
        .collect()
}

struct Stopped;

impl HostWallClock for Stopped {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        WALL_CLOCK
    }
}

impl HostMonotonicClock for Stopped {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        MONOTONIC_CLOCK
    }
}

struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}

/// `wasi:clocks/monotonic-clock` whose timers are always due. The stock one sleeps for as long as a plugin asks.
struct AlwaysDue<'a>(WasiClocksCtxView<'a>);

impl HasData for AlwaysDue<'static> {
    type Data<'a> = AlwaysDue<'a>;
}

impl monotonic_clock::Host for AlwaysDue<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        self.0.now()
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        monotonic_clock::Host::resolution(&mut self.0)
    }

    fn subscribe_instant(&mut self, _when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.0.subscribe_duration(0)
    }

    fn subscribe_duration(&mut self, _duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.0.subscribe_duration(0)
    }
}

/// Links the interfaces.
pub fn link<S: AsMut<Wasi> + 'static>(linker: &mut Linker<S>) -> wasmtime::Result<()> {
    let l = linker;
    wasmtime_wasi::p2::bindings::io::error::add_to_linker::<S, Io>(l, |s| &mut s.as_mut().table)?;
    sync::io::poll::add_to_linker::<S, Io>(l, |s| &mut s.as_mut().table)?;
    sync::io::streams::add_to_linker::<S, Io>(l, |s| &mut s.as_mut().table)?;
    clocks::wall_clock::add_to_linker::<S, WasiClocks>(l, clocks_of)?;
    monotonic_clock::add_to_linker::<S, AlwaysDue<'static>>(l, |s| AlwaysDue(clocks_of(s)))?;
    filesystem::preopens::add_to_linker::<S, WasiFilesystem>(l, files_of)?;
    sync::filesystem::types::add_to_linker::<S, WasiFilesystem>(l, files_of)?;
    random::random::add_to_linker::<S, WasiRandom>(l, |s| s.as_mut().ctx.random())?;
    random::insecure::add_to_linker::<S, WasiRandom>(l, |s| s.as_mut().ctx.random())?;
    random::insecure_seed::add_to_linker::<S, WasiRandom>(l, |s| s.as_mut().ctx.random())?;
    cli::environment::add_to_linker::<S, WasiCli>(l, cli_of)?;
    cli::exit::add_to_linker::<S, WasiCli>(l, cli_of)?;
    cli::stdin::add_to_linker::<S, WasiCli>(l, cli_of)?;
    cli::stdout::add_to_linker::<S, WasiCli>(l, cli_of)?;
    cli::stderr::add_to_linker::<S, WasiCli>(l, cli_of)?;
    cli::terminal_input::add_to_linker::<S, WasiCli>(l, cli_of)?;
    cli::terminal_output::add_to_linker::<S, WasiCli>(l, cli_of)?;
    cli::terminal_stdin::add_to_linker::<S, WasiCli>(l, cli_of)?;
    cli::terminal_stdout::add_to_linker::<S, WasiCli>(l, cli_of)?;
    cli::terminal_stderr::add_to_linker::<S, WasiCli>(l, cli_of)?;
    Ok(())
}

fn cli_of<S: AsMut<Wasi>>(state: &mut S) -> WasiCliCtxView<'_> {
    let wasi = state.as_mut();
    WasiCliCtxView {
        ctx: wasi.ctx.cli(),
        table: &mut wasi.table,
    }
}

fn clocks_of<S: AsMut<Wasi>>(state: &mut S) -> WasiClocksCtxView<'_> {
    let wasi = state.as_mut();
    WasiClocksCtxView {
        ctx: wasi.ctx.clocks(),
        table: &mut wasi.table,
    }
}

fn files_of<S: AsMut<Wasi>>(state: &mut S) -> WasiFilesystemCtxView<'_> {
    let wasi = state.as_mut();
    WasiFilesystemCtxView {
        ctx: wasi.ctx.filesystem(),
        table: &mut wasi.table,
    }
}
