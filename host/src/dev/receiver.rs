//! The demo's receiver: takes whatever comes, as a Thanos that is well.
//!
//! Takes writes on a loopback port, answers 200. Keeps nothing: what arrived is what the gateway counts as forwarded.

use std::convert::Infallible;
use std::net::SocketAddr;

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

const MAX_BODY: usize = 32 << 20;

pub(super) struct Receiver {
    address: SocketAddr,
}

impl Receiver {
    pub(super) async fn start(tasks: &TaskTracker, stop: CancellationToken) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let receiver = Self {
            address: listener.local_addr()?,
        };
        let connections = tasks.clone();
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
                let stop = stop.clone();
                connections.spawn(async move {
                    let service = service_fn(receive);
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
}

async fn receive(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
    let mut response = Response::new(Full::default());
    if body.is_err() {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(response)
}
