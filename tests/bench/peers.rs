//! What Gauntlet is measured beside: nginx and Envoy as blind TLS proxies, vmagent with and without rules, a Thanos
//! router, a Prometheus that takes 2.0 and sends 1.0.
//!
//! Takes the setting, gives running processes with the same sink behind them. Each is set up to be cheap at this
//! job: keep-alive on both sides, no access log, bodies kept in memory, one worker for a proxy.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use gauntlet_tests::http;
use gauntlet_tests::process::provisioned;

use crate::load::{Target, Version};
use crate::process::{Process, free_address, slug, start, wait_for, wait_for_port};
use crate::setting::Setting;

/// Envoy's version, in the name of its file; scripts/provision names the same.
pub const ENVOY: &str = "1.40.0";
/// Thanos' version, in the name of its file; scripts/provision names the same.
pub const THANOS: &str = "0.42.4";
/// Prometheus' version, in the name of its file; scripts/provision names the same.
pub const PROMETHEUS: &str = "3.15.1";

const HINT: &str = "scripts/provision bench installs it";

pub fn nginx(setting: &Setting, name: &str) -> (Process, Target) {
    let (sink, address) = (setting.sink.address, free_address());
    let f = setting.folder().join(slug(name));
    fs::create_dir_all(&f).expect("a folder");
    let (own, shared) = (f.display(), setting.folder().display());
    let text = format!(
        "daemon off; worker_processes 1; pid {own}/pid; error_log stderr error;\nevents {{}}\nhttp {{\n\
         access_log off; client_body_buffer_size 1m; client_max_body_size 32m; keepalive_requests 1000000;\n\
         client_body_temp_path {own}/b; proxy_temp_path {own}/p; fastcgi_temp_path {own}/f; uwsgi_temp_path {own}/u; scgi_temp_path {own}/s;\n\
         upstream sink {{ server {sink}; keepalive 16; keepalive_requests 1000000; }}\n\
         server {{ listen {address} ssl; ssl_certificate {shared}/server.pem; ssl_certificate_key {shared}/server.key;\n\
         ssl_client_certificate {shared}/ca.pem; ssl_verify_client on;\n\
         location / {{ proxy_pass http://sink; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}\n"
    );
    let config = f.join("nginx.conf");
    fs::write(&config, text).expect("a configuration");
    // Not on every user's path.
    let program = if PathBuf::from("/usr/sbin/nginx").exists() {
        "/usr/sbin/nginx"
    } else {
        "nginx"
    };
    let mut command = Command::new(program);
    command.arg("-c").arg(&config);
    started(setting, name, command, address, "/api/v1/receive")
}

pub fn envoy(setting: &Setting, name: &str) -> (Process, Target) {
    let (sink, address, admin) = (setting.sink.address, free_address(), free_address());
    let folder = setting.folder().display();
    let socket =
        |a: std::net::SocketAddr| format!("{{socket_address: {{address: {}, port_value: {}}}}}", a.ip(), a.port());
    let text = format!(
        r#"
admin: {{address: {admin}}}
static_resources:
  listeners:
  - address: {listen}
    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            tls_certificates: [{{certificate_chain: {{filename: {folder}/server.pem}}, private_key: {{filename: {folder}/server.key}}}}]
            validation_context: {{trusted_ca: {{filename: {folder}/ca.pem}}}}
      filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          codec_type: HTTP1
          generate_request_id: false
          route_config: {{virtual_hosts: [{{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: sink}}}}]}}]}}
          http_filters: [{{name: router, typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]
  clusters:
  - name: sink
    type: STATIC
    load_assignment: {{cluster_name: sink, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {upstream}}}}}]}}]}}
"#,
        admin = socket(admin),
        listen = socket(address),
        upstream = socket(sink),
    );
    let config = setting.folder().join("envoy.yaml");
    fs::write(&config, text).expect("a configuration");
    let mut command = Command::new(provisioned("envoy", ENVOY).expect("Envoy"));
    // One worker, as nginx has.
    command.args(["--concurrency", "1", "--log-level", "error", "--disable-hot-restart"]);
    command.arg("-c").arg(&config);
    started(setting, name, command, address, "/api/v1/receive")
}

/// With `rules` or as it comes. The free build cannot ask for client certificates.
pub fn vmagent(setting: &Setting, name: &str, rules: Option<&str>) -> (Process, Target) {
    let (sink, address) = (setting.sink.address, free_address());
    let own = setting.folder().join(slug(name));
    fs::create_dir_all(&own).expect("a folder");
    let shared = setting.folder().display();
    let mut command = Command::new("vmagent");
    command.args([
        "-tls".to_owned(),
        format!("-tlsCertFile={shared}/server.pem"),
        format!("-tlsKeyFile={shared}/server.key"),
        format!("-httpListenAddr={address}"),
        // Else connections are closed every two minutes.
        "-http.connTimeout=1h".to_owned(),
        format!("-remoteWrite.url=http://{sink}/api/v1/write"),
        format!("-remoteWrite.tmpDataPath={}", own.display()),
        "-loggerLevel=ERROR".to_owned(),
    ]);
    if let Some(rules) = rules {
        let file = own.join("rules.yaml");
        fs::write(&file, rules).expect("rules");
        command.arg(format!("-remoteWrite.relabelConfig={}", file.display()));
    }
    started(setting, name, command, address, "/api/v1/write")
}

/// An agent, which writes what it takes to its log and sends it from there. Of 2.0 it makes 1.0: of all peers only this one
/// knows how.
pub fn prometheus(setting: &Setting, name: &str) -> (Process, Target) {
    let (sink, address) = (setting.sink.address, free_address());
    let own = setting.folder().join(slug(name));
    fs::create_dir_all(&own).expect("a folder");
    let shared = setting.folder().display();
    let (config, web) = (own.join("prometheus.yaml"), own.join("web.yaml"));
    // Two connections may overtake each other by some milliseconds.
    let text = format!(
        "storage: {{tsdb: {{out_of_order_time_window: 10m}}}}\n\
         remote_write: [{{url: \"http://{sink}/api/v1/write\", protobuf_message: prometheus.WriteRequest}}]\n"
    );
    fs::write(&config, text).expect("a configuration");
    let text = format!(
        "tls_server_config: {{cert_file: {shared}/server.pem, key_file: {shared}/server.key, \
         client_ca_file: {shared}/ca.pem, client_auth_type: RequireAndVerifyClientCert}}\n"
    );
    fs::write(&web, text).expect("a configuration");
    let mut command = Command::new(provisioned("prometheus", PROMETHEUS).expect("Prometheus"));
    command.args([
        "--agent".to_owned(),
        format!("--config.file={}", config.display()),
        format!("--web.config.file={}", web.display()),
        format!("--web.listen-address={address}"),
        "--web.enable-remote-write-receiver".to_owned(),
        format!("--storage.agent.path={}", own.join("data").display()),
    ]);
    let mut process = start(name, setting.folder(), command, HINT);
    wait_for(&mut process, "ready", |process| {
        process.log().contains("Server is ready").then_some(())
    });
    setting.started(name, process.pid());
    let target = Target {
        name: name.to_owned(),
        address,
        tls: setting.with_certificate(),
        path: "/api/v1/write",
        version: Version::Two,
    };
    (process, target)
}

/// A Thanos router and the receiver behind it, which stores and which nobody measures.
pub struct Thanos {
    pub router: Process,
    _receiver: Process,
}

pub fn thanos(setting: &Setting, name: &str) -> (Thanos, Target) {
    let folder = setting.folder().join(slug(name));
    fs::create_dir_all(&folder).expect("a folder");
    let shared = setting.folder().display();
    let started = |part: &str, write: std::net::SocketAddr, grpc: std::net::SocketAddr, more: Vec<String>| {
        let mut command = Command::new(provisioned("thanos", THANOS).expect("Thanos"));
        let page = free_address().to_string();
        command.arg("receive").args([
            format!("--tsdb.path={}", folder.join(part).display()),
            // Without a retention it never prunes, which kills 0.42.4 where it has just started.
            "--tsdb.retention=0d".to_owned(),
            format!("--label=receiver_replica=\"{part}\""),
            format!("--remote-write.address={write}"),
            format!("--http-address={page}"),
            format!("--grpc-address={grpc}"),
            format!("--receive.capnproto-address={}", free_address()),
            "--http-grace-period=1s".to_owned(),
            "--grpc-grace-period=1s".to_owned(),
            "--log.level=warn".to_owned(),
        ]);
        command.args(more);
        let label = format!("{name}, {part}");
        let mut process = start(&label, setting.folder(), command, HINT);
        wait_for(&mut process, "/-/ready", |_| {
            http::ok(&page, "/-/ready").ok()?.then_some(())
        });
        setting.started(&label, process.pid());
        process
    };
    let grpc = free_address();
    // Two connections may overtake each other by some milliseconds.
    let late = vec!["--tsdb.out-of-order.time-window=10m".to_owned()];
    let receiver = started("receiver", free_address(), grpc, late);
    let rings = folder.join("hashrings.json");
    fs::write(
        &rings,
        format!("[{{\"hashring\": \"all\", \"endpoints\": [\"{grpc}\"]}}]\n"),
    )
    .expect("a hashring");
    let address = free_address();
    let tls = vec![
        format!("--receive.hashrings-file={}", rings.display()),
        format!("--remote-write.server-tls-cert={shared}/server.pem"),
        format!("--remote-write.server-tls-key={shared}/server.key"),
        format!("--remote-write.server-tls-client-ca={shared}/ca.pem"),
    ];
    let router = started("router", address, free_address(), tls);
    let target = Target {
        name: name.to_owned(),
        address,
        tls: setting.with_certificate(),
        path: "/api/v1/receive",
        version: Version::One,
    };
    let thanos = Thanos {
        router,
        _receiver: receiver,
    };
    (thanos, target)
}

fn started(
    setting: &Setting,
    name: &str,
    command: Command,
    address: std::net::SocketAddr,
    path: &'static str,
) -> (Process, Target) {
    let mut process = start(name, setting.folder(), command, HINT);
    wait_for_port(&mut process, address);
    setting.started(name, process.pid());
    let target = Target {
        name: name.to_owned(),
        address,
        tls: setting.with_certificate(),
        path,
        version: Version::One,
    };
    (process, target)
}

/// `name version` of every program in the tables.
pub fn versions() -> Vec<String> {
    let first_line = |program: PathBuf, argument: &str| {
        let output = Command::new(&program).arg(argument).output();
        let text = output.map(|o| [o.stdout, o.stderr].concat()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().next().unwrap_or_default().to_owned()
    };
    let nginx = first_line("/usr/sbin/nginx".into(), "-v");
    // Debian's vmagent does not know its own version.
    let package = Command::new("dpkg-query")
        .args(["-W", "-f", "${Version}", "victoria-metrics"])
        .output();
    let vmagent = package.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    vec![
        first_line(crate::gauntlet::binary(), "--version"),
        nginx.replace("nginx version: nginx/", "nginx "),
        format!("Envoy {ENVOY}"),
        format!("vmagent {}", vmagent.unwrap_or_default()),
        format!("Thanos {THANOS}"),
        format!("Prometheus {PROMETHEUS}"),
    ]
}
