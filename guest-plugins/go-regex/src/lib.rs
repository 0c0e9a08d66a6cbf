//! Regular expressions as Prometheus' relabelling has them: Go's syntax, anchored by wrapping the text.
//!
//! Takes a pattern as configured; gives matches with groups. Never backtracks without bound: patterns that are
//! one-pass run as such, the others by bounded backtracking, and by simulation where a text is too long for it.

mod class;
mod parse;
mod patterns;
pub mod unicode;

use regex_automata::Input;
use regex_automata::dfa::onepass;
use regex_automata::nfa::thompson::backtrack::{self, BoundedBacktracker};
use regex_automata::nfa::thompson::pikevm::{self, PikeVM};
use regex_automata::nfa::thompson::{self, WhichCaptures};
pub use regex_automata::util::primitives::NonMaxUsize;

pub use parse::Error;
pub use patterns::Patterns;

/// Memory for one compiled pattern. Bytes; a guest has 32 MiB for all of them.
const MAX_NFA_SIZE: usize = 4 << 20;
const MAX_ONEPASS_SIZE: usize = 1 << 18;
/// Memory to remember visited states in; texts that would need more are simulated. Bytes.
const MAX_VISITED_SIZE: usize = 1 << 18;

/// Where each group began and ended, group 0 first. Offsets into the text.
pub type Slots = Vec<Option<NonMaxUsize>>;

/// The text of group `group`; `None` where it took no part.
pub fn group<'t>(text: &'t str, slots: &[Option<NonMaxUsize>], group: usize) -> Option<&'t str> {
    let (start, end) = (slots.get(group * 2).copied()??, slots.get(group * 2 + 1).copied()??);
    text.get(start.get()..end.get())
}

/// A pattern, ready to match, with the memory it needs to do so.
#[derive(Debug)]
pub struct Regex {
    engine: Engine,
    names: Vec<String>,
}

#[derive(Debug)]
enum Engine {
    /// The default pattern, `(.*)`: whatever the text is, it is group 1.
    Everything,
    /// Nothing but literal text.
    Exactly(String),
    /// Literal text, then `.*`.
    Prefix(String),
    OnePass(Box<(onepass::DFA, onepass::Cache)>),
    General(Box<General>),
}

#[derive(Debug)]
struct General {
    backtracker: BoundedBacktracker,
    backtracker_cache: backtrack::Cache,
    simulator: PikeVM,
    /// Made when the first text too long to backtrack over comes.
    simulator_cache: Option<pikevm::Cache>,
}

impl Regex {
    /// Compiles a pattern, or says in Go's words why not.
    pub fn new(pattern: &str) -> Result<Self, Error> {
        if pattern == "(.*)" {
            return Ok(Self::everything());
        }
        if let Some(engine) = simple(pattern) {
            let groups = if matches!(engine, Engine::Everything) { 2 } else { 1 };
            return Ok(Self {
                engine,
                names: vec![String::new(); groups],
            });
        }
        // As text, not as a group: a pattern may close it and open another.
        let wrapped = format!("^(?s:{pattern})$");
        let parsed = parse::parse(&wrapped)?;
        let too_large = || Error {
            what: "expression too large",
            part: wrapped.clone(),
        };
        let config = thompson::Config::new()
            .nfa_size_limit(Some(MAX_NFA_SIZE))
            .which_captures(WhichCaptures::All)
            .shrink(false);
        let nfa = thompson::Compiler::new()
            .configure(config)
            .build_from_hir(&parsed.hir)
            .map_err(|_| too_large())?;
        let onepass = onepass::Builder::new()
            .configure(onepass::Config::new().size_limit(Some(MAX_ONEPASS_SIZE)))
            .build_from_nfa(nfa.clone());
        let engine = match onepass {
            Ok(dfa) if nfa.is_always_start_anchored() => {
                let cache = dfa.create_cache();
                Engine::OnePass(Box::new((dfa, cache)))
            }
            _ => {
                let backtracker = BoundedBacktracker::builder()
                    .configure(backtrack::Config::new().visited_capacity(MAX_VISITED_SIZE))
                    .build_from_nfa(nfa.clone())
                    .map_err(|_| too_large())?;
                let simulator = PikeVM::new_from_nfa(nfa).map_err(|_| too_large())?;
                let backtracker_cache = backtracker.create_cache();
                Engine::General(Box::new(General {
                    backtracker,
                    backtracker_cache,
                    simulator,
                    simulator_cache: None,
                }))
            }
        };
        Ok(Self {
            engine,
            names: parsed.names,
        })
    }

    /// The default of relabelling, `(.*)`.
    pub fn everything() -> Self {
        Self {
            engine: Engine::Everything,
            names: vec![String::new(); 2],
        }
    }

    /// The groups with this name, in order.
    pub fn groups_named(&self, name: &str) -> Vec<usize> {
        self.names
            .iter()
            .enumerate()
            .filter(|(_, known)| *known == name)
            .map(|(group, _)| group)
            .collect()
    }

    pub fn is_match(&mut self, text: &str) -> bool {
        match &mut self.engine {
            Engine::Everything => true,
            Engine::Exactly(literal) => text == literal,
            Engine::Prefix(prefix) => text.starts_with(prefix.as_str()),
            engine => engine.search(text, 0, &mut []),
        }
    }

    /// Finds the leftmost match that begins at `from` or later, and its groups.
    pub fn captures(&mut self, text: &str, from: usize, slots: &mut Slots) -> bool {
        slots.clear();
        slots.resize(self.names.len() * 2, None);
        self.engine.search(text, from, slots)
    }

    /// `ReplaceAllString`: a pattern that escapes its anchors can match several times.
    pub fn replace_all(
        &mut self,
        text: &str,
        slots: &mut Slots,
        mut expand: impl FnMut(&str, &Slots, &mut String),
    ) -> String {
        let mut out = String::new();
        let (mut copied, mut from) = (0, 0);
        while from <= text.len() && self.captures(text, from, slots) {
            let (Some(&Some(start)), Some(&Some(end))) = (slots.first(), slots.get(1)) else {
                break;
            };
            let (start, end) = (start.get(), end.get());
            out.push_str(&text[copied..start]);
            // An empty match right after another one does not count.
            if end > copied || start == 0 {
                expand(text, slots, &mut out);
            }
            copied = end;
            let width = text[from..].chars().next().map_or(1, char::len_utf8);
            from = if from + width > end { from + width } else { end };
        }
        out.push_str(&text[copied..]);
        out
    }
}

/// Recognises the patterns that need no engine: most that operators write.
fn simple(pattern: &str) -> Option<Engine> {
    let plain = |text: &str| {
        text.bytes()
            .all(|byte| !byte.is_ascii_punctuation() || b"_-:;/,@%&=~#!<>'\"`".contains(&byte))
    };
    match pattern.strip_suffix(".*") {
        Some(prefix) if plain(prefix) => Some(Engine::Prefix(prefix.to_owned())),
        _ if plain(pattern) => Some(Engine::Exactly(pattern.to_owned())),
        _ => None,
    }
}

impl Engine {
    fn search(&mut self, text: &str, from: usize, slots: &mut [Option<NonMaxUsize>]) -> bool {
        let whole = match self {
            Self::Everything => from == 0,
            Self::Exactly(literal) => from == 0 && text == literal,
            Self::Prefix(prefix) => from == 0 && text.starts_with(prefix.as_str()),
            Self::OnePass(both) => {
                let (dfa, cache) = &mut **both;
                let input = Input::new(text).range(from..).anchored(regex_automata::Anchored::Yes);
                return dfa
                    .try_search_slots(cache, &input, slots)
                    .is_ok_and(|hit| hit.is_some());
            }
            Self::General(general) => return general.search(text, from, slots),
        };
        if whole {
            for pair in slots.chunks_exact_mut(2) {
                pair[0] = NonMaxUsize::new(0);
                pair[1] = NonMaxUsize::new(text.len());
            }
        }
        whole
    }
}

impl General {
    fn search(&mut self, text: &str, from: usize, slots: &mut [Option<NonMaxUsize>]) -> bool {
        let input = Input::new(text).range(from..);
        if let Ok(hit) = self
            .backtracker
            .try_search_slots(&mut self.backtracker_cache, &input, slots)
        {
            return hit.is_some();
        }
        let cache = self
            .simulator_cache
            .get_or_insert_with(|| self.simulator.create_cache());
        self.simulator.search_slots(cache, &input, slots).is_some()
    }
}
