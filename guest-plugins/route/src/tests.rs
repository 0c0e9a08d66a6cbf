//! Which series go where.

use gauntlet_policy::{
    Admit, Context, Decision, Fate, Label, Policy, Relabel, Series, StreamTotals, Totals, Verdict, Write,
};

use crate::Routes;

fn configure(settings: &str) -> Result<Routes, String> {
    of_tenant("kazusa", settings)
}

fn of_tenant(tenant: &str, settings: &str) -> Result<Routes, String> {
    Routes::configure(settings, &Context::new(tenant, &["a", "b", "rf2", "edge", "jobs"]))
}

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
fn write(streams: &[&str], n: u64) -> Write {
    let totals = Totals {
        series: n,
        samples: n,
        histograms: n,
        exemplars: n,
    };
    Write {
        tenant: "kazusa".to_owned(),
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

fn upstreams(routes: &Routes, streams: &[&str]) -> Vec<(String, String)> {
    match routes.admit(&write(streams, 1)) {
        Decision::Admit(admission) => {
            let routes = admission.routes.into_iter();
            routes.map(|route| (route.stream, route.upstream)).collect()
        }
        Decision::Reject(text) => panic!("rejected: {text}"),
    }
}

fn pair(stream: &str, upstream: &str) -> (String, String) {
    (stream.to_owned(), upstream.to_owned())
}

#[test]
fn the_first_route_that_matches_decides() {
    let routes = configure(
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
        upstreams(&routes, &["", "kube", "rest"]),
        [pair("kube", "a"), pair("rest", "b")]
    );
}

#[test]
fn a_missing_label_is_empty() {
    let routes = configure(r#"{"routes": [{"match": {"env": ""}, "upstream": "a"}]}"#).unwrap();
    assert_eq!(stream_of(&routes, &[("__name__", "up")]).as_deref(), Some("a"));
    assert_eq!(stream_of(&routes, &[("env", "prod")]), None);
}

#[test]
fn routes_for_other_tenants_are_passed_over() {
    let of = |tenant| {
        of_tenant(
            tenant,
            r#"{"routes": [{"tenants": ["kazusa"], "stream": "replicated", "upstream": "rf2"},
                {"tenants": ["local"], "match": {"job": "node"}, "upstream": "edge"},
                {"match": {"job": ".+"}, "upstream": "jobs"}]}"#,
        )
        .unwrap()
    };
    for (tenant, stream, upstream) in [
        ("kazusa", "replicated", "rf2"),
        ("local", "edge", "edge"),
        ("setsuna", "jobs", "jobs"),
    ] {
        let routes = of(tenant);
        assert_eq!(stream_of(&routes, &[("job", "node")]).as_deref(), Some(stream));
        assert_eq!(upstreams(&routes, &[stream]), [pair(stream, upstream)]);
    }
    assert_eq!(stream_of(&of("setsuna"), &[("__name__", "up")]), None);
    assert_eq!(upstreams(&of("kazusa"), &["edge", "somebody-else's", ""]), []);
}

#[test]
fn an_upstream_that_is_not_the_tenants_is_refused_where_it_would_be_used() {
    let settings = r#"{"routes": [{"upstream": "a"}, {"tenants": ["local"], "upstream": "jbos"}]}"#;
    assert!(of_tenant("kazusa", settings).is_ok());
    assert_eq!(
        of_tenant("local", settings).err().unwrap_or_default(),
        "routes[1].upstream must be an upstream of tenant `local`, which has `a`, `b`, `rf2`, `edge`, `jobs`, not `jbos`"
    );
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
        let error = configure(settings).err().unwrap_or_default();
        assert!(error.contains(reason), "{settings}: {error}");
    }
}

#[test]
fn nothing_is_an_input_and_nothing_but_names_changes_a_decision() {
    let routes = configure(
        r#"{"routes": [{"tenants": ["kazusa"], "stream": "replicated", "upstream": "rf2"},
            {"match": {"job": "node"}, "upstream": "edge"}]}"#,
    )
    .unwrap();
    assert!(routes.inputs().is_empty());
    // Every list of up to three of these.
    let names = ["", "replicated", "edge", "unknown"];
    let lists = (0..5usize.pow(3)).map(|n| {
        let place = |place: u32| names.get(n / 5usize.pow(place) % 5).copied();
        (0..3).filter_map(place).collect::<Vec<_>>()
    });
    for streams in lists {
        let decision = routes.admit(&write(&streams, 0));
        for n in [1, 7, 1 << 32, u64::MAX] {
            let write = write(&streams, n);
            assert_eq!(routes.admit(&write), decision, "{write:?}");
            assert_eq!(routes.admit(&routes.inputs().told(&write)), decision, "{write:?}");
        }
    }
}
