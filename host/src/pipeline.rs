//! The whole life of a write, in one function.
//!
//! Takes a request and the connection it came on, gives an answer. [`Pipeline::write`] reads from top to bottom as
//! ARCHITECTURE.md's line does: head, auth, session, body, decode, frame, judge, route, charge, part, forward. A pipeline
//! is one immutable generation of configuration; what must outlive it is in [`Shared`], and of each tenant in its
//! account.
//!
//! Long because it is all of that in one place.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::auth::{Authenticator, Claimed};
use crate::body::{self, BodyLimits};
use crate::config::{Config, OverRate};
use crate::forward::delivery::{self, Part, Takes};
use crate::forward::{self, ForwardError, ForwardedHeaders, Outgoing, UpstreamSet};
use crate::head;
use crate::judge::{Body, Judged, Recalled};
use crate::limits::Need;
use crate::listener::last;
use crate::model::{Peer, Protocol, Totals};
use crate::respond::{self, Context, Failure, Fullness, RefusedSeries, Stored};
use crate::route::Routes;
use crate::sandbox::Once;
use crate::tenant::{Account, InOrder, Session, Tenants};
use crate::traces::{Collector, Reached, Recording, WriteSize};
use crate::wire::{LIGHT_BYTES, LIGHT_ELEMENTS, ScanLimits, Scanned, snappy};

mod accessed;
mod admit;
mod ledger;
mod logged;
mod settling;
mod shared;
mod tap;
mod traced;
mod untold;

use admit::admit;
use ledger::{Ledger, is_dropped};
use settling::{NO_SUCH_UPSTREAM, PartOutcome, Settling};
pub use shared::{Shared, SharedError};
pub use tap::{LEFT_OUT, OpenTap, Taken, Tap};

/// Whatever an upstream's own timeout: Prometheus gives up after 30 s, and an answer must reach it before.
const FORWARD_DEADLINE: Duration = Duration::from_secs(25);

/// A body that comes with as many bytes is read when it is its turn. Prometheus' bodies have 15-62 KB.
const READ_IN_TURN: u64 = 256 << 10;
/// One that takes as much, compressed and decoded, is decoded when it is its turn.
const DECODED_IN_TURN: u64 = 1 << 20;
/// What is made of a body takes up to so many times what it decodes to: frames, edits, the body that goes on, its compressed
/// form, and what the allocator has not given back of them yet.
const WORK: u64 = 4;

/// One generation of everything.
pub struct Pipeline {
    pub config: Arc<Config>,
    pub authenticator: Arc<Authenticator>,
    pub tenants: Tenants,
    pub upstreams: Arc<UpstreamSet>,
    /// Where spans go; `None`: no write has one.
    pub traces: Option<Arc<Collector>>,
    pub shared: Arc<Shared>,
}

/// What the answer and the log need to know, filled in as the write goes.
#[derive(Default)]
struct Trace<'g> {
    of: Option<&'g Account>,
    /// Which of its credentials proved it, by its place.
    credential: usize,
    over_rate: Option<OverRate>,
    /// What of it was refused, whatever becomes of the rest.
    refused: Vec<RefusedSeries>,
    /// What came in place of a proof.
    claimed: Option<Claimed>,
    /// Of a write of 2.0, what is stored of it: nothing yet, as long as nobody has stored any.
    written: Option<Totals>,
    /// Of the compressed body, once it is in.
    bytes: u64,
    /// Of a write that was let through.
    samples: Option<u64>,
    /// The upstreams that get something of it, a bit for each of the tenant's first 64.
    parts: u64,
    /// Its place among those that wait for one another.
    in_order: Option<InOrder<'g>>,
    /// Its span, if it has one.
    recording: Recording,
}

/// How a request is answered, and whose it is.
struct Answering<'a> {
    status: StatusCode,
    duration: Duration,
    id: &'a str,
    peer: &'a Peer,
}

impl Pipeline {
    /// Answers one request.
    pub async fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let number = self.shared.requests.fetch_add(1, Ordering::Relaxed);
        let id = request_id(request.headers(), number);
        let mut trace = Trace::default();
        let (head, body) = request.into_parts();
        if let Some(collector) = &self.traces {
            trace.recording = self.begin_span(collector, &head, peer, number, started);
        }
        let result = self.write(&head, body, peer, started, &mut trace).await;
        let result = result.map_err(|failure| (failure.answer(&self.context(&trace, peer, number)), failure));
        let again = result.as_ref().err().and_then(|(answer, _)| answer.retry_after_seconds);
        if let Some((account, seconds)) = trace.of.zip(again) {
            let write = trace.in_order.take();
            account.order().told_to_wait(write, seconds, Instant::now());
        }
        // Where the rest is sent again, what was refused comes with it.
        let is_dropped = result
            .as_ref()
            .err()
            .is_none_or(|(answer, _)| is_dropped(answer.status));
        self.log_refused(&trace, result.as_ref().ok(), is_dropped, &id, peer);
        let mut response = match &result {
            Ok(stored) => {
                tracing::debug!(
                    tenant = trace.of.map_or("", |of| of.tenant().as_str()),
                    request_id = id,
                    series = stored.received.series,
                    "write stored"
                );
                trace.written = trace.written.map(|_| stored.written());
                respond::stored(stored)
            }
            Err((answer, failure)) => {
                self.log_failure(failure, answer, &trace, &id, peer);
                let response = respond::failed(answer, || self.authenticator.challenge());
                // A stranger gets one answer for each connection, unless it is to try again: a handshake costs more than
                // that. What is left of a body is nothing to wait for.
                let is_refused = trace.of.is_none() && answer.status.is_client_error();
                match is_refused || matches!(failure, Failure::Body(_)) {
                    true => last(response),
                    false => response,
                }
            }
        };
        if let Some(written) = &trace.written {
            respond::say_written(&mut response, written);
        }
        let (status, duration) = (response.status(), started.elapsed());
        let seconds = duration.as_secs_f64();
        match trace.of {
            Some(account) => account.counters().request(status, seconds),
            None => ledger::count_stranger(&self.shared.metrics, status, seconds),
        }
        let answering = Answering {
            status,
            duration,
            id: &id,
            peer,
        };
        if let Some(log) = self.shared.access_log.get() {
            self.log_access(log, &trace, &result, &answering);
        }
        if trace.recording.is_on() {
            self.end_span(&mut trace, &result, &answering);
        }
        response
    }

    fn context(&self, trace: &Trace<'_>, peer: &Peer, number: u64) -> Context {
        let mut sender = DefaultHasher::new();
        (trace.of.map(Account::tenant), peer.address.ip()).hash(&mut sender);
        Context {
            over_rate: trace.over_rate.unwrap_or(OverRate::Retry),
            load: Fullness::of_percent(self.shared.in_flight.percent()),
            sender: sender.finish(),
            // Fibonacci hashing: neighbours in number are far apart.
            request: number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33,
        }
    }

    async fn write<'g>(
        &'g self,
        request: &Parts,
        incoming: Incoming,
        peer: &Peer,
        started: Instant,
        trace: &mut Trace<'g>,
    ) -> Result<Stored, Failure> {
        let headers = &request.headers;

        // Head and auth: no byte of the body is read for a stranger.
        let head = head::head(&request.method, request.uri.path(), &self.config.remote_write.paths)?;
        let verified = &self.shared.verified;
        let proof = self.authenticator.authenticate(headers, peer, verified).await;
        let proof = proof.inspect_err(|_| trace.claimed = Some(self.authenticator.claimed(headers)))?;
        trace.credential = proof.credential();
        let proved = self.tenants.of(proof, started).ok_or(Failure::Bug(
            "a credential proves a tenant that this generation does not have",
        ))?;
        trace.of = Some(proved.account());
        if self.traces.is_some() {
            self.prove_span(&mut trace.recording, request, peer, proved.id(), started);
        }
        peer.proved.get_or_init(|| proved.id().clone());
        if head.path_tenant.is_some_and(|named| named.as_ref() != Ok(proved.id())) {
            return Err(Failure::PathTenant);
        }
        let ready = proved.ready()?;
        let protocol = head::schema(headers)?;
        trace.written = (protocol == Protocol::V2).then(Totals::default);

        // Session: from here on everything is asked of it. Body: under permits, deadlines and sizes.
        let mut session = ready.enter(&self.shared.in_flight, head::has_several_queues(headers))?;
        trace.over_rate = Some(session.config().over_rate);
        let compressed = self.read_body(incoming, &mut session).await?;
        trace.bytes = compressed.len() as u64;
        trace.recording.reached(Reached::BodyRead);
        session.take_place()?;
        let passed = self.pass(&mut session, protocol, compressed, headers, trace).await;
        trace.in_order = session.leave_order();
        passed
    }

    /// Of a body that is in.
    async fn pass<'g>(
        &'g self,
        session: &mut Session<'g>,
        protocol: Protocol,
        compressed: Bytes,
        headers: &HeaderMap,
        trace: &mut Trace<'g>,
    ) -> Result<Stored, Failure> {
        let recording = &trace.recording;
        let processed = self.process(session, protocol, compressed, recording).await?;

        // Forward: one request per upstream that gets something.
        let Processed {
            parts,
            edited,
            mut ledger,
        } = processed;
        trace.refused.extend_from_slice(ledger.refusals());
        trace.samples = Some(ledger.received());
        trace.parts = parts.iter().fold(0, |all, part| all | bit(part.upstream));
        // All else is gone.
        session.keep(parts.iter().map(|part| part.body.len() as u64).sum());
        let mut headers = forward::forwarded_headers(headers);
        if let Some(span) = recording.parent() {
            headers.become_part_of(span);
        }
        let forwarded = self.forward(session, parts, headers, &mut ledger, recording).await;
        recording.settled(|| ledger.sums());
        trace.written = trace.written.map(|_| ledger.stored());
        forwarded?;
        ledger.edited(edited);
        ledger.close()
    }

    /// From the body that came to those that go on: all that happens between the two networks.
    ///
    /// # Errors
    /// Whatever a stage refuses. What was received is accounted for then.
    pub async fn process<'g>(
        &self,
        session: &mut Session<'g>,
        protocol: Protocol,
        compressed: Bytes,
        recording: &Recording,
    ) -> Result<Processed<'g>, Failure> {
        let limits = &session.config().limits;
        let decoded_size = snappy::decoded_length(&compressed, limits.max_decoded_size)?;
        session.hold((compressed.len() + decoded_size) as u64)?;
        let body = Body {
            protocol,
            compressed: compressed.clone(),
            decoded_size,
            limits: ScanLimits {
                max_series: limits.max_series_per_request,
                max_decoded_size: limits.max_decoded_size,
            },
        };
        let (recalled, written) = match protocol {
            Protocol::V1 => (session.judge().recall(body).await?, 0),
            // In a box, as below.
            Protocol::V2 => Box::pin(self.recall_written_out(session, body)).await?,
        };
        let scanned = recalled.scanned();
        let mut ledger = Ledger::open(
            session.counters(),
            scanned,
            compressed.len(),
            session.config().over_rate,
        );
        recording.decoded(|| WriteSize {
            series: scanned.series().len(),
            unknown: recalled.unknown(),
            samples: ledger.received(),
        });
        if self.shared.tap.is_open() {
            // In a box: the writes of every other day are not to be larger for it.
            Box::pin(self.tap(session, scanned)).await;
        }
        if session.has_an_order() {
            // In a box, as above.
            let its_turn = Box::pin(session.wait_in_order(recalled.scanned())).await;
            its_turn.map_err(|e| ledger.fail(e.into()))?;
            recording.reached(Reached::Ordered);
        }
        let framed = written + recalled.size();
        let most = framed + recalled.most_edited();
        session.hold_work(most).map_err(|e| ledger.fail(e.into()))?;

        // Policy: every series gets its fate, host checks included.
        let judging = session.judge().judge(recalled).await;
        let mut judged = judging.map_err(|e| ledger.fail(e.into()))?;
        recording.reached(Reached::Judged);
        // Of series that were known no edits have been held yet.
        let made = framed + judged.size() as u64;
        session.hold_work(made).map_err(|e| ledger.fail(e.into()))?;
        let admitted = admit(session, &mut judged, compressed.len()).await;
        if let Err(Failure::OverRate { .. }) = admitted {
            session.be_known(judged.scanned());
        }
        let routes = admitted.map_err(|e| ledger.fail(e))?;
        recording.reached(Reached::Admitted);

        // Part and encode. The receivers may take seconds: of all this only the parts are held for them.
        ledger.judged(&judged);
        session.examples().note(&judged);
        let all = session.config().upstreams.iter().map(|name| self.upstreams.takes(name));
        ledger.unwanted(delivery::unwanted(judged.scanned(), all));
        let edited = judged.tally.edited.all_samples();
        let parts = self.part(session, judged, compressed, routes).await;
        let parts = parts.map_err(|e| ledger.fail(e))?;
        recording.counted(Reached::Encoded, || ledger.sums());
        Ok(Processed { parts, edited, ledger })
    }

    /// A body of 2.0 becomes one of 1.0, whose size nobody can tell who has not looked at all of it: gives that too. It is
    /// made of what was sent, so the tenant's own bound is not asked about it.
    async fn recall_written_out(&self, session: &mut Session<'_>, body: Body) -> Result<(Recalled, u64), Failure> {
        let came = (body.compressed.len() + body.decoded_size) as u64;
        let measured = session.judge().measure(body).await?;
        let written = measured.size();
        // What is framed already is little, and has what it takes.
        if written >= DECODED_IN_TURN && !measured.is_framed() {
            let need = Need {
                bytes: came,
                work: written + measured.written() * WORK,
            };
            session.wait_for(&self.shared.turns, need).await?;
        }
        session.hold_work(written)?;
        Ok((session.judge().recall_measured(measured).await?, written))
    }

    /// For an operator who watches. Where there is no room for that now, the write goes on without.
    async fn tap(&self, session: &Session<'_>, scanned: &Scanned) {
        let tenant = &session.config().id;
        if let Some(taste) = self.shared.tap.of(tenant, scanned) {
            let _ = session.work(taste).await;
        }
    }

    /// A large body waits for its turn to be read as a whole, so that no two wait for each other half-read; so does one that
    /// is large once it is decoded, when it is in.
    async fn read_body(&self, incoming: Incoming, session: &mut Session<'_>) -> Result<Bytes, Failure> {
        let listener = &self.config.remote_write;
        let limits = &session.config().limits;
        let mut bounds = BodyLimits {
            max_size: limits.max_body_size,
            timeout: listener.body_timeout,
            min_rate: listener.min_body_rate,
        };
        let mut begun = body::begin(incoming, &bounds).await?;
        let turns = &self.shared.turns;
        let declared =
            |bytes: &[u8]| snappy::declared_length(bytes).map_or(0, |length| length.min(limits.max_decoded_size));
        let decoded = declared(begun.first());
        // How long a body in chunks is nobody says; snappy makes none longer than this.
        let in_chunks = || (decoded + decoded / 6 + 32).min(limits.max_body_size);
        let coming = begun.announced().unwrap_or_else(in_chunks);
        let decoded = decoded.min(snappy::most_decoded(coming));
        let is_reserved = coming >= READ_IN_TURN;
        if is_reserved {
            session.wait_for(turns, need(coming, decoded)).await?;
            begun.trust_announced();
            bounds.min_rate = bounds.min_rate.max(least_rate(coming, bounds.timeout));
        }
        let compressed = body::read(begun, &bounds, |bytes| Ok::<_, Failure>(session.hold(bytes)?)).await?;
        // The first piece may have been too short to tell.
        let (length, told) = (compressed.len() as u64, declared(&compressed));
        let told = told.min(snappy::most_decoded(length));
        if (!is_reserved || told > decoded) && length + told >= DECODED_IN_TURN {
            session.wait_for(turns, need(length, told)).await?;
        }
        Ok(compressed)
    }

    /// What each upstream gets of a write that is admitted.
    async fn part(
        &self,
        session: &Session<'_>,
        judged: Judged,
        compressed: Bytes,
        routes: Routes,
    ) -> Result<Vec<Part>, Failure> {
        let scanned = judged.scanned();
        let bytes = scanned.length() + judged.edits().put_in();
        let elements = scanned.series().len() as u64 + scanned.metadata();
        let (upstreams, tenant) = (Arc::clone(&self.upstreams), Arc::clone(session.config()));
        let count = tenant.upstreams.len();
        let takes = move |at: usize| {
            tenant
                .upstreams
                .get(at)
                .map_or_else(Takes::default, |name| upstreams.takes(name))
        };
        let takes_2 = (0..count).any(|at| takes(at).protocol == Protocol::V2);
        let most = match takes_2 && delivery::is_translated(&judged, &routes, count, &takes) {
            true => LIGHT_ELEMENTS / 4,
            false => LIGHT_ELEMENTS,
        };
        let is_light = bytes < LIGHT_BYTES && elements <= most as u64;
        let parting = Once::new(is_light, move || {
            delivery::part(&judged, &compressed, &routes, count, takes)
        });
        Ok(session.work(parting).await??)
    }

    /// Sends every part at once and waits for all: a part that was stored is stored whatever becomes of the others.
    async fn forward(
        &self,
        session: &Session<'_>,
        parts: Vec<Part>,
        headers: ForwardedHeaders,
        ledger: &mut Ledger<'_>,
        recording: &Recording,
    ) -> Result<(), Failure> {
        let deadline = tokio::time::Instant::now() + FORWARD_DEADLINE;
        let is_sent_again = is_sent_again(headers.as_map());
        let sends = parts.iter().map(|part| {
            let outgoing = Outgoing {
                attribution: session.attribution(),
                body: part.body.clone(),
                totals: part.totals,
                trace: headers.clone(),
            };
            async move {
                let name = session.config().upstreams.get(part.upstream);
                let name = name.ok_or(NO_SUCH_UPSTREAM)?;
                let upstream = self.upstreams.find(name).ok_or(ForwardError::NoEndpoint)?;
                let outcome = upstream.send(&outgoing, deadline).await.map_err(Failure::from);
                recording.sent(name, || outcome.as_ref().err().map(Failure::reason));
                outcome
            }
        });
        let outcomes: Vec<PartOutcome> = futures_util::future::join_all(sends).await;
        let settling = Settling {
            session,
            shared: &self.shared,
            is_sent_again,
        };
        settling.settle(&parts, outcomes, ledger)
    }
}

/// A write that is ready to go on.
pub struct Processed<'g> {
    parts: Vec<Part>,
    edited: u64,
    ledger: Ledger<'g>,
}

impl Processed<'_> {
    /// What would go on. The write is accounted for as given up.
    pub fn into_parts(self) -> Vec<Part> {
        self.parts
    }
}

/// What a body may take until its parts are ready. No turn gives more than a third of the whole for work; what takes more asks
/// for it as it is made.
fn need(compressed: u64, decoded: u64) -> Need {
    let is_large = decoded >= DECODED_IN_TURN;
    Need {
        bytes: compressed + decoded,
        // Smaller ones are encoded in what each thread keeps for it.
        work: if is_large { decoded * WORK } else { 0 },
    }
}

/// Memory that others wait for is lent to nobody who comes at less than half the pace that he needs to end in time.
fn least_rate(bytes: u64, timeout: Duration) -> u64 {
    bytes / (2 * timeout.as_secs()).max(1)
}

fn bit(upstream: usize) -> u64 {
    1_u64.checked_shl(upstream as u32).unwrap_or_default()
}

/// By the sender's own count of its attempts, as the specifications of remote write name it.
fn is_sent_again(headers: &HeaderMap) -> bool {
    let attempt = headers.get("retry-attempt").and_then(|value| value.to_str().ok());
    attempt.is_some_and(|attempt| attempt.parse::<u32>().is_ok_and(|attempt| attempt > 0))
}

/// The sender's `X-Request-ID` where it is one that receivers are told too, else the request's number.
fn request_id(headers: &HeaderMap, number: u64) -> String {
    forward::request_id(headers).map_or_else(|| format!("{number:016x}"), str::to_owned)
}
