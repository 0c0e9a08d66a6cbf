//! Where a request's head ends and the next one begins, found a second time.
//!
//! Takes the bytes of a connection as they come, in pieces of any size; says how many heads are whole, and what about one
//! could mean one thing to us and another to who stands before us (RFC 9112 section 11.2): the HTTP library forgives
//! that silently. Never allocates, never holds bytes back, and follows nothing behind what it found fault with.

/// As much of a line is kept as the two fields that matter need, with the longest number and some blanks.
const KEPT: usize = 64;

/// What two readers may understand differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ambiguity {
    BareLineFeed,
    LengthAndEncoding,
    LengthTwice,
    Length,
    Encoding,
    Host,
}

impl Ambiguity {
    /// What the sender is told.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::BareLineFeed => "a line of a head or of trailers ends without a carriage return\n",
            Self::LengthAndEncoding => "the head has both Content-Length and Transfer-Encoding\n",
            Self::LengthTwice => "the head has Content-Length twice\n",
            Self::Length => "Content-Length is no number\n",
            Self::Encoding => "Transfer-Encoding is not `chunked`, once\n",
            Self::Host => "the head does not name one Host\n",
        }
    }
}

/// What a piece of a connection had.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Heads that ended in it, all of them sound.
    pub heads: u64,
    pub fault: Option<Ambiguity>,
}

/// Where a connection stands, by the bytes that it had so far.
#[derive(Debug)]
pub struct Framing {
    at: At,
    line: Line,
}

#[derive(Debug)]
enum At {
    Head(Head),
    /// So many bytes of a body are to come; after those of a chunk, its size line.
    Body(u64),
    Chunk(u64),
    ChunkSize,
    Trailers,
    Lost,
}

#[derive(Debug, Default)]
struct Head {
    begun: bool,
    length: Option<u64>,
    is_chunked: bool,
}

/// A line as far as it came.
#[derive(Debug)]
struct Line {
    kept: [u8; KEPT],
    length: usize,
    last: u8,
}

impl Default for Framing {
    fn default() -> Self {
        Self {
            at: At::Head(Head::default()),
            line: Line {
                kept: [0; KEPT],
                length: 0,
                last: 0,
            },
        }
    }
}

impl Framing {
    /// What the next bytes had.
    pub fn follow(&mut self, mut bytes: &[u8]) -> Seen {
        let mut seen = Seen::default();
        while !bytes.is_empty() {
            bytes = match &mut self.at {
                At::Lost => return seen,
                At::Body(left) | At::Chunk(left) => {
                    let taken = (bytes.len() as u64).min(*left);
                    *left -= taken;
                    if *left == 0 {
                        self.at = self.at.after_data();
                    }
                    // It is no longer than the bytes are.
                    &bytes[taken as usize..]
                }
                At::Head(_) | At::ChunkSize | At::Trailers => match memchr::memchr(b'\n', bytes) {
                    None => {
                        self.line.push(bytes);
                        return seen;
                    }
                    Some(end) => {
                        self.line.push(&bytes[..end]);
                        self.end_line(&mut seen);
                        &bytes[end + 1..]
                    }
                },
            };
        }
        seen
    }

    fn end_line(&mut self, seen: &mut Seen) {
        let next = match &mut self.at {
            At::Head(head) => head.line(&self.line),
            At::ChunkSize => Ok(self.line.chunk()),
            At::Trailers => self.line.trailer(),
            At::Body(_) | At::Chunk(_) | At::Lost => Ok(None),
        };
        self.line.clear();
        match next {
            Ok(None) => {}
            Ok(Some(next)) => {
                seen.heads += u64::from(matches!(self.at, At::Head(_)));
                self.at = next;
            }
            Err(fault) => {
                seen.fault = Some(fault);
                self.at = At::Lost;
            }
        }
    }
}

impl At {
    fn after_data(&self) -> Self {
        match self {
            Self::Chunk(_) => Self::ChunkSize,
            _ => Self::Head(Head::default()),
        }
    }
}

impl Head {
    /// What follows, if the head ends with this line.
    fn line(&mut self, line: &Line) -> Result<Option<At>, Ambiguity> {
        if line.last != b'\r' {
            return Err(Ambiguity::BareLineFeed);
        }
        if !line.is_empty() {
            // The first is the request line.
            if std::mem::replace(&mut self.begun, true) {
                self.field(line)?;
            }
            return Ok(None);
        }
        // Empty lines before a request line are skipped (RFC 9112 section 2.2).
        Ok(self.begun.then(|| match (self.is_chunked, self.length) {
            (true, _) => At::ChunkSize,
            (false, None | Some(0)) => At::Head(Self::default()),
            (false, Some(length)) => At::Body(length),
        }))
    }

    fn field(&mut self, line: &Line) -> Result<(), Ambiguity> {
        if let Some(value) = line.value_of(b"content-length:") {
            let length = value.ok_or(Ambiguity::Length)?;
            let length = length.parse().map_err(|_| Ambiguity::Length)?;
            if self.length.replace(length).is_some() {
                return Err(Ambiguity::LengthTwice);
            }
        } else if let Some(value) = line.value_of(b"transfer-encoding:") {
            let is_chunked = value.is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
            if !is_chunked || std::mem::replace(&mut self.is_chunked, true) {
                return Err(Ambiguity::Encoding);
            }
        }
        match self.is_chunked && self.length.is_some() {
            true => Err(Ambiguity::LengthAndEncoding),
            false => Ok(()),
        }
    }
}

impl Line {
    fn push(&mut self, bytes: &[u8]) {
        if let Some(room) = self.kept.get_mut(self.length..) {
            let kept = room.len().min(bytes.len());
            room[..kept].copy_from_slice(&bytes[..kept]);
        }
        self.length = self.length.saturating_add(bytes.len());
        self.last = bytes.last().copied().unwrap_or(self.last);
    }

    fn clear(&mut self) {
        self.length = 0;
        self.last = 0;
    }

    /// Nothing but a carriage return, if that.
    fn is_empty(&self) -> bool {
        self.length == usize::from(self.last == b'\r')
    }

    /// The value of the field, if it is that one: `None` in it is a value that is no text or too long to be one of these.
    fn value_of(&self, name: &[u8]) -> Option<Option<&str>> {
        let kept = &self.kept[..self.length.min(KEPT)];
        let (start, value) = kept.split_at_checked(name.len())?;
        if !start.eq_ignore_ascii_case(name) {
            return None;
        }
        let whole = std::str::from_utf8(value).ok().filter(|_| self.length <= KEPT);
        Some(whole.map(|value| value.trim_matches([' ', '\t', '\r'])))
    }

    /// What follows a line of trailers. One that ends with a line feed alone is a part of the next to the library.
    fn trailer(&self) -> Result<Option<At>, Ambiguity> {
        match self.last {
            b'\r' => Ok(self.is_empty().then(|| At::Head(Head::default()))),
            _ => Err(Ambiguity::BareLineFeed),
        }
    }

    /// What follows the size line of a chunk. Its data ends with a line end of its own. Of a number with as many digits as
    /// are kept there may be more, which the library reads: zeros may stand before any.
    fn chunk(&self) -> Option<At> {
        let kept = &self.kept[..self.length.min(KEPT)];
        let digits = kept.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = std::str::from_utf8(&kept[..digits]).ok().filter(|_| digits < KEPT);
        let size = size.and_then(|size| u64::from_str_radix(size, 16).ok());
        Some(match size.and_then(|size| Some((size, size.checked_add(2)?))) {
            None => At::Lost,
            Some((0, _)) => At::Trailers,
            Some((_, data)) => At::Chunk(data),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All requests of a connection, in pieces that end at `cuts`.
    fn seen(bytes: &[u8], cuts: &[usize]) -> Seen {
        let mut framing = Framing::default();
        let mut all = Seen::default();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        let mut start = 0;
        for end in ends {
            let piece = framing.follow(&bytes[start..end]);
            all.heads += piece.heads;
            all.fault = all.fault.or(piece.fault);
            start = end;
        }
        all
    }

    fn sound(heads: u64) -> Seen {
        Seen { heads, fault: None }
    }

    const POST: &str = "POST / HTTP/1.1\r\nhost: x\r\n";

    #[test]
    fn heads_are_counted_over_bodies_of_every_kind() {
        let requests = format!(
            "{POST}Content-Length: 5\r\n\r\n\n\n\r\n\n{POST}transfer-encoding:\tCHUNKED \r\n\r\n\
             3;x=\"y\"\r\na\nb\r\n00\r\nx-trailer: y\r\n\r\n\r\n\r\n{POST}\r\n{POST}content-length:0\r\n\r\nGET / HT"
        );
        assert_eq!(seen(requests.as_bytes(), &[]), sound(4));
    }

    #[test]
    fn what_two_readers_may_understand_differently_is_a_fault() {
        for (fields, fault) in [
            (
                "content-length: 1\r\ntransfer-encoding: chunked\r\n",
                Ambiguity::LengthAndEncoding,
            ),
            (
                "Transfer-Encoding: chunked\r\nx: y\r\nCONTENT-LENGTH: 1\r\n",
                Ambiguity::LengthAndEncoding,
            ),
            ("content-length: 1\r\ncontent-length: 1\r\n", Ambiguity::LengthTwice),
            ("content-length: 1, 1\r\n", Ambiguity::Length),
            ("content-length:\r\n", Ambiguity::Length),
            ("content-length: -1\r\n", Ambiguity::Length),
            ("content-length: 18446744073709551616\r\n", Ambiguity::Length),
            ("transfer-encoding: gzip, chunked\r\n", Ambiguity::Encoding),
            (
                "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
                Ambiguity::Encoding,
            ),
            ("x: y\n", Ambiguity::BareLineFeed),
        ] {
            let head = format!("{POST}{fields}\r\n");
            let expected = Seen {
                heads: 0,
                fault: Some(fault),
            };
            assert_eq!(seen(head.as_bytes(), &[]), expected, "{fields:?}");
        }
        assert_eq!(
            seen(b"GET / HTTP/1.1\r\nhost: x\r\n\n", &[]).fault,
            Some(Ambiguity::BareLineFeed)
        );
        assert_eq!(seen(b"\nGET / HTTP/1.1\r\n", &[]).fault, Some(Ambiguity::BareLineFeed));
        let long = format!("{POST}content-length:{}1\r\n\r\n", " ".repeat(KEPT));
        assert_eq!(seen(long.as_bytes(), &[]).fault, Some(Ambiguity::Length));
    }

    #[test]
    fn nothing_is_counted_behind_a_fault() {
        let requests = format!("{POST}\r\n{POST}x: y\n\r\n{POST}\r\n");
        let expected = Seen {
            heads: 1,
            fault: Some(Ambiguity::BareLineFeed),
        };
        assert_eq!(seen(requests.as_bytes(), &[]), expected);
        // Of chunks the library finds fault with what is no size, and answers that itself.
        let requests = format!("{POST}transfer-encoding: chunked\r\n\r\nno\r\n{POST}\r\n");
        assert_eq!(seen(requests.as_bytes(), &[]), sound(1));
    }

    #[test]
    fn what_the_library_takes_for_a_body_is_no_head() {
        let chunked = format!("{POST}transfer-encoding: chunked\r\n\r\n1\r\n\0\r\n");
        for trailers in ["0\r\n\n", "0\r\na:\n\r\n", "0\r\na: b\r\n\n"] {
            let requests = format!("{chunked}{trailers}{POST}\r\n");
            let expected = Seen {
                heads: 1,
                fault: Some(Ambiguity::BareLineFeed),
            };
            assert_eq!(seen(requests.as_bytes(), &[]), expected, "{trailers:?}");
        }
        // Nobody sends such a number: its request is served, and none behind it.
        let zeros = "0".repeat(KEPT);
        let requests = format!("{chunked}{zeros}5\r\n\r\n{POST}\r\n{POST}\r\n");
        assert_eq!(seen(requests.as_bytes(), &[]), sound(1));
        let few = format!("{chunked}{}5\r\nabcde\r\n0\r\n\r\n{POST}\r\n", &zeros[2..]);
        assert_eq!(seen(few.as_bytes(), &[]), sound(2));
    }

    proptest! {
        #[test]
        fn pieces_say_what_the_whole_says(
            lines in proptest::collection::vec(
                prop_oneof![
                    Just(POST), Just("\r\n"), Just("content-length: 7\r\n"), Just("transfer-encoding: chunked\r\n"),
                    Just("3\r\nabc\r\n"), Just("0\r\n\r\n"), Just("x: y\r\n"), Just("abcdefg"), Just("\n"), Just("\r"),
                ],
                0..20,
            ),
            cuts in proptest::collection::vec(any::<usize>(), 0..8),
        ) {
            let bytes = lines.concat();
            prop_assert_eq!(seen(bytes.as_bytes(), &cuts), seen(bytes.as_bytes(), &[]));
        }

        #[test]
        fn no_bytes_make_it_stumble(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            seen(&bytes, &[7, 70]);
        }
    }
}
