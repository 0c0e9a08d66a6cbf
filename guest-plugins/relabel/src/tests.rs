//! Everything the real Prometheus was asked (tests/relabel-vectors), asked here.

use gauntlet_policy::{Context, Label, Policy, Relabel, Series, Verdict};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{RelabelConfigs, unicode};

#[derive(Deserialize)]
struct Vectors {
    /// What `patterns` writes for a match.
    template: String,
    rules: Vec<RuleCase>,
    patterns: Vec<PatternCase>,
    /// A text, in lower and in upper case.
    case: Vec<[String; 3]>,
}

#[derive(Deserialize)]
struct RuleCase {
    /// As written: no number, key order or duplicate may be lost on the way.
    rules: Box<RawValue>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    series: Vec<Judged>,
}

/// Names and values in turn; no `out`: dropped.
#[derive(Deserialize)]
struct Judged {
    r#in: Vec<String>,
    out: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct PatternCase {
    pattern: String,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    texts: Vec<(String, Option<String>)>,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../testdata/vectors.json")).unwrap()
}

fn context() -> Context {
    Context::new("kazusa", &["soft"])
}

fn configure(rules: &str) -> Result<RelabelConfigs, String> {
    RelabelConfigs::configure(&format!(r#"{{"relabel_configs": {rules}}}"#), &context())
}

/// The labels that are left, sorted, and whether the verdict says that they changed; none: dropped.
fn relabel(policy: &RelabelConfigs, labels: Vec<Label>) -> Option<(Vec<Label>, bool)> {
    let mut series = Series::new(labels.clone());
    let fate = policy.relabel(&mut series);
    let (mut labels, changed) = match series.judge(fate) {
        Verdict::Keep => (labels, false),
        Verdict::Drop(_) => return None,
        Verdict::Edit(edit) => (edit.labels.unwrap(), true),
    };
    labels.sort_by(|a, b| a.name.cmp(&b.name));
    Some((labels, changed))
}

fn labels(pairs: &[String]) -> Vec<Label> {
    pairs
        .chunks(2)
        .map(|pair| Label {
            name: pair[0].clone(),
            value: pair[1].clone(),
        })
        .collect()
}

/// Both refuse, and for the same reason where the reason is not the YAML reader's.
fn same_refusal(wanted: &str, refused: Result<RelabelConfigs, String>) -> Result<(), String> {
    match refused {
        Ok(_) => Err(format!("accepted, Prometheus says {wanted}")),
        Err(_) if wanted.starts_with("yaml:") || wanted.contains("is not a valid label name") => Ok(()),
        Err(error) if error.contains(wanted) => Ok(()),
        Err(error) => Err(format!("refused with {error}, Prometheus says {wanted}")),
    }
}

fn check_rules(case: &RuleCase) -> Result<(), String> {
    let policy = configure(case.rules.get());
    if let Some(wanted) = &case.error {
        return same_refusal(wanted, policy);
    }
    let policy = policy?;
    for series in &case.series {
        let mut before = labels(&series.r#in);
        let after = relabel(&policy, before.clone());
        before.sort_by(|a, b| a.name.cmp(&b.name));
        let wanted = series.out.as_deref().map(labels).map(|wanted| {
            let changed = wanted != before;
            (wanted, changed)
        });
        if after != wanted {
            return Err(format!("{:?}: got {after:?}, Prometheus {wanted:?}", series.r#in));
        }
    }
    Ok(())
}

fn check_pattern(case: &PatternCase, template: &str) -> Result<(), String> {
    let rule = serde_json::json!([{
        "source_labels": ["x"], "regex": case.pattern, "target_label": "y", "replacement": template,
    }]);
    let policy = configure(&rule.to_string());
    if let Some(wanted) = &case.error {
        return same_refusal(wanted, policy);
    }
    let policy = policy?;
    for (text, wanted) in &case.texts {
        let (after, _) = relabel(
            &policy,
            vec![Label {
                name: "x".to_owned(),
                value: text.clone(),
            }],
        )
        .unwrap();
        let got = after
            .into_iter()
            .find(|label| label.name == "y")
            .map(|label| label.value);
        if got != *wanted {
            return Err(format!("{text:?}: got {got:?}, Prometheus {wanted:?}"));
        }
    }
    Ok(())
}

fn report(failures: Vec<String>, of: usize) {
    assert!(of > 0, "there are no vectors");
    assert!(
        failures.is_empty(),
        "{} of {of} differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn rules_do_what_prometheus_does() {
    let cases = vectors().rules;
    let failed = |case: &RuleCase| check_rules(case).err().map(|error| format!("{}: {error}", case.rules));
    report(cases.iter().filter_map(failed).collect(), cases.len());
}

#[test]
fn patterns_match_as_in_prometheus() {
    let Vectors {
        patterns: cases,
        template,
        ..
    } = vectors();
    let failed = |case: &PatternCase| {
        check_pattern(case, &template)
            .err()
            .map(|error| format!("{:?}: {error}", case.pattern))
    };
    report(cases.iter().filter_map(failed).collect(), cases.len());
}

#[test]
fn case_is_mapped_as_in_prometheus() {
    let cases = vectors().case;
    let failed = |[text, lower, upper]: &[String; 3]| {
        let got = (unicode::to_lower(text), unicode::to_upper(text));
        (got != (lower.clone(), upper.clone())).then(|| format!("{text}: {got:?}"))
    };
    report(cases.iter().filter_map(failed).collect(), cases.len());
}

#[test]
fn a_drop_names_its_rule() {
    let policy = configure(r#"[{"target_label": "x"}, {"source_labels": ["a"], "regex": "1", "action": "drop"}]"#);
    let policy = policy.unwrap();
    let mut series = Series::new(vec![Label {
        name: "a".to_owned(),
        value: "1".to_owned(),
    }]);
    let fate = policy.relabel(&mut series);
    assert_eq!(series.judge(fate), Verdict::Drop("relabel_configs[1]".to_owned()));
}

#[test]
fn unknown_keys_name_the_nearest() {
    for (settings, reason) in [
        (
            r#"{"relabel_config": []}"#,
            "unknown key `relabel_config`, did you mean `relabel_configs`?",
        ),
        (
            r#"{"relabel_configs": [{"regexp": "a"}]}"#,
            "unknown key `relabel_configs[0].regexp`, did you mean `regex`?",
        ),
        (
            r#"{"relabel_configs": [{"action": "droop"}]}"#,
            "unknown relabel action \"droop\", did you mean `drop`?",
        ),
        (
            r#"{"relabel_configs": [{"regex": 1.10}]}"#,
            "relabel_configs[0].regex must be a string, put it in quotes",
        ),
    ] {
        let error = RelabelConfigs::configure(settings, &context())
            .err()
            .unwrap_or_default();
        assert!(error.contains(reason), "{settings}: {error}");
    }
}
