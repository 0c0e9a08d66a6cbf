//! How a command that answers a question ends.
//!
//! Takes the answer, gives an exit code: 0 if all is well, 1 if there is something to look at, 2 if the question could not be
//! answered, which is told on standard error.

use std::io::Write as _;
use std::process::ExitCode;

use clap::ValueEnum;

use crate::model::TenantId;

/// As text for people, or as JSON for programs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Shape {
    #[default]
    Text,
    Json,
}

/// What a shell says of a program that SIGPIPE ended. Not 0: what could not be told may have been that all is not well.
const CLOSED_PIPE: i32 = 128 + 13;

/// Whether there is something to look at; or a sentence that says why there is no answer.
pub(super) type Done = Result<bool, String>;

pub(super) fn finish(done: Done) -> ExitCode {
    match done {
        Ok(false) => ExitCode::SUCCESS,
        Ok(true) => ExitCode::from(1),
        Err(error) => {
            eprintln!("gauntlet: {error}");
            ExitCode::from(2)
        }
    }
}

/// To standard output. A reader that has seen enough closes the pipe, which is no failure.
pub(super) fn write_out(text: &[u8]) -> Result<(), String> {
    match std::io::stdout().lock().write_all(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(format!("cannot write: {error}")),
        _ => Ok(()),
    }
}

/// Ends the program as SIGPIPE would, without a word, where it prints for a reader that is gone; Rust's `println!` panics there.
/// Not for what serves: it has better to do than to print.
pub(super) fn end_where_nobody_reads() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<String>();
        if text.is_some_and(|text| text.starts_with("failed printing to std") && text.contains("Broken pipe")) {
            std::process::exit(CLOSED_PIPE);
        }
        tell(panic);
    }));
}

pub(super) fn tenant_id(text: &str) -> Result<TenantId, String> {
    TenantId::new(text).map_err(|error| error.to_string())
}

/// On threads of its own, for as long as it takes.
pub(super) fn wait_for<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| format!("cannot start threads: {error}"))?;
    runtime.block_on(work)
}
