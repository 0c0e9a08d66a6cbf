//! The reference pages in docs/ say what the gateway does: the admin API's routes and keys, the reasons of answers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gauntlet_tests::setup::{relabel, replace};
use gauntlet_tests::{Gateway, Receiver, Reply, Setup, eventually, guest, series, write};
use serde_json::{Value, json};

use crate::{many, small_write, tenant};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

pub(crate) fn page(name: &str) -> String {
    std::fs::read_to_string(root().join("docs").join(name)).unwrap()
}

/// The host's own code in a file or a folder of `host/src`, without tests.
fn code(path: &Path) -> String {
    if path.is_file() {
        let text = std::fs::read_to_string(path).unwrap();
        return text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
    }
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let own = entries.filter(|entry| entry.file_stem().unwrap() != "tests");
    own.map(|entry| code(&entry)).collect()
}

/// Where each key of an answer stands, whatever the values: `[].endpoints[].address`.
fn keys(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let at = format!("{at}.{key}");
                keys(value, &at, found);
                found.insert(at);
            }
        }
        Value::Array(items) => {
            for item in items {
                keys(item, &format!("{at}[]"), found);
            }
        }
        _ => {}
    }
}

pub(crate) fn keys_of(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    keys(value, "", &mut found);
    found
}

/// The example under the heading of a route.
pub(crate) fn example(page: &str, route: &str) -> Value {
    let section = page.split(&format!("\n## `{route}`\n")).nth(1);
    let section = section.unwrap_or_else(|| panic!("docs/api.md has no section of {route}"));
    let example = section.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    serde_json::from_str(example).unwrap_or_else(|error| panic!("the example of {route}: {error}"))
}

#[tokio::test]
async fn the_page_of_the_admin_api_has_the_keys_that_are_answered() {
    let receiver = Receiver::start().await;
    let a = tenant("a")
        .certificate("uri_san", "spiffe://a")
        .certificate("dns_san", "a.example.com")
        .certificate("common_name", "a")
        .basic("a", "password")
        .policy(
            "relabel",
            relabel(json!([{"action": "drop", "source_labels": ["__name__"], "regex": "go_.*"}])),
        )
        .policy(
            "limits",
            json!({
                "samples": {"per_second": 1000},
                "series_budgets": [{"per": ["__name__"], "max_active_series": 5000}],
            }),
        );
    // In shadow, and soon rolled back.
    let d = |value: &str| {
        let settings = relabel(json!([{"target_label": "v", "replacement": value}]));
        tenant("d").policy_entry(json!({"plugin": "relabel", "settings": settings, "mode": "shadow"}))
    };
    let hostile = root().join("guest-plugins/fixtures/built/hostile.wasm");
    let c = tenant("c").policy("hostile", json!({"mode": "trap", "when": "evil"}));
    // Whose policy has a word for the log.
    let f = tenant("f").policy("hostile", json!({"mode": "escape-codes", "when": "loud"}));
    let setup = Setup::with_receiver(&receiver)
        .set("/plugins/hostile", json!({"file": hostile}))
        .set("/plugins/liar", json!({"file": "liar.wasm"}))
        .tenant(a)
        .tenant(tenant("b"))
        .tenant(c)
        .tenant(d("1").basic("d", "password"))
        .tenant(f)
        .tenant(tenant("e").policy("liar", json!({})));
    let liar = wat::parse_str(format!("(component {})", guest::liar(guest::BY_PLACE, 50))).unwrap();
    std::fs::write(setup.folder().join("liar.wasm"), liar).unwrap();
    let mut gateway = Gateway::start(setup).await;
    let leaves = gateway.sender().basic("d", "password").write(&small_write()).await;
    assert_eq!(leaves.status, 204, "{leaves:?}");
    gateway.reload_tenant(d("2")).await;
    let rolled_back = gateway.admin("POST", "/api/v1/tenants/d/rollback").await;
    assert_eq!(rolled_back.status, 200, "{rolled_back:?}");
    let would_change = gateway.sender().bearer("d-token").write(&small_write()).await;
    assert_eq!(would_change.status, 204, "{would_change:?}");
    let mut round = 0;
    eventually("tenant e's policy to be found out", async || {
        round += 1;
        let answer = gateway
            .sender()
            .bearer("e-token")
            .write(&write(many(&format!("up_{round}"), 40)))
            .await;
        (answer.status == 503).then_some(())
    })
    .await;
    let loud = write([series("up").label("loud", "1").sample(1.0, 0)]);
    gateway.sender().bearer("f-token").write(&loud).await;
    let poison = write([series("up").label("evil", "1").sample(1.0, 0)]);
    assert_eq!(gateway.sender().bearer("c-token").write(&poison).await.status, 400);
    let up_and_go = [series("up").sample(1.0, 0), series("go_info").sample(1.0, 0)];
    let stored = write(up_and_go).with_metadata("up");
    assert_eq!(gateway.sender().bearer("a-token").write(&stored).await.status, 204);
    // Writes have failed, one series is refused and one tenant is broken, so that every list holds something.
    let refused = gateway
        .sender()
        .bearer("a-token")
        .request(b"no snappy".to_vec())
        .send()
        .await;
    assert_eq!(refused.status, 400, "{refused:?}");
    receiver.answer_next([Reply::status(404)]);
    assert_eq!(
        gateway.sender().bearer("a-token").write(&small_write()).await.status,
        503
    );
    replace(&gateway.setup.tenant_file("b"), b"tenant: b\ndisabeld: true\n");
    let reload = gateway.admin("POST", "/-/reload").await;
    assert_eq!(reload.status, 500, "{reload:?}");
    let page = page("api.md");
    let data = |text: &str| serde_json::from_str::<Value>(text).unwrap()["data"].take();
    let mut answers = vec![
        ("POST /-/reload".to_owned(), data(&reload.text)),
        (
            "POST /api/v1/tenants/<tenant>/rollback".to_owned(),
            data(&rolled_back.text),
        ),
    ];
    for path in ["status", "tenants", "policies", "upstreams", "refusals"] {
        let path = format!("/api/v1/{path}");
        answers.push((format!("GET {path}"), gateway.api(&path).await));
    }
    let detail = gateway.api("/api/v1/tenants/a").await;
    // What it has went back from nothing, and its policies do nothing of what those of others do.
    answers.push((
        "GET /api/v1/tenants/<tenant>".to_owned(),
        as_others_have_it(detail, &gateway.api("/api/v1/tenants/d").await, &answers),
    ));
    let mut flow = gateway.api("/api/v1/flow").await;
    flow["tenants"] = json!({"a": flow["tenants"]["a"]});
    answers.push(("GET /api/v1/flow".to_owned(), flow));
    for (route, answer) in answers {
        let keys = keys_of(&answer);
        assert!(keys.len() >= 5, "{route}: {answer}");
        assert_eq!(keys_of(&example(&page, &route)), keys, "{route}: {answer}");
    }
}

/// With the rows of all tenants and policies in place of one tenant's, so that every list in them holds something.
fn as_others_have_it(mut detail: Value, other: &Value, answers: &[(String, Value)]) -> Value {
    let of = |route: &str| &answers.iter().find(|(known, _)| known == route).unwrap().1;
    detail["removed_credentials"] = other["removed_credentials"].clone();
    detail["chain"] = of("GET /api/v1/policies").clone();
    let rows = of("GET /api/v1/tenants").as_array().unwrap();
    let went_back = rows.iter().map(|row| &row["went_back"]).find(|back| !back.is_null());
    detail["went_back"] = went_back.unwrap().clone();
    detail
}

#[tokio::test]
async fn the_page_of_the_admin_api_has_the_keys_of_an_explanation() {
    let receiver = Receiver::start().await;
    let rules = json!([
        {"action": "drop", "source_labels": ["__name__"], "regex": "go_.*"},
        {"action": "labeldrop", "regex": "replica"},
    ]);
    let limits = json!({
        "samples": {"per_second": 10},
        "series_budgets": [{"per": ["__name__"], "max_active_series": 7}],
    });
    let routes = json!({"routes": [{"match": {"__name__": "up"}, "stream": "nodes", "upstream": "soft"}]});
    let a = tenant("a")
        .policy("relabel", relabel(rules))
        .policy("limits", limits)
        .policy("route", routes);
    let setup = Setup::with_receiver(&receiver).tenant(a);
    let gateway = Gateway::start(setup).await;
    let series = ["up{job=\"node\",replica=\"a\"}", "go_info"];
    let question = json!({"tenant": "a", "series": series});
    let explained = gateway.admin_post("/api/v1/explain", &question).await;
    assert_eq!(explained.status, 200, "{explained:?}");
    let mut answer: Value = serde_json::from_str(&explained.text).unwrap();
    let keys = keys_of(&answer["data"].take());
    assert_eq!(keys_of(&example(&page("api.md"), "POST /api/v1/explain")), keys);
    let wrong = gateway.admin_post("/api/v1/explain", &json!({"tenant": "a"})).await;
    assert_eq!(wrong.status, 400, "{wrong:?}");
    let told: Value = serde_json::from_str(&wrong.text).unwrap();
    assert_eq!(
        (&told["status"], &told["errorType"]),
        (&json!("error"), &json!("bad_data"))
    );
    let error = told["error"].as_str().unwrap();
    assert!(error.contains("such as {\"tenant\""), "{error}");
}

#[tokio::test]
async fn credentials_are_told_by_kind_and_name_and_never_by_their_secret() {
    let receiver = Receiver::start().await;
    let a = tenant("a")
        .certificate("dns_san", "a.example.com")
        .basic("user", "hunter2");
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(a)).await;
    let tenants = gateway.api("/api/v1/tenants").await;
    assert_eq!(
        tenants[0]["credentials"],
        json!([
            {"kind": "bearer_token", "last_used_seconds_ago": null, "expires_timestamp_seconds": null},
            {"kind": "client_certificate", "dns_san": "a.example.com", "last_used_seconds_ago": null, "expires_timestamp_seconds": null},
            {"kind": "basic_auth", "username": "user", "last_used_seconds_ago": null, "expires_timestamp_seconds": null},
        ])
    );
}

#[tokio::test]
async fn a_credential_shows_when_it_was_last_used_whatever_is_reloaded() {
    let receiver = Receiver::start().await;
    let a = tenant("a")
        .certificate("dns_san", "a.example.com")
        .basic("user", "hunter2");
    let setup = Setup::with_receiver(&receiver).tenant(a.clone());
    let mut gateway = Gateway::start(setup).await;
    let used = async |gateway: &Gateway| {
        let tenants = gateway.api("/api/v1/tenants").await;
        let credentials = tenants[0]["credentials"].as_array().unwrap().iter();
        credentials
            .filter(|credential| !credential["last_used_seconds_ago"].is_null())
            .map(|credential| credential["kind"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let write = async |gateway: &Gateway, password: &str| {
        let sender = gateway.sender().basic("user", password);
        sender.write(&small_write()).await.status
    };
    assert_eq!(write(&gateway, "wrong").await, 401);
    assert!(used(&gateway).await.is_empty());
    assert_eq!(write(&gateway, "hunter2").await, 204);
    assert_eq!(used(&gateway).await, ["basic_auth"]);
    gateway.reload_tenant(a.certificate("common_name", "a")).await;
    assert_eq!(used(&gateway).await, ["basic_auth"]);
    // Another hash is another credential, even of the same password.
    gateway.reload_tenant(tenant("a").basic("user", "hunter2")).await;
    assert!(used(&gateway).await.is_empty());
}

#[test]
fn the_page_of_the_admin_api_has_its_routes_and_no_others() {
    let page = page("api.md");
    let code = code(&root().join("host/src/admin"));
    let routes: Vec<String> = code
        .split(".route(\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().replace('{', "<").replace('}', ">"))
        .collect();
    assert!(routes.len() > 5, "{routes:?}");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let listed: BTreeSet<&str> = rows
        .flat_map(|row| row.split('`').nth(1))
        .filter_map(|cell| cell.split_once(' '))
        .map(|(_method, path)| path)
        .collect();
    assert_eq!(listed, routes.iter().map(String::as_str).collect());
}

/// All Rust files of a folder, tests too.
fn sources(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: PathBuf| match path.is_dir() {
        true => sources(&path),
        false => std::fs::read_to_string(path).unwrap(),
    };
    entries.map(text).collect()
}

#[test]
fn each_clause_of_the_specifications_names_tests_that_there_are() {
    let page = page("protocol.md");
    let (_, clauses) = page.split_once("| | clause | here | test |\n").unwrap();
    let code = sources(&root().join("host/src")) + &sources(&root().join("tests/e2e"));
    let mut count = 0;
    for row in clauses.lines().skip(1).take_while(|row| row.starts_with('|')) {
        let tests = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let named: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty() || tests.contains("[above]"), "no test shows {row}");
        for test in named {
            assert!(code.contains(&format!("fn {test}(")), "there is no test {test}");
        }
        count += 1;
    }
    assert!(count > 20, "{count}");
}

#[test]
fn the_page_of_the_protocol_has_every_reason_and_no_others() {
    let word = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b"_0123456789".contains(&b))
    };
    let page = page("protocol.md");
    let (_, series) = page.split_once("| reason | because |").unwrap();
    let (series, rest) = series.split_once("\n\n").unwrap();
    let (_, answers) = rest.split_once("| status | reason | when |").unwrap();
    let (answers, _) = answers.split_once("\n\n").unwrap();
    let quoted = |cell: &str| {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let of_series: BTreeSet<String> = series
        .lines()
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(quoted)
        .collect();
    let of_answers: BTreeSet<String> = answers
        .lines()
        .filter_map(|row| row.split('|').nth(2))
        .flat_map(quoted)
        .collect();
    assert!(
        of_series.len() > 10 && of_answers.len() > 30,
        "{of_series:?} {of_answers:?}"
    );

    // Every word in quotes that is in the one map from failures to answers is a reason.
    let respond = code(&root().join("host/src/respond.rs"));
    let in_respond: BTreeSet<String> = respond
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .filter(|text| word(text))
        .map(str::to_owned)
        .collect();
    let missing: Vec<_> = in_respond.difference(&of_answers).collect();
    assert!(missing.is_empty(), "docs/protocol.md does not have {missing:?}");

    // And what the page has is in the code, wherever it moved.
    let code = code(&root().join("host/src"));
    for reason in of_series.union(&of_answers) {
        assert!(
            code.contains(&format!("\"{reason}\"")),
            "docs/protocol.md has `{reason}`, which nothing answers"
        );
    }
}
