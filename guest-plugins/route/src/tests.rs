//! Which series go where.

use gauntlet_policy::{Admit, Decision, Fate, Label, Policy, Relabel, Series, StreamTotals, Totals, Verdict, Write};

use crate::Routes;

fn stream_of(routes: &Routes, labels: &[(&str, &str)]) -> Option<String> {
    let label = |(name, value): &(&str, &str)| Label {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    let mut series = Series::new(labels.iter().map(label).collect());
    assert_eq!(routes.relabel(&mut series), Fate::Keep);
    match series.judge(Fate::Keep) {
        Verdict::Keep => None,
        Verdict::Edit(edit) => {
            assert_eq!(edit.labels, None, "labels are not route's to change");
            edit.stream
        }
        Verdict::Drop(reason) => panic!("dropped: {reason}"),
    }
}

/// A write whose every number is `n`.
fn write(tenant: &str, streams: &[&str], n: u64) -> Write {
    let totals = Totals {
        series: n,
        samples: n,
        histograms: n,
        exemplars: n,
    };
    Write {
        tenant: tenant.to_owned(),
        subject: String::new(),
        protocol: "1.0".to_owned(),
        compressed_bytes: n,
        decoded_bytes: n,
        active_series: n,
        new_series: n,
        streams: streams
            .iter()
            .map(|name| StreamTotals {
                name: (*name).to_owned(),
                totals,
            })
            .collect(),
    }
}

fn upstreams(routes: &Routes, tenant: &str, streams: &[&str]) -> Vec<(String, String)> {
    match routes.admit(&write(tenant, streams, 1)) {
        Decision::Admit(admission) => admission.routes,
        Decision::Reject(text) => panic!("rejected: {text}"),
    }
}

fn pair(stream: &str, upstream: &str) -> (String, String) {
    (stream.to_owned(), upstream.to_owned())
}

#[test]
fn the_first_route_that_matches_decides() {
    let routes = Routes::configure(
        r#"{"routes": [{"match": {"__name__": "kube_.*"}, "stream": "kube", "upstream": "a"},
            {"match": {"__name__": "kube_pod.*|up", "job": "x"}, "stream": "rest", "upstream": "b"}]}"#,
    )
    .unwrap();
    assert_eq!(
        stream_of(&routes, &[("__name__", "kube_pod_info"), ("job", "x")]).as_deref(),
        Some("kube")
    );
    assert_eq!(
        stream_of(&routes, &[("__name__", "up"), ("job", "x")]).as_deref(),
        Some("rest")
    );
    assert_eq!(
        stream_of(&routes, &[("__name__", "up"), ("job", "xy")]),
        None,
        "patterns are anchored"
    );
    assert_eq!(
        stream_of(&routes, &[("__name__", "up")]),
        None,
        "every label has to match"
    );
    assert_eq!(
        upstreams(&routes, "t", &["", "kube", "rest"]),
        [pair("kube", "a"), pair("rest", "b")]
    );
}

#[test]
fn a_missing_label_is_empty() {
    let routes = Routes::configure(r#"{"routes": [{"match": {"env": ""}, "upstream": "a"}]}"#).unwrap();
    assert_eq!(stream_of(&routes, &[("__name__", "up")]).as_deref(), Some("a"));
    assert_eq!(stream_of(&routes, &[("env", "prod")]), None);
}

#[test]
fn routes_for_other_tenants_are_passed_over() {
    let routes = Routes::configure(
        r#"{"routes": [{"tenants": ["kazusa"], "stream": "replicated", "upstream": "rf2"},
            {"tenants": ["local"], "match": {"job": "node"}, "upstream": "edge"},
            {"match": {"job": ".+"}, "upstream": "jobs"}]}"#,
    )
    .unwrap();
    let stream = stream_of(&routes, &[("job", "node")]).unwrap();
    assert_eq!(stream, "replicated|edge|jobs");
    assert_eq!(upstreams(&routes, "kazusa", &[&stream]), [pair(&stream, "rf2")]);
    assert_eq!(upstreams(&routes, "local", &[&stream]), [pair(&stream, "edge")]);
    assert_eq!(upstreams(&routes, "setsuna", &[&stream]), [pair(&stream, "jobs")]);
    let unmatched = stream_of(&routes, &[("__name__", "up")]).unwrap();
    assert_eq!(upstreams(&routes, "setsuna", &[&unmatched]), []);
    assert_eq!(upstreams(&routes, "kazusa", &["somebody-else's", ""]), []);
}

#[test]
fn settings_that_cannot_be_meant_are_refused_with_the_place() {
    for (settings, reason) in [
        (r#"{"route": []}"#, "did you mean `routes`"),
        (
            r#"{"routes": [{"stream": "a"}]}"#,
            "routes[0].upstream must name an upstream",
        ),
        (
            r#"{"routes": [{"upstream": ""}]}"#,
            "routes[0].upstream must name an upstream",
        ),
        (
            r#"{"routes": [{"upstream": "a", "stream": ""}]}"#,
            "routes[0].stream must be a name",
        ),
        (
            r#"{"routes": [{"upstream": "a", "stream": "a|b"}]}"#,
            "routes[0].stream must be a name",
        ),
        (
            r#"{"routes": [{"upstream": "a", "match": {"x": "("}}]}"#,
            "routes[0].match.x: error parsing regexp: missing closing )",
        ),
        (
            r#"{"routes": [{"upstream": "a", "match": {"x": 1}}]}"#,
            "routes[0].match.x must be a pattern",
        ),
        (
            r#"{"routes": [{"upstream": "a", "tenants": []}]}"#,
            "routes[0].tenants must be a list of tenants",
        ),
        (
            r#"{"routes": [{"upstream": "a", "matches": {}}]}"#,
            "unknown key `routes[0].matches`, did you mean `match`",
        ),
        (
            r#"{"routes": [{"upstream": "a", "stream": "s"}, {"upstream": "b", "stream": "s"}]}"#,
            "routes[1] sends stream `s` to `b`, an earlier route sends it to `a`",
        ),
    ] {
        let error = Routes::configure(settings).err().unwrap_or_default();
        assert!(error.contains(reason), "{settings}: {error}");
    }
}

#[test]
fn nothing_is_an_input_and_nothing_but_names_changes_a_decision() {
    let routes = Routes::configure(
        r#"{"routes": [{"tenants": ["kazusa"], "stream": "replicated", "upstream": "rf2"},
            {"match": {"job": "node"}, "upstream": "edge"}]}"#,
    )
    .unwrap();
    assert!(routes.inputs().is_empty());
    // Every list of up to three of these.
    let names = ["", "replicated", "edge", "replicated|edge", "unknown"];
    let lists = (0..6usize.pow(3)).map(|n| {
        let place = |place: u32| names.get(n / 6usize.pow(place) % 6).copied();
        (0..3).filter_map(place).collect::<Vec<_>>()
    });
    for streams in lists {
        for tenant in ["kazusa", "setsuna"] {
            let decision = routes.admit(&write(tenant, &streams, 0));
            for n in [1, 7, 1 << 32, u64::MAX] {
                let write = write(tenant, &streams, n);
                assert_eq!(routes.admit(&write), decision, "{write:?}");
                assert_eq!(routes.admit(&routes.inputs().told(&write)), decision, "{write:?}");
            }
        }
    }
}
