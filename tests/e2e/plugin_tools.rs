//! `gauntlet plugin ..`: what authors of policies are told, and how each command ends.
//!
//! Long because a command has one line of tests for each thing it says.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gauntlet_tests::gateway::keeping_nothing;
use gauntlet_tests::{Setup, relabel};
use serde_json::{Value, json};

use crate::tenant;
use crate::tools::{Ended, gauntlet, unreached};

fn fixture(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-plugins/fixtures/built");
    root.join(format!("{name}.wasm")).to_str().unwrap().to_owned()
}

fn plugin(arguments: &[&str]) -> Ended {
    gauntlet(&[&["plugin"], arguments].concat())
}

fn plugin_told(arguments: &[&str], input: &str) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gauntlet"));
    command.arg("plugin").args(arguments);
    let mut child = keeping_nothing(&mut command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap().into()
}

/// A file of cases in a folder of its own.
struct Cases(tempfile::TempDir);

impl Cases {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("gauntlet-test.yaml"), text).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("gauntlet-test.yaml")
    }

    fn test(&self, more: &[&str]) -> Ended {
        plugin(&[&["test", self.file().to_str().unwrap()], more].concat())
    }
}

const DROP_GO: &str = "{relabel_configs: [{action: drop, source_labels: [__name__], regex: go_.*}, \
                       {target_label: cluster, replacement: eu}, {action: labeldrop, regex: replica}]}";

#[test]
fn the_contract_is_written_as_it_is() {
    let contract = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/policy.wit")).unwrap();
    assert_eq!(plugin(&["wit"]).with(0, &[]).out, contract);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/wit");
    plugin(&["wit", "--out", out.to_str().unwrap()]).with(0, &["policy.wit"]);
    assert_eq!(std::fs::read_to_string(out.join("policy.wit")).unwrap(), contract);
}

#[test]
fn a_plugin_is_inspected_whether_or_not_the_gateway_takes_it() {
    let taken = plugin(&["inspect", "route"]);
    taken.with(
        0,
        &[
            "speaks       gauntlet:policy@",
            "configure",
            "compiles in",
            "starts in",
            "takes it with these settings",
        ],
    );
    let refused = plugin(&[
        "inspect",
        "relabel",
        "--settings",
        "{relabel_configs: [{action: no_such}]}",
    ]);
    refused.with(1, &["refuses it: the plugin does not take its settings", "no_such"]);
    let of_network = plugin(&["inspect", &fixture("extra-import")]).with(1, &["imports", "which no policy gets"]);
    assert!(!of_network.out.contains("starts in"), "{}", of_network.out);
    plugin(&["inspect", &fixture("missing-export")])
        .with(1, &["refuses it: the plugin exports neither relabel nor admit"]);
    let said = plugin(&["inspect", "limits", "--format", "json"]).with(0, &[]).json();
    assert_eq!(
        (&said["taken"], &said["fault"], &said["ignored"]),
        (&json!(true), &Value::Null, &json!([]))
    );
    assert_eq!(said["sha256"].as_str().unwrap().len(), 64);
}

#[test]
fn the_bounds_are_those_of_the_configuration() {
    let setup = Setup::new()
        .set("/upstreams/soft", json!({"endpoints": ["http://127.0.0.1:19291"]}))
        .set("/sandbox/memory_limit", "64KiB");
    setup.write();
    let main = setup.main_file();
    plugin(&["inspect", "route", "--config", main.to_str().unwrap()]).with(1, &["refuses it"]);
    plugin(&["inspect", "route", "--config", "no-such.yaml"]).with(2, &["no-such.yaml"]);
}

#[test]
fn a_plugin_is_compiled_once_and_nothing_is_loaded_that_another_may_have_left() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let caches = home.path().join("caches");
    // What compiles under this has not been compiled.
    let strict = unreached()
        .set("/sandbox", json!({"compile_timeout": "1ms"}))
        .tenant(tenant("a").policy("route", json!({"routes": []})));
    strict.write();
    let config = strict.main_file().to_str().unwrap().to_owned();
    let run = |arguments: &[&str]| -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gauntlet"));
        command.args(arguments).env("XDG_CACHE_HOME", &caches);
        command.output().unwrap().into()
    };
    let usual = || run(&["plugin", "run", "route", "up"]).with(0, &["keep"]);
    let finds = |found: bool| match found {
        true => run(&["plugin", "run", "route", "up", "--config", &config]).with(0, &["keep"]),
        false => run(&["plugin", "run", "route", "up", "--config", &config]).with(1, &["could not be compiled within"]),
    };
    finds(false);
    usual();
    finds(true);
    run(&["check", &config]).with(0, &["ok"]);
    run(&["policy", "explain", "--config", &config, "--tenant", "a", "up"]).with(0, &["forwarded as up"]);
    // It tells what compiling takes.
    run(&["plugin", "inspect", "route", "--config", &config]).with(1, &["could not be compiled within"]);

    let folder = caches.join("gauntlet/plugins");
    let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let compiled = files.into_iter().find(|file| file.extension().is_some()).unwrap();
    let mut bytes = std::fs::read(&compiled).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&compiled, bytes).unwrap();
    finds(false);
    usual();
    finds(true);
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o770)).unwrap();
    finds(false);
    usual();
    std::fs::remove_dir_all(&caches).unwrap();
    // Nothing can be kept there, and all goes on.
    std::fs::write(&caches, "").unwrap();
    usual();
    finds(false);
}

#[test]
fn a_core_module_is_told_apart_with_what_makes_a_component_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("core.wasm").to_str().unwrap().to_owned();
    std::fs::write(&module, core_module("relabel", "")).unwrap();
    let told = "is a core WebAssembly module, not a component: `gauntlet plugin build` makes one of it";
    plugin(&["inspect", &module]).with(1, &[told]);
    plugin(&["run", &module, "up"]).with(1, &[told]);
}

#[test]
fn a_wrong_call_is_2() {
    plugin(&["inspect", "no-such.wasm"]).with(2, &["no-such.wasm", "built in are"]);
    plugin(&["run", "route", "up{"]).with(2, &["is no series", "column 4: expected"]);
    plugin(&["run", "route", "up", "--settings", "{a: "]).with(2, &["--settings"]);
    plugin(&["test", "no-such.yaml"]).with(2, &["no-such.yaml"]);
    plugin(&["no-such"]).with(2, &["unrecognized"]);
    plugin(&["build", "no-such"]).with(2, &["no folder and no file"]);
    Cases::new("policy: {plugin: route}\ncases: [{series: up, expected: keep}]\n")
        .test(&[])
        .with(2, &["gauntlet-test.yaml:2", "unknown key `expected`"]);
}

#[test]
fn each_series_is_shown_with_its_verdict_and_what_changed() {
    let ran = plugin(&[
        "run",
        "relabel",
        "--settings",
        DROP_GO,
        "go_threads",
        "up{job=\"x\",replica=\"1\"}",
    ]);
    let expected = "go_threads
  drop: relabel_configs[0]
up{job=\"x\",replica=\"1\"}
  edit
    + cluster=\"eu\"
    - replica=\"1\"
";
    assert_eq!(ran.with(0, &[]).out, expected);
    let scraped = "# HELP up x\nup{cluster=\"eu\"} 1 17\ngo_threads 2\n";
    let told = plugin_told(
        &["run", "relabel", "--batch", "--format=json", "--settings", DROP_GO, "-"],
        scraped,
    );
    let said = told.with(0, &[]).json();
    let verdicts = &said["calls"][0]["verdicts"];
    assert_eq!(
        (&verdicts[0]["verdict"], &verdicts[1]["reason"]),
        (&json!("keep"), &json!("relabel_configs[0]"))
    );
}

#[test]
fn a_write_is_decided_after_its_series() {
    let settings = "{routes: [{match: {team: a}, stream: s, upstream: other}]}";
    let arguments = [
        "run",
        "route",
        "--settings",
        settings,
        "--upstream",
        "main",
        "--upstream",
        "other",
        "up{team=\"a\"}",
    ];
    plugin(&arguments).with(0, &["edit, stream \"s\"", "route stream \"s\" to \"other\""]);
    let charged = plugin(&[
        "run",
        "limits",
        "--settings",
        "{samples: {per_second: 5, burst: 9}}",
        "up",
    ]);
    charged.with(0, &["admit", "charge \"samples\": 1 of a burst of 9, 5 per second"]);
}

#[test]
fn what_a_plugin_prints_is_shown_under_the_series_that_made_it() {
    let ran = plugin(&[
        "run",
        &fixture("hostile"),
        "--settings",
        "{mode: escape-codes, when: loud}",
        "up",
        "a{loud=\"1\"}",
        "b",
    ]);
    let out = ran.with(0, &[]).out;
    let (before, after) = out.split_once("    | info: ").unwrap();
    assert!(
        before.ends_with("a{loud=\"1\"}\n  keep\n") && after.contains("\nb\n  keep\n"),
        "{out}"
    );
    assert!(!out.contains('\u{1b}'), "{out:?}");
}

#[test]
fn a_series_that_a_plugin_fails_on_is_told_and_the_others_go_on() {
    let ran = plugin(&[
        "run",
        &fixture("hostile"),
        "--settings",
        "{mode: trap, when: bad}",
        "a",
        "b{bad=\"1\"}",
        "c",
    ]);
    ran.with(1, &["b{bad=\"1\"}\n  the plugin trapped: ", "c\n  keep"]);
}

#[test]
fn cases_that_hold_are_0() {
    let cases = Cases::new(&format!(
        r#"
policy: {{plugin: relabel, settings: {DROP_GO}}}
cases:
  - series: go_threads
    expect: {{drop: "relabel_configs[0]"}}
  - {{series: go_threads, expect: drop}}
  - series: up{{replica="1"}}
    expect: {{edit: 'up{{cluster="eu"}}'}}
  - series: up{{cluster="eu"}}
    expect: keep
  - settings: {{relabel_configs: [{{action: no_such}}]}}
    expect: {{error: no_such}}
  - settings: {{}}
    expect: ok
  - settings: {{relabel_configs: []}}
    series: go_threads
    expect: keep
"#
    ));
    cases.test(&[]).with(
        0,
        &["7 cases, 0 failed; 5 checks (judges as declared, usual series, pure, packed as plain, hostile series), 0 failed"],
    );
}

#[test]
fn writes_are_cases_too() {
    let cases = Cases::new(
        r#"
policy: {plugin: limits, settings: {samples: {per_second: 5, burst: 900}, request: {series_limit: 10}}}
cases:
  - write: {streams: {"": {series: 1, samples: 7}}}
    expect: {admit: {charges: [{bucket: samples, tokens: 7, per_second: 5, burst: 900}], routes: {}}}
  - write: {streams: {"": {series: 11, samples: 11}}}
    expect: {reject: "series"}
  - write: {streams: {"": {series: 1, samples: 7}}}
    expect: {admit: {charges: [{bucket: samples, tokens: 8}]}}
"#,
    );
    let ended = cases.test(&[]).with(
        1,
        &[
            "3 cases, 1 failed",
            ":8: a write",
            "charge \"samples\" 8",
            "charge \"samples\" 7",
        ],
    );
    assert!(
        ended
            .out
            .contains("pure decisions, inputs as declared, hostile writes), 0 failed"),
        "{}",
        ended.out
    );
}

#[test]
fn a_case_that_does_not_hold_shows_what_came_and_can_take_it_over() {
    let text = format!(
        "policy: {{plugin: relabel, settings: {DROP_GO}}}\ncases:\n  # Kept.\n  - name: which cluster\n    series: up{{job=\"x\"}}\n    expect: {{edit: 'up{{cluster=\"us\",job=\"x\"}}'}}\n  - series: go_threads\n"
    );
    let cases = Cases::new(&text);
    let ended = cases.test(&["--cases-only"]).with(1, &["2 cases, 2 failed; 0 checks"]);
    let shown = ":4: which cluster
  series    up{job=\"x\"}
  expected  edit: up{cluster=\"us\",job=\"x\"}
  came      edit: up{cluster=\"eu\",job=\"x\"}
            ~ cluster=\"us\" -> \"eu\"
";
    assert!(ended.out.contains(shown), "{}", ended.out);
    cases
        .test(&["--cases-only", "--update"])
        .with(0, &["2 cases were written anew"]);
    let updated = std::fs::read_to_string(cases.file()).unwrap();
    let expected = text.replace("\"us\"", "\"eu\"") + "    expect: {drop: 'relabel_configs[0]'}\n";
    assert_eq!(updated, expected);
    cases.test(&["--cases-only"]).with(0, &["2 cases, 0 failed"]);
}

#[test]
fn a_tenants_whole_chain_is_tested_with_the_hosts_checks() {
    let rules = json!([{"action": "drop", "source_labels": ["__name__"], "regex": "go_.*"}]);
    let setup = Setup::new()
        .set("/upstreams/soft", json!({"endpoints": ["http://127.0.0.1:19291"]}))
        .tenant(
            tenant("a")
                .policy("relabel", relabel(rules))
                .set("limits", json!({"max_labels_per_series": 3})),
        )
        .tenant(tenant("b"));
    setup.write();
    let main = setup.main_file();
    let cases = Cases::new(&format!(
        r#"
policy: {{config: {}, tenant: a}}
cases:
  - series: go_threads
    expect: {{drop: "relabel_configs[0]"}}
  - series: up{{tenant_id="b"}}
    expect: {{edit: 'up{{exported_tenant_id="b"}}'}}
  - series: up{{a="1",b="2",c="3"}}
    expect: {{refuse: too_many_labels}}
  - series: '{{job="x"}}'
    expect: {{refuse: missing_metric_name}}
  - series: up
    expect: keep
  - write: {{streams: {{"": {{series: 1}}}}}}
    expect: {{admit: {{charges: [], routes: {{}}}}}}
"#,
        main.display()
    ));
    cases.test(&[]).with(0, &["6 cases, 0 failed; 5 checks"]);
    let none = Cases::new(&format!("policy: {{config: {}, tenant: nobody}}\n", main.display()));
    none.test(&[]).with(2, &["no tenant nobody"]);
}

/// What `plugin test` finds in the impure guest.
fn findings(mode: &str) -> Ended {
    let cases = format!(
        "policy: {{plugin: {}, settings: {{mode: {mode}}}}}\ncases:\n  - {{series: up, expect: keep}}\n",
        fixture("impure")
    );
    Cases::new(&cases).test(&[])
}

#[test]
fn a_plugin_that_is_not_pure_is_found_whatever_its_verdicts_depend_on() {
    findings("none").with(0, &["1 cases, 0 failed; 8 checks", "0 failed"]);
    for (mode, found) in [
        ("by-call-count", "pure: of "),
        ("by-place", "pure: of "),
        ("by-series-before", "pure: of "),
        ("by-age", "after 10,000 other series"),
        ("packed-otherwise", "packed as plain: of "),
        (
            "brittle",
            "hostile series: asked about a value of 4 KiB, the plugin trapped",
        ),
        (
            "undeclared-input",
            "inputs as declared: the decision depends on `new-series`",
        ),
        ("by-write-count", "pure decisions: about a write"),
    ] {
        findings(mode).with(1, &["1 cases, 0 failed", found]);
    }
}

#[test]
fn a_plugin_that_fails_on_a_series_of_the_cases_is_not_called_impure() {
    let cases = format!(
        "policy: {{plugin: {}, settings: {{mode: trap, when: trigger}}}}\ncases:\n  - {{series: 'up{{trigger=\"1\"}}', expect: keep}}\n",
        fixture("hostile")
    );
    let found = "usual series: asked about up{trigger=\"1\"} alone, the plugin trapped";
    let ended = Cases::new(&cases).test(&[]).with(1, &[found]);
    assert!(!ended.out.contains("pure: "), "{}", ended.out);
}

#[test]
fn instructions_are_the_same_every_time() {
    let bench = || {
        plugin(&["bench", "relabel", "--settings", DROP_GO, "--format", "json"])
            .with(0, &[])
            .json()
    };
    let (first, second) = (bench(), bench());
    assert_eq!(first["instructions"], second["instructions"]);
    let per_series = first["instructions"]["series"].as_u64().unwrap();
    assert!((100..100_000).contains(&per_series), "{first}");
    assert!(
        first["series_ns"].as_u64().unwrap() > 0 && first["decision_ns"].is_null(),
        "{first}"
    );
    let decided = plugin(&["bench", "limits", "--settings", "{samples: {per_second: 5}}"]);
    decided.with(0, &["decision", "instructions", "memory"]);
    plugin(&["bench", &fixture("hostile"), "--settings", "{mode: loop}"]).with(
        1,
        &["ran out of the 50ms of processor time that `sandbox.call_timeout` allows a call"],
    );
}

#[test]
fn a_new_project_has_all_it_needs_and_overwrites_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    plugin(&["new", "no-go", "--in", place]).with(0, &["gauntlet plugin build"]);
    let project = folder.path().join("no-go");
    let read = |file: &str| std::fs::read_to_string(project.join(file)).unwrap();
    assert!(read("Cargo.toml").contains("name = \"no-go\""));
    // Whatever the project is called, its type is not called what the SDK has already.
    assert!(read("src/lib.rs").contains("relabel_policy!(MyPolicy)"));
    assert!(read("gauntlet-test.yaml").contains("plugin: no-go.wasm"));
    assert_eq!(read("gauntlet-policy/wit/policy.wit"), plugin(&["wit"]).out);
    plugin(&["new", "no-go", "--in", place]).with(2, &["is there already"]);
    plugin(&["new", "../up", "--in", place]).with(2, &["can be no project's name"]);
    plugin(&["new", "x", "--lang", "cobol"]).with(2, &["rust"]);
    plugin(&["new", "self", "--in", place]).with(2, &["a word of the language"]);
    plugin(&["new", "esbuild", "--lang", "javascript", "--in", place]).with(2, &["projects are made of"]);
    plugin(&["new", "fmt", "--lang", "go", "--in", place]).with(0, &["gauntlet plugin build"]);
    let module = std::fs::read_to_string(folder.path().join("fmt/go.mod")).unwrap();
    assert!(module.starts_with("module policy.example/fmt\n"), "{module}");
    plugin(&["new", "x", "--in", "/nonexistent/place"]).with(2, &["there is no folder /nonexistent/place"]);
}

#[test]
fn a_component_older_than_its_project_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let component = path("old.wasm").to_str().unwrap().to_owned();
    std::fs::copy(fixture("pass"), &component).unwrap();
    std::fs::write(path("Cargo.toml"), "").unwrap();
    std::fs::create_dir(path("src")).unwrap();
    std::fs::write(path("src/lib.rs"), "").unwrap();
    let set = |file: &str, seconds| {
        let file = std::fs::File::options().write(true).open(path(file)).unwrap();
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        file.set_modified(time).unwrap();
    };
    set("old.wasm", 2000);
    set("Cargo.toml", 1000);
    set("src/lib.rs", 1000);
    let told = plugin(&["run", &component, "up"]).with(0, &["keep"]);
    assert_eq!(told.err, "");
    set("src/lib.rs", 3000);
    let told = plugin(&["run", &component, "up"]).with(0, &["keep"]);
    assert!(
        told.err.contains("src/lib.rs: `gauntlet plugin build` makes it anew"),
        "{}",
        told.err
    );
}

#[test]
fn a_compiler_that_is_not_there_is_named_with_how_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let tools = folder.path().join("tools");
    std::fs::create_dir(&tools).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    for tool in ["sh", "dirname"] {
        let found = std::env::split_paths(&path).map(|folder| folder.join(tool));
        let found = found.into_iter().find(|file| file.is_file()).unwrap();
        std::os::unix::fs::symlink(found, tools.join(tool)).unwrap();
    }
    for (language, install) in [
        ("go", "install Go 1.24 or newer"),
        ("javascript", "install Node 20 or newer"),
        ("typescript", "install Node 20 or newer"),
        ("assemblyscript", "install Node 20 or newer"),
        ("python", "install Python 3.10 or newer"),
        ("zig", "apt-get install python3-venv"),
        ("c", "apt-get install clang-19"),
        ("cpp", "apt-get install clang-19"),
    ] {
        let (name, place) = (format!("in-{language}"), folder.path().to_str().unwrap());
        plugin(&["new", &name, "--lang", language, "--in", place]).with(0, &[]);
        let built = Command::new(env!("CARGO_BIN_EXE_gauntlet"))
            .args(["plugin", "build"])
            .arg(folder.path().join(name))
            .env("PATH", &tools)
            .output()
            .unwrap();
        let told = String::from_utf8(built.stderr).unwrap();
        assert!(!built.status.success() && told.contains(install), "{language}: {told}");
    }
}

/// A module as a compiler without bindings leaves it: exports by the names of the canonical ABI, and nothing that says so.
fn core_module(export: &str, imports: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
          {imports}
          (memory (export "memory") 32)
          (global $top (mut i32) (i32.const 65536))
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (local $at i32)
            (local.set $at (global.get $top))
            (global.set $top (i32.add (local.get $at) (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8))))
            (local.get $at))
          (func (export "configure") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 16))
          (func (export "{export}") (param i32 i32) (result i32)
            (global.set $top (i32.const 65536))
            (i32.store (i32.const 68) (i32.const 1048576)) (i32.store (i32.const 72) (local.get 1))
            (i32.const 64)))"#
    );
    wat::parse_str(text).unwrap()
}

#[test]
fn a_core_module_becomes_a_component_that_the_gateway_takes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (module, component) = (path("core.wasm"), path("policy.wasm"));
    let wasi = r#"(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))"#;
    for imports in ["", wasi] {
        std::fs::write(&module, core_module("relabel", imports)).unwrap();
        let said = plugin(&["build", &module, "--out", &component]).with(0, &[]).out;
        let bytes = std::fs::metadata(&component).unwrap().len();
        assert_eq!(said, format!("made {component}, a component of {bytes} bytes\n"));
        let quiet = plugin(&["build", &module, "--out", &component, "--quiet"]).with(0, &[]);
        assert_eq!(quiet.out, "");
        plugin(&["run", &component, "up{a=\"1\"}"]).with(0, &["up{a=\"1\"}\n  keep"]);
    }
    std::fs::write(&module, core_module("judge", "")).unwrap();
    plugin(&["build", &module]).with(1, &["exports neither `relabel` nor `admit`"]);
    plugin(&["build", &component, "--out", &module]).with(1, &["is a component already"]);
    plugin(&["build", &folder.path().to_string_lossy()]).with(2, &["it is no project"]);
}

#[test]
fn a_projects_own_build_is_run_and_finds_this_program() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("build");
    let write = |text: &str| {
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    std::fs::write(folder.path().join("core.wasm"), core_module("relabel", "")).unwrap();
    write("#!/bin/sh\nset -eu\ngauntlet plugin build core.wasm --out built.wasm\n");
    std::fs::copy(fixture("pass"), folder.path().join("old.wasm")).unwrap();
    let built = plugin(&["build", &folder.path().to_string_lossy()]).with(0, &["built.wasm"]);
    let bytes = std::fs::metadata(folder.path().join("built.wasm")).unwrap().len();
    // The last word is the same in every language.
    let last = format!("built.wasm, a component of {bytes} bytes\n");
    assert!(
        built.out.ends_with(&last) && !built.out.contains("old.wasm"),
        "{}",
        built.out
    );
    write("#!/bin/sh\nset -eu\n$COMPONENTIZE core.wasm --out built.wasm\n");
    let built = plugin(&["build", &folder.path().to_string_lossy()]).with(0, &[]);
    assert_eq!(built.out.lines().count(), 1, "{}", built.out);
    write("#!/bin/sh\n");
    plugin(&["build", &folder.path().to_string_lossy()]).with(0, &["ended well", "no component"]);
    write("#!/bin/sh\necho 'apt-get install what-is-missing' >&2\nexit 1\n");
    plugin(&["build", &folder.path().to_string_lossy()]).with(1, &["apt-get install what-is-missing", "failed"]);
}
