//! What operators see flow: the last hour, as it comes, and what was refused to whom.

use gauntlet_tests::{
    Certs, Gateway, Receiver, Reply, Setup, WriteRequest, eventually, relabel, series, within, write,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{many, one_tenant, small_write, tenant};

/// As many streams of events as there may be.
const STREAMS: usize = 16;

fn sum(numbers: &Value) -> u64 {
    let numbers = numbers.as_array().unwrap();
    numbers.iter().map(|number| number.as_u64().unwrap()).sum()
}

/// A row of `rows`, by the value of one of its keys.
fn find<'a>(rows: &'a Value, key: &str, value: &str) -> &'a Value {
    let mut all = rows.as_array().unwrap().iter();
    all.find(|row| row[key] == value)
        .unwrap_or_else(|| panic!("no {key} is {value} in {rows}"))
}

#[tokio::test]
async fn the_hour_has_every_sample_by_what_became_of_it_as_the_metrics_have_it() {
    let (soft, other) = (Receiver::start().await, Receiver::start().await);
    let rules = json!([
        {"action": "drop", "source_labels": ["__name__"], "regex": "go_.*"},
        {"source_labels": ["__name__"], "regex": "edit_.*", "target_label": "edited", "replacement": "yes"},
    ]);
    let routes = json!({"routes": [{"match": {"__name__": "kube"}, "stream": "k", "upstream": "other"}]});
    let a = tenant("a")
        .policy("relabel", relabel(rules))
        .policy("route", routes)
        .upstreams(&["soft", "other"]);
    let setup = Setup::new()
        .upstream("soft", &[&soft])
        .upstream("other", &[&other])
        .tenant(a)
        .tenant(tenant("b"));
    let gateway = Gateway::start(setup).await;
    let send = async |body| gateway.sender().bearer("a-token").write(&write(body)).await.status;
    assert_eq!(send(many("kept", 5)).await, 204);
    assert_eq!(send(many("edit_me", 3)).await, 204);
    assert_eq!(send(many("go_info", 7)).await, 204);
    assert_eq!(send(many("kube", 2)).await, 204);
    // One that can be no series, and one that is let through.
    let mut mixed = many("kept", 1);
    mixed.push(series("twice").label("i", "1").label("i", "2").sample(1.0, 0));
    let (mixed, sender) = (WriteRequest::as_given(mixed), gateway.sender().bearer("a-token"));
    assert_eq!(sender.write(&mixed).await.status, 400);
    // The same, and the sender keeps all of it, whatever was refused.
    soft.answer_next([Reply::status(503)]);
    assert_eq!(sender.write(&mixed).await.status, 503);
    // A receiver has it already, and takes the newest again.
    let again = gateway.sender().bearer("a-token").with_header("Retry-Attempt", "1");
    soft.answer_next([Reply::status(409).text("add 3 samples: out of order sample\n")]);
    let four = (0..4).fold(series("kept"), |one, time| one.sample(1.0, time));
    assert_eq!(again.write(&write([four])).await.status, 204);

    let expected = [
        ("received", 5 + 3 + 7 + 2 + 2 + 2 + 4),
        ("kept", 5 + 2 + 1 + 4),
        ("edited", 3),
        ("dropped", 7),
        ("rejected", 1),
        ("waiting", 2),
    ];
    let flow = eventually("the interval to be over", async || {
        let flow = gateway.api("/api/v1/flow").await;
        (sum(&flow["gateway"]["received"]) > 0).then_some(flow)
    })
    .await;
    for (key, samples) in expected {
        assert_eq!(sum(&flow["gateway"][key]), samples, "{key}: {flow}");
    }
    let upstreams = &flow["gateway"]["upstreams"];
    assert_eq!((sum(&upstreams["soft"]), sum(&upstreams["other"])), (5 + 3 + 1 + 1, 2));
    let length = flow["gateway"]["received"].as_array().unwrap().len();
    assert!(
        [&upstreams["soft"], &flow["gateway"]["waiting"]]
            .iter()
            .all(|all| all.as_array().unwrap().len() == length)
    );
    assert!(flow["tenants"]["a"]["received"].is_array() && flow["tenants"]["b"]["waiting"].is_array());

    let metrics = gateway.metrics().await;
    let counted = |what: &str| metrics.sum(&format!("gauntlet_{what}_samples_total"), &[("tenant", "a")]) as u64;
    let already = [("tenant", "a"), ("reason", "already_stored")];
    let already = metrics.sum("gauntlet_rejected_samples_total", &already) as u64;
    let (waiting, edited) = (counted("waiting"), counted("edited"));
    let told: Vec<u64> = expected.iter().map(|(_, samples)| *samples).collect();
    let from_metrics = [
        counted("received"),
        counted("forwarded") + already - edited,
        edited,
        counted("dropped"),
        counted("rejected") - already - waiting,
        waiting,
    ];
    assert_eq!(told, from_metrics);

    let detail = gateway.api("/api/v1/tenants/a").await;
    let of_detail = &detail["counted"];
    assert_eq!((&of_detail["received"], &of_detail["kept"]), (&json!(25), &json!(12)));
    assert_eq!(of_detail["forwarded"], json!({"soft": 10, "other": 2}));
    assert_eq!(detail["answers"], json!({"204": 5, "400": 1, "503": 1}));
    let kept = |reason: &str| {
        let row = find(&of_detail["rejected"], "reason", reason);
        (
            row["samples"].as_u64(),
            row["waiting"].as_u64(),
            row["kept_by_sender"].as_bool(),
        )
    };
    assert_eq!(kept("upstream_unavailable"), (Some(1), Some(1), Some(true)));
    // Once lost, once with a write that is sent again.
    assert_eq!(kept("duplicate_label"), (Some(2), Some(1), Some(false)));

    let upstreams = gateway.api("/api/v1/upstreams").await;
    let soft = find(&upstreams, "upstream", "soft");
    assert_eq!(soft["samples"], json!(10));
    assert_eq!(soft["answers"], json!({"success": 3, "unavailable": 1, "conflict": 1}));
    assert!(
        soft["p99_seconds"].as_f64().unwrap() >= soft["p50_seconds"].as_f64().unwrap(),
        "{soft}"
    );
    assert!(
        soft["endpoints"][0]["latency_seconds"].as_f64().unwrap() > 0.0,
        "{soft}"
    );

    let one = gateway.api("/api/v1/flow?tenant=b").await;
    assert_eq!(one["gateway"], Value::Null);
    assert_eq!(one["tenants"].as_object().unwrap().keys().collect::<Vec<_>>(), ["b"]);
    for nobody in [
        "/api/v1/flow?tenant=nobody",
        "/api/v1/tenants/nobody",
        "/api/v1/tenants/no%2Fname",
    ] {
        assert_eq!(gateway.admin("GET", nobody).await.status, 404, "{nobody}");
    }
}

/// A stream of events, read as it comes.
struct Events {
    connection: TcpStream,
    text: String,
}

impl Events {
    async fn open(gateway: &Gateway) -> Self {
        let mut connection = TcpStream::connect(gateway.admin).await.unwrap();
        let request = "GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n";
        connection.write_all(request.as_bytes()).await.unwrap();
        Self {
            connection,
            text: String::new(),
        }
    }

    /// False at the end.
    async fn read(&mut self) -> bool {
        let mut piece = vec![0; 64 << 10];
        let read = self.connection.read(&mut piece).await.unwrap_or(0);
        self.text.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        read > 0
    }

    /// Reads until there are `times` events of a `name`, and gives the data of the last one.
    async fn expect(&mut self, name: &str, times: usize) -> Value {
        let begin = format!("event: {name}\ndata: ");
        let what = format!("{times} events {name}");
        let last = within(&what, async {
            loop {
                let data = self.text.split(&begin).nth(times);
                if let Some((data, _)) = data.and_then(|data| data.split_once("\n\n")) {
                    return data.to_owned();
                }
                assert!(self.read().await, "the stream ended: {}", self.text);
            }
        });
        serde_json::from_str(&last.await).unwrap()
    }

    async fn end(mut self) -> String {
        within("the end of the stream", async {
            while self.read().await {}
            self.text
        })
        .await
    }
}

#[tokio::test]
async fn events_come_as_they_happen_and_end_with_the_process() {
    let receiver = Receiver::start().await;
    let mut gateway = one_tenant(&receiver).await;
    let mut events = Events::open(&gateway).await;
    let first = events.expect("tenants", 1).await;
    let flow = events.expect("flow", 1).await;
    assert!(
        events.text.contains("content-type: text/event-stream"),
        "{}",
        events.text
    );
    let columns = first["columns"].as_array().unwrap();
    assert_eq!((columns.len(), first["rows"][0].as_array().unwrap().len()), (14, 14));
    assert_eq!(first["seconds"], json!(60.0));
    assert_eq!((&columns[0], &first["rows"][0][0]), (&json!("tenant"), &json!("a")));
    assert!(flow["received"].is_number() && flow["upstreams"].is_object(), "{flow}");

    let sender = gateway.sender().bearer("a-token");
    assert_eq!(sender.request(b"no snappy".to_vec()).send().await.status, 400);
    let refusal = events.expect("refusal", 1).await;
    let expected = json!({
        "tenant": "a", "status": 400, "reason": "snappy", "text": "the body is not snappy in the block format",
    });
    assert_eq!(refusal, expected);
    assert_eq!(gateway.sender().bearer("wrong").write(&small_write()).await.status, 401);
    let stranger = events.expect("refusal", 2).await;
    assert_eq!(
        (&stranger["tenant"], &stranger["reason"]),
        (&Value::Null, &json!("wrong_credential"))
    );
    gateway.reload_tenant(tenant("a").limit("max_active_series", 77)).await;
    let reload = events.expect("reload", 1).await;
    assert_eq!(
        (&reload["cause"], &reload["successful"]),
        (&json!("POST /-/reload"), &json!(true))
    );

    // It goes on where other connections would be idle, and the table is of what is now.
    assert_eq!(sender.write(&small_write()).await.status, 204);
    let row = eventually("a table that has it", async || {
        let times = events.text.matches("event: tenants").count();
        let table = events.expect("tenants", times + 1).await;
        (table["rows"][0][6] == json!(1) && table["rows"][0][13].is_number()).then(|| table["rows"][0].clone())
    })
    .await;
    assert_eq!(
        (&row[7], &row[9], &row[10]),
        (&json!(77), &json!(400), &json!("snappy"))
    );

    gateway.terminate();
    let all = events.end().await;
    assert!(all.ends_with("0\r\n\r\n"), "{all}");
    within("the end of the process", gateway.ended()).await;
}

#[tokio::test]
async fn streams_of_events_are_bounded_and_make_room() {
    let receiver = Receiver::start().await;
    let mut gateway = one_tenant(&receiver).await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let mut stream = Events::open(&gateway).await;
        stream.expect("flow", 1).await;
        streams.push(stream);
    }
    let refused = gateway.admin("GET", "/api/v1/events").await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.text.contains("16 streams"), "{refused:?}");
    drop(streams.pop());
    eventually("a place", async || {
        let mut stream = Events::open(&gateway).await;
        within("an answer", stream.read()).await;
        stream.text.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    // Nobody reads any of them, and the drain does not wait for that.
    gateway.terminate();
    within("the end of the process", gateway.ended()).await;
}

#[tokio::test]
async fn refusals_are_kept_with_who_was_refused_and_without_values() {
    let receiver = Receiver::start().await;
    let a = tenant("a")
        .basic("kazusa", "hunter2")
        .certificate("uri_san", "spiffe://a")
        .limit("max_label_value_length", 10)
        .policy("limits", json!({"samples": {"per_second": 1e-6, "burst": 2}}))
        .set("over_rate", "too_many_requests");
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(a).tenant(tenant("b"))).await;
    let sender = gateway.sender().basic("kazusa", "hunter2");
    let long = write([
        series("up").label("job", "much too secret").sample(1.0, 0),
        series("up").label("job", "short").sample(1.0, 0),
    ]);
    assert_eq!(sender.write(&long).await.status, 400);
    assert_eq!(
        gateway
            .sender()
            .bearer("a-token")
            .write(&write(many("up", 3)))
            .await
            .status,
        429
    );
    // Whoever has neither the password nor a certificate that counts, and says whose it is.
    assert_eq!(
        gateway
            .sender()
            .basic("kazusa", "wrong")
            .write(&small_write())
            .await
            .status,
        401
    );
    let foreign = gateway.sender_with(&Certs::new().client_uri("spiffe://a"));
    foreign
        .request(Vec::new())
        .try_send()
        .await
        .expect_err("the handshake fails");

    let (detail, row) = eventually("the handshake to be told", async || {
        let detail = gateway.api("/api/v1/tenants/a").await;
        let is_told = detail["refusals"].as_array().unwrap().len() == 4;
        let rows = gateway.api("/api/v1/tenants").await;
        is_told.then(|| (detail, rows[0].clone()))
    })
    .await;
    let refusals = &detail["refusals"];
    let order = [
        "tls_unknown_ca",
        "wrong_credential",
        "over_rate",
        "label_value_too_long",
    ];
    let reasons: Vec<&str> = refusals
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, order);
    let of_series = find(refusals, "reason", "label_value_too_long");
    assert_eq!((&of_series["status"], &of_series["tenant"]), (&json!(400), &json!("a")));
    assert_eq!(of_series["identity"], "basic_auth username=kazusa");
    assert_eq!(of_series["series"], "up{job}");
    assert!(
        of_series["text"]
            .as_str()
            .unwrap()
            .contains("1 of 2 series were refused"),
        "{of_series}"
    );
    assert!(!refusals.to_string().contains("secret"), "{refusals}");
    assert!(
        of_series["address"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{of_series}"
    );
    let over_rate = find(refusals, "reason", "over_rate");
    assert_eq!(
        (&over_rate["status"], &over_rate["identity"]),
        (&json!(429), &json!("bearer_token"))
    );
    let wrong = find(refusals, "reason", "wrong_credential");
    assert_eq!(
        (&wrong["tenant"], &wrong["identity"]),
        (&Value::Null, &json!("a password of user kazusa"))
    );
    assert_eq!(
        (&wrong["claimed_tenant"], &of_series["claimed_tenant"]),
        (&json!("a"), &Value::Null)
    );
    let foreign = find(refusals, "reason", "tls_unknown_ca");
    assert_eq!(
        (&foreign["status"], &foreign["claimed_tenant"]),
        (&Value::Null, &json!("a"))
    );
    assert_eq!(
        foreign["text"],
        "the client certificate is signed by an authority that this gateway does not trust"
    );
    assert_eq!(row["last_refusal"]["reason"], "tls_unknown_ca");
    let other = gateway.api("/api/v1/tenants/b").await;
    assert_eq!(
        (&other["refusals"], &other["last_taken_seconds_ago"]),
        (&json!([]), &Value::Null)
    );
    let all = gateway.api("/api/v1/refusals").await;
    assert_eq!(all.as_array().unwrap().len(), 4);

    let limit = find(&detail["use"], "limit", "limits: samples");
    assert_eq!(limit["max"], json!(2.0));
    assert!(limit["use"].as_f64().unwrap() >= 1.0, "{limit}");
    let block = detail["remote_write"].as_str().unwrap();
    assert!(
        block.contains("/api/v1/receive") && block.contains("credentials_file: token"),
        "{block}"
    );
    assert!(
        block.contains("retry_on_http_429: true") && block.contains("ca_file"),
        "{block}"
    );
}
