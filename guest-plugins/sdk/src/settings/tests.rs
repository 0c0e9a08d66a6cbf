//! What an operator reads who mistyped settings, and what reaches the author's types.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::settings;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Everything {
    #[serde(default)]
    whole: u64,
    small: Option<u8>,
    signed: Option<i64>,
    rate: Option<f64>,
    text: Option<String>,
    truth: Option<bool>,
    mode: Option<Mode>,
    pair: Option<(u64, String)>,
    #[serde(default)]
    list: Vec<Inner>,
    #[serde(default)]
    named: BTreeMap<String, Inner>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inner {
    per_second: u64,
    burst: Option<u64>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Hash,
    Cut { bits: u8 },
    Keep(String),
}

fn read(text: &str) -> Everything {
    settings(text).unwrap()
}

fn refusal(text: &str) -> String {
    settings::<Everything>(text).expect_err(text)
}

#[test]
fn every_kind_of_value_is_read() {
    let text = r#" {"whole": 18446744073709551615, "small": 255, "signed": -9223372036854775808, "rate": 1e12,
        "text": "x\n\u00e9\ud83d\ude00", "truth": true, "mode": {"cut": {"bits": 64}}, "pair": [1, "a"],
        "list": [{"per_second": 1}, {"per_second": 2, "burst": null}], "named": {"z.y": {"per_second": 3, "burst": 4}}} "#;
    let inner = |per_second, burst| Inner { per_second, burst };
    let wanted = Everything {
        whole: u64::MAX,
        small: Some(255),
        signed: Some(i64::MIN),
        rate: Some(1e12),
        text: Some("x\né😀".to_owned()),
        truth: Some(true),
        mode: Some(Mode::Cut { bits: 64 }),
        pair: Some((1, "a".to_owned())),
        list: vec![inner(1, None), inner(2, None)],
        named: BTreeMap::from([("z.y".to_owned(), inner(3, Some(4)))]),
    };
    assert_eq!(read(text), wanted);
    assert_eq!(read(r#"{"mode": "hash"}"#).mode, Some(Mode::Hash));
    assert_eq!(
        read(r#"{"mode": {"keep": "a"}}"#).mode,
        Some(Mode::Keep("a".to_owned()))
    );
    assert_eq!(read(r#"{"rate": 7}"#).rate, Some(7.0));
    assert_eq!(read(r#"{"signed": 7}"#).signed, Some(7));
}

#[test]
fn what_is_not_json_is_refused() {
    for text in [
        "",
        "{",
        "[1,]",
        "{\"whole\":1,}",
        "{whole:1}",
        "{\"whole\":01}",
        "{} {}",
        "{\"text\":\"\\x\"}",
        "{\"text\":\"\\ud800\"}",
        "{\"text\":\"a",
        "{\"rate\":+1}",
        "{\"rate\":1e999}",
        "nul",
    ] {
        let error = refusal(text);
        assert!(error.starts_with("settings are not JSON: "), "{text}: {error}");
    }
    assert!(refusal(&"[".repeat(100_000)).contains("recursion limit"));
}

#[test]
fn unknown_names_are_told_with_the_nearest() {
    for (text, wanted) in [
        (r#"{"wohle": 1}"#, "unknown key `wohle`, did you mean `whole`?"),
        (
            r#"{"named": {"a": {"per_secnd": 1}}}"#,
            "unknown key `named.a.per_secnd`, did you mean `per_second`?",
        ),
        (
            r#"{"list": [{"per_second": 1}, {"elsewhere": 1}]}"#,
            "unknown key `list[1].elsewhere`; known are per_second, burst",
        ),
        (r#"{"mode": "hsh"}"#, "mode: unknown value `hsh`, did you mean `hash`?"),
        (
            r#"{"mode": "elsewhere"}"#,
            "mode: unknown value `elsewhere`; known are hash, cut, keep",
        ),
    ] {
        assert_eq!(refusal(text), wanted, "{text}");
    }
}

#[test]
fn wrong_values_are_told_with_their_place_and_never_quoted() {
    for (text, wanted) in [
        ("[]", "settings must be a mapping, not a list"),
        ("null", "settings must be a mapping, not null"),
        (r#"{"whole": "many"}"#, "whole must be a whole number, not a string"),
        (
            r#"{"whole": -1}"#,
            "whole must be a whole number, not a negative number",
        ),
        (
            r#"{"whole": 1.5}"#,
            "whole must be a whole number, not a number with a point or an exponent",
        ),
        (r#"{"whole": null}"#, "whole must be a whole number, not null"),
        (r#"{"small": 256}"#, "small must be u8"),
        (r#"{"rate": "1"}"#, "rate must be a number, not a string"),
        (r#"{"text": 1234567}"#, "text must be a string, not a number"),
        (r#"{"truth": "yes"}"#, "truth must be true or false, not a string"),
        (r#"{"mode": 7}"#, "mode must be a name, not a number"),
        (
            r#"{"mode": {"cut": {"bits": "x"}}}"#,
            "mode.cut.bits must be a whole number, not a string",
        ),
        (r#"{"list": {}}"#, "list must be a list, not a mapping"),
        (r#"{"list": [[1, 2]]}"#, "list[0] must be a mapping, not a list"),
        (r#"{"list": [{"burst": 1}]}"#, "list[0].per_second is missing"),
        (r#"{"pair": [1, "a", 2]}"#, "pair[2] is one item too many"),
        (r#"{"whole": 1, "whole": 1}"#, "whole is given twice"),
        (
            r#"{"named": {"a": {"per_second": 1}, "a": {"per_second": 2}}}"#,
            "named.a is given twice",
        ),
    ] {
        assert_eq!(refusal(text), wanted, "{text}");
    }
}
