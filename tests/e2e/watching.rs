//! `gauntlet plugin test --watch`: what is changed is tested again, however an editor or a compiler changes it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, UNIX_EPOCH};

const CASES: &str = "policy: {plugin: policy.wasm}\ncases:\n  - series: up\n    expect: keep\n";
/// For a debug build that compiles a plugin while other tests run.
const PATIENCE: Duration = Duration::from_secs(120);

struct Watching {
    child: Child,
    lines: Receiver<String>,
}

impl Watching {
    fn start(file: &Path) -> Self {
        // Both through one pipe, in the order in which they are told; and with an interrupt that means something, which it
        // does not to what a shell started in the background.
        let exec = r#"exec env --default-signal=INT "$0" "$@" 2>&1"#;
        let mut child = Command::new("sh")
            .args(["-c", exec, env!("CARGO_BIN_EXE_gauntlet")])
            .args(["plugin", "test", "--cases-only", "--watch"])
            .arg(file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let told = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn(move || {
            let mut told = told.map_while(Result::ok);
            while told.next().is_some_and(|line| sender.send(line).is_ok()) {}
        });
        Self { child, lines }
    }

    /// All that is told until it waits for a change.
    fn told(&self) -> String {
        let mut told = String::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|error| panic!("{error} after:\n{told}"));
            told.push_str(&line);
            told.push('\n');
            if line.starts_with("waiting for a change of ") {
                return told;
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn built(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../guest-plugins/fixtures/built/{name}.wasm"))
}

/// As editors and compilers do it: under another name first. With a time of long ago, as one that was kept has.
fn replace(file: &Path, with: &[u8]) {
    let new = file.with_extension("new");
    fs::write(&new, with).unwrap();
    let opened = fs::File::options().write(true).open(&new).unwrap();
    opened.set_modified(UNIX_EPOCH).unwrap();
    fs::rename(new, file).unwrap();
}

#[test]
fn what_is_changed_replaced_or_back_is_tested_again_until_it_is_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let (cases, policy) = (folder.path().join("cases.yaml"), folder.path().join("policy.wasm"));
    fs::write(&cases, CASES).unwrap();
    let mut watching = Watching::start(&cases);
    let expect = |watching: &Watching, part: &str| {
        let told = watching.told();
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    };
    expect(&watching, "cannot read the plugin");
    // What is no component is watched as well.
    fs::write(&policy, "half a comp").unwrap();
    expect(&watching, "the gateway refuses the plugin policy");
    replace(&policy, &fs::read(built("pass")).unwrap());
    expect(&watching, "1 cases, 0 failed");
    fs::write(&cases, CASES.replace("keep", "drop")).unwrap();
    expect(&watching, "1 cases, 1 failed");
    fs::write(&cases, "policy: [").unwrap();
    expect(&watching, "gauntlet: ");
    fs::remove_file(&cases).unwrap();
    replace(&cases, CASES.as_bytes());
    expect(&watching, "1 cases, 0 failed");
    replace(&policy, &fs::read(built("missing-export")).unwrap());
    expect(&watching, "the gateway refuses the plugin policy: it exports neither");

    let interrupt = format!("kill -INT {}", watching.child.id());
    assert!(Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
    assert_eq!(watching.child.wait().unwrap().signal(), Some(2));
}

#[test]
fn a_source_that_changes_is_built_and_tested_again_and_a_compiler_that_fails_is_heard() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("cases.yaml"), CASES).unwrap();
    // Its source says which component it makes; it leaves a file behind, as bundlers do.
    let script = r#"#!/bin/sh
set -eu
cd "$(dirname "$0")"
echo compiling
cp policy.c bundle.js
cp "$(cat policy.c)" policy.wasm || { echo "policy.c:1: error: no such thing" >&2; exit 1; }
"#;
    fs::write(path("build"), script).unwrap();
    fs::set_permissions(path("build"), fs::Permissions::from_mode(0o755)).unwrap();
    let source = |text: &str| fs::write(path("policy.c"), text).unwrap();
    source(built("pass").to_str().unwrap());
    let watching = Watching::start(&path("cases.yaml"));
    let told = watching.told();
    let (made, tested) = (told.find("policy.wasm, a component of"), told.find("1 cases, 0 failed"));
    assert!(made.is_some() && made < tested, "{told}");
    let sources = format!("the sources in {}", folder.path().display());
    assert!(told.contains(&sources), "{told}");
    source("nothing");
    let told = watching.told();
    assert!(told.contains("policy.c:1: error: no such thing"), "{told}");
    assert!(!told.contains("cases,"), "nothing new is there to be tested: {told}");
    source(built("missing-export").to_str().unwrap());
    let told = watching.told();
    assert!(told.contains("it exports neither"), "{told}");
}
