//! Budgets of series: one metric that explodes costs nobody but itself.

use gauntlet_tests::{Gateway, Receiver, Sender, Setup, Tenant, TimeSeries, eventually, write};
use serde_json::{Value, json};

use crate::{many, tenant};

/// Each metric may have so many series.
fn per_metric(most: u64) -> Value {
    json!({"series_budgets": [{"per": ["__name__"], "max_active_series": most}]})
}

fn budgeted(most: u64) -> Tenant {
    tenant("a")
        .policy("limits", per_metric(most))
        .set("shown_budgets", json!(["exploding", "absent"]))
}

/// Writes, expects the status, gives the text and how many series were stored.
async fn stored(sender: &Sender, receiver: &Receiver, series: Vec<TimeSeries>, status: u16) -> (String, usize) {
    receiver.clear();
    let answer = sender.write(&write(series)).await;
    assert_eq!(answer.status, status, "{answer:?}");
    let received = receiver.received();
    let stored = received.iter().map(|received| received.write.timeseries.len()).sum();
    (answer.text, stored)
}

#[tokio::test]
async fn a_metric_that_explodes_is_refused_its_new_series_and_everything_else_passes() {
    let receiver = Receiver::start().await;
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(budgeted(5))).await;
    let sender = gateway.sender().bearer("a-token");
    assert_eq!(stored(&sender, &receiver, many("exploding", 3), 204).await.1, 3);
    // Its old series, as many new ones as there is room for, and those of another metric.
    let mixed = [many("exploding", 20), many("calm", 4)].concat();
    let (text, series) = stored(&sender, &receiver, mixed.clone(), 400).await;
    assert_eq!(series, 5 + 4, "{text}");
    assert!(
        text.starts_with("15 of 24 series were refused, the others were stored: 15: a new series over its budget")
            && text.contains("budget \"exploding\" of 5 active series, as in exploding"),
        "{text}"
    );
    // And so each time, for which no policy is asked again.
    let calls = gateway
        .metrics()
        .await
        .sum("gauntlet_policy_calls_total", &[("function", "relabel")]);
    for _ in 0..3 {
        assert_eq!(stored(&sender, &receiver, mixed.clone(), 400).await.1, 9);
    }
    assert_eq!(
        gateway
            .metrics()
            .await
            .sum("gauntlet_policy_calls_total", &[("function", "relabel")]),
        calls
    );
    assert_eq!(stored(&sender, &receiver, many("calm", 5), 204).await.1, 5);
    gateway
        .expect_metric("gauntlet_active_series", &[("tenant", "a")], 10.0)
        .await;
    let metrics = gateway.metrics().await;
    let of = |name: &str, budget: &str| metrics.sum(name, &[("tenant", "a"), ("budget", budget)]);
    assert_eq!(of("gauntlet_budget_active_series", "exploding"), 5.0);
    assert_eq!(of("gauntlet_budget_limit", "exploding"), 5.0);
    assert_eq!(of("gauntlet_budget_active_series", "absent"), 0.0);
    assert!(
        !metrics.has("gauntlet_budget_active_series", &[("budget", "calm")]),
        "it is not listed"
    );
    let refused = [("tenant", "a"), ("reason", "over_budget")];
    assert_eq!(metrics.sum("gauntlet_rejected_samples_total", &refused), 4.0 * 15.0);
    let tenants = gateway.api("/api/v1/tenants").await;
    assert_eq!(tenants[0]["budgets"], 2);
    assert_eq!(
        tenants[0]["fullest_budgets"],
        json!([
            {"budget": "calm", "active_series": 5, "max_active_series": 5},
            {"budget": "exploding", "active_series": 5, "max_active_series": 5},
        ])
    );
}

#[tokio::test]
async fn budgets_are_counted_on_over_reloads() {
    let receiver = Receiver::start().await;
    let mut gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(budgeted(5))).await;
    let sender = gateway.sender().bearer("a-token");
    stored(&sender, &receiver, many("exploding", 5), 204).await;
    // Of a higher bound there is some room, of a lower one none, and what it has passes.
    gateway.reload_tenant(budgeted(7)).await;
    assert_eq!(stored(&sender, &receiver, many("exploding", 9), 400).await.1, 7);
    gateway.reload_tenant(budgeted(2)).await;
    assert_eq!(stored(&sender, &receiver, many("exploding", 9), 400).await.1, 7);
    // Into a budget of another name they move as they come.
    let named = json!({"series_budgets": [{"name": "all", "max_active_series": 2}]});
    gateway.reload_tenant(tenant("a").policy("limits", named)).await;
    assert_eq!(stored(&sender, &receiver, many("exploding", 3), 204).await.1, 3);
    let tenants = gateway.api("/api/v1/tenants").await;
    assert_eq!(
        tenants[0]["fullest_budgets"],
        json!([
            {"budget": "exploding", "active_series": 4, "max_active_series": 2},
            {"budget": "all", "active_series": 3, "max_active_series": 2},
        ])
    );
    eventually("that none is shown which is not listed", async || {
        let metrics = gateway.metrics().await;
        (!metrics.has("gauntlet_budget_active_series", &[])).then_some(())
    })
    .await;
    // And without budgets nobody is refused.
    gateway.reload_tenant(tenant("a").policy("limits", json!({}))).await;
    assert_eq!(stored(&sender, &receiver, many("exploding", 20), 204).await.1, 20);
    assert_eq!(gateway.api("/api/v1/tenants").await[0]["fullest_budgets"], json!([]));
}

#[tokio::test]
async fn more_budgets_than_a_tenant_may_have_are_counted_and_told_once() {
    let receiver = Receiver::start().await;
    let per_series = json!({"series_budgets": [{"per": ["i"], "max_active_series": 1}]});
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a").policy("limits", per_series));
    let gateway = Gateway::start(setup).await;
    let sender = gateway.sender().bearer("a-token");
    for _ in 0..2 {
        assert_eq!(stored(&sender, &receiver, many("exploding", 4010), 204).await.1, 4010);
    }
    gateway
        .expect_metric("gauntlet_unbudgeted_series_total", &[("tenant", "a")], 10.0)
        .await;
    // Two names more, of which the log had room for none.
    assert_eq!(stored(&sender, &receiver, many("exploding", 4012), 204).await.1, 4012);
    gateway
        .expect_metric("gauntlet_unbudgeted_series_total", &[("tenant", "a")], 12.0)
        .await;
    let log = gateway.log();
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("one more budget of series"))
        .collect();
    let [told] = told[..] else { panic!("{told:?}") };
    for part in ["\"tenant\":\"a\"", "\"budgets\":4000", "\"most\":4000"] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(gateway.api("/api/v1/tenants").await[0]["budgets"], 4000);
}

#[tokio::test]
async fn a_budget_that_cannot_be_is_told_by_check_with_its_place() {
    let receiver = Receiver::start().await;
    let nameless = json!({"series_budgets": [{"max_active_series": 5}]});
    let checked = Gateway::check(&Setup::with_receiver(&receiver).tenant(tenant("a").policy("limits", nameless)));
    assert!(
        checked.text.contains("series_budgets[0] must have `per` or a `name`"),
        "{}",
        checked.text
    );
}
