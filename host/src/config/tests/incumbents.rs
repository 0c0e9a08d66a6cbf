//! Newcomers that claim what serves, and files that are gone.

use std::collections::BTreeSet;

use super::*;

/// A folder of these tenant files, and what serves of it.
fn serving(files: &[(&str, &str)]) -> (Folder, Incumbents) {
    let folder = main_file("tenant_files: ['t/*.yaml']\n");
    for (name, text) in files {
        folder.write(&format!("t/{name}.yaml"), text);
    }
    let Loaded { config, found, .. } = folder.load().unwrap();
    (folder, Incumbents::new(config.tenants, found.patterns, found.files))
}

fn has(id: &str, name: &str) -> String {
    format!("tenant: {id}\ncredentials:\n  - {{client_certificate: {{dns_san: {name}}}}}\n")
}

fn again(folder: &Folder, incumbents: &Incumbents) -> Result<Loaded, Vec<ConfigError>> {
    attempt(&folder.path("g.yaml"), &mut Known::default(), incumbents).0
}

/// The files of those that serve and what is told of the others.
fn told(folder: &Folder, incumbents: &Incumbents) -> (Vec<String>, String) {
    let Loaded { config, broken, .. } = again(folder, incumbents).unwrap();
    let file = |tenant: &Arc<Tenant>| tenant.file.file_name().unwrap().to_string_lossy().into_owned();
    let errors: Vec<ConfigError> = broken.into_iter().flat_map(|broken| broken.errors).collect();
    (config.tenants.values().map(file).collect(), folder.say(&errors))
}

#[test]
fn a_newcomer_that_sorts_first_does_not_take_a_tenant_over() {
    let (folder, incumbents) = serving(&[("b", &has("b", "b"))]);
    folder.write("t/a-new.yaml", &has("b", "thief"));
    let (files, errors) = told(&folder, &incumbents);
    assert_eq!(files, ["b.yaml"]);
    assert_eq!(
        errors,
        "t/a-new.yaml: tenant: tenant `b` is written in t/b.yaml already, which is the one that counts\n"
    );
    // Nor while the incumbent's file says nothing, not even whose it is.
    for text in ["tenant: b\ncredentials: [", "", "\t"] {
        folder.write("t/b.yaml", text);
        let Loaded { config, broken, .. } = again(&folder, &incumbents).unwrap();
        assert!(config.tenants.is_empty(), "{text:?}");
        let of: Vec<_> = broken
            .iter()
            .map(|broken| broken.tenant.as_ref().map(TenantId::as_str))
            .collect();
        assert_eq!(of, [Some("b"), Some("b")], "{text:?}");
    }
}

#[test]
fn a_renamed_file_is_no_newcomer() {
    let (folder, incumbents) = serving(&[("b", &has("b", "b"))]);
    fs::rename(folder.path("t/b.yaml"), folder.path("t/a.yaml")).unwrap();
    assert_eq!(told(&folder, &incumbents), (vec!["a.yaml".to_owned()], String::new()));
}

#[test]
fn a_newcomer_that_claims_a_credential_in_use_is_broken_alone() {
    let (folder, incumbents) = serving(&[("b", &has("b", "x")), ("c", &has("c", "c"))]);
    folder.write("t/a.yaml", &has("a", "x"));
    let taken = "t/a.yaml:3:5: credentials[0]: the same credential belongs to tenant `b` (t/b.yaml), which is served \
                 with it; this tenant is not served until one gives it up\n";
    let (files, errors) = told(&folder, &incumbents);
    assert_eq!(
        (files, errors.as_str()),
        (vec!["b.yaml".to_owned(), "c.yaml".to_owned()], taken)
    );
    // Also one that served with another before.
    folder.write("t/c.yaml", &has("c", "x"));
    let (files, errors) = told(&folder, &incumbents);
    assert_eq!(files, ["b.yaml"]);
    assert_eq!(errors, [taken, &taken.replace("t/a.yaml", "t/c.yaml")].concat());
    // Given up on purpose, it is free.
    folder.write("t/b.yaml", &has("b", "y"));
    folder.write("t/c.yaml", &has("c", "c"));
    folder.write("t/b-copy.yaml", "tenant: b\n\t");
    assert_eq!(told(&folder, &incumbents).0.len(), 3);
}

#[test]
fn a_file_that_cannot_be_read_or_is_gone_gives_no_credential_up() {
    let (folder, incumbents) = serving(&[("b", &has("b", "x")), ("c", &has("c", "c"))]);
    folder.write("t/a.yaml", &has("a", "x"));
    folder.write("t/b.yaml", "\t");
    assert_eq!(told(&folder, &incumbents).0, ["c.yaml"]);
    fs::remove_file(folder.path("t/b.yaml")).unwrap();
    let loaded = again(&folder, &incumbents).unwrap();
    assert_eq!(loaded.found.missing, BTreeSet::from([folder.path("t/b.yaml")]));
    assert!(loaded.broken[0].errors[0].message.contains("belongs to tenant `b`"));
    // Where nobody misses the file, it is.
    let asked = Incumbents::new(
        again(&folder, &incumbents).unwrap().config.tenants,
        BTreeSet::new(),
        BTreeSet::new(),
    );
    assert_eq!(
        told(&folder, &asked),
        (vec!["a.yaml".to_owned(), "c.yaml".to_owned()], String::new())
    );
}

#[test]
fn a_pattern_that_matched_and_matches_nothing_is_a_mistake() {
    let (folder, incumbents) = serving(&[("a", &has("a", "a"))]);
    fs::remove_file(folder.path("t/a.yaml")).unwrap();
    assert_eq!(
        folder.say(&again(&folder, &incumbents).unwrap_err()),
        "g.yaml:3:16: tenant_files[0]: this pattern matched files before and matches none now, which is not taken for a \
         wish to remove these tenants; to remove them, remove the pattern\n"
    );
    let at_start = folder.load().unwrap();
    assert_eq!(at_start.warnings.len(), 2);
    // Taken out of the main file, which says so.
    folder.write("g.yaml", PLAIN);
    assert!(again(&folder, &incumbents).unwrap().config.tenants.is_empty());
}

#[test]
fn a_file_that_the_main_file_names_no_more_is_not_missing() {
    let (folder, incumbents) = serving(&[("a", &has("a", "a")), ("b", &has("b", "b"))]);
    folder.write("g.yaml", &format!("{PLAIN}tenant_files: ['t/a.yaml']\n"));
    let loaded = again(&folder, &incumbents).unwrap();
    assert_eq!((loaded.config.tenants.len(), loaded.found.missing.len()), (1, 0));
}
