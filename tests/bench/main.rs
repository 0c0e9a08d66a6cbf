//! What Gauntlet costs, beside nginx, Envoy, vmagent and Thanos, in one run on one machine.
//!
//! Takes the release binary and the programs that `scripts/provision bench` installs, gives two markdown tables and a
//! picture. `bench` alone measures everything and writes `docs/bench.md` and `docs/bench.svg`; `bench WORD..` measures
//! only rows whose name contains a word, says which process to look at, and writes nothing. `--seconds N` and
//! `--rounds N` shorten a trial. Asserts nothing about time: a number is for people to read.

// A measurement that cannot be made ends with the reason.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bodies;
mod cpu;
mod gauntlet;
mod latency;
mod load;
mod memory;
mod peers;
mod process;
mod promises;
mod reload;
mod setting;
mod sink;
mod table;
mod tenants;

use std::process::ExitCode;

use setting::{Options, Setting};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\nusage: bench [--rounds N] [--seconds N] [WORD..]");
            return ExitCode::from(2);
        }
    };
    let setting = Setting::new(options);
    eprintln!("{}", setting.bodies.series());
    let rows = cpu::rows(&setting);
    let mut bars = promises::of_cpu(&rows);
    bars.extend(latency::bars(&setting));
    bars.extend(memory::bars(&setting));
    bars.extend(tenants::bars(&setting));
    bars.extend(reload::bars(&setting));
    println!(
        "{}\n\n{}\n{}",
        peers::versions().join(", "),
        table::cpu(&rows, cpu::NGINX),
        table::bars(&bars)
    );
    ExitCode::SUCCESS
}
