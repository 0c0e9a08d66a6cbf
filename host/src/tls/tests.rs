//! Certificates made on the spot, and what handshakes make of them. The fixtures serve the listener's tests too.

use std::io;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;

use super::*;

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate with its key.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Issued {
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test CA");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    pub(crate) fn issue(&self, usage: ExtendedKeyUsagePurpose, edit: impl FnOnce(&mut CertificateParams)) -> Issued {
        let mut params = CertificateParams::new([]).unwrap();
        params.extended_key_usages = vec![usage];
        edit(&mut params);
        let key = KeyPair::generate().unwrap();
        Issued {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// For `localhost`.
    pub(crate) fn server(&self) -> Issued {
        self.issue(ExtendedKeyUsagePurpose::ServerAuth, |params| {
            params.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap())];
        })
    }

    pub(crate) fn client(&self, edit: impl FnOnce(&mut CertificateParams)) -> Issued {
        self.issue(ExtendedKeyUsagePurpose::ClientAuth, edit)
    }
}

pub(crate) fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

fn bytes(text: &str) -> Arc<[u8]> {
    Arc::from(text.as_bytes())
}

/// `ca` is the client CA; without one no certificate is asked for.
pub(crate) fn settings(identity: &Issued, ca: Option<&Authority>, auth: ClientAuthType) -> TlsServer {
    TlsServer {
        cert: bytes(&identity.certificate),
        key: bytes(&identity.key),
        cert_file: "server.crt".into(),
        key_file: "server.key".into(),
        client_ca: ca.map(|ca| bytes(&ca.pem)),
        client_ca_file: ca.map(|_| "ca.crt".into()),
        client_auth_type: auth,
        min_version: TlsVersion::Tls12,
    }
}

pub(crate) fn client_config(trusted: &Authority, identity: Option<&Issued>) -> ClientConfig {
    client_config_with(trusted, identity, versions(TlsVersion::Tls12))
}

fn client_config_with(
    trusted: &Authority,
    identity: Option<&Issued>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(trusted.pem.as_bytes()).unwrap())
        .unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder
            .with_client_auth_cert(
                vec![identity.der()],
                PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap(),
            )
            .unwrap(),
    }
}

pub(crate) type ClientStream = tokio_rustls::client::TlsStream<TcpStream>;

pub(crate) async fn connect(config: &Arc<ClientConfig>, address: std::net::SocketAddr) -> io::Result<ClientStream> {
    let socket = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::clone(config))
        .connect(ServerName::try_from("localhost").unwrap(), socket)
        .await
}

/// One handshake of both sides. The server says a byte, so that a TLS 1.3 client sees tickets and refusals.
async fn shake(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
) -> (
    Result<Option<PeerCertificate>, HandshakeError>,
    io::Result<HandshakeKind>,
) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async {
        let (socket, _) = listener.accept().await.unwrap();
        let (mut stream, certificate) = accept(Arc::clone(server), socket).await?;
        stream.write_all(b"!").await.unwrap();
        stream.shutdown().await.unwrap();
        Ok(certificate)
    };
    let call = async {
        let mut stream = connect(client, address).await?;
        stream.read_exact(&mut [0]).await?;
        Ok(stream.get_ref().1.handshake_kind().unwrap())
    };
    tokio::join!(serve, call)
}

fn both(ca: &Authority, auth: ClientAuthType) -> Arc<ServerConfig> {
    server_config(&settings(&ca.server(), Some(ca), auth)).unwrap()
}

#[test]
fn an_error_names_the_file_and_what_is_wrong_with_it() {
    let ca = Authority::new();
    let good = settings(&ca.server(), Some(&ca), ClientAuthType::RequireAndVerifyClientCert);
    let error = |edit: fn(&mut TlsServer)| {
        let mut broken = good.clone();
        edit(&mut broken);
        server_config(&broken).unwrap_err().to_string()
    };
    assert_eq!(
        error(|c| c.cert = bytes("nothing here")),
        "server.crt: the file holds no certificate in PEM"
    );
    assert_eq!(
        error(|c| c.key = bytes("nothing here")),
        "server.key: the file holds no private key in PEM"
    );
    let unfinished = error(|c| c.cert = bytes("-----BEGIN CERTIFICATE-----\nAAAA\n"));
    assert!(
        unfinished.starts_with("server.crt: the file is not valid PEM: "),
        "{unfinished}"
    );
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(
        error(|c| c.client_ca = Some(bytes("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")))
            .starts_with("ca.crt: the certificate cannot be used: ")
    );
    let mut broken = good.clone();
    broken.cert = bytes(nonsense);
    let broken = server_config(&broken).unwrap_err().to_string();
    assert!(
        broken.starts_with("server.crt: the certificate cannot be used: "),
        "{broken}"
    );
    assert_eq!(
        error(|c| c.client_ca = Some(bytes(""))),
        "ca.crt: the file holds no certificate in PEM"
    );
    assert!(error(|c| c.client_ca = None).contains("no client_ca_file"));
    assert!(error(|c| c.client_auth_type = ClientAuthType::NoClientCert).starts_with("ca.crt: "));
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let ca = Authority::new();
    let mut config = settings(&ca.server(), None, ClientAuthType::NoClientCert);
    config.key = bytes(&ca.server().key);
    assert_eq!(
        server_config(&config).unwrap_err().to_string(),
        "the key in server.key does not belong to the certificate in server.crt"
    );
}

#[test]
fn an_expired_certificate_is_still_served_and_its_end_is_known() {
    let ca = Authority::new();
    let expired = ca.issue(ExtendedKeyUsagePurpose::ServerAuth, |params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    // 2020-01-01T00:00:00Z
    assert_eq!(expiry(expired.certificate.as_bytes()), Some(1_577_836_800));
    assert!(server_config(&settings(&expired, None, ClientAuthType::NoClientCert)).is_ok());
    assert_eq!(expiry(b"no certificate"), None);
}

#[tokio::test]
async fn every_kind_of_name_in_a_verified_certificate_is_reported() {
    let ca = Authority::new();
    let client = ca.client(|params| {
        params.subject_alt_names = vec![
            uri("spiffe://kazusa/prometheus"),
            uri("spiffe://kazusa/agent"),
            SanType::DnsName("kazusa.example".try_into().unwrap()),
            SanType::Rfc822Name("someone@kazusa.example".try_into().unwrap()),
        ];
        params.distinguished_name.push(DnType::CommonName, "kazusa");
    });
    let client = Arc::new(client_config(&ca, Some(&client)));
    let (seen, _) = shake(&both(&ca, ClientAuthType::RequireAndVerifyClientCert), &client).await;
    let seen = seen.unwrap().unwrap();
    assert_eq!(seen.uri_sans, ["spiffe://kazusa/prometheus", "spiffe://kazusa/agent"]);
    assert_eq!(seen.dns_sans, ["kazusa.example"]);
    assert_eq!(seen.common_name.as_deref(), Some("kazusa"));
    assert!(!seen.has_expired());
}

#[tokio::test]
async fn a_certificate_that_is_missing_foreign_expired_or_for_servers_is_refused() {
    let (ca, stranger) = (Authority::new(), Authority::new());
    let required = both(&ca, ClientAuthType::RequireAndVerifyClientCert);
    let attempt = async |identity: Option<Issued>| {
        // With the CA names the server sends, a client may hold its certificate back: make it present it.
        let client = Arc::new(client_config(&ca, identity.as_ref()));
        let (seen, called) = shake(&required, &client).await;
        assert!(called.is_err());
        seen.unwrap_err()
    };
    let none = attempt(None).await;
    assert_eq!((none.kind, none.certificate), (HandshakeFault::NoCertificate, None));
    let claimed = |params: &mut CertificateParams| params.subject_alt_names = vec![uri("spiffe://kazusa/prometheus")];
    let foreign = attempt(Some(stranger.client(claimed))).await;
    assert_eq!(foreign.kind, HandshakeFault::UnknownAuthority, "{foreign:?}");
    assert_eq!(foreign.certificate.unwrap().uri_sans, ["spiffe://kazusa/prometheus"]);
    let expired = attempt(Some(ca.client(|params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    })))
    .await;
    assert_eq!(expired.kind, HandshakeFault::ExpiredCertificate, "{expired:?}");
    let wrong_usage = attempt(Some(ca.server())).await;
    assert_eq!(wrong_usage.kind, HandshakeFault::BadCertificate, "{wrong_usage:?}");
}

#[tokio::test]
async fn a_certificate_is_optional_where_the_operator_says_so_but_never_unverified() {
    let (ca, stranger) = (Authority::new(), Authority::new());
    let optional = both(&ca, ClientAuthType::VerifyClientCertIfGiven);
    let (seen, called) = shake(&optional, &Arc::new(client_config(&ca, None))).await;
    assert_eq!(seen.unwrap(), None);
    assert!(called.is_ok());
    let foreign = stranger.client(|params| params.subject_alt_names = vec![uri("spiffe://kazusa/prometheus")]);
    let (seen, _) = shake(&optional, &Arc::new(client_config(&ca, Some(&foreign)))).await;
    assert_eq!(seen.unwrap_err().kind, HandshakeFault::UnknownAuthority);
}

#[tokio::test]
async fn a_session_is_resumed_under_the_same_configuration_and_never_under_a_new_one() {
    let ca = Authority::new();
    let identity = ca.server();
    let client = ca.client(|params| params.subject_alt_names = vec![uri("spiffe://kazusa/prometheus")]);
    let config = settings(&identity, Some(&ca), ClientAuthType::RequireAndVerifyClientCert);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = Arc::new(client_config_with(&ca, Some(&client), &[version]));
        let old = server_config(&config).unwrap();
        assert_eq!(shake(&old, &client).await.1.unwrap(), HandshakeKind::Full);
        let (seen, kind) = shake(&old, &client).await;
        assert_eq!(kind.unwrap(), HandshakeKind::Resumed);
        assert_eq!(seen.unwrap().unwrap().uri_sans, ["spiffe://kazusa/prometheus"]);
        let new = server_config(&config).unwrap();
        assert_eq!(shake(&new, &client).await.1.unwrap(), HandshakeKind::Full);
    }
}

#[tokio::test]
async fn the_lowest_version_and_the_protocol_are_held() {
    let ca = Authority::new();
    let mut config = settings(&ca.server(), None, ClientAuthType::NoClientCert);
    let old = Arc::new(client_config_with(&ca, None, &[&rustls::version::TLS12]));
    assert!(shake(&server_config(&config).unwrap(), &old).await.0.is_ok());
    config.min_version = TlsVersion::Tls13;
    let server = server_config(&config).unwrap();
    assert_eq!(shake(&server, &old).await.0.unwrap_err().kind, HandshakeFault::Version);
    let distrustful = Arc::new(client_config(&Authority::new(), None));
    let (seen, _) = shake(&server, &distrustful).await;
    assert_eq!(seen.unwrap_err().kind, HandshakeFault::RefusedBySender);

    let mut h2 = client_config(&ca, None);
    h2.alpn_protocols = vec![b"h2".to_vec()];
    assert!(shake(&server, &Arc::new(h2.clone())).await.0.is_err());
    h2.alpn_protocols.push(b"http/1.1".to_vec());
    assert!(shake(&server, &Arc::new(h2)).await.0.is_ok());
}

#[test]
fn a_malformed_or_two_named_certificate_names_nobody() {
    let ca = Authority::new();
    let client = ca.client(|params| {
        params.distinguished_name.push(DnType::CommonName, "kazusa");
        // rcgen keeps one common name; the same attribute by its number is a second.
        params
            .distinguished_name
            .push(DnType::CustomDnType(vec![2, 5, 4, 3]), "setsuna");
    });
    let der = client.der();
    let names = PeerCertificate::parse(&der).unwrap();
    assert_eq!(names.common_name, None);
    assert_eq!(PeerCertificate::parse(&der[..der.len() - 1]), None);
    let mut longer = der.to_vec();
    longer.push(0);
    assert_eq!(PeerCertificate::parse(&longer), None);
}

/// A certificate that nobody else signed, as `openssl req -x509` makes it.
fn self_signed(is_ca: IsCa, edit: impl FnOnce(&mut CertificateParams)) -> (Issued, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = is_ca;
    params.subject_alt_names = vec![uri("spiffe://kazusa/prometheus")];
    params.distinguished_name.push(DnType::CommonName, "kazusa");
    edit(&mut params);
    let key = KeyPair::generate().unwrap();
    let issued = Issued {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    };
    (issued, Issuer::new(params, key))
}

/// What a server that requires one of `believed` makes of a sender with `identity`.
async fn shown(
    believed: &[&str],
    identity: &Issued,
    version: &'static SupportedProtocolVersion,
) -> Result<Option<PeerCertificate>, HandshakeError> {
    let ca = Authority::new();
    let mut config = settings(&ca.server(), Some(&ca), ClientAuthType::RequireAndVerifyClientCert);
    config.client_ca = Some(bytes(&believed.concat()));
    let client = Arc::new(client_config_with(&ca, Some(identity), &[version]));
    shake(&server_config(&config).unwrap(), &client).await.0
}

#[tokio::test]
async fn a_self_signed_certificate_is_pinned_by_its_bytes() {
    let authority = IsCa::Ca(BasicConstraints::Unconstrained);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for is_ca in [authority, IsCa::ExplicitNoCa, IsCa::NoCa] {
            let (pinned, _) = self_signed(is_ca, |_| {});
            let others = Authority::new().pem;
            for believed in [&[&*pinned.certificate][..], &[&*others, &*pinned.certificate]] {
                let seen = shown(believed, &pinned, version).await.unwrap().unwrap();
                assert_eq!(seen.uri_sans, ["spiffe://kazusa/prometheus"]);
            }
            // The names alone prove nothing.
            let (twin, _) = self_signed(is_ca, |_| {});
            let refused = shown(&[&pinned.certificate], &twin, version).await;
            // One that says it is a CA's is refused for that before anybody asks who signed it.
            let kind = refused.unwrap_err().kind;
            let kinds = [HandshakeFault::UnknownAuthority, HandshakeFault::BadCertificate];
            assert!(kinds.contains(&kind), "{kind:?}");
        }
    }
}

#[tokio::test]
async fn a_pinned_certificate_counts_in_its_validity_alone() {
    let ended = |params: &mut CertificateParams| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    };
    let early = |params: &mut CertificateParams| params.not_before = date_time_ymd(2999, 1, 1);
    let version = &rustls::version::TLS13;
    let (pinned, _) = self_signed(IsCa::Ca(BasicConstraints::Unconstrained), ended);
    let refused = shown(&[&pinned.certificate], &pinned, version).await;
    assert_eq!(refused.unwrap_err().kind, HandshakeFault::ExpiredCertificate);
    let (pinned, _) = self_signed(IsCa::NoCa, early);
    let refused = shown(&[&pinned.certificate], &pinned, version).await;
    assert_eq!(refused.unwrap_err().kind, HandshakeFault::BadCertificate);
}

/// A certificate and the key of another: the bytes are right, and prove nothing.
#[tokio::test]
async fn a_pinned_certificate_without_its_key_is_refused() {
    let ca = Authority::new();
    let (pinned, _) = self_signed(IsCa::NoCa, |_| {});
    let mut config = settings(&ca.server(), Some(&ca), ClientAuthType::RequireAndVerifyClientCert);
    config.client_ca = Some(bytes(&pinned.certificate));
    let stranger = PrivateKeyDer::from_pem_slice(KeyPair::generate().unwrap().serialize_pem().as_bytes()).unwrap();
    let key = aws_lc_rs::default_provider()
        .key_provider
        .load_private_key(stranger)
        .unwrap();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut client = client_config_with(&ca, None, &[version]);
        let stolen = CertifiedKey::new(vec![pinned.der()], Arc::clone(&key));
        client.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(stolen));
        let (seen, _) = shake(&server_config(&config).unwrap(), &Arc::new(client)).await;
        assert!(seen.is_err(), "{seen:?}");
    }
}

/// Else whoever has the key of a pinned certificate could write as any tenant.
#[tokio::test]
async fn a_pinned_certificate_that_is_no_ca_issues_nothing() {
    let version = &rustls::version::TLS13;
    for (is_ca, wanted) in [
        (IsCa::NoCa, false),
        (IsCa::ExplicitNoCa, false),
        (IsCa::Ca(BasicConstraints::Unconstrained), true),
    ] {
        let (pinned, issuer) = self_signed(is_ca, |_| {});
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.subject_alt_names = vec![uri("spiffe://setsuna/prometheus")];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let made = Issued {
            certificate: params.signed_by(&key, &issuer).unwrap().pem(),
            key: key.serialize_pem(),
        };
        let seen = shown(&[&pinned.certificate], &made, version).await;
        assert_eq!(seen.is_ok(), wanted, "{seen:?}");
    }
}

#[test]
fn a_leaf_that_is_not_first_is_told_so() {
    let ca = Authority::new();
    let mut identity = ca.server();
    identity.certificate = format!("{}{}", ca.pem, identity.certificate);
    let fault = server_config(&settings(&identity, None, ClientAuthType::NoClientCert));
    assert_eq!(
        fault.unwrap_err().to_string(),
        "the key in server.key belongs to certificate 2 in server.crt, which must come first"
    );
}

#[test]
fn certificates_that_nobody_can_use_are_told() {
    let ca = Authority::new();
    let identity = ca.issue(ExtendedKeyUsagePurpose::ServerAuth, |params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let (pinned, _) = self_signed(IsCa::NoCa, |params| params.not_before = date_time_ymd(2999, 1, 1));
    let mut config = settings(&identity, Some(&ca), ClientAuthType::VerifyClientCertIfGiven);
    config.client_ca = Some(bytes(&(ca.pem.clone() + &pinned.certificate)));
    assert_eq!(
        unusable(&config),
        [
            "server.crt: certificate 1 has expired; senders that verify it refuse to connect",
            "ca.crt: certificate 2 is not valid yet; it is no CA, so it lets nobody in",
        ]
    );
    let sound = settings(&ca.server(), Some(&ca), ClientAuthType::VerifyClientCertIfGiven);
    assert!(unusable(&sound).is_empty());
}
