//! The reference page and the example files say what the code does.

use std::path::Path;

use super::*;

/// The reference page's blocks of YAML, in order.
fn page() -> (&'static str, Vec<&'static str>) {
    let page = include_str!("../../../../docs/configuration.md");
    (
        page,
        page.split("```yaml\n")
            .skip(1)
            .filter_map(|rest| rest.split_once("```"))
            .map(|(yaml, _)| yaml)
            .collect(),
    )
}

#[test]
fn the_defaults_written_on_the_reference_page_are_the_defaults() {
    let files = [
        ("tls/tls.crt", "crt"),
        ("tls/tls.key", "key"),
        ("tls/client-ca.crt", "ca"),
        ("secrets/kazusa-token", "t"),
    ];
    let folder = Folder::new(&files);
    folder.write("g.yaml", page().1[0]);
    let written = folder.load().map_err(|errors| folder.say(&errors)).unwrap().config;
    folder.write(
        "g.yaml",
        "remote_write: {tls_server_config: {cert_file: tls/tls.crt, key_file: tls/tls.key, client_ca_file: tls/client-ca.crt}}
upstreams: {soft-tenants: {endpoints: ['http://thanos-receiver:19291']}}
tenant_files: [tenants/*.yaml]
",
    );
    folder.write("tenants/kazusa.yaml", page().1[1]);
    let left_out = folder.load().unwrap();
    assert!(left_out.broken.is_empty(), "{:?}", left_out.broken);
    let left_out = left_out.config;
    assert_eq!(written.remote_write, left_out.remote_write);
    assert_eq!(written.admin, left_out.admin);
    assert_eq!(written.upstreams, left_out.upstreams);
    assert_eq!(written.sandbox, left_out.sandbox);
    assert_eq!(written.credential_grace, left_out.credential_grace);

    // Limits and labels show in tenants only.
    let with_tenant = page().1[0].replace("tenants: []", "tenants: [{tenant: a}]");
    folder.write("g.yaml", &with_tenant);
    let written = Arc::clone(&folder.load().unwrap().config.tenants[&tenant("a")]);
    let plain = main_file("tenants: [{tenant: a}]").load().unwrap();
    let left_out = &plain.config.tenants[&tenant("a")];
    assert_eq!(written.limits, left_out.limits);
    assert_eq!(
        (written.over_rate, &written.reserved_labels, written.drop_examples),
        (left_out.over_rate, &left_out.reserved_labels, left_out.drop_examples)
    );
}

#[test]
fn the_reference_page_knows_every_key() {
    let sources = [
        include_str!("../chain.rs"),
        include_str!("../resolve.rs"),
        include_str!("../secret.rs"),
        include_str!("../tenant.rs"),
        include_str!("../traces.rs"),
    ];
    let asked =
        regex::Regex::new(r#"\b(?:field|require|section|duration|size|count|length|boolean|read)\(\s*"([a-z0-9_]+)""#)
            .unwrap();
    let (page, _) = page();
    let keys: Vec<&str> = sources
        .iter()
        .flat_map(|text| asked.captures_iter(text))
        .map(|found| found.extract::<1>().1[0])
        .collect();
    assert!(keys.len() > 60, "{} keys are not all there are", keys.len());
    let word = |key: &str| regex::Regex::new(&format!(r"\b{key}\b")).unwrap();
    let missing: Vec<_> = keys.into_iter().filter(|key| !word(key).is_match(page)).collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn the_reference_example_loads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let folder = Folder::new(&[
        ("g.yaml", &read("deploy/config.example.yaml")),
        ("tls/tls.crt", "crt"),
        ("tls/tls.key", "key"),
        ("tls/client-ca.crt", "ca"),
    ]);
    for name in ["kazusa", "local", "setsuna"] {
        folder.write(
            &format!("tenants/{name}.yaml"),
            &read(&format!("policies/tenants/{name}.yaml")),
        );
    }
    folder.write("secrets/local-token", "token\n");
    let Loaded {
        config,
        broken,
        warnings,
        ..
    } = folder.load().map_err(|errors| folder.say(&errors)).unwrap();
    assert!(broken.is_empty(), "{broken:?}");
    assert_eq!(warnings, [""; 0]);
    assert_eq!(
        config.tenants.keys().map(TenantId::as_str).collect::<Vec<_>>(),
        ["kazusa", "local", "setsuna"]
    );
    assert_eq!(config.tenants[&tenant("kazusa")].upstreams[0], "soft-replicated");
}
