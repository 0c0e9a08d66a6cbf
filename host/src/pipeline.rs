//! The whole life of a write, in one function.
//!
//! Takes a request and the connection it came on, gives an answer. [`Pipeline::write`] reads from top to bottom as
//! the design's diagram does: head, auth, admit body, decode, scan, judge, charge, route, encode, forward. A pipeline
//! is one immutable generation of configuration; what must outlive it is in [`Shared`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::auth::{self, Authenticator, VerifiedPasswords};
use crate::body::{self, BodyLimits};
use crate::chain::{Charge, Decision, Write};
use crate::config::{self, Config, OverRate};
use crate::forward::{self, ForwardError, ForwardedHeaders, Outgoing, UpstreamSet, Upstreams};
use crate::head;
use crate::judge::memo::HashKey;
use crate::judge::verdict::Fate;
use crate::judge::{Clock, Judge, Judged};
use crate::limits::bucket::{self, Buckets};
use crate::limits::in_flight::{InFlight, Permit};
use crate::model::{Peer, TenantId};
use crate::respond::{self, Context, Failure, Stored};
use crate::route::{self, Routes};
use crate::sandbox::Engine;
use crate::telemetry::Metrics;
use crate::wire::scan::{self, Framed};
use crate::wire::snappy::{self, SnappyError};
use crate::wire::splice::Piece;
use crate::wire::{self, heavy};

mod failures;
mod ledger;

pub use failures::FailureLog;
use ledger::Ledger;
pub use ledger::Meter;

/// Whatever an upstream's own timeout: Prometheus gives up after 30 s, and an answer must reach it before.
const FORWARD_DEADLINE: Duration = Duration::from_secs(25);

/// What outlives a reload.
pub struct Shared {
    pub metrics: Arc<Metrics>,
    pub engine: Arc<Engine>,
    pub upstreams: Arc<Upstreams>,
    pub buckets: Buckets,
    pub in_flight: Arc<InFlight>,
    pub verified: VerifiedPasswords,
    pub hash_key: Arc<HashKey>,
    pub clock: Clock,
    pub requests: AtomicU64,
    pub failures: FailureLog,
}

/// One generation of one tenant.
pub struct Tenant {
    pub config: Arc<config::Tenant>,
    pub generation: u64,
    pub judge: Judge,
    pub meter: Meter,
}

/// One generation of everything.
pub struct Pipeline {
    pub config: Arc<Config>,
    pub authenticator: Authenticator,
    pub tenants: HashMap<TenantId, Arc<Tenant>>,
    pub upstreams: Arc<UpstreamSet>,
    pub shared: Arc<Shared>,
}

/// What the answer and the log need to know, filled in as the write goes.
#[derive(Default)]
struct Trace<'a> {
    tenant: Option<TenantId>,
    meter: Option<&'a Meter>,
    over_rate: Option<OverRate>,
}

impl Pipeline {
    /// Answers one request.
    pub async fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let number = self.shared.requests.fetch_add(1, Ordering::Relaxed);
        let attempt = retry_attempt(request.headers());
        let id = request_id(request.headers(), number);
        let mut trace = Trace::default();
        let result = self.write(request, peer, &mut trace).await;
        let context = Context {
            over_rate: trace.over_rate.unwrap_or(OverRate::Retry),
            attempt,
            // Fibonacci hashing: neighbours in number are far apart in jitter.
            jitter: number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33,
        };
        let of = trace.tenant.as_ref();
        let tenant = of.map_or("", TenantId::as_str);
        let response = match &result {
            Ok(written) => {
                tracing::debug!(
                    tenant,
                    request_id = id,
                    series = written.received_series,
                    "write stored"
                );
                respond::stored(written)
            }
            Err(failure) => {
                let answer = failure.answer(&context);
                self.log_failure(failure, &answer, of, &id, peer);
                respond::failed(&answer, || self.authenticator.challenge())
            }
        };
        ledger::count_request(
            &self.shared.metrics,
            trace.meter,
            tenant,
            response.status(),
            started.elapsed(),
        );
        response
    }

    async fn write<'a>(
        &'a self,
        request: Request<Incoming>,
        peer: &Peer,
        trace: &mut Trace<'a>,
    ) -> Result<Stored, Failure> {
        let (parts, incoming) = request.into_parts();
        let headers = &parts.headers;

        // Head and auth: no byte of the body is read for a stranger.
        let head = head::head(&parts.method, parts.uri.path())?;
        let proved = self
            .authenticator
            .authenticate(headers, peer, &self.shared.verified)
            .await?;
        trace.tenant = Some(proved.id().clone());
        if head.path_tenant.is_some_and(|named| named.as_ref() != Ok(proved.id())) {
            return Err(Failure::PathTenant);
        }
        let tenant = self.tenants.get(proved.id()).ok_or(Failure::NoGeneration)?;
        trace.over_rate = Some(tenant.config.over_rate);
        trace.meter = Some(&tenant.meter);
        head::schema(headers)?;

        // Body: under permits, deadlines and sizes.
        let mut permit = self
            .shared
            .in_flight
            .try_acquire(proved.id(), &tenant.config.limits, 0)?;
        let compressed = self.read_body(incoming, &tenant.config.limits, &mut permit).await?;
        let processed = self.process(tenant, &proved, compressed, &mut permit).await?;

        // Forward: one request per upstream that gets something.
        let Processed {
            parts,
            edited,
            mut ledger,
        } = processed;
        self.forward(tenant, parts, forward::forwarded_headers(headers), &mut ledger)
            .await?;
        ledger.edited(edited);
        Ok(ledger.close())
    }

    /// From the body that came to those that go on: all that happens between the two networks.
    ///
    /// # Errors
    /// Whatever a stage refuses. What was received is accounted for then.
    pub async fn process<'a>(
        &'a self,
        tenant: &'a Tenant,
        proved: &'a auth::Tenant,
        compressed: Bytes,
        permit: &mut Permit,
    ) -> Result<Processed<'a>, Failure> {
        let limits = &tenant.config.limits;
        let decoded_size = snappy::decoded_length(&compressed, limits.max_decoded_size)?;
        permit.grow(decoded_size as u64)?;
        let framed = decode_and_frame(&compressed, decoded_size, limits)?;
        let recalled = tenant.judge.recall(framed).await?;
        let scanned = recalled.scanned();
        let mut ledger = Ledger::open(
            &self.shared.metrics,
            &tenant.meter,
            proved.id(),
            scanned,
            compressed.len(),
        );

        // Policy: every series gets its fate, host checks included.
        let sizes = Sizes {
            compressed: compressed.len(),
            decoded: scanned.body().len(),
        };
        let mut judged = tenant
            .judge
            .judge(recalled)
            .await
            .map_err(|e| ledger.fail(Failure::from(e)))?;
        permit
            .grow(judged.edits().size() as u64)
            .map_err(|e| ledger.fail(Failure::from(e)))?;
        let routes = self
            .admit(tenant, proved, &mut judged, sizes)
            .await
            .map_err(|e| ledger.fail(e))?;

        // Encode. The receivers may take seconds: of all this only the parts are held for them.
        ledger.judged(&judged, &tenant.judge);
        let parts = encode(&judged, &compressed, &routes).map_err(|e| ledger.fail(e))?;
        let edited = judged.tally.edited.all_samples();
        Ok(Processed { parts, edited, ledger })
    }

    async fn read_body(
        &self,
        incoming: Incoming,
        limits: &config::Limits,
        permit: &mut Permit,
    ) -> Result<Bytes, Failure> {
        let listener = &self.config.remote_write;
        let bounds = BodyLimits {
            max_size: limits.max_body_size,
            timeout: listener.body_timeout,
            min_rate: listener.min_body_rate,
        };
        Ok(body::read(incoming, &bounds, |bytes| {
            permit.grow(bytes as u64).map_err(|_| body::Overloaded)
        })
        .await?)
    }

    /// Asks the policies that judge writes, charges what they ask for, and resolves their routes.
    async fn admit(
        &self,
        tenant: &Tenant,
        proved: &auth::Tenant,
        judged: &mut Judged,
        sizes: Sizes,
    ) -> Result<Routes, Failure> {
        let streams: Vec<Arc<str>> = (0..judged.tally.streams.len())
            .map(|id| tenant.judge.stream_name(id as u16))
            .collect();
        let decision;
        let (mut charges, mut asked) = (&[][..], &[][..]);
        if tenant.judge.chain().judges_writes() {
            let write = Write {
                subject: proved.subject().to_owned(),
                protocol: "1.0",
                compressed_bytes: sizes.compressed as u64,
                decoded_bytes: sizes.decoded as u64,
                active_series: tenant.judge.active_series() + judged.new_series(),
                new_series: judged.new_series(),
                streams: streams
                    .iter()
                    .cloned()
                    .zip(judged.tally.streams.iter().copied())
                    .collect(),
            };
            decision = tenant.judge.admit(write).await?;
            match &*decision {
                Decision::Reject { reason, .. } => return Err(Failure::Refused { text: reason.clone() }),
                Decision::Admit { charges: due, routes } => (charges, asked) = (due, routes),
            }
        }
        // A write that cannot be routed costs nothing, so charging comes last.
        let routes = route::route(&streams, asked, &tenant.config.upstreams)?;
        self.charge(tenant, proved.id(), charges)?;
        tenant.judge.admitted(judged);
        Ok(routes)
    }

    fn charge(&self, tenant: &Tenant, id: &TenantId, charges: &[Charge]) -> Result<(), Failure> {
        let names: Vec<Arc<str>> = charges
            .iter()
            .map(|charge| tenant.judge.policy_name(charge.policy))
            .collect();
        let charges: Vec<bucket::Charge<'_>> = charges
            .iter()
            .zip(&names)
            .map(|(charge, policy)| bucket::Charge {
                policy,
                bucket: &charge.bucket,
                tokens: charge.tokens,
                per_second: charge.per_second,
                burst: charge.burst,
            })
            .collect();
        match self.shared.buckets.charge(id, &charges, Instant::now()) {
            Ok(()) => Ok(()),
            Err(bucket::ChargeError::OverRate(over)) => {
                ledger::count_limited(&self.shared.metrics, id, &over.policy);
                Err(Failure::OverRate {
                    bucket: over.bucket,
                    retry_after_seconds: over.retry_after.as_secs() + 1,
                })
            }
            Err(error) => Err(Failure::Charges(error.to_string())),
        }
    }

    /// Sends every part at once and waits for all: a part that was stored is stored whatever becomes of the others.
    async fn forward(
        &self,
        tenant: &Tenant,
        parts: Vec<Part>,
        headers: ForwardedHeaders,
        ledger: &mut Ledger<'_>,
    ) -> Result<(), Failure> {
        let deadline = tokio::time::Instant::now() + FORWARD_DEADLINE;
        let sends = parts.iter().map(|part| {
            let name = tenant.config.upstreams[part.upstream].as_str();
            let outgoing = Outgoing {
                tenant: tenant.config.id.clone(),
                body: part.body.clone(),
                trace: headers.clone(),
            };
            async move {
                match self.upstreams.find(name) {
                    Some(upstream) => upstream.send(&outgoing, deadline).await,
                    None => Err(ForwardError::NoEndpoint),
                }
            }
        });
        let results = futures_util::future::join_all(sends).await;
        let mut worst: Option<Failure> = None;
        for (part, result) in parts.iter().zip(results) {
            match result {
                Ok(()) => ledger.forwarded(part.upstream, part.samples),
                Err(error) => {
                    let failure = Failure::Forward(error);
                    ledger.rejected(failure.reason(), part.samples);
                    // Any retryable failure wins over any refusal.
                    if worst
                        .as_ref()
                        .is_none_or(|worst| !worst.is_retryable() && failure.is_retryable())
                    {
                        worst = Some(failure);
                    }
                }
            }
        }
        match worst {
            None => Ok(()),
            Some(failure) => Err(ledger.fail(failure)),
        }
    }

    fn log_failure(&self, failure: &Failure, answer: &respond::Answer, of: Option<&TenantId>, id: &str, peer: &Peer) {
        let (status, reason) = (answer.status.as_u16(), answer.reason);
        let Some(tenant) = of else {
            // Anyone on the internet can cause these lines; the metric counts them.
            ledger::count_unauthenticated(&self.shared.metrics, reason);
            tracing::debug!(status, reason, request_id = id, peer = %peer.address, error = %failure, "request refused");
            return;
        };
        if let Some(untold) = self.shared.failures.due(tenant, reason, Instant::now()) {
            tracing::info!(%tenant, status, reason, request_id = id, error = %failure, untold, "write failed");
        }
    }
}

#[derive(Clone, Copy)]
struct Sizes {
    compressed: usize,
    decoded: usize,
}

/// A write that is ready to go on.
pub struct Processed<'a> {
    parts: Vec<Part>,
    edited: u64,
    ledger: Ledger<'a>,
}

impl Processed<'_> {
    /// For whoever has no receiver to send them to: the write counts as abandoned.
    pub fn into_parts(self) -> Vec<Part> {
        self.parts
    }
}

/// What goes to one upstream.
#[derive(Debug)]
pub struct Part {
    /// Index into the tenant's list.
    pub upstream: usize,
    /// A remote-write 1.0 request in snappy's block format.
    pub body: Bytes,
    pub samples: u64,
}

fn decode_and_frame(compressed: &[u8], decoded_size: usize, limits: &config::Limits) -> Result<Framed, Failure> {
    // By what it decodes to: that may be 21 times what came.
    heavy(decoded_size, || {
        let decoded = snappy::decode(compressed, limits.max_decoded_size)?;
        let max_series = limits.max_series_per_request;
        Ok(scan::frame(decoded, &scan::Limits { max_series })?)
    })
}

/// The bytes for each upstream: the sender's own where every series was kept and goes to one place, else spliced.
fn encode(judged: &Judged, compressed: &Bytes, routes: &Routes) -> Result<Vec<Part>, Failure> {
    let streams = &judged.tally.streams;
    let targets = routes.targets(|stream| streams.get(stream).is_some_and(|totals| totals.series > 0));
    if let [upstream] = targets[..]
        && judged.all_kept()
        && judged.scanned().is_as_sent()
    {
        let samples = judged.tally.forwardable().all_samples();
        return Ok(vec![Part {
            upstream,
            body: compressed.clone(),
            samples,
        }]);
    }
    let spliced = targets.into_iter().map(|upstream| {
        heavy(judged.scanned().body().len(), || {
            let (body, samples) = encode_for(judged, routes, upstream)?;
            Ok(Part {
                upstream,
                body,
                samples,
            })
        })
    });
    spliced.collect()
}

fn encode_for(judged: &Judged, routes: &Routes, upstream: usize) -> Result<(Bytes, u64), SnappyError> {
    let scanned = judged.scanned();
    let mut body = Vec::new();
    let mut samples = 0;
    let pieces = scanned
        .series()
        .iter()
        .zip(judged.fates())
        .filter_map(|(series, fate)| {
            let (piece, stream) = match *fate {
                Fate::Keep { stream } => (Piece::Keep(series), stream),
                Fate::Edit { stream, edit } => (Piece::Edit(series, judged.edits().get(edit)), stream),
                _ => return None,
            };
            (routes.upstream_of(usize::from(stream)) == upstream).then(|| {
                samples += series.totals().all_samples();
                piece
            })
        });
    wire::encode::encode(scanned, pieces, &mut body)?;
    Ok((Bytes::from(body), samples))
}

fn retry_attempt(headers: &HeaderMap) -> u32 {
    headers
        .get("retry-attempt")
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse().ok())
        .unwrap_or(0)
}

/// The sender's `X-Request-ID` where it is short and printable, else the request's number.
fn request_id(headers: &HeaderMap, number: u64) -> String {
    let given = headers
        .get("x-request-id")
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(b);
    match std::str::from_utf8(given) {
        Ok(id) if !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| plain(&b)) => id.to_owned(),
        _ => format!("{number:016x}"),
    }
}
