//! `gauntlet dev`: the real gateway with everything around it made up, to see writes pass, change and drop.
//!
//! Takes two addresses, gives the table of `gauntlet top` until ^C. TLS, pipeline, plugins and reload are the ones that serve
//! in earnest; only the senders and the receiver are embedded. Leaves nothing behind but a folder that it was given.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config;
use crate::sandbox::kept_in;
use crate::server::{self, Running};
use crate::terminal::{self, Column, Operator, RunningGateway, Sorting, Watched};

mod certificates;
mod folder;
mod receiver;
mod sample;
mod sender;

use certificates::Certificates;
pub use folder::DevError;
use folder::Folder;
use receiver::Receiver;

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
    /// The folder for its files, which is kept: tenants that are edited there and certificates are used again the next time. If
    /// this is left out, they are gone with the demo.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// A plugin to try, a WebAssembly component: one more tenant, `own`, has it as its policy. It is loaded again when the file
    /// changes.
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,
    /// The settings of the plugin, as JSON or YAML.
    #[arg(long, value_name = "TEXT", default_value = "{}", requires = "plugin")]
    settings: String,
}

/// Runs the demo until ^C, SIGTERM or its duration.
///
/// # Errors
/// If it cannot begin: most often an address that is taken.
pub fn run(options: &Options) -> Result<(), DevError> {
    // The table is the output; the log would tear it. Errors of the configuration are above the table.
    let runtime = tokio::runtime::Runtime::new().map_err(|reason| DevError::System {
        what: "start the I/O threads",
        reason,
    })?;
    runtime.block_on(demo(options))
}

async fn demo(options: &Options) -> Result<(), DevError> {
    let folder = Folder::make(options.dir.as_deref())?;
    let certificates = match Certificates::read(&folder) {
        Some(certificates) => certificates,
        None => Certificates::make()?,
    };
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
    let own = options.plugin.iter().map(|_| &sample::OWN);
    for tenant in sample::TENANTS.iter().chain(own) {
        sender::start(tenant, running.remote_write, &certificates, &tasks, stop.clone())?;
    }
    write_block(&folder, &running)?;
    let notes = notes(folder.path(), &running);
    println!("Gauntlet is up: sample tenants write through it to a receiver in memory. ^C ends it.\n");
    notes.iter().for_each(|note| println!("{note}"));
    println!();
    let ended = watch(options, &running, notes).await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    running.drain(Duration::from_secs(5)).await;
    let fate = if folder.is_kept() { "kept" } else { "removed" };
    println!("stopped; {} is {fate}", folder.path().display());
    ended
}

fn write_config(folder: &Folder, options: &Options, receiver: SocketAddr) -> Result<PathBuf, DevError> {
    for tenant in &sample::TENANTS {
        folder.write_once(&format!("tenants/{}.yaml", tenant.name), tenant.config)?;
    }
    let plugins = write_own(folder, options)?;
    let sandbox = kept_in().map(|folder| format!("sandbox: {{cache_dir: {}}}\n", quoted(&folder)));
    let sandbox = sandbox.unwrap_or_default();
    folder.write_main(&format!(
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
         {plugins}{sandbox}\
         tenant_files: [\"tenants/*.yaml\"]\n",
        options.remote_write, options.admin
    ))
}

/// The tenant of the plugin that is tried, if there is one; gives what the main file says of it.
fn write_own(folder: &Folder, options: &Options) -> Result<String, DevError> {
    let sample::Sample { name, bearer_token, .. } = sample::OWN;
    let file = format!("tenants/{name}.yaml");
    let Some(plugin) = &options.plugin else {
        folder.remove(&file);
        return Ok(String::new());
    };
    let settings = config::settings_of(&options.settings).map_err(|error| DevError::Settings(error.to_string()))?;
    let token = digest(&SHA256, bearer_token.unwrap_or_default().as_bytes());
    let token = HEXLOWER.encode(token.as_ref());
    folder.write(
        &file,
        &format!(
            "# Tries a plugin; written anew each time the demo starts.\n\
             tenant: {name}\n\
             credentials:\n  - bearer_token_sha256: {token}\n\
             policies:\n  - plugin: {name}\n    settings: {settings}\n\
             upstreams: [soft-tenants, soft-replicated]\n"
        ),
    )?;
    let plugin = std::path::absolute(plugin).unwrap_or_else(|_| plugin.clone());
    Ok(format!("plugins:\n  {name}: {{file: {}}}\n", quoted(&plugin)))
}

/// A path as YAML.
fn quoted(path: &Path) -> serde_json::Value {
    path.display().to_string().into()
}

/// What a Prometheus needs to write as the tenant `local`.
fn write_block(folder: &Folder, running: &Running) -> Result<(), DevError> {
    let text = format!(
        "remote_write:\n  \
           - url: https://localhost:{}/api/v1/receive\n    \
             authorization: {{credentials: {}}}\n    \
             tls_config: {{ca_file: {}/ca.crt}}\n",
        running.remote_write.port(),
        sample::LOCAL_TOKEN,
        folder.path().display(),
    );
    folder.write("remote_write.yaml", &text).map(|_| ())
}

fn notes(folder: &Path, running: &Running) -> Vec<String> {
    let folder = folder.display();
    vec![
        format!("  console    http://{}/", running.admin),
        format!("  policies   {folder}/tenants/*.yaml: edit one, and the table follows within a second"),
        format!("  your own   {folder}/remote_write.yaml is for a Prometheus that writes as tenant `local`"),
    ]
}

/// Shows the table until it is time to go.
async fn watch(options: &Options, running: &Running, notes: Vec<String>) -> Result<(), DevError> {
    use tokio::signal::unix::{SignalKind, signal};
    let system = |reason| DevError::System {
        what: "listen for signals",
        reason,
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
    let watched = Watched {
        gateway: RunningGateway {
            url: format!("http://{}", running.admin),
            operator: Operator::default(),
        },
        interval: REFRESH,
        sorting: Sorting {
            by: Column::Tenant,
            reverse: false,
        },
        search: String::new(),
        notes,
        stop: CancellationToken::new(),
    };
    let shown = show(&watched);
    let end = tokio::time::sleep(options.duration.unwrap_or(Duration::MAX));
    tokio::pin!(shown, end);
    tokio::select! {
        ended = &mut shown => return ended.map_err(DevError::Watch),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = &mut end => {}
    }
    watched.stop.cancel();
    shown.await.map_err(DevError::Watch)
}

/// On a terminal as a screen, else as lines.
async fn show(watched: &Watched) -> Result<(), String> {
    #[cfg(feature = "top")]
    if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        return terminal::watch(watched).await;
    }
    terminal::follow(watched).await
}
