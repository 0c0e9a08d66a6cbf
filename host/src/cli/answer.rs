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

pub(super) fn tenant_id(text: &str) -> Result<TenantId, String> {
    TenantId::new(text).map_err(|error| error.to_string())
}

/// On threads of its own, for as long as it takes.
pub(super) fn wait_for<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| format!("cannot start threads: {error}"))?;
    runtime.block_on(work)
}
