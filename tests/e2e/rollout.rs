//! Policies that are tried beside what serves, go back to what worked, and are found where they are not pure.

use std::path::Path;

use gauntlet_tests::guest::{BY_CALL, BY_PLACE, BY_THE_ONE_BEFORE, liar};
use gauntlet_tests::{Gateway, Receiver, Setup, Tenant, eventually, relabel, series, write};
use serde_json::{Value, json};

use crate::tenant;

fn setup(receiver: &Receiver) -> Setup {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-plugins/fixtures/built");
    Setup::with_receiver(receiver).set("/plugins/hostile", json!({"file": built.join("hostile.wasm")}))
}

/// With a plugin `liar`, which lies `when` it has seen a few hundred series.
fn with_liar(receiver: &Receiver, when: &str) -> Setup {
    let setup = setup(receiver);
    let file = setup.folder().join("liar.wasm");
    let component = wat::parse_str(format!("(component {})", liar(when, 300))).unwrap();
    std::fs::write(&file, component).unwrap();
    setup.set("/plugins/liar", json!({"file": file}))
}

/// The tenant `a` with that plugin.
fn lied_to() -> Tenant {
    tenant("a").policy("liar", json!({}))
}

/// The tenant `a`, whose policy sets `v`.
fn marked(value: &str) -> Tenant {
    tenant("a").policy("relabel", relabel(json!([{"target_label": "v", "replacement": value}])))
}

/// Writes 40 series of the tenant `a` that nobody sent before, and gives the status.
async fn write_evil(gateway: &Gateway, round: usize) -> u16 {
    let one = |n: usize| {
        let name = format!("evil_{}", "x".repeat(n % 5));
        series(&name)
            .label("evil", &n.to_string())
            .label("round", &round.to_string())
            .sample(1.0, 0)
    };
    let sent = write((0..40).map(one));
    gateway.sender().bearer("a-token").write(&sent).await.status
}

/// Writes until the policies of `a` went back; gives what the status says of it.
async fn went_back(gateway: &Gateway) -> Value {
    for round in 0..200 {
        write_evil(gateway, round).await;
        let status = gateway.api("/api/v1/status").await;
        if let Some(back) = status["went_back"].as_array().and_then(|all| all.first()) {
            return back.clone();
        }
    }
    panic!("nothing went back: {}", gateway.log());
}

/// The `v` of a write of `a`.
async fn mark(gateway: &Gateway, receiver: &Receiver) -> Option<String> {
    receiver.clear();
    let sent = write([series("up").sample(1.0, 0)]);
    let answer = gateway.sender().bearer("a-token").write(&sent).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    receiver.only().write.timeseries[0].value("v").map(str::to_owned)
}

async fn roll_back(gateway: &Gateway, tenant: &str) -> (u16, Value) {
    let answer = gateway
        .admin("POST", &format!("/api/v1/tenants/{tenant}/rollback"))
        .await;
    let json = serde_json::from_str(&answer.text).unwrap_or_default();
    (answer.status, json)
}

#[tokio::test]
async fn an_impure_policy_is_found_and_the_policies_before_serve_again() {
    let receiver = Receiver::start().await;
    for mode in [BY_CALL, BY_PLACE, BY_THE_ONE_BEFORE] {
        receiver.clear();
        let mut gateway = Gateway::start(with_liar(&receiver, mode).tenant(marked("good"))).await;
        assert_eq!(mark(&gateway, &receiver).await.as_deref(), Some("good"));
        gateway.reload_tenant(lied_to()).await;
        let back = went_back(&gateway).await;
        assert_eq!(back["tenant"], "a", "{mode}: {back}");
        assert_eq!(back["to_generation"], 1, "{mode}: {back}");
        assert_eq!(back["why"], "policy liar gave two answers about one series", "{mode}");
        // What the liar said of a series is forgotten with it: all of them arrive, and are marked.
        receiver.clear();
        assert_eq!(write_evil(&gateway, 0).await, 204, "{mode}");
        let arrived = receiver.only().write;
        assert_eq!(arrived.timeseries.len(), 40, "{mode}");
        assert!(
            arrived.timeseries.iter().all(|one| one.value("v") == Some("good")),
            "{mode}"
        );
        let metrics = gateway.metrics().await;
        let liar = [("tenant", "a"), ("policy", "liar")];
        assert_eq!(metrics.sum("gauntlet_policy_impure_total", &liar), 1.0, "{mode}");
        assert_eq!(
            metrics.sum("gauntlet_tenant_went_back", &[("tenant", "a")]),
            1.0,
            "{mode}"
        );
        gateway
            .expect_log(&["gave two answers about one series", "evil_"])
            .await;
        // The same files again are no change, and a new configuration is one.
        assert_eq!(gateway.reload(|_| {}).await.status, 200, "{mode}");
        assert_eq!(mark(&gateway, &receiver).await.as_deref(), Some("good"), "{mode}");
        gateway.reload_tenant(marked("mended")).await;
        assert_eq!(mark(&gateway, &receiver).await.as_deref(), Some("mended"), "{mode}");
        let status = gateway.api("/api/v1/status").await;
        assert_eq!(status["went_back"], json!([]), "{mode}");
    }
}

#[tokio::test]
async fn an_impure_policy_with_nothing_before_it_makes_its_tenants_writes_wait() {
    let receiver = Receiver::start().await;
    let gateway = Gateway::start(with_liar(&receiver, BY_PLACE).tenant(lied_to())).await;
    let back = went_back(&gateway).await;
    assert_eq!(back["to_generation"], Value::Null, "{back}");
    receiver.clear();
    // Known series too: what is known of them came from the liar.
    assert_eq!(write_evil(&gateway, 0).await, 503);
    assert!(receiver.received().is_empty());
    let metrics = gateway.metrics().await;
    let rejected = [("tenant", "a"), ("reason", "policy_impure")];
    assert!(metrics.sum("gauntlet_rejected_samples_total", &rejected) >= 40.0);
    let policies = gateway.api("/api/v1/policies").await;
    let impure = &policies[0]["impure"];
    assert!(
        impure["series"]
            .as_str()
            .is_some_and(|series| series.starts_with("evil_")),
        "{policies}"
    );
    let answers = [impure["answers"][0].as_str(), impure["answers"][1].as_str()];
    assert!(
        answers.contains(&Some("keep")) && answers.contains(&Some("drop (lie)")),
        "{policies}"
    );
}

#[tokio::test]
async fn a_policy_that_keeps_failing_gives_way_to_the_policies_before() {
    let receiver = Receiver::start().await;
    let mut gateway = Gateway::start(setup(&receiver).tenant(marked("good"))).await;
    let settings = json!({"mode": "trap", "when": "evil"});
    let entry = json!({"plugin": "hostile", "settings": settings, "on_failure": "retry"});
    gateway.reload_tenant(tenant("a").policy_entry(entry)).await;
    // Three failures, a rest of a second, and another one.
    let back = eventually("the policies to go back", async || {
        write_evil(&gateway, 0).await;
        let status = gateway.api("/api/v1/status").await;
        status["went_back"].as_array().and_then(|all| all.first()).cloned()
    })
    .await;
    assert_eq!(back["why"], "policy hostile keeps failing", "{back}");
    assert_eq!(write_evil(&gateway, 0).await, 204);
    assert_eq!(mark(&gateway, &receiver).await.as_deref(), Some("good"));
}

#[tokio::test]
async fn an_operator_rolls_back_one_generation_until_the_files_change() {
    let receiver = Receiver::start().await;
    let mut gateway = Gateway::start(setup(&receiver).tenant(marked("1"))).await;
    let (status, nothing) = roll_back(&gateway, "a").await;
    assert_eq!(
        (status, nothing["errorType"].as_str()),
        (409, Some("unavailable")),
        "{nothing}"
    );
    assert_eq!(roll_back(&gateway, "nobody").await.0, 404);
    assert_eq!(roll_back(&gateway, "no%20name").await.0, 404);
    gateway.reload_tenant(marked("2")).await;
    // Only limits change: the policies before stay what they are.
    gateway
        .reload_tenant(marked("2").limit("max_active_series", 1000))
        .await;
    let (status, back) = roll_back(&gateway, "a").await;
    assert_eq!(status, 200, "{back}");
    assert_eq!(back["data"]["to_generation"], 1, "{back}");
    assert_eq!(mark(&gateway, &receiver).await.as_deref(), Some("1"));
    let tenants = gateway.api("/api/v1/tenants").await;
    assert_eq!(tenants[0]["went_back"]["why"], "an operator asked for it", "{tenants}");
    assert_eq!(tenants[0]["max_active_series"], 1000, "limits are those of the files");
    let (status, again) = roll_back(&gateway, "a").await;
    assert_eq!(status, 409, "{again}");
    assert!(
        again["error"]
            .as_str()
            .is_some_and(|text| text.contains("went back already")),
        "{again}"
    );
    gateway.reload_tenant(marked("3")).await;
    assert_eq!(mark(&gateway, &receiver).await.as_deref(), Some("3"));
    // From there it goes back to what served then.
    assert_eq!(roll_back(&gateway, "a").await.0, 200);
    assert_eq!(mark(&gateway, &receiver).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_policy_in_shadow_is_asked_and_changes_nothing() {
    let receiver = Receiver::start().await;
    let settings = relabel(json!([{"source_labels": ["job"], "regex": "noisy", "action": "drop"}]));
    let entry = json!({"plugin": "relabel", "settings": settings, "mode": "shadow"});
    let gateway = Gateway::start(setup(&receiver).tenant(tenant("a").policy_entry(entry))).await;
    let sent = write(["noisy", "quiet"].map(|job| series("up").label("job", job).sample(1.0, 0)));
    let answer = gateway.sender().bearer("a-token").write(&sent).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(receiver.only().write.timeseries.len(), 2);
    let drops = [("tenant", "a"), ("policy", "relabel"), ("kind", "drop")];
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("gauntlet_policy_shadow_differences_total", &drops), 1.0);
    let policies = gateway.api("/api/v1/policies").await;
    let shadow = &policies[0]["shadow"];
    assert_eq!(
        (&shadow["asked"], &shadow["differences"]["drop"]),
        (&json!(2), &json!(1)),
        "{policies}"
    );
    let example = &shadow["examples"][0];
    assert_eq!(example["series"], "up{job=\"noisy\"}", "{policies}");
    assert_eq!(example["answer"], "drop (relabel_configs[0])", "{policies}");
}

#[tokio::test]
async fn a_policy_that_is_enforced_on_a_part_has_its_way_with_that_part() {
    let receiver = Receiver::start().await;
    let settings = relabel(json!([{"target_label": "v", "replacement": "new"}]));
    let entry = json!({"plugin": "relabel", "settings": settings, "mode": {"enforce": "30%"}});
    let gateway = Gateway::start(setup(&receiver).tenant(tenant("a").policy_entry(entry))).await;
    assert_eq!(write_evil(&gateway, 0).await, 204);
    let first = receiver.only().write;
    let new = |one: &&gauntlet_tests::TimeSeries| one.value("v") == Some("new");
    let count = first.timeseries.iter().filter(new).count();
    assert!((3..25).contains(&count), "{count} of 40");
    // The same ones each time.
    receiver.clear();
    assert_eq!(write_evil(&gateway, 0).await, 204);
    let again = receiver.only().write;
    assert_eq!(again.timeseries.iter().filter(new).count(), count);
}
