//! The command line: `serve`, `check`, `dev`, and the hidden `compile`.
//!
//! Takes arguments and `GAUNTLET_*` variables, gives an exit code. Flags are dotted as in Prometheus and Thanos.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config;
#[cfg(feature = "dev")]
use crate::dev;
use crate::sandbox::compile;
use crate::server;
use crate::telemetry::{self, LogFormat};

/// Front door of a multi-tenant Thanos: TLS, a tenant proved by credential, sandboxed wasm policies.
#[derive(Debug, Parser)]
#[command(name = "gauntlet", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve remote write.
    Serve(Serve),
    /// Check a configuration with everything it names; exit 0 if all of it can be used.
    Check {
        /// The configuration file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Everything in one process, with sample tenants and a receiver in memory, to try it out.
    #[cfg(feature = "dev")]
    Dev(dev::Options),
    /// Compile one plugin from standard input to standard output, under limits.
    #[command(hide = true)]
    Compile {
        /// Bounds, set by the parent.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        bounds: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct Serve {
    /// The configuration file.
    #[arg(long = "config.file", env = "GAUNTLET_CONFIG_FILE", value_name = "FILE")]
    config_file: PathBuf,
    /// How often files are compared with what is in use; 0 leaves it to SIGHUP and /-/reload.
    #[arg(long = "config.poll-interval", env = "GAUNTLET_CONFIG_POLL_INTERVAL", default_value = "5s", value_parser = config::parse_duration)]
    poll_interval: Duration,
    /// How long writes in flight may take to finish after SIGTERM.
    #[arg(long = "shutdown.timeout", env = "GAUNTLET_SHUTDOWN_TIMEOUT", default_value = "30s", value_parser = config::parse_duration)]
    shutdown_timeout: Duration,
    #[command(flatten)]
    log: Log,
}

#[derive(Debug, Args)]
struct Log {
    /// error, warn, info, debug, trace, or a `tracing` filter.
    #[arg(long = "log.level", env = "GAUNTLET_LOG_LEVEL", default_value = "info")]
    level: String,
    #[arg(long = "log.format", env = "GAUNTLET_LOG_FORMAT", value_enum, default_value_t)]
    format: LogFormat,
}

/// Runs the program.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(serve) => {
            if let Err(error) = telemetry::init(&serve.log.level, serve.log.format) {
                return refuse(&error);
            }
            let options = server::Options {
                config_file: serve.config_file,
                poll_interval: serve.poll_interval,
                shutdown_timeout: serve.shutdown_timeout,
            };
            match server::run(&options) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => refuse(&error.to_string()),
            }
        }
        Command::Check { file } => check(&file),
        #[cfg(feature = "dev")]
        Command::Dev(options) => match dev::run(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => refuse(&error.to_string()),
        },
        Command::Compile { .. } => compile::child_main(),
    }
}

fn refuse(error: &str) -> ExitCode {
    eprintln!("gauntlet: {error}");
    ExitCode::FAILURE
}

/// Everything a start would do short of listening: files, certificates, and every tenant's plugins compiled and configured.
fn check(file: &Path) -> ExitCode {
    let loaded = match config::load(file) {
        Ok(loaded) => loaded,
        Err(errors) => {
            errors.iter().for_each(|error| eprintln!("{error}"));
            eprintln!("{}: {} error(s)", file.display(), errors.len());
            return ExitCode::FAILURE;
        }
    };
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    let faults = loaded
        .plugins
        .iter()
        .chain(loaded.broken.iter().flat_map(|broken| &broken.errors));
    let mut errors: Vec<String> = faults.map(ToString::to_string).collect();
    let tenants = loaded.config.tenants.len();
    match server::check(loaded) {
        Ok(broken) => errors.extend(broken),
        Err(error) => errors.push(error.to_string()),
    }
    if errors.is_empty() {
        println!("{}: ok, {tenants} tenant(s)", file.display());
        return ExitCode::SUCCESS;
    }
    errors.iter().for_each(|error| eprintln!("{error}"));
    eprintln!("{}: {} error(s)", file.display(), errors.len());
    ExitCode::FAILURE
}
