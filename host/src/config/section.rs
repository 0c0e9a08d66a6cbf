//! Reading a file's tree key by key: every mistake is noted with its place, and reading goes on.
//!
//! Takes nodes of one [`Source`], gives checked values or `None` after noting why not. The keys that are
//! asked for are the keys that exist: what was never asked for is reported as unknown, with the nearest
//! one that was. Never quotes values of a section marked secret, nor its unknown keys: in
//! `{username: a,password:b}` the missing space makes the password a key.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::ConfigError;
use super::file::{Key, Node, Number, Place, Value};
use super::inputs::Files;
use super::nearest::nearest;
use super::units;
use crate::model::plain;

/// Names of a thousand upstreams are of no help to anybody. Bytes.
const LONGEST_MESSAGE: usize = 4096;

/// One file being read: its name, where its paths start, and what was found wrong with it.
pub(super) struct Source<'a> {
    /// As messages name it.
    file: PathBuf,
    /// Absolute; paths in the file start here.
    folder: PathBuf,
    pub(super) files: &'a Files,
    errors: RefCell<Vec<ConfigError>>,
    warnings: RefCell<Vec<String>>,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &Path, folder: &Path, files: &'a Files) -> Self {
        Self {
            file: file.to_owned(),
            folder: folder.to_owned(),
            files,
            errors: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    pub(super) fn fail(&self, place: Place, key: &str, message: impl Into<String>) {
        self.fail_near(place, key, message, None);
    }

    pub(super) fn fail_near(&self, place: Place, key: &str, message: impl Into<String>, near: Option<&str>) {
        let suggestion = near.map(|near| plain(near, LONGEST_MESSAGE));
        let error = self.mistake(place, key, message.into());
        self.errors.borrow_mut().push(ConfigError { suggestion, ..error });
    }

    pub(super) fn warn(&self, place: Place, key: &str, message: &str) {
        let at = self.mistake(place, key, message.to_owned());
        self.warnings.borrow_mut().push(at.to_string());
    }

    /// A mistake in this file that is yet to be told to somebody.
    pub(super) fn mistake(&self, place: Place, key: &str, message: String) -> ConfigError {
        mistake(&self.file, place, key, message)
    }

    /// The absolute path that `path` means in this file.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// This file as messages name it, and its absolute path.
    pub(super) fn names(&self) -> (PathBuf, PathBuf) {
        let name = self.file.file_name().unwrap_or_default();
        (self.file.clone(), self.folder.join(name))
    }

    pub(super) fn failures(&self) -> usize {
        self.errors.borrow().len()
    }

    /// What was found so far, in the order of the text.
    pub(super) fn finish(self) -> (Vec<ConfigError>, Vec<String>) {
        let mut errors = self.errors.into_inner();
        errors.sort_by_key(|error| (error.line, error.column));
        (errors, self.warnings.into_inner())
    }
}

/// A mistake at a place of `file`; line 0 is the file as a whole. Whoever wrote the file may be another than who reads this
/// on a terminal, and names from it are in many messages.
pub(super) fn mistake(file: &Path, place: Place, key: &str, message: String) -> ConfigError {
    ConfigError {
        file: file.to_owned(),
        line: (place.line > 0).then_some(place.line),
        column: (place.column > 0).then_some(place.column),
        key: key.to_owned(),
        message: plain(&message, LONGEST_MESSAGE),
        suggestion: None,
    }
}

/// Absolute path and content of a file, or why there is none.
pub(super) type ReadFile = Result<(PathBuf, Arc<[u8]>), String>;

/// A map whose keys are known.
pub(super) struct Section<'a> {
    source: &'a Source<'a>,
    pub(super) place: Place,
    path: String,
    entries: &'a [(Key, Node)],
    known: Vec<&'static str>,
    secret: bool,
}

impl<'a> Section<'a> {
    /// The whole file. An empty one is an empty map.
    pub(super) fn root(source: &'a Source<'a>, node: &'a Node) -> Option<Self> {
        Field {
            source,
            node,
            path: String::new(),
            secret: false,
        }
        .section()
    }

    /// The value under `key`, if it is there.
    pub(super) fn field(&mut self, key: &'static str) -> Option<Field<'a>> {
        self.known.push(key);
        let (_, node) = self.entries.iter().find(|(written, _)| written.text == key)?;
        Some(Field {
            source: self.source,
            node,
            path: join(&self.path, key),
            secret: self.secret,
        })
    }

    /// The value under `key`, which must be there.
    pub(super) fn require(&mut self, key: &'static str) -> Option<Field<'a>> {
        let field = self.field(key);
        if field.is_none() {
            self.fail(format!("`{key}` is missing"));
        }
        field
    }

    /// A section under `key`; one that is not written is an empty one.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'a>> {
        match self.field(key) {
            Some(field) => field.section(),
            None => Some(Section {
                source: self.source,
                place: self.place,
                path: join(&self.path, key),
                entries: &[],
                known: Vec::new(),
                secret: self.secret,
            }),
        }
    }

    pub(super) fn duration(&mut self, key: &'static str, default: Duration) -> Duration {
        self.field(key).and_then(|field| field.duration()).unwrap_or(default)
    }

    pub(super) fn size(&mut self, key: &'static str, default: u64) -> u64 {
        self.field(key).and_then(|field| field.size()).unwrap_or(default)
    }

    pub(super) fn count(&mut self, key: &'static str, default: u64) -> u64 {
        self.field(key).and_then(|field| field.count()).unwrap_or(default)
    }

    /// A count of things in memory.
    pub(super) fn length(&mut self, key: &'static str, default: usize) -> usize {
        usize::try_from(self.count(key, default as u64)).unwrap_or(usize::MAX)
    }

    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        self.field(key).and_then(|field| field.boolean()).unwrap_or(default)
    }

    pub(super) fn fail(&self, message: impl Into<String>) {
        self.source.fail(self.place, &self.path, message);
    }

    /// Sound, but hardly meant.
    pub(super) fn warn(&self, key: &str, message: &str) {
        self.source.warn(self.place, &join(&self.path, key), message);
    }

    /// From here on neither values nor unknown keys are quoted.
    pub(super) fn keep_secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn close(self) {
        for (key, _) in self.entries {
            if self.known.contains(&key.text.as_str()) {
                continue;
            }
            let near = nearest(&key.text, self.known.iter().copied());
            let message = if self.secret {
                let known = self.known.join("`, `");
                format!("unknown key (not shown, it may be a secret); known are `{known}`")
            } else if near.is_some() {
                format!("unknown key `{}`", quote(&key.text))
            } else {
                format!(
                    "unknown key `{}`; known are {}",
                    quote(&key.text),
                    self.known.join(", ")
                )
            };
            self.source.fail_near(key.place, &self.path, message, near);
        }
    }
}

/// A value and the keys that lead to it.
#[derive(Clone)]
pub(super) struct Field<'a> {
    pub(super) source: &'a Source<'a>,
    pub(super) node: &'a Node,
    pub(super) path: String,
    secret: bool,
}

impl<'a> Field<'a> {
    pub(super) fn place(&self) -> Place {
        self.node.place
    }

    pub(super) fn fail(&self, message: impl Into<String>) {
        self.source.fail(self.node.place, &self.path, message);
    }

    pub(super) fn fail_near(&self, message: impl Into<String>, near: Option<&str>) {
        self.source.fail_near(self.node.place, &self.path, message, near);
    }

    fn mismatch<T>(&self, expected: &str) -> Option<T> {
        match self.node.value {
            Value::Null => self.fail(format!(
                "expected {expected}, found nothing; give a value or leave the key out"
            )),
            _ => self.fail(format!("expected {expected}, found {}", self.node.kind())),
        }
        None
    }

    /// Text that is not empty. A number is the text it was written as.
    pub(super) fn text(&self) -> Option<&'a str> {
        let text = match &self.node.value {
            Value::Text(text) | Value::Number(_, text) => text.as_str(),
            Value::Bool(..) => return self.mismatch("text (quote it)"),
            _ => return self.mismatch("text"),
        };
        if text.is_empty() {
            self.fail("must not be empty");
            return None;
        }
        Some(text)
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match self.node.value {
            Value::Bool(value, _) => Some(value),
            _ => self.mismatch("true or false"),
        }
    }

    /// A whole number above zero.
    pub(super) fn count(&self) -> Option<u64> {
        match self.node.value {
            Value::Number(Number::Unsigned(0), _) => {
                self.fail("must be at least 1");
                None
            }
            Value::Number(Number::Unsigned(value), _) => Some(value),
            _ => self.mismatch("a whole number above zero"),
        }
    }

    /// A duration, or `0` for none.
    pub(super) fn duration_or_none(&self) -> Option<Duration> {
        match &self.node.value {
            Value::Number(Number::Unsigned(0), _) => Some(Duration::ZERO),
            Value::Text(text) if units::duration(text) == Some(Duration::ZERO) => Some(Duration::ZERO),
            _ => self.duration(),
        }
    }

    /// A duration above zero.
    pub(super) fn duration(&self) -> Option<Duration> {
        const EXAMPLE: &str = "a duration such as `30s`, `5m` or `1h30m`";
        match &self.node.value {
            Value::Text(text) => match units::duration(text) {
                Some(Duration::ZERO) => {
                    self.fail("must be greater than zero");
                    None
                }
                Some(duration) => Some(duration),
                None => {
                    self.fail(format!("expected {EXAMPLE}, found `{}`", quote(text)));
                    None
                }
            },
            Value::Number(_, text) => {
                self.fail(format!("expected {EXAMPLE}, found `{}` without a unit", quote(text)));
                None
            }
            _ => self.mismatch(EXAMPLE),
        }
    }

    /// Bytes, above zero.
    pub(super) fn size(&self) -> Option<u64> {
        const EXAMPLE: &str = "a size such as `512KiB`, `32MiB` or a number of bytes";
        let size = match &self.node.value {
            Value::Number(Number::Unsigned(bytes), _) => *bytes,
            Value::Text(text) | Value::Number(_, text) => match units::size(text) {
                Some(bytes) => bytes,
                None => {
                    self.fail(format!("expected {EXAMPLE}, found `{}`", quote(text)));
                    return None;
                }
            },
            _ => return self.mismatch(EXAMPLE),
        };
        if size == 0 {
            self.fail("must be at least 1");
            return None;
        }
        Some(size)
    }

    /// From none, 0, to all, 1.
    pub(super) fn share(&self) -> Option<f64> {
        let text = self.text()?;
        let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        if share.is_none() {
            let found = quote(text);
            self.fail(format!(
                "expected a share from `0` to `1`, such as `0.01`, found `{found}`"
            ));
        }
        share
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.text()?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let message = format!("expected `{}`, found `{}`", names.join("` or `"), quote(text));
        self.fail_near(message, nearest(text, names.iter().copied()));
        None
    }

    /// A map; nothing written is an empty one.
    pub(super) fn section(&self) -> Option<Section<'a>> {
        let entries: &'a [(Key, Node)] = match &self.node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            _ => return self.mismatch("a map"),
        };
        Some(Section {
            source: self.source,
            place: self.node.place,
            path: self.path.clone(),
            entries,
            known: Vec::new(),
            secret: self.secret,
        })
    }

    /// Whether it is a list or a map with nothing in it, or nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        match &self.node.value {
            Value::Null => true,
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
            Value::Bool(..) | Value::Number(..) | Value::Text(_) => false,
        }
    }

    /// The items of a list; nothing written is an empty one.
    pub(super) fn items(&self) -> Vec<Field<'a>> {
        let items: &'a [Node] = match &self.node.value {
            Value::List(items) => items,
            Value::Null => &[],
            _ => return self.mismatch("a list").unwrap_or_default(),
        };
        let item = |(index, node)| Field {
            source: self.source,
            node,
            path: format!("{}[{index}]", self.path),
            secret: self.secret,
        };
        items.iter().enumerate().map(item).collect()
    }

    /// The entries of a map whose keys are names of the operator's choosing.
    pub(super) fn named(&self) -> Vec<(&'a Key, Field<'a>)> {
        let entries: &'a [(Key, Node)] = match &self.node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            _ => return self.mismatch("a map of names").unwrap_or_default(),
        };
        let entry = |(key, node): &'a (Key, Node)| {
            (
                key,
                Field {
                    source: self.source,
                    node,
                    path: join(&self.path, &key.text),
                    secret: self.secret,
                },
            )
        };
        entries.iter().map(entry).collect()
    }

    /// The content of the file that this names; not empty.
    pub(super) fn file(&self) -> Option<(PathBuf, Arc<[u8]>)> {
        match self.try_file()? {
            Ok(file) => Some(file),
            Err(fault) => {
                self.fail(fault);
                None
            }
        }
    }

    /// As [`Field::file`], for a file whose fault is not this field's alone to tell. `None`: not even a name.
    pub(super) fn try_file(&self) -> Option<ReadFile> {
        let written = self.text()?;
        let path = self.source.path(written);
        Some(match self.source.files.read(&path) {
            Ok(bytes) if bytes.is_empty() => Err(format!("the file `{}` is empty", quote(written))),
            Ok(bytes) => Ok((path, bytes)),
            Err(reason) => Err(format!("cannot read `{}`: {reason}", quote(written))),
        })
    }
}

/// Text from a file, safe and short enough for a message.
pub(super) fn quote(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut out: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        out.push_str("..");
    }
    out
}

fn join(path: &str, key: &str) -> String {
    let key = quote(key);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
