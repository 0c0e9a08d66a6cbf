//! `gauntlet policy explain`: why the policies of a configuration keep, change, drop or refuse a series.
//!
//! Takes series and a configuration, shows each step on their way. `gauntlet explain` asks a running gateway the same.

use std::path::PathBuf;

use clap::Args;

use super::tenant::lab;
use crate::cli::answer::{Done, wait_for};
use crate::cli::explain::AskedSeries;
use crate::explain::explain_all;

pub(super) const EXAMPLE: &str = r#"Examples:
  gauntlet policy explain --config gauntlet.yaml --tenant kazusa 'up{job="node",instance="a:9100"}'
  gauntlet policy explain --config gauntlet.yaml --tenant kazusa 'up{job="node"}' --format json"#;

#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    /// The main configuration file whose policies are asked.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    question: AskedSeries,
}

pub(super) fn run(options: &Options) -> Done {
    let series = options.question.parsed()?;
    let explained = wait_for(async {
        let lab = lab(&options.config, &options.question.tenant).await?;
        let generation = lab.generation().map_err(|error| error.to_string())?;
        Ok(explain_all(generation, &series).await)
    })?;
    options.question.show(&explained)
}
