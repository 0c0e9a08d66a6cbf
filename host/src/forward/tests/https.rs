//! TLS towards receivers: who is believed, and who is presented.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// Certificate and key, PEM.
type Pair = (String, String);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    fn issue(&self, name: &str) -> Pair {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn roots(&self) -> rustls::RootCertStore {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap())
            .unwrap();
        roots
    }
}

/// A receiver that shows `shown` and, where there is a CA for clients, insists on its certificates.
async fn receiver(shown: &Pair, clients: Option<&Ca>) -> Receiver {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(ca) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(ca.roots()), provider)
                .build()
                .unwrap(),
        ),
    };
    let chain = vec![CertificateDer::from_pem_slice(shown.0.as_bytes()).unwrap()];
    let mut server = builder
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(shown.1.as_bytes()).unwrap())
        .unwrap();
    // A receiver that would rather speak HTTP/2 has to be told not to.
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Receiver::serve_with(listener, OK, move |tcp| {
        let acceptor = acceptor.clone();
        async move { acceptor.accept(tcp).await.ok() }
    })
    .await
}

fn https(receiver: &Receiver, ca: &Ca, client: Option<&Pair>, server_name: Option<&str>) -> Stage {
    let bytes = |text: &str| Arc::<[u8]>::from(text.as_bytes());
    Stage::new(config::Upstream {
        tls: Some(config::TlsClient {
            ca: Some(bytes(&ca.pem)),
            client: client.map(|(cert, key)| (bytes(cert), bytes(key))),
            server_name: server_name.map(str::to_owned),
        }),
        ..config(vec![EndpointSpec::Static {
            https: true,
            host: "127.0.0.1".to_owned(),
            port: receiver.address.port(),
        }])
    })
}

#[tokio::test]
async fn a_receiver_of_the_configured_ca_is_written_to_on_one_connection() {
    let ca = Ca::new();
    let mut receiver = receiver(&ca.issue("127.0.0.1"), None).await;
    let stage = https(&receiver, &ca, None, None);
    for _ in 0..5 {
        stage.send().await.unwrap();
    }
    assert_eq!(receiver.count(), 5);
    assert_eq!(receiver.connections(), 1);
}

/// What the operator is told to look at.
fn key(stage: &Stage) -> Option<&'static str> {
    let [endpoint] = &stage.soft.status().endpoints[..] else {
        panic!("one endpoint")
    };
    endpoint.last_cause.as_ref().and_then(|(cause, _)| cause.key)
}

#[tokio::test]
async fn a_receiver_of_another_ca_or_with_another_name_gets_nothing() {
    let (ca, other) = (Ca::new(), Ca::new());
    let mut stranger = receiver(&other.issue("127.0.0.1"), None).await;
    let stage = https(&stranger, &ca, None, None);
    assert_eq!(stage.send().await, Err(ForwardError::Connect));
    assert_eq!(key(&stage), Some("tls_config.ca_file"));
    let mut misnamed = receiver(&ca.issue("receiver.example"), None).await;
    let stage = https(&misnamed, &ca, None, None);
    assert_eq!(stage.send().await, Err(ForwardError::Connect));
    assert_eq!(key(&stage), Some("tls_config.server_name"));
    assert_eq!((stranger.count(), misnamed.count()), (0, 0));
}

#[tokio::test]
async fn server_name_is_verified_in_place_of_the_host() {
    let ca = Ca::new();
    let receiver = receiver(&ca.issue("receiver.example"), None).await;
    let named = https(&receiver, &ca, None, Some("receiver.example"));
    assert_eq!(named.send().await, Ok(()));
    let misnamed = https(&receiver, &ca, None, Some("other.example"));
    assert_eq!(misnamed.send().await, Err(ForwardError::Connect));
}

#[tokio::test]
async fn the_client_certificate_opens_a_receiver_that_asks_for_one() {
    let (ca, other) = (Ca::new(), Ca::new());
    let mut receiver = receiver(&ca.issue("127.0.0.1"), Some(&ca)).await;
    let client = ca.issue("gauntlet.example");
    assert_eq!(https(&receiver, &ca, Some(&client), None).send().await, Ok(()));
    assert_eq!(receiver.count(), 1);
    for wrong in [None, Some(other.issue("gauntlet.example"))] {
        let stage = https(&receiver, &ca, wrong.as_ref(), None);
        let error = stage.send().await.unwrap_err();
        if error == ForwardError::Connect {
            assert_eq!(key(&stage), Some("tls_config.cert_file"));
        }
        // In TLS 1.3 the client has finished its side before the server says no.
        assert!(
            matches!(error, ForwardError::Connect | ForwardError::Reset),
            "{error:?}"
        );
    }
    assert_eq!(receiver.count(), 0);
}

#[tokio::test]
async fn new_tls_material_is_used_on_new_connections_only() {
    let (ca, clients) = (Ca::new(), Ca::new());
    let receiver = receiver(&ca.issue("127.0.0.1"), Some(&clients)).await;
    let stage = https(&receiver, &ca, Some(&clients.issue("old.example")), None);
    stage.send().await.unwrap();
    let renewed = https(&receiver, &ca, Some(&clients.issue("new.example")), None);
    let changed = apply(&stage.upstreams, (*renewed.soft.config).clone());
    changed.send(&outgoing(), Instant::now() + LONG).await.unwrap();
    assert_eq!(receiver.connections(), 2);
    let series = format!(
        "gauntlet_upstream_healthy{{upstream=\"soft\",endpoint=\"https://{}\"}}",
        receiver.address
    );
    assert_eq!(stage.metric(&series), Some(1.0));
}
