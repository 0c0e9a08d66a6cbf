//! `gauntlet policy explain` and `from-prometheus`: what operators are told of a configuration, and how each command ends.

use std::path::{Path, PathBuf};

use gauntlet_tests::setup::sha256;
use gauntlet_tests::{Gateway, Receiver, Setup, relabel};
use serde_json::{Value, json};

use crate::tools::{Ended, gauntlet, gauntlet_meanwhile, text, unreached};
use crate::{small_write, tenant};

fn fixture(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-plugins/fixtures/built");
    root.join(format!("{name}.wasm"))
}

/// The operator's own rule, then two of the tenant, its rate, and its routes.
fn whole() -> Setup {
    let operators = json!([{"plugin": "relabel", "name": "replica", "settings":
        relabel(json!([{"action": "labeldrop", "regex": "replica"}]))}]);
    let own = json!([
        {"action": "drop", "source_labels": ["__name__"], "regex": "go_.*"},
        {"source_labels": ["job"], "target_label": "team", "replacement": "team-$1"},
    ]);
    let routes = json!({"routes": [{"match": {"__name__": "kube_.*"}, "stream": "kube", "upstream": "kube"}]});
    let a = tenant("a")
        .policy("relabel", relabel(own))
        .policy("limits", json!({"samples": {"per_second": 10, "burst": 50}}))
        .policy("route", routes)
        .upstreams(&["soft", "kube"]);
    let setup = unreached().set("/policies/before", operators).tenant(a);
    setup.write();
    setup
}

fn explain(setup: &Setup, more: &[&str]) -> Ended {
    let config = text(&setup.main_file());
    let fixed = ["policy", "explain", "--config", &config, "--tenant", "a"];
    gauntlet(&[&fixed, more].concat())
}

#[test]
fn the_way_of_a_series_is_shown_from_its_first_policy_to_its_upstream() {
    let setup = whole();
    let kept = r#"kube_pod_info{job="node",replica="b",tenant_id="victim"}"#;
    let ended = explain(&setup, &[kept]).with(
        0,
        &[
            "policy replica (operator's): edit",
            "- replica: \"b\"",
            "policy relabel (tenant's): edit",
            "+ team: \"team-node\"",
            "policy route (tenant's): edit\n      into stream kube",
            "the gateway's own checks: edit",
            "+ exported_tenant_id: \"victim\"",
            "- tenant_id: \"victim\"",
            "policy limits (tenant's), about the write: admit",
            "gains 10 a second",
            "sends stream kube to upstream kube",
            "and this one would be new",
            r#"forwarded as kube_pod_info{exported_tenant_id="victim",job="node",team="team-node"} in stream kube to upstream kube"#,
            "answer: 204",
        ],
    );
    // In the order in which they are asked.
    let at = |part: &str| ended.out.find(part).unwrap();
    assert!(
        at("replica (op") < at("relabel (ten")
            && at("relabel (ten") < at("own checks")
            && at("own checks") < at("limits (tenant's), about")
    );

    let told = explain(&setup, &[kept, "go_info", "--format", "json"])
        .with(0, &[])
        .json();
    assert_eq!(
        (&told["tenant"], told["explanations"].as_array().unwrap().len()),
        (&json!("a"), 2)
    );
    let kept = &told["explanations"][0];
    assert_eq!(
        kept["steps"][1]["labels"],
        json!([{"label": "team", "from": null, "to": "team-node"}])
    );
    assert_eq!(kept["forwarded"]["upstream"], "kube");
    let dropped = &told["explanations"][1];
    let said = |step: usize| {
        (
            dropped["steps"][step]["policy"].clone(),
            dropped["steps"][step]["said"].clone(),
        )
    };
    assert_eq!(said(1), (json!("relabel"), json!("drop")));
    assert_eq!(dropped["steps"][1]["detail"], "relabel_configs[0]");
    assert_eq!(said(2), (json!("route"), json!("not_asked")), "limits judges no series");
    assert_eq!(said(3), (Value::Null, json!("not_asked")));
    assert_eq!(
        (&dropped["forwarded"], &dropped["answer"]["status"]),
        (&Value::Null, &json!(204))
    );
}

#[test]
fn what_the_sender_would_be_told_is_shown_where_a_series_or_its_write_is_refused() {
    let setup = whole();
    explain(&setup, &[r#"{job="node"}"#]).with(1, &["refuse", "answer: 400 missing_metric_name"]);
    let limited = setup.tenant(tenant("a").limit("max_labels_per_series", 2));
    limited.write();
    let many = r#"up{a="1",b="2",c="3"}"#;
    explain(&limited, &[many]).with(
        1,
        &[
            "the gateway's own checks: refuse: more labels than max_labels_per_series",
            "answer: 400 too_many_labels: 1 of 1 series were refused, the others were stored: 1: more labels than \
             max_labels_per_series, as in up",
        ],
    );
    // A budget of its metric.
    let budgets = json!({"series_budgets": [{"per": ["__name__"], "max_active_series": 7}]});
    let counted = limited.tenant(tenant("a").policy("limits", budgets));
    counted.write();
    explain(&counted, &["up"]).with(0, &["counts against budget \"up\" of 7 active series", "answer: 204"]);
    let limited = counted;
    // A policy refuses every write of more than a byte.
    let full = limited.tenant(tenant("a").policy("limits", json!({"request": {"size_bytes_limit": 1}})));
    full.write();
    explain(&full, &["up"]).with(
        1,
        &[
            "policy limits (tenant's), about the write: reject: ",
            "answer: 400 refused_by_policy: a policy refused the write",
        ],
    );
}

fn failing(on_failure: &str) -> Setup {
    let hostile =
        json!([{"plugin": "hostile", "settings": {"mode": "trap", "when": "evil"}, "on_failure": on_failure}]);
    let own = relabel(json!([{"target_label": "seen", "replacement": "1"}]));
    let setup = unreached()
        .set("/plugins/hostile", json!({"file": fixture("hostile")}))
        .set("/policies/before", hostile)
        .tenant(tenant("a").policy("relabel", own));
    setup.write();
    setup
}

#[test]
fn a_policy_that_fails_is_shown_to_fail_and_what_comes_of_that() {
    let evil = r#"up{evil="1"}"#;
    explain(&failing("bypass"), &[evil]).with(
        0,
        &[
            "policy hostile (operator's): left out: ",
            "policy relabel (tenant's): edit",
            "answer: 204",
        ],
    );
    explain(&failing("retry"), &[evil]).with(
        1,
        &[
            "policy hostile (operator's): failed: ",
            "policy relabel (tenant's): not asked",
            "answer: 503 policy_failed",
        ],
    );
    explain(&failing("refuse_series"), &[evil]).with(
        1,
        &[
            "policy hostile (operator's): refuse: labels that a policy fails on",
            "answer: 400 fails_policy",
        ],
    );
    explain(&failing("retry"), &["up"]).with(0, &["policy hostile (operator's): keep", "answer: 204"]);
}

#[test]
fn a_policy_whose_word_does_not_count_is_shown_as_asked_and_not_applied() {
    let own = relabel(json!([{"target_label": "seen", "replacement": "1"}]));
    let in_mode = |mode: Value| {
        let policies = json!([
            {"plugin": "relabel", "settings": own, "mode": mode},
            {"plugin": "limits", "settings": {"request": {"size_bytes_limit": 1}}, "mode": "shadow"},
        ]);
        let setup = unreached().tenant(tenant("a").set("policies", policies));
        setup.write();
        setup
    };
    explain(&in_mode(json!("shadow")), &["up"]).with(
        0,
        &[
            "policy relabel (tenant's): edit (mode shadow: asked, not applied to this series)\n      + seen: \"1\"",
            "the gateway's own checks: keep",
            "policy limits (tenant's), about the write: reject: ",
            " (mode shadow: asked, not applied to the write)",
            "forwarded as up in the default stream",
            "answer: 204",
        ],
    );
    // A part of all series, by their labels: as it is served.
    let series: Vec<String> = (0..16).map(|n| format!("up{{n=\"{n}\"}}")).collect();
    let mut asked: Vec<&str> = series.iter().map(String::as_str).collect();
    asked.extend(["--format", "json"]);
    let told = explain(&in_mode(json!({"enforce": "50%"})), &asked).with(0, &[]).json();
    let told = told["explanations"].as_array().unwrap();
    let applied = told.iter().map(|one| {
        let step = &one["steps"][0];
        assert_eq!((&step["said"], &step["mode"]), (&json!("edit"), &json!("enforce 50%")));
        let applied = step["applied"].as_bool().unwrap();
        let forwarded = one["forwarded"]["series"].as_str().unwrap();
        assert_eq!(forwarded.contains("seen"), applied, "{one}");
        applied
    });
    let applied = applied.filter(|applied| *applied).count();
    assert!((1..16).contains(&applied), "{applied} of 16");
    assert_eq!(told[0]["steps"][2]["applied"], json!(false), "{}", told[0]);
}

#[test]
fn a_question_that_cannot_be_answered_is_2_and_says_why() {
    let setup = whole();
    explain(&setup, &["up{job=~\"a\"}"]).with(2, &["column 7", "no selector"]);
    let config = text(&setup.main_file());
    gauntlet(&["policy", "explain", "--config", &config, "--tenant", "b", "up"]).with(2, &["no tenant b"]);
    gauntlet(&["policy", "explain", "--config", "/no/such", "--tenant", "a", "up"]).with(2, &["/no/such"]);
    gauntlet(&["policy", "explain", "--tenant", "a", "up"]).with(2, &["--config"]);
    let broken = setup.tenant(tenant("a").set("policies", json!([{"plugin": "rellabel"}])));
    broken.write();
    explain(&broken, &["up"]).with(2, &["a.yaml:", "rellabel"]);
    gauntlet(&["explain", "--url", "http://127.0.0.1:1", "--tenant", "a", "up"]).with(2, &["did not answer"]);
    // Without its keys a configuration is as good: nothing listens.
    let keyless = whole();
    std::fs::remove_file(keyless.folder().join("server.key")).unwrap();
    explain(&keyless, &["up"]).with(0, &[]);
}

async fn live(gateway: &Gateway, more: &[&str]) -> Ended {
    let url = format!("http://{}", gateway.admin);
    let fixed = ["explain", "--url", &url];
    let all = [&fixed, more].concat().into_iter().map(str::to_owned).collect();
    gauntlet_meanwhile(all).await
}

#[tokio::test]
async fn a_running_gateway_explains_what_it_would_do_now_and_does_nothing() {
    let receiver = Receiver::start().await;
    let rules = relabel(json!([{"source_labels": ["job"], "target_label": "team"}]));
    let budgets = json!({"series_budgets": [{"per": ["__name__"], "max_active_series": 1}]});
    let free = tenant("a")
        .policy("relabel", rules)
        .policy("limits", budgets)
        .limit("max_active_series", 1);
    let a = free
        .clone()
        .policy("limits", json!({"samples": {"per_second": 0.000001, "burst": 1}}));
    let mut gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(a)).await;
    let ask =
        async |gateway: &Gateway, series: &str| live(gateway, &["--tenant", "a", "--format", "json", series]).await;
    // However often it is asked, nothing is charged, counted or sent.
    for _ in 0..3 {
        let told = ask(&gateway, r#"up{job="test"}"#).await.with(0, &[]).json();
        let told = &told["explanations"][0];
        assert_eq!(
            (&told["is_new"], &told["active_series"]),
            (&json!(true), &json!(0)),
            "{told}"
        );
        assert_eq!(told["forwarded"]["series"], r#"up{job="test",team="test"}"#);
    }
    assert!(receiver.received().is_empty());
    let written = gateway.sender().bearer("a-token").write(&small_write()).await;
    assert_eq!(written.status, 204, "{written:?}");
    // What it would do now: the one series is known, no other has room, and the rate is spent.
    let told = ask(&gateway, r#"up{job="test"}"#).await.with(1, &[]).json();
    let told = &told["explanations"][0];
    assert_eq!(
        (&told["is_new"], &told["active_series"]),
        (&json!(false), &json!(1)),
        "{told}"
    );
    assert_eq!(
        (&told["answer"]["status"], &told["answer"]["reason"]),
        (&json!(503), &json!("over_rate"))
    );
    gateway.reload_tenant(free).await;
    let told = ask(&gateway, "other").await.with(1, &[]).json();
    assert_eq!(
        told["explanations"][0]["answer"]["reason"], "over_active_series",
        "{told}"
    );
    let told = ask(&gateway, "up{job=\"second\"}").await.with(1, &[]).json();
    let answer = &told["explanations"][0]["answer"];
    assert_eq!(answer["reason"], "over_budget", "{told}");
    assert!(
        answer["text"]
            .as_str()
            .unwrap()
            .contains("budget \"up\" of 1 active series"),
        "{told}"
    );
    live(&gateway, &["--tenant", "b", "up"])
        .await
        .with(2, &["404", "nothing serves a tenant b"]);
}

#[tokio::test]
async fn a_question_to_a_running_gateway_is_bounded_and_needs_its_token() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver)
        .set("/admin/bearer_token_sha256", sha256(b"operator"))
        .tenant(tenant("a"));
    let gateway = Gateway::start(setup).await;
    live(&gateway, &["--tenant", "a", "up"]).await.with(2, &["401"]);
    let file = gateway.setup.folder().join("operator-token");
    std::fs::write(&file, "operator\n").unwrap();
    let file = text(&file);
    let proved = ["--tenant", "a", "--token-file", &file];
    live(&gateway, &[&proved[..], &["up"]].concat())
        .await
        .with(0, &["answer: 204"]);
    let many: Vec<String> = (0..101).map(|n| format!("m{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    live(&gateway, &[&proved[..], &many].concat())
        .await
        .with(2, &["400", "1 to 100 series"]);
    live(&gateway, &[&proved[..], &many[..100]].concat()).await.with(0, &[]);
    let long = format!("up{{a=\"{}\"}}", "x".repeat(100 << 10));
    live(&gateway, &[&proved[..], &[&*long, &*long, &*long]].concat())
        .await
        .with(2, &["400", "262144 bytes"]);
}

const PROMETHEUS: &str = r#"global: {external_labels: {cluster: a}}
remote_write:
  - url: https://thanos.example.com/api/v1/receive
    name: long-term
    queue_config: {max_shards: 10}
    write_relabel_configs:
      - source_labels: [__name__]
        regex: "go_.*"
        action: drop
      - {source_labels: [job], separator: "", regex: '(\w+)-.*', target_label: team, replacement: "$1"}
  - url: http://b
    no_such_key: 1
    write_relabel_configs: [{action: labeldrop, regex: replica}]
"#;

#[test]
fn the_rules_of_a_prometheus_become_policies_that_do_the_same() {
    let setup = unreached().tenant(tenant("a"));
    setup.write();
    let file = setup.folder().join("prometheus.yml");
    std::fs::write(&file, PROMETHEUS).unwrap();
    let file = text(&file);
    let both = gauntlet(&["policy", "from-prometheus", &file]).with(1, &["remote_write[1].no_such_key", "\n---\n"]);
    assert!(
        both.err.contains(&format!("{file}:12:5: remote_write[1].no_such_key")),
        "{both:?}"
    );
    let one = gauntlet(&["policy", "from-prometheus", &file, "--remote-write", "long-term"]);
    let one = one.with(0, &["queue_config: stays", "external_labels"]);
    assert!(one.out.contains("# Stays as it is:\n#   "), "{one:?}");

    let mut tenant_file = std::fs::read_to_string(setup.tenant_file("a")).unwrap();
    let yaml = format!(
        "tenant: a\nupstreams: [soft]\ncredentials: [{{bearer_token_sha256: \"{}\"}}]\n{}",
        sha256(b"a-token"),
        one.out
    );
    yaml.clone_into(&mut tenant_file);
    std::fs::write(setup.tenant_file("a"), tenant_file).unwrap();
    let checked = Gateway::check_as_written(&setup);
    assert_eq!(checked.code, Some(0), "{yaml}\n{checked:?}");
    explain(&setup, &["go_info", r#"up{job="node-1"}"#]).with(
        0,
        &[
            "drop: relabel_configs[0]",
            r#"forwarded as up{job="node-1",team="node"}"#,
        ],
    );
}

#[test]
fn what_is_wrong_with_a_prometheus_file_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prometheus.yml");
    let named = text(&file);
    let of = |content: &str, more: &[&str]| {
        std::fs::write(&file, content).unwrap();
        gauntlet(&[&["policy", "from-prometheus", &named], more].concat())
    };
    of("remote_write: [{write_relabel_configs: [{regx: a}]}]\n", &[]).with(
        2,
        &[&format!("{named}:1:"), "unknown key `regx` (did you mean `regex`?)"],
    );
    of("global: {}\n", &[]).with(2, &["there is no `remote_write`"]);
    of(PROMETHEUS, &["--remote-write", "2"]).with(2, &["remote_write[0] (`long-term`)"]);
    of("remote_write: [{url: a}]\n", &[]).with(0, &["policies: []"]);
    gauntlet(&["policy", "from-prometheus", "/no/such"]).with(2, &["cannot read /no/such"]);
}
