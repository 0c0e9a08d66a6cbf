//! `GET /api/v1/events`: what flows as it flows, what is refused and what is reloaded, as server-sent events.
//!
//! Takes the time once a second, gives text to whoever listens: made once for all of them. Bounded in the number of listeners,
//! and in what each may be behind: who reads slowly loses events. While nobody listens, there are none. Each stream ends
//! with the process, and is the last answer of its connection.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tokio::time::MissedTickBehavior;

use super::flowing::{FlowEvent, TenantsEvent};
use super::gateway::Gateway;
use super::lately::Lately;
use super::refused::RefusalEvent;
use super::reloads::ReloadedView;
use super::streams::STREAMS;
use super::views::failed;
use crate::listener::lasting;
use crate::refusals::KeptRefusal;
use crate::reload::Reloaded;

const EVERY: Duration = Duration::from_secs(1);
/// Of these a table of all tenants comes with each.
const OF_A_TABLE: u64 = 5;
/// Something is sent at least so often, for whoever stands between.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One listener's end.
struct Stream {
    gateway: Gateway,
    /// What is sent before all else.
    first: Vec<Bytes>,
    events: broadcast::Receiver<Bytes>,
    refusals: broadcast::Receiver<Arc<KeptRefusal>>,
    _place: OwnedSemaphorePermit,
}

pub(super) async fn events(State(gateway): State<Gateway>) -> Response {
    let Ok(place) = Arc::clone(&gateway.events.places).try_acquire_owned() else {
        let full = format!("{STREAMS} streams of events are open, which is as many as there may be; close one");
        return failed(StatusCode::SERVICE_UNAVAILABLE, &full);
    };
    let current = gateway.generations.current();
    let lately = Lately::of(&current);
    // The last one is sent first.
    let first = vec![
        event("tenants", &TenantsEvent::of_last_minute(&current, &lately)),
        event("flow", &FlowEvent::of_last_interval(&gateway.flow)),
    ];
    let stream = Stream {
        first,
        events: gateway.events.listeners.subscribe(),
        refusals: current.shared.refused.listen(),
        _place: place,
        gateway,
    };
    let events = stream::unfold(stream, |mut stream| async {
        let next = stream.next().await?;
        Some((Ok::<_, Infallible>(next), stream))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    lasting((headers, Body::from_stream(events)).into_response())
}

impl Stream {
    /// What was missed is left out.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.pop() {
            return Some(first);
        }
        loop {
            tokio::select! {
                () = self.gateway.stop.cancelled() => return None,
                next = self.events.recv() => match next {
                    Ok(event) => return Some(event),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                },
                next = self.refusals.recv() => match next {
                    Ok(refusal) => return Some(event("refusal", &RefusalEvent::of(&refusal))),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                },
                () = tokio::time::sleep(KEEP_ALIVE) => return Some(Bytes::from_static(b": keep-alive\n\n")),
            }
        }
    }
}

/// JSON has no line breaks that are not escaped.
fn event<T: Serialize>(name: &str, data: &T) -> Bytes {
    // Numbers, words and lists cannot fail to be written.
    let data = serde_json::to_string(data).unwrap_or_default();
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

impl Gateway {
    /// Looks at what flows, and tells who listens, until all ends.
    pub async fn watch_flow(self) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut told = Told::of(&self);
        // What they take is recent from the beginning on.
        self.flow.know_upstreams(&self.upstreams.status());
        for round in 1_u64.. {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let now = Instant::now();
            let is_listened_to = self.events.listeners.receiver_count() > 0;
            let is_due = self.flow.is_due(now);
            if is_listened_to || is_due {
                self.look(now);
            }
            if is_due {
                self.flow.know_upstreams(&self.upstreams.status());
            }
            match is_listened_to {
                true => told.tell(&self, round, now),
                // Rates are of the time in which somebody listens.
                false if is_due => told.forget(&self, now),
                false => {}
            }
        }
    }
}

/// What was told last.
struct Told {
    table: Instant,
    reload: Option<Arc<Reloaded>>,
}

impl Told {
    fn of(gateway: &Gateway) -> Self {
        Self {
            table: Instant::now(),
            reload: gateway.generations.history().into_iter().next(),
        }
    }

    /// An error means that nobody listens any more.
    fn tell(&mut self, gateway: &Gateway, round: u64, now: Instant) {
        let send = |event| drop(gateway.events.listeners.send(event));
        let (interval, seconds) = gateway.flow.take_lately(now);
        send(event("flow", &FlowEvent::of(&gateway.flow, &interval, seconds)));
        for reload in self.new_reloads(gateway).iter().rev() {
            send(event("reload", &ReloadedView::of(reload)));
        }
        if round.is_multiple_of(OF_A_TABLE) {
            let current = gateway.generations.current();
            let seconds = self.reset(now);
            let lately = Lately::of(&current);
            send(event("tenants", &TenantsEvent::of(&current, &lately, seconds)));
        }
    }

    fn forget(&mut self, gateway: &Gateway, now: Instant) {
        self.reset(now);
        self.new_reloads(gateway);
        gateway.flow.take_lately(now);
        let current = gateway.generations.current();
        current.tenants.accounts().for_each(|account| {
            account.flow().take_lately();
        });
    }

    /// Those since the last look, the newest first.
    fn new_reloads(&mut self, gateway: &Gateway) -> Vec<Arc<Reloaded>> {
        let mut all = gateway.generations.history();
        let newest = all.first().cloned();
        let is_known = |reload: &Arc<Reloaded>| self.reload.as_ref().is_some_and(|told| Arc::ptr_eq(told, reload));
        all.truncate(all.iter().position(is_known).unwrap_or(all.len()));
        self.reload = newest;
        all
    }

    /// How many seconds the next table is of.
    fn reset(&mut self, now: Instant) -> f64 {
        let since = std::mem::replace(&mut self.table, now);
        now.saturating_duration_since(since).as_secs_f64()
    }
}
