//! `gauntlet plugin wit`: the contract.
//!
//! Takes nothing or a folder, gives `policy.wit` as this program speaks it: generators of bindings read it.

use std::path::PathBuf;

use clap::Args;

use super::outcome::{Sound, Wrong};

pub const EXAMPLES: &str = "Examples:
  gauntlet plugin wit
  gauntlet plugin wit --out wit && wit-bindgen c wit --world tenant-policy";

/// The text of the contract.
pub const CONTRACT: &str = include_str!("../../../../wit/policy.wit");
pub const FILE: &str = "policy.wit";

#[derive(Debug, Args)]
pub struct Options {
    /// The folder to write `policy.wit` into, which is made if need be. If this is left out, it goes to standard output.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// # Errors
/// If the file cannot be written.
pub fn run(options: &Options) -> Result<Sound, Wrong> {
    let Some(folder) = &options.out else {
        print!("{CONTRACT}");
        return Ok(true);
    };
    let file = folder.join(FILE);
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&file, CONTRACT));
    written.map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    println!("{}", file.display());
    Ok(true)
}
