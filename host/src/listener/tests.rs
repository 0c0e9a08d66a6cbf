//! Senders that are polite, silent, slow, hostile, and many; certificates that change under them.
//!
//! Long because each way to be a bad sender is a few lines and shares one harness.
//! Clients write bytes by hand: what is tried is mostly what a good client would never send.

use std::time::Duration;

use rcgen::SanType;
use rustix::io::Errno;
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::requests::{MAX_HEAD_SIZE, MAX_HEADERS};
use super::*;
use crate::body::{self, BodyLimits};
use crate::config::ClientAuthType;
use crate::memory::Kind;
use crate::model::TenantId;
use crate::tls::tests::{Authority, client_config, connect, settings, uri};

/// Long enough that only a bug waits for it.
const DEADLINE: Duration = Duration::from_secs(20);
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

fn config() -> RemoteWrite {
    RemoteWrite {
        listen_address: "127.0.0.1:0".into(),
        paths: Vec::new(),
        health_checks: false,
        tls: None,
        max_connections: 100,
        max_strangers_per_address: 100,
        max_connections_per_tenant: 100,
        proxy_protocol: Vec::new(),
        handshake_timeout: DEADLINE,
        header_timeout: DEADLINE,
        body_timeout: DEADLINE,
        min_body_rate: 0,
        idle_timeout: DEADLINE,
        max_in_flight_size: 1 << 20,
        max_concurrent_requests: 100,
    }
}

/// A served listener. By path: `/wait` waits to be released, `/unread` answers 401 without reading the body, `/as/a` proves
/// tenant a,
/// anything else answers with the body's length and the certificate's first name.
struct Served {
    address: SocketAddr,
    tls: Arc<tls::Source>,
    shutdown: CancellationToken,
    tracker: TaskTracker,
    metrics: Arc<Metrics>,
    memory: Arc<Memory>,
    release: Arc<Notify>,
    entered: mpsc::UnboundedReceiver<String>,
    serving: JoinHandle<()>,
    /// As the server does: connections outlive the accept loop.
    _reactors: Arc<Reactors>,
}

impl Served {
    async fn start(config: &RemoteWrite, tls: Option<Arc<tls::ServerConfig>>) -> Self {
        let metrics = Arc::new(Metrics::new());
        let listener = Listener::bind(config, Arc::clone(&metrics), Arc::default())
            .await
            .unwrap();
        let address = listener.local_addr();
        let tls = Arc::new(tls::Source::new(tls));
        let shutdown = CancellationToken::new();
        let tracker = TaskTracker::new();
        let release = Arc::new(Notify::new());
        let (enter, entered) = mpsc::unbounded_channel();
        let handler = {
            let release = Arc::clone(&release);
            move |request, peer| answer(request, peer, enter.clone(), Arc::clone(&release))
        };
        let reactors = Arc::new(Reactors::start().unwrap());
        let memory = Memory::new(u64::MAX / 100, Arc::clone(&metrics));
        let serving = tokio::spawn(serve(
            listener,
            Arc::clone(&tls),
            handler,
            shutdown.clone(),
            tracker.clone(),
            Arc::clone(&reactors),
            Arc::clone(&memory),
        ));
        Self {
            address,
            tls,
            shutdown,
            tracker,
            metrics,
            memory,
            release,
            entered,
            serving,
            _reactors: reactors,
        }
    }

    async fn plain(config: &RemoteWrite) -> Self {
        Self::start(config, None).await
    }

    async fn call(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn entered(&mut self) -> String {
        timeout(DEADLINE, self.entered.recv()).await.unwrap().unwrap()
    }

    /// Shuts down and waits for every connection to end.
    async fn drained(self) {
        self.shutdown.cancel();
        timeout(DEADLINE, self.serving).await.unwrap().unwrap();
        self.tracker.close();
        timeout(DEADLINE, self.tracker.wait()).await.unwrap();
        assert_eq!(self.metrics.connections.get(), 0);
    }

    /// The peer learns of a refusal on another thread than the one that counts it.
    async fn has_refused(&self, reason: &'static str, times: u64) {
        let counted = async {
            while self.refused(reason) < times {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, counted).await.expect("a count");
        assert_eq!(self.refused(reason), times, "{reason}");
    }

    fn refused(&self, reason: &'static str) -> u64 {
        self.metrics
            .refused_connections
            .get_or_create(&ReasonLabels { reason })
            .get()
    }
}

async fn answer(
    request: Request<Incoming>,
    peer: Arc<Peer>,
    entered: mpsc::UnboundedSender<String>,
    release: Arc<Notify>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    entered.send(path.clone()).unwrap();
    if path == "/unread" {
        let mut refusal = Response::new(Full::from("no"));
        *refusal.status_mut() = http::StatusCode::UNAUTHORIZED;
        return refusal;
    }
    if let Some(tenant) = path.strip_prefix("/as/") {
        peer.proved.get_or_init(|| TenantId::new(tenant).unwrap());
    }
    if path == "/wait" {
        release.notified().await;
    }
    let limits = BodyLimits {
        max_size: 1 << 20,
        timeout: DEADLINE,
        min_rate: 0,
    };
    let read = async {
        let begun = body::begin(request.into_body(), &limits).await?;
        body::read(begun, &limits, |_| Ok::<_, body::BodyError>(())).await
    };
    match read.await {
        Ok(bytes) => {
            let name = peer.certificate.as_ref().and_then(|c| c.uri_sans.first());
            let name = name.map_or("nobody", String::as_str);
            if path == "/address" {
                return Response::new(Full::from(peer.address.to_string()));
            }
            Response::new(Full::from(format!("{} from {name}", bytes.len())))
        }
        Err(error) => {
            let mut refusal = Response::new(Full::from(error.to_string()));
            *refusal.status_mut() = http::StatusCode::BAD_REQUEST;
            refusal
        }
    }
}

/// Reads one answer: its head in lower case and its body.
async fn reply(stream: &mut (impl AsyncRead + Unpin)) -> (String, String) {
    let read = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("an answer"));
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        (head, String::from_utf8(body).unwrap())
    };
    timeout(DEADLINE, read).await.expect("an answer in time")
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &[u8]) -> (String, String) {
    stream.write_all(request).await.unwrap();
    reply(stream).await
}

/// Waits until the other side ends the connection. A reset is an end too.
async fn end(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = timeout(DEADLINE, stream.read_to_end(&mut rest))
        .await
        .expect("an end in time");
    rest
}

fn post(path: &str, length: usize) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn requests_follow_each_other_on_one_connection() {
    let served = Served::plain(&config()).await;
    let mut stream = served.call().await;
    for length in [0, 1, 100_000] {
        let mut request = post("/", length);
        request.resize(request.len() + length, b'x');
        let (head, body) = ask(&mut stream, &request).await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert_eq!(body, format!("{length} from nobody"));
    }
    drop(stream);
    served.drained().await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let served = Served::plain(&config()).await;
    let taken = RemoteWrite {
        listen_address: served.address.to_string(),
        ..config()
    };
    let error = Listener::bind(&taken, Arc::default(), Arc::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(&format!("cannot listen on {}: ", served.address)),
        "{error}"
    );
}

fn tls_to(ca: &Authority) -> Arc<tls::ServerConfig> {
    tls::server_config(&settings(
        &ca.server(),
        Some(ca),
        ClientAuthType::VerifyClientCertIfGiven,
    ))
    .unwrap()
}

fn kazusa(ca: &Authority) -> Arc<ClientConfig> {
    let identity = ca.client(|params| params.subject_alt_names = vec![uri("spiffe://kazusa/prometheus")]);
    Arc::new(client_config(ca, Some(&identity)))
}

#[tokio::test]
async fn the_handler_sees_the_verified_names() {
    let ca = Authority::new();
    let served = Served::start(&config(), Some(tls_to(&ca))).await;
    let mut stream = connect(&kazusa(&ca), served.address).await.unwrap();
    assert_eq!(ask(&mut stream, GET).await.1, "0 from spiffe://kazusa/prometheus");
    let mut anonymous = connect(&Arc::new(client_config(&ca, None)), served.address)
        .await
        .unwrap();
    assert_eq!(ask(&mut anonymous, GET).await.1, "0 from nobody");
}

#[tokio::test]
async fn a_refused_certificate_never_reaches_the_handler_and_is_counted() {
    let (ca, stranger) = (Authority::new(), Authority::new());
    let mut served = Served::start(&config(), Some(tls_to(&ca))).await;
    let foreign = stranger.client(|params| {
        params.subject_alt_names = vec![SanType::DnsName("kazusa.example".try_into().unwrap())];
    });
    let foreign = Arc::new(client_config(&ca, Some(&foreign)));
    // A TLS 1.3 client learns of the refusal only when it reads.
    let mut stream = connect(&foreign, served.address).await.unwrap();
    let _ = stream.write_all(GET).await;
    assert_eq!(end(&mut stream).await, b"");
    served.has_refused("tls_unknown_ca", 1).await;
    assert!(served.entered.try_recv().is_err());
}

/// A clock that stands before the end of any certificate of these tests.
#[derive(Debug)]
struct In2019;

impl rustls::time_provider::TimeProvider for In2019 {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        Some(rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(
            1_560_000_000,
        )))
    }
}

#[tokio::test]
async fn a_certificate_that_ended_on_a_live_connection_closes_it_without_an_answer() {
    let ca = Authority::new();
    // The handshake finds it valid; the request comes later.
    let mut tls = Arc::unwrap_or_clone(tls_to(&ca));
    tls.time_provider = Arc::new(In2019);
    let mut served = Served::start(&config(), Some(Arc::new(tls))).await;
    let identity = ca.client(|params| {
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let ended = Arc::new(client_config(&ca, Some(&identity)));
    let mut stream = connect(&ended, served.address).await.unwrap();
    stream.write_all(GET).await.unwrap();
    assert_eq!(end(&mut stream).await, b"");
    served.has_refused("tls_expired_certificate", 1).await;
    assert!(served.entered.try_recv().is_err());
}

#[tokio::test]
async fn who_is_in_a_handshake_has_the_memory_that_a_message_in_pieces_takes() {
    let ca = Authority::new();
    let (plain, tls) = (
        Served::plain(&config()).await,
        Served::start(&config(), Some(tls_to(&ca))).await,
    );
    let held = async |served: &Served, at_least| {
        let silent = served.call().await;
        while served.memory.held(Kind::Connections) < at_least {
            tokio::task::yield_now().await;
        }
        silent
    };
    let _silent = timeout(DEADLINE, held(&plain, 1)).await.unwrap();
    let _silent = timeout(DEADLINE, held(&tls, 64 << 10)).await.unwrap();
    assert!(plain.memory.held(Kind::Connections) < 64 << 10);
    let mut stream = connect(&kazusa(&ca), tls.address).await.unwrap();
    ask(&mut stream, GET).await;
}

#[tokio::test]
async fn a_silent_handshake_delays_nobody_and_ends_at_its_deadline() {
    let ca = Authority::new();
    let quick = RemoteWrite {
        handshake_timeout: Duration::from_millis(300),
        ..config()
    };
    let served = Served::start(&quick, Some(tls_to(&ca))).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(served.call().await);
    }
    let began = Instant::now();
    let mut stream = connect(&kazusa(&ca), served.address).await.unwrap();
    assert!(ask(&mut stream, GET).await.0.starts_with("http/1.1 200"));
    for stream in &mut silent {
        assert_eq!(end(stream).await, b"");
    }
    assert!(began.elapsed() < DEADLINE);
    drop(stream);
    let metrics = Arc::clone(&served.metrics);
    served.drained().await;
    let reason = "tls_timeout";
    assert_eq!(
        metrics
            .refused_connections
            .get_or_create(&ReasonLabels { reason })
            .get(),
        20
    );
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_refused() {
    let ca = Authority::new();
    let mut served = Served::start(&config(), Some(tls_to(&ca))).await;
    let mut stream = served.call().await;
    stream.write_all(GET).await.unwrap();
    let rest = end(&mut stream).await;
    assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
    served.has_refused("tls_not_tls", 1).await;
    assert!(served.entered.try_recv().is_err());
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut_off() {
    let quick = RemoteWrite {
        header_timeout: Duration::from_millis(50),
        ..config()
    };
    let served = Served::plain(&quick).await;
    let beginnings: [&[u8]; 3] = [b"", b"POST / HT", b"POST / HTTP/1.1\r\nhost: x\r\nx-a: b\r\n"];
    for beginning in beginnings {
        let mut stream = served.call().await;
        stream.write_all(beginning).await.unwrap();
        assert_eq!(end(&mut stream).await, b"");
    }
    // The same after a request that was served.
    let mut stream = served.call().await;
    ask(&mut stream, GET).await;
    stream.write_all(b"POST / HT").await.unwrap();
    assert_eq!(end(&mut stream).await, b"");
    served.has_refused("head_timeout", 4).await;
}

#[tokio::test]
async fn an_idle_connection_outlives_the_head_timeout_and_ends_at_its_own() {
    let quick = RemoteWrite {
        header_timeout: Duration::from_millis(20),
        idle_timeout: Duration::from_millis(400),
        ..config()
    };
    let served = Served::plain(&quick).await;
    let mut stream = served.call().await;
    ask(&mut stream, GET).await;
    let began = Instant::now();
    assert_eq!(end(&mut stream).await, b"");
    // The server's clock began a little before ours.
    assert!(began.elapsed() > Duration::from_millis(300), "{:?}", began.elapsed());
    assert_eq!(served.refused("head_timeout"), 0);
}

#[tokio::test]
async fn a_busy_request_has_no_head_or_idle_deadline() {
    let quick = RemoteWrite {
        header_timeout: Duration::from_millis(20),
        idle_timeout: Duration::from_millis(20),
        ..config()
    };
    let mut served = Served::plain(&quick).await;
    let mut stream = served.call().await;
    stream.write_all(&post("/wait", 0)).await.unwrap();
    assert_eq!(served.entered().await, "/wait");
    // Another connection is cut off for silence, so the deadline has passed for this one as well.
    end(&mut served.call().await).await;
    served.release.notify_one();
    assert!(reply(&mut stream).await.0.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn a_head_is_bounded_in_size_and_in_fields() {
    let served = Served::plain(&config()).await;
    let sized = |size: usize| {
        let frame = b"GET / HTTP/1.1\r\nhost: x\r\nx: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(size - frame))
    };
    let fields = |count: usize| {
        let more = (1..count).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
        format!("GET / HTTP/1.1\r\nhost: x\r\n{more}\r\n")
    };
    for (request, status) in [
        (sized(MAX_HEAD_SIZE), "200"),
        (sized(MAX_HEAD_SIZE + 1), "431"),
        (fields(MAX_HEADERS), "200"),
        (fields(MAX_HEADERS + 1), "431"),
    ] {
        let mut stream = served.call().await;
        let (head, _) = ask(&mut stream, request.as_bytes()).await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
    }
}

#[tokio::test]
async fn a_head_that_could_mean_two_things_is_refused_and_nothing_behind_it_is_read() {
    let mut served = Served::plain(&config()).await;
    let heads = [
        "content-length: 44\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 44\r\n",
        "content-length: 1\r\ncontent-length: 2\r\n",
        "content-length: 5\r\ncontent-length: 5\r\n",
        "transfer-encoding: chunked, gzip\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "content-length: +1\r\n",
        "host: y\r\n",
        "x: y\nx-z: y\r\n",
        "x : y\r\n",
    ];
    let heads = heads.map(|fields| format!("POST / HTTP/1.1\r\nhost: x\r\n{fields}\r\n"));
    let others = [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\nhost: x\n\n",
        "GET / HTTP/1.1\r\nhost: x\r\n\n",
        "POST / HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
    ];
    for head in heads.iter().map(String::as_str).chain(others) {
        let mut stream = served.call().await;
        let request = format!("{head}0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n");
        let (answer, _) = ask(&mut stream, request.as_bytes()).await;
        assert!(answer.starts_with("http/1.1 400"), "{head:?}: {answer}");
        assert!(answer.contains("connection: close"), "{head:?}: {answer}");
        assert_eq!(end(&mut stream).await, b"", "{head:?}");
    }
    assert!(served.entered.try_recv().is_err());
    assert!(served.refused("framing") > 0);
    // HTTP/1.0 knew no Host.
    let mut stream = served.call().await;
    assert!(
        ask(&mut stream, b"GET / HTTP/1.0\r\n\r\n")
            .await
            .0
            .starts_with("http/1.0 200")
    );
}

#[tokio::test]
async fn requests_that_do_not_wait_for_answers_are_each_answered() {
    let served = Served::plain(&config()).await;
    let mut stream = served.call().await;
    let chunked = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    let sized = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n\n\n\n";
    stream
        .write_all(format!("{sized}{chunked}{sized}").as_bytes())
        .await
        .unwrap();
    for length in [3, 2, 3] {
        assert_eq!(reply(&mut stream).await.1, format!("{length} from nobody"));
    }
}

#[tokio::test]
async fn a_sender_that_asks_first_is_told_to_go_on_only_where_the_body_is_read() {
    let served = Served::plain(&config()).await;
    let expecting = |path: &str, length: usize| {
        format!("POST {path} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n")
    };
    let mut stream = served.call().await;
    let (head, _) = ask(&mut stream, expecting("/", 3).as_bytes()).await;
    assert!(head.starts_with("http/1.1 100"), "{head}");
    let (_, body) = ask(&mut stream, b"abc").await;
    assert_eq!(body, "3 from nobody");

    let mut stream = served.call().await;
    let (head, _) = ask(&mut stream, expecting("/unread", 3).as_bytes()).await;
    assert!(head.starts_with("http/1.1 401"), "{head}");
    let mut stream = served.call().await;
    let (head, body) = ask(&mut stream, expecting("/", (1 << 20) + 1).as_bytes()).await;
    assert!(head.starts_with("http/1.1 400"), "{head}");
    assert_eq!(body, "the body is larger than 1048576 bytes");
}

#[tokio::test]
async fn chunks_are_added_up_against_the_limit() {
    let served = Served::plain(&config()).await;
    let chunked = |bytes: usize| {
        let mut request = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for piece in vec![b'x'; bytes].chunks(1000) {
            request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            request.extend_from_slice(piece);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"0\r\nx-trailer: y\r\n\r\n");
        request
    };
    let mut stream = served.call().await;
    assert_eq!(ask(&mut stream, &chunked(1 << 20)).await.1, "1048576 from nobody");
    let (head, body) = ask(&mut stream, &chunked((1 << 20) + 1)).await;
    assert!(head.starts_with("http/1.1 400"), "{head}");
    assert_eq!(body, "the body is larger than 1048576 bytes");
}

#[tokio::test]
async fn an_answer_before_the_end_of_a_large_body_still_reaches_the_sender() {
    let ca = Authority::new();
    let served = Served::start(&config(), Some(tls_to(&ca))).await;
    // A tenant's is more than both sides' socket buffers: without a reader, the sender is reset while it writes.
    for (path, length) in [("/unread", 1 << 20), ("/as/a", 12 << 20)] {
        let mut stream = connect(&kazusa(&ca), served.address).await.unwrap();
        stream.write_all(&post(path, length)).await.unwrap();
        let block = vec![b'x'; 1 << 20];
        for _ in 0..length / block.len() {
            stream.write_all(&block).await.expect("no reset while writing");
        }
        let (head, _) = reply(&mut stream).await;
        assert!(head.starts_with("http/1.1 40"), "{head}");
        assert_eq!(end(&mut stream).await, b"");
    }
}

#[tokio::test]
async fn where_all_are_at_work_senders_wait_their_turn() {
    let one = RemoteWrite {
        max_connections: 1,
        ..config()
    };
    let mut served = Served::plain(&one).await;
    let mut first = served.call().await;
    first.write_all(&post("/wait", 0)).await.unwrap();
    served.entered().await;
    let mut second = served.call().await;
    second.write_all(GET).await.unwrap();
    assert!(
        timeout(Duration::from_millis(100), served.entered.recv())
            .await
            .is_err(),
        "the second is not served while the first is open"
    );
    assert_eq!(served.metrics.connections.get(), 1);
    served.release.notify_one();
    assert!(reply(&mut first).await.0.starts_with("http/1.1 200"));
    assert!(reply(&mut second).await.0.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn who_comes_when_all_seats_are_taken_gets_that_of_a_stranger_and_then_of_who_is_idle() {
    let two = RemoteWrite {
        max_connections: 2,
        ..config()
    };
    let served = Served::plain(&two).await;
    let mut tenant = served.call().await;
    ask(&mut tenant, &post("/as/a", 0)).await;
    let mut stranger = served.call().await;
    ask(&mut stranger, GET).await;
    let mut second = served.call().await;
    ask(&mut second, &post("/as/b", 0)).await;
    assert_eq!(end(&mut stranger).await, b"");
    ask(&mut tenant, GET).await;
    let mut third = served.call().await;
    ask(&mut third, GET).await;
    assert_eq!(end(&mut second).await, b"");
    ask(&mut tenant, GET).await;
    served.has_refused("max_connections", 2).await;
}

#[tokio::test]
async fn the_silent_of_one_address_make_room_for_each_other() {
    let two = RemoteWrite {
        max_strangers_per_address: 2,
        ..config()
    };
    let served = Served::plain(&two).await;
    let mut silent = served.call().await;
    let mut others = [served.call().await, served.call().await];
    assert_eq!(end(&mut silent).await, b"");
    for other in &mut others {
        ask(other, &post("/as/a", 0)).await;
    }
    served.has_refused("max_strangers_per_address", 1).await;
}

#[tokio::test]
async fn a_tenant_whose_connections_are_all_at_work_gets_one_answer_on_one_more() {
    let one = RemoteWrite {
        max_connections_per_tenant: 1,
        ..config()
    };
    let mut served = Served::plain(&one).await;
    let mut first = served.call().await;
    ask(&mut first, &post("/as/a", 0)).await;
    first.write_all(&post("/wait", 0)).await.unwrap();
    while served.entered().await != "/wait" {}
    let mut second = served.call().await;
    let (head, _) = ask(&mut second, &post("/as/a", 0)).await;
    assert!(
        head.starts_with("http/1.1 200") && head.contains("connection: close"),
        "{head}"
    );
    assert_eq!(end(&mut second).await, b"");
    served.release.notify_one();
    assert!(!reply(&mut first).await.0.contains("connection: close"));
    // Now it is idle, and goes.
    let mut third = served.call().await;
    let (head, _) = ask(&mut third, &post("/as/a", 0)).await;
    assert!(!head.contains("connection: close"), "{head}");
    assert_eq!(end(&mut first).await, b"");
    served.has_refused("max_connections_per_tenant", 1).await;
}

#[tokio::test]
async fn a_trusted_balancer_says_who_sends_before_tls_begins() {
    let ca = Authority::new();
    let behind = RemoteWrite {
        proxy_protocol: vec!["127.0.0.0/8".parse().unwrap()],
        max_strangers_per_address: 1,
        ..config()
    };
    let served = Served::start(&behind, Some(tls_to(&ca))).await;
    let tls = Arc::new(client_config(&ca, None));
    let mut open = Vec::new();
    for source in ["192.0.2.1:7", "192.0.2.2:7", "192.0.2.3:7"] {
        let mut socket = served.call().await;
        let (ip, port) = source.split_once(':').unwrap();
        let header = format!("PROXY TCP4 {ip} 10.0.0.1 {port} 19291\r\n");
        socket.write_all(header.as_bytes()).await.unwrap();
        let mut stream = tokio_rustls::TlsConnector::from(Arc::clone(&tls))
            .connect("localhost".try_into().unwrap(), socket)
            .await
            .unwrap();
        let (_, address) = ask(&mut stream, b"GET /address HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert_eq!(address, source);
        open.push(stream);
    }
    // Nobody had to make room, since each has an address of its own.
    assert_eq!(served.refused("max_strangers_per_address"), 0);
    let mut without = served.call().await;
    without.write_all(GET).await.unwrap();
    assert_eq!(end(&mut without).await, b"");
    served.has_refused("proxy_protocol", 1).await;
}

#[tokio::test]
async fn whoever_is_no_trusted_balancer_cannot_say_who_sends() {
    let behind = RemoteWrite {
        proxy_protocol: vec!["192.0.2.0/24".parse().unwrap()],
        ..config()
    };
    let mut served = Served::plain(&behind).await;
    let mut stream = served.call().await;
    let forged = [b"PROXY TCP4 192.0.2.1 10.0.0.1 7 19291\r\n", GET].concat();
    let (head, _) = ask(&mut stream, &forged).await;
    assert!(head.starts_with("http/1.1 400"), "{head}");
    assert_eq!(end(&mut stream).await, b"");
    assert!(served.entered.try_recv().is_err());
}

#[tokio::test]
async fn shutting_down_finishes_what_is_in_flight_and_ends_the_rest() {
    let mut served = Served::plain(&config()).await;
    let mut idle = served.call().await;
    ask(&mut idle, GET).await;
    served.entered().await;
    let mut silent = served.call().await;
    let mut busy = served.call().await;
    busy.write_all(&post("/wait", 0)).await.unwrap();
    assert_eq!(served.entered().await, "/wait");

    served.shutdown.cancel();
    assert_eq!(end(&mut idle).await, b"");
    assert_eq!(end(&mut silent).await, b"");
    drop((idle, silent));
    served.release.notify_one();
    let (head, body) = reply(&mut busy).await;
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(body, "0 from nobody");
    assert_eq!(end(&mut busy).await, b"");
    drop(busy);
    let address = served.address;
    served.drained().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn shutting_down_does_not_wait_for_handshakes() {
    let ca = Authority::new();
    let served = Served::start(&config(), Some(tls_to(&ca))).await;
    let mut handshaking = served.call().await;
    // Served after it in the order of accepting, so the silent one is in its handshake by now.
    let mut stream = connect(&kazusa(&ca), served.address).await.unwrap();
    ask(&mut stream, GET).await;
    drop(stream);
    let began = Instant::now();
    served.drained().await;
    assert!(began.elapsed() < DEADLINE / 2);
    assert_eq!(end(&mut handshaking).await, b"");
}

#[tokio::test]
async fn new_certificates_are_served_at_once_and_old_connections_end() {
    let (old, new) = (Authority::new(), Authority::new());
    let mut served = Served::start(&config(), Some(tls_to(&old))).await;
    let mut idle = connect(&kazusa(&old), served.address).await.unwrap();
    ask(&mut idle, GET).await;
    served.entered().await;
    let mut busy = connect(&kazusa(&old), served.address).await.unwrap();
    busy.write_all(&post("/wait", 0)).await.unwrap();
    assert_eq!(served.entered().await, "/wait");

    served.tls.swap(Some(tls_to(&new)));
    assert_eq!(end(&mut idle).await, b"");
    // The old CA is good for nothing any more, to either side.
    assert!(connect(&kazusa(&old), served.address).await.is_err());
    let mut fresh = connect(&kazusa(&new), served.address).await.unwrap();
    assert_eq!(ask(&mut fresh, GET).await.1, "0 from spiffe://kazusa/prometheus");
    served.release.notify_one();
    let (head, _) = reply(&mut busy).await;
    assert!(
        head.starts_with("http/1.1 200") && head.contains("connection: close"),
        "{head}"
    );
    assert_eq!(end(&mut busy).await, b"");
}

#[tokio::test]
async fn a_request_whose_sender_goes_away_is_dropped() {
    let mut served = Served::plain(&config()).await;
    let mut stream = served.call().await;
    stream.write_all(&post("/wait", 0)).await.unwrap();
    assert_eq!(served.entered().await, "/wait");
    drop(stream);
    // Nobody releases the handler: only the disconnection can end the connection.
    served.drained().await;
}

#[test]
fn an_error_of_accept_never_ends_and_never_spins() {
    for kind in [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset] {
        assert_eq!(pause_after(&io::Error::from(kind)), None);
    }
    for number in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].map(Errno::raw_os_error) {
        assert_eq!(
            pause_after(&io::Error::from_raw_os_error(number)),
            Some(ACCEPT_PAUSE),
            "{number}"
        );
    }
}

#[test]
fn trouble_is_told_once_in_a_while() {
    let seldom = seldom();
    assert_eq!(seldom.due(now()), Some(0));
    assert_eq!(seldom.due(now()), None);
}
