//! Ten thousand tenants in place of one, under the same load.
//!
//! Takes the setting, gives one bar. Every tenant has the same policies and a token of its own; every memo is warm:
//! each tenant sends one body of 500 samples and has sent it before.

use std::time::Duration;

use crate::bodies::Tokens;
use crate::cpu::spend;
use crate::gauntlet::{Config, Gauntlet, Policies, token};
use crate::load::{self, Pace, Target, Until};
use crate::process::slug;
use crate::setting::Setting;
use crate::table::{Bar, Figure, Unit};

const NAME: &str = "10,000 tenants";
/// A multiple of the number of bodies, so that each tenant has one.
const TENANTS: usize = 10_000;
const RATE: u64 = 1600;

pub fn bars(setting: &Setting) -> Vec<Bar> {
    if !setting.options.wants(NAME) {
        return Vec::new();
    }
    let bodies = setting.bodies.cut(500);
    let (one, one_token) = start(setting, "1 tenant", 1);
    let (many, tokens) = start(setting, NAME, TENANTS);
    let started = many.start_took;
    let subject = |gauntlet: &Gauntlet| gauntlet.target(setting.without_certificate());
    let (to_one, to_many) = (subject(&one), subject(&many));
    let (from_one, from_many) = (bodies.by_tenant(&one_token), bodies.by_tenant(&tokens));
    let warm = |target: &Target, source, writes| {
        let until = Until::Writes(writes);
        load::run(target, source, Pace { rate: None, until }).accepted(&target.name)
    };
    warm(&to_one, &from_one, bodies.compressed.len() as u64);
    let warming = warm(&to_many, &from_many, TENANTS as u64);
    let pace = Pace {
        rate: Some(RATE),
        until: Until::Time(setting.options.run),
    };
    let known = |gauntlet: &Gauntlet| {
        let metrics = gauntlet.metrics();
        let sum = |name| metrics.sum(name, &[]);
        (
            sum("gauntlet_policy_memo_hits_total"),
            sum("gauntlet_policy_memo_misses_total"),
        )
    };
    let before = known(&many);
    let (mut alone, mut crowd) = (Vec::new(), Vec::new());
    for round in 1..=setting.options.rounds {
        alone.push(spend(&one.process, &to_one, &from_one, pace).0);
        crowd.push(spend(&many.process, &to_many, &from_many, pace).0);
        eprintln!("tenants: round {round} of {}", setting.options.rounds);
    }
    let (alone, crowd) = (Figure::of(alone), Figure::of(crowd));
    let after = known(&many);
    let (hits, misses) = (after.0 - before.0, after.1 - before.1);
    let writes = RATE as f64 * setting.options.run.as_secs_f64();
    let ratio = crowd.median / alone.median;
    vec![Bar::new("10,000 tenants, CPU per sample of one tenant's", Some(ratio), Unit::Times, 1.2, None).remark(format!(
        "{:.0} ns ({:.0} - {:.0}) beside {:.0} ({:.0} - {:.0}); {RATE} writes/s of {}, {:.0} tenants written to in each \
         run, {:.1} % of series known; started in {}, warmed in {}; {:.0} MiB resident beside {:.0}",
        crowd.median,
        crowd.low,
        crowd.high,
        alone.median,
        alone.low,
        alone.high,
        bodies.samples,
        writes.min(TENANTS as f64),
        hits * 100.0 / (hits + misses),
        seconds(started),
        seconds(warming.took),
        many.process.rss() as f64 / f64::from(1 << 20),
        one.process.rss() as f64 / f64::from(1 << 20),
    ))]
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn start(setting: &Setting, name: &str, count: usize) -> (Gauntlet, Tokens) {
    let (tokens, tenants): (Vec<_>, Vec<_>) = (0..count)
        .map(|number| {
            let (token, credential) = token(number);
            let name = format!("tenant-{number}");
            let tenant = Policies::kept().tenant(&name, &format!("{{{credential}}}"), "sink", "");
            (token, tenant)
        })
        .unzip();
    let config = Config::new(name, &[("sink", setting.sink.address)]).with_tokens();
    let folder = setting.folder().join(slug(name));
    (config.tenant_files(&folder, tenants).start(setting), tokens.into())
}
