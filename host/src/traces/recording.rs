//! A span while its write goes on.
//!
//! Takes what the stages of a write say as they end, gives a span when the write is answered. Of a write that has none each of
//! them asks once whether there is one, and that is all: what a span would hold is made only where it does. Several parts of a
//! write may say something at once. Never keeps more than [`MOST_EVENTS`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::HeaderMap;

use super::context::{SenderContext, TraceParent};
use super::otlp::{self, Attribute, Span, SpanEvent, SpanStatus, number, text};
use super::tracer::{Tracer, random};
use crate::model::TenantId;

/// Of one span. A write has seven stages, and an answer of each upstream that it goes to.
const MOST_EVENTS: usize = 64;

/// What is recorded of one write, if anything is.
#[derive(Default)]
pub struct Recording(Option<Box<Mutex<Recorded>>>);

/// A stage of a write that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// It is known whose write it is. That its head is read is where the span begins.
    Authenticated,
    BodyRead,
    /// And what is remembered of its series is found.
    Decoded,
    /// Those with the same series that were told to wait before it went first; only if there were any.
    Ordered,
    /// By the policies, of each series.
    Judged,
    /// By the policies, as a whole, routed and charged.
    Admitted,
    /// It is parted, and about to be sent.
    Encoded,
}

/// Samples of one write, as far as is known. What is in neither of the last two was rejected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SampleSums {
    pub received: u64,
    pub forwarded: u64,
    pub dropped: u64,
}

/// What is known of a write once it is decoded.
#[derive(Debug, Clone, Copy)]
pub struct WriteSize {
    pub series: usize,
    /// Those that policies are to be asked about.
    pub unknown: usize,
    pub samples: u64,
}

/// How a write ended.
pub struct SpanEnd {
    pub status: u16,
    /// Why it was refused, or something of it; empty if nothing was.
    pub reason: &'static str,
    pub duration: Duration,
    pub attributes: Vec<Attribute>,
}

struct Recorded {
    tracer: Arc<Tracer>,
    is_proved: bool,
    /// What the sender says, which counts once a tenant is proved.
    sender: Option<SenderContext>,
    /// A trace of its own.
    trace: [u8; 16],
    id: [u8; 8],
    began: Instant,
    began_at: Duration,
    sums: Option<SampleSums>,
    span: Span,
}

impl Reached {
    fn word(self) -> &'static str {
        match self {
            Self::Authenticated => "authenticated",
            Self::BodyRead => "body read",
            Self::Decoded => "decoded",
            Self::Ordered => "in order",
            Self::Judged => "judged",
            Self::Admitted => "admitted",
            Self::Encoded => "encoded",
        }
    }
}

impl Recording {
    /// Of a request that [`Tracer`] has chosen. `describe` gives what the span is called, and what is known from the head.
    pub fn begin(
        tracer: &Arc<Tracer>,
        headers: &HeaderMap,
        began: Instant,
        describe: impl FnOnce() -> (String, Vec<Attribute>),
    ) -> Self {
        let Some((trace, id)) = random().zip(random()) else {
            return Self(None);
        };
        let (name, attributes) = describe();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(Some(Box::new(Mutex::new(Recorded {
            tracer: Arc::clone(tracer),
            is_proved: false,
            sender: SenderContext::of(headers),
            trace,
            id,
            began,
            began_at: now.saturating_sub(began.elapsed()),
            sums: None,
            span: Span {
                name,
                attributes,
                ..Span::default()
            },
        }))))
    }

    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The write proved a tenant, whose sender is believed.
    pub fn proved(&self, tenant: &TenantId) {
        self.with(|recorded| {
            recorded.is_proved = true;
            recorded.span.attributes.push(text("gauntlet.tenant", tenant.as_str()));
        });
        self.reached(Reached::Authenticated);
    }

    #[inline]
    pub fn reached(&self, stage: Reached) {
        if self.is_on() {
            self.event(stage.word(), Vec::new());
        }
    }

    #[inline]
    pub fn decoded(&self, size: impl FnOnce() -> WriteSize) {
        if self.is_on() {
            let size = size();
            self.sums(SampleSums {
                received: size.samples,
                ..SampleSums::default()
            });
            self.event(Reached::Decoded.word(), size.attributes());
        }
    }

    /// With what became of samples until then.
    #[inline]
    pub fn counted(&self, stage: Reached, sums: impl FnOnce() -> SampleSums) {
        if self.is_on() {
            self.sums(sums());
            self.reached(stage);
        }
    }

    /// All that became of samples.
    #[inline]
    pub fn settled(&self, sums: impl FnOnce() -> SampleSums) {
        if self.is_on() {
            self.sums(sums());
        }
    }

    /// An upstream has stored its part, or has not for `reason`.
    #[inline]
    pub fn sent(&self, upstream: &str, reason: impl FnOnce() -> Option<&'static str>) {
        if self.is_on() {
            let outcome = reason().unwrap_or("stored");
            let attributes = vec![text("gauntlet.upstream", upstream), text("gauntlet.outcome", outcome)];
            self.event("upstream answered", attributes);
        }
    }

    /// What receivers are told that their part of the write is part of. `None`: what the sender says.
    #[inline]
    pub fn parent(&self) -> Option<TraceParent> {
        self.with(|recorded| recorded.own())
    }

    /// Ends the span, which has waited for nothing and will not.
    pub fn end(self, answered: impl FnOnce() -> SpanEnd) {
        let Some(recorded) = self.0 else { return };
        let recorded = recorded.into_inner().unwrap_or_else(PoisonError::into_inner);
        let tracer = Arc::clone(&recorded.tracer);
        tracer.ended(recorded.ended(answered()).encoded());
    }

    #[cold]
    fn event(&self, name: &'static str, attributes: Vec<Attribute>) {
        let now = Instant::now();
        self.with(|recorded| recorded.event(name, attributes, now));
    }

    #[cold]
    fn sums(&self, sums: SampleSums) {
        self.with(|recorded| recorded.sums = Some(sums));
    }

    #[inline]
    fn with<T>(&self, what: impl FnOnce(&mut Recorded) -> T) -> Option<T> {
        let recorded = self.0.as_ref()?;
        Some(what(&mut recorded.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Recorded {
    fn event(&mut self, name: &'static str, attributes: Vec<Attribute>, now: Instant) {
        if self.span.events.len() == MOST_EVENTS {
            self.span.dropped_events_count += 1;
            return;
        }
        self.span.events.push(SpanEvent {
            time_unix_nano: self.at(now.saturating_duration_since(self.began)),
            name: name.to_owned(),
            attributes,
        });
    }

    /// The sender's span, if it is one to believe.
    fn believed(&self) -> Option<&SenderContext> {
        self.sender.as_ref().filter(|_| self.is_proved)
    }

    fn own(&self) -> TraceParent {
        let parent = self.believed().map(|sender| sender.parent);
        TraceParent::sampled(parent.map_or(self.trace, |parent| parent.trace), self.id, parent)
    }

    fn at(&self, since: Duration) -> u64 {
        u64::try_from((self.began_at + since).as_nanos()).unwrap_or(u64::MAX)
    }

    fn ended(mut self, answered: SpanEnd) -> Span {
        let own = self.own();
        let mut span = std::mem::take(&mut self.span);
        span.trace_id = own.trace.to_vec();
        span.span_id = own.span.to_vec();
        span.flags = u32::from(own.flags()) | otlp::HAS_IS_REMOTE;
        if let Some(sender) = self.believed() {
            span.parent_span_id = sender.parent.span.to_vec();
            span.flags |= otlp::IS_REMOTE;
            let state = sender.state.as_ref().and_then(|state| state.to_str().ok());
            span.trace_state = state.unwrap_or_default().to_owned();
        }
        span.kind = otlp::KIND_SERVER;
        span.start_time_unix_nano = self.at(Duration::ZERO);
        span.end_time_unix_nano = self.at(answered.duration);
        span.attributes.extend(answered.attributes);
        span.attributes
            .push(number("http.response.status_code", answered.status.into()));
        if let Some(sums) = self.sums {
            span.attributes.extend(sums.attributes());
        }
        if !answered.reason.is_empty() {
            span.attributes.push(text("gauntlet.reason", answered.reason));
        }
        // The conventions leave the status of a server's span unset where the client is at fault.
        if answered.status >= 500 {
            span.attributes.push(text("error.type", answered.reason));
            span.status = Some(SpanStatus {
                message: answered.reason.to_owned(),
                code: otlp::STATUS_ERROR,
            });
        }
        span
    }
}

impl WriteSize {
    fn attributes(self) -> Vec<Attribute> {
        let Self { series, unknown, .. } = self;
        vec![
            number("gauntlet.series.received", series as u64),
            number("gauntlet.series.unknown", unknown as u64),
        ]
    }
}

impl SampleSums {
    fn attributes(self) -> [Attribute; 4] {
        let rejected = self.received.saturating_sub(self.forwarded + self.dropped);
        [
            ("gauntlet.samples.received", self.received),
            ("gauntlet.samples.forwarded", self.forwarded),
            ("gauntlet.samples.dropped", self.dropped),
            ("gauntlet.samples.rejected", rejected),
        ]
        .map(|(key, sum)| number(key, sum))
    }
}

#[cfg(test)]
mod tests {
    use super::super::context::{TRACE_PARENT, TRACE_STATE};
    use super::*;
    use crate::telemetry::Metrics;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03";

    fn tracer() -> Arc<Tracer> {
        Tracer::new(Arc::new(Metrics::new()))
    }

    fn headers(parent: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(TRACE_PARENT, parent.parse().unwrap());
        headers.insert(TRACE_STATE, "a=1".parse().unwrap());
        headers
    }

    fn begin(tracer: &Arc<Tracer>, headers: &HeaderMap) -> Recording {
        Recording::begin(tracer, headers, Instant::now(), || ("a".to_owned(), Vec::new()))
    }

    fn answered(status: u16, reason: &'static str) -> SpanEnd {
        SpanEnd {
            status,
            reason,
            duration: Duration::from_millis(5),
            attributes: Vec::new(),
        }
    }

    fn ended(recording: Recording, status: u16, reason: &'static str) -> Span {
        let recorded = recording.0.unwrap().into_inner().unwrap();
        recorded.ended(answered(status, reason))
    }

    fn tenant() -> TenantId {
        TenantId::new("a").unwrap()
    }

    #[test]
    fn a_span_of_a_proved_tenant_is_part_of_what_its_sender_says_and_receivers_are_part_of_it() {
        let recording = begin(&tracer(), &headers(PARENT));
        recording.proved(&tenant());
        let told = recording.parent().unwrap();
        let span = ended(recording, 204, "");
        let parent = TraceParent::of(&headers(PARENT)).unwrap();
        assert_eq!(span.trace_id, parent.trace);
        assert_eq!(span.parent_span_id, parent.span);
        assert_eq!(span.trace_state, "a=1");
        assert_eq!(
            (told.trace.to_vec(), told.span.to_vec()),
            (span.trace_id, span.span_id.clone())
        );
        assert_ne!(span.span_id, parent.span);
        assert_eq!((told.flags(), span.flags), (3, 0x303));
        assert_eq!(span.status, None);
        assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 5_000_000);
    }

    #[test]
    fn what_a_stranger_says_a_request_is_part_of_is_not_believed() {
        let tracer = tracer();
        let span = ended(begin(&tracer, &headers(PARENT)), 401, "no_credential");
        let parent = TraceParent::of(&headers(PARENT)).unwrap();
        assert_ne!(span.trace_id, parent.trace);
        assert!(span.parent_span_id.is_empty() && span.trace_state.is_empty());
        assert_eq!(span.flags, 0x101);
        begin(&tracer, &headers(PARENT)).end(|| answered(401, "no_credential"));
        assert_eq!(tracer.queue.take().map(|batch| batch.len()), Some(1));
    }

    #[test]
    fn stages_are_events_in_their_order_up_to_a_bound() {
        let recording = begin(&tracer(), &HeaderMap::new());
        recording.decoded(|| WriteSize {
            series: 4,
            unknown: 1,
            samples: 10,
        });
        recording.counted(Reached::Encoded, || SampleSums {
            received: 10,
            forwarded: 0,
            dropped: 3,
        });
        for number in 0..MOST_EVENTS {
            recording.sent("soft", || (number > 0).then_some("upstream_timeout"));
        }
        recording.settled(|| SampleSums {
            received: 10,
            forwarded: 5,
            dropped: 3,
        });
        let span = ended(recording, 503, "upstream_timeout");
        let names: Vec<_> = span.events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names[..3], ["decoded", "encoded", "upstream answered"]);
        assert!(span.events.is_sorted_by_key(|event| event.time_unix_nano));
        assert_eq!((names.len(), span.dropped_events_count), (MOST_EVENTS, 2));
        let has = |wanted: Attribute| span.attributes.contains(&wanted);
        assert!(has(number("gauntlet.samples.rejected", 2)) && has(number("gauntlet.samples.forwarded", 5)));
        assert!(has(text("error.type", "upstream_timeout")));
        assert_eq!(span.status.map(|status| status.code), Some(otlp::STATUS_ERROR));
    }
}
