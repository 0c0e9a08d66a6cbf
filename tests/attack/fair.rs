//! One tenant that takes all it can get, and one that must not notice.
//!
//! Takes the options, adds to the card how many times longer the bystander waits than in the control, where the same flood
//! goes to a second gateway on the same cores, and what the flooding tenant got.

use std::time::{Duration, Instant};

use gauntlet_tests::bar::{Bar, Unit};
use gauntlet_tests::bodies::{Source, recorded};
use gauntlet_tests::remote_write_v2::CONTENT_TYPE;
use gauntlet_tests::sender::Sender;
use gauntlet_tests::sink::Sink;
use gauntlet_tests::{Gateway, Setup, Tenant, relabel};
use serde_json::json;

use crate::bodies;
use crate::bystander::{Bystander, Seen};
use crate::card::{Card, deaths};
use crate::connections::fifty_a_second;
use crate::flood::{Flood, Harm, address};
use crate::guests;
use crate::memory::calm;
use crate::options::{Options, Program};
use crate::siege::Siege;

const CONNECTIONS: usize = 64;
/// Of a busy machine, a shorter time tells nothing.
const AT_LEAST: Duration = Duration::from_secs(3);
/// Of a call that may take 50, of processor time.
const SPIN_MILLISECONDS: u32 = 40;

type Make = fn() -> Source;
type Sends = fn(Sender) -> Sender;
const ROWS: [(&str, Sends, Make); 6] = [
    ("f1 64 connections of 5,000 new series", as_1, || {
        bodies::new_series(5_000)
    }),
    ("f2 64 connections of unsorted labels", as_1, || bodies::unsorted(2_000)),
    ("f3 64 connections of 500,000 empty metadata entries", as_1, || {
        bodies::empty_metadata(500_000)
    }),
    ("f4 64 connections of 500,000 unknown fields", as_1, || {
        bodies::unknown_fields(500_000)
    }),
    ("f5 64 connections of recorded bodies", as_1, || recorded().in_turn()),
    (
        "f9 64 connections of 2.0, 4,000 series with one help text of 800 kB",
        as_2,
        || bodies::one_help(4_000, 800_000),
    ),
];
const SPINNING: [(&str, usize); 3] = [
    ("f6 2 tenants that spin in their policies", 2),
    ("f6 4 tenants that spin in their policies", 4),
    ("f6 8 tenants that spin in their policies", 8),
];

pub async fn rows(options: &Options, card: &mut Card) {
    for (row, sends, make) in ROWS {
        let mut stored = Vec::new();
        let programs = options.programs_for(row);
        for program in &programs {
            let flood = |gateway: &Gateway| {
                let one = |n: usize| sends(gateway.sender().bearer("greedy-token").from(address(n)));
                Flood::of_writes((0..CONNECTIONS).map(one).collect(), make(), Duration::ZERO)
            };
            let harm = duel(options, card, program, row, greedy, fifty_a_second, flood).await;
            stored.push(harm.per_second(204));
        }
        if let [own, beside] = stored[..] {
            let ratio = own / beside.max(f64::MIN_POSITIVE);
            let what = "what the flooding tenant has stored, of with the program beside";
            let bar = Bar::new(what, Some(ratio), Unit::AtLeast, 0.9, None);
            card.add_if_calm(
                &programs[0],
                row,
                bar.remark(format!("{own:.0}/s beside {beside:.0}/s")),
            );
        }
    }
    // A quick run tries the most tenants alone.
    for (row, tenants) in SPINNING
        .into_iter()
        .filter(|(_, tenants)| !options.quick || *tenants == 8)
    {
        for program in options.programs_for(row) {
            let spin = guests::spinner(turns(&program).await);
            let setup = || spinning(tenants, &spin);
            let flood = |gateway: &Gateway| spins(gateway, tenants);
            duel(options, card, &program, row, setup, newly, flood).await;
        }
    }
}

fn as_1(sender: Sender) -> Sender {
    sender
}

fn as_2(sender: Sender) -> Sender {
    sender
        .with_header("Content-Type", CONTENT_TYPE)
        .with_header("X-Prometheus-Remote-Write-Version", "2.0.0")
}

fn greedy() -> Setup {
    let rule = json!([{"action": "drop", "source_labels": ["__name__"], "regex": "absent_.*"}]);
    let tenant = Tenant::new("greedy")
        .bearer("greedy-token")
        .policy("relabel", relabel(rule));
    // Its memo is bounded, so that it has as many new series at the end as at the beginning.
    calm(&Sink::start()).tenant(tenant)
}

/// Writes of series that its policy never saw, as many as tell a percentile from the slowest of all.
fn newly(gateway: &Gateway) -> Bystander {
    Bystander {
        source: bodies::new_series(50),
        ..fifty_a_second(gateway)
    }
}

fn spinning(tenants: usize, spin: &[u8]) -> Setup {
    let setup = calm(&Sink::start()).set("/plugins/spin", json!({"file": "spin.wasm"}));
    std::fs::write(setup.folder().join("spin.wasm"), spin).expect("a plugin's file");
    (0..tenants).fold(setup, |all, n| {
        let token = format!("spin-{n}-token");
        all.tenant(
            Tenant::new(&format!("spin-{n}"))
                .bearer(&token)
                .policy("spin", json!({})),
        )
    })
}

/// Each call is about one new series, so that there are as many calls as there can be.
fn spins(gateway: &Gateway, tenants: usize) -> Flood {
    let one = |n: usize| {
        gateway
            .sender()
            .bearer(&format!("spin-{}-token", n % tenants))
            .from(address(n))
    };
    Flood::of_writes(
        (0..tenants * 4).map(one).collect(),
        bodies::new_series(1),
        Duration::ZERO,
    )
}

/// How often a guest goes in a circle in its time, if nobody disturbs it: asked of a gateway, whose compiler decides.
async fn turns(program: &Program) -> u64 {
    const PROBE: u64 = 10_000_000;
    let siege = Siege::begin(program, spinning(1, &guests::spinner(PROBE))).await;
    let (sender, source) = (siege.gateway.sender().bearer("spin-0-token"), bodies::new_series(1));
    let mut quickest = Duration::MAX;
    for number in 0..30 {
        let began = Instant::now();
        let answer = sender.request(source(number).body.to_vec()).send().await;
        if answer.status == 204 {
            quickest = quickest.min(began.elapsed());
        }
    }
    (PROBE as f64 * f64::from(SPIN_MILLISECONDS) / 1000.0 / quickest.as_secs_f64()) as u64
}

/// Quiet, then control and attack in turns; gives what the flood came to where it was an attack.
pub async fn duel(
    options: &Options,
    card: &mut Card,
    program: &Program,
    row: &str,
    setup: impl Fn() -> Setup,
    bystander: impl Fn(&Gateway) -> Bystander,
    flood: impl Fn(&Gateway) -> Flood,
) -> Harm {
    let mut subject = Siege::begin(program, setup()).await;
    let other = Siege::begin(program, setup()).await;
    let mut by = bystander(&subject.gateway);
    if options.quick {
        // What is judged is goodput, and on a busy machine an answer may take longer than between two of 50.
        by.rate = by.rate.min(10);
    }
    let quiet = by.watch(options.time(4)).await;
    let (mut control, mut attacked) = (Seen::default(), Seen::default());
    let (mut elsewhere, mut here) = (Harm::default(), Harm::default());
    for _ in 0..if options.quick { 1 } else { 2 } {
        let (seen, harm) = under(&by, flood(&other.gateway), options).await;
        control.add(seen);
        elsewhere.add(harm);
        let (seen, harm) = under(&by, flood(&subject.gateway), options).await;
        attacked.add(seen);
        here.add(harm);
    }
    let ended = subject.deaths();
    if ended > 0 {
        card.add(program, row, deaths(ended).remark(subject.memory()));
    }
    let remark = format!(
        "attacked {}; control {}; quiet {}; the flood here {}, elsewhere {}",
        attacked.text(),
        control.text(),
        quiet.text(),
        here.text(),
        elsewhere.text()
    );
    let times = |percent| attacked.percentile(percent) / control.percentile(percent).max(f64::MIN_POSITIVE);
    let p99 = Bar::new(
        "a bystander's p99, of the control's",
        Some(times(99.0)),
        Unit::Times,
        2.0,
        None,
    );
    card.add_if_calm(program, row, p99.remark(remark.clone()));
    let kept = attacked.goodput() / control.goodput().max(f64::MIN_POSITIVE);
    let kept = Bar::new(
        "a bystander's goodput, of the control's",
        Some(kept),
        Unit::AtLeast,
        0.9,
        None,
    );
    card.add(program, row, if options.quick { kept.remark(remark) } else { kept });
    here
}

/// What is seen under a flood that has begun.
async fn under(by: &Bystander, flood: Flood, options: &Options) -> (Seen, Harm) {
    tokio::time::sleep(options.time(1)).await;
    let told = flood.during(by.watch(options.time(5).max(AT_LEAST))).await;
    flood.stop().await;
    told
}
