//! Reads a request's body, bounded in size, time, pace and shared memory.
//!
//! Takes the body as it arrives and the bounds; gives its first piece, by which its needs can be told, then its bytes in one
//! piece. Never allocates for a length that was only announced, never waits for a sender that has stopped sending, and
//! never decodes.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

use crate::tls;

/// Bounds on one body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyLimits {
    /// Bytes as sent, before any decoding.
    pub max_size: u64,
    /// First byte to last.
    pub timeout: Duration,
    /// Averaged over any five seconds. Bytes per second; 0 is no minimum.
    pub min_rate: u64,
}

impl BodyLimits {
    fn too_large(&self) -> BodyError {
        BodyError::TooLarge { limit: self.max_size }
    }

    fn too_slow(&self) -> BodyError {
        BodyError::Slow {
            min_rate: self.min_rate,
        }
    }

    fn timed_out(&self) -> BodyError {
        BodyError::TimedOut { timeout: self.timeout }
    }
}

/// Why there is no body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("the body came slower than {min_rate} bytes per second")]
    Slow { min_rate: u64 },
    #[error("the body took longer than {} s", .timeout.as_secs_f64())]
    TimedOut { timeout: Duration },
    #[error("the sender went away inside the body")]
    Disconnected,
    #[error("the chunks of the body are not framed as RFC 9112 section 7.1 says")]
    Framing,
}

impl BodyError {
    /// By how hyper tells that bytes came which are no chunk. That they ended too early is another thing: the same body
    /// may come whole the next time. So is a broken TLS record, which says nothing about what is inside.
    fn of(error: &(dyn Error + 'static)) -> Self {
        let mut causes = std::iter::successors(Some(error), |error| (*error).source());
        let io = causes.find_map(|cause| cause.downcast_ref::<io::Error>());
        match io.map(io::Error::kind) {
            Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) if !io.is_some_and(tls::is_tls) => {
                Self::Framing
            }
            _ => Self::Disconnected,
        }
    }
}

/// A body of which the first piece is here.
#[derive(Debug)]
pub struct Begun<B> {
    body: B,
    announced: Option<u64>,
    /// `None` if the body is empty.
    first: Option<Bytes>,
    trusted_length: usize,
}

impl<B> Begun<B> {
    /// Bytes that it will have, as far as that is known.
    pub fn announced(&self) -> Option<u64> {
        self.announced
    }

    pub fn first(&self) -> &[u8] {
        self.first.as_deref().unwrap_or_default()
    }

    /// Memory for what is announced is held: it is allocated once.
    pub fn trust_announced(&mut self) {
        self.trusted_length = usize::MAX;
    }
}

/// Waits for the first piece of `body`. One that announces too much is refused before the first byte is read, so that a
/// sender that `Expect`s `100-continue` is spared the upload.
///
/// # Errors
/// See [`read`].
pub async fn begin<B>(body: B, limits: &BodyLimits) -> Result<Begun<B>, BodyError>
where
    B: Body<Data = Bytes, Error: Error + 'static> + Unpin,
{
    begin_paced(body, limits, Duration::from_secs(1)).await
}

async fn begin_paced<B>(mut body: B, limits: &BodyLimits, slot: Duration) -> Result<Begun<B>, BodyError>
where
    B: Body<Data = Bytes, Error: Error + 'static> + Unpin,
{
    let announced = body.size_hint().exact();
    if announced.is_some_and(|length| length > limits.max_size) {
        return Err(limits.too_large());
    }
    // Before the first piece there is no rate but zero.
    let patience = match limits.min_rate {
        0 => limits.timeout,
        _ => limits.timeout.min(slot * WINDOW),
    };
    let first = poll_fn(|context| poll_piece(Pin::new(&mut body), context));
    let first = match timeout(patience, first).await {
        Ok(first) => first.transpose()?,
        Err(_) if patience < limits.timeout => return Err(limits.too_slow()),
        Err(_) => return Err(limits.timed_out()),
    };
    Ok(Begun {
        body,
        announced,
        first,
        trusted_length: TRUSTED_LENGTH,
    })
}

/// Reads all of a body. Trailers are ignored: remote write has none.
///
/// `hold` is told how much memory the body takes in all before it takes it, and decides whether so much is left; its error,
/// with the bound that was met, is handed on as it is.
///
/// # Errors
/// `TooLarge` and `Framing` are the sender's fault; every other means that the same write may succeed later.
pub async fn read<B, E>(
    begun: Begun<B>,
    limits: &BodyLimits,
    hold: impl FnMut(u64) -> Result<(), E>,
) -> Result<Bytes, E>
where
    B: Body<Data = Bytes, Error: Error + 'static>,
    E: From<BodyError>,
{
    read_paced(begun, limits, hold, Duration::from_secs(1)).await
}

/// [`read`], with the length of a pace slot open to tests.
async fn read_paced<B, E>(
    begun: Begun<B>,
    limits: &BodyLimits,
    mut hold: impl FnMut(u64) -> Result<(), E>,
    slot: Duration,
) -> Result<Bytes, E>
where
    B: Body<Data = Bytes, Error: Error + 'static>,
    E: From<BodyError>,
{
    let mut kept = Kept::new(begun.announced, begun.trusted_length, limits.max_size);
    let mut rate = Rate::new(limits.min_rate, slot);
    let mut keep = |piece: Bytes, rate: &mut Rate, kept: &mut Kept| -> Result<(), E> {
        if kept.length() + piece.len() as u64 > limits.max_size {
            return Err(limits.too_large().into());
        }
        hold(kept.size_with(piece.len()))?;
        rate.count(piece.len());
        kept.push(piece);
        Ok(())
    };
    match begun.first {
        Some(first) => keep(first, &mut rate, &mut kept)?,
        None => return Ok(Bytes::new()),
    }
    let mut body = pin!(begun.body);
    let mut clock = pin!(sleep(limits.timeout));
    let mut pace = pin!(sleep(slot));
    loop {
        match next(body.as_mut(), clock.as_mut(), pace.as_mut()).await {
            Event::Piece(piece) => keep(piece, &mut rate, &mut kept)?,
            Event::End => return Ok(kept.finish()),
            Event::Broken(error) => return Err(error.into()),
            Event::Timeout => return Err(limits.timed_out().into()),
            Event::SlotOver if rate.too_slow() => return Err(limits.too_slow().into()),
            Event::SlotOver => {
                let end = pace.deadline() + slot;
                pace.set(sleep_until(end.max(Instant::now())));
            }
        }
    }
}

enum Event {
    Piece(Bytes),
    End,
    Broken(BodyError),
    Timeout,
    SlotOver,
}

/// Bytes win over clocks: a sender is not blamed for the time its bytes lay here unread.
async fn next<B>(mut body: Pin<&mut B>, mut clock: Pin<&mut Sleep>, mut pace: Pin<&mut Sleep>) -> Event
where
    B: Body<Data = Bytes, Error: Error + 'static>,
{
    poll_fn(|context| {
        match poll_piece(body.as_mut(), context) {
            Poll::Ready(None) => return Poll::Ready(Event::End),
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Event::Broken(error)),
            Poll::Ready(Some(Ok(piece))) => return Poll::Ready(Event::Piece(piece)),
            Poll::Pending => {}
        }
        if clock.as_mut().poll(context).is_ready() {
            return Poll::Ready(Event::Timeout);
        }
        pace.as_mut().poll(context).map(|()| Event::SlotOver)
    })
    .await
}

fn poll_piece<B>(mut body: Pin<&mut B>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>>
where
    B: Body<Data = Bytes, Error: Error + 'static>,
{
    loop {
        match ready!(body.as_mut().poll_frame(context)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(BodyError::of(&error)))),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(piece) => return Poll::Ready(Some(Ok(piece))),
                Err(_trailers) => continue,
            },
        }
    }
}

/// Slots over which a rate is averaged.
const WINDOW: u32 = 5;

/// Bytes of the last five slots. A slot is a second, so a pause may be up to a slot longer than the rule says.
struct Rate {
    slots: [u64; WINDOW as usize],
    /// Slots finished so far; a sender is judged once there are five.
    finished: usize,
    /// Fewer bytes than this in five slots is too slow.
    least: u64,
}

impl Rate {
    fn new(min_rate: u64, slot: Duration) -> Self {
        let window = u64::try_from((slot * WINDOW).as_millis()).unwrap_or(u64::MAX);
        Self {
            slots: [0; WINDOW as usize],
            finished: 0,
            least: min_rate.saturating_mul(window) / 1000,
        }
    }

    fn count(&mut self, bytes: usize) {
        self.slots[self.finished % WINDOW as usize] += bytes as u64;
    }

    /// Ends a slot.
    fn too_slow(&mut self) -> bool {
        self.finished += 1;
        let slow = self.finished >= WINDOW as usize && self.slots.iter().sum::<u64>() < self.least;
        self.slots[self.finished % WINDOW as usize] = 0;
        slow
    }
}

/// What has arrived.
struct Kept {
    announced: Option<u64>,
    trusted_length: usize,
    max_size: usize,
    whole: Option<Bytes>,
    bytes: Vec<u8>,
}

/// An announced length up to this is allocated on the first byte, whoever holds memory for it: a lie costs no more than four of a
/// connection's read buffers do. Prometheus' bodies (15-62 KB) fit, so that they are allocated once.
const TRUSTED_LENGTH: usize = 64 * 1024;

impl Kept {
    fn new(announced: Option<u64>, trusted_length: usize, max_size: u64) -> Self {
        Self {
            announced,
            trusted_length,
            max_size: usize::try_from(max_size).unwrap_or(usize::MAX),
            whole: None,
            bytes: Vec::new(),
        }
    }

    fn length(&self) -> u64 {
        (self.bytes.len() + self.whole.as_ref().map_or(0, Bytes::len)) as u64
    }

    /// Bytes of memory it takes once another piece of this length is pushed.
    fn size_with(&self, piece: usize) -> u64 {
        self.room_for(piece).unwrap_or(piece) as u64
    }

    /// `None` if the piece is all there is.
    fn room_for(&self, piece: usize) -> Option<usize> {
        if self.length() == 0 && self.announced == Some(piece as u64) {
            return None;
        }
        let needed = self.length() as usize + piece;
        if needed <= self.bytes.capacity() {
            return Some(self.bytes.capacity());
        }
        // Doubling keeps what is allocated within twice what has arrived.
        let ample = match self.announced {
            None => self.max_size.min(needed * 2),
            Some(announced) => {
                let announced = usize::try_from(announced).unwrap_or(usize::MAX);
                announced.min(self.trusted_length.max(needed * 2))
            }
        };
        Some(ample.max(needed))
    }

    fn push(&mut self, piece: Bytes) {
        let Some(room) = self.room_for(piece.len()) else {
            // It came in one piece: nothing to put together.
            self.whole = Some(piece);
            return;
        };
        self.bytes.reserve_exact(room - self.bytes.len());
        if let Some(first) = self.whole.take() {
            self.bytes.extend_from_slice(&first);
        }
        self.bytes.extend_from_slice(&piece);
    }

    fn finish(self) -> Bytes {
        self.whole.unwrap_or_else(|| Bytes::from(self.bytes))
    }
}

#[cfg(test)]
mod tests;
