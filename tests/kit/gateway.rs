//! The real `gauntlet` process under test.
//!
//! Takes a [`Setup`], gives a running gateway: its addresses from its own log, its metrics and API, signals and
//! exit status. Killed when dropped; its log is shown where the test failed. Never reaches into the process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::certs::ClientCertificate;
use crate::deadline::eventually;
use crate::metrics::Metrics;
use crate::process::Process;
use crate::sender::{Response, Sender};
use crate::setup::{Setup, Tenant};

/// A gateway that serves.
pub struct Gateway {
    pub setup: Setup,
    pub remote_write: SocketAddr,
    pub admin: SocketAddr,
    process: Watched,
}

/// What `gauntlet check` said.
#[derive(Debug)]
pub struct Checked {
    pub code: Option<i32>,
    /// Both streams, in the order they are usually read.
    pub text: String,
}

impl Gateway {
    /// Starts the gateway and waits until it is ready. It does not poll its files: a test that changes them
    /// says when they are read.
    ///
    /// # Panics
    /// If it ends or is not ready in time; its log is shown.
    pub async fn start(setup: Setup) -> Self {
        Self::start_with(setup, &["--config.poll-interval=0s"]).await
    }

    /// As [`Gateway::start`], with the defaults and these arguments.
    pub async fn start_with(setup: Setup, arguments: &[&str]) -> Self {
        let gateway = Self::spawn(setup, arguments).await;
        gateway.ready().await;
        gateway
    }

    async fn ready(&self) {
        eventually("the gateway to be ready", async || {
            let ready = self.try_admin("GET", "/-/ready").await.ok()?;
            (ready.status == 200).then_some(())
        })
        .await;
    }

    /// As [`Gateway::start`], where the process begins with such limits of open files: a line of `sh` sets them.
    pub async fn start_limited(setup: Setup, limits: &str) -> Self {
        setup.write();
        Self::listening(Watched::start(&setup, limited(limits), &[]), setup).await
    }

    /// As [`Gateway::start`], with the defaults, where `command` is any gateway's program, or becomes it.
    pub async fn start_program(setup: Setup, command: Command) -> Self {
        setup.write();
        let gateway = Self::listening(Watched::start(&setup, command, &[]), setup).await;
        gateway.ready().await;
        gateway
    }

    /// Starts the gateway and waits until it listens, ready or not.
    async fn spawn(setup: Setup, arguments: &[&str]) -> Self {
        setup.write();
        Self::listening(Watched::start(&setup, Command::new(binary()), arguments), setup).await
    }

    async fn listening(mut process: Watched, setup: Setup) -> Self {
        let (remote_write, admin) = eventually("both listeners", async || {
            process.0.expect_alive().unwrap();
            Some((process.0.listening("remote_write")?, process.0.listening("admin")?))
        })
        .await;
        Self {
            setup,
            remote_write,
            admin,
            process,
        }
    }

    /// Runs a gateway that is expected to end by itself, and gives how it ended and what it logged.
    pub async fn run_to_end(setup: &Setup) -> (ExitStatus, String) {
        setup.write();
        let mut process = Watched::start(setup, Command::new(binary()), &[]);
        let status = process.ended().await;
        (status, process.0.log())
    }

    /// `gauntlet check` on the files of `setup` as they would be written.
    pub fn check(setup: &Setup) -> Checked {
        setup.write();
        Self::check_as_written(setup)
    }

    /// As [`Gateway::check`], where the process begins with such limits of open files.
    pub fn check_limited(setup: &Setup, limits: &str) -> Checked {
        setup.write();
        checked(limited(limits).arg("check").arg(setup.main_file()))
    }

    /// `gauntlet check` on the files of `setup` as they lie on disk.
    pub fn check_as_written(setup: &Setup) -> Checked {
        Self::check_file(&setup.main_file(), &[])
    }

    /// `gauntlet check` on any file.
    pub fn check_file(file: &Path, arguments: &[&str]) -> Checked {
        checked(Command::new(binary()).arg("check").args(arguments).arg(file))
    }

    /// `gauntlet serve` on the files as they lie on disk, named by the environment; expected to end by itself.
    pub fn serve_by_environment(setup: &Setup) -> Checked {
        checked(
            Command::new(binary())
                .arg("serve")
                .env("GAUNTLET_CONFIG_FILE", setup.main_file()),
        )
    }

    /// A sender without a credential.
    pub fn sender(&self) -> Sender {
        self.setup.sender(self.remote_write)
    }

    /// A sender that presents `certificate`.
    pub fn sender_with(&self, certificate: &ClientCertificate) -> Sender {
        let tls = self.setup.certs.client_config(Some(certificate));
        Sender::new(self.remote_write, Some(tls))
    }

    /// One request to the admin listener.
    pub async fn admin(&self, method: &str, path: &str) -> Response {
        let answer = self.try_admin(method, path).await;
        answer.unwrap_or_else(|e| panic!("{method} {path} on the admin listener: {e}"))
    }

    /// As [`Gateway::admin`], with these headers.
    pub async fn admin_with(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        let answer = self.ask_admin(method, path, headers).await;
        answer.unwrap_or_else(|e| panic!("{method} {path} on the admin listener: {e}"))
    }

    /// A question to the admin listener, as JSON.
    pub async fn admin_post(&self, path: &str, question: &Value) -> Response {
        let sender = Sender::new(self.admin, None);
        let request = sender.request(question.to_string()).path(path);
        let answer = request
            .without("Content-Encoding")
            .without("Content-Type")
            .try_send()
            .await;
        answer.unwrap_or_else(|e| panic!("POST {path} on the admin listener: {e}"))
    }

    /// # Errors
    /// If nobody listens any more.
    pub async fn try_admin(&self, method: &str, path: &str) -> std::io::Result<Response> {
        self.ask_admin(method, path, &[]).await
    }

    async fn ask_admin(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> std::io::Result<Response> {
        let sender = Sender::new(self.admin, None);
        let request = sender.request("").method(method).path(path);
        let plain = request.without("Content-Encoding").without("Content-Type");
        let request = headers
            .iter()
            .fold(plain, |request, (name, value)| request.also(name, value));
        request.try_send().await
    }

    pub async fn metrics(&self) -> Metrics {
        let answer = self.admin("GET", "/metrics").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        Metrics::parse(&answer.text)
    }

    /// Waits until a metric's sum over `labels` is `value`.
    pub async fn expect_metric(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let mut last = f64::NAN;
        let wait = eventually("a metric", async || {
            last = self.metrics().await.sum(name, labels);
            (last == value).then_some(())
        });
        if tokio::time::timeout(crate::deadline::PATIENCE / 2, wait).await.is_err() {
            panic!("{name}{labels:?} is {last} and did not become {value}");
        }
    }

    /// The `data` of an answer in Prometheus' JSON envelope.
    pub async fn api(&self, path: &str) -> Value {
        let answer = self.admin("GET", path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        let mut body: Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!(body["status"], "success", "{path}: {body}");
        body["data"].take()
    }

    /// Writes the setup's files again, changed by `change`, and asks for a reload.
    pub async fn reload(&mut self, change: impl FnOnce(&mut Setup)) -> Response {
        change(&mut self.setup);
        self.setup.write();
        self.admin("POST", "/-/reload").await
    }

    /// As [`Gateway::reload`], for one tenant, and it must succeed.
    pub async fn reload_tenant(&mut self, tenant: Tenant) {
        let answer = self.reload(|setup| setup.put_tenant(tenant)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    pub fn sighup(&self) {
        self.process.0.signal("HUP").unwrap();
    }

    /// Asks for an end and does not wait for it.
    pub fn terminate(&self) {
        self.process.0.signal("TERM").unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.process.0.pid()
    }

    /// How it ended, where it has by itself.
    pub fn death(&mut self) -> Option<ExitStatus> {
        self.process.0.ended().unwrap()
    }

    /// Waits for the end.
    pub async fn ended(&mut self) -> ExitStatus {
        self.process.ended().await
    }

    /// Everything logged so far, a line per event.
    pub fn log(&self) -> String {
        self.process.0.log()
    }

    /// Waits for a log line that contains all of `parts`.
    pub async fn expect_log(&self, parts: &[&str]) -> String {
        eventually(&format!("a log line with {parts:?}"), async || {
            let log = self.log();
            let mut lines = log.lines();
            let line = lines.find(|line| parts.iter().all(|part| line.contains(part)));
            line.map(str::to_owned)
        })
        .await
    }

    /// The soft and the hard limit of open files that the process runs under.
    pub fn open_files(&self) -> (u64, u64) {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.process.0.pid())).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        let mut words = line
            .unwrap()
            .split_whitespace()
            .take(2)
            .map(|word| word.parse().unwrap());
        (words.next().unwrap(), words.next().unwrap())
    }

    /// Resident memory of the process in bytes.
    pub fn memory(&self) -> u64 {
        self.process.0.rss()
    }
}

/// The gateway, once a line of `sh` has set its limits.
fn limited(limits: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{limits} && exec \"$0\" \"$@\""))
        .arg(binary());
    command
}

fn checked(command: &mut Command) -> Checked {
    let run = keeping_nothing(command).output().unwrap();
    Checked {
        code: run.status.code(),
        text: String::from_utf8([run.stdout, run.stderr].concat()).unwrap(),
    }
}

/// Without a place for compiled plugins: what a test before this one compiled must not be what it is about.
pub fn keeping_nothing(command: &mut Command) -> &mut Command {
    command.env_remove("HOME").env_remove("XDG_CACHE_HOME")
}

/// The process; its log is shown where the test failed.
struct Watched(Process);

impl Watched {
    /// `command` is the program, or what becomes it.
    fn start(setup: &Setup, mut command: Command, arguments: &[&str]) -> Self {
        command
            .arg("serve")
            .arg(format!("--config.file={}", setup.main_file().display()));
        command.arg("--log.format=json").args(arguments);
        Self(Process::start("the gateway", setup.folder().join("gauntlet.log"), command).unwrap())
    }

    async fn ended(&mut self) -> ExitStatus {
        eventually("the gateway to end", async || self.0.ended().unwrap()).await
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- log of the gateway ----\n{}\n----", self.0.log());
        }
    }
}

/// The program in the folder of this one: for programs that are built together with it.
///
/// # Errors
/// If it is not there.
pub fn beside() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("gauntlet");
    ensure!(
        path.is_file(),
        "{} is not there; `cargo build --workspace` makes it",
        path.display()
    );
    Ok(path)
}

/// The program that cargo built for this very run of the tests.
///
/// # Panics
/// If the test was not started by cargo: what lies in the target folder then may be older than the sources.
fn binary() -> PathBuf {
    let built = std::env::var_os("CARGO_BIN_EXE_gauntlet");
    built
        .expect("cargo names the program it has built: run `cargo test --locked -p gauntlet --test e2e`")
        .into()
}
