//! What is wrong with a gateway, in sentences.
//!
//! Takes what it said, gives a line for each thing to look at, worst first; an empty list is a gateway that is well. Texts of
//! others (receivers, plugins, files) are made plain and cut.

use super::reading::Reading;
use super::seen::{PolicySeen, StatusSeen, UpstreamSeen};
use crate::model::plain;

/// Longest line, in bytes.
const MAX_SHOWN: usize = 500;

/// What is wrong, a line each.
pub fn alarms(status: &StatusSeen, upstreams: &[UpstreamSeen], policies: &[PolicySeen]) -> Vec<String> {
    let mut lines = Vec::new();
    if !status.ready {
        lines.push("the gateway is not ready: it has not begun to serve, or drains".to_owned());
    }
    let reload = &status.last_reload;
    let errors = reload.errors.iter().chain(&reload.plugin_errors);
    lines.extend(errors.map(|error| format!("the last reload is not in use: {error}")));
    lines.extend(status.broken_tenants.iter().map(|broken| {
        let tenant = broken.tenant.as_deref().unwrap_or(&broken.file);
        let serving = match broken.serving_generation {
            Some(number) => format!("generation {number} still serves"),
            None => "nothing serves it".to_owned(),
        };
        format!("tenant {tenant} is broken, {serving}: {}", broken.error)
    }));
    lines.extend(
        status
            .went_back
            .iter()
            .map(|back| format!("tenant {} went back to its policies before: {}", back.tenant, back.why)),
    );
    lines.extend(policies.iter().filter_map(ailing));
    lines.extend(upstreams.iter().flat_map(down));
    lines.iter().map(|line| plain(line, MAX_SHOWN)).collect()
}

/// The same of a reading, where policies are known by what is counted of them.
pub(super) fn of_reading(reading: &Reading) -> Vec<String> {
    let quarantined = reading.counts.quarantined.iter().map(|(tenant, policy)| PolicySeen {
        tenant: tenant.clone(),
        policy: policy.clone(),
        quarantined_seconds: Some(0.0),
        ..PolicySeen::default()
    });
    let policies: Vec<PolicySeen> = quarantined.collect();
    alarms(&reading.status, &reading.upstreams, &policies)
}

fn ailing(policy: &PolicySeen) -> Option<String> {
    let who = format!("policy {} of tenant {}", policy.policy, policy.tenant);
    let because = policy.last_failure.iter().map(|fault| format!(": {fault}"));
    if policy.quarantined_seconds.is_some() {
        let because: String = because.collect();
        return Some(format!("{who} is not called because it keeps failing{because}"));
    }
    policy.impure.as_ref().filter(|impure| !impure.is_null())?;
    Some(format!(
        "{who} is not asked because it gave two answers about one series"
    ))
}

fn down(upstream: &UpstreamSeen) -> Vec<String> {
    let name = &upstream.upstream;
    let lookup = upstream.lookup_error.iter();
    let mut lines: Vec<String> = lookup
        .map(|error| format!("upstream {name}: its name cannot be looked up: {error}"))
        .collect();
    for endpoint in upstream.endpoints.iter().filter(|endpoint| !endpoint.healthy) {
        let cause = endpoint.last_cause.as_ref();
        let why = cause.map(|cause| cause.text.clone()).or(endpoint.last_failure.clone());
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        let look_at = cause.and_then(|cause| cause.look_at.as_ref());
        let look_at = look_at.map(|key| format!(" (look at {key})")).unwrap_or_default();
        let retry = endpoint.retry_in_seconds;
        let retry = retry
            .map(|seconds| format!("; it is tried again in {seconds:.0}s"))
            .unwrap_or_default();
        lines.push(format!(
            "upstream {name}: {} is down{why}{look_at}{retry}",
            endpoint.address
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::rows::tests::flow;
    use super::*;

    #[test]
    fn a_gateway_that_is_well_has_no_alarm() {
        let status = StatusSeen {
            ready: true,
            ..StatusSeen::default()
        };
        assert_eq!(alarms(&status, &[], &[]), Vec::<String>::new());
    }

    #[test]
    fn each_thing_to_look_at_is_a_sentence_with_its_name_and_cause() {
        let told = of_reading(flow().last().unwrap());
        assert_eq!(
            told,
            [
                "tenant c is broken, nothing serves it: /etc/c.yaml:2:1: unknown key",
                "upstream hard: http://10.0.0.8:19291 is down: nothing listens at its port (look at upstreams.hard.endpoints)",
            ]
        );
        let status: StatusSeen = serde_json::from_value(json!({
            "ready": false,
            "last_reload": {"errors": ["gauntlet.yaml:2:3: \u{1b}[31m"], "plugin_errors": ["plugin p: no"]},
            "broken_tenants": [{"file": "/etc/d.yaml", "error": "no YAML", "serving_generation": 3}],
            "went_back": [{"tenant": "e", "why": "an operator asked for it"}],
        }))
        .unwrap();
        let policies: Vec<PolicySeen> = serde_json::from_value(json!([
            {"tenant": "a", "policy": "p", "quarantined_seconds": 3.5, "last_failure": "trapped: unreachable"},
            {"tenant": "a", "policy": "q", "impure": {"series": "up"}},
            {"tenant": "a", "policy": "r", "impure": null, "last_failure": "once"},
        ]))
        .unwrap();
        let upstreams: Vec<UpstreamSeen> = serde_json::from_value(json!([
            {"upstream": "soft", "lookup_error": "no such name",
             "endpoints": [{"address": "http://r:1", "last_failure": "connect", "retry_in_seconds": 4.2}]},
        ]))
        .unwrap();
        assert_eq!(
            alarms(&status, &upstreams, &policies),
            [
                "the gateway is not ready: it has not begun to serve, or drains",
                "the last reload is not in use: gauntlet.yaml:2:3: \\u{1b}[31m",
                "the last reload is not in use: plugin p: no",
                "tenant /etc/d.yaml is broken, generation 3 still serves: no YAML",
                "tenant e went back to its policies before: an operator asked for it",
                "policy p of tenant a is not called because it keeps failing: trapped: unreachable",
                "policy q of tenant a is not asked because it gave two answers about one series",
                "upstream soft: its name cannot be looked up: no such name",
                "upstream soft: http://r:1 is down: connect; it is tried again in 4s",
            ]
        );
    }
}
