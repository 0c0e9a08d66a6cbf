//! Bytes of any content on one connection: the HTTP library finds a request exactly where the framing finds the end of a
//! head, and only behind a fault may one of them find more than the other.
#![no_main]

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use gauntlet::listener::framing::Framing;
use gauntlet::listener::requests::builder;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncRead, ReadBuf};

/// Of a chunk's size with as many digits the framing knows no end, and finds nothing behind it.
const LONG_SIZE: usize = 64;

/// What both found so far.
#[derive(Default)]
struct Found {
    framing: Framing,
    heads: u64,
    is_faulty: bool,
    digits: usize,
    may_be_lost: bool,
    requests: u64,
}

/// What the library has made a request of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    Sound,
    Faulty,
    Unseen,
}

fuzz_target!(|data: &[u8]| {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().build().unwrap()
    });
    let Some((how, data)) = data.split_first() else { return };
    let hears_bodies = how % 2 == 1;
    let found = Rc::new(RefCell::new(Found::default()));
    let bytes = ByteByByte(data, Rc::clone(&found));
    let service = service_fn(|request| {
        let head = found.borrow_mut().request();
        answer(request, hears_bodies, head)
    });
    let both = tokio::io::join(bytes, tokio::io::sink());
    let ended = RUNTIME.block_on(builder().serve_connection(TokioIo::new(both), service));
    let found = found.borrow();
    // The library finds more fault with a head than the framing does, and goes no further then.
    let untaken = found.heads.saturating_sub(found.requests);
    assert!(
        untaken <= u64::from(ended.is_err()),
        "{} heads, {} requests",
        found.heads,
        found.requests
    );
});

impl Found {
    fn byte(&mut self, byte: u8) {
        let seen = self.framing.follow(&[byte]);
        self.heads += seen.heads;
        self.is_faulty |= seen.fault.is_some();
        self.digits = if byte.is_ascii_hexdigit() { self.digits + 1 } else { 0 };
        self.may_be_lost |= self.digits >= LONG_SIZE;
    }

    /// The library has one, with the last byte that it read.
    fn request(&mut self) -> Head {
        self.requests += 1;
        match self.requests.checked_sub(self.heads) {
            Some(0) if !self.is_faulty => Head::Sound,
            Some(1) if self.is_faulty => Head::Faulty,
            Some(1) if self.may_be_lost => Head::Unseen,
            _ => panic!(
                "request {} at head {}, fault: {}",
                self.requests, self.heads, self.is_faulty
            ),
        }
    }
}

/// As the gateway does: what is no write is answered with its body unread, what is faulty is the last, and what nobody saw
/// gets no answer.
async fn answer(
    request: Request<Incoming>,
    hears_bodies: bool,
    head: Head,
) -> Result<Response<Empty<Bytes>>, NoAnswer> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::NOT_FOUND;
    match head {
        Head::Unseen => return Err(NoAnswer),
        Head::Faulty => drop(
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close")),
        ),
        Head::Sound if hears_bodies => drop(request.into_body().collect().await),
        Head::Sound => {}
    }
    Ok(response)
}

#[derive(Debug)]
struct NoAnswer;

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("no answer")
    }
}

impl std::error::Error for NoAnswer {}

/// The library reads no byte ahead, so that it is known where it found something.
struct ByteByByte<'d>(&'d [u8], Rc<RefCell<Found>>);

impl AsyncRead for ByteByByte<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some((first, rest)) = self.0.split_first() {
            into.put_slice(&[*first]);
            self.1.borrow_mut().byte(*first);
            self.0 = rest;
        }
        Poll::Ready(Ok(()))
    }
}
