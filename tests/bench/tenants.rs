//! Ten thousand tenants in place of one, under the same load.
//!
//! Takes the setting, gives one bar for each set of policies. Every tenant has the same policies and a token of its own;
//! every memo is warm: each tenant sends one body of 500 samples and has sent it before.

use std::time::Duration;

use gauntlet_tests::bodies::Tokens;

use crate::cpu::spend;
use crate::gauntlet::{Config, Gauntlet, Policies, RULES, token};
use crate::load::{self, Pace, Target, Until};
use crate::process::slug;
use crate::setting::Setting;
use crate::table::{Bar, Figure, Unit};

/// With rules alone a warm memo asks no plugin; `limits` and `route` are asked about every write.
const RULES_ALONE: &str = "10,000 tenants with rules alone";
const ASKED: &str = "10,000 tenants with rules, limits and route";
/// A multiple of the number of bodies, so that each tenant has one.
const TENANTS: usize = 10_000;
const RATE: u64 = 1600;

pub fn bars(setting: &Setting) -> Vec<Bar> {
    [(RULES_ALONE, Policies::rules(RULES)), (ASKED, Policies::kept())]
        .into_iter()
        .filter(|(name, _)| setting.options.wants(name))
        .map(|(name, policies)| bar(setting, name, &policies))
        .collect()
}

fn bar(setting: &Setting, name: &str, policies: &Policies) -> Bar {
    let bodies = setting.bodies.cut(500);
    let (one, one_token) = start(setting, &format!("1 beside {name}"), policies, 1);
    let (many, tokens) = start(setting, name, policies, TENANTS);
    let (took, idle) = (many.start_took, rss(&many));
    let subject = |gauntlet: &Gauntlet| gauntlet.target(setting.without_certificate());
    let (to_one, to_many) = (subject(&one), subject(&many));
    let (from_one, from_many) = (bodies.by_tenant(&one_token), bodies.by_tenant(&tokens));
    let warm = |gauntlet: &Gauntlet, target: &Target, source, writes| {
        let until = Until::Writes(writes);
        let outcome = load::run(target, source, Pace { rate: None, until });
        if outcome.failed() > 0 {
            eprintln!("{}", gauntlet.process.last_words());
        }
        outcome.accepted(&target.name)
    };
    warm(&one, &to_one, &from_one, bodies.compressed.len() as u64);
    let warming = warm(&many, &to_many, &from_many, TENANTS as u64);
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
    let (mut alone, mut crowd, mut failed) = (Vec::new(), Vec::new(), warming.failed());
    for round in 1..=setting.options.rounds {
        alone.push(spend(&one.process, &to_one, &from_one, pace).nanoseconds_per_sample);
        let spent = spend(&many.process, &to_many, &from_many, pace);
        crowd.push(spent.nanoseconds_per_sample);
        failed += spent.failed;
        eprintln!("tenants: round {round} of {}", setting.options.rounds);
    }
    let (alone, crowd) = (Figure::of(alone), Figure::of(crowd));
    let after = known(&many);
    let (hits, misses) = (after.0 - before.0, after.1 - before.1);
    let writes = RATE as f64 * setting.options.run.as_secs_f64();
    let ratio = crowd.median / alone.median;
    let what = format!("{name}, CPU per sample of one tenant's");
    Bar::new(&what, Some(ratio), Unit::Times, 1.2, None).remark(format!(
        "{:.0} ns ({:.0} - {:.0}) beside {:.0} ({:.0} - {:.0}); {RATE} writes/s of {}, {:.0} tenants written to in each \
         run, {:.1} % of series known, {failed} writes not accepted; started in {}, warmed in {}; {idle:.0} MiB after the start, {:.0} MiB at the end \
         beside {:.0}",
        crowd.median,
        crowd.low,
        crowd.high,
        alone.median,
        alone.low,
        alone.high,
        bodies.samples,
        writes.min(TENANTS as f64),
        hits * 100.0 / (hits + misses),
        seconds(took),
        seconds(warming.took),
        rss(&many),
        rss(&one),
    ))
}

/// MiB.
fn rss(gauntlet: &Gauntlet) -> f64 {
    gauntlet.process.rss() as f64 / f64::from(1 << 20)
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn start(setting: &Setting, name: &str, policies: &Policies, count: usize) -> (Gauntlet, Tokens) {
    let (tokens, tenants): (Vec<_>, Vec<_>) = (0..count)
        .map(|number| {
            let (token, credential) = token(number);
            let name = format!("tenant-{number}");
            let tenant = policies.tenant(&name, &format!("{{{credential}}}"), "sink", "");
            (token, tenant)
        })
        .unzip();
    let config = Config::new(name, &[("sink", setting.sink.address)]).with_tokens();
    let folder = setting.folder().join(slug(name));
    (config.tenant_files(&folder, tenants).start(setting), tokens.into())
}
