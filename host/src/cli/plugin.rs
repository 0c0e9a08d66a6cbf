//! `gauntlet plugin`: what whoever writes a plugin needs, all of it under the gateway's own sandbox and bounds.
//!
//! Takes one command's arguments, gives an exit code: 0 if all is well, 1 if there is something to mend in the plugin, 2 if
//! the call itself is wrong. One file per command. Beside them: `arguments` (what several take), `workshop` (the sandbox without
//! a gateway), `subject` (one plugin with settings), `corpus` (made-up series), `project` (an author's folder), `said` (what it
//! says), `shown` (how series are shown).

use std::process::ExitCode;

use clap::Subcommand;

mod arguments;
mod bench;
mod build;
mod corpus;
mod inspect;
mod new;
mod outcome;
mod project;
mod run;
mod said;
mod shown;
mod subject;
mod test;
mod wit;
mod workshop;

use arguments::OnePlugin;

#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Writes a new project that builds and passes its first test, with the contract inside.
    #[command(after_help = new::EXAMPLES)]
    New(new::Options),
    /// Builds the project in a folder, or makes a component of a core module.
    #[command(after_help = build::EXAMPLES)]
    Build(build::Options),
    /// Tests a plugin, or all policies of a tenant, with cases from a file, and checks what the gateway relies on.
    #[command(after_help = test::EXAMPLES)]
    Test(test::Options),
    /// Shows what a plugin makes of series and of a write with them.
    #[command(after_help = run::EXAMPLES)]
    Run(run::Options),
    /// Says what a component imports and exports, and whether the gateway would take it.
    #[command(after_help = inspect::EXAMPLES)]
    Inspect(OnePlugin),
    /// Measures what a plugin costs.
    #[command(after_help = bench::EXAMPLES)]
    Bench(OnePlugin),
    /// Writes the contract that this program speaks, `policy.wit`.
    #[command(after_help = wit::EXAMPLES)]
    Wit(wit::Options),
}

impl PluginCommand {
    pub fn run(self) -> ExitCode {
        let outcome = match self {
            Self::New(options) => new::run(&options),
            Self::Build(options) => build::run(&options),
            Self::Test(options) => test::run(&options),
            Self::Run(options) => run::run(&options),
            Self::Inspect(options) => inspect::run(&options),
            Self::Bench(options) => bench::run(&options),
            Self::Wit(options) => wit::run(&options),
        };
        match outcome {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(wrong) => {
                eprintln!("gauntlet: {wrong}");
                ExitCode::from(2)
            }
        }
    }
}
