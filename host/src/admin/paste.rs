//! What a sender's configuration has to say to write as a tenant.
//!
//! Takes a tenant and where senders are listened for, gives a block of a Prometheus' configuration, with names of files in
//! place of secrets. Never a secret: none is known here.

use crate::config::{ClientAuthType, Config, Credential, OverRate, Tenant};
use crate::tls;

/// `port` is the one that is listened on; behind a load balancer senders may need another.
pub(super) fn remote_write(config: &Config, tenant: &Tenant, port: u16) -> String {
    let (scheme, usual) = match config.remote_write.tls {
        Some(_) => ("https", 443),
        None => ("http", 80),
    };
    let port = match port == usual {
        true => String::new(),
        false => format!(":{port}"),
    };
    let mut lines = vec![
        "remote_write:".to_owned(),
        format!("  - url: {scheme}://{}{port}/api/v1/receive", host(config)),
    ];
    // Of several any will do.
    let credential = tenant.credentials.first();
    lines.extend(credential.and_then(of_header));
    lines.extend(of_tls(config, credential));
    if tenant.over_rate == OverRate::TooManyRequests {
        lines.push("    queue_config: {retry_on_http_429: true}".to_owned());
    }
    lines.join("\n") + "\n"
}

/// As the certificate has it, or as it is listened on; else a word to be replaced.
fn host(config: &Config) -> String {
    let tls = config.remote_write.tls.as_ref();
    let named = tls.and_then(|tls| tls::hosts(&tls.cert).into_iter().next());
    let listened = config.remote_write.listen_address.rsplit_once(':');
    let listened = listened.map(|(host, _)| host).filter(|host| !is_any(host));
    named
        .or_else(|| listened.map(str::to_owned))
        .unwrap_or_else(|| "GATEWAY".to_owned())
}

fn is_any(host: &str) -> bool {
    matches!(host, "" | "0.0.0.0" | "[::]")
}

fn of_header(credential: &Credential) -> Option<String> {
    match credential {
        Credential::BearerToken(_) => Some("    authorization: {credentials_file: token}".to_owned()),
        Credential::BasicAuth { username, .. } => {
            // In quotes as JSON has them, which YAML takes.
            let username = serde_json::to_string(username).ok()?;
            Some(format!(
                "    basic_auth: {{username: {username}, password_file: password}}"
            ))
        }
        Credential::ClientCertificate(_) => None,
    }
}

fn of_tls(config: &Config, credential: Option<&Credential>) -> Option<String> {
    let asked_of_all = config.remote_write.tls.as_ref()?.client_auth_type == ClientAuthType::RequireAndVerifyClientCert;
    let own = match credential {
        Some(Credential::ClientCertificate(_)) => ", cert_file: client.crt, key_file: client.key",
        _ if asked_of_all => ", cert_file: client.crt, key_file: client.key",
        _ => "",
    };
    Some(format!("    tls_config: {{ca_file: ca.crt{own}}}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TenantId;

    /// For the tenant with this credential, of a listener without TLS.
    fn block(listen: &str, port: u16, credential: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            r#"{{
                "remote_write": {{"listen_address": "{listen}", "insecure_http": true}},
                "upstreams": {{"soft": {{"endpoints": ["http://127.0.0.1:1"]}}}},
                "tenants": [{{
                    "tenant": "a", "upstreams": ["soft"], "over_rate": "too_many_requests", "credentials": [{credential}]
                }}]
            }}"#
        );
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, text).unwrap();
        std::fs::write(folder.path().join("secret"), "hunter2").unwrap();
        let config = crate::config::load(&file).unwrap().config;
        remote_write(&config, &config.tenants[&TenantId::new("a").unwrap()], port)
    }

    #[test]
    fn a_block_says_what_is_known_and_leaves_words_for_the_rest() {
        assert_eq!(
            block("gauntlet.example:19291", 19291, r#"{"bearer_token_file": "secret"}"#),
            "remote_write:\n  - url: http://gauntlet.example:19291/api/v1/receive\n    \
             authorization: {credentials_file: token}\n    queue_config: {retry_on_http_429: true}\n"
        );
        let password = r#"{"basic_auth": {"username": "a, \"b\"", "password_file": "secret"}}"#;
        assert_eq!(
            block("0.0.0.0:80", 80, password),
            "remote_write:\n  - url: http://GATEWAY/api/v1/receive\n    \
             basic_auth: {username: \"a, \\\"b\\\"\", password_file: password}\n    \
             queue_config: {retry_on_http_429: true}\n"
        );
    }
}
