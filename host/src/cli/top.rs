//! `gauntlet top`: what flows through a running gateway, tenant by tenant.
//!
//! Takes the address of a gateway, holds the terminal until `q`; prints the table once if standard output is none.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::answer::{Done, wait_for, write_out};
use crate::config;
use crate::terminal::{self, Column, RunningGateway, Sorting, Watched};

pub(super) const EXAMPLE: &str = r"Examples:
  gauntlet top
  gauntlet top --url http://10.0.0.7:10902 --sort rejected
  gauntlet top --once --search kazusa | less

Keys: q quits, / searches, the arrows left and right choose the column that rows are sorted by, r turns the order round, up and
down scroll, space pauses.";

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    gateway: RunningGateway,
    /// The column that rows are sorted by.
    #[arg(long, value_enum, default_value_t)]
    sort: Column,
    /// Shows only tenants whose name has this text in it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    search: String,
    /// How often the gateway is asked.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = interval)]
    interval: Duration,
    /// Asks twice, prints the table once and ends, as it does by itself if standard output is no terminal.
    #[arg(long)]
    once: bool,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = config::parse_duration(text)?;
    match interval < Duration::from_millis(100) {
        true => Err("the least is `100ms`".to_owned()),
        false => Ok(interval),
    }
}

pub(super) fn run(options: &Options) -> Done {
    let watched = Watched {
        gateway: options.gateway.clone(),
        interval: options.interval,
        sorting: Sorting {
            by: options.sort,
            reverse: false,
        },
        search: options.search.clone(),
        notes: Vec::new(),
        stop: CancellationToken::new(),
    };
    if options.once || cfg!(not(feature = "top")) || !std::io::stdout().is_terminal() {
        let (text, is_wrong) = wait_for(terminal::once(&watched))?;
        return write_out(text.as_bytes()).map(|()| is_wrong);
    }
    wait_for(on_screen(&watched)).map(|()| false)
}

/// Gives the terminal back before SIGTERM ends the program.
#[cfg(feature = "top")]
async fn on_screen(watched: &Watched) -> Result<(), String> {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = signal(SignalKind::terminate());
    let mut terminated = terminated.map_err(|error| format!("cannot listen for signals: {error}"))?;
    let shown = terminal::watch(watched);
    tokio::pin!(shown);
    tokio::select! {
        ended = &mut shown => ended,
        _ = terminated.recv() => {
            watched.stop.cancel();
            shown.await
        }
    }
}

#[cfg(not(feature = "top"))]
async fn on_screen(watched: &Watched) -> Result<(), String> {
    terminal::follow(watched).await
}
