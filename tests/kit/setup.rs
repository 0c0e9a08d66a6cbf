//! What a gateway is started with: main file, tenant files, certificates.
//!
//! Takes tenants, policies, upstreams and limits in the test's words, gives files in a folder of their own.
//! Written as JSON, which is YAML. Never checks anything: that is the gateway's business.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::certs::Certs;
use crate::receiver::Receiver;
use crate::sender::Sender;

/// One tenant's file.
#[derive(Clone)]
pub struct Tenant {
    id: String,
    value: Value,
}

impl Tenant {
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            value: json!({"tenant": id, "credentials": [], "policies": []}),
        }
    }

    pub fn bearer(self, token: &str) -> Self {
        self.credential(json!({"bearer_token_sha256": sha256(token.as_bytes())}))
    }

    /// With bcrypt's lowest cost: tests have no secrets.
    pub fn basic(self, username: &str, password: &str) -> Self {
        let hash = bcrypt::hash(password, 4).unwrap();
        self.credential(json!({"basic_auth": {"username": username, "password_hash": hash}}))
    }

    /// `kind` is `uri_san`, `dns_san` or `common_name`.
    pub fn certificate(self, kind: &str, name: &str) -> Self {
        self.credential(json!({"client_certificate": {kind: name}}))
    }

    pub fn credential(mut self, credential: Value) -> Self {
        push(&mut self.value["credentials"], credential);
        self
    }

    /// At the end of the chain so far.
    pub fn policy(self, plugin: &str, settings: Value) -> Self {
        self.policy_entry(json!({"plugin": plugin, "settings": settings}))
    }

    pub fn policy_entry(mut self, entry: Value) -> Self {
        push(&mut self.value["policies"], entry);
        self
    }

    pub fn limit(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.value["limits"][name] = value.into();
        self
    }

    /// The first is the default.
    pub fn upstreams(self, names: &[&str]) -> Self {
        self.set("upstreams", json!(names))
    }

    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.value[key] = value.into();
        self
    }

    pub fn id(&self) -> &str {
        &self.id
    }
}

/// Settings of the standard `relabel` plugin.
pub fn relabel(rules: Value) -> Value {
    json!({"relabel_configs": rules})
}

/// The configuration of a gateway and the folder it lives in.
pub struct Setup {
    main: Value,
    tenants: Vec<Tenant>,
    pub certs: Certs,
    folder: tempfile::TempDir,
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

impl Setup {
    /// TLS with optional client certificates, no tenant, no upstream, quick polling.
    pub fn new() -> Self {
        let main = json!({
            "remote_write": {
                "listen_address": "127.0.0.1:0",
                "tls_server_config": {
                    "cert_file": "server.pem",
                    "key_file": "server.key",
                    "client_ca_file": "ca.pem",
                    "client_auth_type": "VerifyClientCertIfGiven",
                },
            },
            "admin": {"listen_address": "127.0.0.1:0"},
            // The artefacts are shared by all tests of one target folder, so that each plugin is compiled once. A
            // polite call takes microseconds, unless the machine is busy with other tests.
            "sandbox": {"cache_dir": cache_dir(), "call_timeout": "2s"},
            "tenant_files": ["tenants/*.yaml"],
        });
        Self {
            main,
            tenants: Vec::new(),
            certs: Certs::new(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// One receiver behind the upstream `soft`.
    pub fn with_receiver(receiver: &Receiver) -> Self {
        Self::new().upstream("soft", &[receiver])
    }

    pub fn upstream(self, name: &str, receivers: &[&Receiver]) -> Self {
        let urls: Vec<String> = receivers.iter().map(|r| r.url()).collect();
        self.set(&format!("/upstreams/{name}"), json!({"endpoints": urls}))
    }

    pub fn tenant(mut self, tenant: Tenant) -> Self {
        self.put_tenant(tenant);
        self
    }

    /// Adds a tenant or takes the place of the one of that id.
    pub fn put_tenant(&mut self, tenant: Tenant) {
        self.tenants.retain(|t| t.id != tenant.id);
        self.tenants.push(tenant);
    }

    pub fn remove_tenant(&mut self, id: &str) {
        self.tenants.retain(|t| t.id != id);
    }

    /// Sets a value of the main file by its JSON pointer, making the way to it.
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        self.put(pointer, value);
        self
    }

    pub fn put(&mut self, pointer: &str, value: impl Into<Value>) {
        let steps = pointer.strip_prefix('/').unwrap().split('/');
        let place = steps.fold(&mut self.main, |at, step| &mut at[step]);
        *place = value.into();
    }

    /// Takes a key out of the main file.
    pub fn remove(&mut self, key: &str) {
        self.main.as_object_mut().unwrap().remove(key);
    }

    /// Plain HTTP.
    pub fn insecure(mut self) -> Self {
        let listener = self.main["remote_write"].as_object_mut().unwrap();
        listener.remove("tls_server_config");
        listener.insert("insecure_http".to_owned(), json!(true));
        self
    }

    pub fn speaks_tls(&self) -> bool {
        !self.main["remote_write"]["tls_server_config"].is_null()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn main_file(&self) -> PathBuf {
        self.folder().join("gauntlet.yaml")
    }

    pub fn tenant_file(&self, id: &str) -> PathBuf {
        self.folder().join("tenants").join(format!("{id}.yaml"))
    }

    /// Writes every file, removing tenants that are gone.
    pub fn write(&self) {
        self.certs.write_to(self.folder());
        let tenants = self.folder().join("tenants");
        std::fs::create_dir_all(&tenants).unwrap();
        for entry in std::fs::read_dir(&tenants).unwrap() {
            let path = entry.unwrap().path();
            if !self.tenants.iter().any(|t| self.tenant_file(&t.id) == path) {
                std::fs::remove_file(path).unwrap();
            }
        }
        for tenant in &self.tenants {
            replace(&self.tenant_file(&tenant.id), pretty(&tenant.value).as_bytes());
        }
        replace(&self.main_file(), pretty(&self.main).as_bytes());
    }

    /// A sender to `address` that trusts this setup's authority and has no credential yet.
    pub(crate) fn sender(&self, address: std::net::SocketAddr) -> Sender {
        let tls = self.speaks_tls().then(|| self.certs.client_config(None));
        Sender::new(address, tls)
    }
}

/// Writes a file so that a reader sees the old text or the new one, never half.
pub fn replace(path: &Path, text: &[u8]) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

fn push(list: &mut Value, entry: Value) {
    list.as_array_mut().unwrap().push(entry);
}

fn cache_dir() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().join("artefacts")
}

/// In lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}
