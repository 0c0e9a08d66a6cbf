//! A policy's settings: JSON, read into the author's own serde types.
//!
//! Takes the text that `configure` gets; gives a value, or an error for the operator that begins with the place, such as
//! `routes[2].upstream`, and names the key that was probably meant. Never guesses: no key is taken twice, no list is
//! taken for a mapping. Of values an error quotes only what should be one of a few names: others may be secrets.
//!
//! JSON is read by `serde_json`, and first into a [`Tree`]. Reading types straight from the text would take a list for
//! a struct, field by field, and would know neither the place nor, as anything but text, which keys there are.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};

/// Reads settings. With `#[serde(deny_unknown_fields)]` on `T`, a key that nobody knows is an error.
///
/// A reason of the type's own, as `serde::de::Error::custom` gives it, follows the place and a colon; one that begins
/// with `must` makes a sentence with the place.
///
/// ```
/// #[derive(Debug, serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Settings {
///     cluster: String,
/// }
///
/// let error = gauntlet_policy::settings::<Settings>(r#"{"clutser": "setsuna"}"#).unwrap_err();
/// assert_eq!(error, "unknown key `clutser`, did you mean `cluster`?");
/// ```
pub fn settings<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let tree: Tree = serde_json::from_str(text).map_err(|error| format!("settings are not JSON: {error}"))?;
    T::deserialize(tree).map_err(|error| error.to_string())
}

/// What JSON can say.
enum Tree {
    Null,
    Bool(bool),
    Whole(u64),
    Negative(i64),
    Decimal(f64),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

impl Tree {
    /// The words an error uses for this kind of value.
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Whole(_) => "a number",
            Self::Negative(_) => "a negative number",
            Self::Decimal(_) => "a number with a point or an exponent",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }

    fn is_not(&self, wanted: &str) -> Error {
        Error::here(format!("must be {wanted}, not {}", self.kind()))
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyTree)
    }
}

struct AnyTree;

impl<'de> Visitor<'de> for AnyTree {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(truth))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
        Ok(Tree::Whole(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
        Ok(u64::try_from(number).map_or(Tree::Negative(number), Tree::Whole))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Tree, E> {
        Ok(Tree::Decimal(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut written: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = written.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut written: A) -> Result<Tree, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = written.next_entry()? {
            fields.push(field);
        }
        Ok(Tree::Map(fields))
    }
}

/// Requests for one kind of value, which refuse every other in the operator's words.
macro_rules! only {
    ($($method:ident: $kind:pat, $wanted:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self {
                $kind => self.deserialize_any(visitor),
                other => Err(other.is_not($wanted)),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Tree {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Bool(truth) => visitor.visit_bool(truth),
            Self::Whole(number) => visitor.visit_u64(number),
            Self::Negative(number) => visitor.visit_i64(number),
            Self::Decimal(number) => visitor.visit_f64(number),
            Self::Text(text) => visitor.visit_string(text),
            Self::List(items) => {
                let mut items = Items(items.into_iter().enumerate());
                let value = visitor.visit_seq(&mut items)?;
                match items.0.next() {
                    None => Ok(value),
                    Some((index, _)) => Err(Error::here("is one item too many").in_item(index)),
                }
            }
            Self::Map(fields) => Fields::of(fields).and_then(|fields| visitor.visit_map(fields)),
        }
    }

    only! {
        deserialize_bool: Self::Bool(_), "true or false";
        deserialize_u8: Self::Whole(_), "a whole number";
        deserialize_u16: Self::Whole(_), "a whole number";
        deserialize_u32: Self::Whole(_), "a whole number";
        deserialize_u64: Self::Whole(_), "a whole number";
        deserialize_i8: Self::Whole(_) | Self::Negative(_), "a whole number";
        deserialize_i16: Self::Whole(_) | Self::Negative(_), "a whole number";
        deserialize_i32: Self::Whole(_) | Self::Negative(_), "a whole number";
        deserialize_i64: Self::Whole(_) | Self::Negative(_), "a whole number";
        deserialize_f32: Self::Whole(_) | Self::Negative(_) | Self::Decimal(_), "a number";
        deserialize_f64: Self::Whole(_) | Self::Negative(_) | Self::Decimal(_), "a number";
        deserialize_str: Self::Text(_), "a string";
        deserialize_string: Self::Text(_), "a string";
        deserialize_seq: Self::List(_), "a list";
        deserialize_map: Self::Map(_), "a mapping";
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Null => visitor.visit_none(),
            given => visitor.visit_some(given),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Self::Text(name) => visitor.visit_enum(name.into_deserializer()),
            Self::Map(fields) if fields.len() == 1 => {
                visitor.visit_enum(MapAccessDeserializer::new(Fields::of(fields)?))
            }
            other => Err(other.is_not("a name")),
        }
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

struct Items(std::iter::Enumerate<std::vec::IntoIter<Tree>>);

impl<'de> SeqAccess<'de> for &mut Items {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((index, item)) = self.0.next() else {
            return Ok(None);
        };
        seed.deserialize(item).map(Some).map_err(|error| error.in_item(index))
    }
}

struct Fields {
    fields: std::vec::IntoIter<(String, Tree)>,
    /// The field whose key was read.
    current: Option<(String, Tree)>,
}

impl Fields {
    fn of(fields: Vec<(String, Tree)>) -> Result<Self, Error> {
        for (index, (key, _)) in fields.iter().enumerate() {
            if fields[..index].iter().any(|(earlier, _)| earlier == key) {
                return Err(Error::here("is given twice").in_field(key));
            }
        }
        Ok(Self {
            fields: fields.into_iter(),
            current: None,
        })
    }
}

impl<'de> MapAccess<'de> for Fields {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        self.current = self.fields.next();
        let key = self.current.as_ref().map(|(key, _)| key.as_str().into_deserializer());
        key.map(|key| seed.deserialize(key)).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let (key, value) = self
            .current
            .take()
            .ok_or_else(|| Error::here("a value was asked for before its key"))?;
        seed.deserialize(value).map_err(|error| error.in_field(&key))
    }
}

/// Why settings were refused, and where; the place grows as the error is handed up.
#[derive(Debug)]
struct Error {
    place: String,
    fault: Fault,
}

#[derive(Debug)]
enum Fault {
    /// A key of the mapping at that place.
    UnknownKey {
        key: String,
        known: &'static [&'static str],
    },
    /// What is wrong with the value at that place.
    Value(String),
}

impl Error {
    fn here(reason: impl Into<String>) -> Self {
        Self {
            place: String::new(),
            fault: Fault::Value(reason.into()),
        }
    }

    fn in_item(mut self, index: usize) -> Self {
        self.place = joined(&format!("[{index}]"), &self.place);
        self
    }

    fn in_field(mut self, key: &str) -> Self {
        self.place = joined(key, &self.place);
        self
    }
}

/// A place, and one within it.
fn joined(outer: &str, inner: &str) -> String {
    let dot = if outer.is_empty() || inner.is_empty() || inner.starts_with('[') {
        ""
    } else {
        "."
    };
    format!("{outer}{dot}{inner}")
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            Fault::UnknownKey { key, known } => {
                write!(f, "unknown key `{}`{}", joined(&self.place, key), Known(key, known))
            }
            Fault::Value(reason) => {
                let place = if self.place.is_empty() { "settings" } else { &self.place };
                let sentence = ["must ", "is "].iter().any(|verb| reason.starts_with(verb));
                write!(f, "{place}{}{reason}", if sentence { " " } else { ": " })
            }
        }
    }
}

/// What follows a name that nobody knows: the one that was meant, or all there are.
struct Known<'a>(&'a str, &'a [&'a str]);

impl fmt::Display for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match nearest(self.0, self.1) {
            Some(meant) => write!(f, ", did you mean `{meant}`?"),
            None => write!(f, "; known are {}", self.1.join(", ")),
        }
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self::here(reason.to_string())
    }

    fn invalid_type(_found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::here(format!("must be {wanted}"))
    }

    fn invalid_value(_found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::here(format!("must be {wanted}"))
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        Self::here(format!("unknown value `{variant}`{}", Known(variant, known)))
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self {
            place: String::new(),
            fault: Fault::UnknownKey {
                key: key.to_owned(),
                known,
            },
        }
    }

    fn missing_field(key: &'static str) -> Self {
        Self::here("is missing").in_field(key)
    }
}

/// The known word that is at most a third of its letters away.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let (meant, distance) = known
        .iter()
        .map(|known| (*known, distance(word, known)))
        .min_by_key(|(_, d)| *d)?;
    (distance <= meant.len().div_ceil(3)).then_some(meant)
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
