//! Credentials that are not configured any more.

use std::time::Duration;

use super::*;

/// What was configured for `tenant` and is not any more, for so many seconds.
fn removed(tenant: &str, credentials: Vec<Credential>, seconds: u64) -> Vec<Removed> {
    let until = Instant::now() + Duration::from_secs(seconds);
    let one = |credential| Removed {
        credential,
        tenant: TenantId::new(tenant).unwrap(),
        until,
    };
    credentials.into_iter().map(one).collect()
}

#[tokio::test]
async fn what_is_not_configured_any_more_waits_and_proves_nothing_until_its_time_is_over() {
    let old = || {
        vec![
            token("old-token"),
            password("old", "old-password"),
            password("kazusa", "old-password"),
            certificate(spiffe("old")),
        ]
    };
    let gateway = |seconds| {
        let waiting = Waiting {
            removed: removed("kazusa", old(), seconds),
            ..Waiting::default()
        };
        Authenticator::new([Arc::new(with_one_of_each())], waiting)
    };
    let (during, after) = (gateway(3600), gateway(0));
    let of_old = || names(&["spiffe://old/prometheus"], &[], None);
    let (gone, changed) = (basic("old", "old-password"), basic("kazusa", "old-password"));
    for (headers, certificate, name) in [
        (vec!["Bearer old-token"], None, "bearer_token"),
        (vec![gone.as_str()], None, "basic_auth username=old"),
        (vec![changed.as_str()], None, "basic_auth username=kazusa"),
        (vec![], of_old(), "client_certificate uri_san=spiffe://old/prometheus"),
        // A header has to be right by itself.
        (
            vec!["Bearer old-token"],
            names(&["spiffe://kazusa/prometheus"], &[], None),
            "bearer_token",
        ),
    ] {
        let told = AuthError::Removed {
            tenant: TenantId::new("kazusa").unwrap(),
            credential: name.to_owned(),
        };
        assert_eq!(ask(&during, &headers, certificate.clone()).await, Err(told), "{name}");
        let refused = ask(&after, &headers, certificate).await;
        assert_eq!(refused, Err(AuthError::WrongCredential), "{name}");
    }
    // Beside it what is configured proves what it did, and a wrong password is wrong.
    for gateway in [during, after] {
        assert_eq!(
            ask(&gateway, &["Bearer kazusa-token"], of_old()).await,
            proved("kazusa", "")
        );
        let right = basic("kazusa", "kazusa-password");
        assert_eq!(ask(&gateway, &[&right], None).await, proved("kazusa", "kazusa"));
        for uris in [
            ["spiffe://old/prometheus", "spiffe://kazusa/prometheus"],
            ["spiffe://kazusa/prometheus", "spiffe://old/prometheus"],
        ] {
            let both = ask(&gateway, &[], names(&uris, &[], None)).await;
            assert_eq!(both, proved("kazusa", "spiffe://kazusa/prometheus"));
        }
        let wrong = basic("kazusa", "guess");
        assert_eq!(ask(&gateway, &[&wrong], None).await, Err(AuthError::WrongCredential));
    }
}

#[tokio::test]
async fn what_somebody_has_now_is_his_whosever_it_was() {
    let mine = with_one_of_each();
    let waiting = Waiting {
        credentials: vec![token("broken-token")],
        removed: removed(
            "setsuna",
            [mine.credentials.clone(), vec![token("broken-token")]].concat(),
            3600,
        ),
        ..Waiting::default()
    };
    let gateway = Authenticator::new([Arc::new(mine)], waiting);
    let right = basic("kazusa", "kazusa-password");
    assert_eq!(
        ask(&gateway, &["Bearer kazusa-token"], None).await,
        proved("kazusa", "")
    );
    assert_eq!(ask(&gateway, &[&right], None).await, proved("kazusa", "kazusa"));
    let of_kazusa = names(&["spiffe://kazusa/prometheus"], &[], None);
    assert!(ask(&gateway, &[], of_kazusa).await.is_ok());
    assert_eq!(
        ask(&gateway, &["Bearer broken-token"], None).await,
        Err(AuthError::Broken)
    );
}
