//! Go's regular expression syntax, read into a syntax tree for the engine.
//!
//! Takes a whole pattern; gives its tree and the names of its groups, or the error that Go's `regexp.Compile`
//! would give, in its words. Refuses what Go refuses: no engine is asked whether it likes a pattern.
//!
//! Long because the grammar is one set of functions that call each other.

use std::fmt;

use regex_syntax::hir::{Capture, Dot, Hir, Look, Repetition};

use crate::class::{Set, perl, posix};
use crate::unicode::{self, MAX};

/// The engine's compiler recurses; a guest's stack is small. Go stops at 1000.
const MAX_DEPTH: u32 = 200;
/// The most copies of anything that nested counted repetitions may ask for.
const MAX_COPIES: u32 = 1000;

/// Why a pattern is refused, worded as Go does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub what: &'static str,
    /// The part of the pattern that is wrong.
    pub part: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error parsing regexp: {}: `{}`", self.what, self.part)
    }
}

fn error<T>(what: &'static str, part: &str) -> Result<T, Error> {
    Err(Error {
        what,
        part: part.to_owned(),
    })
}

const CHAR_RANGE: &str = "invalid character class range";
const ESCAPE: &str = "invalid escape sequence";
const NAMED_CAPTURE: &str = "invalid named capture";
const PERL: &str = "invalid or unsupported Perl syntax";
const REPEAT_SIZE: &str = "invalid repeat count";

/// A pattern that Go accepts.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) hir: Hir,
    /// Of each group from 0 on; empty for those without.
    pub(super) names: Vec<String>,
}

pub(super) fn parse(pattern: &str) -> Result<Parsed, Error> {
    let mut parser = Parser {
        pattern,
        rest: pattern,
        flags: Flags::default(),
        groups: Vec::new(),
        open: Group::default(),
        names: vec![String::new()],
    };
    parser.run()?;
    if !parser.groups.is_empty() {
        return error("missing closing )", pattern);
    }
    let hir = parser.open.close().hir;
    Ok(Parsed {
        hir,
        names: parser.names,
    })
}

#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    fold: bool,
    multi_line: bool,
    dot_newline: bool,
    lazy: bool,
}

/// A piece of tree that an operator can still apply to.
#[derive(Debug)]
struct Item {
    hir: Hir,
    /// Copies that the counted repetitions in it ask for, multiplied along the deepest path.
    copies: u32,
    depth: u32,
}

impl Item {
    fn leaf(hir: Hir) -> Self {
        Self {
            hir,
            copies: 1,
            depth: 1,
        }
    }

    fn join(items: Vec<Self>, join: fn(Vec<Hir>) -> Hir) -> Self {
        let copies = items.iter().map(|item| item.copies).max().unwrap_or(1);
        let depth = items.iter().map(|item| item.depth).max().unwrap_or(0) + 1;
        Self {
            hir: join(items.into_iter().map(|item| item.hir).collect()),
            copies,
            depth,
        }
    }
}

/// What has been read since a parenthesis opened.
#[derive(Debug, Default)]
struct Group {
    /// `None`: not capturing.
    capture: Option<u32>,
    /// To be restored when it closes.
    flags: Flags,
    branches: Vec<Item>,
    items: Vec<Item>,
}

impl Group {
    fn branch(&mut self) {
        let mut items = std::mem::take(&mut self.items);
        let branch = match items.pop() {
            Some(only) if items.is_empty() => only,
            last => {
                items.extend(last);
                Item::join(items, Hir::concat)
            }
        };
        self.branches.push(branch);
    }

    fn close(mut self) -> Item {
        self.branch();
        match self.branches.pop() {
            Some(only) if self.branches.is_empty() => only,
            last => {
                self.branches.extend(last);
                Item::join(self.branches, Hir::alternation)
            }
        }
    }
}

struct Parser<'a> {
    pattern: &'a str,
    rest: &'a str,
    flags: Flags,
    groups: Vec<Group>,
    open: Group,
    names: Vec<String>,
}

impl<'a> Parser<'a> {
    fn run(&mut self) -> Result<(), Error> {
        // Where a repetition that was just read begins: a second one on top of it is an error.
        let mut last_repeat: Option<&str> = None;
        while let Some(first) = self.rest.chars().next() {
            let before = self.rest;
            let mut repeat = None;
            match first {
                '(' if before.starts_with("(?") => self.perl_group()?,
                '(' => {
                    self.names.push(String::new());
                    self.open_group(Some(self.names.len() as u32 - 1));
                    self.skip(1);
                }
                '|' => {
                    self.open.branch();
                    self.skip(1);
                }
                ')' => self.close_group()?,
                '^' => self.look(
                    if self.flags.multi_line {
                        Look::StartLF
                    } else {
                        Look::Start
                    },
                    1,
                ),
                '$' => self.look(if self.flags.multi_line { Look::EndLF } else { Look::End }, 1),
                '.' => {
                    let dot = if self.flags.dot_newline {
                        Dot::AnyChar
                    } else {
                        Dot::AnyCharExceptLF
                    };
                    self.push(Hir::dot(dot));
                    self.skip(1);
                }
                '[' => self.bracket()?,
                '*' | '+' | '?' => {
                    let (min, max) = match first {
                        '*' => (0, None),
                        '+' => (1, None),
                        _ => (0, Some(1)),
                    };
                    self.skip(1);
                    self.repeat(min, max, false, before, last_repeat)?;
                    repeat = Some(before);
                }
                '{' => match counts(before) {
                    None => {
                        self.literal('{');
                        self.skip(1);
                    }
                    Some((min, max, length)) => {
                        self.skip(length);
                        let (Some(min), Some(max)) = (min, max) else {
                            return error(REPEAT_SIZE, &before[..length]);
                        };
                        if min > MAX_COPIES || max.is_some_and(|max| max > MAX_COPIES || min > max) {
                            return error(REPEAT_SIZE, &before[..length]);
                        }
                        self.repeat(min, max, true, before, last_repeat)?;
                        repeat = Some(before);
                    }
                },
                '\\' => self.backslash()?,
                c => {
                    self.literal(c);
                    self.skip(c.len_utf8());
                }
            }
            last_repeat = repeat;
        }
        Ok(())
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    fn push(&mut self, hir: Hir) {
        self.open.items.push(Item::leaf(hir));
    }

    fn look(&mut self, look: Look, bytes: usize) {
        self.push(Hir::look(look));
        self.skip(bytes);
    }

    fn literal(&mut self, c: char) {
        self.code(u32::from(c));
    }

    /// A code point that stands for itself; a surrogate can be written and never matches.
    fn code(&mut self, code: u32) {
        match char::from_u32(code) {
            Some(c) if !self.flags.fold || unicode::simple_fold(code) == code => {
                self.push(Hir::literal(c.encode_utf8(&mut [0; 4]).as_bytes()));
            }
            _ => {
                let mut set = Set::default();
                if self.flags.fold {
                    set.add_folded(code, code)
                } else {
                    set.add(code, code)
                }
                self.push(set.hir());
            }
        }
    }

    fn open_group(&mut self, capture: Option<u32>) {
        let outer = std::mem::replace(
            &mut self.open,
            Group {
                capture,
                flags: self.flags,
                ..Group::default()
            },
        );
        self.groups.push(outer);
    }

    fn close_group(&mut self) -> Result<(), Error> {
        let Some(outer) = self.groups.pop() else {
            return error("unexpected )", self.pattern);
        };
        let group = std::mem::replace(&mut self.open, outer);
        let (capture, flags) = (group.capture, group.flags);
        let mut item = group.close();
        if let Some(index) = capture {
            item.hir = Hir::capture(Capture {
                index,
                name: None,
                sub: Box::new(item.hir),
            });
        }
        item.depth += 1;
        if item.depth > MAX_DEPTH {
            return error("expression nests too deeply", self.pattern);
        }
        self.open.items.push(item);
        self.flags = flags;
        self.skip(1);
        Ok(())
    }

    /// `before` begins at the operator, `self.rest` after it.
    fn repeat(
        &mut self,
        min: u32,
        max: Option<u32>,
        counted: bool,
        before: &str,
        last_repeat: Option<&str>,
    ) -> Result<(), Error> {
        let mut lazy = self.flags.lazy;
        if self.rest.starts_with('?') {
            self.skip(1);
            lazy = !lazy;
        }
        if let Some(last) = last_repeat {
            return error(
                "invalid nested repetition operator",
                &last[..last.len() - self.rest.len()],
            );
        }
        let operator = &before[..before.len() - self.rest.len()];
        let Some(item) = self.open.items.pop() else {
            return error("missing argument to repetition operator", operator);
        };
        let copies = match max.unwrap_or(min) {
            // Copies of what is never there, or as few as nobody asked for.
            0 if max.is_some() => 1,
            count if counted => item.copies.saturating_mul(count.max(1)),
            _ => item.copies,
        };
        if counted && (min >= 2 || max.is_some_and(|max| max >= 2)) && copies > MAX_COPIES {
            return error(REPEAT_SIZE, operator);
        }
        let depth = item.depth + 1;
        if depth > MAX_DEPTH {
            return error("expression nests too deeply", self.pattern);
        }
        let hir = Hir::repetition(Repetition {
            min,
            max,
            greedy: !lazy,
            sub: Box::new(item.hir),
        });
        self.open.items.push(Item { hir, copies, depth });
        Ok(())
    }

    /// `(?P<name>`, `(?<name>`, `(?flags)` and `(?flags:`.
    fn perl_group(&mut self) -> Result<(), Error> {
        let whole = self.rest;
        let name_at = match whole {
            _ if whole.len() > 4 && whole.starts_with("(?P<") => Some(4),
            _ if whole.len() > 3 && whole.starts_with("(?<") => Some(3),
            _ => None,
        };
        if let Some(name_at) = name_at {
            let Some(end) = whole.find('>') else {
                return error(NAMED_CAPTURE, whole);
            };
            let name = &whole[name_at..end];
            if name.is_empty() || !name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) {
                return error(NAMED_CAPTURE, &whole[..=end]);
            }
            self.names.push(name.to_owned());
            self.open_group(Some(self.names.len() as u32 - 1));
            self.skip(end + 1);
            return Ok(());
        }
        self.skip(2);
        let mut flags = self.flags;
        let (mut on, mut saw_flag) = (true, false);
        while let Some(c) = self.rest.chars().next() {
            self.skip(c.len_utf8());
            let flag = match c {
                'i' => &mut flags.fold,
                'm' => &mut flags.multi_line,
                's' => &mut flags.dot_newline,
                'U' => &mut flags.lazy,
                '-' if on => {
                    (on, saw_flag) = (false, false);
                    continue;
                }
                ':' | ')' if on || saw_flag => {
                    if c == ':' {
                        self.open_group(None);
                    }
                    self.flags = flags;
                    return Ok(());
                }
                _ => break,
            };
            *flag = on;
            saw_flag = true;
        }
        error(PERL, &whole[..whole.len() - self.rest.len()])
    }

    fn backslash(&mut self) -> Result<(), Error> {
        match self.rest.as_bytes().get(1) {
            Some(b'A') => self.look(Look::Start, 2),
            Some(b'z') => self.look(Look::End, 2),
            Some(b'b') => self.look(Look::WordAscii, 2),
            Some(b'B') => self.look(Look::WordAsciiNegate, 2),
            Some(b'C') => return error(ESCAPE, "\\C"),
            Some(b'Q') => {
                let quoted = &self.rest[2..];
                let (text, rest) = quoted.split_once("\\E").unwrap_or((quoted, ""));
                for c in text.chars() {
                    self.literal(c);
                }
                self.rest = rest;
            }
            _ => match self.class_escape()? {
                Some(set) => self.push(set.hir()),
                None => {
                    let code = self.escape()?;
                    self.code(code);
                }
            },
        }
        Ok(())
    }

    /// `\p{...}`, `\d` and the like, if that is what comes.
    fn class_escape(&mut self) -> Result<Option<Set>, Error> {
        let [b'\\', letter, ..] = *self.rest.as_bytes() else {
            return Ok(None);
        };
        if matches!(letter, b'p' | b'P') {
            return self.unicode_class().map(Some);
        }
        let Some(mut set) = perl(letter) else {
            return Ok(None);
        };
        if self.flags.fold {
            set = set.folded();
        }
        self.skip(2);
        Ok(Some(if letter.is_ascii_uppercase() {
            set.negated()
        } else {
            set
        }))
    }

    fn unicode_class(&mut self) -> Result<Set, Error> {
        let whole = self.rest;
        let mut negated = whole.as_bytes()[1] == b'P';
        let (mut name, length) = match whole[2..].chars().next() {
            // Go reads the end of the pattern as one unreadable rune of length 0.
            None => return error(CHAR_RANGE, whole),
            Some('{') => {
                let Some(end) = whole.find('}') else {
                    return error(CHAR_RANGE, whole);
                };
                (&whole[3..end], end + 1)
            }
            Some(c) => (&whole[2..2 + c.len_utf8()], 2 + c.len_utf8()),
        };
        if let Some(positive) = name.strip_prefix('^') {
            negated = !negated;
            name = positive;
        }
        let Some(ranges) = unicode::class(name, self.flags.fold) else {
            return error(CHAR_RANGE, &whole[..length]);
        };
        self.skip(length);
        let set = Set::of(&ranges);
        Ok(if negated { set.negated() } else { set })
    }

    /// One escaped code point.
    fn escape(&mut self) -> Result<u32, Error> {
        let whole = self.rest;
        self.skip(1);
        let Some(c) = self.rest.chars().next() else {
            return error("trailing backslash at end of expression", "");
        };
        self.skip(c.len_utf8());
        let octal = |rest: &str| rest.bytes().next().is_some_and(|byte| matches!(byte, b'0'..=b'7'));
        match c {
            '0' => return Ok(self.octal(0)),
            '1'..='7' if octal(self.rest) => return Ok(self.octal(u32::from(c) - u32::from('0'))),
            'x' => {
                if let Some(code) = self.hex() {
                    return Ok(code);
                }
            }
            'a' => return Ok(0x07),
            'f' => return Ok(0x0c),
            'n' => return Ok(0x0a),
            'r' => return Ok(0x0d),
            't' => return Ok(0x09),
            'v' => return Ok(0x0b),
            _ if c.is_ascii() && !c.is_ascii_alphanumeric() => return Ok(u32::from(c)),
            _ => {}
        }
        error(ESCAPE, &whole[..whole.len() - self.rest.len()])
    }

    /// Up to two more octal digits.
    fn octal(&mut self, mut code: u32) -> u32 {
        for _ in 0..2 {
            match self.rest.as_bytes().first() {
                Some(digit @ b'0'..=b'7') => code = code * 8 + u32::from(digit - b'0'),
                _ => break,
            }
            self.skip(1);
        }
        code
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.skip(c.len_utf8());
        Some(c)
    }

    /// Two hexadecimal digits, or any number of them in braces.
    fn hex(&mut self) -> Option<u32> {
        let first = self.next()?;
        if first != '{' {
            let second = self.next();
            return Some(first.to_digit(16)? * 16 + second?.to_digit(16)?);
        }
        let mut code = None;
        loop {
            match self.next()? {
                '}' => return code,
                digit => {
                    let next = code.unwrap_or(0) * 16 + digit.to_digit(16)?;
                    code = Some(next).filter(|code| *code <= MAX);
                    code?;
                }
            }
        }
    }

    /// `[...]`.
    fn bracket(&mut self) -> Result<(), Error> {
        let whole = self.rest;
        self.skip(1);
        let negated = self.rest.starts_with('^');
        if negated {
            self.skip(1);
        }
        let mut set = Set::default();
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            if let Some(named) = self.named_class()? {
                set.add_all(&named);
                continue;
            }
            if let Some(named) = self.class_escape()? {
                set.add_all(&named);
                continue;
            }
            let range = self.rest;
            let low = self.class_char(whole)?;
            let mut high = low;
            if self.rest.len() >= 2 && self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.skip(1);
                high = self.class_char(whole)?;
                if high < low {
                    return error(CHAR_RANGE, &range[..range.len() - self.rest.len()]);
                }
            }
            if self.flags.fold {
                set.add_folded(low, high)
            } else {
                set.add(low, high)
            }
        }
        self.skip(1);
        self.push(if negated { set.negated().hir() } else { set.hir() });
        Ok(())
    }

    fn class_char(&mut self, whole: &str) -> Result<u32, Error> {
        match self.rest.chars().next() {
            None => error("missing closing ]", whole),
            Some('\\') => self.escape(),
            Some(c) => {
                self.skip(c.len_utf8());
                Ok(u32::from(c))
            }
        }
    }

    /// `[:name:]` inside brackets, if that is what comes.
    fn named_class(&mut self) -> Result<Option<Set>, Error> {
        let Some(inside) = self.rest.strip_prefix("[:") else {
            return Ok(None);
        };
        let Some(end) = inside.find(":]") else {
            return Ok(None);
        };
        let name = &inside[..end];
        let (plain, negated) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
        let Some(mut set) = posix(plain) else {
            return error(CHAR_RANGE, &self.rest[..end + 4]);
        };
        if self.flags.fold {
            set = set.folded();
        }
        self.skip(end + 4);
        Ok(Some(if negated { set.negated() } else { set }))
    }
}

/// A number as read, `None` where it is too big to be meant.
type Count = Option<u32>;

/// Reads `{n}`, `{n,}` or `{n,m}`: least, most (`Some(None)` is no bound) and the length of it all.
/// Anything else is literal text.
fn counts(text: &str) -> Option<(Count, Option<Option<u32>>, usize)> {
    let rest = text.strip_prefix('{')?;
    let (min, rest) = count(rest)?;
    let (max, rest) = match rest.strip_prefix(',') {
        None => (min.map(Some), rest),
        Some(rest) if rest.starts_with('}') => (Some(None), rest),
        Some(rest) => {
            let (max, rest) = count(rest)?;
            (max.map(Some), rest)
        }
    };
    let rest = rest.strip_prefix('}')?;
    Some((min, max, text.len() - rest.len()))
}

/// Digits without a leading zero.
fn count(text: &str) -> Option<(Count, &str)> {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(length);
    if digits.is_empty() || digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    Some((digits.parse().ok().filter(|count| *count < 1_000_000_000), rest))
}
