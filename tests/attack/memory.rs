//! Attacks on the memory of the process, in a cgroup of 1 GiB as the deployment has it.
//!
//! Takes the options, adds to the card whether the process lived, what a bystander lost, and the peak. The
//! configuration is the example's: its limits, its policies, a tenant for each attacker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gauntlet_tests::bar::{Bar, Unit};
use gauntlet_tests::bodies::{Source, recorded};
use gauntlet_tests::sink::Sink;
use gauntlet_tests::{Gateway, Sender, Setup, Tenant, relabel};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout};

use crate::bodies;
use crate::bystander::{Bystander, Seen};
use crate::card::{Card, deaths};
use crate::flood::{Flood, address};
use crate::guests;
use crate::options::{Options, Program};
use crate::siege::Siege;

/// Of a head that is never finished. From 16 KiB on it would be answered and its connection closed.
const HEAD: usize = 16_000;
/// Who was sent away comes again, but not for the sake of coming.
const AGAIN: Duration = Duration::from_millis(50);
pub const STRANGERS: usize = 10_000;
const SECONDS: u64 = 60;
/// What is bounded by nothing takes this long to kill a gateway on a busy machine.
const AT_LEAST: Duration = Duration::from_secs(12);
/// Of writes whose bodies are recorded ones of so many samples.
pub const SAMPLES: usize = 500;

const ROWS: [(&str, &[Attack]); 8] = [
    ("m1 10,000 unfinished heads of 16,000 bytes", &[Attack::Heads]),
    (
        "m2 4 tenants x 2 connections of 5,000 new series a write",
        &[Attack::NewSeries],
    ),
    (
        "m3 20 tenants x 50 connections of 1.4 MB that are 30 MB, edited",
        &[Attack::Swollen],
    ),
    ("m4 40 plugins that fill 30 MB, by reload", &[Attack::Fillers]),
    ("m5 a plugin of 200,000 functions, by reload", &[Attack::Crowd]),
    (
        "m7 all of these at once",
        &[
            Attack::Heads,
            Attack::NewSeries,
            Attack::Swollen,
            Attack::Fillers,
            Attack::Crowd,
        ],
    ),
    (
        "m8 64 connections of 40,000 tiny new series a write, each edited to 1 KiB",
        &[Attack::Padded],
    ),
    ("m9 10,000 unfinished TLS handshakes of 60,000 bytes", &[Attack::Hellos]),
];
const LARGEST: &str = "m6 33 MB bodies, 1 and 64 connections";

#[derive(Clone, Copy, PartialEq)]
enum Attack {
    Heads,
    NewSeries,
    Swollen,
    Fillers,
    Crowd,
    Padded,
    Hellos,
}

impl Attack {
    /// Whether its senders take the cores that the bystander needs, wherever they send: then the control is the measure.
    fn takes_cores(self) -> bool {
        matches!(self, Self::Swollen | Self::Padded)
    }
}

pub async fn rows(options: &Options, card: &mut Card) {
    for (row, attacks) in ROWS {
        for program in options.programs_for(row) {
            besieged(options, card, &program, row, attacks).await;
        }
    }
    for program in options.programs_for(LARGEST) {
        largest(options, card, &program).await;
    }
}

async fn besieged(options: &Options, card: &mut Card, program: &Program, row: &str, attacks: &[Attack]) {
    let sink = Sink::start();
    let mut siege = Siege::begin(program, example(&sink)).await;
    let by = bystander(&siege.gateway);
    let quiet = by.watch(options.time(5)).await;
    let time = options.time(SECONDS).max(AT_LEAST);
    let has_control = !options.quick && attacks.iter().any(|attack| attack.takes_cores());
    let control = if has_control {
        Some(elsewhere(program, attacks, &by, time / 3).await)
    } else {
        None
    };
    let floods = floods(attacks, &siege.gateway);
    let (seen, ()) = tokio::join!(by.watch(time), reloads(&mut siege.gateway, attacks, time));
    let ended = siege.deaths();
    let harm: Vec<String> = floods.iter().map(|flood| flood.so_far().text()).collect();
    stop(floods).await;
    card.add(program, row, deaths(ended).remark(siege.memory()));
    let mut remark = format!("attacked {}; quiet {}", seen.text(), quiet.text());
    if !harm.concat().is_empty() {
        remark += &format!("; the flood {}", harm.join(" and "));
    }
    let reached = seen.goodput();
    let bar = match control {
        Some(control) => {
            remark = format!("{reached:.3} of all; {remark}; control {}", control.text());
            let kept = reached / control.goodput().max(f64::MIN_POSITIVE);
            Bar::new(
                "a bystander's goodput, of the control's",
                Some(kept),
                Unit::AtLeast,
                0.95,
                None,
            )
        }
        None => options.goodput(reached, 0.95),
    };
    if attacks.iter().any(|attack| attack.takes_cores()) {
        card.add_if_calm(program, row, bar.remark(remark));
    } else {
        card.add(program, row, bar.remark(remark));
    }
}

/// What the bystander sees while another gateway is attacked, on the same cores.
async fn elsewhere(program: &Program, attacks: &[Attack], by: &Bystander, time: Duration) -> Seen {
    let sink = Sink::start();
    let mut other = Siege::begin(program, example(&sink)).await;
    let floods = floods(attacks, &other.gateway);
    let (seen, ()) = tokio::join!(by.watch(time), reloads(&mut other.gateway, attacks, time));
    stop(floods).await;
    seen
}

fn floods(attacks: &[Attack], gateway: &Gateway) -> Vec<Flood> {
    attacks.iter().filter_map(|attack| flood(*attack, gateway)).collect()
}

async fn stop(floods: Vec<Flood>) {
    for flood in floods {
        flood.stop().await;
    }
}

/// Three tenants' worth of the example, and whoever attacks.
fn example(sink: &Sink) -> Setup {
    let edited = relabel(json!([{"target_label": "cluster_of_origin", "replacement": "somewhere-else"}]));
    let tenant = |name: String, policy: serde_json::Value| {
        let token = format!("{name}-token");
        Tenant::new(&name).bearer(&token).policy("relabel", policy)
    };
    // What was compiled in another run would cost nothing.
    let setup = calm(sink).set("/sandbox/cache_dir", "artefacts").set(
        "/policies/after",
        json!([{"plugin": "limits", "name": "fair-share", "settings": {"samples": {"per_second": 100_000, "burst": 400_000}}}]),
    );
    let setup = (0..4).fold(setup, |all, n| {
        all.tenant(tenant(format!("new-{n}"), relabel(json!([]))))
    });
    let setup = (0..20).fold(setup, |all, n| {
        all.tenant(tenant(format!("swollen-{n}"), edited.clone()))
    });
    let setup = (0..40).fold(setup, |all, n| {
        all.tenant(tenant(format!("filler-{n}"), relabel(json!([]))))
    });
    let padding = relabel(json!([{"target_label": "padding", "replacement": "p".repeat(1024)}]));
    setup
        .tenant(tenant("padded-0".to_owned(), padding))
        .tenant(tenant("crowd".to_owned(), relabel(json!([]))))
}

/// A gateway with its defaults, one healthy pool and the bystander.
pub fn calm(sink: &Sink) -> Setup {
    let usual = relabel(json!([{"action": "drop", "source_labels": ["__name__"], "regex": "absent_.*"}]));
    Setup::new()
        .set("/sandbox/call_timeout", "50ms")
        .set(
            "/upstreams/healthy",
            json!({"endpoints": [format!("http://{}", sink.address)]}),
        )
        .tenant(
            Tenant::new("bystander")
                .bearer("bystander-token")
                .policy("relabel", usual)
                .upstreams(&["healthy"]),
        )
}

/// Ten known writes a second on one connection.
pub fn bystander(gateway: &Gateway) -> Bystander {
    Bystander {
        sender: gateway.sender().bearer("bystander-token").from(address(249)),
        source: known(),
        rate: 10,
        is_new_each_time: false,
    }
}

pub fn known() -> Source {
    recorded().cut(SAMPLES).in_turn()
}

fn flood(attack: Attack, gateway: &Gateway) -> Option<Flood> {
    let tenants = |name: &str, count: usize, each: usize| {
        let one = |n: usize| {
            gateway
                .sender()
                .bearer(&format!("{name}-{}-token", n % count))
                .from(address(n))
        };
        (0..count * each).map(one).collect::<Vec<Sender>>()
    };
    match attack {
        Attack::Heads => Some(heads(gateway)),
        Attack::Hellos => Some(hellos(gateway)),
        Attack::NewSeries => Some(Flood::of_writes(
            tenants("new", 4, 2),
            bodies::new_series(5_000),
            Duration::ZERO,
        )),
        Attack::Swollen => Some(Flood::of_writes(
            tenants("swollen", 20, 50),
            bodies::swollen(),
            Duration::ZERO,
        )),
        Attack::Padded => Some(Flood::of_writes(
            tenants("padded", 1, 64),
            bodies::tiny_new_series(40_000),
            Duration::ZERO,
        )),
        Attack::Fillers | Attack::Crowd => None,
    }
}

fn heads(gateway: &Gateway) -> Flood {
    let senders = (0..STRANGERS).map(|n| gateway.sender().from(address(n))).collect();
    Flood::of_silence(senders, async |mut stream| {
        let head = "POST /api/v1/receive HTTP/1.1\r\nHost: localhost\r\nX-Long: ";
        let rest = "a".repeat(HEAD - head.len());
        stream.write_all(format!("{head}{rest}").as_bytes()).await?;
        stream.flush().await?;
        Ok(stream)
    })
}

/// A hello that says it is longer than it is, in whole records, of which a reader must keep all that came.
fn hellos(gateway: &Gateway) -> Flood {
    const RECORD: [u8; 5] = [22, 3, 1, 0x3a, 0x98];
    const LENGTH: usize = 15_000;
    let mut hello = vec![1, 0, 0xff, 0];
    hello.resize(4 * LENGTH, 0);
    let records: Arc<[u8]> = hello.chunks(LENGTH).flat_map(|part| [&RECORD, part].concat()).collect();
    let senders: Arc<Vec<Sender>> = Arc::new((0..STRANGERS).map(|n| gateway.sender().from(address(n))).collect());
    Flood::of(STRANGERS, move |number, _| {
        let (senders, records) = (Arc::clone(&senders), Arc::clone(&records));
        async move {
            let mut stream = senders[number].connect_tcp().await?;
            stream.write_all(&records).await?;
            // Until the gateway ends it.
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
            sleep(AGAIN).await;
            Ok(())
        }
    })
}

/// Asks for what the attacks want, again and again, until the time is over.
async fn reloads(gateway: &mut Gateway, attacks: &[Attack], time: Duration) {
    static MARK: AtomicU32 = AtomicU32::new(0);
    let began = Instant::now();
    while began.elapsed() < time {
        let mark = MARK.fetch_add(1, Ordering::Relaxed);
        if attacks.contains(&Attack::Fillers) {
            put_fillers(gateway, mark);
        }
        if attacks.contains(&Attack::Crowd) {
            put_crowd(gateway, mark);
        }
        gateway.setup.write();
        let left = time.saturating_sub(began.elapsed());
        if attacks.contains(&Attack::Fillers) || attacks.contains(&Attack::Crowd) {
            // It may fail, be refused or kill the gateway: that is seen elsewhere.
            let _ = timeout(left, gateway.try_admin("POST", "/-/reload")).await;
        }
        sleep(Duration::from_secs(2).min(time.saturating_sub(began.elapsed()))).await;
    }
}

fn put_fillers(gateway: &mut Gateway, mark: u32) {
    let file = gateway.setup.folder().join("filler.wasm");
    std::fs::write(file, guests::filler(27_000_000)).expect("a plugin's file");
    gateway.setup.put("/plugins/filler", json!({"file": "filler.wasm"}));
    for number in 0..40 {
        let name = format!("filler-{number}");
        let token = format!("{name}-token");
        let tenant = Tenant::new(&name)
            .bearer(&token)
            .policy("filler", json!({ "mark": mark }));
        gateway.setup.put_tenant(tenant);
    }
}

fn put_crowd(gateway: &mut Gateway, mark: u32) {
    let file = gateway.setup.folder().join("crowd.wasm");
    std::fs::write(file, guests::crowd(200_000, mark)).expect("a plugin's file");
    gateway.setup.put("/plugins/crowd", json!({"file": "crowd.wasm"}));
    gateway
        .setup
        .put_tenant(Tenant::new("crowd").bearer("crowd-token").policy("crowd", json!({})));
}

/// Large bodies must not starve each other.
async fn largest(options: &Options, card: &mut Card, program: &Program) {
    let sink = Sink::start();
    let large = Tenant::new("large")
        .bearer("large-token")
        .policy("relabel", relabel(json!([])));
    let mut siege = Siege::begin(program, calm(&sink).tenant(large)).await;
    let source = bodies::largest();
    let mut stored = Vec::new();
    let mut texts = Vec::new();
    for connections in [1, 64] {
        let one = |n: usize| siege.gateway.sender().bearer("large-token").from(address(n));
        let flood = Flood::of_writes((0..connections).map(one).collect(), source.clone(), Duration::ZERO);
        // The first are as new as their series, and come all at once.
        sleep(options.time(4)).await;
        let ((), harm) = flood.during(sleep(options.time(16))).await;
        flood.stop().await;
        stored.push(harm.per_second(204));
        texts.push(format!("{connections}: {}", harm.text()));
    }
    card.add(program, LARGEST, deaths(siege.deaths()).remark(siege.memory()));
    let ratio = stored[1] / stored[0].max(f64::MIN_POSITIVE);
    let bar = Bar::new(
        "writes stored with 64, of with 1",
        Some(ratio),
        Unit::AtLeast,
        0.5,
        None,
    );
    card.add_if_calm(program, LARGEST, bar.remark(texts.join("; ")));
}
