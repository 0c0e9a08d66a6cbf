//! Credentials alone, together and contradicting each other.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::config::{CertificateName, Password};
use crate::model::PeerCertificate;
use crate::tls::tests::{Authority, uri};

mod removed;

fn tenant(id: &str, credentials: Vec<Credential>) -> config::Tenant {
    config::Tenant {
        credentials,
        ..config::tests::bare(id)
    }
}

fn sha256(text: &str) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().try_into().unwrap()
}

fn token(text: &str) -> Credential {
    Credential::BearerToken(sha256(text))
}

fn password(username: &str, password: &str) -> Credential {
    Credential::BasicAuth {
        username: username.into(),
        password: Password::Sha256(sha256(password)),
    }
}

fn certificate(name: CertificateName) -> Credential {
    Credential::ClientCertificate(name)
}

fn spiffe(tenant: &str) -> CertificateName {
    CertificateName::UriSan(format!("spiffe://{tenant}/prometheus"))
}

fn authenticator(tenants: Vec<config::Tenant>) -> Authenticator {
    Authenticator::new(tenants.into_iter().map(Arc::new), Waiting::default())
}

/// kazusa with one credential of each kind, setsuna with another of each.
fn two() -> Authenticator {
    authenticator(vec![
        tenant(
            "kazusa",
            vec![
                token("kazusa-token"),
                password("kazusa", "kazusa-password"),
                certificate(spiffe("kazusa")),
                certificate(CertificateName::DnsSan("kazusa.example".into())),
                certificate(CertificateName::CommonName("kazusa".into())),
            ],
        ),
        tenant(
            "setsuna",
            vec![
                token("setsuna-token"),
                password("setsuna", "setsuna-password"),
                certificate(spiffe("setsuna")),
                certificate(CertificateName::CommonName("setsuna".into())),
            ],
        ),
    ])
}

fn peer(certificate: Option<PeerCertificate>) -> Peer {
    Peer::new(SocketAddr::from(([127, 0, 0, 1], 1)), certificate)
}

/// A certificate with these names, by way of its DER.
fn names(uris: &[&str], dns: &[&str], common_name: Option<&str>) -> Option<PeerCertificate> {
    let issued = Authority::new().client(|params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        let dns = dns.iter().map(|n| rcgen::SanType::DnsName((*n).try_into().unwrap()));
        params.subject_alt_names = uris.iter().map(|n| uri(n)).chain(dns).collect();
        if let Some(name) = common_name {
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
        }
    });
    Some(PeerCertificate::parse(&issued.der()).unwrap())
}

fn headers(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

async fn ask(
    authenticator: &Authenticator,
    values: &[&str],
    certificate: Option<PeerCertificate>,
) -> Result<(String, String), AuthError> {
    authenticator
        .authenticate(&headers(values), &peer(certificate), &VerifiedPasswords::new())
        .await
        .map(|tenant| (tenant.id().to_string(), tenant.subject().to_owned()))
}

fn proved(tenant: &str, subject: &str) -> Result<(String, String), AuthError> {
    Ok((tenant.to_owned(), subject.to_owned()))
}

#[tokio::test]
async fn each_kind_of_credential_proves_its_tenant() {
    let two = two();
    assert_eq!(ask(&two, &["Bearer kazusa-token"], None).await, proved("kazusa", ""));
    assert_eq!(
        ask(&two, &["bEARER   setsuna-token"], None).await,
        proved("setsuna", "")
    );
    let by_name = basic("kazusa", "kazusa-password");
    assert_eq!(ask(&two, &[&by_name], None).await, proved("kazusa", "kazusa"));
    for (certificate, subject) in [
        (
            names(&["spiffe://kazusa/prometheus"], &[], None),
            "spiffe://kazusa/prometheus",
        ),
        (names(&[], &["kazusa.example"], None), "kazusa.example"),
        (names(&[], &[], Some("kazusa")), "kazusa"),
        (
            names(
                &["spiffe://other", "spiffe://kazusa/prometheus"],
                &["x.example"],
                Some("y"),
            ),
            "spiffe://kazusa/prometheus",
        ),
    ] {
        assert_eq!(ask(&two, &[], certificate).await, proved("kazusa", subject));
    }
}

#[tokio::test]
async fn nothing_and_nonsense_prove_nobody() {
    let two = two();
    assert_eq!(ask(&two, &[], None).await, Err(AuthError::NoCredential));
    let long = format!("Bearer {}", "x".repeat(MAX_AUTHORIZATION));
    let spaced = format!("{} x", basic("kazusa", "kazusa-password"));
    for header in [
        "",
        "Bearer",
        "Bearer ",
        "kazusa-token",
        "Bearer kazusa-tokeN",
        "Bearer kazusa-token x",
        "Bearer kazusa-token,setsuna-token",
        "Token kazusa-token",
        "Digest kazusa-token",
        "Basic kazusa-token",
        &basic("kazusa", "setsuna-password"),
        &basic("nobody", "kazusa-password"),
        &spaced,
        &long,
    ] {
        assert_eq!(
            ask(&two, &[header], None).await,
            Err(AuthError::WrongCredential),
            "{header:?}"
        );
    }
}

#[tokio::test]
async fn names_match_whole_and_only_in_their_own_kind() {
    let two = two();
    for certificate in [
        names(&["spiffe://kazusa/prometheus/"], &[], None),
        names(&["spiffe://kazusa"], &[], None),
        names(&["spiffe://KAZUSA/prometheus"], &[], None),
        names(&["kazusa"], &["kazusa"], None),
        names(&["kazusa.example"], &["*.example"], Some("kazusa.example")),
        names(&[], &["sub.kazusa.example"], Some("spiffe://kazusa/prometheus")),
        names(&[], &[], Some("kazusa ")),
        names(&[], &[], None),
    ] {
        assert_eq!(
            ask(&two, &[], certificate.clone()).await,
            Err(AuthError::WrongCredential),
            "{certificate:?}"
        );
    }
}

#[tokio::test]
async fn a_header_must_be_right_by_itself_whatever_the_certificate_says() {
    let kazusa = names(&["spiffe://kazusa/prometheus"], &[], None);
    assert_eq!(
        ask(&two(), &["Bearer wrong"], kazusa).await,
        Err(AuthError::WrongCredential)
    );
}

#[tokio::test]
async fn a_header_and_a_certificate_must_agree() {
    let two = two();
    let kazusa = names(&["spiffe://kazusa/prometheus"], &[], None);
    assert_eq!(
        ask(&two, &["Bearer setsuna-token"], kazusa.clone()).await,
        Err(AuthError::Ambiguous)
    );
    assert_eq!(ask(&two, &["Bearer kazusa-token"], kazusa).await, proved("kazusa", ""));
    let mesh = names(&["spiffe://mesh/ingress"], &[], None);
    assert_eq!(ask(&two, &["Bearer kazusa-token"], mesh).await, proved("kazusa", ""));
}

#[tokio::test]
async fn a_certificate_of_two_tenants_proves_neither() {
    let two = two();
    let both = names(&["spiffe://kazusa/prometheus"], &[], Some("setsuna"));
    assert_eq!(ask(&two, &[], both.clone()).await, Err(AuthError::Ambiguous));
    assert_eq!(
        ask(&two, &["Bearer kazusa-token"], both).await,
        Err(AuthError::Ambiguous)
    );
}

#[tokio::test]
async fn two_authorization_headers_are_refused_even_where_both_are_right() {
    assert_eq!(
        ask(&two(), &["Bearer kazusa-token", "Bearer kazusa-token"], None).await,
        Err(AuthError::WrongCredential)
    );
}

#[tokio::test]
async fn a_credential_that_two_tenants_claim_proves_neither() {
    let shared = || vec![token("same"), password("same", "same"), certificate(spiffe("same"))];
    let contested = authenticator(vec![tenant("kazusa", shared()), tenant("setsuna", shared())]);
    assert_eq!(
        ask(&contested, &["Bearer same"], None).await,
        Err(AuthError::WrongCredential)
    );
    assert_eq!(
        ask(&contested, &[&basic("same", "same")], None).await,
        Err(AuthError::WrongCredential)
    );
    let certificate = names(&["spiffe://same/prometheus"], &[], None);
    assert_eq!(ask(&contested, &[], certificate).await, Err(AuthError::Ambiguous));
    let once = authenticator(vec![tenant("kazusa", [shared(), shared()].concat())]);
    assert_eq!(ask(&once, &["Bearer same"], None).await, proved("kazusa", ""));
    assert_eq!(
        ask(&once, &[&basic("same", "same")], None).await,
        proved("kazusa", "same")
    );
}

#[tokio::test]
async fn a_disabled_tenant_is_told_so_only_after_its_proof() {
    let mut disabled = tenant("kazusa", vec![token("kazusa-token")]);
    disabled.enabled = false;
    let one = authenticator(vec![disabled]);
    assert_eq!(
        ask(&one, &["Bearer kazusa-token"], None).await,
        Err(AuthError::Disabled {
            tenant: TenantId::new("kazusa").unwrap()
        })
    );
    assert_eq!(
        ask(&one, &["Bearer guess"], None).await,
        Err(AuthError::WrongCredential)
    );
}

/// A tenant with a credential of each kind.
fn with_one_of_each() -> config::Tenant {
    tenant(
        "kazusa",
        vec![
            token("kazusa-token"),
            password("kazusa", "kazusa-password"),
            certificate(spiffe("kazusa")),
        ],
    )
}

#[tokio::test]
async fn a_broken_tenant_is_no_stranger_and_takes_nothing_from_a_sound_one() {
    let sound = with_one_of_each();
    // The same credentials again, as in a leftover copy of the file, and some of its own, twice.
    let own = [
        token("broken-token"),
        password("kazusa", "broken-password"),
        certificate(spiffe("broken")),
    ];
    let broken = [sound.credentials.clone(), own.to_vec(), own.to_vec()].concat();
    let waiting = Waiting {
        credentials: broken,
        ..Waiting::default()
    };
    let both = Authenticator::new([Arc::new(sound)], waiting);
    let kazusa = names(&["spiffe://kazusa/prometheus"], &[], None);
    let broken = names(&["spiffe://broken/prometheus"], &[], None);

    assert_eq!(ask(&both, &["Bearer kazusa-token"], None).await, proved("kazusa", ""));
    let right = basic("kazusa", "kazusa-password");
    assert_eq!(ask(&both, &[&right], None).await, proved("kazusa", "kazusa"));
    assert!(ask(&both, &[], kazusa.clone()).await.is_ok());

    let late = basic("kazusa", "broken-password");
    for (headers, certificate) in [
        (vec!["Bearer broken-token"], None),
        (vec![late.as_str()], None),
        (vec![], broken.clone()),
        (vec!["Bearer kazusa-token"], broken.clone()),
        (vec!["Bearer broken-token"], kazusa),
        (
            vec![],
            names(&["spiffe://kazusa/prometheus", "spiffe://broken/prometheus"], &[], None),
        ),
        (
            vec![],
            names(&["spiffe://broken/prometheus", "spiffe://kazusa/prometheus"], &[], None),
        ),
    ] {
        assert_eq!(
            ask(&both, &headers, certificate).await,
            Err(AuthError::Broken),
            "{headers:?}"
        );
    }
    assert_eq!(
        ask(&both, &["Bearer guess"], broken).await,
        Err(AuthError::WrongCredential)
    );
}

#[tokio::test]
async fn while_credentials_cannot_be_read_whoever_has_one_is_told_to_wait() {
    let kazusa = with_one_of_each();
    let waiting = Waiting {
        are_more: true,
        ..Waiting::default()
    };
    let part = Authenticator::new([Arc::new(kazusa)], waiting);
    let other = || names(&["spiffe://other/prometheus"], &[], None);
    let (nobody, wrong) = (basic("nobody", "password"), basic("kazusa", "wrong"));
    for (headers, certificate) in [
        (vec!["Bearer other-token"], None),
        (vec![nobody.as_str()], None),
        (vec![wrong.as_str()], None),
        (vec![], other()),
        (vec!["Bearer other-token"], other()),
        (
            vec!["Bearer other-token"],
            names(&["spiffe://kazusa/prometheus"], &[], None),
        ),
    ] {
        assert_eq!(
            ask(&part, &headers, certificate).await,
            Err(AuthError::Unknown),
            "{headers:?}"
        );
    }
    // What is known is as it was, and what can be nobody's is refused.
    assert_eq!(
        ask(&part, &["Bearer kazusa-token"], other()).await,
        proved("kazusa", "")
    );
    assert_eq!(ask(&part, &[], None).await, Err(AuthError::NoCredential));
    for header in ["Bearer", "Bearer ", "Token x", "Basic x", &basic("nobody", "")] {
        assert_eq!(
            ask(&part, &[header], None).await,
            Err(AuthError::WrongCredential),
            "{header:?}"
        );
    }
}

#[tokio::test]
async fn the_digest_of_nothing_opens_no_door() {
    let careless = authenticator(vec![tenant("kazusa", vec![token(""), password("kazusa", "")])]);
    assert_eq!(
        ask(&careless, &["Bearer "], None).await,
        Err(AuthError::WrongCredential)
    );
    assert_eq!(
        ask(&careless, &[&basic("kazusa", "")], None).await,
        Err(AuthError::WrongCredential)
    );
}

#[test]
fn the_challenge_names_the_schemes_in_use() {
    let challenge = |credentials| authenticator(vec![tenant("kazusa", credentials)]).challenge();
    assert_eq!(challenge(vec![token("t")]), "Bearer");
    assert_eq!(challenge(vec![password("u", "p")]), "Basic realm=\"gauntlet\"");
    assert_eq!(
        challenge(vec![token("t"), password("u", "p")]),
        "Bearer, Basic realm=\"gauntlet\""
    );
    assert_eq!(challenge(vec![certificate(spiffe("kazusa"))]), "Bearer");
}

#[test]
fn secrets_do_not_print() {
    let printed = format!("{:?}", two());
    assert!(
        printed.contains("BearerToken(..)") && printed.contains("Tokens(2)"),
        "{printed}"
    );
    let digest = format!("{:?}", sha256("kazusa-token"));
    assert!(!printed.contains(digest.trim_matches(['[', ']'])), "{printed}");
}
