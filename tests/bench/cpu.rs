//! CPU per sample: every subject under its load, in turn, round after round.
//!
//! Takes the setting, gives the rows of the first table. All subjects run from the first round to the last, and a
//! round measures each once, so that whatever else the machine does falls on all of them alike.

use std::path::Path;
use std::thread;
use std::time::Duration;

use gauntlet_tests::bodies::Source;
use gauntlet_tests::sink::Sink;

use crate::gauntlet::{CERTIFICATE, Config, Gauntlet, Policies, RULES};
use crate::load::{self, Pace, Target, Until, Version};
use crate::peers::{self, Thanos};
use crate::process::{Cpu, Process};
use crate::setting::Setting;
use crate::table::{Figure, Row};

/// Writes of 2000 samples per second: below what any subject but Thanos takes on two cores, so that all do the same.
const RATE: u64 = 400;
/// Where every series is new, and for Thanos: what fits beside the sender and, for Thanos, the receiver behind it.
pub const SLOW_RATE: u64 = 40;
/// Long enough for every recorded body to come by on every connection, and for a memo to be warm.
const WARM_UP: Duration = Duration::from_secs(2);
/// What a subject still has to do after its last answer: vmagent answers before it forwards.
const SETTLE: Duration = Duration::from_millis(500);
/// The cold row's tenant may have any number of series: what is measured is the path, not the refusal.
pub const NO_LIMIT: &str = "max_active_series: 1000000000";

pub const NGINX: &str = "nginx, blind TLS proxy";
pub const ENVOY: &str = "Envoy, blind TLS proxy";
pub const VMAGENT: &str = "vmagent";
pub const VMAGENT_RULES: &str = "vmagent, three rules";
pub const THANOS: &str = "Thanos router";
pub const KEPT: &str = "gauntlet, all kept";
pub const DROPPED: &str = "gauntlet, one in ten dropped";
pub const EDITED: &str = "gauntlet, all edited";
pub const SPLIT: &str = "gauntlet, split in two";
pub const NGINX_500: &str = "nginx, 500-sample bodies";
pub const KEPT_500: &str = "gauntlet, 500-sample bodies, all kept";
pub const COLD: &str = "gauntlet, every series new, three rules";
pub const KEPT_V2: &str = "gauntlet, 2.0 to 2.0, all kept";
pub const FROM_V2: &str = "gauntlet, 2.0 to 1.0, all kept";
pub const TO_V2: &str = "gauntlet, 1.0 to 2.0, all kept";
pub const PROMETHEUS: &str = "Prometheus agent, 2.0 to 1.0";
pub const VMAGENT_COLD: &str = "vmagent, every series new, three rules";

/// What must stay alive while its CPU is counted.
enum Running {
    Peer(Process),
    Thanos(Box<Thanos>),
    Gauntlet(Gauntlet),
}

impl Running {
    fn process(&self) -> &Process {
        match self {
            Self::Peer(process) => process,
            Self::Thanos(thanos) => &thanos.router,
            Self::Gauntlet(gauntlet) => &gauntlet.process,
        }
    }
}

struct Subject {
    name: String,
    running: Running,
    target: Target,
    source: Source,
    rate: u64,
    load: String,
    runs: Vec<f64>,
    slowest: f64,
    failed: u64,
}

pub fn rows(setting: &Setting) -> Vec<Row> {
    let second = Sink::start();
    let mut subjects = start(setting, &second);
    let pace = |subject: &Subject, time| Pace {
        rate: Some(subject.rate),
        until: Until::Time(time),
    };
    for subject in &subjects {
        let pace = pace(subject, WARM_UP);
        load::run(&subject.target, &subject.source, pace).accepted(&subject.name);
    }
    for round in 1..=setting.options.rounds {
        for subject in &mut subjects {
            let pace = pace(subject, setting.options.run);
            let spent = spend(subject.running.process(), &subject.target, &subject.source, pace);
            subject.runs.push(spent.nanoseconds_per_sample);
            subject.slowest = subject.slowest.min(spent.writes_per_second / subject.rate as f64);
            subject.failed += spent.failed;
        }
        if !subjects.is_empty() {
            eprintln!("CPU: round {round} of {}", setting.options.rounds);
        }
    }
    subjects.into_iter().map(row).collect()
}

/// What one load cost.
pub struct Spent {
    pub nanoseconds_per_sample: f64,
    pub writes_per_second: f64,
    pub failed: u64,
}

/// CPU of `process` for a load on it.
pub fn spend(process: &Process, target: &Target, source: &Source, pace: Pace) -> Spent {
    let before = Cpu::of(process.pid());
    let outcome = load::run(target, source, pace);
    thread::sleep(SETTLE);
    let spent = Cpu::of(process.pid()).since(&before);
    if outcome.failed() > 0 {
        eprintln!("{}", process.last_words());
    }
    let outcome = outcome.accepted(&target.name);
    Spent {
        nanoseconds_per_sample: spent / outcome.samples as f64,
        writes_per_second: outcome.writes_per_second(),
        failed: outcome.failed(),
    }
}

fn row(subject: Subject) -> Row {
    let mut load = subject.load;
    // A subject that could not follow did other work than was meant: longer queues, larger batches.
    if subject.slowest < 0.95 {
        load += &format!("; reached {:.0} % of that rate", subject.slowest * 100.0);
    }
    if subject.failed > 0 {
        load += &format!("; {} writes not accepted", subject.failed);
    }
    if let Running::Gauntlet(gauntlet) = &subject.running {
        load += &became(gauntlet);
    }
    Row {
        name: subject.name,
        load,
        figure: Figure::of(subject.runs),
    }
}

/// What became of the samples, where not all were sent on to the first upstream as they came.
fn became(gauntlet: &Gauntlet) -> String {
    let metrics = gauntlet.metrics();
    let all = metrics.sum("gauntlet_received_samples_total", &[]);
    let share = |metric: &str, labels: &[(&str, &str)], what: &str| {
        let part = metrics.sum(&format!("gauntlet_{metric}_samples_total"), labels) * 100.0 / all;
        let text = format!("; {part:.0} % {what}");
        if part > 0.0 { text } else { String::new() }
    };
    share("dropped", &[], "dropped")
        + &share("edited", &[], "edited")
        + &share("forwarded", &[("upstream", "other")], "to the second receiver")
}

fn start(setting: &Setting, second: &Sink) -> Vec<Subject> {
    let bodies = &setting.bodies;
    let short = bodies.cut(500);
    let usual = || (bodies.in_turn(), RATE, format!("{RATE}/s of {}", bodies.samples));
    let shorter = || {
        (
            short.in_turn(),
            RATE * 4,
            format!("{}/s of {}", RATE * 4, short.samples),
        )
    };
    let cold = || {
        let load = format!("{SLOW_RATE}/s of {}, no series twice", bodies.samples);
        (bodies.always_new(None), SLOW_RATE, load)
    };
    let rules = Policies::rules(RULES);
    let split = || Policies::kept().routed(&bodies.half_of_names(), "other", "other");
    let gauntlet = |name: &str, program: &Path, policies: Policies, limits: &str| {
        let upstreams = [("sink", setting.sink.address), ("other", second.address)];
        let tenant = policies.tenant("bench", &format!("{{{CERTIFICATE}}}"), "sink, other", limits);
        let gauntlet = Config::new(name, &upstreams)
            .tenants([tenant])
            .start_program(program, setting);
        let target = gauntlet.target(setting.with_certificate());
        (Running::Gauntlet(gauntlet), target)
    };
    let peer = |(process, target): (Process, Target)| (Running::Peer(process), target);
    let mut subjects = Vec::new();
    let mut add = |name: &str, start: &dyn Fn() -> (Running, Target), with: (Source, u64, String)| {
        if setting.options.wants(name) {
            let (running, target) = start();
            let (source, rate, load) = with;
            subjects.push(Subject {
                name: name.to_owned(),
                running,
                target,
                source,
                rate,
                load,
                runs: Vec::new(),
                slowest: 1.0,
                failed: 0,
            });
        }
    };
    add(NGINX, &|| peer(peers::nginx(setting, NGINX)), usual());
    add(ENVOY, &|| peer(peers::envoy(setting, ENVOY)), usual());
    for (row, policies) in [
        (KEPT, Policies::kept()),
        (DROPPED, Policies::dropped()),
        (EDITED, Policies::edited()),
        (SPLIT, split()),
    ] {
        for (name, program) in setting.options.programs(row) {
            add(&name, &|| gauntlet(&name, &program, policies.clone(), ""), usual());
        }
    }
    let without = |(source, rate, load): (Source, u64, String)| (source, rate, load + "; without client certificates");
    add(
        VMAGENT,
        &|| peer(peers::vmagent(setting, VMAGENT, None)),
        without(usual()),
    );
    let ruled = |name| peer(peers::vmagent(setting, name, Some(RULES)));
    add(VMAGENT_RULES, &|| ruled(VMAGENT_RULES), without(usual()));
    let thanos = || {
        let (thanos, target) = peers::thanos(setting, THANOS);
        (Running::Thanos(Box::new(thanos)), target)
    };
    let load = format!(
        "{SLOW_RATE}/s of {} with fresh times; to a Thanos receiver by gRPC",
        bodies.samples
    );
    add(THANOS, &thanos, (bodies.stamped(), SLOW_RATE, load));
    add(NGINX_500, &|| peer(peers::nginx(setting, NGINX_500)), shorter());
    for (name, program) in setting.options.programs(KEPT_500) {
        add(&name, &|| gauntlet(&name, &program, Policies::kept(), ""), shorter());
    }
    for (name, program) in setting.options.programs(COLD) {
        add(&name, &|| gauntlet(&name, &program, rules.clone(), NO_LIMIT), cold());
    }
    let sink_of_2 = Sink::of_version_2();
    let to_version_2 = |name: &str, program: &Path, version: Version| {
        let tenant = Policies::kept().tenant("bench", &format!("{{{CERTIFICATE}}}"), "sink, other", "");
        let config = Config::new(name, &[("other", second.address)]).upstream_of_2("sink", sink_of_2.address);
        let gauntlet = config.tenants([tenant]).start_program(program, setting);
        let target = gauntlet.target(setting.with_certificate());
        (Running::Gauntlet(gauntlet), Target { version, ..target })
    };
    let second_version = bodies.as_v2();
    let as_v2 = || {
        let load = format!("{RATE}/s of {}, {} bytes", bodies.samples, second_version.mean_bytes());
        (second_version.in_turn(), RATE, load)
    };
    for (name, program) in setting.options.programs(KEPT_V2) {
        add(&name, &|| to_version_2(&name, &program, Version::Two), as_v2());
    }
    for (name, program) in setting.options.programs(FROM_V2) {
        let from_version_2 = || {
            let (running, target) = gauntlet(&name, &program, Policies::kept(), "");
            let version = Version::Two;
            (running, Target { version, ..target })
        };
        add(&name, &from_version_2, as_v2());
    }
    let load = format!("{SLOW_RATE}/s of {} with fresh times", bodies.samples);
    let with_fresh_times = (bodies.stamped_as_v2(), SLOW_RATE, load);
    add(
        PROMETHEUS,
        &|| peer(peers::prometheus(setting, PROMETHEUS)),
        with_fresh_times,
    );
    for (name, program) in setting.options.programs(TO_V2) {
        add(&name, &|| to_version_2(&name, &program, Version::One), usual());
    }
    add(VMAGENT_COLD, &|| ruled(VMAGENT_COLD), without(cold()));
    subjects
}
