//! A configuration file as it was written: a tree of values, each with its place in the text.
//!
//! Takes YAML (JSON is YAML), gives [`Node`]s. One untyped tree in place of one struct per section, so
//! that a file with five mistakes reports five, every message names line and column, and the tenant of a
//! file that is otherwise nonsense can still be told. Bounded: depth, nodes and alias expansion have
//! budgets. Never quotes a value in an error, because it cannot know which values are secrets.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Error, ExternalMessageSource, Location, Spanned};

/// Deepest nesting accepted. Relabel settings, the deepest thing written in practice, need eight.
const MAX_DEPTH: usize = 48;
/// Most values in one file, aliases expanded: a thousand inline tenants with thirty rules each.
const MAX_NODES: usize = 500_000;
/// Most values that aliases may add. Anchors spare an operator some repetition, not a factor.
const MAX_ALIASED: usize = 100_000;

/// Where a value stands: both count from one; zero is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    pub(super) line: u32,
    pub(super) column: u32,
}

/// One value and its place.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
    /// Bytes of the source text, for scalars.
    span: Option<(usize, usize)>,
}

#[derive(Clone)]
pub(super) enum Value {
    Null,
    /// A truth value, and the text it was written as.
    Bool(bool, String),
    /// A number, and the text it was written as.
    Number(Number, String),
    Text(String),
    List(Vec<Node>),
    /// In the order written; keys are unique.
    Map(Vec<(Key, Node)>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) place: Place,
    pub(super) text: String,
}

/// A text that is no configuration file at all.
#[derive(Debug)]
pub(super) struct Malformed {
    pub(super) place: Place,
    pub(super) message: String,
}

/// Parses one file.
///
/// # Errors
/// Syntax, budgets, a key given twice in a map, several documents.
pub(super) fn parse(text: &str) -> Result<Node, Malformed> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH, max_nodes: MAX_NODES },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_ALIASED },
        // A snippet would print the lines around a mistake, which may hold a token.
        with_snippet: false,
        // `no` is a country and `on` a username; only true and false are booleans (YAML 1.2).
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::PassThrough,
        emit_comments: false,
    };
    let mut node: Node = serde_saphyr::from_str_with_options(text, options).map_err(|error| malformed(&error))?;
    node.read_spellings(text);
    Ok(node)
}

fn malformed(error: &Error) -> Malformed {
    let place = error.location().map(Place::from).unwrap_or_default();
    let mut inner = error;
    while let Error::AliasError { error, .. } | Error::WithSnippet { error, .. } = inner {
        inner = error;
    }
    let message = match inner {
        Error::DuplicateMappingKey { .. } => "this key is given twice in one map".to_owned(),
        Error::Eof { .. } => "the file is empty".to_owned(),
        Error::MultipleDocuments { .. } => "one file holds one document; remove the `---`".to_owned(),
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            "the file is too large, too deep or its aliases expand to too much".to_owned()
        }
        Error::UnknownAnchor { .. } => "this alias has no anchor; quote a value that starts with `*`".to_owned(),
        // The scanner's messages name a character it met at most, never a value.
        Error::ExternalMessage { source, msg, .. } if matches!(**source, ExternalMessageSource::Parser(_)) => {
            format!("this is not valid YAML: {msg}")
        }
        _ => "this is not valid YAML".to_owned(),
    };
    Malformed { place, message }
}

impl Node {
    /// What it is, for a message that expected something else.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(..) => "a boolean",
            Value::Number(..) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// The value under `key`, if this is a map that has it.
    pub(super) fn entry(&self, key: &str) -> Option<&Node> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(k, _)| k.text == key).map(|(_, node)| node)
    }

    /// The place of the value that `path` (`routes[2].upstream`) leads to, or of the last one on the way that is there.
    pub(super) fn place_of(&self, path: &str) -> Place {
        let path = path.strip_prefix('.').unwrap_or(path);
        let next = match &self.value {
            Value::Map(entries) => entries.iter().find_map(|(key, node)| {
                let rest = path.strip_prefix(key.text.as_str())?;
                let is_whole = !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '-');
                is_whole.then_some((node, rest))
            }),
            Value::List(items) => path.strip_prefix('[').and_then(|rest| {
                let (index, rest) = rest.split_once(']')?;
                Some((items.get(index.parse::<usize>().ok()?)?, rest))
            }),
            _ => None,
        };
        next.map_or(self.place, |(node, rest)| node.place_of(rest))
    }

    /// JSON text with the same strings, numbers, nulls and order. A plugin may want text where YAML sees a number or a
    /// truth value (`regex: True`), and Prometheus reads text as it is written: what JSON would spell in another way is
    /// text. Decimal fractions are numbers in any case: nothing that takes text takes them for it without asking.
    ///
    /// # Errors
    /// The place of a number that JSON cannot say: not finite, or an integer beyond 64 bits.
    pub(super) fn to_json(&self) -> Result<String, Place> {
        let mut out = String::new();
        self.write_json(&mut out)?;
        Ok(out)
    }

    fn write_json(&self, out: &mut String) -> Result<(), Place> {
        match &self.value {
            Value::Null => out.push_str("null"),
            Value::Bool(value, written) => push_as_written(out, value.to_string(), written),
            Value::Text(text) => push_json(out, text.as_str()),
            Value::Number(Number::Unsigned(value), written) => push_as_written(out, value.to_string(), written),
            Value::Number(Number::Signed(value), written) => push_as_written(out, value.to_string(), written),
            Value::Number(Number::Float(value), written) => {
                let integer = written.bytes().all(|b| b.is_ascii_digit() || b == b'-' || b == b'+');
                if !value.is_finite() || (integer && value.abs() >= i64::MAX as f64) {
                    return Err(self.place);
                }
                match serde_json::from_str::<serde_json::Number>(written) {
                    Ok(_) => out.push_str(written),
                    Err(_) => push_json(out, *value),
                }
            }
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    out.push(if index == 0 { '[' } else { ',' });
                    item.write_json(out)?;
                }
                out.push_str(if items.is_empty() { "[]" } else { "]" });
            }
            Value::Map(entries) => {
                for (index, (key, value)) in entries.iter().enumerate() {
                    out.push(if index == 0 { '{' } else { ',' });
                    push_json(out, key.text.as_str());
                    out.push(':');
                    value.write_json(out)?;
                }
                out.push_str(if entries.is_empty() { "{}" } else { "}" });
            }
        }
        Ok(())
    }

    /// Fills in how numbers and truth values were written: an all-digit username is text to whoever wrote it.
    fn read_spellings(&mut self, source: &str) {
        match &mut self.value {
            Value::Number(_, written) | Value::Bool(_, written) => {
                if let Some(text) = self.span.and_then(|(start, end)| source.get(start..end)) {
                    text.trim().clone_into(written);
                }
            }
            Value::List(items) => items.iter_mut().for_each(|item| item.read_spellings(source)),
            Value::Map(entries) => entries.iter_mut().for_each(|(_, node)| node.read_spellings(source)),
            Value::Null | Value::Text(_) => {}
        }
    }
}

/// `value`, which is JSON, if it was written so; else the text.
fn push_as_written(out: &mut String, value: String, written: &str) {
    // In quotes, after a tag: what stands there is the value's matter.
    if written == value || written.starts_with(['"', '\'']) {
        out.push_str(&value);
    } else {
        push_json(out, written);
    }
}

fn push_json(out: &mut String, value: impl Into<serde_json::Value>) {
    out.push_str(&value.into().to_string());
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        let clamp = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            line: clamp(location.line()),
            column: clamp(location.column()),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        let bytes = spanned.defined.span();
        let offset = |n: Option<u64>| n.and_then(|n| usize::try_from(n).ok());
        let span = offset(bytes.byte_offset())
            .zip(offset(bytes.byte_len()))
            .map(|(at, len)| (at, at + len));
        Ok(Self {
            place: spanned.referenced.into(),
            value: spanned.value,
            span,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value, value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(Number::Unsigned(value), value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(Number::Signed(value), value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(Number::Float(value), value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry::<Spanned<String>, Node>()? {
            entries.push((
                Key {
                    place: key.referenced.into(),
                    text: key.value,
                },
                value,
            ));
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        let Malformed { place, message } = parse(text).err().unwrap();
        format!("{}:{} {message}", place.line, place.column)
    }

    fn place(node: &Node) -> (u32, u32) {
        (node.place.line, node.place.column)
    }

    #[test]
    fn every_value_and_key_knows_its_place() {
        let tree = parse("a: 1\nlist:\n  - c: 1.50\n  - ['é', 12]\n").unwrap_or_else(|_| panic!("parses"));
        assert_eq!(place(&tree), (1, 1));
        assert_eq!(place(tree.entry("a").unwrap()), (1, 4));
        let Value::List(items) = &tree.entry("list").unwrap().value else {
            panic!("a list")
        };
        assert_eq!(items.iter().map(place).collect::<Vec<_>>(), [(3, 5), (4, 5)]);
        assert_eq!(place(items[0].entry("c").unwrap()), (3, 8));
        // Columns count characters.
        let Value::List(inner) = &items[1].value else {
            panic!("a list")
        };
        assert_eq!(place(&inner[1]), (4, 11));
    }

    #[test]
    fn a_path_leads_as_far_as_it_can() {
        let tree = parse("a:\n  b.c: [1, {d: 2}]\n  b: 3\n").unwrap_or_else(|_| panic!("parses"));
        for (path, expected) in [
            ("", (1, 1)),
            ("a", (2, 3)),
            ("a.b", (3, 6)),
            ("a.b.c[1].d: must be", (2, 16)),
            ("a.b.c[7]", (2, 8)),
            ("a.bc", (2, 3)),
            ("elsewhere", (1, 1)),
        ] {
            let Place { line, column } = tree.place_of(path);
            assert_eq!((line, column), expected, "{path}");
        }
    }

    #[test]
    fn an_alias_stands_where_it_is_used() {
        let tree = parse("a: &x {k: 0x10}\nb: *x\nc:\n  <<: *x\n").unwrap_or_else(|_| panic!("parses"));
        let b = tree.entry("b").unwrap();
        assert_eq!(place(b), (2, 4));
        assert!(matches!(&b.entry("k").unwrap().value, Value::Number(Number::Unsigned(16), text) if text == "0x10"));
        assert!(tree.entry("c").unwrap().entry("k").is_some());
    }

    #[test]
    fn malformed_text_is_told_with_its_place_and_without_its_values() {
        for (text, expected) in [
            ("a: 1\na: hunter2", "2:1 this key is given twice in one map"),
            (
                "a: *hunter2",
                "1:4 this alias has no anchor; quote a value that starts with `*`",
            ),
            (
                "---\na: 1\n---\nb: 1\n",
                "4:1 one file holds one document; remove the `---`",
            ),
            ("a: !!int hunter2", "1:10 this is not valid YAML"),
            ("? [hunter2]\n: 1", "1:3 this is not valid YAML"),
        ] {
            assert_eq!(fault(text), expected, "{text}");
        }
        for text in [
            "a: 'hunter2' x",
            "a: hunter2: x",
            "hunter2\nb: 1",
            "a: \"hunter2",
            "a: @hunter2",
            "a: %hunter2",
            "a: [hunter2",
        ] {
            let told = fault(text);
            println!("{told}");
            assert!(told.contains("this is not valid YAML: "), "{text}: {told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
}
