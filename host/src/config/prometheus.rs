//! What Prometheus does to series before it sends them, as policies of a tenant.
//!
//! Takes the text of a `prometheus.yml`, gives the rules of each `remote_write` with every value as it was written, and what
//! cannot be carried over or stays where it is, with its place. Never changes a rule, and never shows a URL, a header or a
//! credential: of a `remote_write` only its place and its name.

use std::path::Path;

use super::ConfigError;
use super::file::{self, Node, Value};
use super::nearest::nearest;
use super::section::{mistake, quote};

/// The keys of a rule.
const RULE: [&str; 7] = [
    "source_labels",
    "separator",
    "regex",
    "modulus",
    "target_label",
    "replacement",
    "action",
];

/// What of a `remote_write` says which it is.
const NAMES: [&str; 2] = ["url", "name"];
/// How the sender sends, which is for it to know whoever it sends to.
const QUEUES: [&str; 11] = [
    "remote_timeout",
    "queue_config",
    "metadata_config",
    "send_exemplars",
    "send_native_histograms",
    "follow_redirects",
    "enable_http2",
    "round_robin_dns",
    "proxy_url",
    "proxy_from_environment",
    "no_proxy",
];
const PROOFS: [&str; 9] = [
    "basic_auth",
    "authorization",
    "bearer_token",
    "bearer_token_file",
    "oauth2",
    "tls_config",
    "sigv4",
    "azuread",
    "google_iam",
];

/// One `remote_write`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteWriteRules {
    /// `remote_write[0]`.
    pub place: String,
    /// Its `name`, made fit to be shown.
    pub name: Option<String>,
    /// Each rule's keys with their values as JSON, in the order written.
    pub rules: Vec<Vec<(&'static str, String)>>,
    /// What stays with the sender.
    pub stays: Vec<ConfigError>,
    /// What is lost.
    pub lost: Vec<ConfigError>,
}

/// Reads the rules of every `remote_write` of `text`, which `path` names in messages.
///
/// # Errors
/// Every mistake found: what Prometheus would not read either.
pub fn remote_write_rules(path: &Path, text: &str) -> Result<Vec<RemoteWriteRules>, Vec<ConfigError>> {
    let root = file::parse(text).map_err(|malformed| vec![mistake(path, malformed.place, "", malformed.message)])?;
    let mut reader = Reader {
        path,
        errors: Vec::new(),
    };
    let items = root
        .entry("remote_write")
        .map(|node| reader.items(node, "remote_write"));
    let around = around(path, &root);
    let mut all = Vec::new();
    for (index, item) in items.unwrap_or_default().iter().enumerate() {
        let mut one = reader.remote_write(item, format!("remote_write[{index}]"));
        one.stays.extend(around.iter().cloned());
        all.push(one);
    }
    match reader.errors.is_empty() {
        true => Ok(all),
        false => Err(reader.errors),
    }
}

/// What stands elsewhere in the file and also changes what is sent.
fn around(path: &Path, root: &Node) -> Vec<ConfigError> {
    let mut found = Vec::new();
    if let Some(labels) = root.entry("global").and_then(|global| global.entry("external_labels")) {
        let message = "Prometheus adds these before it sends: policies see them on every series";
        found.push(mistake(
            path,
            labels.place,
            "global.external_labels",
            message.to_owned(),
        ));
    }
    let scrapes = root.entry("scrape_configs").map(|node| &node.value);
    if let Some(Value::List(scrapes)) = scrapes {
        let rules = scrapes.iter().enumerate().find_map(|(index, scrape)| {
            let rules = scrape.entry("metric_relabel_configs")?;
            Some((format!("scrape_configs[{index}].metric_relabel_configs"), rules))
        });
        if let Some((key, rules)) = rules {
            let message = "rules of what is scraped stay with Prometheus, which applies them before it stores anything";
            found.push(mistake(path, rules.place, &key, message.to_owned()));
        }
    }
    found
}

struct Reader<'a> {
    path: &'a Path,
    errors: Vec<ConfigError>,
}

impl Reader<'_> {
    fn fail(&mut self, node: &Node, key: &str, message: String) {
        self.errors.push(mistake(self.path, node.place, key, message));
    }

    fn items<'n>(&mut self, node: &'n Node, key: &str) -> &'n [Node] {
        match &node.value {
            Value::List(items) => items,
            Value::Null => &[],
            _ => {
                self.fail(node, key, format!("expected a list, found {}", node.kind()));
                &[]
            }
        }
    }

    fn remote_write(&mut self, node: &Node, place: String) -> RemoteWriteRules {
        let mut read = RemoteWriteRules {
            name: None,
            rules: Vec::new(),
            stays: Vec::new(),
            lost: Vec::new(),
            place,
        };
        let Value::Map(entries) = &node.value else {
            self.fail(node, &read.place, format!("expected a map, found {}", node.kind()));
            return read;
        };
        for (key, value) in entries {
            let at = format!("{}.{}", read.place, quote(&key.text));
            let note = |message: &str| mistake(self.path, key.place, &at, message.to_owned());
            match &*key.text {
                "write_relabel_configs" => {
                    let rules = self.items(value, &at).iter().enumerate();
                    read.rules = rules
                        .map(|(index, rule)| self.rule(rule, &format!("{at}[{index}]")))
                        .collect();
                }
                "name" => {
                    if let Value::Text(name) = &value.value {
                        read.name = Some(quote(name));
                    }
                }
                "protobuf_message" if !is_taken(value) => read.lost.push(note(
                    "the gateway takes remote write 1.0 and 2.0: `prometheus.WriteRequest` or `io.prometheus.write.v2.Request`",
                )),
                "headers" => read.stays.push(note(
                    "the sender goes on sending these; none of them says to the gateway which tenant it is",
                )),
                known if QUEUES.contains(&known) => read.stays.push(note("stays with the sender")),
                known if PROOFS.contains(&known) => read.stays.push(note(
                    "stays with the sender; what it proves to the gateway stands in the tenant's `credentials`",
                )),
                known if NAMES.contains(&known) || known == "protobuf_message" => {}
                _ => read.lost.push(note("this key is not known here and was left out")),
            }
        }
        read
    }

    fn rule(&mut self, node: &Node, at: &str) -> Vec<(&'static str, String)> {
        let Value::Map(entries) = &node.value else {
            self.fail(node, at, format!("expected a rule, found {}", node.kind()));
            return Vec::new();
        };
        let mut rule = Vec::new();
        for (key, value) in entries {
            let Some(known) = RULE.iter().find(|known| **known == key.text) else {
                let message = format!("unknown key `{}`", quote(&key.text));
                let suggestion = nearest(&key.text, RULE.iter().copied()).map(str::to_owned);
                let error = mistake(self.path, key.place, at, message);
                self.errors.push(ConfigError { suggestion, ..error });
                continue;
            };
            match value.to_json() {
                Ok(json) => rule.push((*known, json)),
                Err(place) => {
                    let message = "this number cannot be carried over; write it in quotes".to_owned();
                    self.errors.push(mistake(self.path, place, at, message));
                }
            }
        }
        rule
    }
}

fn is_taken(message: &Node) -> bool {
    let taken = ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"];
    matches!(&message.value, Value::Text(text) if taken.contains(&&**text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMETHEUS: &str = r#"global:
  external_labels: {cluster: a}
scrape_configs:
  - job_name: node
    metric_relabel_configs: [{action: drop, regex: x}]
remote_write:
  - url: https://user:hunter2@thanos.example.com/api/v1/receive
    name: long term
    queue_config: {max_shards: 10}
    basic_auth: {username: hunter3, password: hunter4}
    headers: {X-Scope-OrgID: hunter5}
    write_relabel_configs:
      - source_labels: [__name__, job]
        regex: go_.*;010
        action: drop
      - {regex: True, modulus: 8, target_label: "a\"b\\c", replacement: "${1}-x", action: replace}
    no_such_key: hunter6
    protobuf_message: io.prometheus.write.v3.Request
  - url: http://b
"#;

    fn read(text: &str) -> Result<Vec<RemoteWriteRules>, Vec<ConfigError>> {
        remote_write_rules(Path::new("prometheus.yml"), text)
    }

    fn lines(errors: &[ConfigError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_rules_of_each_remote_write_are_read_as_they_were_written() {
        let all = read(PROMETHEUS).unwrap();
        assert_eq!((all.len(), all[0].name.as_deref()), (2, Some("long term")));
        let rule = |pairs: &[(&'static str, &str)]| {
            let pairs = pairs.iter().map(|(key, json)| (*key, (*json).to_owned()));
            pairs.collect::<Vec<_>>()
        };
        let expected = [
            rule(&[
                ("source_labels", r#"["__name__","job"]"#),
                ("regex", r#""go_.*;010""#),
                ("action", r#""drop""#),
            ]),
            rule(&[
                ("regex", r#""True""#),
                ("modulus", "8"),
                ("target_label", r#""a\"b\\c""#),
                ("replacement", r#""${1}-x""#),
                ("action", r#""replace""#),
            ]),
        ];
        assert_eq!(all[0].rules, expected);
        assert_eq!((all[1].rules.len(), all[1].lost.len()), (0, 0));
    }

    #[test]
    fn what_is_not_carried_over_is_told_with_its_place_and_without_secrets() {
        let all = read(PROMETHEUS).unwrap();
        let (stays, lost) = (lines(&all[0].stays).join("\n"), lines(&all[0].lost).join("\n"));
        for part in [
            "prometheus.yml:9:5: remote_write[0].queue_config: stays",
            "remote_write[0].basic_auth: stays",
            "remote_write[0].headers: ",
            "prometheus.yml:2:20: global.external_labels: ",
            "scrape_configs[0].metric_relabel_configs: ",
        ] {
            assert!(stays.contains(part), "{part} is not in\n{stays}");
        }
        assert!(
            lost.contains("prometheus.yml:17:5: remote_write[0].no_such_key: "),
            "{lost}"
        );
        assert!(
            lost.contains("protobuf_message: the gateway takes remote write 1.0 and 2.0"),
            "{lost}"
        );
        assert!(!format!("{all:?}").contains("hunter"), "{all:?}");
    }

    #[test]
    fn what_prometheus_would_not_read_is_a_mistake_with_its_place() {
        let faults = |text: &str| lines(&read(text).unwrap_err());
        assert_eq!(
            faults("remote_write:\n  - write_relabel_configs:\n    - {regx: a}\n    - drop\n"),
            [
                "prometheus.yml:3:8: remote_write[0].write_relabel_configs[0]: unknown key `regx` (did you mean `regex`?)",
                "prometheus.yml:4:7: remote_write[0].write_relabel_configs[1]: expected a rule, found text",
            ]
        );
        assert_eq!(
            faults("remote_write: {url: a}\n"),
            ["prometheus.yml:1:15: remote_write: expected a list, found a map"]
        );
        assert!(faults("a: [")[0].starts_with("prometheus.yml:"));
        assert_eq!(read("global: {}\n").unwrap(), []);
    }
}
