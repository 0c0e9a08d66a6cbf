//! Bodies that are honest, too large, slow, stopped and broken.

use std::cell::Cell;
use std::task::Context;

use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;

use super::{read as read_begun, *};

/// A body whose pieces the test sends.
struct Fed {
    pieces: mpsc::Receiver<Result<Frame<Bytes>, Broken>>,
    announced: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
#[error("broken")]
struct Broken;

impl Body for Fed {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.pieces.poll_recv(context)
    }

    fn size_hint(&self) -> SizeHint {
        self.announced.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

type Sender = mpsc::Sender<Result<Frame<Bytes>, Broken>>;

fn fed(announced: Option<u64>) -> (Sender, Fed) {
    let (sender, pieces) = mpsc::channel(100_000);
    (sender, Fed { pieces, announced })
}

/// All of `pieces` at once, then the end.
fn given(announced: Option<u64>, pieces: &[&[u8]]) -> Fed {
    let (sender, body) = fed(announced);
    for piece in pieces {
        sender.try_send(Ok(Frame::data(Bytes::copy_from_slice(piece)))).unwrap();
    }
    body
}

fn limits(max_size: u64) -> BodyLimits {
    BodyLimits {
        max_size,
        timeout: Duration::from_secs(60),
        min_rate: 0,
    }
}

fn free(_: u64) -> Result<(), BodyError> {
    Ok(())
}

async fn read<E: From<BodyError>>(
    body: Fed,
    limits: &BodyLimits,
    hold: impl FnMut(u64) -> Result<(), E>,
) -> Result<Bytes, E> {
    read_in_slots(body, limits, hold, Duration::from_secs(1)).await
}

async fn read_in_slots<E: From<BodyError>>(
    body: Fed,
    limits: &BodyLimits,
    hold: impl FnMut(u64) -> Result<(), E>,
    slot: Duration,
) -> Result<Bytes, E> {
    let begun = begin_paced(body, limits, slot).await?;
    read_paced(begun, limits, hold, slot).await
}

#[tokio::test]
async fn a_body_of_the_limit_is_read_and_one_byte_more_is_not() {
    for announced in [false, true] {
        for (length, fits) in [(9, true), (10, true), (11, false)] {
            let bytes = vec![b'x'; length];
            let (front, back) = bytes.split_at(4);
            let body = given(announced.then_some(length as u64), &[front, back]);
            let read = read(body, &limits(10), free).await;
            let expected = if fits {
                Ok(Bytes::from(bytes))
            } else {
                Err(BodyError::TooLarge { limit: 10 })
            };
            assert_eq!(read, expected);
        }
    }
}

#[tokio::test]
async fn an_announced_length_over_the_limit_is_refused_without_reading() {
    // Nothing is ever sent: only the announcement can end this.
    let (_sender, body) = fed(Some(11));
    assert_eq!(
        read(body, &limits(10), free).await,
        Err(BodyError::TooLarge { limit: 10 })
    );
}

#[tokio::test]
async fn an_empty_body_is_empty() {
    assert_eq!(read(given(Some(0), &[]), &limits(10), free).await, Ok(Bytes::new()));
    assert_eq!(read(given(None, &[]), &limits(10), free).await, Ok(Bytes::new()));
}

#[tokio::test]
async fn memory_is_held_before_it_is_taken_and_a_refusal_ends_the_reading() {
    #[derive(Debug, PartialEq)]
    enum Failed {
        Body(BodyError),
        NoMemory,
    }
    impl From<BodyError> for Failed {
        fn from(error: BodyError) -> Self {
            Self::Body(error)
        }
    }
    let held = Cell::new(0);
    let hold = |bytes| {
        held.set(bytes);
        if bytes > 20 { Err(Failed::NoMemory) } else { Ok(()) }
    };
    assert!(
        read(given(None, &[b"12345", b"67890"]), &limits(100), hold)
            .await
            .is_ok()
    );
    assert_eq!(held.get(), 10, "as much as is allocated");
    assert_eq!(
        read(given(None, &[b"12345", b"678901"]), &limits(100), hold).await,
        Err(Failed::NoMemory),
        "memory doubles"
    );
    assert!(
        read(given(Some(20), &[&[0; 19], b"x"]), &limits(100), hold)
            .await
            .is_ok()
    );
    assert_eq!(held.get(), 20);
}

#[test]
fn memory_grows_with_what_arrives_and_not_with_what_is_announced() {
    let mut kept = Kept::new(Some(1 << 40), TRUSTED_LENGTH, 1 << 40);
    kept.push(Bytes::from_static(b"x"));
    assert!(kept.bytes.capacity() <= TRUSTED_LENGTH, "{}", kept.bytes.capacity());
    for _ in 0..200 {
        kept.push(Bytes::from(vec![b'x'; 1000]));
        let ample = TRUSTED_LENGTH.max(2 * kept.bytes.len());
        assert!(
            kept.bytes.capacity() <= ample,
            "{} for {}",
            kept.bytes.capacity(),
            kept.bytes.len()
        );
    }
    assert_eq!(kept.finish().len(), 200_001);
}

#[test]
fn memory_for_a_body_in_chunks_is_no_more_than_the_largest_body_takes() {
    let mut kept = Kept::new(None, TRUSTED_LENGTH, 100);
    kept.push(Bytes::from(vec![1; 60]));
    assert_eq!((kept.bytes.capacity(), kept.size_with(40)), (100, 100));
}

#[test]
fn an_honest_length_is_allocated_once_and_a_single_piece_never() {
    let mut kept = Kept::new(Some(50_000), TRUSTED_LENGTH, 50_000);
    kept.push(Bytes::from(vec![1; 20_000]));
    let place = kept.bytes.as_ptr();
    kept.push(Bytes::from(vec![1; 30_000]));
    assert_eq!(kept.bytes.as_ptr(), place);
    assert_eq!(kept.bytes.capacity(), 50_000);

    // And a longer one, where memory for it is held.
    let mut kept = Kept::new(Some(1 << 20), usize::MAX, 1 << 20);
    assert_eq!(kept.size_with(10), 1 << 20);
    kept.push(Bytes::from_static(b"x"));
    assert_eq!(kept.bytes.capacity(), 1 << 20);

    let piece = Bytes::from(vec![1; 50_000]);
    let mut kept = Kept::new(Some(50_000), TRUSTED_LENGTH, 50_000);
    kept.push(piece.clone());
    assert_eq!(kept.finish().as_ptr(), piece.as_ptr());
}

#[tokio::test]
async fn trailers_are_ignored() {
    let (sender, body) = fed(None);
    sender.try_send(Ok(Frame::data(Bytes::from_static(b"x")))).unwrap();
    sender.try_send(Ok(Frame::trailers(http::HeaderMap::new()))).unwrap();
    drop(sender);
    assert_eq!(read(body, &limits(10), free).await, Ok(Bytes::from_static(b"x")));
}

#[tokio::test]
async fn a_sender_that_breaks_off_is_told_from_one_that_ends() {
    let (sender, body) = fed(None);
    sender.try_send(Ok(Frame::data(Bytes::from_static(b"x")))).unwrap();
    sender.try_send(Err(Broken)).unwrap();
    assert_eq!(read(body, &limits(10), free).await, Err(BodyError::Disconnected));
}

#[tokio::test]
async fn a_body_that_stops_is_given_up_at_the_deadline() {
    let (_sender, body) = fed(None);
    let timeout = Duration::from_millis(20);
    let limits = BodyLimits { timeout, ..limits(10) };
    assert_eq!(read(body, &limits, free).await, Err(BodyError::TimedOut { timeout }));
}

const SLOT: Duration = Duration::from_millis(10);

#[tokio::test]
async fn a_body_under_the_least_rate_is_given_up_after_five_slots() {
    let (sender, body) = fed(None);
    sender.try_send(Ok(Frame::data(Bytes::from_static(b"x")))).unwrap();
    // 50 bytes in five slots of 10 ms.
    let limits = BodyLimits {
        min_rate: 1000,
        ..limits(1 << 20)
    };
    let began = Instant::now();
    assert_eq!(
        read_in_slots(body, &limits, free, SLOT).await,
        Err(BodyError::Slow { min_rate: 1000 })
    );
    assert!(began.elapsed() >= SLOT * 5, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_body_that_never_begins_is_given_up_after_five_slots() {
    let (_sender, body) = fed(Some(1000));
    let limits = BodyLimits {
        min_rate: 1000,
        ..limits(1 << 20)
    };
    let begun = begin_paced(body, &limits, SLOT).await.map(drop);
    assert_eq!(begun, Err(BodyError::Slow { min_rate: 1000 }));
}

#[tokio::test]
async fn what_a_body_needs_can_be_told_by_its_first_piece() {
    let mut begun = begin(given(Some(10), &[b"12345", b"67890"]), &limits(10))
        .await
        .unwrap();
    assert_eq!((begun.announced(), begun.first()), (Some(10), b"12345".as_slice()));
    begun.trust_announced();
    assert_eq!(
        read_begun(begun, &limits(10), free).await.unwrap(),
        b"1234567890".as_slice()
    );
}

#[test]
fn the_rate_is_that_of_any_five_slots_and_not_of_the_whole() {
    let mut rate = Rate::new(10, Duration::from_secs(1));
    // A burst that would carry the average for a long time.
    rate.count(1_000_000);
    for _ in 0..5 {
        assert!(!rate.too_slow());
    }
    // The burst has left the window; 49 bytes in five seconds are below 10 a second.
    rate.count(49);
    assert!(rate.too_slow());

    let mut rate = Rate::new(10, Duration::from_secs(1));
    for _ in 0..4 {
        assert!(!rate.too_slow(), "nobody is judged before five slots");
    }
    rate.count(50);
    assert!(!rate.too_slow());
}

#[tokio::test]
async fn bytes_that_lay_here_unread_are_not_blamed_on_the_sender() {
    let body = given(None, &[b"12345"]);
    let limits = BodyLimits {
        timeout: Duration::ZERO,
        ..limits(10)
    };
    assert_eq!(read(body, &limits, free).await, Ok(Bytes::from_static(b"12345")));
}

#[tokio::test]
async fn a_body_of_many_tiny_pieces_is_put_together() {
    let whole: Vec<u8> = (0..70_000u32).map(|n| n as u8).collect();
    let pieces: Vec<&[u8]> = whole.chunks(1).collect();
    let read = read(given(Some(70_000), &pieces), &limits(70_000), free).await;
    assert_eq!(read.unwrap(), whole);
}
