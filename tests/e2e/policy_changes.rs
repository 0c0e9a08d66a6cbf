//! `gauntlet policy diff` and `gauntlet tap`: what a change would do to what a tenant sends.

use gauntlet_tests::{Gateway, Receiver, Setup, Tenant, relabel, series, write};
use serde_json::{Value, json};

use crate::tools::{Ended, gauntlet, gauntlet_meanwhile, text, unreached};
use crate::{one_tenant, small_write, tenant};

fn rules(rules: Value) -> Tenant {
    tenant("a")
        .policy("relabel", relabel(rules))
        .upstreams(&["soft", "kube"])
}

/// Both configurations, and a capture beside the first one.
fn compared(old: Tenant, new: Tenant, capture: &str, more: &[&str]) -> Ended {
    let (old, new) = (unreached().tenant(old), unreached().tenant(new));
    old.write();
    new.write();
    let file = old.folder().join("capture");
    std::fs::write(&file, capture).unwrap();
    let files = [old.main_file(), new.main_file(), file].map(|path| text(&path));
    let fixed = [
        "policy", "diff", "--config", &files[0], "--new", &files[1], "--tenant", "a", &files[2],
    ];
    gauntlet(&[&fixed, more].concat())
}

#[test]
fn a_change_is_told_by_what_it_does_to_series() {
    let drop = |regex: &str| json!({"action": "drop", "source_labels": ["__name__"], "regex": regex});
    let capture = "# HELP a is a\na 1\nb\nc{job=\"x\"}\nd\nkube_a\ne\n{job=\"nameless\"}\n";
    let old = rules(json!([drop("b")]));
    let same =
        compared(old.clone(), old.clone(), capture, &[]).with(0, &["7 series, of which 5 go on before and 5 after"]);
    assert!(same.out.contains("7  same") && !same.out.contains("->"), "{same:?}");

    let routes = json!({"routes": [{"match": {"__name__": "kube_.*"}, "stream": "k", "upstream": "kube"}]});
    let new = rules(json!([
        drop("a"),
        {"source_labels": ["job"], "regex": "x", "target_label": "job", "replacement": "y"},
        {"source_labels": ["__name__"], "regex": "d", "target_label": "long", "replacement": "xxxxxxxxxx"},
    ]));
    let new = new.policy("route", routes).limit("max_label_value_length", 9);
    let told = compared(old.clone(), new.clone(), capture, &["--format", "json"])
        .with(1, &[])
        .json();
    assert_eq!((&told["series"], &told["same"]), (&json!(7), &json!(2)), "{told}");
    let kinds = told["changes"].as_array().unwrap().iter();
    let kinds: Vec<(&str, u64)> = kinds
        .map(|change| (change["kind"].as_str().unwrap(), change["count"].as_u64().unwrap()))
        .collect();
    assert_eq!(
        kinds,
        [
            ("keep_to_drop", 1),
            ("drop_to_keep", 1),
            ("edited_otherwise", 1),
            ("sent_elsewhere", 1),
            ("refused", 1)
        ]
    );
    let shown = compared(old.clone(), new, capture, &[]);
    shown.with(
        1,
        &[
            "1  keep -> drop",
            "c{job=\"x\"}\n    before: goes on as c{job=\"x\"} to soft\n    after:  goes on as c{job=\"y\"} to soft",
            "after:  goes on as kube_a in stream k to kube",
            "after:  dropped by policy relabel: relabel_configs[0]",
            "after:  refused: a label value longer than max_label_value_length",
        ],
    );
    // Only so many examples.
    let many: String = (0..20).map(|n| format!("m{n}\n")).collect();
    let shown = compared(old, rules(json!([drop("m.*")])), &many, &["--examples", "2"]);
    shown.with(1, &["20  keep -> drop", "and 18 more"]);
}

#[test]
fn a_comparison_that_cannot_be_made_is_2() {
    let a = rules(json!([]));
    compared(a.clone(), a.clone(), "up\nup{", &[]).with(2, &["capture: line 2, column 4"]);
    compared(a.clone(), a.clone(), "# nothing\n", &[]).with(2, &["holds no series"]);
    let broken = rules(json!([{"action": "no_such"}]));
    compared(a.clone(), broken, "up", &[]).with(2, &["no_such"]);
    compared(a.clone(), tenant("b"), "up", &[]).with(2, &["no tenant a"]);
}

fn tap(gateway: &Gateway, more: &[&str]) -> tokio::task::JoinHandle<Ended> {
    let url = format!("http://{}", gateway.admin);
    let all = [&["tap", "--url", &url, "--tenant", "a"], more].concat();
    tokio::spawn(gauntlet_meanwhile(all.into_iter().map(str::to_owned).collect()))
}

#[tokio::test]
async fn a_gateway_shows_what_a_tenant_sends_if_its_operator_permits_it() {
    let receiver = Receiver::start().await;
    let off = one_tenant(&receiver).await;
    tap(&off, &[]).await.unwrap().with(2, &["403", "admin: {tap: true}"]);

    let setup = Setup::with_receiver(&receiver)
        .set("/admin/tap", true)
        .tenant(tenant("a"))
        .tenant(tenant("b"));
    let gateway = Gateway::start(setup).await;
    tap(&gateway, &["--for", "0s"])
        .await
        .unwrap()
        .with(2, &["400", "1 to 300 seconds"]);
    for (more, expected) in [
        (&["--values"][..], ["up{job=\"test\"}\n", "up{secret=\"hunter2\"}\n"]),
        (
            &[][..],
            [
                "# Label values are left out: each is `_`.\n",
                "up{job=\"_\"}\nup{secret=\"_\"}\n",
            ],
        ),
    ] {
        let taking = tap(&gateway, &[&["--for", "3s"], more].concat());
        let values = format!("\"values\":{}", more.len() == 1);
        gateway.expect_log(&["are taken for an operator", &values]).await;
        // Another has to wait.
        let second = gateway
            .admin_post("/api/v1/tap", &json!({"tenant": "b", "seconds": 1}))
            .await;
        assert_eq!(second.status, 409, "{second:?}");
        let sender = gateway.sender().bearer("a-token");
        while !taking.is_finished() {
            let secret = series("up").label("secret", "hunter2").sample(1.0, 0);
            assert_eq!(sender.write(&small_write()).await.status, 204);
            assert_eq!(sender.write(&write([secret])).await.status, 204);
            let others = write([series("theirs").sample(1.0, 0)]);
            assert_eq!(gateway.sender().bearer("b-token").write(&others).await.status, 204);
            tokio::task::yield_now().await;
        }
        let taken = taking.await.unwrap().with(0, &expected);
        assert_eq!(taken.out.contains("hunter2"), more.len() == 1, "{taken:?}");
        assert!(!taken.out.contains("theirs"), "{taken:?}");
        assert_eq!(
            taken.out.lines().filter(|line| !line.starts_with('#')).count(),
            2,
            "{taken:?}"
        );
        // Such a capture is what `diff` reads.
        let file = gateway.setup.folder().join("capture");
        std::fs::write(&file, &taken.out).unwrap();
        let (config, file) = (text(&gateway.setup.main_file()), text(&file));
        let diff = [
            "policy", "diff", "--config", &config, "--new", &config, "--tenant", "a", &file,
        ];
        let told = gauntlet_meanwhile(diff.into_iter().map(str::to_owned).collect()).await;
        let told = told.with(0, &["2  same"]);
        assert_eq!(told.err.contains("without label values"), more.is_empty(), "{told:?}");
    }
}
