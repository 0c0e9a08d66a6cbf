//! What a terminal is told of a running gateway: `gauntlet top`, `status`, and the demo, which shows the same table.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use gauntlet_tests::setup::sha256;
use gauntlet_tests::{Gateway, Receiver, Setup, eventually};
use serde_json::json;

use crate::tools::{Ended, gauntlet, gauntlet_meanwhile, text};
use crate::{small_write, tenant};

async fn ask(gateway: &Gateway, command: &str, more: &[&str]) -> Ended {
    let url = format!("http://{}", gateway.admin);
    let all = [&[command, "--url", &url], more].concat();
    gauntlet_meanwhile(all.into_iter().map(str::to_owned).collect()).await
}

#[tokio::test]
async fn a_gateway_that_is_well_is_0_and_one_with_something_wrong_is_1_and_says_what() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a"));
    let mut gateway = Gateway::start(setup).await;
    ask(&gateway, "status", &[]).await.with(
        0,
        &[
            "ready      yes",
            "tenants    1 served, 0 broken",
            "upstreams  1, endpoints 1 up, 0 down",
            "all is well",
        ],
    );
    gateway
        .reload(|setup| setup.put_tenant(tenant("b").set("polices", json!([]))))
        .await;
    let told = ask(&gateway, "status", &[])
        .await
        .with(1, &["tenant b is broken, nothing serves it", "b.yaml:"]);
    assert!(told.out.contains("1 thing to look at"), "{}", told.out);
    receiver.stop().await;
    eventually("the endpoint to be passed over", async || {
        gateway.sender().bearer("a-token").write(&small_write()).await;
        let told = ask(&gateway, "status", &["--format", "json"]).await.with(1, &[]).json();
        let wrong = told["wrong"].to_string();
        (wrong.contains("upstream soft: http://") && wrong.contains("nothing listens at its port")).then_some(())
    })
    .await;
    ask(&gateway, "top", &["--once", "--interval", "100ms"]).await.with(
        1,
        &[
            "! tenant b is broken",
            "! upstream soft: http://",
            "broken nothing serves it",
        ],
    );
}

#[tokio::test]
async fn the_table_is_printed_once_where_there_is_no_terminal_and_needs_the_operators_token() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver)
        .set("/admin/bearer_token_sha256", sha256(b"operator"))
        .tenant(tenant("a").policy("limits", json!({"samples": {"per_second": 5, "burst": 1}})))
        .tenant(tenant("quiet"));
    let gateway = Gateway::start(setup).await;
    let file = gateway.setup.folder().join("operator-token");
    fs::write(&file, "operator\n").unwrap();
    let file = text(&file);
    let proved = ["--token-file", &*file, "--interval", "1s"];
    ask(&gateway, "top", &[]).await.with(2, &["401"]);
    ask(&gateway, "status", &["--token-file", &file])
        .await
        .with(0, &["all is well"]);

    let sender = gateway.sender().bearer("a-token");
    let write = small_write();
    let writing = async {
        loop {
            sender.write(&write).await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let ended = tokio::select! {
        ended = ask(&gateway, "top", &proved) => ended,
        () = writing => unreachable!("it goes on"),
    };
    let ended = ended.with(0, &["samples/s: received ", "→ soft ", "tenant ", "last refusal"]);
    assert!(!ended.out.contains('\u{1b}'), "{}", ended.out);
    let rows: Vec<&str> = ended.out.lines().skip(2).collect();
    assert!(
        rows[0].starts_with("a ") && rows[1].starts_with("quiet "),
        "{}",
        ended.out
    );
    let a: Vec<&str> = rows[0].split_whitespace().collect();
    let [received, waiting] = [a[1], a[6]].map(|number| number.parse::<f64>().unwrap());
    assert!(received > waiting && waiting > 0.0, "{}", ended.out);
    assert!(rows[0].contains("over_rate"), "{}", ended.out);
    let only = ask(&gateway, "top", &[&proved[..], &["--search", "QUI"]].concat())
        .await
        .with(0, &["quiet"]);
    assert_eq!(only.out.lines().count(), 3, "{}", only.out);
}

/// Runs a command line on a terminal of 80 by 24 until it has shown `text`, presses `q`; gives all that it showed.
fn on_a_terminal(line: &str, text: &str) -> String {
    let mut command = Command::new("script");
    command.args(["-qec", &format!("stty rows 24 cols 80 && exec {line}"), "/dev/null"]);
    command
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().expect("script is in bsdutils");
    let (mut keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut shown, mut some) = (Vec::new(), [0; 4096]);
    let mut has_pressed = false;
    loop {
        let count = screen.read(&mut some).unwrap();
        shown.extend_from_slice(&some[..count]);
        if count == 0 {
            break;
        }
        if !has_pressed && String::from_utf8_lossy(&shown).contains(text) {
            keys.write_all(b"q").unwrap();
            has_pressed = true;
        }
    }
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(child.wait().unwrap().success(), "{shown}");
    shown
}

#[tokio::test]
async fn a_screen_is_shown_until_q_and_the_terminal_is_given_back() {
    let receiver = Receiver::start().await;
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(tenant("a"))).await;
    let line = format!("{} top --url http://{}", env!("CARGO_BIN_EXE_gauntlet"), gateway.admin);
    let shown = tokio::task::spawn_blocking(move || on_a_terminal(&line, "q quit"))
        .await
        .unwrap();
    let (_, screen) = shown.split_once("\u{1b}[?1049h").expect("another screen");
    let (screen, after) = screen.split_once("\u{1b}[?1049l").expect("the first screen again");
    assert!(screen.contains("tenants 1") && screen.contains("1-1 of 1"), "{screen}");
    assert!(after.contains("\u{1b}[?25h"), "the cursor is shown again: {after:?}");
}

#[test]
fn what_cannot_be_asked_is_2() {
    for command in ["top", "status"] {
        gauntlet(&[command, "--url", "http://127.0.0.1:1"]).with(2, &["http://127.0.0.1:1 did not answer"]);
        gauntlet(&[command, "--url", "127.0.0.1:1"]).with(2, &["such as http://"]);
    }
    gauntlet(&["top", "--interval", "1ms"]).with(2, &["the least is `100ms`"]);
    gauntlet(&["top", "--sort", "colour"]).with(2, &["received", "waiting"]);
}

#[test]
fn a_shell_and_a_manual_are_served() {
    gauntlet(&["completions", "bash"]).with(0, &["complete -F _gauntlet"]);
    gauntlet(&["completions", "zsh"]).with(0, &["#compdef gauntlet"]);
    gauntlet(&["completions", "fish"]).with(0, &["complete -c gauntlet"]);
    gauntlet(&["completions", "tcsh"]).with(2, &["bash"]);
    gauntlet(&["man"]).with(0, &[".TH GAUNTLET", "gauntlet tenant try"]);
}

#[test]
fn a_command_whose_reader_is_gone_ends_without_a_word() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_gauntlet"));
    let ended = command.args(["plugin", "wit"]).stdout(writer).output().unwrap();
    assert_eq!(ended.status.code(), Some(141), "{ended:?}");
    assert_eq!(ended.stderr, b"", "{ended:?}");
}

fn demo(folder: &str, more: &[&str]) -> Ended {
    let fixed = [
        "dev",
        "--duration=5s",
        "--remote-write.listen-address=127.0.0.1:0",
        "--admin.listen-address=127.0.0.1:0",
        "--dir",
        folder,
    ];
    gauntlet(&[&fixed, more].concat())
}

#[test]
fn the_demo_begins_with_its_address_keeps_a_folder_that_was_named_and_tries_a_plugin() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("demo");
    let at = |name: &str| folder.join(name);
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/plugins/relabel.wasm");
    let plugin = text(&plugin);
    let rules = r#"{"relabel_configs": [{"action": "drop", "source_labels": ["__name__"], "regex": "node_.*"}]}"#;
    let ended = demo(&text(&folder), &["--plugin", &plugin, "--settings", rules]).with(
        0,
        &[
            "console    http://127.0.0.1:",
            "tenants/*.yaml",
            " kept ",
            "→ soft-replicated",
            "is kept",
        ],
    );
    let first = ended.out.lines().find(|line| line.contains("://")).unwrap();
    assert!(first.contains("console"), "{}", ended.out);
    for tenant in ["kazusa ", "local ", "setsuna ", "own "] {
        assert!(
            ended.out.lines().any(|line| line.starts_with(tenant)),
            "{tenant}: {}",
            ended.out
        );
    }
    assert!(fs::read_to_string(at("tenants/own.yaml")).unwrap().contains("node_.*"));
    let ca = fs::read_to_string(at("ca.crt")).unwrap();
    fs::write(at("tenants/local.yaml"), "tenant: local\n").unwrap();
    // What was edited and who is trusted are the same the next time; the plugin is not tried any more.
    let ended = demo(&text(&folder), &[]).with(0, &[]);
    assert_eq!(fs::read_to_string(at("tenants/local.yaml")).unwrap(), "tenant: local\n");
    assert_eq!(fs::read_to_string(at("ca.crt")).unwrap(), ca);
    assert!(
        !at("tenants/own.yaml").exists() && !ended.out.contains("\nown "),
        "{}",
        ended.out
    );
    fs::write(at("gauntlet.yaml"), "remote_write: {}\n").unwrap();
    demo(&text(&folder), &[]).with(1, &["choose an empty or a new folder with --dir"]);
    gauntlet(&["dev", "--settings", "{}"]).with(2, &["--plugin"]);
}
