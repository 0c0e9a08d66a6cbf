//! Attacks of strangers on the door: places, heads, answers that nobody reads.
//!
//! Takes the options, adds to the card what a bystander and newcomers lost, or how much longer they wait than in the
//! control.

use std::sync::Arc;
use std::time::Duration;

use gauntlet_tests::bar::{Bar, Unit};
use gauntlet_tests::sink::Sink;
use gauntlet_tests::{Gateway, Metrics, Sender, Tenant, relabel};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, split};
use tokio::time::timeout;

use crate::bystander::Bystander;
use crate::card::{Card, deaths};
use crate::fair::duel;
use crate::flood::{Flood, Tally, address};
use crate::framing::answers;
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
/// What came unread is counted after it, for so long at most.
const COUNTED: Duration = Duration::from_millis(100);
/// For one exchange of an attacker.
const PATIENCE: Duration = Duration::from_secs(10);

type Begin = fn(&Gateway) -> Flood;

const NOWHERE: &str = "GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// Of a tenant, since a stranger gets one answer: refused with 400, on a connection that is kept.
const EMPTY: &str = "POST /api/v1/receive HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer hasty-token\r\n\
                     Content-Length: 0\r\n\r\n";
const HUNDRED: usize = 100;

const SILENT: &str = "c1 10,400 connections from many addresses, silent after their handshake";
const HEADS: &str = "c2 64 connections of heads of 1 MiB";
const PIPELINED: &str = "c3 64 connections of a tenant's pipelined empty writes";
const UNREAD: &str = "c4 64 senders of a tenant who never read their answers";
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
            let hasty = Tenant::new("hasty")
                .bearer("hasty-token")
                .policy("relabel", relabel(json!([])));
            let setup = || calm(&Sink::start()).tenant(hasty.clone());
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
    let is_one_address = from(0) == from(1);
    // Of one address they are sent away as fast as they come; of many, memory may bound them before their number.
    let wanted = if is_one_address { 0 } else { MANY * 3 / 4 };
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
    card.add(program, row, ended_after_one(&siege.gateway).await);
    let quiet = by.watch(options.time(5)).await;
    let senders = (0..MANY).map(|n| siege.gateway.sender().from(from(n))).collect();
    let flood = Flood::of_silence(senders, async |stream| Ok(stream));
    let held = flood.holds(wanted, FILLED).await;
    let time = options.time(25);
    let (seen, came) = tokio::join!(by.watch(time), newcomers.watch(time));
    let remark = format!("{held} held at first; {}", siege.memory());
    let metrics = metrics(&siege.gateway).await;
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
    if is_one_address {
        let bar = turned_away(metrics.as_ref(), &["max_strangers_per_address"]);
        card.add(program, row, bar);
    } else {
        // In a cgroup of 1 GiB the memory that connections may have is the first to be full.
        let bar = turned_away(metrics.as_ref(), &["max_connections", "memory_limit"]);
        card.add_if_calm(program, row, bar);
    }
}

/// A stranger's request is the last of its connection, so that only who says nothing can hold a place.
async fn ended_after_one(gateway: &Gateway) -> Bar {
    let (text, ended) = answers(&gateway.sender().from(address(0)), NOWHERE, PATIENCE).await;
    let is_told = text.to_lowercase().contains("\r\nconnection: close\r\n");
    let kept = u8::from(!(ended && is_told));
    Bar::new(
        "kept after one request, `Connection: close` unsaid",
        Some(f64::from(kept)),
        Unit::Requests,
        0.0,
        None,
    )
}

/// None of a gateway that has ended.
async fn metrics(gateway: &Gateway) -> Option<Metrics> {
    let answer = gateway.try_admin("GET", "/metrics").await.ok()?;
    Some(Metrics::parse(&answer.text))
}

/// Whether the attack met the bound that it is to meet, whatever is the first of them.
fn turned_away(metrics: Option<&Metrics>, reasons: &[&str]) -> Bar {
    let of = |metrics: &Metrics, reason| metrics.sum("gauntlet_refused_connections_total", &[("reason", reason)]);
    let ended = metrics.map(|metrics| reasons.iter().map(|reason| of(metrics, reason)).sum::<f64>());
    let open = metrics.map_or(0.0, |metrics| metrics.sum("gauntlet_connections", &[]));
    let unmet = ended.map(|ended| if ended > 0.0 { 0.0 } else { 1.0 });
    let what = format!("no connection ended by {}", reasons.join(" or "));
    let remark = format!("{:.0} ended, {open:.0} open at the end", ended.unwrap_or_default());
    Bar::new(&what, unmet, Unit::Requests, 0.0, None).remark(remark)
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
    strangers(gateway, move |stream, tally| {
        let head = Arc::clone(&head);
        async move {
            let (mut from, mut to) = split(stream);
            let mut answers = Answers::default();
            // It is cut somewhere in the head, and says why before.
            let sends = async { to.write_all(head.as_bytes()).await.and(to.flush().await) };
            let reads = async { while answers.read(&mut from, &tally).await.is_ok_and(|more| more) {} };
            let _ = tokio::join!(sends, reads);
            answers.any()
        }
    })
}

fn pipelined(gateway: &Gateway) -> Flood {
    let hundred: Arc<str> = EMPTY.repeat(HUNDRED).into();
    strangers(gateway, move |mut stream, tally| {
        let hundred = Arc::clone(&hundred);
        async move {
            let mut answers = Answers::default();
            loop {
                stream.write_all(hundred.as_bytes()).await?;
                stream.flush().await?;
                let due = answers.count + HUNDRED;
                while answers.count < due {
                    if !answers.read(&mut stream, &tally).await? {
                        return answers.any();
                    }
                }
            }
        }
    })
}

/// Until the answers fill what there is between the two; then what came is counted, and another connection does the same.
fn unread(gateway: &Gateway) -> Flood {
    let hundred: Arc<str> = EMPTY.repeat(HUNDRED).into();
    strangers(gateway, move |mut stream, tally| {
        let hundred = Arc::clone(&hundred);
        async move {
            let filling = async {
                loop {
                    stream.write_all(hundred.as_bytes()).await?;
                    stream.flush().await?;
                }
            };
            let _: Result<std::io::Result<()>, _> = timeout(FULL, filling).await;
            let mut answers = Answers::default();
            let reading = async { while answers.read(&mut stream, &tally).await.is_ok_and(|more| more) {} };
            let _ = timeout(COUNTED, reading).await;
            answers.any()
        }
    })
}

/// Answers as they come on one connection, in pieces of any size.
#[derive(Default)]
struct Answers {
    kept: Vec<u8>,
    count: usize,
}

impl Answers {
    const BEGIN: &[u8] = b"HTTP/1.1 ";
    /// As long as a status line is until its number has ended.
    const LINE: usize = Self::BEGIN.len() + 3;

    /// Reads once and counts what began by its status; false: the connection has ended.
    async fn read(&mut self, from: &mut (impl AsyncRead + Unpin), tally: &Tally) -> std::io::Result<bool> {
        let read = from.read_buf(&mut self.kept).await?;
        self.take(|status| tally.answered(status));
        Ok(read > 0)
    }

    fn take(&mut self, mut answered: impl FnMut(u16)) {
        let mut at = 0;
        while at + Self::LINE <= self.kept.len() {
            let line = &self.kept[at..at + Self::LINE];
            let number = line.strip_prefix(Self::BEGIN).and_then(|n| std::str::from_utf8(n).ok());
            match number.and_then(|number| number.parse().ok()) {
                Some(status) => {
                    answered(status);
                    self.count += 1;
                    at += Self::LINE;
                }
                None => at += 1,
            }
        }
        self.kept.drain(..at);
    }

    /// An error where there was no answer at all.
    fn any(&self) -> std::io::Result<()> {
        match self.count {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_their_status_however_they_are_cut() {
        let text = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\n\r\nno\nHTTP/1.1 431 Too large\r\n\r\n";
        for piece in 1..text.len() {
            let (mut answers, mut seen) = (Answers::default(), Vec::new());
            for part in text.chunks(piece) {
                answers.kept.extend_from_slice(part);
                answers.take(|status| seen.push(status));
            }
            assert_eq!((seen, answers.count), (vec![400, 431], 2), "{piece}");
        }
        assert!(Answers::default().any().is_err());
    }
}
