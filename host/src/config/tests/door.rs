//! Paths of an operator's choosing: what is taken, and what is told about those that are not.

use super::*;

/// What is told about `paths`, without the place.
fn told(paths: &str) -> Vec<String> {
    let text = PLAIN.replace("insecure_http: true", &format!("insecure_http: true, paths: {paths}"));
    let folder = Folder::new(&[("g.yaml", &text)]);
    let errors = folder.load().err().unwrap_or_default();
    errors
        .iter()
        .map(|error| format!("{}: {}", error.key, error.message))
        .collect()
}

#[test]
fn a_path_means_one_thing() {
    let no_path = "expected a path such as `/prometheus/write`, without a query";
    let taken = "this path is the operators' or for health checks; choose another";
    let is_tenants = "`/api/metrics/v1/..` is where a path names a tenant";
    for (paths, fault) in [
        ("[write]", no_path),
        ("['/a?b']", no_path),
        ("['/a b']", no_path),
        (
            "[/a/../b]",
            "a path with `.` or `..` in it is another one to whoever stands in front",
        ),
        (
            "[/api/v1/push]",
            "`/api/v1/push` takes writes in any case; leave it out",
        ),
        ("[/api/metrics/v1/a/write]", is_tenants),
        ("[/-/ready]", taken),
        ("[/metrics]", taken),
        ("[/api/v1/tenants/a]", taken),
    ] {
        assert_eq!(told(paths), [format!("remote_write.paths[0]: {fault}")], "{paths}");
    }
    assert_eq!(told("[/a, /a]"), ["remote_write.paths[1]: `/a` is listed twice"]);
    let many: Vec<String> = (0..17).map(|n| format!("/{n}")).collect();
    assert_eq!(
        told(&format!("[{}]", many.join(", "))),
        ["remote_write.paths: 17 paths are listed, and there may be at most 16"]
    );
    assert_eq!(told("[/, /prometheus/api/v1/write, /api/v1/tenants2]"), [""; 0]);
}

#[test]
fn a_grace_has_a_unit_or_is_none() {
    for (written, grace) in [("0", 0), ("0s", 0), ("2m", 120)] {
        let config = Folder::new(&[("g.yaml", &format!("{PLAIN}credential_grace: {written}\n"))]);
        let config = config.load().unwrap().config;
        assert_eq!(config.credential_grace, Duration::from_secs(grace), "{written}");
    }
    let folder = Folder::new(&[("g.yaml", &format!("{PLAIN}credential_grace: 5\n"))]);
    let told = folder.say(&folder.load().unwrap_err());
    assert!(told.contains("credential_grace: expected a duration"), "{told}");
}
