//! Whole configurations: what they resolve to, what is said about mistakes, what is never said.
//!
//! Long because a whole configuration is.

use std::fs;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

mod again;
mod bounds;
mod checks;
mod door;
mod incumbents;
mod mistakes;
mod page;
mod proposed;

/// A folder with files in it, and the path of its main file.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn load(&self) -> Result<Loaded, Vec<ConfigError>> {
        load(&self.path("g.yaml"))
    }

    /// The errors as an operator in this folder would see them.
    fn say(&self, errors: &[ConfigError]) -> String {
        let folder = format!("{}/", self.0.path().display());
        errors
            .iter()
            .map(|error| error.to_string().replace(&folder, "") + "\n")
            .collect()
    }
}

const PLAIN: &str = "remote_write: {insecure_http: true, listen_address: '127.0.0.1:0'}\n\
                     upstreams: {soft: {endpoints: ['http://r:19291']}}\n";

fn main_file(rest: &str) -> Folder {
    Folder::new(&[("g.yaml", &format!("{PLAIN}{rest}"))])
}

fn tenant(id: &str) -> TenantId {
    TenantId::new(id).unwrap()
}

/// A tenant with one upstream and nothing else of its own: no credential, no policy, no reserved label.
pub(crate) fn bare(id: &str) -> Tenant {
    Tenant {
        id: tenant(id),
        enabled: true,
        file: "tenants.yaml".into(),
        credentials: Vec::new(),
        policies: Vec::new(),
        limits: defaults::LIMITS,
        upstreams: vec!["soft".into()],
        over_rate: OverRate::Retry,
        reserved_labels: Vec::new(),
        legacy_names: false,
        shown_budgets: Vec::new(),
        drop_examples: defaults::DROP_EXAMPLES,
    }
}

fn hex(bytes: [u8; 32]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn a_tool_without_a_main_file_has_the_bounds_of_one_that_says_nothing() {
    let config = main_file("tenants: [{tenant: a}]\n").load().unwrap().config;
    let tenant = &config.tenants[&tenant("a")];
    assert_eq!(config.sandbox, defaults::SANDBOX);
    assert_eq!(tenant.limits, defaults::LIMITS);
    assert_eq!(tenant.over_rate, defaults::OVER_RATE);
    assert_eq!(tenant.drop_examples, defaults::DROP_EXAMPLES);
    assert_eq!(tenant.reserved_labels, defaults::RESERVED_LABELS);
}

#[test]
fn what_is_left_out_has_a_default() {
    let folder = main_file("tenants: [{tenant: a, credentials: [{client_certificate: {uri_san: 'spiffe://a'}}]}]\n");
    let Loaded { config, broken, .. } = folder.load().unwrap();
    assert!(broken.is_empty());
    assert_eq!(
        config.remote_write,
        RemoteWrite {
            listen_address: "127.0.0.1:0".into(),
            paths: Vec::new(),
            health_checks: false,
            tls: None,
            max_connections: 10_000,
            max_strangers_per_address: 256,
            max_connections_per_tenant: 2_500,
            proxy_protocol: Vec::new(),
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            min_body_rate: 1024,
            idle_timeout: Duration::from_secs(300),
            max_in_flight_size: u64::MAX,
            max_concurrent_requests: 1024,
        }
    );
    assert_eq!(config.admin.listen_address, "127.0.0.1:10902");
    assert_eq!(config.credential_grace, Duration::from_secs(3600));
    assert_eq!(
        *config.upstreams["soft"],
        Upstream {
            name: "soft".into(),
            endpoints: vec![EndpointSpec::Static {
                https: false,
                host: "r".into(),
                port: 19291
            }],
            path: "/api/v1/receive".into(),
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(2),
            remote_write_version: Protocol::V1,
            metadata: false,
            dns_refresh_interval: Duration::from_secs(10),
            tls: None,
            max_in_flight: 1024,
        }
    );
    assert_eq!(
        config.sandbox,
        Sandbox {
            threads: 2,
            call_timeout: Duration::from_millis(50),
            memory_limit: 32 << 20,
            wasi: true,
            cache_dir: None,
            max_cache_size: 1 << 30,
            compile_timeout: Duration::from_secs(60),
            compile_memory_limit: 2 << 30,
        }
    );
    assert_eq!(
        *config.tenants[&tenant("a")],
        Tenant {
            id: tenant("a"),
            enabled: true,
            file: folder.path("g.yaml"),
            credentials: vec![Credential::ClientCertificate(CertificateName::UriSan(
                "spiffe://a".into()
            ))],
            policies: vec![],
            limits: Limits {
                max_body_size: 32 << 20,
                max_decoded_size: 32 << 20,
                max_in_flight_size: 128 << 20,
                max_concurrent_requests: 256,
                max_active_series: 1_000_000,
                max_series_per_request: 100_000,
                max_labels_per_series: 64,
                max_label_name_length: 1024,
                max_label_value_length: 4096,
            },
            upstreams: vec!["soft".into()],
            reserved_labels: vec!["tenant_id".into(), "receiver_replica".into()],
            ..bare("a")
        }
    );
}

#[test]
fn what_is_written_is_what_is_resolved() {
    let folder = Folder::new(&[
        (
            "g.yaml",
            "\
remote_write:
  listen_address: :19291
  tls_server_config: {cert_file: tls/crt, key_file: tls/key, client_ca_file: tls/ca, min_version: TLS13}
  max_in_flight_size: 1GiB
admin: {listen_address: '[::1]:1'}
upstreams:
  a:
    endpoints: ['dns+https://r:443', 'dnssrv+_w._tcp.r']
    path: /write
    timeout: 5s
    connect_timeout: 500ms
    remote_write_version: '2.0'
    tls_config: {ca_file: tls/ca, cert_file: tls/crt, key_file: tls/key, server_name: r.example}
  b: {endpoints: ['http://b:1'], max_in_flight: 7, dns_refresh_interval: 1m, metadata: forward}
plugins: {house: {file: house.wasm}}
policies:
  before: [{plugin: house, name: first, on_failure: bypass}]
  after: [{plugin: house}]
default_limits: {max_active_series: 5, max_labels_per_series: 9}
reserved_labels: [replica]
over_rate: too_many_requests
sandbox: {threads: 3, call_timeout: 1s, memory_limit: 1MiB, wasi: deny, cache_dir: cache, max_cache_size: 2MiB,
          compile_timeout: 2m, compile_memory_limit: 1GiB}
tenant_files: ['t/*.yaml']
",
        ),
        ("tls/crt", "crt"),
        ("tls/key", "key"),
        ("tls/ca", "ca"),
        ("house.wasm", "wasm"),
        (
            "t/x.yaml",
            "{\"tenant\": \"x\", \"disabled\": true, \"upstreams\": [\"b\", \"a\"], \"legacy_names\": true,
              \"over_rate\": \"retry\", \"limits\": {\"max_active_series\": 6},
              \"policies\": [{\"plugin\": \"house\"}, {\"plugin\": \"house\", \"name\": \"house-2\"}]}",
        ),
    ]);
    let Loaded { config, broken, .. } = folder.load().unwrap();
    assert!(broken.is_empty(), "{broken:?}");
    let tls = config.remote_write.tls.unwrap();
    assert_eq!(
        (&*tls.cert, &*tls.key, tls.client_ca.as_deref()),
        (&b"crt"[..], &b"key"[..], Some(&b"ca"[..]))
    );
    assert_eq!(tls.cert_file, folder.path("tls/crt"));
    assert_eq!(tls.client_auth_type, ClientAuthType::VerifyClientCertIfGiven);
    assert_eq!(tls.min_version, TlsVersion::Tls13);
    assert_eq!(config.remote_write.listen_address, ":19291");
    assert_eq!(config.admin.listen_address, "[::1]:1");
    let a = &config.upstreams["a"];
    assert_eq!(
        (a.path.as_str(), a.timeout, a.connect_timeout.as_millis()),
        ("/write", Duration::from_secs(5), 500)
    );
    let b = &config.upstreams["b"];
    assert_eq!((a.remote_write_version, a.metadata), (Protocol::V2, false));
    assert_eq!((b.remote_write_version, b.metadata), (Protocol::V1, true));
    assert_eq!(a.tls.as_ref().unwrap().server_name.as_deref(), Some("r.example"));
    assert_eq!(config.sandbox.cache_dir, Some(folder.path("cache")));
    assert_eq!(config.sandbox.max_cache_size, 2 << 20);
    assert!(!config.sandbox.wasi);
    let x = &config.tenants[&tenant("x")];
    assert!(!x.enabled && x.legacy_names);
    assert_eq!(x.over_rate, OverRate::Retry);
    assert_eq!((x.limits.max_active_series, x.limits.max_labels_per_series), (6, 9));
    assert_eq!(x.upstreams, ["b", "a"]);
    assert_eq!(x.reserved_labels, ["replica"]);
    assert_eq!(x.file, folder.path("t/x.yaml"));
    let names: Vec<_> = x
        .policies
        .iter()
        .map(|p| (p.name.as_str(), p.owner, p.on_failure))
        .collect();
    assert_eq!(
        names,
        [
            ("first", Owner::Operator, OnFailure::Bypass),
            ("house", Owner::Tenant, OnFailure::RefuseSeries),
            ("house-2", Owner::Tenant, OnFailure::RefuseSeries),
            ("house-3", Owner::Operator, OnFailure::RefuseSeries),
        ]
    );
    let plugin = &x.policies[0].plugin;
    assert_eq!(
        (&*plugin.bytes, plugin.file.clone()),
        (&b"wasm"[..], Some(folder.path("house.wasm")))
    );
    assert_eq!(plugin.sha256, inputs::sha256(b"wasm"));
}

#[test]
fn settings_reach_the_plugin_exactly() {
    let folder = main_file(
        "tenants:
  - tenant: a
    policies:
      - {plugin: relabel}
      - {plugin: relabel, settings: }
      - plugin: relabel
        settings:
          z: null
          a: ~
          int: 18446744073709551615
          negative: -9223372036854775808
          float: 1.0
          small: 0.1
          big: 1e300
          hex: 0x10
          plus: +5
          minus: -0
          zeros: 1.50
          point: .5
          grouped: 1_000
          date: 2026-11-26
          truth: [true, True, FALSE, 'true']
          nothing: [null, ~, Null, 'null']
          tagged: [!!int 7, !!str 7, !!float 1]
          octal: 0755
          text: '0755'
          country: no
          empty: ''
          list: []
          map: {}
          quote: \"a\\\"b\\n\\u00e9\"
          1: one
",
    );
    let tenants = folder.load().unwrap().config.tenants;
    let policies = &tenants[&tenant("a")].policies;
    assert_eq!(policies[0].settings, "{}");
    assert_eq!(policies[1].settings, "{}");
    assert_eq!(
        policies[2].settings,
        "{\"z\":null,\"a\":null,\"int\":18446744073709551615,\"negative\":-9223372036854775808,\"float\":1.0,\
         \"small\":0.1,\"big\":1e300,\"hex\":\"0x10\",\"plus\":\"+5\",\"minus\":\"-0\",\"zeros\":1.50,\"point\":0.5,\
         \"grouped\":\"1_000\",\"date\":\"2026-11-26\",\"truth\":[true,\"True\",\"FALSE\",\"true\"],\
         \"nothing\":[null,null,null,\"null\"],\"tagged\":[7,\"7\",1],\"octal\":\"0755\",\"text\":\"0755\",\"country\":\"no\",\"empty\":\"\",\
         \"list\":[],\"map\":{},\"quote\":\"a\\\"b\\né\",\"1\":\"one\"}"
    );
    let names: Vec<_> = policies.iter().map(|policy| policy.name.as_str()).collect();
    assert_eq!(names, ["relabel", "relabel-2", "relabel-3"]);
}

#[test]
fn secrets_from_files_are_hashed_without_the_blanks_around_them() {
    let folder = main_file(
        "tenants:
  - tenant: a
    credentials:
      - {bearer_token_file: token}
      - {bearer_token_file: token-crlf}
      - {basic_auth: {username: 007, password_file: password}}
      - {bearer_token_file: token-blanks}
      - {basic_auth: {username: u, password_file: password-blanks}}
",
    );
    folder.write("token", "s3cret\n");
    folder.write("token-crlf", "other\r\n");
    folder.write("password", "two words\n\n");
    folder.write("token-blanks", "\tthird \n\n");
    folder.write("password-blanks", "s3cret \n");
    let tenants = folder.load().unwrap().config.tenants;
    let expected = [
        Credential::BearerToken(inputs::sha256(b"s3cret")),
        Credential::BearerToken(inputs::sha256(b"other")),
        Credential::BasicAuth {
            username: "007".into(),
            password: Password::Sha256(inputs::sha256(b"two words")),
        },
        Credential::BearerToken(inputs::sha256(b"third")),
        Credential::BasicAuth {
            username: "u".into(),
            password: Password::Sha256(inputs::sha256(b"s3cret")),
        },
    ];
    assert_eq!(tenants[&tenant("a")].credentials, expected);
}

#[test]
fn a_broken_tenant_file_costs_that_tenant_only() {
    let folder = main_file("tenant_files: ['t/*.yaml']\n");
    folder.write(
        "t/good.yaml",
        "tenant: good\ncredentials: [{client_certificate: {dns_san: good}}]\n",
    );
    folder.write(
        "t/half.yaml",
        "tenant: half # being written\ncredentials: [{client_cert",
    );
    folder.write(
        "t/typo.yaml",
        "tenant: typo\ndisabeld: true\ncredentials: [{client_certificate: {dns_san: typo}}]\n",
    );
    folder.write("t/empty.yaml", "");
    let Loaded { config, broken, .. } = folder.load().unwrap();
    assert_eq!(
        config.tenants.keys().map(TenantId::as_str).collect::<Vec<_>>(),
        ["good"]
    );
    let told: Vec<_> = broken
        .iter()
        .map(|b| (b.file.clone(), b.tenant.as_ref().map(TenantId::as_str)))
        .collect();
    assert_eq!(
        told,
        [
            (folder.path("t/empty.yaml"), None),
            (folder.path("t/half.yaml"), Some("half")),
            (folder.path("t/typo.yaml"), Some("typo")),
        ]
    );
    let known: Vec<bool> = broken.iter().map(|broken| broken.credentials_known).collect();
    assert_eq!(known, [false, false, true]);
    // Known, so that its sender is told to wait.
    assert_eq!(
        broken[2].credentials,
        [Credential::ClientCertificate(CertificateName::DnsSan("typo".into()))]
    );
}

#[test]
fn credentials_are_known_if_nothing_of_them_is_behind_a_mistake() {
    let known = |rest: &str| {
        let folder = main_file("tenant_files: ['t/*.yaml']\n");
        folder.write("t/a.yaml", &format!("tenant: a\n{rest}\n"));
        folder.load().unwrap().broken[0].credentials_known
    };
    let certificate = "{client_certificate: {dns_san: a}}";
    assert!(known(&format!("credentials: [{certificate}]\npolices: []")));
    assert!(known("upstreams: [sotf]"));
    assert!(!known("credentails: []"));
    assert!(!known(&format!("credentials: {certificate}")));
    assert!(!known(&format!(
        "credentials: [{certificate}, {{bearer_token_file: missing}}]"
    )));
    assert!(!known(&format!(
        "credentials: [{certificate}, {{bearer_tokn_file: x}}]"
    )));
    assert!(!known(&format!("credentials: [{certificate}]\npolicies: [")));
}

#[test]
fn a_copy_of_a_tenant_file_does_not_take_the_tenant_over() {
    let folder = main_file("tenant_files: ['t/*.yaml']\n");
    let text = "tenant: a\ncredentials: [{client_certificate: {dns_san: a}}]\n";
    folder.write("t/a.yaml", text);
    folder.write("t/b-copy.yaml", &format!("{text}legacy_names: true\n"));
    let Loaded { config, broken, .. } = folder.load().unwrap();
    assert!(!config.tenants[&tenant("a")].legacy_names);
    assert_eq!(
        folder.say(&broken[0].errors),
        "t/b-copy.yaml: tenant: tenant `a` is written in t/a.yaml already, which is the one that counts\n"
    );
    assert_eq!(broken.len(), 1);
}

#[test]
fn a_credential_of_two_tenants_proves_neither() {
    let hash = hex(inputs::sha256(b"t0ken"));
    let user = |name: &str| format!("{{basic_auth: {{username: prom, password_hash: $2y$04${name:.<53}}}}}");
    for (a, b) in [
        (
            "{client_certificate: {uri_san: x}}".to_owned(),
            "{client_certificate: {uri_san: x}}".to_owned(),
        ),
        (
            format!("{{bearer_token_sha256: {hash}}}"),
            "{bearer_token_file: ../token}".to_owned(),
        ),
        (
            format!("{{bearer_token_sha256: {hash}}}"),
            format!("{{bearer_token_sha256: {}}}", hash.to_uppercase()),
        ),
        (user("a"), user("b")),
    ] {
        let folder = main_file("tenant_files: ['t/*.yaml']\n");
        folder.write("token", "t0ken\n");
        folder.write("t/a.yaml", &format!("tenant: a\ncredentials:\n  - {a}\n"));
        folder.write("t/b.yaml", &format!("tenant: b\ncredentials:\n  - {b}\n"));
        folder.write(
            "t/c.yaml",
            "tenant: c\ncredentials: [{client_certificate: {dns_san: x}}]\n",
        );
        let Loaded { config, broken, .. } = folder.load().unwrap();
        assert_eq!(config.tenants.keys().map(TenantId::as_str).collect::<Vec<_>>(), ["c"]);
        let errors: Vec<ConfigError> = broken.into_iter().flat_map(|broken| broken.errors).collect();
        assert_eq!(
            folder.say(&errors),
            "t/a.yaml:3:5: credentials[0]: the same credential belongs to tenant `b` (t/b.yaml); neither is served until one gives it up\n\
             t/b.yaml:3:5: credentials[0]: the same credential belongs to tenant `a` (t/a.yaml); neither is served until one gives it up\n"
        );
    }
}

#[test]
fn warnings_name_what_is_hardly_meant() {
    let folder = Folder::new(&[(
        "g.yaml",
        "remote_write: {insecure_http: true}
upstreams: {soft: {endpoints: ['http://r:19291'], tls_config: {}}}
reserved_labels: []
tenant_files: ['*.tenant']
tenants:
  - tenant: nobody
  - tenant: certified
    credentials: [{client_certificate: {uri_san: a}}, {client_certificate: {uri_san: a}}]
",
    )]);
    let warnings = folder
        .load()
        .unwrap()
        .warnings
        .join("\n")
        .replace(&format!("{}/", folder.0.path().display()), "");
    assert_eq!(
        warnings,
        "g.yaml:1:31: remote_write.insecure_http: credentials and samples cross the network without encryption
g.yaml:2:63: upstreams.soft.tls_config: this is not used, because no endpoint of this upstream is https
g.yaml:3:18: reserved_labels: no label is reserved, so senders may set the labels that receivers announce
g.yaml:6:5: tenants[0].credentials: this tenant has no credentials, so nobody can write as it
g.yaml:8:55: tenants[1].credentials[1]: the same credential is listed twice
g.yaml:4:16: tenant_files[0]: this pattern matches no file
client certificates of `certified` are never asked for, because `client_ca_file` is not set"
    );
}
