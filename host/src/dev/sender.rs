//! The demo's senders: each scrapes made-up nodes once a second and writes what it found, as an agent does.
//!
//! Takes a sample tenant, gives remote write over TLS. Holds on to a write until it is accepted; while it waits it
//! scrapes nothing, so a limited tenant is seen to wait and nothing is lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, RETRY_AFTER};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::certificates::Certificates;
use super::folder::DevError;
use super::sample::{Kind, METRICS, Sample};
use crate::wire::{snappy, write_series};

const INTERVAL: Duration = Duration::from_secs(1);

struct Sender {
    tenant: &'static Sample,
    gateway: SocketAddr,
    tls: TlsConnector,
    tasks: TaskTracker,
}

pub(super) fn start(
    tenant: &'static Sample,
    gateway: SocketAddr,
    certificates: &Certificates,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> Result<(), DevError> {
    let config = client_config(tenant, certificates).map_err(|e| DevError::Sender(e.to_string()))?;
    let tls = TlsConnector::from(Arc::new(config));
    let sender = Sender {
        tenant,
        gateway,
        tls,
        tasks: tasks.clone(),
    };
    tasks.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = sender.run() => {}
        }
    });
    Ok(())
}

fn client_config(tenant: &Sample, certificates: &Certificates) -> Result<ClientConfig, Box<dyn std::error::Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificates.ca.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    Ok(match certificates.client(tenant.name) {
        Some(pair) => builder.with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(pair.cert.as_bytes())?],
            PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?,
        )?,
        None => builder.with_no_client_auth(),
    })
}

impl Sender {
    async fn run(&self) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut connection = None;
        let mut scrapes = 0;
        loop {
            ticks.tick().await;
            scrapes += 1;
            let body = self.scrape(scrapes);
            let mut attempt = 0;
            while let Err(wait) = self.send(&mut connection, &body, attempt).await {
                attempt += 1;
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// Sends one write; gives how long to wait where it has to be sent again.
    async fn send(
        &self,
        connection: &mut Option<SendRequest<Full<Bytes>>>,
        body: &Bytes,
        attempt: u32,
    ) -> Result<(), Duration> {
        let again = Duration::from_secs(1);
        let mut open = match connection.take().filter(|open| !open.is_closed()) {
            Some(open) => open,
            None => self.connect().await.map_err(|_| again)?,
        };
        let response = open
            .send_request(self.request(body, attempt))
            .await
            .map_err(|_| again)?;
        let status = response.status();
        let wait = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.parse().ok());
        response.into_body().collect().await.map_err(|_| again)?;
        *connection = Some(open);
        // As Prometheus: 5xx is sent again, everything else is over.
        match status.is_server_error() {
            true => Err(wait.map_or(again, Duration::from_secs)),
            false => Ok(()),
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(self.gateway).await?;
        let stream = self.tls.connect(ServerName::try_from("localhost")?, stream).await?;
        let (open, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends when the sender lets go of `open`, or the gateway closes.
        self.tasks.spawn(async move { drop(connection.await) });
        Ok(open)
    }

    fn request(&self, body: &Bytes, attempt: u32) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = http::Uri::from_static("/api/v1/receive");
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        headers.insert("content-type", HeaderValue::from_static("application/x-protobuf"));
        headers.insert("content-encoding", HeaderValue::from_static("snappy"));
        headers.insert("x-prometheus-remote-write-version", HeaderValue::from_static("0.1.0"));
        headers.insert(
            "user-agent",
            HeaderValue::from_static(concat!("gauntlet-dev/", env!("CARGO_PKG_VERSION"))),
        );
        if attempt > 0 {
            headers.insert("retry-attempt", HeaderValue::from(attempt));
        }
        if let Some(token) = self.tenant.bearer_token
            && let Ok(value) = HeaderValue::try_from(format!("Bearer {token}"))
        {
            headers.insert(AUTHORIZATION, value);
        }
        request
    }

    /// One sample of every series of every node, now.
    fn scrape(&self, scrapes: u64) -> Bytes {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as i64);
        let mut body = Vec::new();
        for node in 0..self.tenant.nodes {
            let instance = format!("{}-node-{node}:9100", self.tenant.name);
            for metric in &METRICS {
                let name = ("__name__", metric.name);
                let fixed = [("instance", instance.as_str()), ("job", "node")];
                let values = metric.label.map_or(&[""][..], |(_, values)| values);
                for (i, value) in values.iter().enumerate() {
                    let mut labels = vec![name];
                    labels.extend(fixed);
                    labels.extend(metric.label.map(|(label, _)| (label, *value)));
                    labels.sort_unstable();
                    let sample = (value_at(metric.kind, scrapes, node + i), now);
                    write_series(&mut body, labels.into_iter(), [sample].into_iter());
                }
            }
        }
        let mut compressed = Vec::new();
        // Only bodies of gigabytes are too long.
        let _ = snappy::encode(&body, &mut compressed);
        Bytes::from(compressed)
    }
}

fn value_at(kind: Kind, scrapes: u64, which: usize) -> f64 {
    let (time, phase) = (scrapes as f64, which as f64);
    match kind {
        Kind::Counter(rate) => (time * rate * (1.0 + phase / 10.0)).floor(),
        Kind::Gauge(1.0) => 1.0,
        Kind::Gauge(around) => around * (1.0 + 0.1 * (time / 30.0 + phase).sin()),
    }
}
