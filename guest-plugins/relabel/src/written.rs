//! `relabel_configs` as written, in the types in which Prometheus' YAML reader takes them.
//!
//! Takes JSON through serde; gives what was written for each key, and whether it was. Never fills in a default: null
//! is the empty text for Prometheus, and not the default.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub relabel_configs: Option<Vec<Written>>,
}

/// One rule. `None`: not given, or, for the keys that are no text, null.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    pub source_labels: Option<Vec<LabelName>>,
    #[serde(default, deserialize_with = "given")]
    pub separator: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub regex: Option<Text>,
    pub modulus: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    pub target_label: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub replacement: Option<Text>,
    /// `Some(None)`: null, which is no action, while an empty name is one that nobody knows.
    #[serde(default, deserialize_with = "given")]
    pub action: Option<Option<Text>>,
}

/// A value that is there, be it null.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// Text as YAML gives it to a string field: whole numbers and truth values are taken as written, null is empty.
#[derive(Debug)]
pub struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_any(AsText)
    }
}

struct AsText;

impl Visitor<'_> for AsText {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Text, E> {
        Ok(Text(String::new()))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Text, E> {
        Ok(Text(truth.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }

    /// 1.10 and 1e3 may no longer be what was written.
    fn visit_f64<E: Error>(self, _number: f64) -> Result<Text, E> {
        Err(E::custom("must be a string, put it in quotes"))
    }
}

/// A name in `source_labels`, which is empty only if it is null.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Option<Text>")]
pub struct LabelName(pub String);

impl TryFrom<Option<Text>> for LabelName {
    type Error = &'static str;

    fn try_from(name: Option<Text>) -> Result<Self, &'static str> {
        match name {
            None => Ok(Self(String::new())),
            Some(Text(name)) if name.is_empty() => Err("\"\" is not a valid label name"),
            Some(Text(name)) => Ok(Self(name)),
        }
    }
}
