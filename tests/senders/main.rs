//! What becomes of every sample of real senders: through the gateway and past it, while things go wrong.
//!
//! Takes the programs that `scripts/provision senders` builds and a gateway's program (`--gateway PROGRAM`, else the one
//! beside this), gives a table for each kind of receiver: rows are senders, columns situations. `senders` alone tries
//! everything in some 40 minutes and writes `docs/senders.md`; `senders WORD..` tries only the senders, situations,
//! receivers or parts (`compliance`, `statuses`, `backlog`, `sizing`) of those names; `--quick` tries one sender in three
//! situations. Exit 1: the gateway lost more than the control beside it, or did not pass a public suite. Never leaves
//! loopback, never touches a process it did not start.

// A trial that cannot be made ends with the reason.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod backlog;
mod compare;
mod compliance;
mod gateway;
mod options;
mod receivers;
mod recorder;
mod senders;
mod site;
mod situation;
mod sizing;
mod statuses;
mod storage;
mod table;

use std::process::ExitCode;

use crate::options::Options;
use crate::table::Table;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\nusage: senders [--quick] [--gateway PROGRAM] [WORD..]");
            return ExitCode::from(2);
        }
    };
    let tables = if options.has_cells() {
        tables(&options)
    } else {
        Vec::new()
    };
    let (rest, measured) = parts(&options);
    let text = table::document(&tables, &rest);
    println!("{text}");
    if options.is_whole() {
        table::write(&text);
    } else {
        eprintln!("Not the whole matrix: docs/senders.md stays as it is.");
    }
    ExitCode::from(u8::from(!measured || !tables.iter().all(Table::is_good)))
}

fn tables(options: &Options) -> Vec<Table> {
    let table = |make| {
        let run = |situation: situation::Situation| {
            let outcomes = situation.run(options, make).map_err(|error| format!("{error:#}"));
            let column = Table {
                make,
                columns: vec![(situation, outcomes)],
            };
            // What is known by now, in case that a later one ends the run.
            eprint!("{}{}", column.text(), column.faults());
            column.columns
        };
        Table {
            make,
            columns: options.situations().into_iter().flat_map(run).collect(),
        }
    };
    options.makes().into_iter().map(table).collect()
}

type Part = fn(&Options) -> anyhow::Result<String>;

/// What is no cell of the matrix, and whether it could be measured.
fn parts(options: &Options) -> (String, bool) {
    let (mut text, mut measured) = (String::new(), true);
    let all: [(&'static str, Part); 4] = [
        ("compliance", compliance::table),
        ("statuses", statuses::table),
        ("backlog", backlog::table),
        ("sizing", sizing::table),
    ];
    for (name, part) in all.into_iter().filter(|(name, _)| options.wants(name)) {
        match part(options) {
            Ok(part) => text += &format!("{part}\n"),
            Err(error) => {
                measured = false;
                eprintln!("{name}: {error:#}");
            }
        }
    }
    (text, measured)
}
