//! Replacement templates as Go's `Regexp.Expand` reads them.
//!
//! Takes a template and the pattern it refers to; gives its expansion for a match. Unknown names expand to
//! nothing, a `$` that begins no name stays as it is, `$$` is `$`.

use go_regex::unicode::is_letter_or_digit;
use go_regex::{NonMaxUsize, Regex, group};

#[derive(Debug)]
enum Part {
    Text(String),
    Group(usize),
    /// The first of these groups that took part.
    AnyOf(Vec<usize>),
}

/// A template, read once.
#[derive(Debug)]
pub struct Template(Vec<Part>);

impl Template {
    pub fn new(template: &str, regex: &Regex) -> Self {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('$') {
            text.push_str(before);
            rest = after;
            if let Some(after) = rest.strip_prefix('$') {
                text.push('$');
                rest = after;
                continue;
            }
            let Some((name, after)) = reference(rest) else {
                text.push('$');
                continue;
            };
            rest = after;
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(match number(name) {
                Some(group) => Part::Group(group),
                None => Part::AnyOf(regex.groups_named(name)),
            });
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Self(parts)
    }

    /// The expansion, where it does not depend on the match.
    pub fn fixed(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the expansion for a match in `text`.
    pub fn expand(&self, text: &str, slots: &[Option<NonMaxUsize>], out: &mut String) {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Group(index) => out.push_str(group(text, slots, *index).unwrap_or("")),
                Part::AnyOf(groups) => {
                    out.push_str(groups.iter().find_map(|index| group(text, slots, *index)).unwrap_or(""));
                }
            }
        }
    }
}

/// The name after a `$`, with or without braces, and what follows.
fn reference(rest: &str) -> Option<(&str, &str)> {
    let braced = rest.strip_prefix('{');
    let inside = braced.unwrap_or(rest);
    let end = inside
        .find(|c: char| c != '_' && !is_letter_or_digit(c))
        .unwrap_or(inside.len());
    let (name, after) = inside.split_at(end);
    if name.is_empty() {
        return None;
    }
    match braced {
        None => Some((name, after)),
        Some(_) => Some((name, after.strip_prefix('}')?)),
    }
}

/// The group a name stands for, if it is a number: no leading zero, not absurdly large.
fn number(name: &str) -> Option<usize> {
    if name.len() > 1 && name.starts_with('0') || name.len() > 9 || !name.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    name.parse().ok()
}
