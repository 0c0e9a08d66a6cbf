//! Latency that the gateway adds to a blind TLS proxy's, at half of the load it can take.
//!
//! Takes the setting, gives one bar. Half load is half of the writes that the gateway answers per second when eight
//! connections send as fast as answers come, on this machine, with the senders on the same cores.

use std::time::{Duration, Instant};

use crate::gauntlet::{CERTIFICATE, Config, Policies};
use crate::load::{self, Pace, Target, Until};
use crate::peers;
use crate::process::Cpu;
use crate::setting::Setting;
use crate::table::{Bar, Figure, Unit};

const NAME: &str = "latency at half load";

pub fn bars(setting: &Setting) -> Vec<Bar> {
    if !setting.options.wants(NAME) {
        return Vec::new();
    }
    let (_nginx, nginx) = peers::nginx(setting, "latency, nginx");
    let tenant = Policies::kept().tenant("bench", &format!("{{{CERTIFICATE}}}"), "sink", "");
    let gauntlet = Config::new("latency, gauntlet", &[("sink", setting.sink.address)]).tenants([tenant]);
    let gauntlet = gauntlet.start(setting);
    let gateway = gauntlet.target(setting.with_certificate());
    let source = setting.bodies.in_turn();
    let send = |target: &Target, rate, time| {
        let until = Until::Time(time);
        load::run(target, &source, Pace { rate, until }).accepted(&target.name)
    };
    send(&gateway, None, Duration::from_secs(1));
    let most = send(&gateway, None, setting.options.run).writes_per_second();
    let half = (most / 2.0) as u64;
    let (mut plain, mut added, mut through) = (Vec::new(), Vec::new(), Vec::new());
    let (own, began) = (Cpu::of(std::process::id()), Instant::now());
    for round in 1..=setting.options.rounds {
        let without = send(&nginx, Some(half), setting.options.run / 2).percentile(99.0);
        let with = send(&gateway, Some(half), setting.options.run / 2).percentile(99.0);
        plain.push(without.as_secs_f64() * 1e3);
        through.push(with.as_secs_f64() * 1e3);
        added.push((with.as_secs_f64() - without.as_secs_f64()) * 1e3);
        eprintln!("latency: round {round} of {}", setting.options.rounds);
    }
    let own = Cpu::of(std::process::id()).since(&own) / began.elapsed().as_nanos() as f64;
    let (plain, through, added) = (Figure::of(plain), Figure::of(through), Figure::of(added));
    let remark = format!(
        "median of rounds; p99 {:.2} ms through the gateway, {:.2} ms through nginx, {half} writes/s ({most:.0} at most); rounds from {:.2} \
         to {:.2} ms; senders and sink used {own:.2} cores of the same machine",
        through.median, plain.median, added.low, added.high
    );
    vec![
        Bar::new(
            "p99 over nginx at half load",
            Some(added.median),
            Unit::Milliseconds,
            2.0,
            Some(1.0),
        )
        .remark(remark),
    ]
}
