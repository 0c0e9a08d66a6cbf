//! What the documents tell people to write is what the program takes: cases hold, policies and configurations load, and what
//! a command is said to answer it answers.
//!
//! Takes the YAML in fences; puts what is part of a file into one. Whether commands are commands, the command line's own
//! tests know.

use std::fs;
use std::path::{Path, PathBuf};

use gauntlet_tests::certs::Certs;

use crate::tools::{Ended, gauntlet, text};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).unwrap()
}

/// What stands in fences of this language, without what it is indented by.
fn fenced(page: &str, language: &str) -> Vec<String> {
    let (mut found, mut lines) = (Vec::new(), page.lines());
    while let Some(open) = lines.next() {
        let Some(named) = open.trim_start().strip_prefix("```") else {
            continue;
        };
        let indent = open.len() - open.trim_start().len();
        let inside = lines.by_ref().take_while(|line| line.trim() != "```");
        let text: Vec<&str> = inside.map(|line| line.get(indent..).unwrap_or_default()).collect();
        if named == language {
            found.push(text.join("\n") + "\n");
        }
    }
    found
}

/// With the policy that all examples are, as a project in most languages makes it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let policy = fs::read(root().join("guest-plugins/examples/built/c.wasm")).unwrap();
        for name in [
            "my-policy.wasm",
            "no-go.wasm",
            "my-policy/my-policy.wasm",
            "plugins/my-policy.wasm",
        ] {
            folder.write(name, &policy);
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        text(&path)
    }

    /// A gateway with a tenant `kazusa`, of whose file `more` is a part.
    fn tenant(&self, more: &str) -> String {
        let token = "0a".repeat(32);
        let file = format!("tenant: kazusa\ncredentials: [{{bearer_token_sha256: {token}}}]\n{more}");
        self.write("tenants/kazusa.yaml", file);
        self.write(
            "gauntlet.yaml",
            "remote_write: {insecure_http: true}\n\
             upstreams:\n  \
               soft-tenants: {endpoints: [\"http://127.0.0.1:1\"]}\n  \
               soft-replicated: {endpoints: [\"http://127.0.0.1:1\"]}\n\
             plugins:\n  \
               my-policy: {file: plugins/my-policy.wasm}\n  \
               no-go: {file: no-go.wasm}\n\
             tenant_files: [\"tenants/*.yaml\"]\n",
        )
    }
}

const GO_IS_DROPPED: &str = "upstreams: [soft-tenants]\n\
    policies: [{plugin: relabel, settings: {relabel_configs: [{action: drop, source_labels: [__name__], regex: go_.*}]}}]\n";

#[test]
fn the_cases_in_the_pages_hold() {
    for (page_name, count) in [("plugin-tools.md", 2), ("policies/testing.md", 2)] {
        let folder = Folder::new();
        folder.tenant(GO_IS_DROPPED);
        let files = fenced(&page(page_name), "yaml");
        assert_eq!(files.len(), count, "{page_name}");
        for file in files {
            assert!(file.contains("cases:"), "{page_name}: {file}");
            let cases = folder.write("gauntlet-test.yaml", &file);
            let tested = gauntlet(&["plugin", "test", "--cases-only", &cases]);
            tested.with(0, &[" cases, 0 failed"]);
        }
    }
}

#[test]
fn the_policies_in_the_pages_are_taken() {
    let mut seen = 0;
    for name in ["plugins.md", "operators.md", "policies/shipping.md"] {
        for part in fenced(&page(name), "yaml") {
            let policies = match part.split_once("policies:\n") {
                Some((_, own)) if own.trim_start().starts_with('-') => own,
                None if part.starts_with("- plugin:") => &part,
                _ => continue,
            };
            let folder = Folder::new();
            let config = folder.tenant(&format!(
                "upstreams: [soft-tenants, soft-replicated]\npolicies:\n{policies}"
            ));
            gauntlet(&["check", &config]).with(0, &["ok, 1 tenant(s)"]);
            seen += 1;
        }
    }
    assert!(seen >= 6, "the pages were not understood: {seen}");
}

/// Follows the page with everything but a Prometheus.
#[test]
fn whoever_follows_the_quickstart_has_what_it_says() {
    let page = page("quickstart.md");
    let yaml = fenced(&page, "yaml");
    let [main, first, _sender, authority, second, _sender2, rules, plugins, own] = &yaml[..] else {
        panic!("the page has other parts: {yaml:#?}");
    };
    let folder = Folder::new();
    let certs = Certs::new();
    folder.write("tls.crt", &certs.server_pem);
    folder.write("tls.key", &certs.server_key_pem);
    folder.write("ca.crt", &certs.ca_pem);
    folder.write("token", "0a".repeat(32));
    let config = folder.write("gauntlet.yaml", main);
    folder.write("tenants/first.yaml", first);
    let check = || gauntlet(&["check", &config]);
    let says = |tenants| format!("gauntlet.yaml: ok, {tenants} tenant(s)");
    check().with(0, &[&says(1)]);
    assert!(page.contains(&format!("# {}", says(1))));

    let line = main.lines().find(|line| line.contains("tls_server_config")).unwrap();
    let main = main.replace(&format!("{line}\n"), authority);
    folder.write("gauntlet.yaml", &main);
    folder.write("tenants/second.yaml", second);
    check().with(0, &[&says(2)]);

    let answers = fenced(&page, "");
    folder.write("tenants/first.yaml", format!("{first}{rules}"));
    let explained: Ended = gauntlet(&[
        "policy",
        "explain",
        "--config",
        &config,
        "--tenant",
        "first",
        r#"go_goroutines{job="sender"}"#,
        r#"up{job="sender"}"#,
    ]);
    assert_eq!(explained.with(0, &[]).out, answers[0]);
    folder.write("tenants/first.yaml", format!("{first}{rules}").replace("drop", "dorp"));
    check().with(1, &[answers[1].trim()]);

    folder.write("tenants/first.yaml", format!("{first}{rules}"));
    folder.write("tenants/second.yaml", format!("{second}{own}"));
    folder.write("gauntlet.yaml", format!("{main}{plugins}"));
    check().with(0, &[&says(2)]);
}
