//! `relabel_configs` as written, checked as Prometheus checks them.
//!
//! Takes settings; gives rules ready to apply, or why not: Prometheus' own reasons in its words where it has one,
//! and the place where it is. Never fills in a default that Prometheus does not.

use std::fmt::Write as _;

use gauntlet_policy::settings::{Object, Value, nearest, parse};

use crate::template::Template;
use go_regex::{Regex, unicode};

const ACTIONS: &[&str] = &[
    "replace",
    "lowercase",
    "uppercase",
    "keep",
    "drop",
    "keepequal",
    "dropequal",
    "hashmod",
    "labelmap",
    "labeldrop",
    "labelkeep",
];

/// One rule: what it reads, and what it does.
#[derive(Debug)]
pub struct Rule {
    pub source_labels: Vec<String>,
    pub separator: String,
    pub action: Action,
}

#[derive(Debug)]
pub enum Action {
    Replace {
        regex: Regex,
        target: Template,
        replacement: Template,
    },
    Lowercase {
        target: String,
    },
    Uppercase {
        target: String,
    },
    Keep {
        regex: Regex,
    },
    Drop {
        regex: Regex,
    },
    KeepEqual {
        target: String,
    },
    DropEqual {
        target: String,
    },
    HashMod {
        target: String,
        modulus: u64,
    },
    LabelMap {
        regex: Regex,
        replacement: Template,
    },
    LabelDrop {
        regex: Regex,
    },
    LabelKeep {
        regex: Regex,
    },
}

/// Reads `{"relabel_configs": [...]}`.
pub fn read(settings: &str) -> Result<Vec<Rule>, String> {
    let value = parse(settings)?;
    let mut object = Object::of(&value, "")?;
    let rules = object.array("relabel_configs")?.unwrap_or(&[]);
    object.finish()?;
    // Every rule is read before any is checked, so that the first error is the one Prometheus gives.
    let path = |index: usize| format!("relabel_configs[{index}]");
    let read = |(index, rule)| Written::read(rule, path(index));
    let written: Vec<Written> = rules.iter().enumerate().map(read).collect::<Result<_, _>>()?;
    for (index, rule) in written.iter().enumerate() {
        rule.check().map_err(|reason| format!("{}: {reason}", path(index)))?;
    }
    Ok(written.into_iter().map(Written::rule).collect())
}

/// A rule as written, defaults filled in.
struct Written {
    /// Whether it was given at all, even empty.
    has_source_labels: bool,
    source_labels: Vec<String>,
    separator: String,
    /// `None`: not given, so that it is `(.*)`.
    regex: Option<Regex>,
    modulus: u64,
    target_label: String,
    replacement: String,
    action: &'static str,
}

/// Text as YAML gives it to a string field: numbers and truth values are taken as written, null is empty.
fn text(object: &mut Object<'_>, key: &'static str) -> Result<Option<String>, String> {
    let path = object.path(key);
    object.value(key).map(|value| scalar(value, &path)).transpose()
}

fn scalar(value: &Value, path: &str) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        Value::Bool(truth) => Ok(truth.to_string()),
        // 1.10 and 1e3 may no longer be what was written.
        Value::Number(number) if number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') => Ok(number.clone()),
        Value::Number(_) => Err(format!("{path} must be a string, put it in quotes")),
        Value::Array(_) | Value::Object(_) => Err(format!("{path} must be a string")),
    }
}

fn source_labels(object: &mut Object<'_>) -> Result<Option<Vec<String>>, String> {
    let path = object.path("source_labels");
    let Some(names) = object.array("source_labels")? else {
        return Ok(None);
    };
    let read = |(index, value): (usize, &Value)| {
        let name = scalar(value, &format!("{path}[{index}]"))?;
        if name.is_empty() && *value != Value::Null {
            Err(format!("{path}[{index}]: \"\" is not a valid label name"))
        } else {
            Ok(name)
        }
    };
    names
        .iter()
        .enumerate()
        .map(read)
        .collect::<Result<_, String>>()
        .map(Some)
}

impl Written {
    /// Reads the keys in the order in which Prometheus declares them.
    fn read(value: &Value, path: String) -> Result<Self, String> {
        let mut object = Object::of(value, path.as_str())?;
        let source_labels = source_labels(&mut object)?;
        let separator = text(&mut object, "separator")?.unwrap_or_else(|| ";".to_owned());
        let regex = text(&mut object, "regex")?
            .map(|pattern| Regex::new(&pattern))
            .transpose();
        let written = Self {
            has_source_labels: source_labels.is_some(),
            source_labels: source_labels.unwrap_or_default(),
            separator,
            regex: regex.map_err(|error| format!("{path}: {error}"))?,
            modulus: object.whole("modulus")?.unwrap_or(0),
            target_label: text(&mut object, "target_label")?.unwrap_or_default(),
            replacement: text(&mut object, "replacement")?.unwrap_or_else(|| "$1".to_owned()),
            action: match text(&mut object, "action")? {
                None => "replace",
                // Null; an empty name is one that nobody knows.
                Some(_) if object.is_null("action") => "",
                Some(name) => action(&name).map_err(|reason| format!("{path}: {reason}"))?,
            },
        };
        object.finish()?;
        Ok(written)
    }

    /// `relabel.Config.Validate` under UTF-8 names, in its order.
    fn check(&self) -> Result<(), String> {
        let action = self.action;
        if action.is_empty() {
            return Err("relabel action cannot be empty".to_owned());
        }
        if self.modulus == 0 && action == "hashmod" {
            return Err("relabel configuration for hashmod requires non-zero modulus".to_owned());
        }
        let equal = matches!(action, "keepequal" | "dropequal");
        let case = matches!(action, "lowercase" | "uppercase");
        if (case || equal || matches!(action, "replace" | "hashmod")) && self.target_label.is_empty() {
            return Err(format!(
                "relabel configuration for {action} action requires 'target_label' value"
            ));
        }
        if (case || equal) && self.replacement != "$1" {
            return Err(format!("'replacement' can not be set for {action} action"));
        }
        if action == "labelmap" && self.replacement.is_empty() {
            return Err(format!("\"\" is invalid 'replacement' for {action} action"));
        }
        // The default pattern written out counts as set, as it does there.
        if equal && (self.regex.is_some() || self.modulus != 0 || self.separator != ";") {
            return Err(format!(
                "{action} action requires only 'source_labels' and `target_label`, and no other fields"
            ));
        }
        let regex_only = matches!(action, "labeldrop" | "labelkeep");
        let others = self.has_source_labels
            || !self.target_label.is_empty()
            || self.modulus != 0
            || self.separator != ";"
            || self.replacement != "$1";
        if regex_only && others {
            return Err(format!("{action} action requires only 'regex', and no other fields"));
        }
        Ok(())
    }

    fn rule(self) -> Rule {
        let regex = self.regex.unwrap_or_else(Regex::everything);
        let target = self.target_label;
        let action = match self.action {
            "lowercase" => Action::Lowercase { target },
            "uppercase" => Action::Uppercase { target },
            "keep" => Action::Keep { regex },
            "drop" => Action::Drop { regex },
            "keepequal" => Action::KeepEqual { target },
            "dropequal" => Action::DropEqual { target },
            "hashmod" => Action::HashMod {
                target,
                modulus: self.modulus,
            },
            "labelmap" => Action::LabelMap {
                replacement: Template::new(&self.replacement, &regex),
                regex,
            },
            "labeldrop" => Action::LabelDrop { regex },
            "labelkeep" => Action::LabelKeep { regex },
            _ => Action::Replace {
                target: Template::new(&target, &regex),
                replacement: Template::new(&self.replacement, &regex),
                regex,
            },
        };
        Rule {
            source_labels: self.source_labels,
            separator: self.separator,
            action,
        }
    }
}

/// The action of that name, whatever its case.
fn action(name: &str) -> Result<&'static str, String> {
    let lower = unicode::to_lower(name);
    if let Some(known) = ACTIONS.iter().find(|known| **known == lower) {
        return Ok(known);
    }
    let hint = nearest(&lower, ACTIONS).map_or_else(String::new, |meant| format!(", did you mean `{meant}`?"));
    Err(format!("unknown relabel action {}{hint}", quoted(name)))
}

/// Go's `%q`, near enough for an error text.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => drop(write!(out, "\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
