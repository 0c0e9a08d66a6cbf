//! What strangers, tenants and their policies can do to others, tried on the real program: one row for each attack.
//!
//! Takes a gateway's program (`--gateway PROGRAM`, else the one beside this), gives a scorecard: what was promised, what
//! became of it, and the control beside: a quiet run, and the same flood sent to a second gateway on the same cores.
//! `attack` alone tries everything in some 21 minutes and writes the card into `docs/reliability.md`; `attack WORD..`
//! tries only rows whose name has a word; `--quick` takes a quarter of the time and judges only what a busy machine
//! does not change; `--beside PROGRAM` attacks another program too, an older one for instance. Only a run of everything
//! is written. Exit 1: a promise was not kept. Never leaves loopback, never runs without an end.

// An attack that cannot be made ends with the reason.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bodies;
mod bystander;
mod cage;
mod card;
mod connections;
mod fair;
mod flood;
mod framing;
mod guests;
mod memory;
mod options;
mod places;
mod siege;

use std::process::ExitCode;

use card::Card;
use options::Options;
use rustix::process::{Resource, getrlimit, setrlimit};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\nusage: attack [--quick] [--gateway PROGRAM] [--beside PROGRAM] [WORD..]");
            return ExitCode::from(2);
        }
    };
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let card = runtime.expect("a runtime").block_on(attack(&options));
    print!("{}", card.text());
    if options.is_whole() {
        card.write();
    } else {
        eprintln!("Not the whole card: docs/reliability.md stays as it is.");
    }
    ExitCode::from(u8::from(!card.is_met()))
}

async fn attack(options: &Options) -> Card {
    let mut card = Card::new(options);
    memory::rows(options, &mut card).await;
    connections::rows(options, &mut card).await;
    framing::row(options, &mut card).await;
    fair::rows(options, &mut card).await;
    places::rows(options, &mut card).await;
    card
}

/// Ten thousand connections are as many open files, here and in the gateway, which raises its own limit.
fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let raised = setrlimit(Resource::Nofile, limit);
    raised.expect("the hard limit of open files");
    if limit.maximum.is_some_and(|most| most < connections::OPEN_FILES) {
        eprintln!(
            "The hard limit of open files is {limit:?}: attacks of many connections are smaller than they should be. \
             They want {}.",
            connections::OPEN_FILES
        );
    }
}
