//! What a sender says a write is part of, as W3C Trace Context (level 1) writes it.
//!
//! Takes headers, gives a trace, a parent and a state that are what the recommendation allows, or nothing; and back. What is
//! malformed is passed on to nobody. Pure.

use http::{HeaderMap, HeaderName, HeaderValue};

pub const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
pub const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");

/// `00-<32 hex>-<16 hex>-<2 hex>`.
const LENGTH: usize = 55;
const SAMPLED: u8 = 0b01;
/// Whether a trace's id is random, by level 2; it goes with the id. All other flags are zero (section 3.2.2.5.2).
const RANDOM: u8 = 0b10;

/// Section 3.3.1.5: what a vendor has to pass on at least, and all that is passed on here.
const MAX_STATE: usize = 512;
/// Section 3.3.1.1.
const MAX_MEMBERS: usize = 32;
/// Section 3.3.1.3.1, of a key, of its parts where it has two, and of a value.
const MAX_KEY: usize = 256;
const MAX_TENANT_ID: usize = 241;
const MAX_SYSTEM_ID: usize = 14;
const MAX_VALUE: usize = 256;

/// A trace, and the span in it that what comes next is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    pub trace: [u8; 16],
    pub span: [u8; 8],
    flags: u8,
}

/// What a sender says: its span, and what tracing systems said before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderContext {
    pub parent: TraceParent,
    pub state: Option<HeaderValue>,
}

impl TraceParent {
    /// A span of ours. The flag that says how a trace's id was made is its parent's to set.
    pub(super) fn sampled(trace: [u8; 16], span: [u8; 8], parent: Option<Self>) -> Self {
        let flags = SAMPLED | parent.map_or(0, |parent| parent.flags & RANDOM);
        Self { trace, span, flags }
    }

    /// The one that there is. Twice is somebody's trick or mistake.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACE_PARENT).iter();
        let first = values.next().filter(|_| values.next().is_none())?;
        Self::parse(first.as_bytes())
    }

    /// Section 3.2.2, and of versions that are yet to come what section 3.2.4 says that they begin with.
    fn parse(text: &[u8]) -> Option<Self> {
        let (known, after) = text.split_at_checked(LENGTH)?;
        let [version] = hex(&known[..2])?;
        let is_whole = match version {
            0 => after.is_empty(),
            0xff => false,
            _ => after.is_empty() || after[0] == b'-',
        };
        let is_apart = [2, 35, 52].iter().all(|at| known[*at] == b'-');
        let (trace, span) = (hex(&known[3..35])?, hex(&known[36..52])?);
        let [flags] = hex(&known[53..])?;
        let is_sound = is_whole && is_apart && trace != [0; 16] && span != [0; 8];
        is_sound.then_some(Self {
            trace,
            span,
            flags: flags & (SAMPLED | RANDOM),
        })
    }

    pub fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    pub(super) fn flags(self) -> u8 {
        self.flags
    }

    /// In version 00, whatever it came in.
    pub fn header(self) -> HeaderValue {
        let mut value = HeaderValue::from_static("00-00000000000000000000000000000000-0000000000000000-00");
        let (trace, span) = (u128::from_be_bytes(self.trace), u64::from_be_bytes(self.span));
        let text = format!("00-{trace:032x}-{span:016x}-{:02x}", self.flags);
        // Hexadecimal digits and dashes are what a header may have.
        if let Ok(made) = HeaderValue::try_from(text) {
            value = made;
        }
        value
    }
}

/// Digits in lower case, and no others.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(&pair[0])? << 4 | digit(&pair[1])?;
    }
    (text.len() == 2 * N).then_some(bytes)
}

impl SenderContext {
    /// Section 3.3: a `tracestate` means nothing without its `traceparent`, which goes on where that is malformed.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let parent = TraceParent::of(headers)?;
        let state = state(headers);
        Some(Self { parent, state })
    }
}

/// Several are one, in their order (section 3.3.1.1).
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(TRACE_STATE).iter();
    let first = values.next()?;
    let mut whole = first.clone();
    let mut others = values.peekable();
    if others.peek().is_some() {
        let all = std::iter::once(first).chain(others);
        let all: Vec<&[u8]> = all.take(MAX_MEMBERS + 1).map(HeaderValue::as_bytes).collect();
        whole = HeaderValue::from_bytes(&all.join(&b","[..])).ok()?;
    }
    is_state(whole.as_bytes()).then_some(whole)
}

/// Section 3.3.1, with keys that are there once.
fn is_state(text: &[u8]) -> bool {
    if text.len() > MAX_STATE {
        return false;
    }
    let mut keys: Vec<&[u8]> = Vec::new();
    for member in text.split(|byte| *byte == b',') {
        let member = blanks_off(member);
        if member.is_empty() {
            continue;
        }
        let Some(at) = member.iter().position(|byte| *byte == b'=') else {
            return false;
        };
        let (key, value) = (&member[..at], &member[at + 1..]);
        if !is_key(key) || !is_value(value) || keys.contains(&key) || keys.len() == MAX_MEMBERS {
            return false;
        }
        keys.push(key);
    }
    !keys.is_empty()
}

/// Blanks and tabs, which a list may have around its members.
fn blanks_off(mut member: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = member {
        member = rest;
    }
    member
}

fn is_key(key: &[u8]) -> bool {
    let is_rest = |rest: &[u8]| {
        let is_legal = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/".contains(b);
        rest.iter().all(is_legal)
    };
    let of = |key: &[u8], most: usize, may_begin_with_a_digit: bool| {
        let begins = key
            .first()
            .is_some_and(|b| b.is_ascii_lowercase() || (may_begin_with_a_digit && b.is_ascii_digit()));
        begins && key.len() <= most && is_rest(key)
    };
    match key.iter().position(|byte| *byte == b'@') {
        Some(at) => of(&key[..at], MAX_TENANT_ID, true) && of(&key[at + 1..], MAX_SYSTEM_ID, false),
        None => of(key, MAX_KEY, false),
    }
}

/// Its last character is no blank, since those around a member are none of it.
fn is_value(value: &[u8]) -> bool {
    let is_legal = |b: &u8| (0x20..0x7f).contains(b) && !b"=,".contains(b);
    (1..=MAX_VALUE).contains(&value.len()) && value.iter().all(is_legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn parent(text: &str) -> Option<TraceParent> {
        TraceParent::of(&headers(&[("traceparent", text)]))
    }

    #[test]
    fn a_parent_is_read_and_written_as_it_was() {
        for flags in ["00", "01", "02", "03"] {
            let text = format!("00-{TRACE}-{SPAN}-{flags}");
            let read = parent(&text).unwrap();
            assert_eq!(read.header(), text);
            assert_eq!(read.is_sampled(), flags.ends_with(['1', '3']), "{flags}");
        }
    }

    #[test]
    fn flags_that_nobody_knows_are_zero_and_later_versions_are_read_as_far_as_they_are_known() {
        let known = format!("00-{TRACE}-{SPAN}-01");
        for text in [
            format!("00-{TRACE}-{SPAN}-fd"),
            format!("01-{TRACE}-{SPAN}-01"),
            format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"),
            format!("fe-{TRACE}-{SPAN}-01-"),
        ] {
            assert_eq!(parent(&text).unwrap().header(), known, "{text}");
        }
    }

    #[test]
    fn a_parent_that_is_not_what_the_recommendation_says_is_none() {
        let (zero, zeros) = ("0".repeat(16), "0".repeat(32));
        for text in [
            String::new(),
            "00".to_owned(),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{zero}-01"),
            format!("00-{TRACE}-{SPAN}-01-x"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-0"),
            format!("00-{TRACE}-{SPAN}-"),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-0g"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("0-{TRACE}-{SPAN}-01"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("FE-{TRACE}-{SPAN}-01"),
            format!("cc-{TRACE}-{SPAN}-01.what"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
            format!("00-{TRACE}_{SPAN}-01"),
            format!("00_{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}_01"),
            format!(" 00-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01 "),
            format!("00-{}-{SPAN}-01", &TRACE[1..]),
            format!("00-{TRACE}-+{}-01", &SPAN[1..]),
            format!("00-{TRACE}é-{}-01", &SPAN[2..]),
        ] {
            assert_eq!(parent(&text), None, "{text:?}");
        }
        let sound = format!("00-{TRACE}-{SPAN}-01");
        let twice = headers(&[("traceparent", &sound), ("traceparent", &sound)]);
        assert_eq!(TraceParent::of(&twice), None);
    }

    fn state_of(values: &[&str]) -> Option<String> {
        let sound = format!("00-{TRACE}-{SPAN}-01");
        let mut all = vec![("traceparent", sound.as_str())];
        all.extend(values.iter().map(|value| ("tracestate", *value)));
        let state = SenderContext::of(&headers(&all)).unwrap().state;
        state.map(|state| state.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_state_passes_as_it_came_and_several_are_one() {
        let keys: Vec<String> = (0..MAX_MEMBERS).map(|n| format!("k{n}=v")).collect();
        let longest = format!("{}=v", "k".repeat(MAX_KEY));
        for state in [
            "a=1,b=2",
            "rojo=00f067aa0ba902b7",
            "fw529a3039@dt=FfAAAcKhKp;x,1a_-*/@b=!",
            "a=1 , ,\tb=2",
            "a=b c",
            &keys.join(","),
            &longest,
        ] {
            assert_eq!(state_of(&[state]).as_deref(), Some(state), "{state}");
        }
        assert_eq!(state_of(&["a=1", "b=2,c=3"]).as_deref(), Some("a=1,b=2,c=3"));
        let none = SenderContext::of(&headers(&[("tracestate", "a=1")]));
        assert_eq!(none, None, "without its parent it means nothing");
    }

    #[test]
    fn a_state_that_is_malformed_goes_and_its_parent_stays() {
        let too_many: Vec<String> = (0..=MAX_MEMBERS).map(|n| format!("k{n}=v")).collect();
        let bytes = format!("a={},b={}", "v".repeat(256), "v".repeat(252));
        let long_key = format!("{}=v", "k".repeat(MAX_KEY + 1));
        let long_value = format!("a={}", "v".repeat(MAX_VALUE + 1));
        let (tenant, system) = ("t".repeat(MAX_TENANT_ID + 1), "s".repeat(MAX_SYSTEM_ID + 1));
        for state in [
            "",
            ",",
            "a",
            "a=",
            "=1",
            "A=1",
            "1a=1",
            "a=1,a=2",
            "a=1=2",
            "a=1,b",
            "a =1",
            "a@=1",
            "@b=1",
            "a@1=1",
            "a@b@c=1",
            "a=\u{e9}",
            "a=b\tc",
            &too_many.join(","),
            &bytes,
            &long_key,
            &long_value,
            &format!("{tenant}@s=1"),
            &format!("t@{system}=1"),
        ] {
            assert_eq!(state_of(&[state]), None, "{state}");
        }
        assert_eq!(state_of(&["a=1", "a=2"]), None);
        let many = vec!["a=1"; 2000];
        assert_eq!(state_of(&many), None);
        assert_eq!(bytes.len(), MAX_STATE + 1);
        assert!(state_of(&[&bytes[..MAX_STATE]]).is_some());
    }
}
