//! Which writes have a span, and whose process it is.
//!
//! Takes a request's number, or a tenant whose sender asks for a span; gives whether there is one. The share that the operator
//! configures decides of every request alike, whatever its head says. A sender may ask for more by a `traceparent` that is
//! sampled, once it has proved a tenant, and only so often: who is on the open network decides nothing, and a tenant little.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use bytes::Bytes;
use http::HeaderMap;

use super::context::TraceParent;
use super::otlp::{Attribute, text};
use super::queue::SpanQueue;
use crate::model::TenantId;
use crate::telemetry::{Metrics, Throttle, Throttles};

/// Spans that senders ask for, in one [`SECOND`]: of one tenant, and of all.
const ASKED_BY_ONE: u64 = 10;
const ASKED_BY_ALL: u64 = 100;
const SECOND: Duration = Duration::from_secs(1);
/// Tenants that are told apart. All that ask beyond these have what one has.
const MAX_ASKING: usize = 1024;

/// One per process.
pub struct Tracer {
    pub(super) queue: SpanQueue,
    /// Who sends, for the collector.
    pub(super) resource: Vec<Attribute>,
    /// So that no sender can know which requests are chosen.
    seed: u64,
    asked: Throttles<TenantId>,
    asked_by_all: Throttle,
}

impl Tracer {
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        // Without randomness there are no ids either, and so no spans.
        let [seed, one, other] = random::<24>().map_or([0; 3], words);
        let mut resource = vec![
            text("service.name", env!("CARGO_PKG_NAME")),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", uuid(one, other)),
        ];
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        resource.extend(
            Some(host.trim())
                .filter(|host| !host.is_empty())
                .map(|host| text("host.name", host)),
        );
        Arc::new(Self {
            queue: SpanQueue::new(metrics),
            resource,
            seed,
            asked: Throttles::new(ASKED_BY_ONE, SECOND, MAX_ASKING),
            asked_by_all: Throttle::new(ASKED_BY_ALL, SECOND),
        })
    }

    /// Whether the request of this number is one of `share`.
    #[inline]
    pub fn chooses(&self, number: u64, share: f64) -> bool {
        // As many bits as a float's fraction: all of them are below 1.
        let drawn = mixed(number.wrapping_add(self.seed)) >> 11;
        (drawn as f64) < share * (1_u64 << 53) as f64
    }

    /// Whether a sender of `tenant`, which is proved, asks for a span and gets it.
    pub fn grants(&self, headers: &HeaderMap, tenant: &TenantId, now: Instant) -> bool {
        TraceParent::of(headers).is_some_and(TraceParent::is_sampled)
            && self.asked.due(tenant.clone(), now).is_some()
            && self.asked_by_all.due(now).is_some()
    }

    pub(super) fn ended(&self, span: Bytes) {
        self.queue.push(span);
    }
}

/// None if the system has none to give.
pub(super) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).ok()?;
    Some(bytes)
}

fn words(bytes: [u8; 24]) -> [u64; 3] {
    let (words, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|at| words.get(at).copied().map_or(0, u64::from_be_bytes))
}

/// RFC 9562 section 5.4, as the conventions want an instance to be called.
fn uuid(one: u64, other: u64) -> String {
    let (one, other) = (one & !0xf000 | 0x4000, other & !(3 << 62) | 2 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        one >> 32,
        (one >> 16) & 0xffff,
        one & 0xffff,
        other >> 48,
        other & 0xffff_ffff_ffff
    )
}

/// Numbers in a row become such as nobody sees a rhythm in (the finaliser of SplitMix64): with one in a hundred taken by
/// counting, a hundred senders in step would have the same one chosen each time.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::super::context::TRACE_PARENT;
    use super::*;

    fn tracer() -> Arc<Tracer> {
        Tracer::new(Arc::new(Metrics::new()))
    }

    fn asking(flags: &str) -> HeaderMap {
        let parent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        HeaderMap::from_iter([(TRACE_PARENT, parent.parse().unwrap())])
    }

    #[test]
    fn of_all_requests_there_is_the_share_that_was_asked_for() {
        let tracer = tracer();
        for (share, expected) in [
            (0.0, 0..1),
            (0.01, 800..1200),
            (0.5, 49_000..51_000),
            (1.0, 100_000..100_001),
        ] {
            let chosen = (0..100_000).filter(|number| tracer.chooses(*number, share)).count();
            assert!(expected.contains(&chosen), "{chosen} of 100,000 for {share}");
        }
    }

    #[test]
    fn who_sends_in_step_is_chosen_as_often_as_others() {
        let tracer = tracer();
        for sender in 0..100 {
            let own = (0..10_000).map(|round| round * 100 + sender);
            let chosen = own.filter(|number| tracer.chooses(*number, 0.01)).count();
            assert!((40..180).contains(&chosen), "{chosen} of 10,000 for sender {sender}");
        }
    }

    #[test]
    fn senders_are_granted_so_many_spans_a_second_each_and_together() {
        let tracer = tracer();
        let now = Instant::now();
        let tenant = |number: u64| TenantId::new(&format!("t{number}")).unwrap();
        let headers = asking("01");
        let granted = |of: &TenantId, now| (0..100).filter(|_| tracer.grants(&headers, of, now)).count() as u64;
        assert_eq!(granted(&tenant(0), now), ASKED_BY_ONE);
        assert_eq!(granted(&tenant(1), now), ASKED_BY_ONE);
        let others: u64 = (2..50).map(|number| granted(&tenant(number), now)).sum();
        assert_eq!(others, ASKED_BY_ALL - 2 * ASKED_BY_ONE);
        assert_eq!(granted(&tenant(0), now + SECOND), ASKED_BY_ONE);
    }

    #[test]
    fn who_does_not_ask_is_granted_nothing() {
        let tracer = tracer();
        let tenant = TenantId::new("a").unwrap();
        for headers in [HeaderMap::new(), asking("00"), asking("02"), asking("1")] {
            assert!(!tracer.grants(&headers, &tenant, Instant::now()), "{headers:?}");
        }
    }

    #[test]
    fn an_instance_is_called_by_a_random_uuid() {
        assert_eq!(uuid(0, 0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u64::MAX, u64::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
