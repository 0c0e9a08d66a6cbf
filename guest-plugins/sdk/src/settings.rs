//! A policy's settings: strict JSON, read key by key.
//!
//! Takes the text that `configure` gets; gives values, or an error that says where and, for a key nobody
//! knows, which one was probably meant. Never guesses: unknown keys, duplicate keys and wrong types are errors.
//! Numbers keep their text, so that a whole u64 survives.

use std::fmt;

/// Deep enough for any settings, shallow enough for a guest's stack.
const MAX_DEPTH: usize = 32;

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    /// As written.
    Number(String),
    String(String),
    Array(Vec<Value>),
    Object(Vec<(String, Value)>),
}

impl Value {
    /// The word an error uses for this kind of value.
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "a list",
            Self::Object(_) => "a mapping",
        }
    }
}

/// Reads one JSON text.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(0)?;
    parser.space();
    if parser.at < text.len() {
        return Err(parser.error("more after the end"));
    }
    Ok(value)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn error(&self, what: impl fmt::Display) -> String {
        format!("settings are not JSON: {what} at byte {}", self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.space();
        let hit = self.peek() == Some(byte);
        self.at += usize::from(hit);
        hit
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err(self.error("too deeply nested"));
        }
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                for (word, value) in [
                    ("null", Value::Null),
                    ("true", Value::Bool(true)),
                    ("false", Value::Bool(false)),
                ] {
                    if self.text[self.at..].starts_with(word) {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                Err(self.error("a value is missing"))
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, String> {
        self.at += 1;
        let mut fields: Vec<(String, Value)> = Vec::new();
        if self.eat(b'}') {
            return Ok(Value::Object(fields));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.error("a key is missing"));
            }
            let key = self.string()?;
            if fields.iter().any(|(known, _)| *known == key) {
                return Err(format!("key `{key}` is given twice"));
            }
            if !self.eat(b':') {
                return Err(self.error("a colon is missing"));
            }
            fields.push((key, self.value(depth + 1)?));
            if self.eat(b'}') {
                return Ok(Value::Object(fields));
            }
            if !self.eat(b',') {
                return Err(self.error("a comma is missing"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, String> {
        self.at += 1;
        let mut items = Vec::new();
        if self.eat(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.eat(b']') {
                return Ok(Value::Array(items));
            }
            if !self.eat(b',') {
                return Err(self.error("a comma is missing"));
            }
        }
    }

    fn number(&mut self) -> Result<Value, String> {
        let start = self.at;
        while let Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        let text = &self.text[start..self.at];
        let digits = text.trim_start_matches('-');
        let padded =
            digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.") && !digits.starts_with("0e");
        if padded || text.starts_with('+') || text.parse::<f64>().is_err() {
            return Err(self.error(format_args!("`{text}` is not a number")));
        }
        Ok(Value::Number(text.to_owned()))
    }

    fn string(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let start = self.at;
            while self
                .peek()
                .is_some_and(|byte| byte != b'"' && byte != b'\\' && byte >= 0x20)
            {
                self.at += 1;
            }
            out.push_str(&self.text[start..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                _ => return Err(self.error("a string does not end")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let letter = self.peek();
        self.at += 1;
        Ok(match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let mut code = self.hex4()?;
                if (0xd800..0xdc00).contains(&code) && self.text[self.at..].starts_with("\\u") {
                    self.at += 2;
                    let low = self.hex4()?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return Err(self.error("half a surrogate pair"));
                    }
                    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                }
                char::from_u32(code).ok_or_else(|| self.error("half a surrogate pair"))?
            }
            _ => return Err(self.error("an unknown escape")),
        })
    }

    fn hex4(&mut self) -> Result<u32, String> {
        let digits = self
            .text
            .get(self.at..self.at + 4)
            .filter(|d| d.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.at += 4;
        code.ok_or_else(|| self.error("an unknown escape"))
    }
}

/// Reads a mapping key by key; what is left over in the end is an error.
#[derive(Debug)]
pub struct Object<'a> {
    fields: &'a [(String, Value)],
    /// Where the mapping is, such as `routes[2]`; empty at the top.
    path: String,
    asked: Vec<&'static str>,
}

impl<'a> Object<'a> {
    /// `path` is where the value was found and begins every error about it.
    pub fn of(value: &'a Value, path: impl Into<String>) -> Result<Self, String> {
        let path = path.into();
        match value {
            Value::Object(fields) => Ok(Self {
                fields,
                path,
                asked: Vec::new(),
            }),
            other if path.is_empty() => Err(format!("settings must be a mapping, not {}", other.kind())),
            other => Err(format!("{path} must be a mapping, not {}", other.kind())),
        }
    }

    /// `key` with the place of this mapping before it.
    pub fn path(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// The value under `key`, null included.
    pub fn value(&mut self, key: &'static str) -> Option<&'a Value> {
        self.asked.push(key);
        self.fields.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Whether `key` is there and null.
    pub fn is_null(&mut self, key: &'static str) -> bool {
        self.value(key) == Some(&Value::Null)
    }

    fn typed<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        match self.value(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match read(value) {
                Some(read) => Ok(Some(read)),
                None => Err(format!("{} must be {wanted}, not {}", self.path(key), value.kind())),
            },
        }
    }

    pub fn string(&mut self, key: &'static str) -> Result<Option<String>, String> {
        self.typed(key, "a string", |value| match value {
            Value::String(text) => Some(text.clone()),
            _ => None,
        })
    }

    pub fn bool(&mut self, key: &'static str) -> Result<Option<bool>, String> {
        self.typed(key, "true or false", |value| match value {
            Value::Bool(truth) => Some(*truth),
            _ => None,
        })
    }

    /// A whole number from 0 to the largest u64.
    pub fn whole(&mut self, key: &'static str) -> Result<Option<u64>, String> {
        self.typed(key, "a whole number", |value| match value {
            Value::Number(text) => text.parse().ok(),
            _ => None,
        })
    }

    /// A finite number.
    pub fn number(&mut self, key: &'static str) -> Result<Option<f64>, String> {
        self.typed(key, "a number", |value| match value {
            Value::Number(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
            _ => None,
        })
    }

    pub fn array(&mut self, key: &'static str) -> Result<Option<&'a [Value]>, String> {
        self.typed(key, "a list", |value| match value {
            Value::Array(items) => Some(items.as_slice()),
            _ => None,
        })
    }

    pub fn object(&mut self, key: &'static str) -> Result<Option<Object<'a>>, String> {
        let path = self.path(key);
        match self.value(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => Object::of(value, path).map(Some),
        }
    }

    /// Every key with its value: for mappings whose keys are the author's own.
    pub fn entries(&self) -> &'a [(String, Value)] {
        self.fields
    }

    /// Refuses keys that nobody asked for.
    pub fn finish(self) -> Result<(), String> {
        match self.fields.iter().find(|(key, _)| !self.asked.contains(&key.as_str())) {
            None => Ok(()),
            Some((key, _)) => Err(match nearest(key, &self.asked) {
                Some(meant) => format!("unknown key `{}`, did you mean `{meant}`?", self.path(key)),
                None => format!("unknown key `{}`; known are {}", self.path(key), self.asked.join(", ")),
            }),
        }
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
mod tests {
    use super::*;

    #[test]
    fn reads_every_kind_of_value() {
        let text = r#" {"a": [1, -2.5e3, 18446744073709551615], "b": "x\n\u00e9\ud83d\ude00", "c": null, "d": true, "e": {}} "#;
        let value = parse(text).unwrap();
        let mut object = Object::of(&value, "").unwrap();
        assert_eq!(
            object.array("a").unwrap().unwrap()[2],
            Value::Number("18446744073709551615".into())
        );
        assert_eq!(object.string("b").unwrap().unwrap(), "x\né😀");
        assert_eq!(object.string("c").unwrap(), None);
        assert_eq!(object.bool("d").unwrap(), Some(true));
        assert!(object.object("e").unwrap().is_some());
        object.finish().unwrap();
    }

    #[test]
    fn refuses_what_is_not_json() {
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "01",
            "1 2",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"a",
            "+1",
            "nul",
            "1e999x",
        ] {
            assert!(parse(text).is_err(), "{text} was accepted");
        }
        assert!(parse(&"[".repeat(100)).unwrap_err().contains("nested"));
        assert!(parse(r#"{"a":1,"a":2}"#).unwrap_err().contains("twice"));
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        let value = parse(r#"{"samples": {"per_secnd": 1}}"#).unwrap();
        let mut top = Object::of(&value, "").unwrap();
        let mut samples = top.object("samples").unwrap().unwrap();
        assert_eq!(samples.number("per_second").unwrap(), None);
        assert_eq!(samples.whole("burst").unwrap(), None);
        assert_eq!(
            samples.finish().unwrap_err(),
            "unknown key `samples.per_secnd`, did you mean `per_second`?"
        );
    }

    #[test]
    fn wrong_types_say_what_was_found() {
        let value = parse(r#"{"burst": "many", "per_second": -1}"#).unwrap();
        let mut object = Object::of(&value, "samples").unwrap();
        assert_eq!(
            object.whole("burst").unwrap_err(),
            "samples.burst must be a whole number, not a string"
        );
        assert_eq!(
            object.whole("per_second").unwrap_err(),
            "samples.per_second must be a whole number, not a number"
        );
    }
}
