//! The demo's receiver: answers as Thanos does and remembers what it was given, by tenant.
//!
//! Takes remote write 1.0 on a loopback port, gives counts. Decodes what it gets, so that a number in the table is
//! something that really arrived.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::listener::pause_after;
use crate::model::Protocol;
use crate::wire::{ScanLimits, scan, snappy};

const MAX_BODY: usize = 32 << 20;

type Counts = BTreeMap<String, u64>;

pub(super) struct Receiver {
    address: SocketAddr,
    samples: Arc<Mutex<Counts>>,
}

impl Receiver {
    pub(super) async fn start(tasks: &TaskTracker, stop: CancellationToken) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let receiver = Self {
            address: listener.local_addr()?,
            samples: Arc::default(),
        };
        let (samples, connections) = (Arc::clone(&receiver.samples), tasks.clone());
        tasks.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let stream = match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        if let Some(pause) = pause_after(&error) {
                            tokio::time::sleep(pause).await;
                        }
                        continue;
                    }
                };
                let (samples, stop) = (Arc::clone(&samples), stop.clone());
                connections.spawn(async move {
                    let service = service_fn(move |request| receive(request, Arc::clone(&samples)));
                    let connection =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    tokio::select! {
                        () = stop.cancelled() => {}
                        // The gateway closes its connections when it stops; there is nobody to tell.
                        _ = connection => {}
                    }
                });
            }
        });
        Ok(receiver)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Samples that arrived, by tenant.
    pub(super) fn counts(&self) -> Counts {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn receive(request: Request<Incoming>, samples: Arc<Mutex<Counts>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let tenant = request
        .headers()
        .get("thanos-tenant")
        .and_then(|v| v.to_str().ok())
        .unwrap_or("")
        .to_owned();
    let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
    let received = body.ok().and_then(|body| count(&body.to_bytes()));
    let mut response = Response::new(Full::default());
    match received {
        Some(received) => {
            *samples
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(tenant)
                .or_default() += received;
        }
        None => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    Ok(response)
}

fn count(compressed: &[u8]) -> Option<u64> {
    let body = snappy::decode(compressed, MAX_BODY as u64).ok()?;
    let scanned = scan(Protocol::V1, body, &ScanLimits::NONE).ok()?;
    Some(scanned.totals().all_samples())
}
