//! Attacks of strangers on the door: places, heads, answers that nobody reads.
//!
//! Takes the options, adds to the card what a bystander and newcomers lost, or how much longer they wait than in the
//! control.

use std::sync::Arc;
use std::time::Duration;

use gauntlet_tests::bar::{Bar, Unit};
use gauntlet_tests::sink::Sink;
use gauntlet_tests::{Gateway, Sender};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::bystander::Bystander;
use crate::card::{Card, deaths};
use crate::fair::duel;
use crate::flood::{Flood, Tally, address};
use crate::memory::{bystander, calm};
use crate::options::{Options, Program};
use crate::siege::Siege;

/// More than there are places.
const MANY: usize = 10_400;
/// For all connections, receivers, and what a process has open besides.
pub const OPEN_FILES: u64 = 12_000;
const CONNECTIONS: usize = 64;
/// As long as a busy machine may take for so many handshakes.
const FILLED: Duration = Duration::from_secs(15);
/// How long a sender who does not read goes on before another takes its place: by then nothing fits in between.
const FULL: Duration = Duration::from_millis(500);
/// For one exchange of an attacker.
const PATIENCE: Duration = Duration::from_secs(10);

type Begin = fn(&Gateway) -> Flood;

const NOWHERE: &str = "GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n";

const SILENT: &str = "c1 10,400 connections, one request to nowhere each, then silence";
const HEADS: &str = "c2 64 connections of heads of 1 MiB";
const PIPELINED: &str = "c3 64 connections of pipelined 404s";
const UNREAD: &str = "c4 64 senders who never read their answers";
const ONE_ADDRESS: &str = "c6 as c1, all from one address";

pub async fn rows(options: &Options, card: &mut Card) {
    for program in options.programs_for(SILENT) {
        silence(options, card, &program, SILENT, address).await;
    }
    for program in options.programs_for(ONE_ADDRESS) {
        silence(options, card, &program, ONE_ADDRESS, |_| address(0)).await;
    }
    let floods: [(&str, Begin); 3] = [(HEADS, heads), (PIPELINED, pipelined), (UNREAD, unread)];
    for (row, flood) in floods {
        for program in options.programs_for(row) {
            let setup = || calm(&Sink::start());
            duel(options, card, &program, row, setup, fifty_a_second, flood).await;
        }
    }
}

/// The bystander of whatever is measured in milliseconds.
pub fn fifty_a_second(gateway: &Gateway) -> Bystander {
    Bystander {
        rate: 50,
        ..bystander(gateway)
    }
}

async fn silence(
    options: &Options,
    card: &mut Card,
    program: &Program,
    row: &str,
    from: fn(usize) -> std::net::Ipv4Addr,
) {
    let sink = Sink::start();
    let mut siege = Siege::begin(program, calm(&sink)).await;
    let by = bystander(&siege.gateway);
    // Senders that were never here before, one a second.
    let newcomers = Bystander {
        rate: 1,
        is_new_each_time: true,
        sender: siege.gateway.sender().bearer("bystander-token").from(address(248)),
        ..bystander(&siege.gateway)
    };
    let quiet = by.watch(options.time(5)).await;
    let senders = (0..MANY).map(|n| siege.gateway.sender().from(from(n))).collect();
    let flood = Flood::of_silence(senders, async |mut stream| {
        stream.write_all(NOWHERE.as_bytes()).await?;
        stream.flush().await?;
        let mut answer = [0; 512];
        // The answer, whatever it is.
        stream.read(&mut answer).await.map(|_| stream)
    });
    let held = flood.holds(MANY * 9 / 10, FILLED).await;
    let time = options.time(25);
    let (seen, came) = tokio::join!(by.watch(time), newcomers.watch(time));
    let remark = format!("{held} held at first; {}", siege.memory());
    card.add(program, row, deaths(siege.deaths()).remark(remark));
    flood.stop().await;
    let remark = format!("attacked {}; quiet {}", seen.text(), quiet.text());
    card.add(program, row, options.goodput(seen.goodput(), 0.99).remark(remark));
    let bar = if options.quick { 0.8 } else { 0.95 };
    let came_in = Bar::new(
        "senders that come new get in",
        Some(came.goodput()),
        Unit::AtLeast,
        bar,
        None,
    );
    card.add(program, row, came_in.remark(came.text()));
}

/// Connections that do `act` again and again, each time from the start.
fn strangers<F, Doing>(gateway: &Gateway, act: F) -> Flood
where
    F: Fn(Box<dyn gauntlet_tests::sender::Stream>, Arc<Tally>) -> Doing + Clone + Send + Sync + 'static,
    Doing: Future<Output = std::io::Result<()>> + Send,
{
    let senders: Arc<Vec<Sender>> = Arc::new((0..CONNECTIONS).map(|n| gateway.sender().from(address(n))).collect());
    Flood::of(CONNECTIONS, move |number, tally| {
        let (senders, act) = (Arc::clone(&senders), act.clone());
        async move {
            let once = async { act(senders[number].connect().await?, tally).await };
            timeout(PATIENCE, once).await.map_err(std::io::Error::other)?
        }
    })
}

fn heads(gateway: &Gateway) -> Flood {
    let head: Arc<str> = format!(
        "GET /nowhere HTTP/1.1\r\nHost: localhost\r\nX-Long: {}",
        "a".repeat(1 << 20)
    )
    .into();
    strangers(gateway, move |mut stream, tally| {
        let head = Arc::clone(&head);
        async move {
            let written = stream.write_all(head.as_bytes()).await;
            tally.answered(431);
            written
        }
    })
}

fn pipelined(gateway: &Gateway) -> Flood {
    let hundred: Arc<str> = NOWHERE.repeat(100).into();
    strangers(gateway, move |mut stream, tally| {
        let hundred = Arc::clone(&hundred);
        async move {
            let mut answers = vec![0; 64 << 10];
            loop {
                stream.write_all(hundred.as_bytes()).await?;
                stream.flush().await?;
                if stream.read(&mut answers).await? == 0 {
                    return Ok(());
                }
                tally.answered(404);
            }
        }
    })
}

/// Until the answers fill what there is between the two; then another connection does the same.
fn unread(gateway: &Gateway) -> Flood {
    let hundred: Arc<str> = NOWHERE.repeat(100).into();
    strangers(gateway, move |mut stream, tally| {
        let hundred = Arc::clone(&hundred);
        async move {
            let filling = async {
                loop {
                    stream.write_all(hundred.as_bytes()).await?;
                    stream.flush().await?;
                    tally.answered(404);
                }
            };
            timeout(FULL, filling).await.unwrap_or(Ok(()))
        }
    })
}
