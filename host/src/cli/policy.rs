//! `gauntlet policy`: what the policies of a configuration do.
//!
//! Takes arguments, gives an exit code. Every answer is that of the gateway's own sandbox under its own bounds.

use std::process::ExitCode;

use clap::Subcommand;

use super::answer::finish;

mod capture;
mod diff;
mod explain;
mod from_prometheus;
mod tenant;

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Shows the way of a series through a tenant's policies, step by step, to its upstream or to what its sender would be
    /// told. The exit code is 1 if a series would be refused, or its write would be.
    #[command(after_help = explain::EXAMPLE)]
    Explain(explain::Options),
    /// Compares what two configurations make of the series that a tenant sends. The exit code is 1 if any fares differently.
    #[command(after_help = diff::EXAMPLE)]
    Diff(diff::Options),
    /// Writes the `write_relabel_configs` of a Prometheus as policies of a tenant. The exit code is 1 if something cannot be
    /// carried over.
    #[command(after_help = from_prometheus::EXAMPLE)]
    FromPrometheus(from_prometheus::Options),
}

impl PolicyCommand {
    pub(super) fn run(self) -> ExitCode {
        match self {
            Self::Explain(options) => finish(explain::run(&options)),
            Self::Diff(options) => finish(diff::run(&options)),
            Self::FromPrometheus(options) => finish(from_prometheus::run(&options)),
        }
    }
}
