//! Resident memory: a million active series, and series that are new for ever.
//!
//! Takes the setting, gives bars. Memory is what the kernel counts as resident (`VmRSS`), less what the same process
//! had before its first write.

use std::thread;
use std::time::Duration;

use gauntlet_tests::bodies::Tokens;

use crate::cpu::{NO_LIMIT, SLOW_RATE, spend};
use crate::gauntlet::{CERTIFICATE, Config, Gauntlet, Policies, RULES, token};
use crate::load::{self, Pace, Until};
use crate::setting::Setting;
use crate::table::{Bar, Figure, Unit};

const TENANTS: usize = 10;
const SERIES: u64 = 1_000_000;
/// What a tenant without a limit may remember (`judge.rs`).
const LARGEST_MEMO: f64 = 1024.0;
/// A limit that churn exceeds within seconds, and what its tenant may remember: 384 bytes for each.
const SMALL_LIMIT: u64 = 100_000;
const SMALL_MEMO: f64 = SMALL_LIMIT as f64 * 384.0 / MIB;
const REFUSED_STEPS: usize = 4;
const MIB: f64 = (1 << 20) as f64;
/// Churn is sent a million series at a time, until one more adds next to nothing to what is remembered. Resident
/// memory says so too early: tables double.
const CHURN_STEP: u64 = 1_000_000;
const MOST_CHURN: usize = 40;
/// By then the gateway has given back what was freed: what the last writes took for a moment is not what series cost.
const SETTLED: Duration = Duration::from_secs(15);

pub fn bars(setting: &Setting) -> Vec<Bar> {
    let mut bars = Vec::new();
    for (name, policies, bar) in [
        ("memory of 1 M series kept", Policies::kept(), 100.0),
        ("memory of 1 M series edited", Policies::edited(), 300.0),
    ] {
        if setting.options.wants(name) {
            bars.push(active(setting, name, &policies, bar));
        }
    }
    if setting.options.wants("memory under churn") {
        bars.extend(churn(setting));
    }
    if setting.options.wants("memory under refused churn") {
        bars.push(refused(setting));
    }
    bars
}

fn active(setting: &Setting, name: &str, policies: &Policies, bar: f64) -> Bar {
    let (tokens, tenants): (Vec<_>, Vec<_>) = (0..TENANTS)
        .map(|number| {
            let (token, credential) = token(number);
            let tenant = policies.tenant(&format!("tenant-{number}"), &format!("{{{credential}}}"), "sink", "");
            (token, tenant)
        })
        .unzip();
    let config = Config::new(name, &[("sink", setting.sink.address)])
        .with_tokens()
        .tenants(tenants);
    let gauntlet = config.start(setting);
    let idle = rss(&gauntlet);
    let tokens: Tokens = tokens.into();
    let source = setting.bodies.always_new(Some(&tokens));
    let pace = Pace {
        rate: None,
        until: Until::Writes(SERIES / setting.bodies.samples),
    };
    let outcome = load::run(&gauntlet.target(setting.without_certificate()), &source, pace).accepted(name);
    thread::sleep(SETTLED);
    let over = rss(&gauntlet) - idle;
    let active = gauntlet.metrics().sum("gauntlet_active_series", &[]);
    let remark = format!(
        "{TENANTS} tenants, {} series sent in {:.1} s, {active:.0} active by the metric; idle {idle:.0} MiB",
        outcome.samples,
        outcome.took.as_secs_f64()
    );
    Bar::new(&format!("{name}, over idle"), Some(over), Unit::MiB, bar, None).remark(remark)
}

/// A tenant that may have any number of series and never sends one twice: its memo fills and stays full.
fn churn(setting: &Setting) -> Vec<Bar> {
    let start = |name| one_tenant(setting, name, NO_LIMIT);
    let (full, fresh) = (start("churn, memo full"), start("churn, memo not full"));
    let idle = rss(&full);
    let target = full.target(setting.with_certificate());
    let source = setting.bodies.always_new(None);
    let step = Pace {
        rate: None,
        until: Until::Writes(CHURN_STEP / setting.bodies.samples),
    };
    let (mut sizes, mut remembered) = (Vec::new(), 0.0);
    while sizes.len() < MOST_CHURN {
        load::run(&target, &source, step).accepted("churn");
        sizes.push(rss(&full) - idle);
        let now = full.metrics().sum("gauntlet_policy_memo_entries", &[]);
        if now < remembered + CHURN_STEP as f64 / 10.0 {
            break;
        }
        remembered = now;
    }
    let sent = sizes.len();
    let (mut kept, mut new) = (Vec::new(), Vec::new());
    let pace = Pace {
        rate: Some(SLOW_RATE),
        until: Until::Time(setting.options.run),
    };
    let beside = fresh.target(setting.with_certificate());
    let other = setting.bodies.always_new(None);
    for round in 1..=setting.options.rounds.min(3) {
        kept.push(spend(&full.process, &target, &source, pace).nanoseconds_per_sample);
        new.push(spend(&fresh.process, &beside, &other, pace).nanoseconds_per_sample);
        eprintln!("churn: round {round}");
    }
    let (kept, new) = (Figure::of(kept), Figure::of(new));
    sizes.push(rss(&full) - idle);
    let most = sizes.iter().fold(0.0_f64, |most, size| most.max(*size));
    let what = "memory under churn, over idle";
    vec![
        Bar::new(what, Some(most), Unit::MiB, LARGEST_MEMO, None).remark(format!(
            "one tenant, {sent} M series, none twice, {:.1} M remembered; the bound is the largest memo; {:.0} MiB after 1 M",
            remembered / 1e6,
            sizes[0]
        )),
        Bar::new(
            "CPU under churn, of a memo that is not full",
            Some(kept.median / new.median),
            Unit::Times,
            1.1,
            None,
        )
        .remark(format!(
            "{:.0} ns per sample ({:.0} - {:.0}) beside {:.0} ({:.0} - {:.0}) at {SLOW_RATE} writes/s",
            kept.median, kept.low, kept.high, new.median, new.low, new.high
        )),
    ]
}

/// A tenant that has reached its limit and goes on sending new series: all are refused, and judged all the same.
fn refused(setting: &Setting) -> Bar {
    let name = "memory under refused churn";
    let gauntlet = one_tenant(setting, name, &format!("max_active_series: {SMALL_LIMIT}"));
    let idle = rss(&gauntlet);
    let (target, source) = (
        gauntlet.target(setting.with_certificate()),
        setting.bodies.always_new(None),
    );
    let step = Pace {
        rate: None,
        until: Until::Writes(CHURN_STEP / setting.bodies.samples),
    };
    let (mut sizes, mut refused, mut sent) = (Vec::new(), 0, 0);
    for _ in 0..REFUSED_STEPS {
        let outcome = load::run(&target, &source, step);
        let answered = outcome.statuses.keys().all(|status| matches!(status, 200..300 | 400));
        assert!(answered, "{name}: {:?} {:?}", outcome.statuses, outcome.complaint);
        sizes.push(rss(&gauntlet) - idle);
        refused += outcome.failed();
        sent += outcome.writes();
    }
    let (first, last) = (sizes[0], sizes[REFUSED_STEPS - 1]);
    let what = format!("memory over idle after {REFUSED_STEPS} M refused series, of after 1 M");
    Bar::new(&what, Some(last / first), Unit::Times, 1.1, None).remark(format!(
        "{first:.0} and {last:.0} MiB; max_active_series {SMALL_LIMIT}, whose memo may have {SMALL_MEMO:.0} MiB; \
         {refused} of {sent} writes answered 400"
    ))
}

fn one_tenant(setting: &Setting, name: &str, limits: &str) -> Gauntlet {
    let tenant = Policies::rules(RULES).tenant("bench", &format!("{{{CERTIFICATE}}}"), "sink", limits);
    let config = Config::new(name, &[("sink", setting.sink.address)]).tenants([tenant]);
    config.start(setting)
}

/// MiB.
fn rss(gauntlet: &Gauntlet) -> f64 {
    gauntlet.process.rss() as f64 / MIB
}
