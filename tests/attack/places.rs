//! Tenants that hold places: by a receiver that never answers, by bodies that dribble in.
//!
//! Takes the options, adds to the card what a bystander on a healthy pool lost.

use std::sync::Arc;
use std::time::Duration;

use gauntlet_tests::sink::Sink;
use gauntlet_tests::{Gateway, Sender, Setup, Tenant, relabel};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use crate::bodies;
use crate::card::{Card, deaths};
use crate::flood::{Flood, address};
use crate::memory::{bystander, calm};
use crate::options::{Options, Program};
use crate::siege::Siege;

const EACH: usize = 256;
const SECONDS: u64 = 20;
/// A body under way: so many bytes as often as this are 1.2 kB/s.
const DRIBBLE: Duration = Duration::from_millis(500);
const DROP: [u8; 600] = [b'x'; 600];
/// Who is refused comes again, but not for the sake of coming.
const REFUSED: Duration = Duration::from_millis(500);
const BODY: usize = 60_000;

/// By tenants.
type Make = fn(&Gateway, usize) -> Flood;
const ROWS: [(&str, usize, Make); 4] = [
    ("f7 4 tenants x 256 connections on a pool that hangs", 4, hanging),
    ("f7 8 tenants x 256 connections on a pool that hangs", 8, hanging),
    ("f8 4 tenants x 256 bodies at 1.2 kB/s", 4, dribbling),
    ("f8 8 tenants x 256 bodies at 1.2 kB/s", 8, dribbling),
];

pub async fn rows(options: &Options, card: &mut Card) {
    // A quick run tries the most tenants alone.
    for (row, tenants, flood) in ROWS
        .into_iter()
        .filter(|(_, tenants, _)| !options.quick || *tenants == 8)
    {
        for program in options.programs_for(row) {
            held(options, card, &program, row, tenants, flood).await;
        }
    }
}

async fn held(options: &Options, card: &mut Card, program: &Program, row: &str, tenants: usize, flood: Make) {
    let sink = Sink::start();
    let mut siege = Siege::begin(program, setup(&sink, tenants)).await;
    let by = bystander(&siege.gateway);
    let quiet = by.watch(options.time(4)).await;
    let flood = flood(&siege.gateway, tenants);
    sleep(options.time(4)).await;
    let (seen, harm) = flood.during(by.watch(options.time(SECONDS))).await;
    flood.stop().await;
    card.add(program, row, deaths(siege.deaths()).remark(siege.memory()));
    let remark = format!(
        "attacked {}; quiet {}; the flood {}",
        seen.text(),
        quiet.text(),
        harm.text()
    );
    card.add(program, row, options.goodput(seen.goodput(), 0.99).remark(remark));
}

fn setup(sink: &Sink, tenants: usize) -> Setup {
    let hanging = format!("http://{}", Sink::hanging());
    let setup = calm(sink).set("/upstreams/hanging", json!({"endpoints": [hanging]}));
    (0..tenants).fold(setup, |all, n| {
        let name = format!("holder-{n}");
        let token = format!("{name}-token");
        let tenant = Tenant::new(&name).bearer(&token).policy("relabel", relabel(json!([])));
        all.tenant(tenant.upstreams(&["hanging"]))
    })
}

fn senders(gateway: &Gateway, tenants: usize) -> Vec<Sender> {
    let one = |n: usize| {
        gateway
            .sender()
            .bearer(&format!("holder-{}-token", n % tenants))
            .from(address(n))
    };
    (0..tenants * EACH).map(one).collect()
}

fn hanging(gateway: &Gateway, tenants: usize) -> Flood {
    Flood::of_writes(senders(gateway, tenants), bodies::small(), REFUSED)
}

fn dribbling(gateway: &Gateway, tenants: usize) -> Flood {
    let senders = Arc::new(senders(gateway, tenants));
    Flood::of(senders.len(), move |number, tally| {
        let senders = Arc::clone(&senders);
        async move {
            let mut stream = senders[number].connect().await?;
            let head = format!(
                "POST /api/v1/receive HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer holder-{}-token\r\n\
                 Content-Length: {BODY}\r\n\r\n",
                number % (senders.len() / EACH)
            );
            stream.write_all(head.as_bytes()).await?;
            let mut answer = [0; 512];
            for _ in 0..BODY / DROP.len() {
                stream.write_all(&DROP).await?;
                stream.flush().await?;
                // An answer before its end is a refusal.
                if let Ok(read) = timeout(DRIBBLE, stream.read(&mut answer)).await {
                    let text = String::from_utf8_lossy(&answer[..read?]).into_owned();
                    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
                    tally.answered(status.unwrap_or(0));
                    return Ok(());
                }
            }
            Ok(())
        }
    })
}
