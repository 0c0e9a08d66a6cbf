//! What `limits` decides about writes, at, below and above each limit.

use gauntlet_policy::{Admit, Charge, Context, Decision, Inputs, Policy, Relabel, StreamTotals, Totals, Write};

use crate::settings::Limits;

fn configure(settings: &str) -> Result<Limits, String> {
    Limits::configure(settings, &Context::new("kazusa", &["soft"]))
}

fn write() -> Write {
    let stream = |name: &str, series, samples, histograms| StreamTotals {
        name: name.to_owned(),
        totals: Totals {
            series,
            samples,
            histograms,
            exemplars: 3,
        },
    };
    Write {
        tenant: "kazusa".to_owned(),
        subject: String::new(),
        protocol: "1.0".to_owned(),
        compressed_bytes: 400,
        decoded_bytes: 1000,
        active_series: 50,
        new_series: 5,
        streams: vec![stream("", 6, 60, 1), stream("kube", 4, 39, 0)],
    }
}

fn decide(settings: &str, write: &Write) -> Decision {
    configure(settings).unwrap().admit(write)
}

fn charges(settings: &str) -> Vec<Charge> {
    match decide(settings, &write()) {
        Decision::Admit(admission) => admission.charges,
        Decision::Reject(text) => panic!("rejected: {text}"),
    }
}

fn rejection(settings: &str, write: &Write) -> Option<String> {
    match decide(settings, write) {
        Decision::Admit(_) => None,
        Decision::Reject(text) => Some(text),
    }
}

#[test]
fn each_rate_charges_its_own_unit() {
    let settings = r#"{"samples": {"per_second": 1000, "burst": 2000}, "requests": {"per_second": 0.5, "burst": 3},
        "bytes": {"per_second": 1e6}, "decoded_bytes": {"per_second": 1e6}, "new_series": {"per_second": 10.5}}"#;
    let charge = |bucket: &str, tokens, per_second, burst| Charge {
        bucket: bucket.to_owned(),
        tokens,
        per_second,
        burst,
    };
    assert_eq!(
        charges(settings),
        [
            charge("requests", 1, 0.5, 3),
            charge("bytes", 400, 1e6, 1_000_000),
            charge("decoded_bytes", 1000, 1e6, 1_000_000),
            charge("samples", 100, 1000.0, 2000),
            charge("new_series", 5, 10.5, 11),
        ]
    );
}

#[test]
fn a_write_larger_than_the_burst_takes_the_whole_bucket_and_no_more() {
    assert_eq!(
        charges(r#"{"samples": {"per_second": 1, "burst": 101}}"#)[0].tokens,
        100
    );
    assert_eq!(
        charges(r#"{"samples": {"per_second": 1, "burst": 100}}"#)[0].tokens,
        100
    );
    assert_eq!(charges(r#"{"samples": {"per_second": 1, "burst": 99}}"#)[0].tokens, 99);
}

#[test]
fn what_costs_nothing_is_not_charged() {
    let mut write = write();
    write.new_series = 0;
    let decision = decide(r#"{"new_series": {"per_second": 1}}"#, &write);
    assert!(matches!(decision, Decision::Admit(admission) if admission.charges.is_empty()));
}

#[test]
fn request_limits_let_through_what_they_say() {
    for (key, count) in [("size_bytes_limit", 1000), ("series_limit", 10), ("samples_limit", 100)] {
        let with = |limit| rejection(&format!(r#"{{"request": {{"{key}": {limit}}}}}"#), &write());
        assert_eq!(with(count + 1), None);
        assert_eq!(with(count), None);
        let text = with(count - 1).unwrap();
        assert!(
            text.contains(key) && text.contains(&count.to_string()) && text.len() <= 200,
            "{text}"
        );
        assert_eq!(with(0), None, "0 is no limit");
    }
}

#[test]
fn the_head_limit_refuses_only_writes_that_bring_new_series() {
    let mut write = write();
    assert_eq!(rejection(r#"{"head_series_limit": 50}"#, &write), None);
    assert!(
        rejection(r#"{"head_series_limit": 49}"#, &write)
            .unwrap()
            .contains("head_series_limit is 49")
    );
    write.new_series = 0;
    assert_eq!(rejection(r#"{"head_series_limit": 49}"#, &write), None);
}

#[test]
fn a_thanos_limits_file_holds_as_it_does_there() {
    let settings = r#"{"write": {"default": {"request": {"series_limit": 9, "samples_limit": 99}, "head_series_limit": 10},
        "tenants": {"kazusa": {"request": {"series_limit": 10, "samples_limit": 0}, "head_series_limit": 0}, "other": {}}}}"#;
    let mut write = write();
    assert_eq!(
        rejection(settings, &write),
        None,
        "its own limits come before the default"
    );
    write.tenant = "other".to_owned();
    assert!(rejection(settings, &write).unwrap().contains("series_limit is 9"));
    write.tenant = "unknown".to_owned();
    assert!(rejection(settings, &write).unwrap().contains("series_limit is 9"));
}

#[test]
fn settings_that_cannot_be_meant_are_refused_with_the_place() {
    for (settings, reason) in [
        (r#"{"sample": {"per_second": 1}}"#, "did you mean `samples`"),
        (
            r#"{"samples": {"per_secnd": 1}}"#,
            "unknown key `samples.per_secnd`, did you mean `per_second`",
        ),
        (r#"{"samples": {}}"#, "samples.per_second must be a number above 0"),
        (
            r#"{"samples": {"per_second": 0}}"#,
            "samples.per_second must be a number above 0",
        ),
        (
            r#"{"samples": {"per_second": -1}}"#,
            "samples.per_second must be a number above 0",
        ),
        (
            r#"{"samples": {"per_second": 1, "burst": 0}}"#,
            "samples.burst must be above 0",
        ),
        (
            r#"{"samples": {"per_second": 1, "burst": 1.5}}"#,
            "samples.burst must be a whole number",
        ),
        (
            r#"{"request": {"series_limit": -1}}"#,
            "request.series_limit must be a whole number",
        ),
        (r#"{"request": {}, "write": {}}"#, "not both"),
        (
            r#"{"write": {"global": {"max_concurrency": 3}}}"#,
            "max_concurrent_requests",
        ),
        (
            r#"{"write": {"tenants": {"a": {"requests": {}}}}}"#,
            "unknown key `write.tenants.a.requests`",
        ),
        (r#"[]"#, "settings must be a mapping"),
    ] {
        let error = configure(settings).err().unwrap_or_default();
        assert!(error.contains(reason), "{settings}: {error}");
    }
}

#[test]
fn no_settings_limit_nothing() {
    assert!(charges("{}").is_empty());
}

#[test]
fn the_inputs_are_what_the_settings_count() {
    let (compressed, decoded) = (Inputs::COMPRESSED_BYTES, Inputs::DECODED_BYTES);
    let (active, new) = (Inputs::ACTIVE_SERIES, Inputs::NEW_SERIES);
    for (settings, inputs) in [
        ("{}", Inputs::empty()),
        (r#"{"requests": {"per_second": 1}}"#, Inputs::empty()),
        (r#"{"samples": {"per_second": 1}}"#, Inputs::TOTALS),
        (r#"{"bytes": {"per_second": 1}}"#, compressed),
        (r#"{"decoded_bytes": {"per_second": 1}}"#, decoded),
        (r#"{"new_series": {"per_second": 1}}"#, new),
        (r#"{"request": {"size_bytes_limit": 1}}"#, compressed | decoded),
        (r#"{"request": {"series_limit": 1}}"#, Inputs::TOTALS),
        (
            r#"{"request": {"samples_limit": 1, "series_limit": 0}}"#,
            Inputs::TOTALS,
        ),
        (r#"{"head_series_limit": 1}"#, active | new),
        (
            r#"{"request": {"size_bytes_limit": 0, "samples_limit": 0}, "head_series_limit": 0}"#,
            Inputs::empty(),
        ),
        (
            r#"{"write": {"default": {"head_series_limit": 9}, "tenants": {"a": {"head_series_limit": 0}}}}"#,
            active | new,
        ),
        (
            r#"{"write": {"tenants": {"": {}, "a": {"request": {"series_limit": 9}}}}}"#,
            Inputs::TOTALS,
        ),
        (
            r#"{"write": {"default": {"head_series_limit": 9}, "tenants": {"": {"head_series_limit": 0}}}}"#,
            active | new,
        ),
    ] {
        assert_eq!(configure(settings).unwrap().inputs(), inputs, "{settings}");
    }
}

/// Numbers below `below`, the same every time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn settings(&mut self) -> String {
        let mut parts = Vec::new();
        for bucket in ["requests", "bytes", "decoded_bytes", "samples", "new_series"] {
            if self.next(3) == 0 {
                parts.push(format!(
                    r#""{bucket}": {{"per_second": 1, "burst": {}}}"#,
                    1 + self.next(40)
                ));
            }
        }
        let tenants = [self.limits(), self.limits()];
        let default = self.limits();
        parts.push(format!(
            r#""write": {{"default": {default}, "tenants": {{"kazusa": {}, "": {}}}}}"#,
            tenants[0], tenants[1]
        ));
        format!("{{{}}}", parts.join(", "))
    }

    fn limits(&mut self) -> String {
        let mut request = Vec::new();
        for key in ["size_bytes_limit", "series_limit", "samples_limit"] {
            if self.next(4) == 0 {
                request.push(format!(r#""{key}": {}"#, self.next(60)));
            }
        }
        let head = match self.next(4) {
            0 => format!(r#", "head_series_limit": {}"#, self.next(40)),
            _ => String::new(),
        };
        format!(r#"{{"request": {{{}}}{head}}}"#, request.join(", "))
    }

    fn write(&mut self) -> Write {
        let tenant = ["kazusa", "setsuna", ""][self.next(3) as usize];
        let mut write = Write {
            tenant: tenant.to_owned(),
            compressed_bytes: self.next(80),
            decoded_bytes: self.next(80),
            active_series: self.next(50),
            new_series: self.next(3),
            ..write()
        };
        for stream in &mut write.streams {
            stream.totals = Totals {
                series: self.next(40),
                samples: self.next(40),
                histograms: self.next(20),
                exemplars: self.next(20),
            };
        }
        write
    }
}

#[test]
fn what_is_no_input_never_changes_a_decision() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let (mut rejected, mut masked) = (0, 0);
    for _ in 0..2000 {
        let settings = numbers.settings();
        let limits = configure(&settings).unwrap();
        for _ in 0..20 {
            let write = numbers.write();
            let told = limits.inputs().told(&write);
            let decision = limits.admit(&write);
            assert_eq!(limits.admit(&told), decision, "{settings} {write:?}");
            rejected += usize::from(matches!(decision, Decision::Reject(_)));
            masked += usize::from(told != write);
        }
    }
    assert!(
        (1000..39_000).contains(&rejected) && masked > 1000,
        "{rejected} rejected, {masked} masked"
    );
}

#[test]
fn what_no_setting_is_about_is_not_judged() {
    for (settings, series, writes) in [
        ("{}", false, false),
        (r#"{"requests": {"per_second": 1}}"#, false, true),
        (r#"{"request": {"series_limit": 0}, "head_series_limit": 0}"#, false, false),
        (r#"{"request": {"series_limit": 1}}"#, false, true),
        (r#"{"head_series_limit": 1}"#, false, true),
        (r#"{"write": {"tenants": {"mari": {"request": {"samples_limit": 1}}}}}"#, false, true),
        (r#"{"series_budgets": [{"per": ["__name__"], "max_active_series": 1}]}"#, true, false),
    ] {
        let limits = configure(settings).unwrap();
        assert_eq!((limits.judges_series(), limits.judges_writes()), (series, writes), "{settings}");
    }
}
