//! `gauntlet tenant`: makes a tenant, tries whether its sender gets through, lists those there are.
//!
//! Takes one command's arguments, gives an exit code. One file per command; beside them `files` (what is written, and never
//! over something), `certificate` (keys and who signs them), `steps` (what an answer to a write means).

use std::process::ExitCode;

use clap::Subcommand;

use super::answer::finish;

mod attempt;
#[cfg(feature = "dev")]
mod certificate;
mod files;
mod list;
mod new;
mod steps;

#[derive(Debug, Subcommand)]
pub(super) enum TenantCommand {
    /// Writes the file of a new tenant and what its sender proves itself by: a token, a password, or a key with a certificate.
    /// Prints the block for the sender's configuration. Nothing that is there already is changed.
    #[command(after_help = new::EXAMPLE)]
    New(new::Options),
    /// Sends one sample, `gauntlet_try`, as a tenant's sender would, and says at which step it ended and what to do. The exit
    /// code is 1 if it did not get through.
    #[command(after_help = attempt::EXAMPLE)]
    Try(attempt::Options),
    /// Lists the tenants of a configuration, or of a running gateway. The exit code is 1 if one is broken.
    #[command(after_help = list::EXAMPLE)]
    List(list::Options),
}

impl TenantCommand {
    pub(super) fn run(self) -> ExitCode {
        match self {
            Self::New(options) => finish(new::run(&options)),
            Self::Try(options) => finish(attempt::run(&options)),
            Self::List(options) => finish(list::run(&options)),
        }
    }
}
