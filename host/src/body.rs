//! Reads a request's body, bounded in size, time, pace and shared memory.
//!
//! Takes the body as it arrives and the bounds; gives its bytes in one piece. Never allocates for a length
//! that was only announced, never waits for a sender that has stopped sending, and never decodes.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

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

/// Reads all of `body`. Trailers are ignored: remote write has none.
///
/// `hold` is asked for each piece before it is kept, and decides whether memory for it is left; its error, with the bound
/// that was met, is handed on as it is.
/// A body that announces too much is refused before the first byte is read, so that a sender that
/// `Expect`s `100-continue` is spared the upload.
///
/// # Errors
/// `TooLarge` and `Framing` are the sender's fault; every other means that the same write may succeed later.
pub async fn read<B, E>(body: B, limits: &BodyLimits, hold: impl FnMut(usize) -> Result<(), E>) -> Result<Bytes, E>
where
    B: Body<Data = Bytes, Error: Error + 'static>,
    E: From<BodyError>,
{
    read_paced(body, limits, hold, Duration::from_secs(1)).await
}

/// [`read`], with the length of a pace slot open to tests.
async fn read_paced<B, E>(
    body: B,
    limits: &BodyLimits,
    mut hold: impl FnMut(usize) -> Result<(), E>,
    slot: Duration,
) -> Result<Bytes, E>
where
    B: Body<Data = Bytes, Error: Error + 'static>,
    E: From<BodyError>,
{
    let too_large = BodyError::TooLarge { limit: limits.max_size };
    let announced = body.size_hint().exact();
    if announced.is_some_and(|length| length > limits.max_size) {
        return Err(too_large.into());
    }
    let mut body = pin!(body);
    let mut clock = pin!(sleep(limits.timeout));
    let mut pace = pin!(sleep(slot));
    let mut rate = Rate::new(limits.min_rate, slot);
    let mut kept = Kept::new(announced);
    loop {
        let event = next(body.as_mut(), clock.as_mut(), pace.as_mut()).await;
        match event {
            Event::Piece(piece) => {
                if kept.length() + piece.len() as u64 > limits.max_size {
                    return Err(too_large.into());
                }
                hold(piece.len())?;
                rate.count(piece.len());
                kept.push(piece);
            }
            Event::End => return Ok(kept.finish()),
            Event::Broken(error) => return Err(error.into()),
            Event::Timeout => {
                let timeout = limits.timeout;
                return Err(BodyError::TimedOut { timeout }.into());
            }
            Event::SlotOver if rate.too_slow() => {
                let min_rate = limits.min_rate;
                return Err(BodyError::Slow { min_rate }.into());
            }
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
        loop {
            match body.as_mut().poll_frame(context) {
                Poll::Ready(None) => return Poll::Ready(Event::End),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Event::Broken(BodyError::of(&error))),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) => return Poll::Ready(Event::Piece(piece)),
                    Err(_trailers) => continue,
                },
                Poll::Pending => break,
            }
        }
        if clock.as_mut().poll(context).is_ready() {
            return Poll::Ready(Event::Timeout);
        }
        pace.as_mut().poll(context).map(|()| Event::SlotOver)
    })
    .await
}

/// Bytes of the last five slots. A slot is a second, so a pause may be up to a slot longer than the rule says.
struct Rate {
    slots: [u64; 5],
    /// Slots finished so far; a sender is judged once there are five.
    finished: usize,
    /// Fewer bytes than this in five slots is too slow.
    least: u64,
}

impl Rate {
    fn new(min_rate: u64, slot: Duration) -> Self {
        let window = u64::try_from((slot * 5).as_millis()).unwrap_or(u64::MAX);
        Self {
            slots: [0; 5],
            finished: 0,
            least: min_rate.saturating_mul(window) / 1000,
        }
    }

    fn count(&mut self, bytes: usize) {
        self.slots[self.finished % 5] += bytes as u64;
    }

    /// Ends a slot.
    fn too_slow(&mut self) -> bool {
        self.finished += 1;
        let slow = self.finished >= 5 && self.slots.iter().sum::<u64>() < self.least;
        self.slots[self.finished % 5] = 0;
        slow
    }
}

/// What has arrived.
struct Kept {
    announced: Option<u64>,
    whole: Option<Bytes>,
    bytes: Vec<u8>,
}

/// An announced length up to this is allocated on the first byte: a lie costs no more than a connection's
/// read buffer does. Prometheus' bodies (15-62 KB) fit, so that they are allocated once.
const TRUSTED_LENGTH: usize = 64 * 1024;

impl Kept {
    fn new(announced: Option<u64>) -> Self {
        Self {
            announced,
            whole: None,
            bytes: Vec::new(),
        }
    }

    fn length(&self) -> u64 {
        (self.bytes.len() + self.whole.as_ref().map_or(0, Bytes::len)) as u64
    }

    fn push(&mut self, piece: Bytes) {
        if self.length() == 0 && self.announced == Some(piece.len() as u64) {
            // It came in one piece: nothing to put together.
            self.whole = Some(piece);
            return;
        }
        if let Some(first) = self.whole.take() {
            self.bytes.extend_from_slice(&first);
        }
        let needed = self.bytes.len() + piece.len();
        if needed > self.bytes.capacity() {
            let announced = self
                .announced
                .map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
            let ample = match announced {
                usize::MAX => needed * 2,
                // Doubling keeps what is allocated within twice what has arrived.
                _ => announced.min(TRUSTED_LENGTH.max(needed * 2)),
            };
            self.bytes.reserve_exact(ample.max(needed) - self.bytes.len());
        }
        self.bytes.extend_from_slice(&piece);
    }

    fn finish(self) -> Bytes {
        self.whole.unwrap_or_else(|| Bytes::from(self.bytes))
    }
}

#[cfg(test)]
mod tests;
