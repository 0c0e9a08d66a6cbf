//! Files of cases: what is read of them, and how mistakes are told.

use super::*;

fn read(text: &str) -> Result<Suite, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.yaml");
    std::fs::write(&file, text).unwrap();
    read_cases(&file).map_err(|errors| {
        errors
            .iter()
            .map(|e| e.to_string().split_once("t.yaml:").unwrap().1.to_owned())
            .collect()
    })
}

#[test]
fn a_file_of_cases_is_read() {
    let text = r#"
policy: {plugin: relabel, settings: {relabel_configs: []}}
cases:
  - series: up{job="x"}
    expect: keep
  - {series: 'a{b="1"}', expect: {drop: why}}
  - series: a
    expect: {edit: 'b', stream: s, budget: {name: n, max_active_series: 3}}
  - write: {new_series: 2, streams: {"": {series: 1}, kube: {series: 2, samples: 3}}}
    expect: {admit: {charges: [{bucket: b, tokens: 0, per_second: 0.5}], routes: {kube: soft}}}
  - settings: {x: 1}
    expect: {error: unknown}
  - series: c
"#;
    let suite = read(text).unwrap();
    let Tested::Plugin {
        plugin,
        settings,
        tenant,
        upstreams,
    } = suite.subject
    else {
        panic!("a plugin")
    };
    assert_eq!(
        (plugin.as_path(), &*settings, tenant.as_str()),
        (Path::new("relabel"), r#"{"relabel_configs":[]}"#, "test")
    );
    assert_eq!(upstreams, ["main"]);
    let expected: Vec<_> = suite.cases.iter().map(|case| case.expect.clone()).collect();
    assert_eq!(expected[0], Some(Expected::Keep));
    assert_eq!(expected[1], Some(Expected::Drop(Some("why".to_owned()))));
    let edited = Expected::Edit {
        labels: Some(parse_series("b").unwrap()),
        stream: Some("s".to_owned()),
        budget: Some(("n".to_owned(), 3)),
    };
    assert_eq!(expected[2], Some(edited));
    let Matter::Write(write) = &suite.cases[3].question else {
        panic!("a write")
    };
    assert_eq!((write.new_series, write.streams[1].1.samples), (2, 3));
    assert!(
        matches!(&expected[3], Some(Expected::Admit { charges: Some(charges), routes: Some(routes) })
        if charges[0].per_second == Some(0.5) && charges[0].burst.is_none() && routes[0].1 == "soft")
    );
    assert_eq!(suite.cases[4].question, Matter::Settings);
    assert_eq!(
        (expected[5].clone(), suite.cases[5].place, suite.cases[0].expect_place),
        (None, (13, 5), Some((5, 5)))
    );
}

#[test]
fn a_mistake_in_a_case_is_told_with_its_place() {
    for (text, error) in [
        ("cases: []", "1:1: `policy` is missing"),
        (
            "policy: {plugin: relabel}\ncases:\n  - series: 'up{'\n",
            "3:13: cases[0].series: line 1, column 4: expected the name of a label",
        ),
        (
            "policy: {plugin: relabel}\ncases:\n  - series: up\n    expect: kep\n",
            "4:13: cases[0].expect: expected one of keep",
        ),
        (
            "policy: {plugin: relabel}\ncases:\n  - series: up\n    expect: admit\n",
            "here one of keep, drop",
        ),
        (
            "policy: {plugin: relabel}\ncases:\n  - {}\n",
            "a case has a `series`, a `write`, or `settings` alone",
        ),
        (
            "policy: {plugin: relabel}\ncases:\n  - {series: up, expected: keep}\n",
            "unknown key `expected`",
        ),
        (
            "policy: {config: g.yaml, tenant: a}\ncases:\n  - {series: up, settings: {}}\n",
            "have their settings in the configuration",
        ),
    ] {
        let errors = read(text).unwrap_err();
        assert!(errors[0].contains(error), "{error:?} is not in {errors:?}");
    }
}

#[test]
fn settings_are_yaml_or_json_and_become_json() {
    assert_eq!(settings_of("a: 1").unwrap(), r#"{"a":1}"#);
    assert_eq!(settings_of(r#"{"a": "b"}"#).unwrap(), r#"{"a":"b"}"#);
    assert!(settings_of("{a: ").unwrap_err().starts_with("line 1"));
}
