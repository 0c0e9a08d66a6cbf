//! The command line: `serve`, `check`, `dev`, what asks a running gateway, what tenants, plugins and policies need, and the
//! hidden `compile`.
//!
//! Takes arguments and `GAUNTLET_*` variables, gives an exit code. Flags are dotted as in Prometheus and Thanos.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::{self, ConfigError, Loaded};
#[cfg(feature = "dev")]
use crate::dev;
use crate::sandbox::compile;
use crate::server;
use crate::telemetry::{self, LogFormat, LogLevel};

mod answer;
#[cfg(test)]
mod documented;
mod explain;
mod pages;
mod plugin;
mod policy;
mod status;
mod tap;
mod tenant;
mod top;

use answer::{end_where_nobody_reads, finish};
use plugin::PluginCommand;
use policy::PolicyCommand;
use tenant::TenantCommand;

/// Takes Prometheus remote write for a multi-tenant Thanos: ends TLS, proves the tenant by its credential, and runs
/// sandboxed WebAssembly policies on every write.
#[derive(Debug, Parser)]
#[command(name = "gauntlet", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves remote write until SIGTERM or SIGINT.
    Serve(Serve),
    /// Checks a configuration and every file it names; the exit code is 0 if all of it can be used, else 1.
    Check {
        /// The main configuration file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The files with secrets need not be there: private keys with their certificates, tokens and passwords. Those that
        /// are there are checked.
        #[arg(long)]
        without_secrets: bool,
    },
    /// Runs the gateway with sample tenants and a receiver in memory, all in one process, to try it out.
    #[cfg(feature = "dev")]
    Dev(dev::Options),
    /// Shows what flows through a running gateway, tenant by tenant, as it flows; or prints it once. The exit code is then 1
    /// if something is wrong with the gateway.
    #[command(after_help = top::EXAMPLE)]
    Top(top::Options),
    /// Says on one screen whether a running gateway is well: whether it is ready, its last reload, broken tenants, policies that
    /// are not called, receivers that are down and why. The exit code is 1 if something is wrong.
    #[command(after_help = status::EXAMPLE)]
    Status(status::Options),
    /// Shows the way of a series through a running gateway, step by step, to its upstream or to what its sender would be told.
    /// Its policies are asked, and its active series and rates count. The exit code is 1 if a series would be refused, or its write
    /// would be.
    #[command(after_help = explain::EXAMPLE)]
    Explain(explain::Options),
    /// Makes, tries and lists tenants.
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Writes, builds, tests and measures plugins.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Explains and compares what the policies of a configuration do.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Writes down the distinct series that a tenant sends to a running gateway, for `gauntlet policy diff`. The gateway must
    /// permit it (`admin.tap`). The exit code is 1 if there were none.
    #[command(after_help = tap::EXAMPLE)]
    Tap(tap::Options),
    /// Writes a script to standard output that completes commands and arguments in a shell.
    #[command(after_help = pages::COMPLETIONS)]
    Completions {
        /// The shell that reads it.
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Writes the page of the manual to standard output.
    #[command(after_help = pages::MAN)]
    Man,
    /// Compiles one plugin from standard input to standard output, under limits.
    #[command(hide = true)]
    Compile {
        /// Bounds, set by the parent.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        bounds: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct Serve {
    /// The main configuration file.
    #[arg(long = "config.file", env = "GAUNTLET_CONFIG_FILE", value_name = "FILE")]
    config_file: PathBuf,
    /// How often the files of the configuration are compared with those in use. If this is `0s`, they are read again
    /// only after SIGHUP or `POST /-/reload`.
    #[arg(long = "config.poll-interval", env = "GAUNTLET_CONFIG_POLL_INTERVAL", default_value = "5s", value_parser = config::parse_duration)]
    poll_interval: Duration,
    /// How long the writes in flight have to finish after SIGTERM.
    #[arg(long = "shutdown.timeout", env = "GAUNTLET_SHUTDOWN_TIMEOUT", default_value = "30s", value_parser = config::parse_duration)]
    shutdown_timeout: Duration,
    #[command(flatten)]
    log: Log,
}

#[derive(Debug, Args)]
struct Log {
    /// The least important lines to log: `error`, `warn`, `info`, `debug`, `trace`, or `off` for none. Of the libraries that
    /// Gauntlet is built on, no more than warnings are logged; to see more of them, give a filter of the Rust crate `tracing`,
    /// such as `info,hyper=debug`.
    #[arg(long = "log.level", env = "GAUNTLET_LOG_LEVEL", default_value = "info")]
    level: LogLevel,
    /// The shape of the lines that are logged to standard error.
    #[arg(long = "log.format", env = "GAUNTLET_LOG_FORMAT", value_enum, default_value_t)]
    format: LogFormat,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    if !matches!(command, Command::Serve(_) | Command::Compile { .. }) {
        end_where_nobody_reads();
    }
    match command {
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
        Command::Check { file, without_secrets } => {
            let load = if without_secrets {
                config::load_without_secrets
            } else {
                config::load
            };
            check(&file, load(&file))
        }
        #[cfg(feature = "dev")]
        Command::Dev(options) => match dev::run(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => refuse(&error.to_string()),
        },
        Command::Top(options) => finish(top::run(&options)),
        Command::Status(options) => finish(status::run(&options)),
        Command::Explain(options) => finish(explain::run(&options)),
        Command::Tenant(command) => command.run(),
        Command::Plugin(command) => command.run(),
        Command::Policy(command) => command.run(),
        Command::Tap(options) => tap::run(&options),
        Command::Completions { shell } => finish(pages::completions(shell, Cli::command())),
        Command::Man => finish(pages::man(Cli::command())),
        Command::Compile { .. } => compile::child_main(),
    }
}

fn refuse(error: &str) -> ExitCode {
    eprintln!("gauntlet: {error}");
    ExitCode::FAILURE
}

/// Everything a start would do short of listening: files, certificates, and every tenant's plugins compiled and configured.
fn check(file: &Path, loaded: Result<Loaded, Vec<ConfigError>>) -> ExitCode {
    let mut loaded = match loaded {
        Ok(loaded) => loaded,
        Err(errors) => {
            errors.iter().for_each(|error| eprintln!("{error}"));
            eprintln!("{}: {} error(s)", file.display(), errors.len());
            return ExitCode::FAILURE;
        }
    };
    for warning in loaded.warnings.iter().chain(&server::warnings(&loaded.config)) {
        eprintln!("warning: {warning}");
    }
    let faults = loaded
        .plugins
        .iter()
        .chain(loaded.broken.iter().flat_map(|broken| &broken.errors));
    let mut errors: Vec<String> = faults.map(ToString::to_string).collect();
    let tenants = loaded.config.tenants.len();
    loaded.config.sandbox = loaded.config.sandbox.keeping_compiled();
    errors.extend(server::check(loaded));
    if errors.is_empty() {
        println!("{}: ok, {tenants} tenant(s)", file.display());
        return ExitCode::SUCCESS;
    }
    errors.iter().for_each(|error| eprintln!("{error}"));
    eprintln!("{}: {} error(s)", file.display(), errors.len());
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn one_line(text: Option<&clap::builder::StyledStr>) -> String {
        let text = text.map(ToString::to_string).unwrap_or_default();
        text.trim_end_matches('.').replace('\n', " ")
    }

    fn values(argument: &clap::Arg) -> String {
        let values = argument.get_possible_values();
        let names: Vec<String> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
        if names.is_empty() {
            String::new()
        } else {
            format!(": {}", names.join(", "))
        }
    }

    /// With those of commands that have some, each behind its own.
    fn commands(of: &clap::Command) -> Vec<&clap::Command> {
        let shown = of
            .get_subcommands()
            .filter(|command| !command.is_hide_set() && command.get_name() != "help");
        shown
            .flat_map(|command| std::iter::once(command).chain(commands(command)))
            .collect()
    }

    /// A section per command, a row per argument.
    fn reference() -> String {
        let mut cli = Cli::command();
        cli.build();
        let mut text = format!("{}.\n", one_line(cli.get_about()));
        for command in commands(&cli) {
            let name = command.get_bin_name().unwrap_or_default();
            let about = one_line(command.get_about());
            write!(text, "\n## `{name}`\n\n{about}.\n").unwrap();
            if command.has_subcommands() {
                continue;
            }
            text.push_str("\n| argument | variable | default | meaning |\n|---|---|---|---|\n");
            for argument in command.get_arguments() {
                let id = argument.get_id().as_str();
                if ["help", "version"].contains(&id) {
                    continue;
                }
                let flag = match argument.get_long() {
                    Some(long) => format!("--{long}"),
                    None => id.to_uppercase(),
                };
                let quoted = |text: &std::ffi::OsStr| format!("`{}`", text.to_string_lossy());
                let default = match argument.get_default_values() {
                    [value] if value.is_empty() => String::new(),
                    [value] if argument.get_action().takes_values() => quoted(value),
                    _ if argument.is_required_set() => "needed".to_owned(),
                    _ => String::new(),
                };
                let variable = argument.get_env().map(quoted).unwrap_or_default();
                let meaning = one_line(argument.get_help()) + &values(argument);
                writeln!(text, "| `{flag}` | {variable} | {default} | {meaning} |").unwrap();
            }
        }
        text
    }

    /// Of a program with every feature.
    #[cfg(feature = "dev")]
    #[test]
    fn the_page_of_the_command_line_is_what_the_program_takes() {
        let text = reference();
        assert!(
            text.contains("| `--config.file` | `GAUNTLET_CONFIG_FILE` | needed |"),
            "{text}"
        );
        assert!(!text.contains("compile"), "{text}");
        crate::telemetry::page::hold("cli.md", &text);
    }

    #[test]
    fn a_log_level_that_is_none_is_a_wrong_flag_like_any_other() {
        let parse = |level: &str| Cli::try_parse_from(["gauntlet", "serve", "--config.file=f", level]);
        assert!(parse("--log.level=debug").is_ok());
        let error = parse("--log.level=loud").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("expected `error`, `warn`"), "{error}");
    }

    #[test]
    fn every_command_about_plugins_has_an_example() {
        let mut cli = Cli::command();
        cli.build();
        for command in commands(cli.find_subcommand("plugin").unwrap()) {
            let help = one_line(command.get_after_help());
            let example = format!("gauntlet plugin {}", command.get_name());
            assert!(help.contains(&example), "{}: {help}", command.get_name());
        }
    }

    #[test]
    fn every_command_about_policies_and_tenants_has_an_example() {
        let mut cli = Cli::command();
        cli.build();
        for group in ["policy", "tenant"] {
            for command in commands(cli.find_subcommand(group).unwrap()) {
                let help = one_line(command.get_after_help());
                let example = format!("gauntlet {group} {}", command.get_name());
                assert!(help.contains(&example), "{}: {help}", command.get_name());
            }
        }
    }

    #[test]
    fn every_command_that_asks_a_gateway_has_an_example() {
        let mut cli = Cli::command();
        cli.build();
        for name in ["tap", "top", "status", "explain", "completions", "man"] {
            let help = one_line(cli.find_subcommand(name).unwrap().get_after_help());
            assert!(help.contains(&format!("gauntlet {name}")), "{name}: {help}");
        }
    }

    #[test]
    fn every_command_and_argument_says_what_it_is() {
        Cli::command().debug_assert();
        let text = reference();
        assert!(!text.contains("|  |\n") && !text.contains("\n.\n"), "{text}");
    }
}
