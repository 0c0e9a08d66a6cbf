//! The example policies, one in each language: every one of them serves fresh writes without a failure, and does what the
//! others do.
//!
//! Takes the committed components, or those of the folder that `GAUNTLET_EXAMPLES` names, one below each folder of a
//! language, which guest-plugins/languages has built there.

use std::path::{Path, PathBuf};

use gauntlet_tests::{Gateway, Receiver, Setup, TimeSeries, series, write};
use serde_json::json;

use crate::tenant;

const WRITES: usize = 1000;

/// Language and component.
fn components() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let Some(folder) = std::env::var_os("GAUNTLET_EXAMPLES") else {
        let built = std::fs::read_dir(root.join("guest-plugins/examples/built")).unwrap();
        let files = built.map(|entry| entry.unwrap().path());
        let files = files.filter(|file| file.extension().is_some_and(|end| end == "wasm"));
        let named = files.map(|file| (file.file_stem().unwrap().to_str().unwrap().to_owned(), file));
        let rust = root.join("policies/plugins/house-rules.wasm");
        return named.chain([("rust".to_owned(), rust)]).collect();
    };
    let folders = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let named = folders.map(|folder| {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        (name, folder.join("my-policy.wasm"))
    });
    named.collect()
}

async fn gateway(component: &Path, main: &Receiver, archive: &Receiver) -> Gateway {
    let settings = json!({"cluster": "setsuna", "kube_upstream": "archive", "samples_per_second": 1e9});
    let a = tenant("a")
        .policy("house-rules", settings)
        .upstreams(&["main", "archive"]);
    let setup = Setup::new()
        .upstream("main", &[main])
        .upstream("archive", &[archive])
        .set("/plugins/house-rules", json!({"file": component}));
    Gateway::start(setup.tenant(a)).await
}

/// Six series that no write before had.
fn fresh(n: usize) -> Vec<TimeSeries> {
    let one = |name: &str| series(name).label("n", &n.to_string()).label("lieu", "Orléans 東京");
    let all = [
        one("go_threads"),
        one("up").label("replica", "0"),
        one("kube_pod_info"),
        series("debug_steps").label("n", &(n % 500).to_string()),
        one("http_requests_total").label("replica", "0"),
        series("http_requests_total")
            .label("m", &n.to_string())
            .label("lieu", "Orléans 東京")
            .label("cluster", "kazusa"),
    ];
    all.into_iter().map(|one| one.sample(1.0, n as i64)).collect()
}

/// What of them arrives at the first upstream.
fn expected(n: usize) -> [String; 4] {
    [
        format!(r#"up{{lieu="Orléans 東京",n="{n}",replica="0"}}"#),
        format!(r#"debug_steps{{n="{}"}}"#, n % 500),
        format!(r#"http_requests_total{{cluster="setsuna",lieu="Orléans 東京",n="{n}"}}"#),
        format!(r#"http_requests_total{{cluster="setsuna",lieu="Orléans 東京",m="{n}"}}"#),
    ]
}

#[tokio::test]
async fn a_policy_in_any_language_serves_fresh_writes_without_a_failure() {
    let components = components();
    assert!(!components.is_empty());
    for (language, component) in components {
        let (main, archive) = (Receiver::start().await, Receiver::start().await);
        let gateway = gateway(&component, &main, &archive).await;
        let sender = gateway.sender().bearer("a-token");
        for n in 0..WRITES {
            let answer = sender.write(&write(fresh(n))).await;
            assert_eq!(
                answer.status,
                204,
                "{language}, write {n}: {answer:?}\n{}",
                gateway.log()
            );
        }
        let texts = |receiver: &Receiver| {
            receiver
                .received()
                .iter()
                .map(|one| one.write.texts())
                .collect::<Vec<_>>()
        };
        let kept: Vec<_> = (0..WRITES).map(|n| expected(n).to_vec()).collect();
        assert_eq!(texts(&main), kept, "{language}");
        let routed: Vec<_> = (0..WRITES)
            .map(|n| vec![format!(r#"kube_pod_info{{lieu="Orléans 東京",n="{n}"}}"#)])
            .collect();
        assert_eq!(texts(&archive), routed, "{language}");
        println!("{language}: {WRITES} fresh writes");
    }
}
