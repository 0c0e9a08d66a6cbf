//! What operators are told about their mistakes, to the letter.
//!
//! Long because it has a case for each mistake.

use super::*;

/// `text` as the main file, with what was said about it.
fn told(text: &str) -> String {
    let folder = Folder::new(&[("g.yaml", text), ("crt", "crt"), ("key", "key"), ("empty", "")]);
    match folder.load() {
        Ok(_) => "nothing".to_owned(),
        Err(errors) => folder.say(&errors),
    }
}

/// The same after the two lines of a sound main file.
fn told_after(rest: &str) -> String {
    told(&format!("{PLAIN}{rest}"))
}

#[track_caller]
fn assert_tells(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(told_after(text).trim_end(), *expected, "{text}");
    }
}

#[test]
fn a_sound_file_is_told_nothing() {
    assert_eq!(told_after(""), "nothing");
}

#[test]
fn whole_files() {
    assert_eq!(told(" \n"), "g.yaml: this file is empty\n");
    assert_eq!(
        told("# nothing yet\n- a\n"),
        "g.yaml:2:1: expected a map, found a list\n"
    );
    assert_eq!(
        told("a: b: c\n"),
        "g.yaml:1:5: this is not valid YAML: mapping values are not allowed in this context\n"
    );
    assert_eq!(
        told("admin: {}\nadmin: {}\n"),
        "g.yaml:2:1: this key is given twice in one map\n"
    );
    let folder = Folder::new(&[]);
    assert_eq!(
        folder.say(&folder.load().unwrap_err()),
        "g.yaml: cannot read this file: there is no such file\n"
    );
    fs::write(folder.path("g.yaml"), b"a: \xff").unwrap();
    assert_eq!(
        folder.say(&folder.load().unwrap_err()),
        "g.yaml: this file is not UTF-8\n"
    );
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once_in_its_order() {
    assert_eq!(
        told(
            "remote_write:
  listen_adress: 0.0.0.0:19291
  tls_server_config: {cert_file: crt, key_file: none, client_auth_type: RequireAndVerifyClientCert}
  idle_timeout: 300
upstreams:
  soft tenants: {endpoints: [\"r:19291\", \"http//r:1\"]}
  b: {endpoints: []}
polices: {}
sandbox: {wasi: alow}
"
        ),
        "g.yaml:2:3: remote_write: unknown key `listen_adress` (did you mean `listen_address`?)\ng.yaml:3:49: remote_write.tls_server_config.key_file: cannot read `none`: there is no such file\ng.yaml:3:73: remote_write.tls_server_config.client_auth_type: this needs a `client_ca_file` to verify certificates with\ng.yaml:4:17: remote_write.idle_timeout: expected a duration such as `30s`, `5m` or `1h30m`, found `300` without a unit\ng.yaml:6:3: upstreams.soft tenants: a name has 1 to 63 of the characters [A-Za-z0-9._-]\ng.yaml:6:30: upstreams.soft tenants.endpoints[0]: an endpoint starts with `http://`, `https://`, `dns+`, `dns+https://`, `dnssrv+`, `dnssrv+https://` (did you mean `http://`?)\ng.yaml:6:41: upstreams.soft tenants.endpoints[1]: an endpoint starts with `http://`, `https://`, `dns+`, `dns+https://`, `dnssrv+`, `dnssrv+https://`\ng.yaml:7:18: upstreams.b.endpoints: at least one endpoint is needed\ng.yaml:8:1: unknown key `polices` (did you mean `policies`?)\ng.yaml:9:17: sandbox.wasi: expected `allow` or `deny`, found `alow` (did you mean `allow`?)\n"
    );
}

#[test]
fn what_an_upstream_is_sent() {
    let upstream = |keys: &str| format!("upstreams: {{s: {{endpoints: ['http://r:1'], {keys}}}}}\n");
    for (keys, expected) in [
        ("remote_write_version: 2.0, metadata: discard", "nothing"),
        (
            "remote_write_version: 2",
            "g.yaml:2:66: upstreams.s.remote_write_version: expected `1.0` or `2.0`, found `2`",
        ),
        (
            "metadata: yes please",
            "g.yaml:2:54: upstreams.s.metadata: expected `discard` or `forward`, found `yes please`",
        ),
    ] {
        let text = format!(
            "remote_write: {{listen_address: ':1', insecure_http: true}}\n{}",
            upstream(keys)
        );
        assert_eq!(told(&text).trim_end(), expected, "{keys}");
    }
}

#[test]
fn the_listener() {
    let upstream = "upstreams: {s: {endpoints: ['http://r:1']}}\n";
    for (text, expected) in [
        (
            "",
            "g.yaml:1:1: remote_write: `tls_server_config` is missing; without TLS, set `insecure_http: true` to accept credentials over plain HTTP",
        ),
        (
            "remote_write: {}\n",
            "g.yaml:1:15: remote_write: `tls_server_config` is missing; without TLS, set `insecure_http: true` to accept credentials over plain HTTP",
        ),
        (
            "remote_write: {insecure_http: true, tls_server_config: {cert_file: crt, key_file: key}}\n",
            "g.yaml:1:15: remote_write: `tls_server_config` and `insecure_http: true` exclude each other; remove one",
        ),
        (
            "remote_write: {tls_server_config: {cert_file: crt}}\n",
            "g.yaml:1:35: remote_write.tls_server_config: `key_file` is missing",
        ),
        (
            "remote_write: {tls_server_config: {cert_file: crt, key_file: empty}}\n",
            "g.yaml:1:62: remote_write.tls_server_config.key_file: the file `empty` is empty",
        ),
        (
            "remote_write: {tls_server_config: {cert_file: crt, key_file: key, min_version: TLS11}}\n",
            "g.yaml:1:80: remote_write.tls_server_config.min_version: expected `TLS12` or `TLS13`, found `TLS11` (did you mean `TLS12`?)",
        ),
        (
            "remote_write: {tls_server_config: {cert_file: crt, key_file: key, client_auth_type: RequestClientCert}}\n",
            "g.yaml:1:85: remote_write.tls_server_config.client_auth_type: this would accept certificates that nobody verified; use `RequireAndVerifyClientCert`",
        ),
        (
            "remote_write: {tls_server_config: {cert_file: crt, key_file: key, client_ca_file: crt, client_auth_type: NoClientCert}}\n",
            "g.yaml:1:106: remote_write.tls_server_config.client_auth_type: this never uses `client_ca_file`; remove one of the two",
        ),
        (
            "remote_write: {insecure_http: yes}\n",
            "g.yaml:1:31: remote_write.insecure_http: expected true or false, found text",
        ),
        (
            "remote_write: {insecure_http: true, listen_address: 19291}\n",
            "g.yaml:1:53: remote_write.listen_address: the port is missing: write `host:port`",
        ),
        (
            "remote_write: {insecure_http: true, listen_address: '127.0.0.1:10902'}\n",
            "g.yaml:1:1: admin: remote_write and admin both listen on 127.0.0.1:10902",
        ),
        (
            "remote_write: {insecure_http: true, listen_address: ':10902'}\n",
            "g.yaml:1:1: admin: remote_write listens on :10902, which takes 127.0.0.1:10902 too: give them different ports",
        ),
        (
            "admin: {listen_address: '127.0.0.1:1'}\nremote_write: {insecure_http: true, listen_address: '0.0.0.0:1'}\n",
            "g.yaml:1:8: admin: remote_write listens on 0.0.0.0:1, which takes 127.0.0.1:1 too: give them different ports",
        ),
        (
            "remote_write: {insecure_http: true, max_connections: 0}\n",
            "g.yaml:1:54: remote_write.max_connections: must be at least 1",
        ),
        (
            "remote_write: {insecure_http: true, max_connections: many}\n",
            "g.yaml:1:54: remote_write.max_connections: expected a whole number above zero, found text",
        ),
        (
            "remote_write: {insecure_http: true, min_body_rate: 1kb}\n",
            "g.yaml:1:52: remote_write.min_body_rate: expected a size such as `512KiB`, `32MiB` or a number of bytes, found `1kb`",
        ),
        (
            "remote_write: {insecure_http: true, max_in_flight_size: 1MiB}\n",
            "g.yaml:1:1: default_limits: remote_write's `max_in_flight_size` (1MiB) is below `max_body_size` + `max_decoded_size` (64MiB): a write of that size could never be accepted",
        ),
        (
            "remote_write: {insecure_http: true, header_timeout: 0s}\n",
            "g.yaml:1:53: remote_write.header_timeout: must be greater than zero",
        ),
        (
            "remote_write: {insecure_http: true, header_timeout: }\n",
            "g.yaml:1:51: remote_write.header_timeout: expected a duration such as `30s`, `5m` or `1h30m`, found nothing; give a value or leave the key out",
        ),
    ] {
        assert_eq!(told(&format!("{text}{upstream}")).trim_end(), expected, "{text}");
    }
}

#[test]
fn certificates_and_keys_are_told_with_their_line() {
    let files = [
        ("half", "\n-----BEGIN CERTIFICATE-----\nAQ==\n"),
        (
            "locked",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAQ==\n-----END ENCRYPTED PRIVATE KEY-----\n",
        ),
    ];
    let tls = "{cert_file: half, key_file: locked}";
    let text = format!(
        "remote_write: {{tls_server_config: {tls}}}\nupstreams: {{a: {{endpoints: ['https://r:1'], tls_config: {tls}}}}}\n"
    );
    let folder = Folder::new(&[files[0], files[1], ("g.yaml", &text)]);
    assert_eq!(
        folder.say(&folder.load().unwrap_err()),
        "g.yaml:1:47: remote_write.tls_server_config.cert_file: line 2 of `half`: the block that begins here has no end
g.yaml:1:63: remote_write.tls_server_config.key_file: line 1 of `locked`: the key has a passphrase, which is not supported
g.yaml:2:69: upstreams.a.tls_config.cert_file: line 2 of `half`: the block that begins here has no end
g.yaml:2:85: upstreams.a.tls_config.key_file: line 1 of `locked`: the key has a passphrase, which is not supported
"
    );
}

#[test]
fn upstreams_and_plugins() {
    let listen = "remote_write: {insecure_http: true, listen_address: '127.0.0.1:0'}\n";
    for (text, expected) in [
        ("", "g.yaml:1:1: `upstreams` is missing"),
        (
            "upstreams:\n",
            "g.yaml:2:10: upstreams: at least one upstream is needed",
        ),
        (
            "upstreams: {a: {}}\n",
            "g.yaml:2:16: upstreams.a: `endpoints` is missing",
        ),
        (
            "upstreams: {a: {endpoints: http://r:1}}\n",
            "g.yaml:2:28: upstreams.a.endpoints: expected a list, found text",
        ),
        (
            "upstreams: {a: {endpoints: ['dnsrv+_a._tcp.b']}}\n",
            "g.yaml:2:29: upstreams.a.endpoints[0]: an endpoint starts with `http://`, `https://`, `dns+`, `dns+https://`, `dnssrv+`, `dnssrv+https://` (did you mean `dnssrv+`?)",
        ),
        (
            "upstreams: {a: {endpoints: ['http://r']}}\n",
            "g.yaml:2:29: upstreams.a.endpoints[0]: the port is missing: write `host:port`",
        ),
        (
            "upstreams: {a: {endpoints: ['http://me:pass@r:1']}}\n",
            "g.yaml:2:29: upstreams.a.endpoints[0]: an endpoint cannot hold a user or a password",
        ),
        (
            "upstreams: {a: {endpoints: ['http://r:1/api/v1/receive']}}\n",
            "g.yaml:2:29: upstreams.a.endpoints[0]: an endpoint ends after the port; write the path as the upstream's `path`",
        ),
        (
            "upstreams: {a: {endpoints: ['http://r:1', 'http://r:1']}}\n",
            "g.yaml:2:43: upstreams.a.endpoints[1]: this endpoint is listed twice",
        ),
        (
            "upstreams: {a: {endpoints: ['http://r:1'], path: receive}}\n",
            "g.yaml:2:50: upstreams.a.path: expected a path such as `/api/v1/receive`, without a query",
        ),
        ("upstreams: {a: {endpoints: ['http://r:1'], timeout: 1s}}\n", "nothing"),
        (
            "upstreams: {a: {endpoints: ['https://r:1'], tls_config: {cert_file: crt}}}\n",
            "g.yaml:2:57: upstreams.a.tls_config: `cert_file` and `key_file` must be given together",
        ),
        (
            "upstreams: {a: {endpoints: ['http://r:1']}}\nplugins: {relabel: {file: crt}, mine: {}}\n",
            "g.yaml:3:11: plugins.relabel: this plugin is built in; give yours another name\ng.yaml:3:39: plugins.mine: `file` is missing",
        ),
        (
            "upstreams: {a: {endpoints: ['http://r:1']}}\npolicies: {before: [{plugin: relable}], after: [{settings: {}}]}\n",
            "g.yaml:3:30: policies.before[0].plugin: there is no plugin `relable`; known are limits, relabel, route (did you mean `relabel`?)\ng.yaml:3:49: policies.after[0]: `plugin` is missing",
        ),
        (
            "upstreams: {a: {endpoints: ['http://r:1']}}\npolicies: {before: [{plugin: relabel, settings: {a: [.nan]}}], after: [{plugin: relabel, settings: {a: 18446744073709551616}}]}\n",
            "g.yaml:3:54: policies.before[0].settings: a number is not finite or has more than 64 bits; quote it if it is meant as text\ng.yaml:3:104: policies.after[0].settings: a number is not finite or has more than 64 bits; quote it if it is meant as text",
        ),
        (
            "upstreams: {a: {endpoints: ['http://r:1']}}\npolicies: {before: [{plugin: relabel, name: x}], after: [{plugin: relabel, name: x}, {plugin: relabel, name: a b}]}\n",
            "g.yaml:3:82: policies.after[0].name: another policy of this chain is named `x`\ng.yaml:3:110: policies.after[1].name: a name has 1 to 63 of the characters [A-Za-z0-9._-]",
        ),
    ] {
        assert_eq!(told(&format!("{listen}{text}")).trim_end(), expected, "{text}");
    }
}

#[test]
fn tenants() {
    assert_tells(&[
        (
            "tenants: [{tenant: ../a}]",
            "g.yaml:3:20: tenants[0].tenant: a tenant id may hold only [A-Za-z0-9!_.*'()-], not '/'",
        ),
        (
            "tenants: [{tenat: a}]",
            "g.yaml:3:11: tenants[0]: `tenant` is missing\ng.yaml:3:12: tenants[0]: unknown key `tenat` (did you mean `tenant`?)",
        ),
        (
            "tenants: [{tenant: a}, {tenant: a}]",
            "g.yaml:3:24: tenants[1]: tenant `a` is written twice",
        ),
        (
            "tenants: [{tenant: a, upstreams: [sofd]}]",
            "g.yaml:3:35: tenants[0].upstreams[0]: there is no upstream `sofd` (did you mean `soft`?)",
        ),
        (
            "tenants: [{tenant: a, upstreams: [soft, soft]}]",
            "g.yaml:3:41: tenants[0].upstreams[1]: `soft` is listed twice",
        ),
        (
            "tenants: [{tenant: a, disabled: 'true'}]",
            "g.yaml:3:33: tenants[0].disabled: expected true or false, found text",
        ),
        (
            "tenants: [{tenant: a, over_rate: drop}]",
            "g.yaml:3:34: tenants[0].over_rate: expected `retry` or `too_many_requests`, found `drop`",
        ),
        (
            "tenants: [{tenant: a, limits: {max_body_size: 100MiB}}]",
            "g.yaml:3:31: tenants[0].limits: `max_in_flight_size` (128MiB) is below `max_body_size` + `max_decoded_size` (132MiB): a write of that size could never be accepted",
        ),
        (
            "tenants: [{tenant: a, limits: {max_body_sise: 1MiB}}]",
            "g.yaml:3:32: tenants[0].limits: unknown key `max_body_sise` (did you mean `max_body_size`?)",
        ),
        (
            "tenants: [{tenant: a, policies: [{plugin: relabel, on_failure: bypass}]}]",
            "g.yaml:3:64: tenants[0].policies[0].on_failure: only the operator's policies (`policies.before` and `policies.after`) may be bypassed",
        ),
        (
            "tenants: [{tenant: a, policies: {plugin: relabel}}]",
            "g.yaml:3:33: tenants[0].policies: expected a list, found a map",
        ),
        (
            "reserved_labels: [__name__, a, a]",
            "g.yaml:3:19: reserved_labels[0]: `__name__` is the metric name and cannot be reserved\ng.yaml:3:32: reserved_labels[2]: `a` is listed twice",
        ),
        (
            "tenant_files: ['none/*.yaml']",
            "g.yaml:3:16: tenant_files[0]: cannot list this folder: there is no such file",
        ),
        (
            "default_limits: {max_decoded_size: 8GiB, max_in_flight_size: 16GiB}",
            "g.yaml:3:17: default_limits: `max_decoded_size` is above 4 GiB, which no snappy block can declare",
        ),
        (
            "sandbox: {memory_limit: 1KiB, threads: -1}",
            "g.yaml:3:25: sandbox.memory_limit: the memory of a plugin must be between 64KiB and 4GiB\ng.yaml:3:40: sandbox.threads: expected a whole number above zero, found a number",
        ),
    ]);
    let two = "upstreams: {a: {endpoints: ['http://r:1']}, b: {endpoints: ['http://r:1']}}\n";
    assert_eq!(
        told(&format!(
            "remote_write: {{insecure_http: true}}\n{two}tenants: [{{tenant: a}}, {{tenant: b, upstreams: []}}]\n"
        )),
        "g.yaml:3:11: tenants[0]: `upstreams` must name one or more of: a, b\ng.yaml:3:47: tenants[1].upstreams: `upstreams` must name one or more of: a, b\n"
    );
    let folder = main_file("tenant_files: [t/a.yaml, t/b.yaml]\n");
    folder.write("t/b.yaml", "tenant: b\nupstreams:\n  - sofd\n");
    let broken = folder.load().unwrap().broken;
    assert_eq!(
        broken
            .iter()
            .map(|broken| folder.say(&broken.errors))
            .collect::<String>(),
        "t/a.yaml: cannot read this file: there is no such file\nt/b.yaml:3:5: upstreams[0]: there is no upstream `sofd` (did you mean `soft`?)\n"
    );
}

#[test]
fn credentials() {
    let bcrypt = |cost: u8| format!("$2y${cost:02}${}", "a".repeat(53));
    let hex = hex(inputs::sha256(b"x"));
    let empty = super::hex(inputs::sha256(b""));
    for (text, expected) in [
        (
            "{}".to_owned(),
            "g.yaml:3:37: tenants[0].credentials[0]: a credential is exactly one of `client_certificate`, `bearer_token_sha256`, `bearer_token_file` and `basic_auth`",
        ),
        (
            format!("{{bearer_token_sha256: {hex}, bearer_token_file: crt}}"),
            "g.yaml:3:37: tenants[0].credentials[0]: a credential is exactly one of `client_certificate`, `bearer_token_sha256`, `bearer_token_file` and `basic_auth`",
        ),
        (
            "{client_certificate: {uri_san: a, dns_san: b}}".to_owned(),
            "g.yaml:3:58: tenants[0].credentials[0].client_certificate: a client certificate is known by exactly one of `uri_san`, `dns_san` and `common_name`",
        ),
        (
            "{client_certificate: {uri: a}}".to_owned(),
            "g.yaml:3:58: tenants[0].credentials[0].client_certificate: a client certificate is known by exactly one of `uri_san`, `dns_san` and `common_name`\ng.yaml:3:59: tenants[0].credentials[0].client_certificate: unknown key (not shown, it may be a secret); known are `uri_san`, `dns_san`, `common_name`",
        ),
        (
            "{bearer_token_sha256: hunter2}".to_owned(),
            "g.yaml:3:59: tenants[0].credentials[0].bearer_token_sha256: expected 64 hexadecimal digits: the output of `printf %s \"$TOKEN\" | sha256sum`",
        ),
        (
            format!("{{bearer_token_sha256: {empty}}}"),
            "g.yaml:3:59: tenants[0].credentials[0].bearer_token_sha256: this is the SHA-256 of an empty token",
        ),
        (
            "{bearer_token_file: empty}".to_owned(),
            "g.yaml:3:57: tenants[0].credentials[0].bearer_token_file: this secret's file is empty",
        ),
        (
            "{bearer_token_file: hunter2}".to_owned(),
            "g.yaml:3:57: tenants[0].credentials[0].bearer_token_file: cannot read this secret's file: there is no such file",
        ),
        (
            "{basic_auth: {username: 'a:b', password_hash: hunter2}}".to_owned(),
            "g.yaml:3:61: tenants[0].credentials[0].basic_auth.username: a username holds neither `:` nor control characters\ng.yaml:3:83: tenants[0].credentials[0].basic_auth.password_hash: expected a bcrypt hash such as `htpasswd -nB user` prints after the colon",
        ),
        (
            "{basic_auth: {username: a}}".to_owned(),
            "g.yaml:3:50: tenants[0].credentials[0].basic_auth: basic_auth needs exactly one of `password_hash` and `password_file`",
        ),
        (
            "{basic_auth: {username: a,password_hash:hunter2}}".to_owned(),
            "g.yaml:3:50: tenants[0].credentials[0].basic_auth: basic_auth needs exactly one of `password_hash` and `password_file`\ng.yaml:3:63: tenants[0].credentials[0].basic_auth: unknown key (not shown, it may be a secret); known are `username`, `password_hash`, `password_file`",
        ),
        (
            format!("{{basic_auth: {{username: a, password_hash: '{}'}}}}", bcrypt(15)),
            "g.yaml:3:79: tenants[0].credentials[0].basic_auth.password_hash: the bcrypt cost is above 14; every login would take seconds",
        ),
        (
            format!("{{basic_auth: {{username: a, password_hash: '{}'}}}}", bcrypt(3)),
            "g.yaml:3:79: tenants[0].credentials[0].basic_auth.password_hash: expected a bcrypt hash such as `htpasswd -nB user` prints after the colon",
        ),
        (
            format!("{{basic_auth: {{username: a, password_hash: '{}'}}}}", bcrypt(14)),
            "nothing",
        ),
        (
            format!(
                "{{basic_auth: {{username: a, password_hash: '{}'}}}}, {{basic_auth: {{username: a, password_file: crt}}}}",
                bcrypt(4)
            ),
            "g.yaml:3:145: tenants[0].credentials[1]: this username has a password already; give each its own username",
        ),
    ] {
        assert_eq!(
            told_after(&format!("tenants: [{{tenant: a, credentials: [{text}]}}]")).trim_end(),
            expected,
            "{text}"
        );
    }
    let both = format!(
        "tenants:\n  - {{tenant: a, credentials: [{{bearer_token_sha256: {hex}}}]}}\n  - {{tenant: b, credentials: [{{bearer_token_sha256: {hex}}}]}}\n"
    );
    assert_eq!(
        told_after(&both),
        "g.yaml:5:31: tenants[1].credentials[0]: the same credential belongs to tenant `a`\n"
    );
}

/// A secret, in every place where an operator could put one, right or wrong.
#[test]
fn no_secret_is_ever_printed() {
    const SECRET: &str = "hunter2hunter2";
    let bcrypt = format!("$2y$10${SECRET:.<53}");
    let sound = [
        ("{bearer_token_file: ../token}".to_owned(), "token"),
        (
            format!("{{basic_auth: {{username: u, password_hash: '{bcrypt}'}}}}"),
            "none",
        ),
        (
            "{basic_auth: {username: u, password_file: ../token}}".to_owned(),
            "token",
        ),
    ];
    let hash = hex(inputs::sha256(SECRET.as_bytes()));
    for (credential, _) in sound {
        let folder = main_file("tenant_files: ['t/*.yaml']\n");
        folder.write("token", SECRET);
        folder.write("t/a.yaml", &format!("tenant: a\ncredentials: [{credential}]\n"));
        let loaded = folder.load().unwrap();
        assert_eq!(loaded.config.tenants.len(), 1);
        let printed = format!("{loaded:?} {loaded:#?}");
        assert!(!printed.contains(SECRET) && !printed.contains(&hash), "{printed}");
        assert!(!printed.contains("104, 117, 110"), "{printed}");
    }
    for wrong in [
        "{SECRET}",
        "[SECRET]",
        "SECRET",
        "{SECRET: 1}",
        "{a: SECRET}",
        "{bearer_token: SECRET}",
        "{bearer_token_sha256: SECRET}",
        "{bearer_token_sha256: [SECRET]}",
        "{bearer_token_sha256: {SECRET: SECRET}}",
        "{bearer_token_sha256: 'SECRET}",
        "{bearer_token_sha256: SECRET: SECRET}",
        "{bearer_token_sha256: *SECRET}",
        "{bearer_token_sha256: !!int SECRET}",
        "{bearer_token_sha256: !!binary SECRET}",
        "{bearer_token_sha256: !SECRET }",
        "{bearer_token_sha256: &SECRET }",
        "{bearer_token_sha256:SECRET}",
        "{bearer_token_file: SECRET}",
        "{SECRET: a, SECRET: b}",
        "{client_certificate: {SECRET: a}}",
        "{basic_auth: SECRET}",
        "{basic_auth: {username: u, password: SECRET}}",
        "{basic_auth: {username: u, password_hash: SECRET}}",
        "{basic_auth: {username: u, password_hash: $2y$15$SECRET}}",
        "{basic_auth: {username: u, password_file: SECRET}}",
        "{basic_auth: {username: u,password_hash:SECRET}}",
        "{basic_auth: {u: SECRET}}",
        "{basic_auth: {u:SECRET}}",
        "{basic_auth: {username: 'u:SECRET', password_file: none}}",
        "{basic_auth: {username: u, password_hash: \"\\SECRET\"}}",
    ] {
        let wrong = wrong.replace("SECRET", SECRET);
        let folder = main_file("tenant_files: ['t/*.yaml']\n");
        folder.write("t/a.yaml", &format!("tenant: a\ncredentials:\n  - {wrong}\n"));
        let loaded = folder.load().unwrap();
        assert_eq!(loaded.broken.len(), 1, "{wrong}");
        let told: String = loaded.broken[0]
            .errors
            .iter()
            .map(|error| format!("{error} {error:?}"))
            .collect();
        assert!(!told.contains("hunter2"), "{wrong}: {told}");
        assert!(!format!("{loaded:?}").contains("hunter2"), "{wrong}");
    }
}
