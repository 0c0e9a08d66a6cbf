//! Changes while running: what is good takes effect, what is broken costs nobody but its owner, nothing is lost.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use gauntlet_tests::certs::der;
use gauntlet_tests::setup::replace;
use gauntlet_tests::{Certs, Gate, Gateway, Receiver, Reply, Setup, Tenant, eventually, relabel, series, write};
use serde_json::json;

use crate::{one_tenant, small_write, tenant};

const SUCCESSFUL: &str = "gauntlet_config_last_reload_successful";

/// The tenant `a` with a policy that sets `v` to `value`.
fn marked(value: &str) -> Tenant {
    tenant("a").policy("relabel", relabel(json!([{"target_label": "v", "replacement": value}])))
}

/// Writes as the tenant `a` and gives the `v` that arrived.
async fn mark(gateway: &Gateway, receiver: &Receiver) -> String {
    receiver.clear();
    let answer = gateway
        .sender()
        .bearer("a-token")
        .write(&write([series("up").sample(1.0, 0)]))
        .await;
    assert_eq!(answer.status, 204, "{answer:?}");
    receiver.only().write.timeseries[0]
        .value("v")
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test]
async fn a_new_tenant_a_changed_policy_and_a_removed_tenant_take_effect_on_request() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver)
        .tenant(marked("1"))
        .tenant(tenant("gone"));
    let mut gateway = Gateway::start(setup).await;
    assert_eq!(mark(&gateway, &receiver).await, "1");
    assert_eq!(
        gateway.sender().bearer("new-token").write(&small_write()).await.status,
        401
    );
    let answer = gateway
        .reload(|setup| {
            setup.put_tenant(marked("2"));
            setup.put_tenant(tenant("new"));
            setup.remove_tenant("gone");
        })
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // The answer came after the swap: nothing to wait for.
    assert_eq!(mark(&gateway, &receiver).await, "2");
    assert_eq!(
        gateway.sender().bearer("new-token").write(&small_write()).await.status,
        204
    );
    assert_eq!(
        gateway.sender().bearer("gone-token").write(&small_write()).await.status,
        401
    );
    assert_eq!(gateway.metrics().await.sum(SUCCESSFUL, &[]), 1.0);
}

#[tokio::test]
async fn sighup_reloads() {
    let receiver = Receiver::start().await;
    let mut gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(marked("1"))).await;
    gateway.setup.put_tenant(marked("2"));
    gateway.setup.write();
    gateway.sighup();
    eventually("the new policy", async || {
        (mark(&gateway, &receiver).await == "2").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_changed_file_is_noticed_without_being_told() {
    let receiver = Receiver::start().await;
    let mut gateway = Gateway::start_with(Setup::with_receiver(&receiver).tenant(marked("1")), &[]).await;
    gateway.setup.put_tenant(marked("2"));
    gateway.setup.put_tenant(tenant("new"));
    gateway.setup.write();
    eventually("the new policy", async || {
        (mark(&gateway, &receiver).await == "2").then_some(())
    })
    .await;
    eventually("the new tenant", async || {
        (gateway.sender().bearer("new-token").write(&small_write()).await.status == 204).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_symbolic_link_of_a_kubernetes_volume_is_followed_when_it_moves() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver)
        .tenant(marked("1"))
        .set("/tenant_files", json!(["volume/*.yaml"]));
    let volume = setup.folder().join("volume");
    std::fs::create_dir(&volume).unwrap();
    // As the kubelet does: the file is a link through `..data`, which is replaced as a whole.
    let publish = |setup: &Setup, generation: &str| {
        setup.write();
        let folder = volume.join(generation);
        std::fs::create_dir(&folder).unwrap();
        std::fs::rename(setup.tenant_file("a"), folder.join("a.yaml")).unwrap();
        std::os::unix::fs::symlink(generation, volume.join("..data_tmp")).unwrap();
        std::fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    };
    publish(&setup, "..1");
    std::os::unix::fs::symlink("..data/a.yaml", volume.join("a.yaml")).unwrap();
    let mut gateway = Gateway::start_with(setup, &["--config.poll-interval=100ms"]).await;
    assert_eq!(mark(&gateway, &receiver).await, "1");
    gateway.setup.put_tenant(marked("2"));
    publish(&gateway.setup, "..2");
    eventually("the new policy", async || {
        (mark(&gateway, &receiver).await == "2").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_broken_tenant_file_keeps_that_tenants_old_generation_and_lets_the_others_go_on() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver).tenant(marked("1")).tenant(tenant("b"));
    let mut gateway = Gateway::start(setup).await;
    let broken = [
        ("no YAML", "tenant: a\ncredentials: [\n".to_owned()),
        ("an unknown key", json!({"tenant": "a", "polices": []}).to_string()),
        (
            "an unknown plugin",
            json!({"tenant": "a", "policies": [{"plugin": "relabl"}]}).to_string(),
        ),
        (
            "settings that Prometheus refuses",
            json!({"tenant": "a", "credentials": [], "policies": [{"plugin": "relabel", "settings":
                {"relabel_configs": [{"action": "replace", "regex": "("}]}}]})
            .to_string(),
        ),
    ];
    for (n, (what, text)) in broken.into_iter().enumerate() {
        replace(&gateway.setup.tenant_file("a"), text.as_bytes());
        // Another tenant's good change in the same breath takes effect.
        let other = relabel(json!([{"target_label": "n", "replacement": n.to_string()}]));
        gateway.setup.put_tenant(tenant("b").policy("relabel", other));
        let file = gateway.setup.tenant_file("a");
        gateway.setup.write();
        replace(&file, text.as_bytes());
        gateway.admin("POST", "/-/reload").await;
        assert_eq!(mark(&gateway, &receiver).await, "1", "{what}");
        receiver.clear();
        assert_eq!(
            gateway.sender().bearer("b-token").write(&small_write()).await.status,
            204,
            "{what}"
        );
        let n = n.to_string();
        assert_eq!(
            receiver.only().write.timeseries[0].value("n"),
            Some(n.as_str()),
            "{what}"
        );
        let metrics = gateway.metrics().await;
        assert_eq!(metrics.sum(SUCCESSFUL, &[]), 0.0, "{what}");
        assert_eq!(metrics.sum("gauntlet_tenant_broken", &[("tenant", "a")]), 1.0, "{what}");
        assert_eq!(metrics.sum("gauntlet_tenant_broken", &[("tenant", "b")]), 0.0, "{what}");
        let status = gateway.api("/api/v1/status").await.to_string();
        assert!(
            status.contains("a.yaml") || status.contains("\"a\""),
            "{what}: {status}"
        );
    }
    gateway.expect_log(&["a.yaml"]).await;
    gateway.reload_tenant(marked("2")).await;
    assert_eq!(mark(&gateway, &receiver).await, "2");
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum(SUCCESSFUL, &[]), 1.0);
    assert_eq!(metrics.sum("gauntlet_tenant_broken", &[("tenant", "a")]), 0.0);
}

#[tokio::test]
async fn a_broken_main_file_changes_nothing() {
    let receiver = Receiver::start().await;
    let mut gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(marked("1"))).await;
    let main = gateway.setup.main_file();
    for text in [
        "remote_write: {listen_adress: x}\n",
        "",
        "\u{0}",
        "- a\n- b\n",
        "upstreams: {soft: {endpoints: []}}\n",
    ] {
        replace(&main, text.as_bytes());
        let answer = gateway.admin("POST", "/-/reload").await;
        assert!(answer.status >= 400, "{text:?}: {answer:?}");
        assert_eq!(mark(&gateway, &receiver).await, "1", "{text:?}");
        assert_eq!(gateway.metrics().await.sum(SUCCESSFUL, &[]), 0.0, "{text:?}");
    }
    std::fs::remove_file(&main).unwrap();
    assert!(gateway.admin("PUT", "/-/reload").await.status >= 400);
    assert_eq!(mark(&gateway, &receiver).await, "1");
    gateway.reload_tenant(marked("2")).await;
    assert_eq!(mark(&gateway, &receiver).await, "2");
}

#[tokio::test]
async fn a_misspelt_upstream_of_a_route_is_refused_and_what_served_serves_on() {
    let (soft, hard) = (Receiver::start().await, Receiver::start().await);
    let routed = |upstream: &str| {
        let routes = json!({"routes": [{"match": {"__name__": "kube_.*"}, "upstream": upstream}]});
        tenant("a").upstreams(&["soft", "hard"]).policy("route", routes)
    };
    let setup = Setup::new()
        .upstream("soft", &[&soft])
        .upstream("hard", &[&hard])
        .tenant(routed("hard"));
    let mut gateway = Gateway::start(setup).await;
    let answer = gateway.reload(|setup| setup.put_tenant(routed("hrad"))).await;
    assert_eq!(answer.status, 500, "{answer:?}");
    for part in [
        "a.yaml",
        "policy route",
        "an upstream of tenant `a`, which has `soft`, `hard`, not `hrad`",
    ] {
        assert!(answer.text.contains(part), "{part:?} is not in {answer:?}");
    }
    let body = write([series("kube_pod").sample(1.0, 0)]);
    assert_eq!(gateway.sender().bearer("a-token").write(&body).await.status, 204);
    assert_eq!((soft.received().len(), hard.received().len()), (0, 1));
}

#[tokio::test]
async fn a_plugin_that_was_not_compiled_in_time_is_tried_again_until_it_is() {
    let receiver = Receiver::start().await;
    let pass = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-plugins/fixtures/built/pass.wasm");
    let setup = Setup::with_receiver(&receiver)
        .set("/sandbox/compile_timeout", "1s")
        .set("/plugins/pass", json!({"file": pass}))
        .tenant(tenant("a"));
    let cache = setup.folder().join("cache");
    let setup = setup.set("/sandbox/cache_dir", json!(cache));
    // Compiling is done by the program itself, which for a while is one that never gets anywhere.
    let (program, beside) = (setup.folder().join("program"), setup.folder().join("beside"));
    let put = |make: &dyn Fn(&Path)| {
        make(&beside);
        std::fs::set_permissions(&beside, Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(&beside, &program).unwrap();
    };
    let gauntlet = |at: &Path| {
        std::fs::copy(env!("CARGO_BIN_EXE_gauntlet"), at).unwrap();
    };
    put(&gauntlet);
    let mut command = Command::new(&program);
    command.env("GAUNTLET_CONFIG_POLL_INTERVAL", "200ms");
    let mut gateway = Gateway::start_program(setup, command).await;
    put(&|at| std::fs::write(at, "#!/bin/sh\nexec sleep 1000\n").unwrap());
    let new = tenant("new").policy("pass", json!({}));
    let answer = gateway.reload(|setup| setup.put_tenant(new)).await;
    assert_eq!(answer.status, 500, "{answer:?}");
    assert!(
        answer
            .text
            .contains("because the machine is too busy, and is tried again"),
        "{answer:?}"
    );
    put(&gauntlet);
    eventually("the new tenant to be served", async || {
        let answer = gateway.sender().bearer("new-token").write(&small_write()).await;
        (answer.status == 204).then_some(())
    })
    .await;
    let status = gateway.api("/api/v1/status").await;
    assert_eq!(status["last_reload"]["cause"], "another try", "{status}");
}

#[tokio::test]
async fn a_start_with_one_broken_tenant_serves_the_others_and_tells_its_senders_to_wait() {
    let receiver = Receiver::start().await;
    let broken = [
        ("misspelt", tenant("misspelt").set("polices", json!([]))),
        (
            "refused",
            tenant("refused").policy("relabel", relabel(json!([{"action": "no such action"}]))),
        ),
        ("nowhere", tenant("nowhere").upstreams(&["no-such-upstream"])),
    ];
    let setup = broken
        .iter()
        .fold(Setup::with_receiver(&receiver), |s, (_, one)| s.tenant(one.clone()));
    let mut gateway = Gateway::start(setup.tenant(tenant("a"))).await;
    assert_eq!(
        gateway.sender().bearer("a-token").write(&small_write()).await.status,
        204
    );
    assert_eq!(gateway.metrics().await.sum(SUCCESSFUL, &[]), 0.0);
    for (id, _) in &broken {
        let answer = gateway
            .sender()
            .bearer(&format!("{id}-token"))
            .write(&small_write())
            .await;
        assert_eq!(answer.status, 503, "{id}: {answer:?}");
        assert!(answer.retry_after() >= 1, "{id}");
        assert_eq!(
            gateway.metrics().await.sum("gauntlet_tenant_broken", &[("tenant", id)]),
            1.0,
            "{id}"
        );
        assert!(gateway.api("/api/v1/status").await.to_string().contains(id), "{id}");
    }
    for (id, _) in &broken {
        gateway.setup.put_tenant(tenant(id));
    }
    gateway.reload_tenant(tenant("refused")).await;
    for (id, _) in &broken {
        let answer = gateway
            .sender()
            .bearer(&format!("{id}-token"))
            .write(&small_write())
            .await;
        assert_eq!(answer.status, 204, "{id}: {answer:?}");
    }
}

#[tokio::test]
async fn two_tenants_never_share_a_credential() {
    let receiver = Receiver::start().await;
    let mut gateway = one_tenant(&receiver).await;
    // A second tenant claims the first one's token: whatever becomes of the two, nothing arrives under `thief`.
    gateway
        .reload(|setup| setup.put_tenant(Tenant::new("thief").bearer("a-token").upstreams(&["soft"])))
        .await;
    gateway.sender().bearer("a-token").write(&small_write()).await;
    assert!(receiver.received().iter().all(|r| r.tenant() == "a"));
    assert_eq!(gateway.metrics().await.sum(SUCCESSFUL, &[]), 0.0);
}

#[tokio::test]
async fn a_renewed_certificate_and_a_new_authority_for_clients_are_taken_up() {
    let receiver = Receiver::start().await;
    let by_certificate = Tenant::new("c")
        .certificate("uri_san", "spiffe://c")
        .upstreams(&["soft"]);
    let mut gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(by_certificate)).await;
    let first = gateway.setup.certs.server_pem.clone();
    assert_eq!(gateway.sender().peer_certificate().await, der(&first));
    let expiry = gateway
        .metrics()
        .await
        .sum("gauntlet_tls_certificate_expiry_timestamp_seconds", &[]);
    assert!(expiry > 1.7e9, "{expiry}");

    let answer = gateway.reload(|setup| setup.certs.renew_server()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let second = gateway.setup.certs.server_pem.clone();
    assert_eq!(gateway.sender().peer_certificate().await, der(&second));

    let old_client = gateway.setup.certs.client_uri("spiffe://c");
    assert_eq!(gateway.sender_with(&old_client).write(&small_write()).await.status, 204);
    let answer = gateway.reload(|setup| setup.certs = Certs::new()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let refused = gateway
        .sender_with(&old_client)
        .request(small_write().body())
        .try_send()
        .await;
    assert!(refused.is_err(), "{refused:?}");
    let new_client = gateway.setup.certs.client_uri("spiffe://c");
    assert_eq!(gateway.sender_with(&new_client).write(&small_write()).await.status, 204);
}

#[tokio::test]
async fn a_broken_certificate_keeps_the_one_in_use() {
    let receiver = Receiver::start().await;
    let mut gateway = one_tenant(&receiver).await;
    let before = gateway.sender().peer_certificate().await;
    // The key of another certificate: each file is sound, together they are not.
    let answer = gateway
        .reload(|setup| setup.certs.server_key_pem = Certs::new().server_key_pem)
        .await;
    assert!(answer.status >= 400, "{answer:?}");
    assert_eq!(gateway.sender().peer_certificate().await, before);
    assert_eq!(
        gateway.sender().bearer("a-token").write(&small_write()).await.status,
        204
    );
    assert_eq!(gateway.metrics().await.sum(SUCCESSFUL, &[]), 0.0);
}

#[tokio::test]
async fn a_request_in_flight_ends_under_the_generation_it_began_with() {
    let receiver = Receiver::start().await;
    let mut gateway = one_tenant(&receiver).await;
    let gate = Gate::new();
    receiver.answer_next([Reply::status(200).held_by(&gate)]);
    let sender = gateway.sender().bearer("a-token");
    let held = tokio::spawn(async move { sender.write(&small_write()).await.status });
    receiver.expect_requests(1).await;
    let elsewhere = Receiver::start().await;
    let url = elsewhere.url();
    let answer = gateway
        .reload(|setup| setup.put("/upstreams/soft", json!({"endpoints": [url]})))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        gateway.sender().bearer("a-token").write(&small_write()).await.status,
        204
    );
    assert_eq!(
        (receiver.received().len(), elsewhere.received().len()),
        (1, 1),
        "new requests go to the new upstream"
    );
    gate.open();
    assert_eq!(held.await.unwrap(), 204);
}

#[tokio::test]
async fn no_write_is_refused_while_generations_change_under_it() {
    let receiver = Receiver::start().await;
    let mut gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(marked("0"))).await;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|_| {
            let (sender, stop) = (gateway.sender().bearer("a-token"), std::sync::Arc::clone(&stop));
            tokio::spawn(async move {
                let mut statuses = Vec::new();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    statuses.push(sender.write(&write([series("up").sample(1.0, 0)])).await.status);
                }
                statuses
            })
        })
        .collect();
    for n in 1..=10 {
        gateway.reload_tenant(marked(&n.to_string())).await;
    }
    assert_eq!(mark_without_clearing(&gateway, &receiver).await, "10");
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for writer in writers {
        let statuses = writer.await.unwrap();
        assert!(
            !statuses.is_empty() && statuses.iter().all(|s| *s == 204),
            "{statuses:?}"
        );
    }
    // Each write saw one whole generation.
    for received in receiver.received() {
        let value = received.write.timeseries[0].value("v").unwrap().parse::<u32>();
        assert!(value.is_ok_and(|n| n <= 10));
    }
}

/// As [`mark`], while others write: found by a label of its own.
async fn mark_without_clearing(gateway: &Gateway, receiver: &Receiver) -> String {
    let sent = write([series("mine").sample(1.0, 0)]);
    assert_eq!(gateway.sender().bearer("a-token").write(&sent).await.status, 204);
    let received = receiver.received();
    let mut arrived = received.iter().flat_map(|r| &r.write.timeseries);
    let mine = arrived.find(|one| one.value("__name__") == Some("mine")).unwrap();
    mine.value("v").unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_bounds_of_the_process_follow_a_reload_and_what_does_not_is_told() {
    let receiver = Receiver::start().await;
    let gate = Gate::new();
    let mut gateway = one_tenant(&receiver).await;
    let answer = gateway
        .reload(|setup| {
            setup.put("/remote_write/max_concurrent_requests", json!(1));
            setup.put("/remote_write/idle_timeout", json!("77s"));
        })
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(
        answer.text.contains("remote_write.idle_timeout has changed: restart"),
        "{answer:?}"
    );
    receiver.answer_next([Reply::status(200).held_by(&gate)]);
    let sender = gateway.sender().bearer("a-token");
    let held = tokio::spawn(async move { sender.write(&small_write()).await.status });
    receiver.expect_requests(1).await;
    let over = gateway.sender().bearer("a-token").write(&small_write()).await;
    assert_eq!(over.status, 503, "{over:?}");
    gate.open();
    assert_eq!(held.await.unwrap(), 204);
}
