//! `gauntlet dev`: the real gateway with everything around it made up, to see writes pass, change and drop.
//!
//! Takes two addresses, gives a live table until ^C. TLS, pipeline, plugins and reload are the ones that serve in
//! earnest; only the senders and the receiver are embedded. Leaves nothing behind.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::server::{self, Running};
use crate::tenant::Snapshot;

mod certificates;
mod folder;
mod receiver;
mod sample;
mod sender;
mod table;

use certificates::Certificates;
pub use folder::DevError;
use folder::Folder;
use receiver::Receiver;
use table::Table;

/// How soon an edited file is seen: "within a second" with room for compiling and drawing.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
const REFRESH: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The address on which the gateway listens for senders.
    #[arg(
        long = "remote-write.listen-address",
        env = "GAUNTLET_DEV_REMOTE_WRITE",
        default_value = "127.0.0.1:19291"
    )]
    remote_write: String,
    /// The address on which the gateway listens for operators.
    #[arg(
        long = "admin.listen-address",
        env = "GAUNTLET_DEV_ADMIN",
        default_value = "127.0.0.1:10902"
    )]
    admin: String,
    /// How long the demo runs. If this is left out, it runs until ^C or SIGTERM.
    #[arg(long = "duration", value_parser = crate::config::parse_duration)]
    duration: Option<Duration>,
}

/// Runs the demo until ^C, SIGTERM or its duration.
///
/// # Errors
/// If it cannot begin: most often an address that is taken.
pub fn run(options: &Options) -> Result<(), DevError> {
    // The table is the output; the log would tear it. Errors of the configuration are in the table.
    let runtime = tokio::runtime::Runtime::new().map_err(|reason| DevError::System {
        what: "start the I/O threads",
        reason,
    })?;
    runtime.block_on(demo(options))
}

async fn demo(options: &Options) -> Result<(), DevError> {
    let folder = Folder::make()?;
    let certificates = Certificates::make()?;
    certificates.write(&folder)?;
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let receiver = Receiver::start(&tasks, stop.clone())
        .await
        .map_err(DevError::Receiver)?;
    let config_file = write_config(&folder, options, receiver.address())?;
    let options_of_serve = server::Options {
        config_file,
        poll_interval: POLL_INTERVAL,
        shutdown_timeout: Duration::from_secs(5),
    };
    let running = server::start(&options_of_serve).await?;
    for tenant in &sample::TENANTS {
        sender::start(tenant, running.remote_write, &certificates, &tasks, stop.clone())?;
    }
    introduce(folder.path(), &running);
    watch(options, &running, &receiver).await?;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    running.drain(Duration::from_secs(5)).await;
    println!("stopped; {} is removed", folder.path().display());
    Ok(())
}

fn write_config(folder: &Folder, options: &Options, receiver: SocketAddr) -> Result<PathBuf, DevError> {
    for tenant in &sample::TENANTS {
        folder.write(&format!("tenants/{}.yaml", tenant.name), tenant.config)?;
    }
    folder.write(
        "gauntlet.yaml",
        &format!(
            "remote_write:\n  \
               listen_address: {}\n  \
               tls_server_config:\n    \
                 cert_file: server.crt\n    \
                 key_file: server.key\n    \
                 client_ca_file: ca.crt\n    \
                 client_auth_type: VerifyClientCertIfGiven\n\
             admin:\n  \
               listen_address: {}\n\
             upstreams:\n  \
               soft-tenants: {{endpoints: [\"http://{receiver}\"]}}\n  \
               soft-replicated: {{endpoints: [\"http://{receiver}\"]}}\n\
             tenant_files: [\"tenants/*.yaml\"]\n",
            options.remote_write, options.admin
        ),
    )
}

fn introduce(folder: &Path, running: &Running) {
    let (url, admin) = (running.remote_write, running.admin);
    let folder = folder.display();
    println!(
        "Gauntlet is up: three sample tenants write through it to a receiver in memory.

  remote write   https://localhost:{port}/api/v1/receive
  metrics, API   http://{admin}/metrics  http://{admin}/api/v1/tenants
  certificates   {folder}/*.crt, *.key
  policies       {folder}/tenants/*.yaml   edit one: the table below follows within a second

Point a Prometheus of your own at it (tenant `local`):

  remote_write:
    - url: https://localhost:{port}/api/v1/receive
      authorization: {{credentials: {token}}}
      tls_config: {{ca_file: {folder}/ca.crt}}
",
        port = url.port(),
        token = sample::LOCAL_TOKEN,
    );
}

/// Draws the table every second until it is time to go.
async fn watch(options: &Options, running: &Running, receiver: &Receiver) -> Result<(), DevError> {
    use tokio::signal::unix::{SignalKind, signal};
    let system = |reason| DevError::System {
        what: "listen for signals",
        reason,
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
    let mut table = Table::new(std::io::stdout().is_terminal());
    let mut ticks = tokio::time::interval(REFRESH);
    let end = tokio::time::sleep(options.duration.unwrap_or(Duration::MAX));
    tokio::pin!(end);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let report = running.generations.report();
                let current = running.generations.current();
                let rows = table::rows(current.tenants.serving().map(|generation| Snapshot::of(generation)));
                table.draw(&rows, &report, &receiver.counts());
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = &mut end => break,
        }
    }
    println!();
    Ok(())
}
