//! What Gauntlet costs, beside nginx, Envoy, vmagent, Thanos and Prometheus, in one run on one machine.
//!
//! Takes the release binary and the programs that `scripts/provision bench` installs, gives two markdown tables and a
//! picture. `bench` alone measures everything and writes `docs/bench.md` and `docs/bench.svg`; `bench WORD..` measures
//! only rows whose name contains a word, says which process to look at, and writes nothing. `--seconds N` and
//! `--rounds N` shorten a trial, which writes nothing either. `--beside PROGRAM` measures another gateway's program in the
//! same rounds, an older one for instance, and writes nothing. Asserts nothing about time: a number is for people to
//! read.

// A measurement that cannot be made ends with the reason.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cpu;
mod gauntlet;
mod latency;
mod load;
mod memory;
mod peers;
mod picture;
mod process;
mod promises;
mod receivers;
mod reload;
mod setting;
mod table;
mod tenants;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use gauntlet_tests::machine::processors;
use setting::{Options, Setting};
use table::{Bar, Row};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\nusage: bench [--rounds N] [--seconds N] [--beside PROGRAM] [WORD..]");
            return ExitCode::from(2);
        }
    };
    let setting = Setting::new(options);
    let rows = cpu::rows(&setting);
    let mut bars = promises::of_cpu(&rows);
    let parts: [fn(&Setting) -> Vec<Bar>; 5] = [
        latency::bars,
        memory::bars,
        tenants::bars,
        reload::bars,
        receivers::bars,
    ];
    for part in parts {
        let measured = part(&setting);
        // What is known by now, in case that a later part ends the run.
        if !measured.is_empty() {
            eprint!("{}", table::bars(&measured));
        }
        bars.extend(measured);
    }
    let text = document(&setting, &rows, &bars);
    print!("{text}");
    if !setting.options.is_whole() {
        eprintln!("Not the whole measurement: docs/bench.md stays as it is.");
        return ExitCode::SUCCESS;
    }
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    fs::write(docs.join("bench.md"), text).expect("docs/bench.md");
    let picture = picture::draw(&rows).expect("every subject of the picture");
    fs::write(docs.join("bench.svg"), picture).expect("docs/bench.svg");
    ExitCode::SUCCESS
}

/// What stands in `docs/bench.md`.
fn document(setting: &Setting, rows: &[Row], bars: &[Bar]) -> String {
    let (bodies, options) = (&setting.bodies, &setting.options);
    let mut text = format!(
        "# Measured\n\nWritten by `make bench`; [performance.md](performance.md) says what it means.\n\n\
         {}. {}, which the senders and the sink share. Writes of {} samples ({} bytes compressed, {} series) \
         over {} kept-alive connections, TLS with client certificate in, plain HTTP out to one sink, unless a row says \
         otherwise. {} interleaved runs of {} s: median, smallest and largest.\n\n",
        peers::versions().join(", "),
        processors(),
        bodies.samples,
        bodies.mean_bytes(),
        bodies.series(),
        load::CONNECTIONS,
        options.rounds,
        options.run.as_secs(),
    );
    if !rows.is_empty() {
        text += &format!("## CPU of the whole process\n\n{}\n", table::cpu(rows, cpu::NGINX));
    }
    if bars.iter().any(|bar| bar.value.is_some()) {
        text += &format!("## Bars and aims\n\n{}", table::bars(bars));
    }
    text
}
