//! What operators are shown of a tenant: which series came to nothing, what makes it grow, and what was configured when.

use gauntlet_tests::setup::{relabel, replace, sha256};
use gauntlet_tests::{Gateway, Receiver, Setup, eventually, series, write};
use serde_json::{Value, json};

use crate::pages::{example, keys_of, page};
use crate::{many, small_write, tenant};

/// Drops what is named `go_..`.
fn drops_go() -> Value {
    relabel(json!([{"action": "drop", "source_labels": ["__name__"], "regex": "go_.*"}]))
}

async fn drops(gateway: &Gateway) -> Value {
    gateway.api("/api/v1/tenants/a/drops").await
}

async fn send(gateway: &Gateway, value: &str) -> u16 {
    let body = write([
        series("up").label("job", value).sample(1.0, 0),
        series("go_info").label("job", value).sample(1.0, 0),
        series("up").label("long", &value.repeat(50)).sample(1.0, 0),
    ]);
    gateway.sender().bearer("a-token").write(&body).await.status
}

#[tokio::test]
async fn series_that_came_to_nothing_are_shown_as_far_as_the_tenant_permits_it() {
    let receiver = Receiver::start().await;
    let a = tenant("a")
        .policy("relabel", drops_go())
        .limit("max_label_value_length", 100);
    let mut gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(a.clone())).await;
    assert_eq!(send(&gateway, "secret").await, 400);
    let off = drops(&gateway).await;
    assert_eq!(off["examples_kept"], "off");
    assert_eq!(
        (&off["drops"][0]["samples"], &off["drops"][0]["examples"]),
        (&json!(1), &json!([]))
    );
    assert_eq!(off["rejections"][0]["examples"], json!([]));

    gateway.reload_tenant(a.clone().set("drop_examples", "names")).await;
    assert_eq!(send(&gateway, "secret").await, 400);
    let names = drops(&gateway).await;
    assert_eq!(
        keys_of(&names),
        keys_of(&example(&page("api.md"), "GET /api/v1/tenants/<tenant>/drops"))
    );
    assert_eq!(names["examples_kept"], "names");
    let dropped = &names["drops"][0];
    assert_eq!(
        (&dropped["policy"], &dropped["samples"]),
        (&json!("relabel"), &json!(2))
    );
    assert_eq!(dropped["examples"][0]["series"], "go_info{job=\"_\"}");
    let rejected = &names["rejections"][0];
    assert_eq!(rejected["reason"], "label_value_too_long");
    assert_eq!(rejected["kept_by_sender"], false);
    assert_eq!(rejected["examples"][0]["series"], "up{long=\"_\"}");
    assert!(!names.to_string().contains("secret"), "{names}");

    gateway.reload_tenant(a.clone().set("drop_examples", "values")).await;
    assert_eq!(drops(&gateway).await["drops"][0]["examples"], json!([]));
    assert_eq!(send(&gateway, "hidden").await, 400);
    let values = drops(&gateway).await;
    assert_eq!(values["drops"][0]["examples"][0]["series"], "go_info{job=\"hidden\"}");

    // For all tenants, from the main file.
    gateway.setup.put_tenant(a);
    let reloaded = gateway.reload(|setup| setup.put("/drop_examples", "names")).await;
    assert_eq!(reloaded.status, 200, "{reloaded:?}");
    assert_eq!(drops(&gateway).await["examples_kept"], "names");
    let nobody = gateway.admin("GET", "/api/v1/tenants/nobody/drops").await;
    assert_eq!(nobody.status, 404, "{nobody:?}");
}

#[tokio::test]
async fn refusals_show_of_a_series_what_the_tenant_permits_and_the_log_no_value() {
    let receiver = Receiver::start().await;
    let a = tenant("a").limit("max_label_value_length", 100);
    let mut gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(a.clone())).await;
    let told = async |gateway: &Gateway| {
        let all = gateway.api("/api/v1/refusals").await;
        let of_tenant = gateway.api("/api/v1/tenants/a").await["refusals"].take();
        assert_eq!(all.as_array().unwrap().len(), of_tenant.as_array().unwrap().len());
        all.as_array().unwrap().first().map(|newest| {
            assert_eq!(newest["series"], of_tenant[0]["series"]);
            let text = |key: &str| newest[key].as_str().unwrap().to_owned();
            (text("series"), text("text"))
        })
    };
    assert_eq!(send(&gateway, "secret").await, 400);
    let (series, text) = told(&gateway).await.unwrap();
    assert_eq!(series, "up{long}");
    assert!(text.ends_with("as in up{long}"), "{text}");

    gateway.reload_tenant(a.clone().set("drop_examples", "names")).await;
    assert_eq!(told(&gateway).await, None);
    assert_eq!(send(&gateway, "secret").await, 400);
    let (series, text) = told(&gateway).await.unwrap();
    assert_eq!(series, "up{long=\"_\"}");
    assert!(!text.contains("secret"), "{text}");

    gateway.reload_tenant(a.clone().set("drop_examples", "values")).await;
    assert_eq!(send(&gateway, "secret").await, 400);
    let (series, text) = told(&gateway).await.unwrap();
    assert!(series.starts_with("up{long=\"secretsecret"), "{series}");
    assert!(text.contains("as in up{long=\"secret"), "{text}");
    assert!(!gateway.log().contains("secret"), "{}", gateway.log());

    // What may not be shown any more is not there any more.
    gateway.reload_tenant(a).await;
    assert_eq!(told(&gateway).await, None);
}

#[tokio::test]
async fn policies_are_told_of_one_tenant_and_with_no_more_than_is_asked_for() {
    let receiver = Receiver::start().await;
    let both = ["a", "b"].map(|name| tenant(name).policy("relabel", drops_go()));
    let setup = both.into_iter().fold(Setup::with_receiver(&receiver), Setup::tenant);
    let gateway = Gateway::start(setup).await;
    let of = async |query: &str| gateway.api(&format!("/api/v1/policies{query}")).await;
    let all = of("").await;
    assert_eq!(all.as_array().unwrap().len(), 2);
    assert_eq!(of("?tenant=b").await[0], all[1]);
    assert_eq!(
        of("?fields=tenant,policy&tenant=a").await,
        json!([{"tenant": "a", "policy": "relabel"}])
    );
    let wrong = gateway.admin("GET", "/api/v1/policies?fields=tenant,nmae").await;
    assert_eq!(wrong.status, 400, "{wrong:?}");
    assert!(
        wrong.text.contains("no field") && wrong.text.contains("nmae"),
        "{wrong:?}"
    );
    let nobody = gateway.admin("GET", "/api/v1/policies?tenant=c").await;
    assert_eq!(nobody.status, 404, "{nobody:?}");
}

#[tokio::test]
async fn what_makes_a_tenant_grow_is_told_by_metric_and_label() {
    let receiver = Receiver::start().await;
    let a = tenant("a").limit("max_active_series", 320);
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(a)).await;
    let windows = async || gateway.api("/api/v1/tenants/a/cardinality").await["windows"].take();
    assert_eq!(windows().await[2]["new_series"], 0);
    for body in [many("http_requests_total", 300), many("up", 10), many("up", 10)] {
        assert_eq!(gateway.sender().bearer("a-token").write(&write(body)).await.status, 204);
    }
    // Of these ten are let through.
    assert_eq!(
        gateway
            .sender()
            .bearer("a-token")
            .write(&write(many("down", 15)))
            .await
            .status,
        400
    );
    let answer = gateway.api("/api/v1/tenants/a/cardinality").await;
    assert_eq!(
        keys_of(&answer),
        keys_of(&example(&page("api.md"), "GET /api/v1/tenants/<tenant>/cardinality"))
    );
    for (at, seconds) in [300, 1800, 3600].into_iter().enumerate() {
        let window = &answer["windows"][at];
        assert_eq!(
            (&window["seconds"], &window["new_series"]),
            (&json!(seconds), &json!(320))
        );
        assert_eq!(window["error"], 0);
        let metrics = json!([
            {"name": "http_requests_total", "new_series": 300},
            {"name": "down", "new_series": 10},
            {"name": "up", "new_series": 10},
        ]);
        assert_eq!(window["metrics"], metrics);
        assert_eq!(
            (&window["labels"][0]["name"], &window["labels"][0]["new_series"]),
            (&json!("i"), &json!(320))
        );
        let values = window["labels"][0]["values"].as_u64().unwrap();
        assert!((100..900).contains(&values), "{values}");
    }
}

#[tokio::test]
async fn reloads_are_remembered_with_what_they_changed_and_what_was_wrong() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a")).tenant(tenant("b"));
    let mut gateway = Gateway::start(setup).await;
    let reloads = async |gateway: &Gateway| gateway.api("/api/v1/reloads").await;
    let first = reloads(&gateway).await;
    assert_eq!(
        (&first[0]["cause"], &first[0]["changed_tenants"]),
        (&json!("start"), &json!(["a", "b"]))
    );
    gateway.setup.put_tenant(tenant("a").limit("max_active_series", 7));
    gateway.setup.write();
    replace(&gateway.setup.tenant_file("b"), b"tenant: b\ndisabeld: true\n");
    let failed = gateway.admin("POST", "/-/reload").await;
    assert_eq!(failed.status, 500, "{failed:?}");
    // A poll may have been first.
    let all = eventually("the reload", async || {
        let all = reloads(&gateway).await;
        (all[0]["broken_tenants_count"] == 1).then_some(all)
    })
    .await;
    assert_eq!(keys_of(&all), keys_of(&example(&page("api.md"), "GET /api/v1/reloads")));
    let rows = all.as_array().unwrap();
    let changed: Vec<&Value> = rows.iter().map(|row| &row["changed_tenants"]).collect();
    assert!(changed.contains(&&json!(["a"])), "{changed:?}");
    assert_eq!(all[0]["successful"], false);
    let error = all[0]["broken_tenants"][0]["error"].as_str().unwrap();
    assert!(error.contains("disabeld"), "{error}");
}

#[tokio::test]
async fn the_configuration_in_use_is_shown_whole_and_without_a_secret() {
    let receiver = Receiver::start().await;
    let a = tenant("a")
        .bearer("planted-token-1")
        .basic("user", "planted-password-1")
        .certificate("dns_san", "a.example.com")
        .credential(json!({"bearer_token_file": "../token"}))
        .credential(json!({"basic_auth": {"username": "other", "password_file": "../password"}}))
        .policy("relabel", drops_go())
        .policy("hostile", json!({"mode": "trap", "when": "planted-setting"}));
    let hostile = crate::pages::root().join("guest-plugins/fixtures/built/hostile.wasm");
    let setup = Setup::with_receiver(&receiver)
        .set("/plugins/hostile", json!({"file": hostile}))
        .set("/admin/bearer_token_file", "admin-token")
        .set(
            "/admin/basic_auth",
            json!({"username": "operator", "password_sha256": sha256(b"planted-password-3")}),
        )
        .set(
            "/upstreams/soft/tls_config",
            json!({"ca_file": "ca.pem", "cert_file": "server.pem", "key_file": "server.key"}),
        )
        .tenant(a)
        .tenant(tenant("b"));
    let planted = [
        ("token", "planted-token-2"),
        ("password", "planted-password-2"),
        ("admin-token", "planted-token-3"),
    ];
    for (file, secret) in planted {
        std::fs::write(setup.folder().join(file), secret).unwrap();
    }
    let gateway = Gateway::start(setup).await;
    let bearer = [("Authorization", "Bearer planted-token-3")];
    let ask = async |path: &str| gateway.admin_with("GET", path, &bearer).await.text;
    let (whole, of_a) = (ask("/api/v1/config").await, ask("/api/v1/config?tenant=a").await);
    let key = std::fs::read_to_string(gateway.setup.folder().join("server.key")).unwrap();
    let secrets = key.lines().filter(|line| !line.starts_with('-')).map(str::to_owned);
    let digests = [
        "a-token",
        "planted-token-1",
        "planted-token-2",
        "planted-token-3",
        "planted-password-2",
        "planted-password-3",
    ];
    let digests = digests.iter().map(|secret| sha256(secret.as_bytes()));
    let hashes = ["planted", "$2y$", "$2b$", "PRIVATE KEY"].map(str::to_owned);
    for secret in secrets.chain(digests).chain(hashes) {
        for answer in [&whole, &of_a] {
            assert!(!answer.contains(&secret), "{secret} is shown: {answer}");
        }
    }
    let data = |text: &str| serde_json::from_str::<Value>(text).unwrap()["data"].take();
    let (whole, of_a) = (data(&whole), data(&of_a));
    let written = keys_of(&example(&page("api.md"), "GET /api/v1/config"));
    assert_eq!(keys_of(&whole), written);
    assert_eq!(whole["config"]["tenants"], json!(["a", "b"]));
    assert_eq!(whole["config"]["admin"]["bearer_token"], "<secret>");
    assert_eq!(whole["config"]["remote_write"]["body_timeout"], 30.0);
    assert_eq!(of_a["config"]["limits"]["max_active_series"], 1_000_000);
    assert_eq!(of_a["config"]["policies"][0]["settings"], drops_go());
    assert_eq!(of_a["config"]["policies"][1]["settings"], "<hidden>");
}

#[tokio::test]
async fn a_series_is_explained_under_policies_that_nobody_has_configured() {
    let receiver = Receiver::start().await;
    let a = tenant("a").policy("relabel", drops_go()).set("drop_examples", "values");
    let setup = Setup::with_receiver(&receiver)
        .set("/policies/before", json!([{"plugin": "relabel", "name": "first", "settings": relabel(json!([{"target_label": "zone", "replacement": "z"}]))}]))
        .tenant(a);
    let gateway = Gateway::start(setup).await;
    assert_eq!(
        gateway.sender().bearer("a-token").write(&small_write()).await.status,
        204
    );
    let ask = async |policies: Value| {
        let question = json!({"tenant": "a", "series": ["go_info{job=\"a\"}"], "policies": policies});
        let answer = gateway.admin_post("/api/v1/explain", &question).await;
        (answer.status, serde_json::from_str::<Value>(&answer.text).unwrap())
    };
    let before = gateway.admin("GET", "/metrics").await.text;
    let rules = relabel(json!([{"action": "labeldrop", "regex": "job"}]));
    let (status, answer) = ask(json!([{"policy": "mine", "plugin": "relabel", "settings": rules}])).await;
    assert_eq!(status, 200, "{answer}");
    let steps = &answer["data"]["explanations"][0]["steps"];
    let shown = |at: usize| {
        (
            steps[at]["policy"].clone(),
            steps[at]["before"].clone(),
            steps[at]["after"].clone(),
        )
    };
    assert_eq!(
        shown(0),
        (
            json!("first"),
            json!("go_info{job=\"a\"}"),
            json!("go_info{job=\"a\",zone=\"z\"}")
        )
    );
    assert_eq!(
        shown(1),
        (
            json!("mine"),
            json!("go_info{job=\"a\",zone=\"z\"}"),
            json!("go_info{zone=\"z\"}")
        )
    );
    assert_eq!(
        shown(2),
        (json!(null), json!("go_info{zone=\"z\"}"), json!("go_info{zone=\"z\"}"))
    );
    assert_eq!(
        answer["data"]["explanations"][0]["forwarded"]["series"],
        "go_info{zone=\"z\"}"
    );
    // None at all: the tenant's own drops are gone, the operator's policies are not.
    let (_, answer) = ask(json!([])).await;
    assert_eq!(
        answer["data"]["explanations"][0]["steps"].as_array().unwrap().len(),
        2,
        "{answer}"
    );
    for (policies, told) in [
        (
            json!([{"plugin": "relabel"}, {"plugin": "nothing"}]),
            "policies[1].plugin: there is no plugin `nothing`",
        ),
        (
            json!([{"plugin": "relabel", "policy": "first"}]),
            "policies[0].policy: another policy of this chain is named `first`",
        ),
        (
            json!([{"plugin": "limits"}, {"plugin": "relabel", "policy": "mine", "settings": {"no": 1}}]),
            "policies[1].settings: policy mine: plugin relabel does not take its settings",
        ),
        (
            json!(vec![json!({"plugin": "relabel"}); 17]),
            "at most 16 policies, this one 17",
        ),
        (
            json!([{"plugin": "relabel", "file": "/etc/passwd"}]),
            "unknown field `file`",
        ),
    ] {
        let (status, answer) = ask(policies).await;
        let error = answer["error"].as_str().unwrap();
        assert!(status == 400 && error.contains(told), "{told}: {answer}");
    }
    // Nothing is remembered, and no policy of a question is in a metric.
    let after = gateway.admin("GET", "/metrics").await.text;
    assert!(!after.contains("policy=\"mine\""), "{after}");
    let lines = |text: &str, name: &str| {
        text.lines()
            .filter(|line| line.starts_with(name))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    for name in [
        "gauntlet_policy_calls",
        "gauntlet_active_series",
        "gauntlet_memo_entries",
        "gauntlet_dropped_samples",
    ] {
        assert_eq!(lines(&after, name), lines(&before, name), "{name}");
    }
    let sent = write([series("go_info").label("job", "a").sample(1.0, 0)]);
    assert_eq!(gateway.sender().bearer("a-token").write(&sent).await.status, 204);
    assert_eq!(drops(&gateway).await["drops"][0]["samples"], 1);
}
